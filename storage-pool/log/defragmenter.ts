// Puts into order what is read in order: a log has each block where it was written last, so that what was written at random
// and is read from one end to the other is read in pieces. Such ranges (torn-ranges.ts) get places side by side.
//
//   idle ─► a range that is in pieces still ─► read what of it is in memory, checked ─► relocation.ts, 64 blocks at a time
//
// It is a copy of what is read anyway, for whoever reads it next. So it is made only with nobody waiting, of blocks that
// need no disk to be read, and where room is no concern: of what it leaves behind nothing is free before the next
// checkpoint. Volumes that can be rewound keep what was there before, and are left as they are.
// Thread: the pool's worker. Hot: no (a bounded step at a time, between requests).
import { DataBuffer } from "../disk/data-buffer.js";
import { OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import type { BlockMap } from "../volume/block-map.js";
import type { MapReader } from "../volume/map-reader.js";
import { isTorn, type TornRanges } from "../volume/torn-ranges.js";
import type { Volume } from "../volume/volume.js";
import { DATA_BLOCKS } from "./format.js";
import { kindOf, RELOCATE_BLOCKS, type Relocation } from "./relocation.js";
import type { SegmentTable } from "./segment-table.js";

/** Ranges that one step looks at, of which it puts one in order at most. */
const LOOKS = 16;
/** Free segments that are left to others, beyond those that there should be. */
const SPARE_SEGMENTS = 4;
/** Share of the free segments that may be taken between two checkpoints, and the most. */
const FREE_SHARE = 1 / 4;
const SEGMENTS_MAX = 256;

export interface DefragmenterOptions {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly relocation: Relocation;
}

export class Defragmenter {
  readonly #options: DefragmenterOptions;
  readonly #torn: TornRanges;
  readonly #buffer = new DataBuffer(RELOCATE_BLOCKS * BLOCK_SIZE);
  readonly #sums = new Uint32Array(RELOCATE_BLOCKS);
  /** What is left of the range that is put in order now. */
  #volume: Volume | undefined;
  #map: BlockMap | undefined;
  #block = 0;
  #left = 0;
  /** Blocks that got another place since maps were on the medium as they are. */
  #sinceCheckpoint = 0;

  constructor(options: DefragmenterOptions) {
    this.#options = options;
    this.#torn = options.reader.torn;
  }

  /** Puts up to RELOCATE_BLOCKS blocks in order. `lowSegments`: so many shall be free. "idle": there is nothing to do now. */
  step(lowSegments: number): "busy" | "idle" {
    const { table, relocation } = this.#options;
    if (this.#left === 0 && this.#torn.isEmpty) return "idle";
    if (relocation.touched.size === 0) this.#sinceCheckpoint = 0;
    if (!table.isCounted || table.pages.isFull) return "idle";
    for (let looks = 0; looks < LOOKS; looks++) {
      if (this.#left === 0 && !this.#take()) return "idle";
      const volume = this.#volume as Volume;
      // Its map is another when it was put back to a snapshot or deleted.
      if (volume.head.map !== this.#map) {
        this.#left = 0;
        continue;
      }
      const free = table.freeCount(volume.copies, volume.diskClass) - lowSegments - SPARE_SEGMENTS;
      const most = Math.min(free * FREE_SHARE, SEGMENTS_MAX) * DATA_BLOCKS;
      if (this.#sinceCheckpoint >= most) return "idle";
      const count = Math.min(this.#left, RELOCATE_BLOCKS);
      const block = this.#block;
      this.#block += count;
      this.#left -= count;
      if (!isTorn(count, runsOf(volume.head.map, block, count))) continue;
      this.#order(volume, block, count);
      return "busy";
    }
    return "busy";
  }

  #take(): boolean {
    const torn = this.#torn;
    while (torn.take()) {
      const { map } = torn;
      for (const volume of this.#options.volumes.values()) {
        if (volume.head.map !== map || volume.history.windowMs > 0) continue;
        this.#volume = volume;
        this.#map = map;
        this.#block = torn.block;
        this.#left = torn.count;
        return true;
      }
    }
    this.#forget();
    return false;
  }

  #forget(): void {
    this.#torn.clear();
    this.#volume = undefined;
    this.#map = undefined;
    this.#left = 0;
  }

  #order(volume: Volume, block: number, count: number): void {
    const { reader, relocation } = this.#options;
    // Bytes as they are stored: encrypted ones stay so.
    const result = reader.readBlocks(volume.head.map, this.#buffer, 0, block, count, undefined, false);
    if (result !== OK) {
      // The rest of it will not be in memory either.
      this.#left = 0;
      return;
    }
    relocation.begin();
    const staged = this.#stage(volume, block, count);
    const committed = relocation.commit(volume);
    relocation.end();
    // The disks will not have it, nor anything else that was wanted: it is noted when it is read again.
    if (staged !== OK || committed !== OK) this.#forget();
  }

  /** Every run of blocks that are stored in segments of the volume's kind; others, as those of a clone's origin, stay. */
  #stage(volume: Volume, block: number, count: number): number {
    const { relocation } = this.#options;
    const { map } = volume.head;
    let result: number = OK;
    for (let i = 0; i < count && result === OK; ) {
      let run = 0;
      while (i + run < count && this.#isMovable(volume, map.location(block + i + run))) {
        this.#sums[run] = map.checksum(block + i + run);
        relocation.expect(map.location(block + i + run));
        run++;
      }
      if (run > 0) {
        result = relocation.stage(volume, this.#buffer, i * BLOCK_SIZE, block + i, run, this.#sums, 0);
        this.#sinceCheckpoint += run;
      }
      i += Math.max(1, run);
    }
    return result;
  }

  #isMovable(volume: Volume, location: number): boolean {
    const { table } = this.#options;
    if (location === 0 || table.isPackedOrLost(location)) return false;
    return kindOf(table.of(location)) === kindOf(volume);
  }
}

/** Runs of blocks that lie side by side. */
function runsOf(map: BlockMap, block: number, count: number): number {
  let runs = 0;
  let before = 0;
  for (let i = 0; i < count; i++) {
    const location = map.location(block + i);
    if (location !== 0 && location !== before + 1) runs++;
    before = location;
  }
  return runs;
}
