// Our OVSDB server and a real ovsdb-server, each with an empty Open_vSwitch database, for tests that ask both the same.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { RealOvsdbServer } from "./real-ovsdb-server.js";
import { requirePrograms } from "./run.js";

export class OvsdbPair {
  readonly real: RealOvsdbServer;
  readonly #dir: string;
  readonly #storage: Storage;
  readonly #server: DatabaseServer;

  private constructor(dir: string, real: RealOvsdbServer) {
    this.#dir = dir;
    this.real = real;
    this.#storage = openStorage(join(dir, "ours"), OPEN_VSWITCH_SCHEMA);
    this.#server = new DatabaseServer([this.#storage]);
  }

  static async open(): Promise<OvsdbPair> {
    requirePrograms("ovsdb-server");
    const dir = mkdtempSync("/tmp/odp-");
    const pair = new OvsdbPair(dir, await RealOvsdbServer.start(join(dir, "real")));
    await pair.#server.listen(`p${pair.endpoint}`);
    return pair;
  }

  /** Of our server. */
  get endpoint(): string {
    return `unix:${join(this.#dir, "ours.sock")}`;
  }

  async close(): Promise<void> {
    await this.real.stop();
    await this.#server.close();
    await this.#storage.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
