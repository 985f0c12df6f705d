// The cleaner: moves what is still alive out of mostly dead segments, so that these can be freed.
//
//   begin: which blocks live ─► step, step, …: copy some (checked) ─► a segment of kind "moved" ──maps point there──►
//                                                                     the next checkpoints free the victim
//
// Moved segments are not part of any volume's log: until a checkpoint names them they count for nothing, and until that
// checkpoint is on the medium the victim stays as it is. So a crash at any point loses nothing and needs no replay.
// Each step ends with the maps and segments as if it were the last one: between two anything may happen to them.
// Invariant: every live map page that names the old place names the new one afterwards, and pages that were shared stay
// shared. Thread: the pool's worker. Hot: no (a step of bounded size at a time, between requests).
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { copyBranch, copyPage, type MapBranch } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Root, Volume } from "../volume/volume.js";
import { bufferChecksum } from "./checksum.js";
import {
  DATA_BLOCKS,
  INDEX_SIZE,
  PAGE_ENTRIES,
  RECORD_DATA,
  SEGMENT_BLOCKS,
  SEGMENT_MOVED,
} from "./format.js";
import { LogWriter, type SpaceGate, type Staging } from "./log-writer.js";
import { visitRecordPlaces } from "./record-reader.js";
import { runChecksum } from "./run-checksum.js";
import type { Segment, SegmentTable } from "./segment-table.js";

/** Blocks that one step looks at and moves at most. */
export const CLEAN_STEP_BLOCKS = 64;
/** Blocks read at once: live ones with the dead between them. */
const WINDOW_BLOCKS = 2 * CLEAN_STEP_BLOCKS;

export interface CleanerOptions {
  readonly table: SegmentTable;
  readonly staging: Staging;
  readonly gate: SpaceGate;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
}

interface LiveRoot {
  readonly volume: Volume;
  readonly root: Root;
}

export class Cleaner {
  /** Blocks that were given another place since the pool was opened. */
  movedBlocks = 0;
  /** Volumes whose maps changed since their last checkpoint began: until theirs victims are not freed. */
  readonly touched = new Set<Volume>();
  readonly #options: CleanerOptions;
  /** By copies and class of disks. */
  readonly #writers = new Map<string, LogWriter>();
  readonly #index = new DataBuffer(INDEX_SIZE);
  readonly #buffer = new DataBuffer(WINDOW_BLOCKS * BLOCK_SIZE);
  /** What of the victim is in the buffer, from step to step: a sealed segment stays as it is, and each run is checked. */
  #windowAt = 0;
  #windowBlocks = 0;
  readonly #sums = new Uint32Array(CLEAN_STEP_BLOCKS);
  /** The victim's blocks that something names: block within the segment, and block of the volume. */
  readonly #places = new Uint32Array(DATA_BLOCKS);
  readonly #blocks = new Uint32Array(DATA_BLOCKS);
  #count = 0;
  #next = 0;
  #victim: Segment | undefined;
  /** Emptied, but named by maps on the medium. */
  #waiting: Segment[] = [];
  /** Of this step: every live map, and what is being moved. */
  #roots: LiveRoot[] = [];
  /** What was staged in this step, as indexes into `#blocks`, and how many of these are in the maps. */
  readonly #staged = new Uint32Array(CLEAN_STEP_BLOCKS);
  #stagedCount = 0;
  #appliedCount = 0;

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  get writers(): readonly LogWriter[] {
    return [...this.#writers.values()];
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
    const writer = this.#writers.get(kindOf(victim));
    return writer !== undefined && writer.spareBlocks >= victim.liveBlocks ? 0 : 1;
  }

  /** Finds out what lives in `victim`, without changing anything but that it is the one being emptied. */
  begin(victim: Segment): void {
    victim.evacuated = true;
    this.#victim = victim;
    this.#count = 0;
    this.#next = 0;
    this.#windowBlocks = 0;
    const { table } = this.#options;
    for (let copy = 0; copy < victim.disks.length && this.#count === 0; copy++) {
      const slot = victim.slots[copy] as number;
      if (victim.disks[copy]?.read(slot, this.#index, 0, INDEX_SIZE, 0) !== 0) continue;
      visitRecordPlaces(this.#index.view, victim.serial, (kind, block, dataBlock, count) => {
        if (kind !== RECORD_DATA) return;
        for (let i = 0; i < count && this.#count < DATA_BLOCKS; i++) {
          if (table.countOf(victim.index * SEGMENT_BLOCKS + dataBlock + i) === 0) continue;
          this.#places[this.#count] = dataBlock + i;
          this.#blocks[this.#count++] = block + i;
        }
      });
    }
  }

  /**
   * Moves up to `most` (at most CLEAN_STEP_BLOCKS) live blocks of the victim. "more", "done", or an errno: then the
   * victim is given up, as good as before. Blocks that only an old checkpoint names stay; blocks of which no good copy
   * is left stay too, and keep the segment.
   */
  step(most: number): "more" | "done" | number {
    const victim = this.#victim as Segment;
    if (this.#options.table.at(victim.index) !== victim) return this.#end();
    this.#stagedCount = 0;
    this.#appliedCount = 0;
    this.#roots = [];
    for (const volume of this.#options.volumes.values()) {
      for (const root of volume.roots()) this.#roots.push({ volume, root });
    }
    const end = Math.min(this.#count, this.#next + Math.min(most, CLEAN_STEP_BLOCKS));
    const writer = this.#writerFor(victim);
    let result = 0;
    while (this.#next < end && result === 0) {
      const run = this.#runFrom(this.#next, end);
      if (run > 0) result = this.#stageRun(writer, victim, run);
      this.#next += Math.max(1, run);
    }
    const committed = writer.commit();
    this.#roots = [];
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
    const { table, volumes } = this.#options;
    for (const volume of this.touched) if (!volumes.has(volume.id)) this.touched.delete(volume);
    this.#waiting =
      this.touched.size === 0 ? [] : this.#waiting.filter((segment) => table.at(segment.index) === segment);
  }

  #end(): "done" {
    this.#victim = undefined;
    return "done";
  }

  /** Seals what is open, e.g. before the pool closes. */
  seal(): void {
    for (const writer of this.#writers.values()) writer.seal();
  }

  /** Neighbours in the segment and in the volume, from the `at`-th on, that a live map names; 0: not even the first. */
  #runFrom(at: number, end: number): number {
    const { index } = this.#victim as Segment;
    let run = 0;
    while (at + run < end) {
      const place = this.#places[at + run] as number;
      const block = this.#blocks[at + run] as number;
      if (place !== (this.#places[at] as number) + run || block !== (this.#blocks[at] as number) + run) break;
      if (!this.#noteSum(block, index * SEGMENT_BLOCKS + place, run)) break;
      run++;
    }
    return run;
  }

  /** The checksum that a live map has for the block at `location`; false when none names it. */
  #noteSum(block: number, location: number, at: number): boolean {
    for (let i = 0; i < this.#roots.length; i++) {
      const page = (this.#roots[i] as LiveRoot).root.map.page(block >>> 9);
      const words = page === null ? undefined : this.#options.table.pages.words(page);
      if (words === undefined || words[block & 511] !== location) continue;
      this.#sums[at] = words[(block & 511) + PAGE_ENTRIES] as number;
      return true;
    }
    return false;
  }

  /** Reads, checks and stages the `run` blocks from `#next` on; those that cannot be read stay where they are. */
  #stageRun(writer: LogWriter, victim: Segment, run: number): number {
    const place = this.#places[this.#next] as number;
    const block = this.#blocks[this.#next] as number;
    const offset = place * BLOCK_SIZE;
    const at = this.#see(victim, place, run) ? (place - this.#windowAt) * BLOCK_SIZE : -1;
    let expected = this.#sums[0] as number;
    for (let i = 1; i < run; i++) expected = runChecksum(expected, this.#sums[i] as number);
    if (at >= 0 && bufferChecksum(this.#buffer, at, run * BLOCK_SIZE) === expected) {
      for (let i = 0; i < run; i++) this.#staged[this.#stagedCount++] = this.#next + i;
      return writer.stageChecked(this.#buffer, at, block * BLOCK_SIZE, run, this.#sums, 0);
    }
    this.#windowBlocks = 0;
    for (let i = 0; i < run; i++) {
      const sum = this.#sums[i] as number;
      const from = i * BLOCK_SIZE;
      if (!this.#options.reader.repair(victim, offset + from, sum, this.#buffer, 0)) continue;
      this.#staged[this.#stagedCount++] = this.#next + i;
      const result = writer.stageChecked(this.#buffer, 0, block * BLOCK_SIZE + from, 1, this.#sums, i);
      if (result !== 0) return result;
    }
    return 0;
  }

  /** Has the `run` blocks from `place` on in the buffer, with as many behind them as will be wanted; false: unreadable. */
  #see(victim: Segment, place: number, run: number): boolean {
    if (place >= this.#windowAt && place + run <= this.#windowAt + this.#windowBlocks) return true;
    const last = this.#places[this.#count - 1] as number;
    const count = Math.max(run, Math.min(WINDOW_BLOCKS, last + 1 - place));
    this.#windowAt = place;
    this.#windowBlocks = 0;
    const slot = victim.slots[0] as number;
    const result = victim.disks[0]?.read(slot, this.#buffer, 0, count * BLOCK_SIZE, place * BLOCK_SIZE);
    if (result === 0) this.#windowBlocks = count;
    return result === 0;
  }

  #writerFor(victim: Segment): LogWriter {
    const key = kindOf(victim);
    let writer = this.#writers.get(key);
    if (writer !== undefined) return writer;
    const { table, staging, gate } = this.#options;
    writer = new LogWriter({
      table,
      staging,
      gate,
      kind: SEGMENT_MOVED,
      volume: 0,
      epoch: 0,
      copies: Math.max(1, victim.copies),
      diskClass: victim.diskClass,
      sequence: 0,
      privileged: true,
      apply: (_kind, offset, blockCount, location) => this.#apply(offset / BLOCK_SIZE, blockCount, location),
    });
    this.#writers.set(key, writer);
    return writer;
  }

  /** Records are applied in the order in which they were staged. */
  #apply(block: number, count: number, location: number): void {
    const base = (this.#victim as Segment).index * SEGMENT_BLOCKS;
    for (let i = 0; i < count; i++) {
      const from = base + (this.#places[this.#staged[this.#appliedCount++] as number] as number);
      this.#redirect(block + i, from, location + i);
    }
    this.movedBlocks += count;
  }

  /** Every live page that names the old place gets the new one; what checkpoints froze keeps the old. */
  #redirect(block: number, from: number, location: number): void {
    let only: LiveRoot | undefined;
    for (let i = 0; i < this.#roots.length; i++) {
      const each = this.#roots[i] as LiveRoot;
      if (each.root.map.location(block) !== from) continue;
      if (only !== undefined) {
        this.#redirectShared(block, from, location);
        return;
      }
      only = each;
    }
    if (only === undefined) return;
    only.root.map.move(block, location);
    this.#note(only);
  }

  #note({ root, volume }: LiveRoot): void {
    root.dirty = true;
    volume.generation++;
    this.touched.add(volume);
  }

  /** Branches and pages that live maps share stay shared: each is copied once if a frozen map has it too. */
  #redirectShared(block: number, from: number, location: number): void {
    const { table } = this.#options;
    const pageIndex = block >>> 9;
    const entry = block & (PAGE_ENTRIES - 1);
    const users = new Map<MapBranch, Root[]>();
    for (const each of this.#roots) {
      const { root } = each;
      const branch = root.map.branches[pageIndex >>> 9] ?? null;
      const page = branch?.pages[pageIndex & 511] ?? null;
      if (branch === null || page === null || table.pages.words(page)[entry] !== from) continue;
      const known = users.get(branch);
      if (known === undefined) users.set(branch, [root]);
      else known.push(root);
      this.#note(each);
    }
    const pages = new Map<MapPage, MapBranch[]>();
    for (const [shared, roots] of users) {
      let branch = shared;
      if (shared.refs > roots.length) {
        branch = copyBranch(shared);
        branch.refs = roots.length;
        shared.refs -= roots.length;
        for (const { map } of roots) map.branches[pageIndex >>> 9] = branch;
      }
      const page = branch.pages[pageIndex & 511] as MapPage;
      const known = pages.get(page);
      if (known === undefined) pages.set(page, [branch]);
      else known.push(branch);
    }
    for (const [shared, branches] of pages) {
      let page = shared;
      if (shared.refs > branches.length) {
        page = copyPage(shared, table);
        page.refs = branches.length;
        shared.refs -= branches.length;
        for (const branch of branches) branch.pages[pageIndex & 511] = page;
      } else {
        table.pages.words(page);
        if (page.file !== undefined) table.pages.change(page);
      }
      table.pages.put(page, entry, location);
    }
  }
}

function kindOf({ copies, diskClass }: Segment): string {
  return `${Math.max(1, copies)} ${diskClass}`;
}
