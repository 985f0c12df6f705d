// From many keys to one verdict: what the tables looked at to come to it, and what they saw there. Behind the exact
// cache, before the tables; for the many short conversations that differ only in what no flow asks for, and for all of
// IPv6, whose keys are too wide for the exact cache.
//
//   masks, those with most hits first ─► entry: masked words of the key | mask | verdict | generation
//
// Invariants: two frames that agree in every bit of an entry's mask fare alike; an entry counts only in the generation
// of the verdict cache that it was made in, so that both end together. Two-way associative; of a pair the second gives way.
// Source: Pfaff et al., "The Design and Implementation of Open vSwitch", NSDI 2015, 4. Thread: datapath worker. Hot:
// yes (find).
import { secretMultiplier } from "../../base/random/index.js";
import { K_PIPELINE, K_TYPE_TCI } from "./key.js";
import { MASKED_KEYS_FIRST, MASKED_KEYS_MAX, MASKS_BYTES_MAX, MASKS_EXACT_MAX, MASKS_MAX } from "./limits.js";

const IPV6 = 0x86dd;
/** What stands in an entry ahead of the words. */
const AT_MASK = 0;
const AT_VERDICT = 1;
const AT_GENERATION = 2;
const AT_WORDS = 3;
/** Masks are put in order after so many look-ups. */
const SORT_INTERVAL = 65_536;

class Mask {
  readonly id: number;
  readonly bits: Int32Array;
  /** Words that are not all zero. */
  readonly words: Int32Array;
  hits = 0;

  constructor(id: number, bits: Int32Array) {
    this.id = id;
    this.bits = bits.slice();
    this.words = Int32Array.from([...bits.keys()].filter((i) => this.bits[i] !== 0));
  }
}

export class MaskedCache {
  hits = 0;
  /** Masks that were looked through for the hits. */
  looks = 0;
  /** Of the last hit: the bits by which the frame was known. */
  foundBits: Int32Array;
  #masks: Mask[] = [];
  #generation = 0;
  #keys = MASKED_KEYS_FIRST;
  #entries: Int32Array;
  #kept = 0;
  /** The last in which something of IPv6 was kept. */
  #wideGeneration = 0;
  readonly #words: number;
  /** Words of an entry: whole cache lines. */
  readonly #stride: number;
  readonly #factors: Int32Array;
  readonly #wider: Int32Array;

  /** `words` of the key count: those that a frame has when it comes in, when absent. */
  constructor(words: number = K_PIPELINE) {
    this.#words = words;
    this.#stride = (words + AT_WORDS + 15) & ~15;
    this.#factors = Int32Array.from({ length: words + 1 }, secretMultiplier);
    this.foundBits = new Int32Array(words);
    this.#wider = new Int32Array(words);
    this.#entries = new Int32Array(MASKED_KEYS_FIRST * this.#stride);
  }

  get maskCount(): number {
    return this.#masks.length;
  }

  /** Whether it may have a verdict on frames of IPv6. */
  knowsWide(generation: number): boolean {
    return generation === this.#wideGeneration;
  }

  /** The verdict for frames with the key, or −1. */
  find(key: Int32Array, generation: number): number {
    if (generation !== this.#generation) return -1;
    const masks = this.#masks;
    for (let m = 0; m < masks.length; m++) {
      const mask = masks[m]!;
      const at = this.#place(mask, key);
      const second = at + this.#stride;
      const found = this.#holds(at, mask, key) ? at : this.#holds(second, mask, key) ? second : -1;
      if (found < 0) continue;
      mask.hits++;
      this.hits++;
      this.foundBits = mask.bits;
      this.looks += m + 1;
      if ((this.hits & (SORT_INTERVAL - 1)) === 0) this.#sort();
      return this.#entries[found + AT_VERDICT]!;
    }
    return -1;
  }

  /** As find(), but the bits by which the verdict is known, and null without one; nothing is counted. */
  bitsOf(key: Int32Array, generation: number): Int32Array | null {
    if (generation !== this.#generation) return null;
    const masks = this.#masks;
    for (let m = 0; m < masks.length; m++) {
      const mask = masks[m]!;
      const at = this.#place(mask, key);
      if (this.#holds(at, mask, key) || this.#holds(at + this.#stride, mask, key)) return mask.bits;
    }
    return null;
  }

  /** Keeps the verdict for all keys that agree with `key` in `bits`. Where there are many masks already, for those that
   *  agree in some more bits; nothing happens when that is of no use either. */
  keep(key: Int32Array, bits: Int32Array, verdict: number, generation: number): void {
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#masks = [];
      this.#kept = 0;
    }
    const mask =
      this.#maskOf(bits, MASKS_EXACT_MAX) ??
      this.#maskOf(widen(bits, 8, this.#wider), MASKS_BYTES_MAX) ??
      this.#maskOf(widen(bits, 32, this.#wider), MASKS_MAX);
    if (mask === null) return;
    if (++this.#kept > this.#keys >> 1 && this.#keys < MASKED_KEYS_MAX) this.#grow();
    const first = this.#place(mask, key);
    const entries = this.#entries;
    const at = entries[first + AT_GENERATION] === generation ? first + this.#stride : first;
    for (let i = 0; i < this.#words; i++) entries[at + AT_WORDS + i] = key[i]! & mask.bits[i]!;
    entries[at + AT_MASK] = mask.id;
    entries[at + AT_VERDICT] = verdict;
    entries[at + AT_GENERATION] = generation;
    if (key[K_TYPE_TCI]! >>> 16 === IPV6) this.#wideGeneration = generation;
  }

  /** A new one only where there are fewer than so many. */
  #maskOf(bits: Int32Array, masksMax: number): Mask | null {
    const masks = this.#masks;
    next: for (let m = 0; m < masks.length; m++) {
      const mask = masks[m]!;
      for (let i = 0; i < this.#words; i++) if (mask.bits[i]! !== bits[i]!) continue next;
      return mask;
    }
    if (masks.length >= masksMax) return null;
    const mask = new Mask(masks.length, bits.subarray(0, this.#words));
    masks.push(mask);
    return mask;
  }

  #place({ id, bits, words }: Mask, key: Int32Array): number {
    const factors = this.#factors;
    let hash = Math.imul(id + 1, factors[this.#words]!);
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      hash = (hash + Math.imul(key[word]! & bits[word]!, factors[word]!)) | 0;
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    return ((hash ^ (hash >>> 13)) & (this.#keys - 1) & ~1) * this.#stride;
  }

  #holds(at: number, { id, bits, words }: Mask, key: Int32Array): boolean {
    const entries = this.#entries;
    if (entries[at + AT_GENERATION]! !== this.#generation || entries[at + AT_MASK]! !== id) return false;
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      if ((key[word]! & bits[word]!) !== entries[at + AT_WORDS + word]!) return false;
    }
    return true;
  }

  #sort(): void {
    this.#masks.sort((a, b) => b.hits - a.hits);
    for (let m = 0; m < this.#masks.length; m++) this.#masks[m]!.hits = 0;
  }

  /** More room, empty. */
  #grow(): void {
    this.#keys *= 4;
    this.#kept = 0;
    this.#entries = new Int32Array(this.#keys * this.#stride);
  }
}

/** Of every group of `size` bits of a word in which there is one, all; in `into`, which is returned. */
function widen(bits: Int32Array, size: 8 | 32, into: Int32Array): Int32Array {
  const group = size === 32 ? -1 : 0xff;
  for (let i = 0; i < into.length; i++) {
    let wide = 0;
    for (let shift = 0; shift < 32; shift += size)
      if ((bits[i]! & (group << shift)) !== 0) wide |= group << shift;
    into[i] = wide;
  }
  return into;
}
