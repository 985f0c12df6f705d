// Replies of one connection, in the form that was negotiated, into a buffer that the server sends from.
//
//   simple:      16 bytes, then what was read
//   structured:  chunks with heads of 20 bytes for READ, BLOCK_STATUS and errors, else simple
//   extended:    chunks with heads of 32 bytes for everything; they repeat the offset of the request
//
// Source: NBD protocol, "Simple reply message", "Structured reply chunk message", "Extended reply chunk message".
// Thread: the pool's worker. Hot: yes.
import { setUint64 } from "../../base/bytes/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { DIRECT_ALIGN } from "../disk/direct-file.js";
import { EAGAIN, OK } from "../errors.js";
import { REPLY_QUEUE_BYTES_MAX } from "../limits.js";
import type { VolumeCounters } from "../metrics/volume-counters.js";
import type { ReplyMode } from "./nbd-session.js";
import {
  CHUNK_SIZE,
  EXTENDED_CHUNK_SIZE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  nbdError,
  SIMPLE_REPLY_SIZE,
  writeChunk,
  writeSimpleReply,
} from "./nbd-wire.js";
import { REPLY_BUFFER_LEAST, replyBuffers } from "./reply-buffers.js";
import { opOf } from "./turn-taker.js";

/** Shorter reads go through the page cache. */
const ALIGNED_MIN = 256 * 1024;
/** Of a connection that is over. */
const NOTHING = new DataBuffer(0);

/** Fills `length` bytes of `target` from `at` on; 0 or an errno, EAGAIN only if `wait` is false. */
export interface ReplyReader {
  read(target: DataBuffer, at: number, offset: number, length: number, wait: boolean): number;
}

export class NbdReplies {
  output = replyBuffers.take(REPLY_BUFFER_LEAST);
  outputStart = 0;
  outputEnd = 0;
  /** Replies of READ and BLOCK_STATUS, and errors, come in chunks. */
  readonly chunked: boolean;
  readonly #extended: boolean;
  readonly #headSize: number;
  #statusAt = 0;

  readonly #counters: VolumeCounters;

  constructor(mode: ReplyMode, counters: VolumeCounters) {
    this.#counters = counters;
    this.chunked = mode !== "simple";
    this.#extended = mode === "extended";
    this.#headSize = this.#extended ? EXTENDED_CHUNK_SIZE : CHUNK_SIZE;
  }

  /** The one and last answer to a request of `type`: 0 or an errno. */
  answer(echo: Uint32Array, e: number, type: number, error: number): void {
    if (error !== OK) this.#counters.fail(opOf(type));
    this.#room(this.#headSize + 6);
    const { view } = this.output;
    // Errors are better told by a chunk, as the specification has it.
    const hasChunks = error !== OK || type === NBD_CMD_READ || type === NBD_CMD_BLOCK_STATUS;
    const chunk = this.#extended || (this.chunked && hasChunks);
    if (!chunk) {
      this.outputEnd += writeSimpleReply(view, this.outputEnd, echo, e, nbdError(error));
      return;
    }
    if (error === OK) {
      this.#head(this.outputEnd, echo, e, NBD_REPLY_FLAG_DONE, 0, 0);
      this.outputEnd += this.#headSize;
      return;
    }
    this.#head(this.outputEnd, echo, e, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 6);
    view.setUint32(this.outputEnd + this.#headSize, nbdError(error));
    view.setUint16(this.outputEnd + this.#headSize + 4, 0);
    this.outputEnd += this.#headSize + 6;
  }

  /** Bytes that were not sent; for rewind(). */
  get held(): number {
    return this.outputEnd - this.outputStart;
  }

  /** Takes back what was said since `held` was so much; nothing was sent meanwhile. */
  rewind(held: number): void {
    this.outputEnd = this.outputStart + held;
  }

  /** A simple reply with what `reader` reads, or with its error. EAGAIN: nothing was said. */
  simpleRead(
    echo: Uint32Array,
    e: number,
    reader: ReplyReader,
    offset: number,
    length: number,
    wait: boolean,
  ): number {
    this.#roomToRead(SIMPLE_REPLY_SIZE, length);
    const at = this.outputEnd + SIMPLE_REPLY_SIZE;
    const result = length === 0 ? OK : reader.read(this.output, at, offset, length, wait);
    if (result === EAGAIN) return EAGAIN;
    this.answer(echo, e, NBD_CMD_READ, result);
    if (result === OK) this.outputEnd += length;
    return result;
  }

  /** A chunk of data: 0; EAGAIN when nothing was said; or the errno with which the request is answered now. */
  data(
    echo: Uint32Array,
    e: number,
    reader: ReplyReader,
    offset: number,
    length: number,
    flags: number,
    wait: boolean,
  ): number {
    const head = this.#headSize + 8;
    this.#roomToRead(head, length);
    const at = this.outputEnd;
    const result = reader.read(this.output, at + head, offset, length, wait);
    if (result !== OK) {
      if (result !== EAGAIN) this.answer(echo, e, NBD_CMD_READ, result);
      return result;
    }
    this.#head(at, echo, e, flags, NBD_REPLY_TYPE_OFFSET_DATA, length + 8);
    setUint64(this.output.view, at + this.#headSize, offset);
    this.outputEnd += head + length;
    return OK;
  }

  /** Bytes of a reply before what was read. */
  get dataHead(): number {
    return this.chunked ? this.#headSize + 8 : SIMPLE_REPLY_SIZE;
  }

  /** Room for replies of `size` bytes in all: until they are made the buffer stays where it is. */
  reserve(size: number): void {
    this.#room(size);
  }

  /** The one reply to a READ of which `length` bytes stand at `at`, no sooner than they would; or its error. */
  placed(echo: Uint32Array, e: number, at: number, offset: number, length: number, error: number): void {
    if (error !== OK) {
      this.answer(echo, e, NBD_CMD_READ, error);
      return;
    }
    const here = this.outputEnd;
    const to = here + this.dataHead;
    // Something before it has failed.
    if (to !== at) this.output.bytes.copyWithin(to, at, at + length);
    if (this.chunked) {
      this.#head(here, echo, e, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, length + 8);
      setUint64(this.output.view, here + this.#headSize, offset);
    } else writeSimpleReply(this.output.view, here, echo, e, OK);
    this.outputEnd = to + length;
  }

  hole(echo: Uint32Array, e: number, offset: number, length: number, flags: number): void {
    this.#room(this.#headSize + 12);
    this.#head(this.outputEnd, echo, e, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
    this.outputEnd += this.#headSize;
    setUint64(this.output.view, this.outputEnd, offset);
    this.output.view.setUint32(this.outputEnd + 8, length);
    this.outputEnd += 12;
  }

  /** Begins a chunk of at most `extentsMax` extents of a metadata context. */
  beginStatus(extentsMax: number): void {
    this.#room(this.#headSize + 8 + extentsMax * 16);
    this.#statusAt = this.outputEnd;
    this.outputEnd += this.#headSize + (this.#extended ? 8 : 4);
  }

  extent(length: number, state: number): void {
    const { view } = this.output;
    if (this.#extended) {
      setUint64(view, this.outputEnd, length);
      setUint64(view, this.outputEnd + 8, state);
      this.outputEnd += 16;
      return;
    }
    view.setUint32(this.outputEnd, length);
    view.setUint32(this.outputEnd + 4, state);
    this.outputEnd += 8;
  }

  endStatus(echo: Uint32Array, e: number, contextId: number, count: number, flags: number): void {
    const at = this.#statusAt;
    const length = this.outputEnd - at - this.#headSize;
    const type = this.#extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS;
    this.#head(at, echo, e, flags, type, length);
    this.output.view.setUint32(at + this.#headSize, contextId);
    if (this.#extended) this.output.view.setUint32(at + this.#headSize + 4, count);
  }

  /** Everything was sent; a buffer that one huge read needed is not kept. */
  reset(): void {
    this.outputStart = 0;
    this.outputEnd = 0;
    if (this.output.bytes.byteLength > REPLY_QUEUE_BYTES_MAX) this.#change(REPLY_BUFFER_LEAST);
  }

  /** The connection is over: nothing more is answered or sent. */
  end(): void {
    this.outputStart = 0;
    this.outputEnd = 0;
    replyBuffers.give(this.output);
    this.output = NOTHING;
  }

  #head(at: number, echo: Uint32Array, e: number, flags: number, type: number, length: number): void {
    writeChunk(this.output.view, at, this.#extended, echo, e, flags, type, length);
  }

  /** Makes room for `size` bytes of reply. Addresses of the buffer may change: nothing is being sent meanwhile. */
  #room(size: number): void {
    if (this.outputEnd + size <= this.output.bytes.byteLength) return;
    const held = this.outputEnd - this.outputStart;
    const needed = held + size;
    if (needed > this.output.bytes.byteLength) {
      this.#change(Math.max(needed, Math.min(2 * this.output.bytes.byteLength, REPLY_QUEUE_BYTES_MAX)));
    } else this.output.bytes.copyWithin(0, this.outputStart, this.outputEnd);
    this.outputStart = 0;
    this.outputEnd = held;
  }

  /** Room for a reply to a READ. The bytes of a long one that is the first stand where a disk can put them by itself. */
  #roomToRead(head: number, length: number): void {
    if (length < ALIGNED_MIN || this.outputStart < this.outputEnd) {
      this.#room(head + length);
      return;
    }
    this.outputStart = 0;
    this.outputEnd = 0;
    this.#room(DIRECT_ALIGN + head + length);
    this.outputEnd = DIRECT_ALIGN - ((this.output.address + head) % DIRECT_ALIGN);
    this.outputStart = this.outputEnd;
  }

  /** Another buffer, of at least `size` bytes, that begins with what was not sent. */
  #change(size: number): void {
    const before = this.output;
    this.output = replyBuffers.take(size);
    before.bytes.copy(this.output.bytes, 0, this.outputStart, this.outputEnd);
    replyBuffers.give(before);
  }
}
