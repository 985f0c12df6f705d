// The far end of a switch's stream port: listens as QEMU does, and the switch dials. A big-endian length of four
// bytes, then the frame.
import { createServer, type Server, type Socket } from "node:net";
import { waitFor } from "../../base/time/index.js";

const DIAL_DEADLINE_MS = 20_000;
const LENGTH_SIZE = 4;

export function encodeStreamFrame(frame: Uint8Array): Buffer {
  const length = Buffer.alloc(LENGTH_SIZE);
  length.writeUInt32BE(frame.byteLength);
  return Buffer.concat([length, frame]);
}

/** Cuts a stream into frames, however its bytes arrive. */
export class StreamFrames {
  #pending = Buffer.alloc(0);

  push(bytes: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = [];
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.byteLength >= LENGTH_SIZE) {
      const end = LENGTH_SIZE + this.#pending.readUInt32BE(0);
      if (this.#pending.byteLength < end) break;
      frames.push(Uint8Array.from(this.#pending.subarray(LENGTH_SIZE, end)));
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
