// When the space of free slots goes back to the file systems below.
//
// A segment that is written where another was needs no new pages in the page cache and no new extents, and punching costs
// as well: 64 KiB cost 10 µs in place of an old segment, 21 µs in a hole that has to be punched again. So what overwriting
// frees waits for the next writes, also over a pause. Whoever trims or deletes volumes wants the file system to have the
// space, and one that has little left needs it. Thread: the pool's worker. Hot: no (a look between requests).
import type { Disk } from "../disk/disk.js";
import { CHECKPOINT_IDLE_MS, PUNCH_STEP, UNPUNCHED_MAX, UNPUNCHED_MS } from "../limits.js";
import type { SegmentTable } from "../log/segment-table.js";
import type { Volume } from "../volume/volume.js";

/** With a smaller share free in the file system below nothing that is free is kept from it. */
const SHORT_SHARE = 1 / 8;
/** How often the file systems below are asked. */
const LOOK_MS = 1000;

export interface SpaceReturnOptions {
  readonly table: SegmentTable;
  readonly volumes: ReadonlyMap<number, Volume>;
}

export class SpaceReturn {
  readonly #options: SpaceReturnOptions;
  /** What was trimmed, and how many volumes there were, when all space had gone back last. */
  #trimmedBlocks = 0;
  #volumeCount = 0;
  readonly #short = new Set<Disk>();
  /** When the file systems were asked last, in the terms of `step`. */
  #lookedMs = 0;

  constructor(options: SpaceReturnOptions) {
    this.#options = options;
  }

  /** Gives a little back if it is time; `quietMs`: since the last write. True when there is more to give. */
  step(quietMs: number): boolean {
    const { table, volumes } = this.#options;
    const isQuiet = quietMs >= CHECKPOINT_IDLE_MS;
    const trimmedBlocks = isQuiet ? this.#countTrimmed() : this.#trimmedBlocks;
    const isGiven = trimmedBlocks !== this.#trimmedBlocks || volumes.size < this.#volumeCount;
    if (isQuiet) this.#look(quietMs);
    let more = false;
    for (const disk of table.disks) {
      if (disk.unpunchedCount === 0) continue;
      const isFree = quietMs >= UNPUNCHED_MS || (isQuiet && (isGiven || this.#short.has(disk)));
      more = disk.punchSome(PUNCH_STEP, isFree ? 0 : UNPUNCHED_MAX) || more;
    }
    if (isQuiet && !more) {
      this.#trimmedBlocks = trimmedBlocks;
      this.#volumeCount = volumes.size;
    }
    return more;
  }

  #countTrimmed(): number {
    let trimmed = 0;
    for (const volume of this.#options.volumes.values()) trimmed += volume.trimmedBlocks;
    return trimmed;
  }

  #look(quietMs: number): void {
    if (quietMs >= this.#lookedMs && quietMs < this.#lookedMs + LOOK_MS) return;
    this.#lookedMs = quietMs;
    this.#short.clear();
    for (const disk of this.#options.table.disks) {
      if (disk.unpunchedCount > 0 && isShort(disk)) this.#short.add(disk);
    }
  }
}

function isShort({ file }: Disk): boolean {
  return file.availableBytes() < file.sizeBytes * SHORT_SHARE;
}
