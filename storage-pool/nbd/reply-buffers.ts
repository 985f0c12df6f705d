// Buffers for replies that go from one connection to the next: fresh memory has to be cleared and had from the system, and
// a few megabytes of it for each client that comes and goes keep the garbage collector at work.
//
// A buffer may still hold what was read for somebody else: of one only what was put there since is ever sent.
// Thread: the pool's worker. Hot: no (as replies grow, and when connections end).
import { DataBuffer } from "../disk/data-buffer.js";
import { REPLY_QUEUE_BYTES_MAX } from "../limits.js";

export const REPLY_BUFFER_LEAST = 64 * 1024;
/** Bytes that are kept for the next. */
const KEPT_BYTES = 16 * 1024 * 1024;

export class ReplyBuffers {
  /** By size: REPLY_BUFFER_LEAST, twice that, and so on to REPLY_QUEUE_BYTES_MAX; the last that came goes first. */
  readonly #kept: DataBuffer[][] = [];
  #keptBytes = 0;

  /** A buffer of at least `size` bytes, with any content. */
  take(size: number): DataBuffer {
    const at = classOf(size);
    const bytes = REPLY_BUFFER_LEAST * 2 ** at;
    if (bytes > REPLY_QUEUE_BYTES_MAX) return new DataBuffer(size);
    const kept = this.#kept[at]?.pop();
    if (kept === undefined) return new DataBuffer(bytes);
    this.#keptBytes -= bytes;
    return kept;
  }

  /** The caller does not use a buffer from take() any more. Of any other nothing is kept. */
  give(buffer: DataBuffer): void {
    const { byteLength } = buffer.bytes;
    if (byteLength < REPLY_BUFFER_LEAST || byteLength > REPLY_QUEUE_BYTES_MAX) return;
    if (this.#keptBytes + byteLength > KEPT_BYTES) return;
    const at = classOf(byteLength);
    const kept = this.#kept[at];
    if (kept === undefined) this.#kept[at] = [buffer];
    else kept.push(buffer);
    this.#keptBytes += byteLength;
  }
}

function classOf(size: number): number {
  return Math.max(0, Math.ceil(Math.log2(size / REPLY_BUFFER_LEAST)));
}

/** Of this thread. */
export const replyBuffers = new ReplyBuffers();
