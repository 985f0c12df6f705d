// Blocks that were read and of which no copy had the right checksum, by map, until they are written again.
// Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE, LOST_BLOCKS_MAX } from "../limits.js";
import { LOCATION_LOST, PAGE_ENTRIES } from "../log/format.js";
import type { BlockMap } from "./block-map.js";

/** Part of a volume, or of one of its snapshots, that cannot be read any more. */
export interface LostRange {
  /** Absent: the volume as it is now. */
  readonly snapshot?: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export class LostBlocks {
  /** Block → where it lay. */
  readonly #found = new WeakMap<BlockMap, Map<number, number>>();

  /** True when the block was not known yet; beyond LOST_BLOCKS_MAX of one map nothing is remembered. */
  note(map: BlockMap, block: number): boolean {
    const known = this.#found.get(map) ?? new Map<number, number>();
    this.#found.set(map, known);
    const location = map.location(block);
    if (known.get(block) === location || known.size >= LOST_BLOCKS_MAX) return false;
    known.set(block, location);
    return true;
  }

  /** What is lost of `map` now, in order, neighbours merged. */
  rangesOf(map: BlockMap, snapshot = ""): LostRange[] {
    const known = this.#found.get(map);
    if (known === undefined) return [];
    for (const [block, location] of [...known]) {
      if (map.location(block) === location) continue;
      known.delete(block);
      if (location === LOCATION_LOST) this.#standIn(map, known, block);
    }
    const ranges: { snapshot?: string; offsetBytes: number; lengthBytes: number }[] = [];
    for (const block of [...known.keys()].sort((a, b) => a - b)) {
      const last = ranges.at(-1);
      const offsetBytes = block * BLOCK_SIZE;
      if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes)
        last.lengthBytes += BLOCK_SIZE;
      else ranges.push({ ...(snapshot === "" ? {} : { snapshot }), offsetBytes, lengthBytes: BLOCK_SIZE });
    }
    return ranges;
  }

  /** Of a page that was lost one block stands for all: once it is written again, another that is not does. */
  #standIn(map: BlockMap, known: Map<number, number>, block: number): void {
    const first = block - (block % PAGE_ENTRIES);
    for (let other = first; other < first + PAGE_ENTRIES; other++) {
      if (map.location(other) !== LOCATION_LOST) continue;
      known.set(other, LOCATION_LOST);
      return;
    }
  }
}
