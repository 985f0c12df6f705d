// Gives stored blocks another place: copies go to segments of kind "moved", and every live map names these from then on.
//
//   begin ─► expect (where each block lies), stage … ─► commit: the copies are written, then the maps changed ─► end
//
// Moved segments are not part of any volume's log: until a checkpoint names them they count for nothing, and until that
// checkpoint is on the medium what they were copied from stays as it is. So a crash at any point loses nothing and needs
// no replay. Invariant: every live map page that names the old place names the new one afterwards, and pages that were
// shared stay shared. Thread: the pool's worker. Hot: no (a bounded number of blocks at a time, between requests).
import type { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { copyBranch, copyPage, type MapBranch } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { Root, Volume } from "../volume/volume.js";
import { PAGE_ENTRIES, SEGMENT_MOVED } from "./format.js";
import { LogWriter, type SpaceGate, type Staging } from "./log-writer.js";
import type { Segment, SegmentTable } from "./segment-table.js";

/** Blocks that are moved between begin() and end() at most. */
export const RELOCATE_BLOCKS = 64;

export interface RelocationOptions {
  readonly table: SegmentTable;
  readonly staging: Staging;
  readonly gate: SpaceGate;
  readonly volumes: ReadonlyMap<number, Volume>;
}

/** What of writes that are not a log's a sync has to know; see LogWriter. */
export interface PackedWrites {
  readonly sequence: number;
  durable: number;
  readonly segment: undefined;
  unsynced: Segment[];
  broken: boolean;
}

/** What a segment has in common with those that its blocks may go to. */
export interface SegmentKind {
  readonly copies: number;
  readonly diskClass: string;
}

interface LiveRoot {
  readonly volume: Volume;
  readonly root: Root;
}

export class Relocation {
  /** Blocks that were given another place since the pool was opened. */
  movedBlocks = 0;
  /** Volumes whose maps changed since their last checkpoint began: until theirs nothing is freed. */
  readonly touched = new Set<Volume>();
  /** Packed segments that were written and may not be on the medium yet. */
  readonly packedWrites: PackedWrites = {
    sequence: 0,
    durable: 0,
    segment: undefined,
    unsynced: [],
    broken: false,
  };
  readonly #options: RelocationOptions;
  /** By copies and class of disks. */
  readonly #writers = new Map<string, LogWriter>();
  /** Every live map, between begin() and end(). */
  #roots: LiveRoot[] = [];
  /** Where the blocks lie that were staged, in that order, and how many of these are in the maps. */
  readonly #from = new Float64Array(RELOCATE_BLOCKS);
  #stagedCount = 0;
  #appliedCount = 0;

  constructor(options: RelocationOptions) {
    this.#options = options;
  }

  get writers(): readonly LogWriter[] {
    return [...this.#writers.values()];
  }

  /** Something that maps name cannot be made durable any more. */
  get broken(): boolean {
    return this.packedWrites.broken || this.writers.some((writer) => writer.broken);
  }

  /** Blocks of such segments that the open one still takes, at least. */
  spareBlocks(kind: SegmentKind): number {
    return this.#writers.get(kindOf(kind))?.spareBlocks ?? 0;
  }

  /** Looks up which maps there are. */
  begin(): void {
    this.#stagedCount = 0;
    this.#appliedCount = 0;
    this.#roots = [];
    for (const volume of this.#options.volumes.values()) {
      for (const root of volume.roots()) this.#roots.push({ volume, root });
    }
  }

  /** The checksum that a live map has for the block at `location`; undefined when none names it. */
  checksum(block: number, location: number): number | undefined {
    for (let i = 0; i < this.#roots.length; i++) {
      const page = (this.#roots[i] as LiveRoot).root.map.page(block >>> 9);
      const words = page === null ? undefined : this.#options.table.pages.words(page);
      if (words === undefined || words[block & 511] !== location) continue;
      return words[(block & 511) + PAGE_ENTRIES];
    }
    return undefined;
  }

  /** The next block that is staged lies at `location`. */
  expect(location: number): void {
    this.#from[this.#stagedCount++] = location;
  }

  /** Stages `count` blocks from `block` of their volumes on, with their checksums; the caller has read and checked them. */
  stage(
    kind: SegmentKind,
    source: DataBuffer,
    at: number,
    block: number,
    count: number,
    sums: Uint32Array,
    sumAt: number,
  ): number {
    return this.#writerFor(kind).stageChecked(source, at, block * BLOCK_SIZE, count, sums, sumAt);
  }

  /** Writes what was staged and changes the maps; 0, or an errno: then all or some of it stays where it was. */
  commit(kind: SegmentKind): number {
    return this.#writers.get(kindOf(kind))?.commit() ?? 0;
  }

  end(): void {
    this.#roots = [];
  }

  /** Between begin() and end(): `block`, where it lies at `from`, lies at `location` from now on. */
  redirect(block: number, from: number, location: number): void {
    this.#redirect(block, from, location);
    this.movedBlocks++;
  }

  #writerFor(kind: SegmentKind): LogWriter {
    const key = kindOf(kind);
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
      copies: Math.max(1, kind.copies),
      diskClass: kind.diskClass,
      sequence: 0,
      privileged: true,
      apply: (_kind, offset, blockCount, location) => this.#apply(offset / BLOCK_SIZE, blockCount, location),
    });
    this.#writers.set(key, writer);
    return writer;
  }

  /** Records are applied in the order in which they were staged. */
  #apply(block: number, count: number, location: number): void {
    for (let i = 0; i < count; i++) {
      this.#redirect(block + i, this.#from[this.#appliedCount++] as number, location + i);
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

export function kindOf({ copies, diskClass }: SegmentKind): string {
  return `${Math.max(1, copies)} ${diskClass}`;
}
