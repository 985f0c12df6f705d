// Housekeeping of map pages: those that were not counted when the pool was opened are counted, those that went are counted
// out, and what is too much goes from memory; a little at a time. Before all are counted nothing that was there at the
// opening is freed, cleaned or moved.
// Changed pages have a bound, which is also one of what a start has to replay. From the first threshold on a checkpoint is
// made of whatever volume has most of them; it goes on the faster the more change meanwhile, so that half of what may
// change is left for the time in which disks and catalogue are waited for. Who reaches the end of that waits.
//
//   changed pages   0 … dirtyPages: a checkpoint begins … (writing keeps ahead) … halfway … (disks, catalogue) … end: EAGAIN
//
// Invariant: nobody waits but for a checkpoint that is being made, so that waiting ends with it. Thread: the pool's worker. Hot: no.
import type { SegmentTable } from "../log/segment-table.js";
import type { Volume } from "../volume/volume.js";
import type { MapMemory } from "./open-pool.js";

/** How much faster pages are counted when writers wait for it. */
const URGENT = 16;
/** Of the pages that may change before a checkpoint is due, those that may while it is made; at least a quarter if others changed before. */
const MEANWHILE_SHARE = 2 / 3;
const MEANWHILE_LEAST = 1 / 4;
/** A volume with a smaller share of them is not worth a checkpoint for it, while others may still change as many. */
const WORTH_SHARE = 1 / 16;

export interface PageKeeperOptions {
  readonly table: SegmentTable;
  readonly mapMemory: MapMemory;
  /** Pages of maps were found damaged while they were counted. */
  readonly onLostPages: () => void;
}

export class PageKeeper {
  readonly #options: PageKeeperOptions;
  /** Changed pages when the checkpoint under way began, and when others have to wait for it. */
  #before = 0;
  #most = Number.POSITIVE_INFINITY;

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

  /** The volume whose changed pages are to be written down to make room in memory. */
  dueForCheckpoint(volumes: Iterable<Volume>): Volume | undefined {
    const { dirtyPages } = this.#options.mapMemory;
    const { dirtyCount } = this.#options.table.pages;
    if (dirtyCount < dirtyPages) return undefined;
    let due: Volume | undefined;
    let most = dirtyCount < mostOf(dirtyPages) ? dirtyPages * WORTH_SHARE : 1;
    for (const volume of volumes) {
      const changedPages = changedPagesOf(volume);
      if (changedPages < most) continue;
      most = changedPages;
      due = volume;
    }
    return due;
  }

  /** A checkpoint begins. */
  begin(): void {
    const { table, mapMemory } = this.#options;
    const { dirtyPages } = mapMemory;
    this.#before = table.pages.dirtyCount;
    const least = this.#before + Math.ceil(dirtyPages * MEANWHILE_LEAST);
    this.#most = Math.max(least, mostOf(dirtyPages));
    this.resume();
  }

  /** Of what may change meanwhile more has than `share` of the checkpoint is written. */
  isAheadOf(share: number): boolean {
    const changed = this.#options.table.pages.dirtyCount - this.#before;
    return changed > (share * (this.#most - this.#before)) / 2;
  }

  /** The checkpoint ended, or cannot go on for a while: nobody waits for it. */
  end(): void {
    this.#options.table.pages.changedMost = Number.POSITIVE_INFINITY;
  }

  /** The checkpoint goes on. */
  resume(): void {
    this.#options.table.pages.changedMost = this.#most;
  }
}

/** With so many changed pages writers wait. */
function mostOf(dirtyPages: number): number {
  return Math.ceil(dirtyPages * (1 + MEANWHILE_SHARE));
}

/** Pages of the maps of a volume that changed since its last checkpoint began, or a few more. */
function changedPagesOf(volume: Volume): number {
  return volume.roots().reduce((sum, { map }) => sum + map.changedPages, 0);
}
