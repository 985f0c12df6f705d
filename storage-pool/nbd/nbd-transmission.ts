// NBD transmission: requests out of a connection's input buffer, replies into its output buffer.
//
//   input ─ parse: stage writes, queue the rest ─► (server commits the device) ─► finish: answers, reads ─► output
//
// A request is looked at once it is complete; a WRITE too large for the input buffer is received into a buffer of its
// own. Everything is bounded: pending requests, flushes, bytes of queued reads, bytes of replies not taken.
// Source: NBD protocol, "Transmission". Pure but for the device. Thread: the pool's worker. Hot: yes.
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EINVAL, OK } from "../errors.js";
import {
  FLUSHES_MAX,
  LOOKUP_SPAN_BYTES_MAX,
  REPLY_QUEUE_BYTES_MAX,
  REQUEST_SIZE_BYTES_MAX,
  STATUS_EXTENTS_MAX,
} from "../limits.js";
import type { FlushQueue, FlushWaiter } from "./flush-rounds.js";
import type { NbdExport } from "./nbd-export.js";
import { NbdReplies } from "./nbd-replies.js";
import type { MetaContext, Negotiated } from "./nbd-session.js";
import {
  ECHO_WORDS,
  EXTENDED_REQUEST_SIZE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REPLY_FLAG_DONE,
  NBD_REQUEST_MAGIC,
  REQUEST_SIZE,
} from "./nbd-wire.js";
import { ReadReplies } from "./read-replies.js";
import { chosenContexts, RequestChecker } from "./request-checker.js";
import { TurnTaker } from "./turn-taker.js";
import { STAGE_MORE, ZeroStager } from "./zero-stager.js";

export const INPUT_SIZE = 320 * 1024;
const PENDING_MAX = 512;
/** Reads queued before they are answered; one larger request goes alone. */
const READ_BYTES_MAX = 1024 * 1024;
const SPARE_MAX = 2 * 1024 * 1024;
const U32 = 0x1_0000_0000;

export class NbdTransmission implements FlushWaiter {
  export: NbdExport;
  readonly input: DataBuffer;
  readonly replies: NbdReplies;
  reads: ReadReplies;
  inputStart = 0;
  inputEnd = 0;
  /** Payload of a WRITE that the input buffer is too small for: receive `largeLeft` bytes at `largeAt`. */
  large: DataBuffer | undefined;
  largeAt = 0;
  largeLeft = 0;
  /** Broken protocol: close at once. */
  broken = false;
  /** The client said goodbye: close when everything is answered. */
  disconnecting = false;
  /** A write waits for the cleaner. */
  stalled = false;
  turn: TurnTaker;
  flushesInFlight = 0;
  requests = 0;
  readonly #extended: boolean;
  readonly #requestSize: number;
  readonly #magic: number;
  readonly #contexts: readonly MetaContext[];
  readonly #checker: RequestChecker;
  readonly #flushes: FlushQueue;
  readonly #echo = new Uint32Array(PENDING_MAX * ECHO_WORDS);
  readonly #types = new Uint16Array(PENDING_MAX);
  readonly #flags = new Uint16Array(PENDING_MAX);
  readonly #errors = new Int32Array(PENDING_MAX);
  readonly #offsets = new Float64Array(PENDING_MAX);
  readonly #lengths = new Float64Array(PENDING_MAX);
  /** Of a BLOCK_STATUS: which of the contexts are asked for, a bit each. */
  readonly #chosen = new Uint32Array(PENDING_MAX);
  readonly #flushEcho = new Uint32Array(FLUSHES_MAX * ECHO_WORDS);
  readonly #flushTypes = new Uint16Array(FLUSHES_MAX);
  /** Free places of the flush columns, a stack. */
  readonly #flushFree = Uint16Array.from({ length: FLUSHES_MAX }, (_, i) => i); // cold
  /** Kept for the next large write: fresh memory costs more than the copy into it. */
  #spare: DataBuffer | undefined;
  /** Requests that were parsed and await finish(); those that the last one has answered. */
  pendingCount = 0;
  finishedCount = 0;
  #readBytes = 0;
  #readCount = 0;
  /** Payload of a refused request that is still to come; its header, and why it is refused. */
  #discard = 0;
  readonly #refused = new DataBuffer(EXTENDED_REQUEST_SIZE);
  #refusal: number = OK;
  /** Of the TRIM or WRITE_ZEROES at the front of the input. */
  #zeroes: ZeroStager;

  constructor(
    target: NbdExport,
    input: DataBuffer,
    { mode, contexts }: Pick<Negotiated, "mode" | "contexts">,
    flushes: FlushQueue,
  ) {
    this.export = target;
    this.input = input;
    this.replies = new NbdReplies(mode, target.share.counters);
    this.reads = new ReadReplies(target, this.replies, PENDING_MAX);
    this.#zeroes = new ZeroStager(target.device);
    this.#extended = mode === "extended";
    this.#requestSize = this.#extended ? EXTENDED_REQUEST_SIZE : REQUEST_SIZE;
    this.#magic = this.#extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC;
    this.#contexts = contexts;
    this.#checker = new RequestChecker(target, mode, contexts.length > 0);
    this.#flushes = flushes;
    this.turn = new TurnTaker(target.share);
  }

  /** Goes on with another device of the same content; false when something that was asked of this one is not answered. */
  rebind(target: NbdExport): boolean {
    if (this.pendingCount > 0 || this.flushesInFlight > 0 || this.reads.awaited > 0) return false;
    this.export = target;
    this.reads = new ReadReplies(target, this.replies, PENDING_MAX);
    this.#checker.target = target;
    this.turn = new TurnTaker(target.share);
    // Zeros that were under way are written anew.
    this.#zeroes = new ZeroStager(target.device);
    return true;
  }

  /** Everything is answered and sent. */
  get idle(): boolean {
    return (
      this.pendingCount === 0 &&
      this.flushesInFlight === 0 &&
      this.reads.awaited === 0 &&
      this.replies.outputStart === this.replies.outputEnd
    );
  }

  /** Whether `parse` could do more with what was received. */
  get hungry(): boolean {
    const have = this.inputEnd - this.inputStart;
    const isLargeWhole = this.large !== undefined && this.largeLeft === 0;
    if (!isLargeWhole && have < (this.#discard > 0 ? 1 : this.#requestSize)) return false;
    return !this.broken && !this.stalled && !this.turn.throttled && !this.full;
  }

  /** The client does not take its replies, or asks for too many flushes at once: nothing more is read from it. */
  get full(): boolean {
    const queued = this.replies.outputEnd - this.replies.outputStart;
    return (
      queued >= REPLY_QUEUE_BYTES_MAX ||
      this.flushesInFlight > FLUSHES_MAX - PENDING_MAX ||
      this.disconnecting
    );
  }

  /** Looks at all complete requests in the input; true when something awaits `finish`. */
  parse(): boolean {
    this.stalled = false;
    this.turn.begin();
    if (this.large !== undefined && this.largeLeft === 0 && !this.#finishLarge())
      return this.pendingCount > 0;
    while (!this.broken && !this.disconnecting && this.largeLeft === 0 && this.pendingCount < PENDING_MAX) {
      if (this.#discard > 0 && !this.#dropPayload()) break;
      if (this.inputEnd - this.inputStart < this.#requestSize || !this.#parseRequest()) break;
    }
    if (this.inputStart === this.inputEnd) {
      this.inputStart = 0;
      this.inputEnd = 0;
    }
    return this.pendingCount > 0 || this.#zeroes.isUnderWay;
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
    if (view.getUint32(at) !== this.#magic) {
      this.broken = true;
      return false;
    }
    const flags = view.getUint16(at + 4);
    const type = view.getUint16(at + 6);
    if (type === NBD_CMD_DISC) {
      this.disconnecting = true;
      this.inputStart = this.inputEnd;
      return false;
    }
    // 64-bit numbers beyond 2⁵³ are beyond every export: rounding cannot bring them back.
    const offset = view.getUint32(at + 16) * U32 + view.getUint32(at + 20);
    const length = this.#extended
      ? view.getUint32(at + 24) * U32 + view.getUint32(at + 28)
      : view.getUint32(at + 24);
    const error = this.#checker.check(type, flags, offset, length);
    if (error === OK && !this.turn.take(type, length)) return false;
    // A WRITE brings its bytes also when an extended one does not say so.
    if (type === NBD_CMD_WRITE || (this.#extended && (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0)) {
      if (this.#extended && length > REQUEST_SIZE_BYTES_MAX) {
        this.broken = true;
        return false;
      }
      if (type === NBD_CMD_WRITE) return this.#parseWrite(at, offset, length, error);
      if (type === NBD_CMD_BLOCK_STATUS) return this.#parseFilter(at, offset, length, error);
      return this.#refuse(at, length, error === OK ? EINVAL : error);
    }
    if (error === OK && (type === NBD_CMD_TRIM || type === NBD_CMD_WRITE_ZEROES)) {
      return this.#parseUnmap(at, type, offset, length);
    }
    if (error === OK && type === NBD_CMD_READ) {
      if (this.#readBytes > 0 && this.#readBytes + length > READ_BYTES_MAX) return false;
      this.#readBytes += length;
      this.#readCount++;
    }
    this.#note(at, type, offset, length, error);
    this.inputStart += this.#requestSize;
    return true;
  }

  /** A request that is answered with `error` once its payload has gone by. */
  #refuse(at: number, length: number, error: number): boolean {
    this.input.bytes.copy(this.#refused.bytes, 0, at, at + this.#requestSize);
    this.#refusal = error;
    this.#discard = length;
    this.inputStart += this.#requestSize;
    if (length === 0) this.#dropPayload();
    return true;
  }

  /** BLOCK_STATUS with a payload: u64 effect length, u32 × n context ids. */
  #parseFilter(at: number, offset: number, length: number, error: number): boolean {
    const most = 8 + 4 * this.#contexts.length;
    if (error !== OK || length < 12 || length > most || length % 4 !== 0) {
      return this.#refuse(at, length, error === OK ? EINVAL : error);
    }
    if (this.inputEnd - at - this.#requestSize < length) return false;
    const { view } = this.input;
    const from = at + this.#requestSize;
    const span = view.getUint32(from) * U32 + view.getUint32(from + 4);
    const chosen = chosenContexts(view, from + 8, (length - 8) / 4, this.#contexts.length);
    const bad = chosen === 0 || span === 0 || offset + span > this.export.sizeBytes;
    this.#note(at, NBD_CMD_BLOCK_STATUS, offset, span, bad ? EINVAL : OK);
    this.#chosen[this.pendingCount - 1] = chosen;
    this.inputStart += this.#requestSize + length;
    return true;
  }

  #parseWrite(at: number, offset: number, length: number, error: number): boolean {
    if (error !== OK) return this.#refuse(at, length, error);
    const head = this.#requestSize;
    if (length === 0) {
      this.#note(at, NBD_CMD_WRITE, offset, length, OK);
      this.inputStart += head;
      return true;
    }
    const have = this.inputEnd - at - head;
    if (have < length) {
      if (head + length > this.input.bytes.byteLength) this.#beginLarge(at, length, have);
      return false;
    }
    const result = this.#stage(this.input, at + head, offset, length);
    if (result === EAGAIN) return false;
    this.#note(at, NBD_CMD_WRITE, offset, length, result);
    this.inputStart += head + length;
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
    const head = this.#requestSize;
    const size = head + length;
    const spare = this.#spare;
    this.large = spare !== undefined && spare.bytes.byteLength >= size ? spare : new DataBuffer(size);
    if (size <= SPARE_MAX) this.#spare = this.large;
    this.input.bytes.copy(this.large.bytes, 0, at, at + head + have);
    this.largeAt = head + have;
    this.largeLeft = length - have;
    this.inputStart = 0;
    this.inputEnd = 0;
  }

  /** False when the write has to wait for the cleaner. */
  #finishLarge(): boolean {
    const large = this.large as DataBuffer;
    if (this.pendingCount >= PENDING_MAX) return false;
    const offset = large.view.getUint32(16) * U32 + large.view.getUint32(20);
    // The low word is enough: payloads are small.
    const length = large.view.getUint32(this.#extended ? 28 : 24);
    const result = this.#stage(large, this.#requestSize, offset, length);
    if (result === EAGAIN) return false;
    this.#noteFrom(large, 0, NBD_CMD_WRITE, offset, length, result);
    this.large = undefined;
    return true;
  }

  #parseUnmap(at: number, type: number, offset: number, length: number): boolean {
    const result = this.#zeroes.stage(type, this.input.view.getUint16(at + 4), offset, length);
    if (result === EAGAIN) {
      this.stalled = true;
      return false;
    }
    this.export.staged = true;
    if (result === STAGE_MORE) return false;
    this.#note(at, type, offset, length, result);
    this.inputStart += this.#requestSize;
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
    this.turn.done(type, length);
    this.#zeroes.end();
    const n = this.pendingCount++;
    const e = n * ECHO_WORDS;
    for (let i = 0; i < ECHO_WORDS; i++) this.#echo[e + i] = source.view.getUint32(at + 8 + i * 4);
    this.#chosen[n] = 0xffff_ffff;
    this.#flags[n] = source.view.getUint16(at + 4);
    this.#types[n] = type;
    this.#offsets[n] = offset;
    this.#lengths[n] = length;
    this.#errors[n] = error;
    this.requests++;
  }

  /** The connection is over. */
  end(): void {
    this.#zeroes.end();
    this.reads.end();
    this.replies.end();
  }

  #dropPayload(): boolean {
    const count = Math.min(this.#discard, this.inputEnd - this.inputStart);
    this.inputStart += count;
    this.#discard -= count;
    if (this.#discard > 0) return false;
    // Only now: clients do not expect an answer to what they are still sending.
    this.#noteFrom(this.#refused, 0, this.#refused.view.getUint16(6), 0, 0, this.#refusal);
    return true;
  }

  /**
   * Answers what was parsed; the export's device has been committed. Unless somebody is `alone` with one read, short reads
   * and those that have to wait for the disk are left to finishReads(): first it is asked for all of them. `ahead`: short
   * reads are expected to wait for it.
   */
  finish(alone: boolean, ahead = false): void {
    const count = this.pendingCount;
    const only = alone && this.#readCount <= 1;
    const committed = this.export.commitResult;
    for (let n = 0; n < count; n++) {
      const error = this.#errors[n] as number;
      const type = this.#types[n] as number;
      if (type === NBD_CMD_READ) {
        if (error !== OK) this.#answer(n, error);
        else {
          const isWhole = ((this.#flags[n] as number) & NBD_CMD_FLAG_DF) !== 0;
          const length = this.#lengths[n] as number;
          this.reads.take(this.#echo, n, this.#offsets[n] as number, length, isWhole, only);
        }
      } else if (type === NBD_CMD_BLOCK_STATUS && error === OK) this.#answerStatus(n);
      else if (type === NBD_CMD_FLUSH && error === OK) this.#waitForFlush(n);
      else if (error !== OK || committed !== OK || type === NBD_CMD_CACHE) {
        this.#answer(n, error !== OK || type === NBD_CMD_CACHE ? error : committed);
      } else if (((this.#flags[n] as number) & NBD_CMD_FLAG_FUA) !== 0) this.#waitForFlush(n);
      else this.#answer(n, OK);
    }
    this.#zeroes.committed(committed);
    this.reads.prepare(this.#echo, ahead);
    this.pendingCount = 0;
    this.#readBytes = 0;
    this.#readCount = 0;
    this.finishedCount = count;
  }

  /** Answers the reads that finish() left, but for those that wait for a disk; before anything more is parsed. */
  finishReads(): void {
    this.finishedCount -= this.reads.finish(this.#echo);
  }

  #waitForFlush(n: number): void {
    const tag = this.#flushFree[FLUSHES_MAX - 1 - this.flushesInFlight++] as number;
    const echo = this.#flushEcho;
    for (let i = 0; i < ECHO_WORDS; i++) {
      echo[tag * ECHO_WORDS + i] = this.#echo[n * ECHO_WORDS + i] as number;
    }
    this.#flushTypes[tag] = this.#types[n] as number;
    this.#flushes.wait(this, tag);
  }

  /** The flush that this request waited for has ended. */
  flushed(tag: number, error: number): void {
    this.#flushFree[FLUSHES_MAX - this.flushesInFlight--] = tag;
    this.replies.answer(
      this.#flushEcho,
      tag * ECHO_WORDS,
      this.#flushTypes[tag] as number,
      error || this.export.device.syncError,
    );
  }

  #answer(n: number, error: number): void {
    this.replies.answer(this.#echo, n * ECHO_WORDS, this.#types[n] as number, error);
  }

  /** One chunk for each context that is asked for. */
  #answerStatus(n: number): void {
    const chosen = this.#chosen[n] as number;
    const max = ((this.#flags[n] as number) & NBD_CMD_FLAG_REQ_ONE) !== 0 ? 1 : STATUS_EXTENTS_MAX;
    const length = Math.min(this.#lengths[n] as number, LOOKUP_SPAN_BYTES_MAX);
    const { replies } = this;
    for (let i = 0; i < this.#contexts.length; i++) {
      if ((chosen & (1 << i)) === 0) continue;
      const context = this.#contexts[i] as MetaContext;
      let count = 0;
      replies.beginStatus(max);
      this.export.walk(context, this.#offsets[n] as number, length, (run, state) => {
        replies.extent(run, state);
        return ++count < max;
      });
      // None of the others follows when no higher bit is set.
      const last = i + 1 === this.#contexts.length || chosen >>> (i + 1) === 0;
      replies.endStatus(this.#echo, n * ECHO_WORDS, i + 1, count, last ? NBD_REPLY_FLAG_DONE : 0);
    }
  }
}
