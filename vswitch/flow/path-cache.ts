// Exact-match cache from a packet's whole key to the flows it met on its way through the tables.
// Invariants: an entry carries the tables' version and counts only while that is current, so a packet after a
// change is never judged by what was before it; entries are two-way associative, the older one gives way. Where more
// keys come in turn than there is room for, nothing is ever found: then it rests, longer each time.
// Thread: datapath worker. Hot: yes.
import { secretMultiplier } from "../../base/random/index.js";
import type { Flow } from "./flow.js";
import { K_PIPELINE, K_WIDE, KEY_WORDS } from "./key.js";
import { PATH_CACHE_ENTRIES, PATH_LENGTH_MAX, PATH_RESTS_MAX } from "./limits.js";

/** Nobody outside knows them: who could choose colliding packets would make everybody's slow. */
const FACTORS = Int32Array.from({ length: KEY_WORDS }, secretMultiplier);

/** Words beyond plain Ethernet + IPv4 are in use. */
export const SHAPE_WIDE = 1;
/** Pipeline words are in use: tunnel, metadata, conntrack, registers. */
export const SHAPE_PIPELINE = 2;

export class PathCache {
  /** Flow n of entry e is flows[e * PATH_LENGTH_MAX + n]; null = table miss. */
  readonly flows: (Flow | null)[];
  readonly lengths: Uint8Array;
  /** By entry: 1 = packets with the key have a verdict, and do not come here any more. */
  readonly known: Uint8Array;
  /** By entry, without the first packet: how many, their bytes, and when the last of them came. */
  readonly packets: Float64Array;
  readonly bytes: Float64Array;
  readonly usedMs: Float64Array;
  hits = 0;
  misses = 0;
  readonly #entries: number;
  readonly #keys: Int32Array;
  readonly #versions: Float64Array;
  readonly #places: Int32Array;
  /** Misses since the last hit, or the last rest. */
  #inRow = 0;
  /** Look-ups that were left out after them, and still are. */
  #rests = 0;
  #left = 0;

  constructor(entries: number = PATH_CACHE_ENTRIES) {
    this.#entries = entries;
    this.flows = new Array<Flow | null>(entries * PATH_LENGTH_MAX).fill(null);
    this.lengths = new Uint8Array(entries);
    this.known = new Uint8Array(entries);
    this.packets = new Float64Array(entries);
    this.bytes = new Float64Array(entries);
    this.usedMs = new Float64Array(entries);
    this.#keys = new Int32Array(entries * KEY_WORDS);
    this.#versions = new Float64Array(entries).fill(-1);
    this.#places = new Int32Array(entries);
  }

  /** Whether a look-up is to be left out, which counts as a miss. */
  rests(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.misses++;
    return true;
  }

  /** The entry for `key` starting at `tableId`, or −1 − the entry to fill. */
  find(key: Int32Array, tableId: number, shape: number, version: number): number {
    const place = (tableId << 2) | shape;
    const first = (hashKey(key, place) & (this.#entries - 1) & ~1) >>> 0;
    if (this.#holds(first, key, place, shape, version)) return first;
    const second = first + 1;
    if (this.#holds(second, key, place, shape, version)) return second;
    this.misses++;
    if (++this.#inRow >= this.#entries >> 1) this.#rest();
    return -1 - (this.#versions[first]! <= this.#versions[second]! ? first : second);
  }

  #rest(): void {
    this.#inRow = 0;
    this.#rests = Math.min(PATH_RESTS_MAX * this.#entries, Math.max(this.#entries, 2 * this.#rests));
    this.#left = this.#rests;
  }

  /** Makes `entry` the one for `key`. The caller fills its flows and length. */
  fill(entry: number, key: Int32Array, tableId: number, shape: number, version: number): void {
    const base = entry * KEY_WORDS;
    for (let i = 0; i < KEY_WORDS; i++) this.#keys[base + i] = key[i]!;
    this.#places[entry] = (tableId << 2) | shape;
    this.#versions[entry] = version;
    this.known[entry] = 0;
    this.packets[entry] = 0;
    this.bytes[entry] = 0;
  }

  count(entry: number, sizeBytes: number, nowMs: number): void {
    this.packets[entry] = this.packets[entry]! + 1;
    this.bytes[entry] = this.bytes[entry]! + sizeBytes;
    this.usedMs[entry] = nowMs;
  }

  /** Where the packets of the entry begin. */
  tableOf(entry: number): number {
    return this.#places[entry]! >>> 2;
  }

  /** Calls `visit` for each entry that counts at `version`; the key is a copy. Not for the hot path. */
  forEach(version: number, visit: (key: Int32Array, entry: number) => void): void {
    for (let entry = 0; entry < this.#entries; entry++) {
      if (this.#versions[entry]! !== version) continue;
      visit(this.#keys.slice(entry * KEY_WORDS, (entry + 1) * KEY_WORDS), entry);
    }
  }

  #holds(entry: number, key: Int32Array, place: number, shape: number, version: number): boolean {
    if (this.#versions[entry]! !== version || this.#places[entry]! !== place) return false;
    const keys = this.#keys;
    const base = entry * KEY_WORDS;
    for (let i = 0; i < K_WIDE; i++) if (keys[base + i]! !== key[i]!) return false;
    if ((shape & SHAPE_WIDE) !== 0) {
      for (let i = K_WIDE; i < K_PIPELINE; i++) if (keys[base + i]! !== key[i]!) return false;
    }
    if ((shape & SHAPE_PIPELINE) !== 0) {
      for (let i = K_PIPELINE; i < KEY_WORDS; i++) if (keys[base + i]! !== key[i]!) return false;
    }
    this.hits++;
    this.#inRow = 0;
    this.#rests = 0;
    return true;
  }
}

/** Hashes every word in use, by sums of products that do not wait for each other; equality is checked in full. */
function hashKey(key: Int32Array, place: number): number {
  const end = (place & SHAPE_WIDE) !== 0 ? K_PIPELINE : K_WIDE;
  let hash = Math.imul(place, 0x9e3779b1) + sumOf(key, 0, end);
  if ((place & SHAPE_PIPELINE) !== 0) hash += sumOf(key, K_PIPELINE, KEY_WORDS);
  // A sum of products mixes upwards only: bring the upper bits down.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function sumOf(key: Int32Array, from: number, to: number): number {
  let even = 0;
  let odd = 0;
  let i = from;
  for (; i + 1 < to; i += 2) {
    even = (even + Math.imul(key[i]!, FACTORS[i]!)) | 0;
    odd = (odd + Math.imul(key[i + 1]!, FACTORS[i + 1]!)) | 0;
  }
  if (i < to) even = (even + Math.imul(key[i]!, FACTORS[i]!)) | 0;
  return (even + odd) | 0;
}

/** Hash (murmur3) over the fields that stay the same for a whole conversation, in one direction: for select groups. */
export function hashConversation(key: Int32Array): number {
  let hash = 0x9747b28c;
  for (let i = 1; i <= 14; i++) {
    // Of the word with TTL and TOS only the protocol counts.
    let word = i === 5 ? key[i]! & 0xff000000 : key[i]!;
    word = Math.imul(word, 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
