// How frames get into the ports of a switch and out of them again, for the test that holds their far ends.
import { execFileSync } from "node:child_process";
import { constants, openSync } from "node:fs";
import { createServer, type Server, Socket } from "node:net";
import { connectJsonRpc, type JsonRpcConnection } from "../../../base/jsonrpc/index.js";
import { waitFor } from "../../../base/time/index.js";
import type { RealOvs } from "../real-ovs.js";
import { encodeStreamFrame, StreamFrames } from "../stream-peer.js";

const DEADLINE_MS = 20_000;

/** The far end of one port. */
export interface Wire {
  /** Columns of the Interface row that bring the port to this end. */
  readonly columns: readonly string[];
  /** Resolves when frames can pass; to be called when the port has been added. */
  connected(): Promise<void>;
  /** Frames into the port, in order. */
  send(frames: readonly Uint8Array[]): void;
  close(): Promise<void>;
}

/** Makes the far end of a port to be; `path` is free for it. Every frame that leaves by the port goes to `onFrame`. */
export type Wiring = (name: string, path: string, onFrame: (frame: Uint8Array) => void) => Promise<Wire>;

/** A stream port of ours, which dials. */
export class StreamWire implements Wire {
  readonly columns: readonly string[];
  readonly #server: Server;
  #socket: Socket | undefined;

  private constructor(path: string, onFrame: (frame: Uint8Array) => void) {
    this.columns = ["type=stream", `options:path=${path}`];
    this.#server = createServer((socket) => {
      const stream = new StreamFrames();
      this.#socket = socket;
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => {
        for (const frame of stream.push(bytes)) onFrame(frame);
      });
    });
  }

  static async lay(_name: string, path: string, onFrame: (frame: Uint8Array) => void): Promise<StreamWire> {
    const wire = new StreamWire(path, onFrame);
    await new Promise<void>((resolve) => wire.#server.listen(path, resolve));
    return wire;
  }

  async connected(): Promise<void> {
    await waitFor(() => this.#socket !== undefined, "the switch to dial a port", DEADLINE_MS);
  }

  send(frames: readonly Uint8Array[]): void {
    this.#socket?.write(Buffer.concat(frames.map((frame) => encodeStreamFrame(frame))));
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#socket?.destroy();
    await closed;
  }
}

/**
 * A dummy port of Open vSwitch. Frames go in by its control socket, many with one call, and come out as a pcap stream
 * through a named pipe: the switch waits when that is full, where its own sockets would drop frames after the hundredth.
 */
export class DummyWire implements Wire {
  readonly columns: readonly string[];
  readonly #name: string;
  readonly #control: JsonRpcConnection;
  readonly #pipe: Socket;
  #refused: unknown;

  private constructor(name: string, path: string, control: JsonRpcConnection, pipe: Socket) {
    this.columns = ["type=dummy", `options:tx_pcap=${path}`];
    this.#name = name;
    this.#control = control;
    this.#pipe = pipe;
  }

  static wiring(ovs: RealOvs): Wiring {
    return (name, path, onFrame) => DummyWire.lay(ovs, name, path, onFrame);
  }

  static async lay(
    ovs: RealOvs,
    name: string,
    path: string,
    onFrame: (frame: Uint8Array) => void,
  ): Promise<DummyWire> {
    execFileSync("mkfifo", ["-m", "600", path]);
    const endpoint = { kind: "unix", path: ovs.path("vs.ctl") } as const;
    const control = await connectJsonRpc(endpoint, { timeoutMs: DEADLINE_MS });
    // For writing too, so that it does not end when the switch opens its own end anew, as each configuration makes it.
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const pipe = new Socket({ fd, readable: true, writable: false });
    const stream = new PcapFrames();
    pipe.on("data", (bytes: Buffer) => {
      for (const frame of stream.push(bytes)) onFrame(frame);
    });
    return new DummyWire(name, path, control, pipe);
  }

  connected(): Promise<void> {
    return Promise.resolve();
  }

  send(frames: readonly Uint8Array[]): void {
    if (this.#refused !== undefined) throw this.#refused;
    const args = [this.#name, ...frames.map((frame) => Buffer.from(frame).toString("hex"))];
    this.#control.call("netdev-dummy/receive", args, DEADLINE_MS).catch((error: unknown) => {
      this.#refused = error;
    });
  }

  async close(): Promise<void> {
    this.#control.close();
    this.#pipe.destroy();
    await Promise.resolve();
  }
}

const PCAP_MAGIC = 0xa1b2c3d4;
const PCAP_HEADER_SIZE = 24;
const PCAP_RECORD_SIZE = 16;

/** Cuts pcap streams after each other, of this machine's byte order, into frames, however their bytes arrive. */
class PcapFrames {
  #pending = Buffer.alloc(0);

  push(bytes: Uint8Array): Uint8Array[] {
    const all = Buffer.concat([this.#pending, bytes]);
    const frames: Uint8Array[] = [];
    let at = 0;
    while (at + PCAP_HEADER_SIZE <= all.byteLength) {
      if (all.readUInt32LE(at) === PCAP_MAGIC) {
        at += PCAP_HEADER_SIZE;
        continue;
      }
      const end = at + PCAP_RECORD_SIZE + all.readUInt32LE(at + 8);
      if (end > all.byteLength) break;
      frames.push(Uint8Array.from(all.subarray(at + PCAP_RECORD_SIZE, end)));
      at = end;
    }
    this.#pending = all.subarray(at);
    return frames;
  }
}
