// Writes messages to the peer of one connection, in the version agreed on. Thread: main.

import type { Socket } from "node:net";
import {
  type Dialect,
  encodeError,
  encodeMessage,
  OFPMPF_REPLY_MORE,
  type OfpErrorName,
  type OpenFlowMessage,
  splitMultipartBody,
  type Unsent,
} from "../../base/openflow/index.js";

/** Of one message. */
const MESSAGE_SIZE_MAX = 0xffff;

export class MessageSender {
  readonly #socket: Socket;
  readonly #dialect: () => Dialect;
  readonly #onWritten: ((message: Uint8Array) => void) | undefined;
  #isClosed = false;

  /** `dialect` says what is spoken now; `onWritten` hears of every message. */
  constructor(socket: Socket, dialect: () => Dialect, onWritten?: (message: Uint8Array) => void) {
    this.#socket = socket;
    this.#dialect = dialect;
    this.#onWritten = onWritten;
  }

  /** What the peer has not taken yet. */
  get bytesWaiting(): number {
    return this.#socket.writableLength;
  }

  /** Nothing is written from now on; what was written before is still sent. */
  close(): void {
    this.#isClosed = true;
  }

  /** One whole message. */
  write(bytes: Uint8Array): void {
    if (this.#isClosed || !this.#socket.writable) return;
    this.#socket.write(bytes);
    this.#onWritten?.(bytes);
  }

  /** `xid` 0 is for what nobody asked for. A reply too long for one message becomes several. */
  send(message: Unsent, xid: number): void {
    if (message.type !== "multipart_reply") {
      this.#send({ ...message, xid } as OpenFlowMessage);
      return;
    }
    const parts = splitMultipartBody(message.body, MESSAGE_SIZE_MAX, this.#dialect().version);
    for (const [i, body] of parts.entries()) {
      this.#send({ ...message, xid, flags: i < parts.length - 1 ? OFPMPF_REPLY_MORE : 0, body });
    }
  }

  /** `request` is the message that the error is about, or its beginning. */
  sendError(error: OfpErrorName, xid: number, request: Uint8Array): void {
    this.write(encodeError(error, xid, request, this.#dialect()));
  }

  #send(message: OpenFlowMessage): void {
    this.write(encodeMessage(message, this.#dialect()));
  }
}
