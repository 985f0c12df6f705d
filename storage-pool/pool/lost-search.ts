// Whose blocks lie where no copy is good: a scrub finds places, and people ask for volumes. Looks through the maps of all
// volumes once places are known. Thread: the pool's worker. Hot: no (some pages of a map per step).
import { LOST_BLOCKS_MAX } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { Root, Volume } from "../volume/volume.js";

/** Pages looked at in a step, and places of pages that may be empty. */
const PAGES_PER_STEP = 64;
const PLACES_PER_STEP = 16_384;

export interface LostSearchModules {
  readonly table: SegmentTable;
  readonly volumes: ReadonlyMap<number, Volume>;
  /** Told of each block that lies in one of the places. */
  readonly onLost: (map: BlockMap, block: number) => void;
}

export class LostSearch {
  readonly #modules: LostSearchModules;
  readonly #locations = new Set<number>();
  #roots: { volume: Volume; root: Root }[] | undefined;
  #next = 0;

  constructor(modules: LostSearchModules) {
    this.#modules = modules;
  }

  /** A block of the pool that has no good copy; beyond LOST_BLOCKS_MAX they are not looked for. */
  add(location: number): void {
    if (this.#locations.size < LOST_BLOCKS_MAX) this.#locations.add(location);
  }

  /** False when all maps were looked through, or nothing is lost. */
  step(): boolean {
    if (this.#locations.size === 0) return false;
    const { volumes } = this.#modules;
    this.#roots ??= [...volumes.values()].flatMap((volume) =>
      volume.roots().map((root) => ({ volume, root })),
    );
    const [current] = this.#roots;
    if (current === undefined) return false;
    const { volume, root } = current;
    const isThere = volumes.get(volume.id) === volume && volume.roots().includes(root);
    if (isThere && this.#lookOn(root.map)) return true;
    this.#roots.shift();
    this.#next = 0;
    return true;
  }

  /** False at the end of the map. */
  #lookOn(map: BlockMap): boolean {
    const end = Math.min(map.pageCount, this.#next + PLACES_PER_STEP);
    let pages = 0;
    for (; this.#next < end && pages < PAGES_PER_STEP; this.#next++) {
      const page = map.page(this.#next);
      if (page === null) continue;
      pages++;
      const words = this.#modules.table.pages.words(page);
      for (let i = 0; i < PAGE_ENTRIES; i++) {
        if (this.#locations.has(words[i] as number)) this.#modules.onLost(map, this.#next * PAGE_ENTRIES + i);
      }
    }
    return this.#next < map.pageCount;
  }
}
