// What answers READs: one reply each, or chunks with the holes told from the data.
//
//   take … take ─► prepare ─► (other connections do the same) ─► finish
//
// Short reads go to the disks in one system call, each to where its reply will be if none before it fails; what long ones
// would have to wait for the disks are asked for before anything is waited for.
// Source: NBD protocol, "Structured reply messages". Thread: the pool's worker. Hot: yes.
import { EAGAIN, OK } from "../errors.js";
import type { BlockDevice } from "../volume/block-device.js";
import type { NbdReplies } from "./nbd-replies.js";
import { ECHO_WORDS, NBD_CMD_READ, NBD_REPLY_FLAG_DONE } from "./nbd-wire.js";

/** Shorter reads are not looked through for holes; longer ones are worth system calls of their own. */
const HOLE_MIN = 64 * 1024;
/** Instead of a ticket: it could not be prepared; its disk has been asked and is to be waited for. */
const ALONE = -1;
const BLOCKED = -2;

export class ReadReplies {
  readonly #device: BlockDevice;
  readonly #replies: NbdReplies;
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
  constructor(device: BlockDevice, replies: NbdReplies, most: number) {
    this.#device = device;
    this.#replies = replies;
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

  /** Nothing else is answered from now on until finish(). */
  prepare(): void {
    if (this.#size === 0) return;
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

  /** Answers what was taken. `echo`: of all requests. */
  finish(echo: Uint32Array): void {
    for (let i = 0; i < this.#count; i++) {
      const ticket = this.#tickets[i] as number;
      if (ticket < 0) continue;
      const result = this.#device.finishRead(ticket);
      const e = (this.#numbers[i] as number) * ECHO_WORDS;
      const offset = this.#offsets[i] as number;
      this.#replies.placed(echo, e, this.#places[i] as number, offset, this.#lengths[i] as number, result);
    }
    for (let i = 0; i < this.#count; i++) {
      if (this.#tickets[i] === ALONE && !this.#answerTaken(echo, i, false)) this.#tickets[i] = BLOCKED;
    }
    for (let i = 0; i < this.#count; i++) {
      if (this.#tickets[i] === BLOCKED) this.#answerTaken(echo, i, true);
    }
    this.#count = 0;
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
