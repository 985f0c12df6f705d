// The connections and the index that finds them by either direction's tuple. Fixed size, typed arrays, open addressing.
//
//   index: linear probing, pairs of words: hash | connection × 2 + direction + 1, 0 = empty; deletion shifts back
//
// Invariants: a live connection has exactly two index entries; the index is at most half full; the counts per zone,
// port and source add up to size. Thread: datapath worker. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { adviseHugePages } from "../../base/linux/index.js";
import {
  type ConnectionMemory,
  connectionMemory,
  expiryAt,
  flagsAt,
  portAt,
  stateAt,
  tupleAt,
  W_NOTE,
  wordAt,
} from "./connection-memory.js";
import { STATE_NONE, TIMEOUT_NAMES } from "./timeouts.js";
import { T_KIND, TUPLE_WORDS, zoneOf } from "./tuple.js";
import { hashSource, hashTuple } from "./tuple-hash.js";

export const ORIGINAL = 0;
export const REPLY = 1;

/** Connection flags. */
export const SEEN_REPLY = 1;
export const FLAG_SNAT = 2;
export const FLAG_DNAT = 4;
/** Expected because of another connection, which a helper watches. */
export const FLAG_RELATED = 8;
/** A helper watches it. */
export const FLAG_FTP = 16;
export const FLAG_TFTP = 32;

const KNOWN_ELSEWHERE = FLAG_RELATED | FLAG_FTP | FLAG_TFTP;

/** Connections that are looked at to find one that can go. */
const EVICTION_SAMPLE = 64;
/** Counters of connections per port of origin and per source; those that share one are counted together. */
const OWNERS = 4096;
/** Numbers of notes, before they come again. */
const NOTES_MAX = 0x3fff_ffff;

export class ConnectionTable {
  readonly capacity: number;
  /** Tuple of direction d of connection c at tupleAt(c × 2 + d). */
  readonly tuples: Int32Array;
  readonly marks: Int32Array;
  /** Four words each. */
  readonly labels: Int32Array;
  /** Another number for another connection, and after a change of mark or label: what was known of it is so no longer. */
  readonly epochs: Int32Array;
  /** Connections at most, at most the capacity. */
  connectionsMax: number;
  evictions = 0;
  /** Connections that add() has made. */
  begun = 0;
  size = 0;
  readonly #index: Int32Array;
  readonly #indexMask: number;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #zoneCounts = new Int32Array(65_536);
  readonly #bytes: Uint8Array;
  readonly #times: Float64Array;
  /**
   * No later than the connection expires; Infinity where there is none. So those that are looked at for what has expired
   * lie close together, and packets have nothing to do with it as long as they make a connection last longer.
   */
  readonly #dueMs: Float64Array;
  readonly #ports: Uint16Array;
  readonly #portCounts = new Int32Array(OWNERS);
  readonly #sourceCounts = new Int32Array(OWNERS);
  #hand = 0;
  #swept = 0;

  readonly #forget: (connection: number) => void;

  /** `capacity` is a power of two; `forget` is told of every connection that ends which others know something of. What
   *  `memory` holds is not looked at; see restore(). */
  constructor(
    capacity: number,
    forget: (connection: number) => void = () => {},
    memory: ConnectionMemory = connectionMemory(capacity),
  ) {
    this.#forget = forget;
    assert(capacity > 0 && (capacity & (capacity - 1)) === 0, "the number of connections is a power of two");
    this.capacity = capacity;
    this.connectionsMax = capacity;
    this.tuples = memory.words;
    this.marks = memory.marks;
    this.labels = memory.labels;
    this.#bytes = memory.bytes;
    this.#times = memory.times;
    this.epochs = new Int32Array(capacity);
    this.#dueMs = new Float64Array(capacity).fill(Number.POSITIVE_INFINITY);
    this.#ports = memory.halves;
    this.#index = new Int32Array(capacity * 8);
    adviseHugePages(this.#index);
    this.#indexMask = capacity * 8 - 1;
    this.#free = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.#free[i] = capacity - 1 - i;
    this.#freeCount = capacity;
  }

  /** The time-out that runs (timeouts.ts); STATE_NONE = free. */
  stateOf(connection: number): number {
    return this.#bytes[stateAt(connection)]!;
  }
  setState(connection: number, state: number): void {
    this.#bytes[stateAt(connection)] = state;
  }

  flagsOf(connection: number): number {
    return this.#bytes[flagsAt(connection)]!;
  }
  setFlags(connection: number, flags: number): void {
    this.#bytes[flagsAt(connection)] = flags;
  }

  expiryOf(connection: number): number {
    return this.#times[expiryAt(connection)]!;
  }
  setExpiry(connection: number, expiresMs: number): void {
    const at = expiryAt(connection);
    const isEarlier = expiresMs < this.#times[at]!;
    this.#times[at] = expiresMs;
    if (isEarlier) this.#dueMs[connection] = expiresMs;
  }

  /** Of connection × 2 + direction: the caller's note on its packets, as long as the epoch stays; or 0. */
  noteOf(found: number): number {
    return this.tuples[wordAt(found, W_NOTE)]!;
  }
  note(found: number, note: number): void {
    this.tuples[wordAt(found, W_NOTE)] = note;
  }

  /** Nobody has to give way to another connection. */
  get hasRoom(): boolean {
    return this.#freeCount > 0 && this.size < this.connectionsMax;
  }

  /** Connections of the zone. */
  zoneCount(zone: number): number {
    return this.#zoneCounts[zone]!;
  }

  zoneOf(connection: number): number {
    return zoneOf(this.tuples[tupleAt(connection * 2) + T_KIND]!);
  }

  /** connection × 2 + direction of the live connection with this tuple, or −1. Expired ones are removed on the way. */
  find(tuple: Int32Array, nowMs: number): number {
    const index = this.#index;
    const mask = this.#indexMask;
    const hash = hashTuple(tuple, 0);
    for (let at = (hash << 1) & mask; ; at = (at + 2) & mask) {
      const entry = index[at + 1]!;
      if (entry === 0) return -1;
      if (index[at] !== hash || !this.#same(entry - 1, tuple)) continue;
      const connection = (entry - 1) >> 1;
      if (this.expiryOf(connection) > nowMs) return entry - 1;
      this.remove(connection);
      return -1;
    }
  }

  /**
   * Where a tuple may be found by its hash: connection × 2 + direction, or −1. For each of hashes[from] up to hashes[to],
   * written over it; returns how many are −1. It may be another tuple's, or expired: the caller looks.
   */
  seek(hashes: Int32Array, from: number, to: number): number {
    const index = this.#index;
    const mask = this.#indexMask;
    const { tuples } = this;
    let touched = 0;
    let unknown = 0;
    // Nothing waits for these words: the lines come in at once.
    for (let i = from; i < to; i++) touched |= index[(((hashes[i]! << 1) & mask) + 1) | 0]!;
    for (let i = from; i < to; i++) {
      const hash = hashes[i]!;
      let at = (hash << 1) & mask;
      let entry = index[(at + 1) | 0]!;
      while (entry !== 0 && index[at] !== hash) {
        at = (at + 2) & mask;
        entry = index[(at + 1) | 0]!;
      }
      hashes[i] = entry - 1;
      if (entry === 0) {
        unknown++;
        continue;
      }
      touched |= tuples[((entry - 1) << 4) | 0]! | tuples[((((entry - 1) >> 1) << 5) + W_NOTE) | 0]!;
    }
    this.touched = touched;
    return unknown;
  }
  /**
   * A connection is about to begin, `behind` others, and the hash of what answers to it is known: brings the lines in that
   * it will need, so that for all of a burst they come at once. The free entry is written to, where it means nothing yet: to
   * read a page that was never written would be a fault of its own.
   */
  expect(hash: number, behind: number): void {
    const next = this.#freeCount - 1 - behind;
    this.touched |= this.#index[(((hash << 1) & this.#indexMask) + 1) | 0]!;
    if (next < 0) return;
    const at = this.#free[next]! << 5;
    this.tuples[at] = 0;
    this.tuples[at + 16] = 0;
  }

  /** Of no meaning: it keeps the compiler from dropping the touching. */
  touched = 0;

  /**
   * Adds a connection whose first packet came in by `port`; the caller knows that neither tuple is there. −1 when none
   * could give way.
   */
  add(
    original: Int32Array,
    reply: Int32Array,
    port: number,
    state: number,
    nowMs: number,
    timeoutMs: number,
  ): number {
    const zone = zoneOf(original[T_KIND]!);
    const portOwner = (port ^ (port >>> 12)) & (OWNERS - 1);
    if (!this.hasRoom && !this.#evict(zone, portOwner, sourceOwner(original, 0), nowMs)) return -1;
    const connection = this.#free[--this.#freeCount]!;
    const base = tupleAt(connection * 2);
    const other = tupleAt(connection * 2 + 1);
    for (let i = 0; i < TUPLE_WORDS; i++) {
      this.tuples[base + i] = original[i]!;
      this.tuples[other + i] = reply[i]!;
    }
    this.setFlags(connection, 0);
    this.note(connection * 2, 0);
    this.note(connection * 2 + 1, 0);
    this.marks[connection] = 0;
    for (let i = 0; i < 4; i++) this.labels[connection * 4 + i] = 0;
    this.setExpiry(connection, nowMs + timeoutMs);
    this.#dueMs[connection] = nowMs + timeoutMs;
    this.#ports[portAt(connection)] = portOwner;
    this.setState(connection, state);
    this.#insert(connection * 2, hashTuple(this.tuples, base));
    this.#insert(connection * 2 + 1, hashTuple(this.tuples, other));
    this.#count(connection, 1);
    this.begun++;
    return connection;
  }

  /** What foresee() has put into the index: by connection × 2 + direction the hash; null: it was not asked. */
  #foreseen: { readonly hashes: Int32Array; readonly isThere: Uint8Array } | null = null;

  /**
   * Prepares restore() while somebody else still writes to the memory: most of what takes long is done then, and only what
   * has changed since is done anew. Once, before anything else.
   */
  foresee(): void {
    const { capacity } = this;
    const foreseen = { hashes: new Int32Array(capacity * 2), isThere: new Uint8Array(capacity) };
    for (let c = capacity - 1; c >= 0; c--) {
      if (this.stateOf(c) === STATE_NONE || !this.#isSound(c)) continue;
      // Read once: the tuples may change at any moment, and what is in the index must be found again.
      for (let found = c * 2; found < c * 2 + 2; found++) {
        const hash = hashTuple(this.tuples, tupleAt(found));
        foreseen.hashes[found] = hash;
        this.#insert(found, hash);
      }
      foreseen.isThere[c] = 1;
    }
    this.#foreseen = foreseen;
  }

  /**
   * Takes over what the memory holds from before this table was made, whose clock was `shiftMs` behind ours; what has
   * expired, or cannot be, is dropped. Returns how many connections there are. Once; before anything else, but foresee().
   */
  restore(nowMs: number, shiftMs: number): number {
    assert(this.size === 0, "only an empty table takes over others");
    this.#freeCount = 0;
    for (let c = this.capacity - 1; c >= 0; c--) {
      const state = this.stateOf(c);
      const expires = this.expiryOf(c) + shiftMs;
      const isDue = state !== STATE_NONE && state < TIMEOUT_NAMES.length && expires > nowMs;
      if (!this.#isIndexed(c, isDue)) {
        // A page that is not written to need not be fetched for writing.
        if (state !== STATE_NONE) this.setState(c, STATE_NONE);
        this.#free[this.#freeCount++] = c;
        continue;
      }
      this.setExpiry(c, expires);
      this.#dueMs[c] = expires;
      this.note(c * 2, 0);
      this.note(c * 2 + 1, 0);
      // What a helper knew is gone.
      this.setFlags(c, this.flagsOf(c) & ~(FLAG_FTP | FLAG_TFTP));
      this.#ports[portAt(c)] = this.#ports[portAt(c)]! & (OWNERS - 1);
      this.#count(c, 1);
    }
    this.#foreseen = null;
    return this.size;
  }

  /** Has the connection in the index as it is now, if that `isDue` and it can be; whether it has. */
  #isIndexed(connection: number, isDue: boolean): boolean {
    const foreseen = this.#foreseen;
    const first = connection * 2;
    if (foreseen !== null && foreseen.isThere[connection] === 1) {
      const { hashes } = foreseen;
      const isSame =
        hashTuple(this.tuples, tupleAt(first)) === hashes[first] &&
        hashTuple(this.tuples, tupleAt(first + 1)) === hashes[first + 1];
      if (isDue && isSame) return true;
      this.#delete(first, hashes[first]!);
      this.#delete(first + 1, hashes[first + 1]!);
    }
    if (!isDue || !this.#isSound(connection)) return false;
    for (let found = first; found < first + 2; found++)
      this.#insert(found, hashTuple(this.tuples, tupleAt(found)));
    return true;
  }

  /** Whether both tuples are of one kind, and nobody has either. */
  #isSound(connection: number): boolean {
    const { tuples } = this;
    if (tuples[tupleAt(connection * 2) + T_KIND] !== tuples[tupleAt(connection * 2 + 1) + T_KIND])
      return false;
    for (let d = 0; d < 2; d++) {
      const at = tupleAt(connection * 2 + d);
      for (let i = 0; i < TUPLE_WORDS; i++) this.#wanted[i] = tuples[at + i]!;
      if (this.find(this.#wanted, Number.NEGATIVE_INFINITY) >= 0) return false;
    }
    return true;
  }
  readonly #wanted = new Int32Array(TUPLE_WORDS);

  remove(connection: number): void {
    if ((this.flagsOf(connection) & KNOWN_ELSEWHERE) !== 0) this.#forget(connection);
    this.#delete(connection * 2, hashTuple(this.tuples, tupleAt(connection * 2)));
    this.#delete(connection * 2 + 1, hashTuple(this.tuples, tupleAt(connection * 2 + 1)));
    this.setState(connection, STATE_NONE);
    this.#dueMs[connection] = Number.POSITIVE_INFINITY;
    this.changed(connection);
    this.#free[this.#freeCount++] = connection;
    this.#count(connection, -1);
  }

  nextNote(): number {
    if (this.#noted === NOTES_MAX) {
      for (let found = 0; found < this.capacity * 2; found++) this.note(found, 0);
      this.#noted = 0;
    }
    return ++this.#noted;
  }
  #noted = 0;

  changed(connection: number): void {
    this.epochs[connection] = (this.epochs[connection]! + 1) | 0;
    this.note(connection * 2, 0);
    this.note(connection * 2 + 1, 0);
  }

  #count(connection: number, change: number): void {
    const zone = this.zoneOf(connection);
    const port = this.#ports[portAt(connection)]!;
    const source = sourceOwner(this.tuples, tupleAt(connection * 2));
    this.#zoneCounts[zone] = this.#zoneCounts[zone]! + change;
    this.#portCounts[port] = this.#portCounts[port]! + change;
    this.#sourceCounts[source] = this.#sourceCounts[source]! + change;
    this.size += change;
  }

  /**
   * Removes what has expired in the next `share` of the table, 0 to 1: a look at a million connections at once would
   * stop the forwarding for milliseconds.
   */
  sweep(nowMs: number, share = 1): void {
    if (this.size === 0) return;
    const mask = this.capacity - 1;
    const count = Math.min(this.capacity, Math.ceil(this.capacity * share));
    for (let n = 0; n < count; n++) {
      const c = (this.#swept + n) & mask;
      if (this.#dueMs[c]! > nowMs) continue;
      const expiresMs = this.expiryOf(c);
      if (expiresMs <= nowMs) this.remove(c);
      else this.#dueMs[c] = expiresMs;
    }
    this.#swept = (this.#swept + count) & mask;
  }

  /**
   * Makes room for a connection. Whoever holds most pays first: the zone, in it the port that connections were opened
   * from, then the source; and those that nobody answered before the others. No connection goes for a newcomer of a
   * zone, port or source that holds more, an answered one only for one of a zone or port that holds fewer: a flood
   * displaces itself.
   */
  #evict(zone: number, port: number, source: number, nowMs: number): boolean {
    let victim = -1;
    let victimScore = -1;
    const ownZone = this.#zoneCounts[zone]!;
    const ownPort = this.#portCounts[port]!;
    const ownSource = this.#sourceCounts[source]!;
    for (let n = 0; n < EVICTION_SAMPLE && n < this.capacity; n++) {
      const c = this.#hand;
      this.#hand = (c + 1) & (this.capacity - 1);
      if (this.stateOf(c) === STATE_NONE) continue;
      if (this.expiryOf(c) <= nowMs) {
        this.remove(c);
        return true;
      }
      const zoneCount = this.#zoneCounts[this.zoneOf(c)]!;
      const portCount = this.#portCounts[this.#ports[portAt(c)]!]!;
      const sourceCount = this.#sourceCounts[sourceOwner(this.tuples, tupleAt(c * 2))]!;
      const answered = (this.flagsOf(c) & SEEN_REPLY) !== 0;
      const heavier = zoneCount > ownZone || (zoneCount === ownZone && portCount > ownPort);
      const alike = zoneCount === ownZone && portCount === ownPort && sourceCount >= ownSource;
      if (!heavier && (answered || !alike)) continue;
      // At most 2^16 each but the last, so that the sum stays exact.
      const score = ((zoneCount * 2 + (answered ? 0 : 1)) * 131_072 + portCount) * 131_072 + sourceCount;
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
    const base = tupleAt(tupleIndex);
    const { tuples } = this;
    for (let i = TUPLE_WORDS - 1; i >= 0; i--) if (tuples[base + i] !== tuple[i]) return false;
    return true;
  }

  /** `hash`: of the tuple. */
  #insert(tupleIndex: number, hash: number): void {
    const index = this.#index;
    const mask = this.#indexMask;
    let at = (hash << 1) & mask;
    while (index[at + 1] !== 0) at = (at + 2) & mask;
    index[at] = hash;
    index[at + 1] = tupleIndex + 1;
  }

  /** `hash`: that it was inserted with. */
  #delete(tupleIndex: number, hash: number): void {
    const index = this.#index;
    const mask = this.#indexMask;
    let hole = (hash << 1) & mask;
    while (index[hole + 1] !== tupleIndex + 1) hole = (hole + 2) & mask;
    for (let at = (hole + 2) & mask; index[at + 1] !== 0; at = (at + 2) & mask) {
      const home = (index[at]! << 1) & mask;
      // Move back unless the entry's home lies between the hole and where it is.
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        index[hole] = index[at]!;
        index[hole + 1] = index[at + 1]!;
        hole = at;
      }
    }
    index[hole + 1] = 0;
  }
}

/** The counter of the tuple's source in its zone. */
function sourceOwner(words: Int32Array, at: number): number {
  return hashSource(words, at) & (OWNERS - 1);
}
