// The cleaner: moves what is still alive out of mostly dead segments, so that these can be freed.
//
//   begin: which blocks live ─► step, step, …: copy some (checked) ─► a segment of kind "moved" ──maps point there──►
//                                                                     the next checkpoints free the victim
//
// How blocks get another place, and why a crash loses nothing: relocation.ts. Each step ends with the maps and segments as
// if it were the last one: between two anything may happen to them. Thread: the pool's worker. Hot: no (a step of bounded size at a time, between requests).
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Volume } from "../volume/volume.js";
import { bufferChecksum } from "./checksum.js";
import { DATA_BLOCKS, GROUP_BLOCKS, INDEX_SIZE, RECORD_DATA, SEGMENT_BLOCKS } from "./format.js";
import { visitRecordPlaces } from "./record-reader.js";
import { readRecords } from "./recovery.js";
import { RELOCATE_BLOCKS, type Relocation } from "./relocation.js";
import { runChecksum } from "./run-checksum.js";
import type { Segment, SegmentTable } from "./segment-table.js";

/** Blocks that one step looks at and moves at most. */
export const CLEAN_STEP_BLOCKS = RELOCATE_BLOCKS;
/** The same of those that are packed, each of which may be in another group that is to be unpacked. */
const UNPACK_STEP_BLOCKS = 8;
/** Blocks read at once: live ones with the dead between them. */
const WINDOW_BLOCKS = 2 * CLEAN_STEP_BLOCKS;

export interface CleanerOptions {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly relocation: Relocation;
}

export class Cleaner {
  readonly #options: CleanerOptions;
  readonly #index = new DataBuffer(INDEX_SIZE);
  readonly #buffer = new DataBuffer(WINDOW_BLOCKS * BLOCK_SIZE);
  /** What of the victim is in the buffer, from step to step: a sealed segment stays as it is, and each run is checked. */
  #windowAt = 0;
  #windowBlocks = 0;
  readonly #sums = new Uint32Array(CLEAN_STEP_BLOCKS);
  /** The victim's blocks that something names: where they lie, and block of the volume. */
  readonly #locations = new Uint32Array(DATA_BLOCKS);
  readonly #blocks = new Uint32Array(DATA_BLOCKS);
  #count = 0;
  #next = 0;
  #victim: Segment | undefined;
  /** Emptied, but named by maps on the medium. */
  #waiting: Segment[] = [];

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  /** A victim is being emptied. */
  get active(): boolean {
    return this.#victim !== undefined;
  }

  /** Segments that the next checkpoints free. */
  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Blocks in these that are named by maps on the medium only. */
  get waitingBlocks(): number {
    let blocks = 0;
    for (let i = 0; i < this.#waiting.length; i++) blocks += (this.#waiting[i] as Segment).liveBlocks;
    return blocks;
  }

  /** The sealed segment with the least that is alive, if its share is below `livePercent`, of those that `isGood` says. */
  victim(livePercent: number, isGood: (segment: Segment) => boolean): Segment | undefined {
    let best: Segment | undefined;
    const limit = (DATA_BLOCKS * livePercent) / 100;
    this.#options.table.visit((segment) => {
      if (!segment.sealed || segment.evacuated || segment.moving || segment.pinned) return;
      if (!this.#options.table.isKnown(segment)) return;
      if (!segment.readable) return;
      if (segment.liveBlocks === 0 || segment.liveBlocks >= limit) return;
      if (best !== undefined && segment.liveBlocks >= best.liveBlocks) return;
      if (isGood(segment)) best = segment;
    });
    return best;
  }

  /** Free segments that emptying `victim` takes: none when what lives fits into the one that is open. */
  segmentsFor(victim: Segment): number {
    return this.#options.relocation.spareBlocks(victim) >= victim.liveBlocks ? 0 : 1;
  }

  /** Finds out what lives in `victim`, without changing anything but that it is the one being emptied. */
  begin(victim: Segment): void {
    victim.evacuated = true;
    this.#victim = victim;
    this.#count = 0;
    this.#next = 0;
    this.#windowBlocks = 0;
    const { table } = this.#options;
    if (victim.isPacked) {
      for (const { group, offset } of readRecords(victim)) {
        for (let i = 0; group !== undefined && i < GROUP_BLOCKS; i++) {
          const isThere = ((group.stored >>> i) & 1) === 1 && table.at(group.location >>> 10) === victim;
          if (isThere) this.#note(group.location + i, offset / BLOCK_SIZE + i);
        }
      }
      return;
    }
    for (let copy = 0; copy < victim.disks.length && this.#count === 0; copy++) {
      const slot = victim.slots[copy] as number;
      if (victim.disks[copy]?.read(slot, this.#index, 0, INDEX_SIZE, 0) !== 0) continue;
      visitRecordPlaces(this.#index.view, victim.serial, (kind, block, dataBlock, count) => {
        if (kind !== RECORD_DATA) return;
        const location = victim.index * SEGMENT_BLOCKS + dataBlock;
        for (let i = 0; i < count; i++) this.#note(location + i, block + i);
      });
    }
  }

  /** Block `block` of some volume lies at `location` of the victim, if anything names it. */
  #note(location: number, block: number): void {
    if (this.#count >= DATA_BLOCKS || this.#options.table.countOf(location) === 0) return;
    this.#locations[this.#count] = location;
    this.#blocks[this.#count++] = block;
  }

  /**
   * Moves up to `most` (at most CLEAN_STEP_BLOCKS) live blocks of the victim. "more", "done", or an errno: then the
   * victim is given up, as good as before. Blocks that only an old checkpoint names stay; blocks of which no good copy
   * is left stay too, and keep the segment.
   */
  step(most: number): "more" | "done" | number {
    const victim = this.#victim as Segment;
    if (this.#options.table.at(victim.index) !== victim) return this.#end();
    const { relocation } = this.#options;
    relocation.begin();
    const largest = victim.isPacked ? UNPACK_STEP_BLOCKS : CLEAN_STEP_BLOCKS;
    const end = Math.min(this.#count, this.#next + Math.min(most, largest));
    let result = 0;
    while (this.#next < end && result === 0) {
      const run = this.#runFrom(this.#next, end);
      if (run > 0) result = this.#stageRun(victim, run);
      this.#next += Math.max(1, run);
    }
    const committed = relocation.commit(victim);
    relocation.end();
    if (result !== 0 || committed !== 0) {
      victim.evacuated = false;
      this.#victim = undefined;
      return result || committed;
    }
    if (this.#next < this.#count) return "more";
    this.#waiting.push(victim);
    return this.#end();
  }

  /** Maps on the medium were replaced; segments that are still named although nothing is touched stay as they are. */
  checkpointed(): void {
    const { table, volumes, relocation } = this.#options;
    const { touched } = relocation;
    for (const volume of touched) if (!volumes.has(volume.id)) touched.delete(volume);
    this.#waiting =
      touched.size === 0 ? [] : this.#waiting.filter((segment) => table.at(segment.index) === segment);
  }

  #end(): "done" {
    this.#victim = undefined;
    return "done";
  }

  /** Neighbours in the segment and in the volume, from the `at`-th on, that a live map names; 0: not even the first. */
  #runFrom(at: number, end: number): number {
    let run = 0;
    while (at + run < end) {
      const location = this.#locations[at + run] as number;
      const block = this.#blocks[at + run] as number;
      if (location !== (this.#locations[at] as number) + run) break;
      if (block !== (this.#blocks[at] as number) + run) break;
      const sum = this.#options.relocation.checksum(block, location);
      if (sum === undefined) break;
      this.#sums[run] = sum;
      run++;
    }
    return run;
  }

  /** Reads, checks and stages the `run` blocks from `#next` on; those that cannot be read stay where they are. */
  #stageRun(victim: Segment, run: number): number {
    const { relocation } = this.#options;
    const from = this.#locations[this.#next] as number;
    const block = this.#blocks[this.#next] as number;
    if (victim.isPacked) return this.#stageUnpacked(victim, from, block, run);
    const place = from % SEGMENT_BLOCKS;
    const offset = place * BLOCK_SIZE;
    const at = this.#see(victim, place, run) ? (place - this.#windowAt) * BLOCK_SIZE : -1;
    let expected = this.#sums[0] as number;
    for (let i = 1; i < run; i++) expected = runChecksum(expected, this.#sums[i] as number);
    if (at >= 0 && bufferChecksum(this.#buffer, at, run * BLOCK_SIZE) === expected) {
      for (let i = 0; i < run; i++) relocation.expect(from + i);
      return relocation.stage(victim, this.#buffer, at, block, run, this.#sums, 0);
    }
    this.#windowBlocks = 0;
    for (let i = 0; i < run; i++) {
      const sum = this.#sums[i] as number;
      if (!this.#options.reader.repair(victim, offset + i * BLOCK_SIZE, sum, this.#buffer, 0)) continue;
      relocation.expect(from + i);
      const result = relocation.stage(victim, this.#buffer, 0, block + i, 1, this.#sums, i);
      if (result !== 0) return result;
    }
    return 0;
  }

  /** The same for blocks that are packed: they go as they are in the volume. */
  #stageUnpacked(victim: Segment, from: number, block: number, run: number): number {
    const { relocation, reader } = this.#options;
    for (let i = 0; i < run; i++) {
      const sum = this.#sums[i] as number;
      if (reader.packed.read(from + i, sum, this.#buffer, 0, true) !== 0) continue;
      relocation.expect(from + i);
      const result = relocation.stage(victim, this.#buffer, 0, block + i, 1, this.#sums, i);
      if (result !== 0) return result;
    }
    return 0;
  }

  /** Has the `run` blocks from `place` on in the buffer, with as many behind them as will be wanted; false: unreadable. */
  #see(victim: Segment, place: number, run: number): boolean {
    if (place >= this.#windowAt && place + run <= this.#windowAt + this.#windowBlocks) return true;
    const last = (this.#locations[this.#count - 1] as number) % SEGMENT_BLOCKS;
    const count = Math.max(run, Math.min(WINDOW_BLOCKS, last + 1 - place));
    this.#windowAt = place;
    this.#windowBlocks = 0;
    const slot = victim.slots[0] as number;
    const result = victim.disks[0]?.read(slot, this.#buffer, 0, count * BLOCK_SIZE, place * BLOCK_SIZE);
    if (result === 0) this.#windowBlocks = count;
    return result === 0;
  }
}
