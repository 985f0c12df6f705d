// A datapath with its worker threads and one bridge of stream ports, each asked for by a core, for tests of what threads do.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import type { SwitchModel } from "../agent/index.js";
import { DatapathHandle } from "../datapath/index.js";
import { StreamPeer } from "./stream-peer.js";

const DEADLINE_MS = 60_000;
/** The third one need not be there: a worker that cannot be pinned runs anywhere. */
const CORES = [0, 1, 2];
const ABOUT = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };

export const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;

export class WorkerThreads {
  readonly dir = mkdtempSync("/tmp/pl-wt-");
  readonly peers: StreamPeer[];
  readonly handle = new DatapathHandle({ slots: 512, connectionsMax: 1024, cores: CORES });
  #model: SwitchModel | undefined;

  constructor(ports: number) {
    this.peers = Array.from({ length: ports }, (_, i) => new StreamPeer(join(this.dir, `p${i + 1}`)));
  }

  /** Ports p1, p2 … of bridge br0, as many as `cores`; undefined leaves the choice. Resolves when all links are up. */
  static async open(cores: readonly (number | undefined)[]): Promise<WorkerThreads> {
    const threads = new WorkerThreads(cores.length);
    const { handle } = threads;
    await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
    threads.#model = handle.model("br0", 1n, ABOUT);
    for (const [i, core] of cores.entries())
      await handle.addPort(
        { bridge: "br0", spec: threads.spec(`p${i + 1}`), ofport: i + 1, vlan: TRUNK },
        core === undefined ? {} : { 0: core },
      );
    await threads.linksUp();
    return threads;
  }

  get model(): SwitchModel {
    return this.#model as SwitchModel;
  }

  spec(name: string, options: Record<string, string> = { path: join(this.dir, name) }) {
    return { name, type: "stream", options, mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500 };
  }

  async linksUp(): Promise<void> {
    const areUp = async () =>
      (await this.handle.call("portStates", { bridge: "br0" })).every((port) => port.linkUp);
    await waitFor(areUp, "links up", DEADLINE_MS);
  }

  async close(): Promise<void> {
    await this.handle.close();
    await Promise.all(this.peers.map((peer) => peer.close()));
    rmSync(this.dir, { recursive: true, force: true });
  }
}
