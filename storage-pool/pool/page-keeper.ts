// Housekeeping of map pages: those that were not counted when the pool was opened are counted, those that went are counted
// out, and what is too much goes from memory; a little at a time. Before all are counted nothing that was there at the
// opening is freed, cleaned or moved. Thread: the pool's worker. Hot: no.
import { MAP_DIRTY_LOG_BYTES } from "../limits.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { Volume } from "../volume/volume.js";
import type { MapMemory } from "./open-pool.js";

/** How much faster pages are counted when writers wait for it. */
const URGENT = 16;

export interface PageKeeperOptions {
  readonly table: SegmentTable;
  readonly mapMemory: MapMemory;
  /** Pages of maps were found damaged while they were counted. */
  readonly onLostPages: () => void;
}

export class PageKeeper {
  readonly #options: PageKeeperOptions;

  constructor(options: PageKeeperOptions) {
    this.#options = options;
  }

  /** "counted": the counts are right at last, and something may be free; "idle": there was nothing to do. */
  step(urgent: boolean): "busy" | "counted" | "idle" {
    const { table, mapMemory, onLostPages } = this.#options;
    const { pages } = table;
    pages.trim();
    if (!pages.isBehind) return "idle";
    const { lostCount } = pages;
    const more = pages.step(mapMemory.pagesPerStep * (urgent ? URGENT : 1));
    if (pages.lostCount > lostCount) onLostPages();
    return more ? "busy" : "counted";
  }

  /** So many pages of maps are changed that writing them down makes room in memory. */
  isCheckpointDue(volume: Volume): boolean {
    const { table, mapMemory } = this.#options;
    return (
      table.pages.dirtyCount >= mapMemory.dirtyPages && volume.writer.writtenBytes >= MAP_DIRTY_LOG_BYTES
    );
  }
}
