// NBD transmission: requests out of a connection's input buffer, replies into its output buffer.
//
//   input ─ parse: stage writes, queue the rest ─► (server commits the device) ─► finish: answers, reads ─► output
//
// A request is looked at once it is complete; a WRITE too large for the input buffer is received into a buffer of its
// own. Replies: simple, or structured where it was negotiated (never a simple reply to READ then). Everything is
// bounded: pending requests, bytes of queued reads, bytes of replies that the client does not take.
// Source: NBD protocol, "Transmission". Pure but for the device. Thread: the pool's worker. Hot: yes.
import { setUint64 } from "../../base/bytes/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EINVAL, ENOSPC, ENOTSUP, EPERM, OK } from "../errors.js";
import { BLOCK_SIZE, REPLY_QUEUE_BYTES_MAX, REQUEST_SIZE_BYTES_MAX, STATUS_EXTENTS_MAX } from "../limits.js";
import type { NbdExport } from "./nbd-export.js";
import { BASE_ALLOCATION_ID } from "./nbd-session.js";
import {
  CHUNK_SIZE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAGS_OF,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REQUEST_MAGIC,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
  nbdError,
  REQUEST_SIZE,
  SIMPLE_REPLY_SIZE,
  writeChunk,
  writeSimpleReply,
} from "./nbd-wire.js";

export const INPUT_SIZE = 320 * 1024;
const OUTPUT_SIZE = 64 * 1024;
const PENDING_MAX = 512;
/** Reads queued before they are answered; one larger request goes alone. */
const READ_BYTES_MAX = 1024 * 1024;
const SPARE_MAX = 2 * 1024 * 1024;
const HOLE_MIN = 64 * 1024;
/** Zeroes written in one breath: a request may ask for 4 GiB, and everybody else would have to wait. */
const ZERO_SLICE = 4 * 1024 * 1024;

/** Waits for a flush; `hi` and `lo` are the cookie of the request that asked for it. */
export interface FlushWaiter {
  flushed(hi: number, lo: number, error: number): void;
}

/** Told of flushes: `waiter.flushed` is called once everything committed before is durable. */
export interface FlushQueue {
  wait(waiter: FlushWaiter, hi: number, lo: number): void;
}

export class NbdTransmission implements FlushWaiter {
  readonly export: NbdExport;
  readonly input: DataBuffer;
  inputStart = 0;
  inputEnd = 0;
  /** Payload of a WRITE that the input buffer is too small for: receive `largeLeft` bytes at `largeAt`. */
  large: DataBuffer | undefined;
  largeAt = 0;
  largeLeft = 0;
  output = new DataBuffer(OUTPUT_SIZE);
  outputStart = 0;
  outputEnd = 0;
  /** Broken protocol: close at once. */
  broken = false;
  /** The client said goodbye: close when everything is answered. */
  disconnecting = false;
  /** A write waits for the cleaner. */
  stalled = false;
  flushesInFlight = 0;
  requests = 0;
  readonly #structured: boolean;
  readonly #blockStatus: boolean;
  readonly #flushes: FlushQueue;
  readonly #cookieHi = new Uint32Array(PENDING_MAX);
  readonly #cookieLo = new Uint32Array(PENDING_MAX);
  readonly #types = new Uint16Array(PENDING_MAX);
  readonly #flags = new Uint16Array(PENDING_MAX);
  readonly #errors = new Int32Array(PENDING_MAX);
  readonly #offsets = new Float64Array(PENDING_MAX);
  readonly #lengths = new Float64Array(PENDING_MAX);
  /** Kept for the next large write: fresh memory costs more than the copy into it. */
  #spare: DataBuffer | undefined;
  #pending = 0;
  #readBytes = 0;
  /** Payload of a refused WRITE that is still to come; its header, and why it is refused. */
  #discard = 0;
  readonly #refused = new DataBuffer(REQUEST_SIZE);
  #refusal: number = OK;
  /** Of the WRITE_ZEROES at the front of the input: bytes already written in earlier breaths, and what failed there. */
  #zeroed = 0;
  #zeroError: number = OK;

  constructor(
    target: NbdExport,
    input: DataBuffer,
    options: { readonly structuredReplies: boolean; readonly blockStatus: boolean },
    flushes: FlushQueue,
  ) {
    this.export = target;
    this.input = input;
    this.#structured = options.structuredReplies;
    this.#blockStatus = options.blockStatus;
    this.#flushes = flushes;
  }

  /** Everything received is answered and sent. */
  get idle(): boolean {
    return this.#pending === 0 && this.flushesInFlight === 0 && this.outputStart === this.outputEnd;
  }

  /** Whether `parse` could do more if it were called again after `finish`. */
  get hungry(): boolean {
    return this.inputEnd - this.inputStart >= REQUEST_SIZE && !this.broken && !this.stalled && !this.full;
  }

  /** The client does not take its replies: nothing more is read from it. */
  get full(): boolean {
    return this.outputEnd - this.outputStart >= REPLY_QUEUE_BYTES_MAX || this.disconnecting;
  }

  /** Looks at all complete requests in the input; true when something awaits `finish`. */
  parse(): boolean {
    this.stalled = false;
    if (this.large !== undefined && this.largeLeft === 0 && !this.#finishLarge()) return this.#pending > 0;
    while (!this.broken && !this.disconnecting && this.largeLeft === 0 && this.#pending < PENDING_MAX) {
      if (this.#discard > 0 && !this.#dropPayload()) break;
      if (this.inputEnd - this.inputStart < REQUEST_SIZE || !this.#parseRequest()) break;
    }
    if (this.inputStart === this.inputEnd) {
      this.inputStart = 0;
      this.inputEnd = 0;
    }
    return this.#pending > 0 || this.#zeroed > 0;
  }

  /** Makes room at the end of the input buffer. */
  compact(): void {
    if (this.inputStart === 0) return;
    this.input.bytes.copyWithin(0, this.inputStart, this.inputEnd);
    this.inputEnd -= this.inputStart;
    this.inputStart = 0;
  }

  #parseRequest(): boolean {
    const { view } = this.input;
    const at = this.inputStart;
    if (view.getUint32(at) !== NBD_REQUEST_MAGIC) {
      this.broken = true;
      return false;
    }
    const type = view.getUint16(at + 6);
    const length = view.getUint32(at + 24);
    if (type === NBD_CMD_DISC) {
      this.disconnecting = true;
      this.inputStart = this.inputEnd;
      return false;
    }
    // 64-bit offsets beyond 2⁵³ are beyond every export: rounding cannot bring them back.
    const offset = view.getUint32(at + 16) * 0x1_0000_0000 + view.getUint32(at + 20);
    const error = this.#check(type, view.getUint16(at + 4), offset, length);
    if (type === NBD_CMD_WRITE) return this.#parseWrite(at, offset, length, error);
    if (error === OK && (type === NBD_CMD_TRIM || type === NBD_CMD_WRITE_ZEROES)) {
      return this.#parseUnmap(at, type, offset, length);
    }
    if (error === OK && type === NBD_CMD_READ) {
      if (this.#readBytes > 0 && this.#readBytes + length > READ_BYTES_MAX) return false;
      this.#readBytes += length;
    }
    this.#note(at, type, offset, length, error);
    this.inputStart += REQUEST_SIZE;
    return true;
  }

  #check(type: number, flags: number, offset: number, length: number): number {
    const allowed = NBD_FLAGS_OF[type];
    if (allowed === undefined || type === 5 || (flags & ~allowed) !== 0) return EINVAL;
    if (type === NBD_CMD_FLUSH) return OK;
    const writing = type === NBD_CMD_WRITE || type === NBD_CMD_TRIM || type === NBD_CMD_WRITE_ZEROES;
    if (writing && this.export.readOnly) return EPERM;
    if (offset + length > this.export.sizeBytes) {
      return type === NBD_CMD_WRITE || type === NBD_CMD_WRITE_ZEROES ? ENOSPC : EINVAL;
    }
    if (type === NBD_CMD_BLOCK_STATUS && (!this.#blockStatus || length === 0)) return EINVAL;
    const payload = type === NBD_CMD_READ || type === NBD_CMD_WRITE;
    return payload && length > REQUEST_SIZE_BYTES_MAX ? EINVAL : OK;
  }

  #parseWrite(at: number, offset: number, length: number, error: number): boolean {
    if (error !== OK && length > 0) {
      this.input.bytes.copy(this.#refused.bytes, 0, at, at + REQUEST_SIZE);
      this.#refusal = error;
      this.#discard = length;
      this.inputStart += REQUEST_SIZE;
      return true;
    }
    if (length === 0) {
      this.#note(at, NBD_CMD_WRITE, offset, length, error);
      this.inputStart += REQUEST_SIZE;
      return true;
    }
    const have = this.inputEnd - at - REQUEST_SIZE;
    if (have < length) {
      if (REQUEST_SIZE + length > this.input.bytes.byteLength) this.#beginLarge(at, length, have);
      return false;
    }
    const result = this.#stage(this.input, at + REQUEST_SIZE, offset, length);
    if (result === EAGAIN) return false;
    this.#note(at, NBD_CMD_WRITE, offset, length, result);
    this.inputStart += REQUEST_SIZE + length;
    return true;
  }

  #stage(source: DataBuffer, at: number, offset: number, length: number): number {
    const result = this.export.device.stageWrite(source, at, offset, length);
    if (result === EAGAIN) this.stalled = true;
    else this.export.staged = true;
    return result;
  }

  /** The header moves into the large buffer too, so that it is there when the payload is complete. */
  #beginLarge(at: number, length: number, have: number): void {
    const size = REQUEST_SIZE + length;
    const spare = this.#spare;
    this.large = spare !== undefined && spare.bytes.byteLength >= size ? spare : new DataBuffer(size);
    if (size <= SPARE_MAX) this.#spare = this.large;
    this.input.bytes.copy(this.large.bytes, 0, at, at + REQUEST_SIZE + have);
    this.largeAt = REQUEST_SIZE + have;
    this.largeLeft = length - have;
    this.inputStart = 0;
    this.inputEnd = 0;
  }

  /** False when the write has to wait for the cleaner. */
  #finishLarge(): boolean {
    const large = this.large as DataBuffer;
    if (this.#pending >= PENDING_MAX) return false;
    const offset = large.view.getUint32(16) * 0x1_0000_0000 + large.view.getUint32(20);
    const length = large.view.getUint32(24);
    const result = this.#stage(large, REQUEST_SIZE, offset, length);
    if (result === EAGAIN) return false;
    this.#noteFrom(large, 0, NBD_CMD_WRITE, offset, length, result);
    this.large = undefined;
    return true;
  }

  #parseUnmap(at: number, type: number, offset: number, length: number): boolean {
    const flags = this.input.view.getUint16(at + 4);
    const device = this.export.device;
    let result: number = OK;
    if (length === 0) result = OK;
    else if (type === NBD_CMD_TRIM) {
      // TRIM may round inwards: parts of blocks stay as they are.
      const first = Math.ceil(offset / BLOCK_SIZE) * BLOCK_SIZE;
      const end = Math.floor((offset + length) / BLOCK_SIZE) * BLOCK_SIZE;
      if (end > first) result = device.stageUnmap(first, end - first);
    } else if ((flags & NBD_CMD_FLAG_NO_HOLE) === 0) result = device.stageUnmap(offset, length);
    else if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0) result = ENOTSUP;
    else {
      const slice = Math.min(length - this.#zeroed, ZERO_SLICE);
      result = this.#zeroError === OK ? device.stageZeroes(offset + this.#zeroed, slice) : this.#zeroError;
      if (result === OK && this.#zeroed + slice < length) {
        this.#zeroed += slice;
        this.export.staged = true;
        return false;
      }
    }
    if (result === EAGAIN) {
      this.stalled = true;
      return false;
    }
    this.export.staged = true;
    this.#note(at, type, offset, length, result);
    this.inputStart += REQUEST_SIZE;
    return true;
  }

  #note(at: number, type: number, offset: number, length: number, error: number): void {
    this.#noteFrom(this.input, at, type, offset, length, error);
  }

  #noteFrom(
    source: DataBuffer,
    at: number,
    type: number,
    offset: number,
    length: number,
    error: number,
  ): void {
    this.#zeroed = 0;
    this.#zeroError = OK;
    const n = this.#pending++;
    this.#cookieHi[n] = source.view.getUint32(at + 8);
    this.#cookieLo[n] = source.view.getUint32(at + 12);
    this.#flags[n] = source.view.getUint16(at + 4);
    this.#types[n] = type;
    this.#offsets[n] = offset;
    this.#lengths[n] = length;
    this.#errors[n] = error;
    this.requests++;
  }

  #dropPayload(): boolean {
    const count = Math.min(this.#discard, this.inputEnd - this.inputStart);
    this.inputStart += count;
    this.#discard -= count;
    if (this.#discard > 0) return false;
    // Only now: clients do not expect an answer to what they are still sending.
    this.#noteFrom(this.#refused, 0, NBD_CMD_WRITE, 0, 0, this.#refusal);
    return true;
  }

  /** Answers everything that was parsed; the export's device has been committed. */
  finish(): void {
    const count = this.#pending;
    const committed = this.export.commitResult;
    for (let n = 0; n < count; n++) {
      const error = this.#errors[n] as number;
      const type = this.#types[n] as number;
      if (type === NBD_CMD_READ) this.#answerRead(n, error);
      else if (type === NBD_CMD_BLOCK_STATUS && error === OK) this.#answerStatus(n);
      else if (type === NBD_CMD_FLUSH && error === OK) this.#waitForFlush(n);
      else if (error !== OK || committed !== OK) this.#answer(n, error !== OK ? error : committed);
      else if (((this.#flags[n] as number) & NBD_CMD_FLAG_FUA) !== 0) this.#waitForFlush(n);
      else this.#answer(n, OK);
    }
    if (this.#zeroed > 0 && this.#zeroError === OK) this.#zeroError = committed;
    this.#pending = 0;
    this.#readBytes = 0;
  }

  #waitForFlush(n: number): void {
    this.flushesInFlight++;
    this.#flushes.wait(this, this.#cookieHi[n] as number, this.#cookieLo[n] as number);
  }

  /** The flush that this request waited for has ended. */
  flushed(hi: number, lo: number, error: number): void {
    this.flushesInFlight--;
    this.#room(SIMPLE_REPLY_SIZE);
    this.outputEnd += writeSimpleReply(this.output.view, this.outputEnd, hi, lo, nbdError(error));
  }

  #answer(n: number, error: number): void {
    this.#room(CHUNK_SIZE + 6);
    const hi = this.#cookieHi[n] as number;
    const lo = this.#cookieLo[n] as number;
    const { view } = this.output;
    const type = this.#types[n] as number;
    const structured = this.#structured && (type === NBD_CMD_READ || type === NBD_CMD_BLOCK_STATUS);
    if (!structured) {
      this.outputEnd += writeSimpleReply(view, this.outputEnd, hi, lo, nbdError(error));
      return;
    }
    const flags = NBD_REPLY_FLAG_DONE;
    const kind = error === OK ? 0 : NBD_REPLY_TYPE_ERROR;
    this.outputEnd += writeChunk(view, this.outputEnd, hi, lo, flags, kind, error === OK ? 0 : 6);
    if (error === OK) return;
    view.setUint32(this.outputEnd, nbdError(error));
    view.setUint16(this.outputEnd + 4, 0);
    this.outputEnd += 6;
  }

  #answerRead(n: number, error: number): void {
    const length = this.#lengths[n] as number;
    if (error !== OK || (length === 0 && this.#structured)) {
      this.#answer(n, error);
      return;
    }
    if (!this.#structured) {
      this.#answerSimpleRead(n, length);
      return;
    }
    const offset = this.#offsets[n] as number;
    const whole = ((this.#flags[n] as number) & NBD_CMD_FLAG_DF) !== 0 || length < HOLE_MIN;
    if (whole) {
      this.#dataChunk(n, offset, length, NBD_REPLY_FLAG_DONE);
      return;
    }
    let at = offset;
    let failed = false;
    const end = offset + length;
    this.export.device.extents(offset, length, (run, mapped) => {
      const last = at + run === end ? NBD_REPLY_FLAG_DONE : 0;
      if (mapped) failed = !this.#dataChunk(n, at, run, last);
      else this.#holeChunk(n, at, run, last);
      at += run;
      return !failed;
    });
  }

  #answerSimpleRead(n: number, length: number): void {
    this.#room(SIMPLE_REPLY_SIZE + length);
    const at = this.outputEnd;
    const result =
      length === 0
        ? OK
        : this.export.device.read(this.output, at + SIMPLE_REPLY_SIZE, this.#offsets[n] as number, length);
    this.#answer(n, result);
    if (result === OK) this.outputEnd += length;
  }

  /** False when the data could not be read; then the request is answered with the error. */
  #dataChunk(n: number, offset: number, length: number, flags: number): boolean {
    this.#room(CHUNK_SIZE + 8 + length);
    const { view } = this.output;
    const at = this.outputEnd;
    const result = this.export.device.read(this.output, at + CHUNK_SIZE + 8, offset, length);
    if (result !== OK) {
      this.#answer(n, result);
      return false;
    }
    const hi = this.#cookieHi[n] as number;
    const lo = this.#cookieLo[n] as number;
    writeChunk(view, at, hi, lo, flags, NBD_REPLY_TYPE_OFFSET_DATA, length + 8);
    setUint64(view, at + CHUNK_SIZE, offset);
    this.outputEnd += CHUNK_SIZE + 8 + length;
    return true;
  }

  #holeChunk(n: number, offset: number, length: number, flags: number): void {
    this.#room(CHUNK_SIZE + 12);
    const { view } = this.output;
    const hi = this.#cookieHi[n] as number;
    const lo = this.#cookieLo[n] as number;
    this.outputEnd += writeChunk(view, this.outputEnd, hi, lo, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
    setUint64(view, this.outputEnd, offset);
    view.setUint32(this.outputEnd + 8, length);
    this.outputEnd += 12;
  }

  #answerStatus(n: number): void {
    this.#room(CHUNK_SIZE + 4 + STATUS_EXTENTS_MAX * 8);
    const { view } = this.output;
    const at = this.outputEnd;
    const max = ((this.#flags[n] as number) & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : STATUS_EXTENTS_MAX;
    let count = 0;
    let to = at + CHUNK_SIZE + 4;
    this.export.device.extents(this.#offsets[n] as number, this.#lengths[n] as number, (run, mapped) => {
      view.setUint32(to, run);
      view.setUint32(to + 4, mapped ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO);
      to += 8;
      return ++count < max;
    });
    const hi = this.#cookieHi[n] as number;
    const lo = this.#cookieLo[n] as number;
    writeChunk(view, at, hi, lo, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, 4 + count * 8);
    view.setUint32(at + CHUNK_SIZE, BASE_ALLOCATION_ID);
    this.outputEnd = to;
  }

  /** Everything was sent; a buffer that one huge read needed is not kept. */
  resetOutput(): void {
    this.outputStart = 0;
    this.outputEnd = 0;
    if (this.output.bytes.byteLength > REPLY_QUEUE_BYTES_MAX) this.output = new DataBuffer(OUTPUT_SIZE);
  }

  /** Makes room for `size` bytes of reply. Addresses of the buffer may change: nothing is being sent meanwhile. */
  #room(size: number): void {
    if (this.outputEnd + size <= this.output.bytes.byteLength) return;
    const held = this.outputEnd - this.outputStart;
    const needed = held + size;
    let target = this.output;
    if (needed > target.bytes.byteLength) {
      target = new DataBuffer(Math.max(needed, Math.min(2 * target.bytes.byteLength, REPLY_QUEUE_BYTES_MAX)));
    }
    this.output.bytes.copy(target.bytes, 0, this.outputStart, this.outputEnd);
    this.output = target;
    this.outputStart = 0;
    this.outputEnd = held;
  }
}
