// Where each block of a volume lies: three levels, shared between a head, its snapshots, clones and checkpoints.
//
//   branches[block >>> 18] ─► MapBranch { pages[512], refs } ─► MapPage { words[0..511] location, words[512..1023]
//                                                                         crc32c, refs }
//
// 8 bytes per mapped block. A branch (1 GiB of volume) or page (2 MiB) that is named more than once is copied before it
// changes; locations are counted once per page (SegmentTable). So freezing a map costs one counter per GiB of volume,
// whatever it holds, and no block is ever copied.
// Invariant: branch.refs = maps that name it; page.refs = branches that name it; every non-zero location of a page with
// refs > 0 is counted. Thread: the pool's worker. Hot: yes (location, checksum, set).

import { PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import { giveWords, NO_WORDS, takeWords, takeZeroWords } from "./page-words.js";

export const BRANCH_PAGES = 512;

/** A map file, as pages that stand in it know it. */
export interface PageFile {
  readonly name: string;
  /** Pages of it that some map in memory still has. */
  livePages: number;
}

export class MapPage {
  /** Locations, then checksums; none once nobody names the page. */
  words: Uint32Array;
  refs = 1;
  /** Where the page stands on the medium, with exactly this content; undefined when nowhere yet. */
  file: PageFile | undefined = undefined;
  /** Place within the file, counted in pages. */
  place = 0;
  /** crc32c of the content, when it stands in a file. */
  sum = 0;

  /** `words` are the page's own from now on. */
  constructor(words: Uint32Array) {
    this.words = words;
  }

  /** The content as bytes. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.words.buffer, this.words.byteOffset, this.words.byteLength);
  }

  /** The page stands in `file` now, or nowhere. */
  moveTo(file: PageFile | undefined, place: number, sum = 0): void {
    if (this.file !== undefined) this.file.livePages--;
    this.file = file;
    this.place = place;
    this.sum = sum;
    if (file !== undefined) file.livePages++;
  }
}

export class MapBranch {
  readonly pages: (MapPage | null)[] = new Array<MapPage | null>(BRANCH_PAGES).fill(null);
  refs = 1;
}

export class BlockMap {
  readonly #table: SegmentTable;
  branches: (MapBranch | null)[];
  /** Blocks that are stored. */
  mappedBlocks = 0;

  constructor(table: SegmentTable, blockCount: number) {
    this.#table = table;
    this.branches = new Array<MapBranch | null>(branchCountOf(blockCount)).fill(null);
  }

  /** Pages that the map has room for. */
  get pageCount(): number {
    return this.branches.length * BRANCH_PAGES;
  }

  /** The page, or null: its blocks read as zeros, as do those beyond the map's end. */
  page(index: number): MapPage | null {
    const branch = this.branches[index >>> 9] ?? null;
    return branch === null ? null : (branch.pages[index & 511] as MapPage | null);
  }

  /** 0 when the block reads as zeros. */
  location(block: number): number {
    const branch = this.branches[block >>> 18] as MapBranch | null;
    if (branch === null) return 0;
    const page = branch.pages[(block >>> 9) & 511] as MapPage | null;
    return page === null ? 0 : (page.words[block & 511] as number);
  }

  checksum(block: number): number {
    const page = this.page(block >>> 9);
    return page === null ? 0 : (page.words[(block & 511) + PAGE_ENTRIES] as number);
  }

  /** Puts a block's new place; what was there before is released. */
  set(block: number, location: number, checksum: number): void {
    const page = this.#writable(block >>> 9);
    const at = block & 511;
    const old = page.words[at] as number;
    this.#table.reference(location);
    if (old !== 0) this.#table.release(old);
    else this.mappedBlocks++;
    page.words[at] = location;
    page.words[at + PAGE_ENTRIES] = checksum;
  }

  /** A stored block has another place now, with the same content. */
  move(block: number, location: number): void {
    const page = this.#writable(block >>> 9);
    const at = block & 511;
    this.#table.reference(location);
    this.#table.release(page.words[at] as number);
    page.words[at] = location;
  }

  /** The blocks read as zeros from now on. Whole pages go at once, as do holes. */
  unmap(first: number, count: number): void {
    const end = first + count;
    let block = first;
    while (block < end) {
      const index = block >>> 9;
      const pageEnd = Math.min(end, (index + 1) << 9);
      if (this.page(index) !== null) this.#unmapInPage(index, block, pageEnd);
      block = pageEnd;
    }
  }

  #unmapInPage(index: number, first: number, end: number): void {
    if (end - first === PAGE_ENTRIES) {
      const page = this.page(index) as MapPage;
      this.mappedBlocks -= mappedIn(page);
      this.writableBranch(index >>> 9).pages[index & 511] = null;
      this.dropPage(page);
      return;
    }
    const page = this.#writable(index);
    for (let at = first & 511, left = end - first; left > 0; at++, left--) {
      const old = page.words[at] as number;
      if (old === 0) continue;
      this.#table.release(old);
      page.words[at] = 0;
      page.words[at + PAGE_ENTRIES] = 0;
      this.mappedBlocks--;
    }
  }

  /** The branch, made or copied so that only this map names it. */
  writableBranch(at: number): MapBranch {
    const branch = this.branches[at] as MapBranch | null;
    if (branch !== null && branch.refs === 1) return branch;
    const own = branch === null ? new MapBranch() : copyBranch(branch);
    if (branch !== null) branch.refs--;
    this.branches[at] = own;
    return own;
  }

  /** Puts a page where none is; the caller's reference to it becomes the map's. */
  install(index: number, page: MapPage): void {
    this.writableBranch(index >>> 9).pages[index & 511] = page;
    this.mappedBlocks += mappedIn(page);
  }

  /** The page, made or copied so that only this map sees the change. */
  #writable(index: number): MapPage {
    const branch = this.writableBranch(index >>> 9);
    const page = branch.pages[index & 511] as MapPage | null;
    if (page === null) {
      const fresh = new MapPage(takeZeroWords());
      branch.pages[index & 511] = fresh;
      return fresh;
    }
    if (page.refs === 1) {
      if (page.file !== undefined) page.moveTo(undefined, 0);
      return page;
    }
    const copy = copyPage(page, this.#table);
    page.refs--;
    branch.pages[index & 511] = copy;
    return copy;
  }

  /** Puts a page that another map has in the place of one with the same content. */
  replacePage(index: number, page: MapPage): void {
    const branch = this.writableBranch(index >>> 9);
    const old = branch.pages[index & 511] as MapPage;
    page.refs++;
    branch.pages[index & 511] = page;
    this.dropPage(old);
  }

  /** One branch less names the page. */
  dropPage(page: MapPage): void {
    if (--page.refs > 0) return;
    page.moveTo(undefined, 0);
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      if (page.words[i] !== 0) this.#table.release(page.words[i] as number);
    }
    giveWords(page.words);
    page.words = NO_WORDS;
  }

  /** A second map with the same content, sharing every branch. */
  freeze(): BlockMap {
    const copy = new BlockMap(this.#table, 0);
    copy.branches = this.branches.slice();
    copy.mappedBlocks = this.mappedBlocks;
    for (let i = 0; i < copy.branches.length; i++) {
      const branch = copy.branches[i] as MapBranch | null;
      if (branch !== null) branch.refs++;
    }
    return copy;
  }

  /** The map is not used any more. */
  release(): void {
    for (let i = 0; i < this.branches.length; i++) {
      const branch = this.branches[i] as MapBranch | null;
      if (branch === null || --branch.refs > 0) continue;
      for (let at = 0; at < BRANCH_PAGES; at++) {
        const page = branch.pages[at] as MapPage | null;
        if (page !== null) this.dropPage(page);
      }
    }
    this.branches = [];
    this.mappedBlocks = 0;
  }

  /** Makes room for a larger volume. */
  grow(blockCount: number): void {
    while (this.branches.length < branchCountOf(blockCount)) this.branches.push(null);
  }
}

/** A branch with the same pages that nobody names yet (refs 1). */
export function copyBranch(branch: MapBranch): MapBranch {
  const copy = new MapBranch();
  for (let at = 0; at < BRANCH_PAGES; at++) {
    const page = branch.pages[at] as MapPage | null;
    if (page === null) continue;
    copy.pages[at] = page;
    page.refs++;
  }
  return copy;
}

/** A page with the same content that nobody names yet (refs 1). */
export function copyPage(page: MapPage, table: SegmentTable): MapPage {
  const copy = new MapPage(takeWords());
  copy.words.set(page.words);
  for (let i = 0; i < PAGE_ENTRIES; i++) if (copy.words[i] !== 0) table.reference(copy.words[i] as number);
  return copy;
}

function branchCountOf(blockCount: number): number {
  return Math.ceil(blockCount / (PAGE_ENTRIES * BRANCH_PAGES));
}

export function pageCountOf(blockCount: number): number {
  return Math.ceil(blockCount / PAGE_ENTRIES);
}

export function mappedIn(page: MapPage): number {
  let count = 0;
  for (let i = 0; i < PAGE_ENTRIES; i++) if (page.words[i] !== 0) count++;
  return count;
}
