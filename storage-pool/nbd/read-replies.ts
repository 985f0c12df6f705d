// What answers READs: one reply each, or chunks with the holes told from the data.
//
//   take … take ─► prepare ─► (other connections do the same) ─► finish ─► readDone, for those that wait for a disk
//
// Short reads go to the disks in one system call, each to where its reply will be if none before it fails. Those that a
// disk has to be waited for with are answered as they come, while other requests are; long ones are waited for here, but
// first the disks are asked for all of them.
// Source: NBD protocol, "Structured reply messages". Thread: the pool's worker. Hot: yes.
import type { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, OK } from "../errors.js";
import type { Latency } from "../metrics/latency.js";
import { AWAITED_READS_MAX, type ReadWaiter } from "../volume/awaited-reads.js";
import type { BlockDevice } from "../volume/block-device.js";
import type { NbdExport } from "./nbd-export.js";
import type { NbdReplies, ReplyReader } from "./nbd-replies.js";
import { ECHO_WORDS, NBD_CMD_READ, NBD_REPLY_FLAG_DONE } from "./nbd-wire.js";

/** Shorter reads are not looked through for holes; longer ones are worth system calls of their own. */
const HOLE_MIN = 64 * 1024;
/** Instead of a ticket: it could not be prepared; its disk has been asked and is to be waited for; it is under way. */
const ALONE = -1;
const BLOCKED = -2;
const AWAITED = -3;

export class ReadReplies implements ReadWaiter {
  /** Reads under way. */
  awaited = 0;
  /** Reads that the last finish() tried without waiting, and those of them that have to wait. */
  tried = 0;
  blocked = 0;
  /** Some reads that were under way were answered since this was set to false. */
  hasAnswered = false;
  readonly #device: BlockDevice;
  readonly #replies: NbdReplies;
  readonly #latency: Latency;
  #isOver = false;
  /** Of reads under way, by slot: the request, its range, since when. */
  readonly #echo = new Uint32Array(AWAITED_READS_MAX * ECHO_WORDS);
  readonly #awaitedOffsets = new Float64Array(AWAITED_READS_MAX);
  readonly #awaitedLengths = new Uint32Array(AWAITED_READS_MAX);
  readonly #sinceMs = new Float64Array(AWAITED_READS_MAX);
  readonly #came = new CameReader();
  /** Reads that were taken and not answered: the request's number, its range, its ticket, where its bytes go. */
  readonly #numbers: Uint16Array;
  readonly #offsets: Float64Array;
  readonly #lengths: Uint32Array;
  readonly #whole: Uint8Array;
  readonly #tickets: Int32Array;
  readonly #places: Uint32Array;
  #count = 0;
  /** Bytes of the replies that are to be prepared. */
  #size = 0;

  /** `most`: requests between one finish() and the next. */
  constructor({ device, share }: Pick<NbdExport, "device" | "share">, replies: NbdReplies, most: number) {
    this.#device = device;
    this.#replies = replies;
    this.#latency = share.counters.latency;
    this.#numbers = new Uint16Array(most);
    this.#offsets = new Float64Array(most);
    this.#lengths = new Uint32Array(most);
    this.#whole = new Uint8Array(most);
    this.#tickets = new Int32Array(most);
    this.#places = new Uint32Array(most);
  }

  /** Request `n`: answered at once when it is the `only` one, or long and in memory; else by finish(). */
  take(echo: Uint32Array, n: number, offset: number, length: number, isWhole: boolean, only: boolean): void {
    const { chunked, dataHead } = this.#replies;
    const isShort = length > 0 && (length < HOLE_MIN || (length === HOLE_MIN && (isWhole || !chunked)));
    if (only || !isShort) {
      if (this.#answer(echo, n * ECHO_WORDS, offset, length, isWhole, only)) return;
    } else this.#size += dataHead + length;
    const i = this.#count++;
    this.#numbers[i] = n;
    this.#offsets[i] = offset;
    this.#lengths[i] = length;
    this.#whole[i] = isWhole ? 1 : 0;
    this.#tickets[i] = isShort ? ALONE : BLOCKED;
  }

  /** Nothing else is answered from now on until finish(). `ahead`: what can wait for its disk by itself is not tried first. */
  prepare(echo: Uint32Array, ahead: boolean): void {
    if (this.#size === 0) return;
    if (ahead) {
      for (let i = 0; i < this.#count; i++) {
        if (this.#tickets[i] === ALONE && this.#leave(echo, i) === AWAITED) this.#tickets[i] = AWAITED;
      }
    }
    const replies = this.#replies;
    replies.reserve(this.#size);
    this.#size = 0;
    let at = replies.outputEnd + replies.dataHead;
    for (let i = 0; i < this.#count; i++) {
      if (this.#tickets[i] !== ALONE) continue;
      const length = this.#lengths[i] as number;
      const ticket = this.#device.prepareRead(replies.output, at, this.#offsets[i] as number, length);
      this.#tickets[i] = ticket;
      this.#places[i] = at;
      if (ticket !== ALONE) at += length + replies.dataHead;
    }
  }

  /** Answers what was taken; how many will be answered later. `echo`: of all requests. */
  finish(echo: Uint32Array): number {
    let later = 0;
    this.tried = 0;
    this.blocked = 0;
    for (let i = 0; i < this.#count; i++) {
      let ticket = this.#tickets[i] as number;
      if (ticket >= 0) {
        const result = this.#device.finishRead(ticket, false);
        this.tried++;
        if (result !== EAGAIN) {
          const e = (this.#numbers[i] as number) * ECHO_WORDS;
          const place = this.#places[i] as number;
          this.#replies.placed(
            echo,
            e,
            place,
            this.#offsets[i] as number,
            this.#lengths[i] as number,
            result,
          );
          continue;
        }
        this.blocked++;
        ticket = this.#leave(echo, i);
        this.#tickets[i] = ticket;
      }
      if (ticket === AWAITED) later++;
    }
    for (let i = 0; i < this.#count; i++) {
      if (this.#tickets[i] === ALONE && !this.#answerTaken(echo, i, false)) this.#tickets[i] = BLOCKED;
    }
    for (let i = 0; i < this.#count; i++) {
      if (this.#tickets[i] === BLOCKED) this.#answerTaken(echo, i, true);
    }
    this.#count = 0;
    return later;
  }

  /** A read that its disk has to be waited for with goes on by itself, if it can. */
  #leave(echo: Uint32Array, i: number): number {
    const offset = this.#offsets[i] as number;
    const length = this.#lengths[i] as number;
    const slot = this.#device.awaitRead(offset, length, this);
    if (slot < 0) return BLOCKED;
    const e = (this.#numbers[i] as number) * ECHO_WORDS;
    for (let word = 0; word < ECHO_WORDS; word++) {
      this.#echo[slot * ECHO_WORDS + word] = echo[e + word] as number;
    }
    this.#awaitedOffsets[slot] = offset;
    this.#awaitedLengths[slot] = length;
    this.#sinceMs[slot] = performance.now(); // cold: a disk is waited for
    this.awaited++;
    return AWAITED;
  }

  readDone(slot: number, buffer: DataBuffer, at: number, result: number): void {
    this.awaited--;
    if (this.#isOver) return;
    this.hasAnswered = true;
    const came = this.#came;
    came.set(buffer, at);
    const replies = this.#replies;
    const reader = result === OK ? came : this.#device;
    const e = slot * ECHO_WORDS;
    const offset = this.#awaitedOffsets[slot] as number;
    const length = this.#awaitedLengths[slot] as number;
    if (replies.chunked) replies.data(this.#echo, e, reader, offset, length, NBD_REPLY_FLAG_DONE, true);
    else replies.simpleRead(this.#echo, e, reader, offset, length, true);
    this.#latency.observe(performance.now() - (this.#sinceMs[slot] as number), 1); // cold
  }

  /** The connection is over: what is under way is answered to nobody. */
  end(): void {
    this.#isOver = true;
  }

  #answerTaken(echo: Uint32Array, i: number, wait: boolean): boolean {
    const e = (this.#numbers[i] as number) * ECHO_WORDS;
    const isWhole = this.#whole[i] === 1;
    return this.#answer(echo, e, this.#offsets[i] as number, this.#lengths[i] as number, isWhole, wait);
  }

  /** Reads and answers. False when `wait` is false and the disk would have to be waited for: nothing was said. */
  #answer(
    echo: Uint32Array,
    e: number,
    offset: number,
    length: number,
    isWhole: boolean,
    wait: boolean,
  ): boolean {
    const replies = this.#replies;
    const device = this.#device;
    if (!replies.chunked) return replies.simpleRead(echo, e, device, offset, length, wait) !== EAGAIN;
    if (length === 0) {
      replies.answer(echo, e, NBD_CMD_READ, OK);
      return true;
    }
    if (isWhole || length < HOLE_MIN) {
      return replies.data(echo, e, device, offset, length, NBD_REPLY_FLAG_DONE, wait) !== EAGAIN;
    }
    return this.#answerChunks(echo, e, offset, length, wait);
  }

  #answerChunks(echo: Uint32Array, e: number, offset: number, length: number, wait: boolean): boolean {
    const replies = this.#replies;
    const device = this.#device;
    const { held } = replies;
    const end = offset + length;
    let at = offset;
    let result: number = OK;
    device.extents(offset, length, (run, mapped) => {
      const last = at + run === end ? NBD_REPLY_FLAG_DONE : 0;
      if (mapped) result = replies.data(echo, e, device, at, run, last, wait);
      else replies.hole(echo, e, at, run, last);
      at += run;
      return result === OK;
    });
    if (result !== EAGAIN) return true;
    replies.rewind(held);
    return false;
  }
}

/** Bytes that are here already, for a reply. */
class CameReader implements ReplyReader {
  #buffer: DataBuffer | undefined;
  #at = 0;

  /** Until the next read of them. */
  set(buffer: DataBuffer, at: number): void {
    this.#buffer = buffer;
    this.#at = at;
  }

  read(target: DataBuffer, at: number, _offset: number, length: number): number {
    this.#buffer?.bytes.copy(target.bytes, at, this.#at, this.#at + length);
    return OK;
  }
}
