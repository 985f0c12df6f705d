// What was found unreadable since the pool was opened, and telling it once. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import type { BlockMap } from "../volume/block-map.js";
import { LostBlocks, type LostRange } from "../volume/lost-blocks.js";
import type { Volume } from "../volume/volume.js";

export class LostReport {
  readonly #volumes: ReadonlyMap<number, Volume>;
  readonly #lost = new LostBlocks();
  readonly #onLost: (volume: string, range: LostRange) => void;

  constructor(
    volumes: ReadonlyMap<number, Volume>,
    onLost: ((volume: string, range: LostRange) => void) | undefined,
  ) {
    this.#volumes = volumes;
    this.#onLost = onLost ?? (() => {});
  }

  /** A block that some root's map names cannot be read. */
  note(map: BlockMap, block: number): void {
    if (!this.#lost.note(map, block)) return;
    for (const volume of this.#volumes.values()) {
      const root = volume.roots().find((each) => each.map === map);
      if (root === undefined) continue;
      const range = { offsetBytes: block * BLOCK_SIZE, lengthBytes: BLOCK_SIZE };
      this.#onLost(volume.name, root.name === "" ? range : { snapshot: root.name, ...range });
      return;
    }
  }

  /** Pages of maps are damaged: of each the first block stands for all 2 MiB, until somebody reads the others. */
  notePages(): void {
    for (const volume of this.#volumes.values()) {
      for (const { map } of volume.roots()) {
        for (let index = 0; index < map.pageCount; index++) {
          if (map.page(index)?.lost === true) this.note(map, index * PAGE_ENTRIES);
        }
      }
    }
  }

  rangesOf(volume: Volume): LostRange[] {
    return volume.roots().flatMap((root) => this.#lost.rangesOf(root.map, root.name));
  }
}
