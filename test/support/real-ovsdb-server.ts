// A real ovsdb-server in a private directory, with the schema that Open vSwitch publishes. It has bugs of its own that
// end it; a test then fails with the request that did.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, requirePrograms, runOk } from "./run.js";

const DEADLINE_MS = 15_000;
/** How long a connection's end may take to become the process's end. */
const DEATH_MS = 2_000;
export const VSWITCH_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";

export class RealOvsdbServer {
  readonly #child: ChildProcess;
  /** The first request that was under way when it ended. */
  #lastRequest: string | undefined;
  readonly endpoint: string;

  private constructor(child: ChildProcess, endpoint: string) {
    this.#child = child;
    this.endpoint = endpoint;
  }

  /** Serves the database in the file `path`, made when absent. */
  static async start(path: string, ...options: string[]): Promise<RealOvsdbServer> {
    requirePrograms("ovsdb-tool", "ovsdb-server");
    if (!existsSync(path)) await runOk("ovsdb-tool", ["create", path, VSWITCH_SCHEMA]);
    const socket = `${path}.sock`;
    const child = spawn(
      "/usr/sbin/ovsdb-server",
      [`--remote=punix:${socket}`, "--unixctl=none", "-vconsole:off", ...options, path],
      { stdio: "ignore" },
    );
    const server = new RealOvsdbServer(child, `unix:${socket}`);
    await waitFor(() => server.hasEnded || accepts(server.endpoint), "ovsdb-server", DEADLINE_MS);
    if (server.hasEnded) throw new Error(`ovsdb-server does not start with ${path}: ${server.#ending()}`);
    return server;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async stop(): Promise<void> {
    await endChild(this.#child, "SIGTERM");
  }

  /** A connection whose failures tell when it is the server that has gone, and by which request. */
  async connect(
    notification: (method: string, params: readonly unknown[]) => void = () => {},
  ): Promise<PeerCall> {
    const connection = await connectJsonRpc(this.endpoint, { handler: { notification } });
    const call = async (method: string, params: readonly unknown[]): Promise<unknown> => {
      try {
        return await connection.call(method, params);
      } catch (thrown) {
        if (connection.isOpen) throw thrown;
        await waitFor(() => this.hasEnded, "its end", DEATH_MS).catch(() => {});
        if (!this.hasEnded) throw thrown;
        this.#lastRequest ??= JSON.stringify({ method, params });
        throw new Error(
          `the real ovsdb-server has ended (${this.#ending()}), not ours; it was asked: ${this.#lastRequest}`,
          { cause: thrown },
        );
      }
    };
    return { connection, call };
  }

  #ending(): string {
    return this.#child.signalCode ?? `exit code ${this.#child.exitCode}`;
  }
}

/** Its socket is there a moment before it listens. */
async function accepts(endpoint: string): Promise<boolean> {
  try {
    (await connectJsonRpc(endpoint)).close();
    return true;
  } catch {
    return false;
  }
}

export interface PeerCall {
  readonly connection: JsonRpcConnection;
  call(method: string, params: readonly unknown[]): Promise<unknown>;
}
