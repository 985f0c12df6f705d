// Frames into and out of a real Open vSwitch over one kept connection to its unixctl socket, one frame at a time.
import { join } from "node:path";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import type { RealOvs } from "./real-ovs.js";

const CALL_TIMEOUT_MS = 30_000;
const STEP_MS = 2;

export class RealOvsFrames {
  readonly #ovs: RealOvs;
  readonly #connection: JsonRpcConnection;
  readonly #listener: string;
  #seen: number;

  private constructor(ovs: RealOvs, connection: JsonRpcConnection, listener: string) {
    this.#ovs = ovs;
    this.#connection = connection;
    this.#listener = listener;
    this.#seen = ovs.sentBy(listener).length;
  }

  /** Frames that leave by the port `listener` are what comes out. */
  static async open(ovs: RealOvs, listener: string): Promise<RealOvsFrames> {
    const connection = await connectJsonRpc(
      { kind: "unix", path: join(ovs.dir, "vs.ctl") },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    return new RealOvsFrames(ovs, connection, listener);
  }

  async appctl(command: string, ...args: string[]): Promise<string> {
    return String(await this.#connection.call(command, args, CALL_TIMEOUT_MS));
  }

  /** Sends `frame` into `port`; what came out when `expected` frames have, or when `patienceMs` is over. */
  async send(port: string, frame: Uint8Array, expected: number, patienceMs: number): Promise<Uint8Array[]> {
    await this.appctl("netdev-dummy/receive", port, Buffer.from(frame).toString("hex"));
    for (let waited = 0; ; waited += STEP_MS) {
      const all = this.#ovs.sentBy(this.#listener);
      if (all.length - this.#seen >= expected || waited >= patienceMs) {
        const sent = all.slice(this.#seen);
        this.#seen = all.length;
        return sent;
      }
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
  }

  close(): void {
    this.#connection.close();
  }
}
