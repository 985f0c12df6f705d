// The far end of a switch's stream port: listens as QEMU does, and the switch dials. A big-endian length of
// `headerSize` bytes, then the frame: 4 with QEMU and us, 2 with the dummy ports of Open vSwitch.
import { createServer, type Server, type Socket } from "node:net";
import { waitFor } from "../../base/time/index.js";

const DIAL_DEADLINE_MS = 20_000;

export type HeaderSize = 2 | 4;

export function encodeStreamFrame(frame: Uint8Array, headerSize: HeaderSize = 4): Buffer {
  const length = Buffer.alloc(headerSize);
  length.writeUIntBE(frame.byteLength, 0, headerSize);
  return Buffer.concat([length, frame]);
}

/** Cuts a stream into frames, however its bytes arrive. */
export class StreamFrames {
  readonly #headerSize: HeaderSize;
  #pending = Buffer.alloc(0);

  constructor(headerSize: HeaderSize = 4) {
    this.#headerSize = headerSize;
  }

  push(bytes: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const header = this.#headerSize;
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.byteLength >= header) {
      const end = header + this.#pending.readUIntBE(0, header);
      if (this.#pending.byteLength < end) break;
      frames.push(Uint8Array.from(this.#pending.subarray(header, end)));
      this.#pending = this.#pending.subarray(end);
    }
    return frames;
  }
}

export class StreamPeer {
  readonly path: string;
  readonly received: Uint8Array[] = [];
  readonly #server: Server;
  #socket: Socket | undefined;

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async listen(path: string): Promise<StreamPeer> {
    const peer = new StreamPeer(path);
    await new Promise<void>((resolve) => peer.#server.listen(path, resolve));
    return peer;
  }

  /** Resolves while the switch is connected. */
  async connected(): Promise<void> {
    await waitFor(() => this.#socket !== undefined, `the switch to dial ${this.path}`, DIAL_DEADLINE_MS);
  }

  send(frame: Uint8Array): void {
    this.#socket?.write(encodeStreamFrame(frame));
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#socket?.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const frames = new StreamFrames();
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    socket.on("data", (bytes: Buffer) => this.received.push(...frames.push(bytes)));
  }
}
