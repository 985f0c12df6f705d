// What was read in order and lies in pieces: ranges of maps of which a long read took many reads of the disk.
//
//   note … note ─► take: oldest first, neighbours as one
//
// Invariant: bounded; what does not fit is noted when it is read again. Thread: the pool's worker. Hot: yes (note).
import type { BlockMap } from "./block-map.js";

/** Shorter reads say nothing about an order. */
const LONG_BLOCKS = 16;
/** Runs that are shorter than this on an average are pieces. */
const RUN_BLOCKS = 4;
/** Ranges, and blocks of one: 4 GiB of a volume that is read by one reader, 1 GiB of one that several read in turn. */
const RANGES_MAX = 4096;
const RANGE_BLOCKS_MAX = 1024;
/** Readers of one volume that go on at places of their own. */
const READERS = 8;

export class TornRanges {
  /** What take() took. */
  map: BlockMap | undefined;
  block = 0;
  count = 0;
  readonly #maps = new Array<BlockMap | undefined>(RANGES_MAX).fill(undefined);
  readonly #blocks = new Float64Array(RANGES_MAX);
  readonly #counts = new Uint32Array(RANGES_MAX);
  #first = 0;
  #size = 0;

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** `count` blocks were read at once, and it took `runs` reads. */
  note(map: BlockMap, block: number, count: number, runs: number): void {
    if (!isTorn(count, runs)) return;
    for (let back = 1; back <= READERS && back <= this.#size; back++) {
      const at = (this.#first + this.#size - back) % RANGES_MAX;
      const known = this.#counts[at] as number;
      if (this.#maps[at] !== map || (this.#blocks[at] as number) + known !== block) continue;
      if (known + count > RANGE_BLOCKS_MAX) break;
      this.#counts[at] = known + count;
      return;
    }
    if (this.#size === RANGES_MAX) return;
    const at = (this.#first + this.#size++) % RANGES_MAX;
    this.#maps[at] = map;
    this.#blocks[at] = block;
    this.#counts[at] = count;
  }

  /** The oldest, as `map`, `block` and `count`; false when there is none. */
  take(): boolean {
    this.map = undefined;
    if (this.#size === 0) return false;
    const at = this.#first;
    this.map = this.#maps[at];
    this.block = this.#blocks[at] as number;
    this.count = this.#counts[at] as number;
    this.#maps[at] = undefined;
    this.#first = (at + 1) % RANGES_MAX;
    this.#size--;
    return true;
  }

  clear(): void {
    while (this.take());
  }
}

/** Whether so many blocks in so many runs are worth being put in order. */
export function isTorn(count: number, runs: number): boolean {
  return count >= LONG_BLOCKS && runs * RUN_BLOCKS > count;
}
