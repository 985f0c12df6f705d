// An OpenFlow connection that knows only where a message begins and ends: bytes in, bytes out, as a peer that is not
// ours sends and sees them.
import { connect, type Socket } from "node:net";
import { waitFor } from "../../base/time/index.js";

const DEADLINE_MS = 30_000;
const HEADER_SIZE = 8;
const OFPT_HELLO = 0;
const OFPT_ECHO_REQUEST = 2;

export class RawOpenFlow {
  /** What came in and was not taken, without hellos and echo requests. */
  readonly messages: Buffer[] = [];
  isClosed = false;
  readonly #socket: Socket;
  readonly #barrier: readonly [request: number, reply: number];
  readonly #version: number;
  #bytes = Buffer.alloc(0);

  /** Dials a unix socket and says hello in `version` (1 or 4), without a bitmap. */
  constructor(path: string, version: 1 | 4) {
    this.#version = version;
    this.#barrier = version === 1 ? [18, 19] : [20, 21];
    this.#socket = connect(path);
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => {
      this.isClosed = true;
    });
    this.#socket.on("data", (bytes: Buffer) => this.#take(bytes));
    this.send(Uint8Array.of(version, OFPT_HELLO, 0, HEADER_SIZE, 0, 0, 0, 1));
  }

  send(...messages: readonly (Uint8Array | readonly number[])[]): void {
    this.#socket.write(Buffer.concat(messages.map((message) => Uint8Array.from(message))));
  }

  /** Sends the messages and a barrier; resolves with what came before its reply. */
  async ask(...messages: readonly (Uint8Array | readonly number[])[]): Promise<Buffer[]> {
    const [request, reply] = this.#barrier;
    this.send(...messages, Uint8Array.of(this.#version, request, 0, HEADER_SIZE, 0xba, 0, 0, 1));
    const isReply = (one: Buffer): boolean => one[1] === reply && one.readUInt32BE(4) === 0xba000001;
    await waitFor(() => this.messages.some(isReply), "no barrier reply", DEADLINE_MS, 2);
    return this.messages.splice(0, this.messages.findIndex(isReply) + 1).slice(0, -1);
  }

  /** The next message of the type, which is taken. */
  async next(type: number): Promise<Buffer> {
    const at = (): number => this.messages.findIndex((one) => one[1] === type);
    await waitFor(
      () => at() >= 0,
      () => `no type ${type} among ${this.messages.map((one) => one[1]).join(", ")}`,
      DEADLINE_MS,
      2,
    );
    return this.messages.splice(at(), 1)[0] as Buffer;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= HEADER_SIZE && this.#bytes.length >= this.#bytes.readUInt16BE(2)) {
      const message = this.#bytes.subarray(0, this.#bytes.readUInt16BE(2));
      this.#bytes = this.#bytes.subarray(message.length);
      if (message[1] !== OFPT_HELLO && message[1] !== OFPT_ECHO_REQUEST) this.messages.push(message);
    }
  }
}

/** An error message as "type:code", an experimenter's as "x<experimenter>:<type>"; another message as "type N". */
export function told(message: Buffer): string {
  if (message[1] !== 1) return `type ${message[1]}`;
  const type = message.readUInt16BE(8);
  const code = message.readUInt16BE(10);
  return type === 0xffff ? `x${message.readUInt32BE(12).toString(16)}:${code}` : `${type}:${code}`;
}
