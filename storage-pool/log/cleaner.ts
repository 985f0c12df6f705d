// The cleaner: moves what is still alive out of mostly dead segments, so that these can be freed.
//
//   victim ──copy live blocks (checked)──► a segment of kind "moved" ──maps point there──► next checkpoint frees victim
//
// Moved segments are not part of any volume's log: until a checkpoint names them they count for nothing, and until that
// checkpoint is on the medium the victim stays as it is. So a crash at any point loses nothing and needs no replay.
// Invariant: every live map page that names the old place names the new one afterwards, and pages that were shared stay
// shared. Thread: the pool's worker. Hot: no (one segment at a time, between requests).
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { copyBranch, copyPage, type MapBranch, type MapPage } from "../volume/block-map.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Root, Volume } from "../volume/volume.js";
import { checksum, DATA_BLOCKS, PAGE_ENTRIES, RECORD_DATA, SEGMENT_BLOCKS, SEGMENT_MOVED } from "./format.js";
import { LogWriter, type SpaceGate, type Staging } from "./log-writer.js";
import { readRecords } from "./recovery.js";
import type { Segment, SegmentTable } from "./segment-table.js";

export interface CleanerOptions {
  readonly table: SegmentTable;
  readonly staging: Staging;
  readonly gate: SpaceGate;
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
}

interface LiveBlock {
  readonly block: number;
  readonly from: number;
  readonly sum: number;
}

export class Cleaner {
  movedBlocks = 0;
  readonly #options: CleanerOptions;
  /** By copies and class of disks. */
  readonly #writers = new Map<string, LogWriter>();
  readonly #buffer = new DataBuffer(DATA_BLOCKS * BLOCK_SIZE);
  #moving: LiveBlock[] = [];
  #applied = 0;

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  get writers(): readonly LogWriter[] {
    return [...this.#writers.values()];
  }

  /** The sealed segment with the least that is alive, if its share is below `livePercent`. */
  victim(livePercent: number): Segment | undefined {
    let best: Segment | undefined;
    const limit = (DATA_BLOCKS * livePercent) / 100;
    this.#options.table.visit((segment) => {
      if (!segment.sealed || segment.evacuated || segment.moving || segment.pinned) return;
      if (!segment.readable) return;
      if (segment.liveBlocks === 0 || segment.liveBlocks >= limit) return;
      if (best === undefined || segment.liveBlocks < best.liveBlocks) best = segment;
    });
    return best;
  }

  /**
   * Moves the live blocks of `victim`. 0, or an errno: then nothing changed. Blocks that only an old checkpoint names
   * stay; blocks of which no good copy is left stay too, and keep the segment.
   */
  evacuate(victim: Segment): number {
    victim.evacuated = true;
    const live = this.#liveBlocks(victim);
    if (live.length === 0) return 0;
    this.#moving = [];
    for (const each of live) {
      const at = this.#moving.length * BLOCK_SIZE;
      const offset = (each.from & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
      const result = victim.disks[0]!.read(victim.slots[0]!, this.#buffer, at, BLOCK_SIZE, offset);
      const good = result === 0 && checksum(this.#buffer.bytes, at, BLOCK_SIZE) === each.sum;
      if (!good && !this.#options.reader.repair(victim, offset, each.sum, this.#buffer, at)) continue;
      this.#moving.push(each);
    }
    return this.#write(victim);
  }

  #write(victim: Segment): number {
    const writer = this.#writerFor(Math.max(1, victim.copies), victim.diskClass);
    this.#applied = 0;
    for (let first = 0; first < this.#moving.length; ) {
      let count = 1;
      const block = this.#moving[first]!.block;
      while (this.#moving[first + count]?.block === block + count) count++;
      const result = writer.stageData(this.#buffer, first * BLOCK_SIZE, block * BLOCK_SIZE, count);
      if (result !== 0) {
        writer.commit();
        return result;
      }
      first += count;
    }
    const result = writer.commit();
    this.movedBlocks += this.#applied;
    return result;
  }

  /** Seals what is open, e.g. before the pool closes. */
  seal(): void {
    for (const writer of this.#writers.values()) writer.seal();
  }

  #writerFor(copies: number, diskClass: string): LogWriter {
    const key = `${copies} ${diskClass}`;
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
      copies,
      diskClass,
      sequence: 0,
      privileged: true,
      apply: (_kind, offset, blockCount, location) => this.#apply(offset / BLOCK_SIZE, blockCount, location),
    });
    this.#writers.set(key, writer);
    return writer;
  }

  /** Records are applied in the order in which they were staged, which is the order of `#moving`. */
  #apply(block: number, count: number, location: number): void {
    for (let i = 0; i < count; i++) {
      const each = this.#moving[this.#applied++]!;
      if (each.block === block + i) this.#redirect(each, location + i);
    }
  }

  /**
   * Every live page that names the old place gets the new one; what checkpoints froze keeps the old. Branches and pages
   * that live maps share stay shared: each is copied once if a frozen map has it too.
   */
  #redirect(each: LiveBlock, location: number): void {
    const { table } = this.#options;
    const pageIndex = each.block >>> 9;
    const entry = each.block & (PAGE_ENTRIES - 1);
    const users = new Map<MapBranch, Root[]>();
    for (const volume of this.#options.volumes.values()) {
      for (const root of volume.roots()) {
        const branch = root.map.branches[pageIndex >>> 9] ?? null;
        if (branch?.pages[pageIndex & 511]?.words[entry] !== each.from || branch === null) continue;
        const known = users.get(branch);
        if (known === undefined) users.set(branch, [root]);
        else known.push(root);
        root.dirty = true;
        volume.generation++;
      }
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
      } else if (page.file !== undefined) {
        page.moveTo(undefined, 0);
      }
      table.reference(location);
      table.release(each.from);
      page.words[entry] = location;
    }
  }

  /** Blocks of the segment that a live map names, in the order of volume blocks. */
  #liveBlocks(victim: Segment): LiveBlock[] {
    const live: LiveBlock[] = [];
    for (const record of readRecords(victim)) {
      if (record.kind !== RECORD_DATA) continue;
      for (let i = 0; i < record.checksums.length; i++) {
        const from = victim.index * SEGMENT_BLOCKS + record.dataBlock + i;
        if (this.#options.table.countOf(from) === 0) continue;
        const block = record.offset / BLOCK_SIZE + i;
        if (this.#isNamed(block, from)) live.push({ block, from, sum: record.checksums[i]! });
      }
    }
    return live.sort((a, b) => a.block - b.block);
  }

  #isNamed(block: number, location: number): boolean {
    for (const volume of this.#options.volumes.values()) {
      for (const root of volume.roots()) {
        const page = root.map.page(block >>> 9);
        if (page !== null && page.words[block & 511] === location) return true;
      }
    }
    return false;
  }
}
