// The connections and the index that finds them by either direction's tuple. Fixed size, typed arrays, open addressing.
//
//   index: linear probing, entry = connection × 2 + direction + 1, 0 = empty; deletion shifts entries back
//
// Invariants: a live connection has exactly two index entries; the index is at most half full; zoneCounts add up to size.
// Thread: datapath worker. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { secretMultiplier } from "../../base/random/index.js";
import { STATE_NONE } from "./timeouts.js";
import { TUPLE_WORDS } from "./tuple.js";

export const ORIGINAL = 0;
export const REPLY = 1;

/** Connection flags. */
export const SEEN_REPLY = 1;
export const FLAG_SNAT = 2;
export const FLAG_DNAT = 4;
export const FIN_ORIGINAL = 8;
export const FIN_REPLY = 16;

/** Connections that are looked at to find one that can go. */
const EVICTION_SAMPLE = 64;

export class ConnectionTable {
  readonly capacity: number;
  /** Tuple of direction d of connection c at (c × 2 + d) × TUPLE_WORDS. */
  readonly tuples: Int32Array;
  readonly states: Uint8Array;
  readonly flags: Uint8Array;
  readonly marks: Int32Array;
  readonly expiresMs: Float64Array;
  evictions = 0;
  size = 0;
  readonly #index: Int32Array;
  readonly #indexMask: number;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #zoneCounts = new Int32Array(65_536);
  #hand = 0;

  /** `capacity` is a power of two. */
  constructor(capacity: number) {
    assert(capacity > 0 && (capacity & (capacity - 1)) === 0, "the number of connections is a power of two");
    this.capacity = capacity;
    this.tuples = new Int32Array(capacity * 2 * TUPLE_WORDS);
    this.states = new Uint8Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.marks = new Int32Array(capacity);
    this.expiresMs = new Float64Array(capacity);
    this.#index = new Int32Array(capacity * 4);
    this.#indexMask = capacity * 4 - 1;
    this.#free = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.#free[i] = capacity - 1 - i;
    this.#freeCount = capacity;
  }

  /** connection × 2 + direction of the live connection with this tuple, or −1. Expired ones are removed on the way. */
  find(tuple: Int32Array, nowMs: number): number {
    for (let at = hashTuple(tuple, 0) & this.#indexMask; ; at = (at + 1) & this.#indexMask) {
      const entry = this.#index[at]!;
      if (entry === 0) return -1;
      if (!this.#same(entry - 1, tuple)) continue;
      const connection = (entry - 1) >> 1;
      if (this.expiresMs[connection]! > nowMs) return entry - 1;
      this.remove(connection);
      return -1;
    }
  }

  /** Adds a connection; the caller knows that neither tuple is there. −1 when none could give way. */
  add(original: Int32Array, reply: Int32Array, state: number, nowMs: number, timeoutMs: number): number {
    const zone = original[3]! & 0xffff;
    if (this.#freeCount === 0 && !this.#evict(zone, nowMs)) return -1;
    const connection = this.#free[--this.#freeCount]!;
    const base = connection * 2 * TUPLE_WORDS;
    for (let i = 0; i < TUPLE_WORDS; i++) {
      this.tuples[base + i] = original[i]!;
      this.tuples[base + TUPLE_WORDS + i] = reply[i]!;
    }
    this.states[connection] = state;
    this.flags[connection] = 0;
    this.marks[connection] = 0;
    this.expiresMs[connection] = nowMs + timeoutMs;
    this.#insert(connection * 2);
    this.#insert(connection * 2 + 1);
    this.#zoneCounts[zone] = this.#zoneCounts[zone]! + 1;
    this.size++;
    return connection;
  }

  remove(connection: number): void {
    const zone = this.tuples[connection * 2 * TUPLE_WORDS + 3]! & 0xffff;
    this.#delete(connection * 2);
    this.#delete(connection * 2 + 1);
    this.states[connection] = STATE_NONE;
    this.#zoneCounts[zone] = this.#zoneCounts[zone]! - 1;
    this.#free[this.#freeCount++] = connection;
    this.size--;
  }

  /** Removes what has expired. */
  sweep(nowMs: number): void {
    if (this.size === 0) return;
    for (let c = 0; c < this.capacity; c++) {
      if (this.states[c] !== STATE_NONE && this.expiresMs[c]! <= nowMs) this.remove(c);
    }
  }

  /**
   * Makes room for a connection of `zone`. The zone with most connections pays first, and in it those that nobody
   * answered; no connection goes for a zone that has more than its own, an answered one only for one that has fewer.
   */
  #evict(zone: number, nowMs: number): boolean {
    let victim = -1;
    let victimScore = -1;
    const own = this.#zoneCounts[zone]!;
    for (let n = 0; n < EVICTION_SAMPLE && n < this.capacity; n++) {
      const c = this.#hand;
      this.#hand = (c + 1) & (this.capacity - 1);
      if (this.states[c] === STATE_NONE) continue;
      if (this.expiresMs[c]! <= nowMs) {
        this.remove(c);
        return true;
      }
      const count = this.#zoneCounts[this.tuples[c * 2 * TUPLE_WORDS + 3]! & 0xffff]!;
      const answered = (this.flags[c]! & SEEN_REPLY) !== 0;
      if (answered ? count <= own : count < own) continue;
      const score = count * 2 + (answered ? 0 : 1);
      if (score > victimScore) {
        victim = c;
        victimScore = score;
      }
    }
    if (victim < 0) return false;
    this.remove(victim);
    this.evictions++;
    return true;
  }

  #same(tupleIndex: number, tuple: Int32Array): boolean {
    const base = tupleIndex * TUPLE_WORDS;
    const { tuples } = this;
    return (
      tuples[base] === tuple[0] &&
      tuples[base + 1] === tuple[1] &&
      tuples[base + 2] === tuple[2] &&
      tuples[base + 3] === tuple[3]
    );
  }

  #insert(tupleIndex: number): void {
    let at = hashTuple(this.tuples, tupleIndex * TUPLE_WORDS) & this.#indexMask;
    while (this.#index[at] !== 0) at = (at + 1) & this.#indexMask;
    this.#index[at] = tupleIndex + 1;
  }

  #delete(tupleIndex: number): void {
    const index = this.#index;
    const mask = this.#indexMask;
    let hole = hashTuple(this.tuples, tupleIndex * TUPLE_WORDS) & mask;
    while (index[hole] !== tupleIndex + 1) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; index[at] !== 0; at = (at + 1) & mask) {
      const home = hashTuple(this.tuples, (index[at]! - 1) * TUPLE_WORDS) & mask;
      // Move back unless the entry's home lies between the hole and where it is.
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        index[hole] = index[at]!;
        hole = at;
      }
    }
    index[hole] = 0;
  }
}

const MIX_0 = secretMultiplier();
const MIX_1 = secretMultiplier();
const MIX_2 = secretMultiplier();
const MIX_3 = secretMultiplier();

function hashTuple(words: Int32Array, at: number): number {
  let hash = Math.imul(words[at]!, MIX_0);
  hash = Math.imul((hash ^ (hash >>> 15)) + words[at + 1]!, MIX_1);
  hash = Math.imul((hash ^ (hash >>> 13)) + words[at + 2]!, MIX_2);
  hash = Math.imul((hash ^ (hash >>> 16)) + words[at + 3]!, MIX_3);
  return hash ^ (hash >>> 15);
}
