// Frames into and out of a real Open vSwitch over one kept connection to its unixctl socket, one frame at a time.
import { join } from "node:path";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { DummyWire } from "./differential/wires.js";
import type { RealOvs } from "./real-ovs.js";

const CALL_TIMEOUT_MS = 30_000;

export class RealOvsFrames {
  readonly #connection: JsonRpcConnection;
  readonly #sent: Uint8Array[] = [];
  #listener: DummyWire | undefined;
  #onFrame: () => void = () => {};

  private constructor(connection: JsonRpcConnection) {
    this.#connection = connection;
  }

  /** Makes the dummy port `listener` of `bridge`, with that OpenFlow number: what leaves by it is what comes out. */
  static async open(ovs: RealOvs, bridge: string, listener: string, ofport: number): Promise<RealOvsFrames> {
    const path = join(ovs.dir, "vs.ctl");
    const connection = await connectJsonRpc({ kind: "unix", path }, { timeoutMs: CALL_TIMEOUT_MS });
    const frames = new RealOvsFrames(connection);
    try {
      const wire = await DummyWire.lay(ovs, listener, ovs.path(`${listener}.wire`), (frame) => {
        frames.#sent.push(frame);
        frames.#onFrame();
      });
      frames.#listener = wire;
      await ovs.vsctl(
        ...["add-port", bridge, listener, "--", "set", "interface", listener, `ofport_request=${ofport}`],
        ...wire.columns,
      );
      return frames;
    } catch (thrown) {
      await frames.close();
      throw thrown;
    }
  }

  async appctl(command: string, ...args: string[]): Promise<string> {
    return String(await this.#connection.call(command, args, CALL_TIMEOUT_MS));
  }

  /** Sends `frame` into `port`; what came out when `expected` frames have, or when `patienceMs` is over. */
  async send(port: string, frame: Uint8Array, expected: number, patienceMs: number): Promise<Uint8Array[]> {
    await this.appctl("netdev-dummy/receive", port, Buffer.from(frame).toString("hex"));
    if (this.#sent.length < expected) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patienceMs);
        this.#onFrame = () => {
          if (this.#sent.length < expected) return;
          clearTimeout(timer);
          resolve();
        };
      });
      this.#onFrame = () => {};
    }
    return this.#sent.splice(0);
  }

  async close(): Promise<void> {
    this.#connection.close();
    await this.#listener?.close();
  }
}
