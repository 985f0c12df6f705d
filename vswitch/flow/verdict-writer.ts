// Publishes verdicts for one port to the thread that takes its frames in (published-verdicts.ts), and reads what that has
// counted for them. Nothing is replaced: what has no place is not published, and what is published goes all at once.
// Thread: datapath worker.
import { assert } from "../../base/assert/index.js";
import { secretMultiplier } from "../../base/random/index.js";
import { ROW_WORDS } from "./burst-keys.js";
import * as P from "./published-verdicts.js";
import { isTagged, mayHaveRow, writeRowMatch, writeTaggedRowMatch } from "./row-match.js";
import type { ShortRewrite } from "./short-rewrite.js";
import type { Verdict } from "./verdict.js";

/** What is done with a frame. */
export interface Fate {
  /** The lane of the port that it leaves by; 0: it is dropped. */
  readonly lane: number;
  /** Longer frames are not for the reader. */
  readonly sizeMax: number;
  readonly rewrite: ShortRewrite | null;
  /** Who is seen to be there by such frames; null: nobody asks. It is copied. */
  readonly station: Station | null;
}

/** Who has sent a frame. */
export interface Station {
  readonly high: number;
  readonly low16: number;
  readonly vlan: number;
  readonly port: number;
}

interface Published {
  /** First word. */
  readonly at: number;
  readonly verdict: Verdict;
  readonly station: Station | null;
  /** Counted, and told already. */
  packets: number;
  bytes: number;
}

export type Counted = (
  verdict: Verdict,
  packets: number,
  sizeBytes: number,
  usedMs: number,
  station: Station | null,
) => void;

export class VerdictWriter {
  /** What had no place since the last withdrawal. */
  refused = 0;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #entryMask: number;
  #published: Published[] = [];
  readonly #mask = new Int32Array(ROW_WORDS);
  readonly #value = new Int32Array(ROW_WORDS);

  constructor(memory: SharedArrayBuffer) {
    const entries = P.entriesIn(memory);
    assert(entries >= P.PUBLISHED_WAYS && (entries & (entries - 1)) === 0, "entries are a power of two");
    this.#words = new Int32Array(memory);
    this.#doubles = new Float64Array(memory);
    this.#entryMask = (entries - 1) & ~(P.PUBLISHED_WAYS - 1);
    for (let i = 0; i < ROW_WORDS; i++) this.#words[P.FACTORS_AT + i] = secretMultiplier();
  }

  get count(): number {
    return this.#published.length;
  }

  /** Frames that agree with `key` in `bits` fare so. Nothing happens when they cannot be told by their rows. */
  publish(key: Int32Array, bits: Int32Array, verdict: Verdict, fate: Fate): void {
    if (!mayHaveRow(key)) return;
    const [mask, value, words] = [this.#mask, this.#value, this.#words];
    if (isTagged(key)) writeTaggedRowMatch(key, bits, mask, value);
    else {
      writeRowMatch(key, bits, mask, value);
      mask[4] = mask[4]! | P.ROW_TAGGED;
    }
    const maskId = this.#maskOf(mask);
    const first = maskId < 0 ? -1 : this.#place(maskId, value);
    let at = first;
    while (at >= 0 && words[at + P.E_SERIAL] !== 0) {
      if (this.#isThere(at, maskId, value)) return;
      at += 1 << P.ENTRY_SHIFT;
      if (at === first + (P.PUBLISHED_WAYS << P.ENTRY_SHIFT)) at = -1;
    }
    if (at < 0) {
      this.refused++;
      return;
    }
    this.#fill(at, maskId, value, fate);
    const station = fate.station === null ? null : { ...fate.station };
    this.#published.push({ at, verdict, station, packets: 0, bytes: 0 });
    words[at + P.E_SERIAL] = this.#published.length;
    Atomics.store(words, P.PUBLISHED, this.#published.length);
  }

  /** From now on nothing is published; what is in hand at the reader is still counted. */
  close(): void {
    Atomics.store(this.#words, P.PUBLISHED, 0);
  }

  /** After close(), and when the reader has passed: the next epoch begins. */
  clear(): void {
    const words = this.#words;
    for (let i = 0; i < this.#published.length; i++) words[this.#published[i]!.at + P.E_SERIAL] = 0;
    this.#published = [];
    this.refused = 0;
    words[P.MASK_COUNT] = 0;
    Atomics.store(words, P.EPOCH, (words[P.EPOCH]! + 1) | 0);
  }

  /** Tells what has been counted and was not told yet. */
  fold(counted: Counted): void {
    const doubles = this.#doubles;
    for (let i = 0; i < this.#published.length; i++) {
      const one = this.#published[i]!;
      const at = one.at >> 1;
      const packets = doubles[at + P.E_PACKETS]!;
      const bytes = doubles[at + P.E_BYTES]!;
      if (packets === one.packets && bytes === one.bytes) continue;
      const usedMs = doubles[at + P.E_USED_MS]!;
      counted(one.verdict, packets - one.packets, bytes - one.bytes, usedMs, one.station);
      one.packets = packets;
      one.bytes = bytes;
    }
  }

  #maskOf(mask: Int32Array): number {
    const words = this.#words;
    const count = words[P.MASK_COUNT]!;
    next: for (let m = 0; m < count; m++) {
      const at = P.MASKS_AT + m * P.MASK_WORDS;
      for (let i = 1; i < ROW_WORDS; i++) if (words[at + i] !== mask[i]) continue next;
      return m;
    }
    if (count === P.PUBLISHED_MASKS_MAX) return -1;
    const at = P.MASKS_AT + count * P.MASK_WORDS;
    for (let i = 1; i < ROW_WORDS; i++) words[at + i] = mask[i]!;
    words[P.MASK_COUNT] = count + 1;
    return count;
  }

  #place(maskId: number, value: Int32Array): number {
    const hash = P.publishedHash(this.#words, maskId, value, 0);
    return P.ENTRIES_AT + ((hash & this.#entryMask) << P.ENTRY_SHIFT);
  }

  #isThere(at: number, maskId: number, value: Int32Array): boolean {
    const words = this.#words;
    if (words[at + P.E_MASK] !== maskId) return false;
    for (let i = 1; i < ROW_WORDS; i++) if (words[at + P.E_ROW + i] !== value[i]) return false;
    return true;
  }

  #fill(at: number, maskId: number, value: Int32Array, { lane, sizeMax, rewrite }: Fate): void {
    const words = this.#words;
    words[at + P.E_MASK] = maskId;
    for (let i = 1; i < ROW_WORDS; i++) words[at + P.E_ROW + i] = value[i]!;
    words[at + P.E_FATE] = lane === 0 ? P.FATE_DROP : rewrite === null ? P.FATE_OUTPUT : P.FATE_REWRITE;
    words[at + P.E_LANE] = lane;
    words[at + P.E_SIZE_MAX] = Math.min(sizeMax, 0x7fffffff);
    words[at + P.E_LOWERS_TTL] = rewrite?.lowersTtl === true ? 1 : 0;
    const tag = rewrite === null ? null : rewrite.tag;
    words[at + P.E_TAG] = tag === null ? -1 : tag.kind;
    words[at + P.E_TAG_MASK] = tag === null ? 0 : tag.mask;
    words[at + P.E_TAG_VALUE] = tag === null ? 0 : tag.value;
    for (let i = 0; i < 3; i++) {
      words[at + P.E_REWRITE + i] = rewrite === null ? 0 : rewrite.mask[i]!;
      words[at + P.E_REWRITE + 3 + i] = rewrite === null ? 0 : rewrite.value[i]!;
    }
    for (let i = P.E_PACKETS; i <= P.E_USED_MS; i++) this.#doubles[(at >> 1) + i] = 0;
  }
}
