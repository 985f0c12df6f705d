// The other end of a stream port, for tests: listens, and takes apart what comes.
import { createServer, type Server, type Socket } from "node:net";
import { waitFor } from "../../base/time/index.js";

const TAKE_DEADLINE_MS = 30_000;

/** A peer on a stream port: 4-byte length, frame. */
export class StreamPeer {
  readonly frames: Uint8Array[] = [];
  /** How often somebody has dialled. */
  dialled = 0;
  readonly #server: Server;
  #socket: Socket | undefined;
  #rest = Buffer.alloc(0);

  constructor(path: string) {
    this.#server = createServer((socket) => {
      this.#socket = socket;
      this.dialled++;
      socket.on("error", () => undefined);
      socket.on("data", (data) => this.#onData(data));
    }).listen(path);
  }
  send(frame: Uint8Array): void {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.byteLength);
    this.#socket?.write(Buffer.concat([length, frame]));
  }
  /** Takes all that has come, once these are `count` frames. Throws after half a minute. */
  async take(count: number): Promise<readonly Uint8Array[]> {
    const { frames } = this;
    await waitFor(
      () => frames.length >= count,
      () => `${frames.length} of ${count} frames`,
      TAKE_DEADLINE_MS,
      2,
    );
    return frames.splice(0);
  }
  async close(): Promise<void> {
    this.#socket?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
  #onData(data: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    while (this.#rest.byteLength >= 4 && this.#rest.byteLength >= 4 + this.#rest.readUInt32BE()) {
      const end = 4 + this.#rest.readUInt32BE();
      this.frames.push(Uint8Array.from(this.#rest.subarray(4, end)));
      this.#rest = this.#rest.subarray(end);
    }
  }
}
