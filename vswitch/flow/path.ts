// The way of the packet in hand through the tables: followed from the cache, or recorded for it.
// Invariant: a path is kept only if every flow on it follows from the key at its start: whatever brings something else
// into play (bytes that were hidden, translation, a meter) calls leave(), after which nothing that is found is kept.
// Thread: datapath worker. Hot: yes.
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import { K_PIPELINE, K_TYPE_TCI, K_WIDE, KEY_WORDS } from "./key.js";
import { PATH_LENGTH_MAX } from "./limits.js";
import { type PathCache, SHAPE_PIPELINE, SHAPE_WIDE } from "./path-cache.js";
import { hasOptions } from "./saved-options.js";

export class Path {
  readonly #cache: PathCache;
  readonly #tables: FlowTables;
  /** Entry that is followed, or −1 − the entry to fill. */
  #entry = -1;
  #position = 0;
  #length = 0;
  #cacheable = false;
  /** Entry of the last run, or −1. */
  #kept = -1;
  /** The cache is not asked, and gets nothing. */
  #isApart = false;
  #left = false;
  /** What was found last. */
  #last: Flow | null = null;
  #shape = 0;
  /** Of the tables when the run began: what a packet learns on its way makes the path one of the past. */
  #version = 0;
  /** While somebody wants to know: gets every bit of the key that the flows found depended on, by OR. */
  consulted: Int32Array | null = null;
  /** What was found came from the cache, so that nobody knows what it depended on. */
  isFollowed = false;
  readonly #recorded: (Flow | null)[] = new Array<Flow | null>(PATH_LENGTH_MAX).fill(null);
  readonly #startKey = new Int32Array(KEY_WORDS);

  constructor(cache: PathCache, tables: FlowTables) {
    this.#cache = cache;
    this.#tables = tables;
  }

  /** A run begins in `tableId`; `first`: the packet has just come in, with all pipeline fields zero. */
  open(key: Int32Array, tableId: number, first: boolean): void {
    if (!first && hasOptions(key)) {
      this.openUncached();
      return;
    }
    this.#position = 0;
    this.#cacheable = true;
    this.#left = false;
    this.#kept = -1;
    this.#shape = isWide(key) | (first ? 0 : SHAPE_PIPELINE);
    this.#version = this.#tables.version;
    this.#isApart = this.#cache.rests();
    if (this.#isApart) {
      this.#entry = -1;
      return;
    }
    this.#entry = this.#cache.find(key, tableId, this.#shape, this.#version);
    if (this.#entry >= 0) this.#length = this.#cache.lengths[this.#entry]!;
    else for (let i = 0; i < KEY_WORDS; i++) this.#startKey[i] = key[i]!;
  }

  /** A run begins that is neither followed nor recorded. */
  openUncached(): void {
    this.#entry = -1;
    this.#kept = -1;
    this.#position = 0;
    this.#cacheable = false;
    this.#left = false;
  }

  /** The next flow, or null for a table miss. */
  next(tableId: number, key: Int32Array): Flow | null {
    if (this.#version !== this.#tables.version) this.leave();
    if (this.#entry >= 0 && this.#position < this.#length) {
      this.isFollowed = true;
      this.#last = this.#cache.flows[this.#entry * PATH_LENGTH_MAX + this.#position++]!;
      return this.#last;
    }
    const flow = this.#tables.lookup(tableId, key, this.consulted);
    if (this.#entry >= 0 || this.#left || this.#position >= PATH_LENGTH_MAX) this.#cacheable = false;
    else this.#recorded[this.#position++] = flow;
    this.#last = flow;
    return flow;
  }

  /** What has come to light since the run began does not follow from the key that it began with. */
  get hasLeft(): boolean {
    return this.#left;
  }

  /** From here on the flows do not follow from the key at the start: the path ends here. */
  leave(): void {
    this.#left = true;
    if (this.#entry >= 0) this.#length = this.#position;
  }

  /**
   * The run of a packet of so many bytes is over; `cut`: it was dropped on the way. Keeps what was recorded if it may be
   * kept. True when every flow that was met follows from the key at the start.
   */
  close(tableId: number, cut: boolean, sizeBytes: number, nowMs: number): boolean {
    // A path cut short, other than by a table miss, would be taken for the whole of it.
    if (!this.#cacheable || this.#position === 0 || (cut && this.#last !== null)) return false;
    if (this.#entry >= 0) {
      this.#kept = this.#entry;
      this.#cache.count(this.#entry, sizeBytes, nowMs);
      return true;
    }
    if (this.#isApart) return true;
    const entry = -1 - this.#entry;
    this.#kept = entry;
    this.#cache.fill(entry, this.#startKey, tableId, this.#shape, this.#version);
    this.#cache.lengths[entry] = this.#position;
    const base = entry * PATH_LENGTH_MAX;
    for (let i = 0; i < this.#position; i++) this.#cache.flows[base + i] = this.#recorded[i]!;
    return true;
  }

  /** What becomes of the packet that the last run was of is known by a verdict, too. */
  isKnown(): void {
    if (this.#kept >= 0) this.#cache.known[this.#kept] = 1;
  }
}

function isWide(key: Int32Array): number {
  if (key[K_TYPE_TCI]! >>> 16 !== 0x0800) return SHAPE_WIDE;
  let wide = 0;
  for (let i = K_WIDE; i < K_PIPELINE; i++) wide |= key[i]!;
  return wide === 0 ? 0 : SHAPE_WIDE;
}
