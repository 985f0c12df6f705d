// Finds verdicts that the thread which judges has published for a port (verdict-writer.ts), and counts the frames that
// they were carried out on.
// Invariant: between begin() and the end of the burst the reader is in the burst (SlotBank.awaitPass), so that entries
// that it finds are whole, and stay. Thread: port worker. Hot: yes.
import { ROW_WORDS, type RowMatch } from "./burst-keys.js";
import * as P from "./published-verdicts.js";

/** No verdict is known. */
export const UNPUBLISHED = -1;

export class VerdictReader {
  /** Masks that were looked through for what was found. */
  looks = 0;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #entryMask: number;
  #published = 0;
  #epoch = 0;
  /** Entries up to this serial may be acted upon. */
  #open = 0;
  #masks = 0;
  /** What was found last by a mask, and what it stands for: most frames of a port agree in it, or none. */
  #last = P.ENTRIES_AT;
  #front = UNPUBLISHED;
  readonly #frontMatch: RowMatch = { mask: new Int32Array(ROW_WORDS), value: new Int32Array(ROW_WORDS) };

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#doubles = new Float64Array(memory);
    this.#entryMask = (P.entriesIn(memory) - 1) & ~(P.PUBLISHED_WAYS - 1);
  }

  /** Whether it is worth while to begin(). */
  get isWorthALook(): boolean {
    return this.#words[P.PUBLISHED] !== 0;
  }

  /**
   * A burst begins; false when nothing is published. `isAlone`: no frame of the port is on its way by the thread that
   * judges, so that whatever is known now may be acted upon from here on.
   */
  begin(isAlone: boolean): boolean {
    const words = this.#words;
    this.#published = Atomics.load(words, P.PUBLISHED);
    if (this.#published === 0) return false;
    const epoch = words[P.EPOCH]!;
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#open = 0;
    }
    if (isAlone) this.#open = this.#published;
    this.#masks = words[P.MASK_COUNT]!;
    this.#setFront();
    return true;
  }

  /** What frames are to be compared with as they are read, and the entry for those that agree; null: with nothing. */
  get front(): RowMatch | null {
    return this.#front === UNPUBLISHED ? null : this.#frontMatch;
  }
  get frontEntry(): number {
    return this.#front;
  }

  #setFront(): void {
    const words = this.#words;
    const last = this.#last;
    const serial = words[last]!;
    // Only frames without a tag are compared with it.
    const isOfTagged = (words[last + P.E_ROW + 4]! & P.ROW_TAGGED) !== 0;
    const isThere = serial !== 0 && serial <= this.#published && !isOfTagged;
    this.#front = isThere ? last : UNPUBLISHED;
    if (!isThere) return;
    const { mask, value } = this.#frontMatch;
    const bits = P.MASKS_AT + words[last + P.E_MASK]! * P.MASK_WORDS;
    for (let i = 1; i < ROW_WORDS; i++) {
      mask[i] = words[bits + i]!;
      value[i] = words[last + P.E_ROW + i]!;
    }
  }

  /** What is known may be acted upon only when no frame is on its way again. */
  shut(): void {
    this.#open = 0;
  }

  /** The entry for the row, or UNPUBLISHED. */
  find(rows: Int32Array, row: number): number {
    const words = this.#words;
    for (let mask = 0; mask < this.#masks; mask++) {
      const place = P.publishedHash(words, mask, rows, row) & this.#entryMask;
      let at = P.ENTRIES_AT + (place << P.ENTRY_SHIFT);
      for (let way = 0; way < P.PUBLISHED_WAYS; way++) {
        if (this.#holds(at, mask, rows, row)) {
          this.#last = at;
          this.looks += mask + 1;
          return at;
        }
        at += 1 << P.ENTRY_SHIFT;
      }
    }
    return UNPUBLISHED;
  }

  #holds(at: number, mask: number, rows: Int32Array, row: number): boolean {
    const words = this.#words;
    const serial = words[at]!;
    const isThere = serial !== 0 && serial <= this.#published && words[at + P.E_MASK] === mask;
    return isThere && P.agrees(words, at, mask, rows, row);
  }

  /** Whether no earlier frame that the entry is for can be on its way by the thread that judges. */
  isOpen(entry: number): boolean {
    return this.#words[entry]! <= this.#open;
  }

  fate(entry: number): number {
    return this.#words[entry + P.E_FATE]!;
  }
  lane(entry: number): number {
    return this.#words[entry + P.E_LANE]!;
  }
  sizeMax(entry: number): number {
    return this.#words[entry + P.E_SIZE_MAX]!;
  }
  lowersTtl(entry: number): boolean {
    return this.#words[entry + P.E_LOWERS_TTL] === 1;
  }
  /** TAG_*, or −1: nothing becomes of it. */
  tag(entry: number): number {
    return this.#words[entry + P.E_TAG]!;
  }
  tagMask(entry: number): number {
    return this.#words[entry + P.E_TAG_MASK]!;
  }
  tagValue(entry: number): number {
    return this.#words[entry + P.E_TAG_VALUE]!;
  }
  /** Mask, and value behind it, of the frame's first three words. */
  readRewrite(entry: number, mask: Int32Array, value: Int32Array): void {
    for (let i = 0; i < 3; i++) {
      mask[i] = this.#words[entry + P.E_REWRITE + i]!;
      value[i] = this.#words[entry + P.E_REWRITE + 3 + i]!;
    }
  }

  /** Frames have fared as the entry says. */
  count(entry: number, frames: number, sizeBytes: number, nowMs: number): void {
    const doubles = this.#doubles;
    const at = entry >> 1;
    doubles[at + P.E_USED_MS] = nowMs;
    doubles[at + P.E_BYTES] = doubles[at + P.E_BYTES]! + sizeBytes;
    doubles[at + P.E_PACKETS] = doubles[at + P.E_PACKETS]! + frames;
  }
}
