// Where each block of a volume lies: three levels, shared between a head, its snapshots, clones and checkpoints.
//
//   branches[block >>> 18] ─► MapBranch { pages[512], refs } ─► MapPage { words[0..511] location, words[512..1023]
//                                                                         crc32c, refs }
//
// 8 bytes per mapped block. A branch (1 GiB of volume) or page (2 MiB) that is named more than once is copied before it
// changes; locations are counted once per page (SegmentTable, PageCache). So freezing a map costs one counter per GiB of volume,
// whatever it holds, and no block is ever copied. Words of pages that were not used lately are on the medium only
// (page-cache.ts).
// Invariant: branch.refs = maps that name it; page.refs = branches that name it; mappedBlocks = what its pages say. Thread: the pool's worker. Hot: yes (location, checksum, set).

import { LOCATION_LOST, PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import { MapPage } from "./map-page.js";
import { NO_WORDS } from "./page-words.js";

export const BRANCH_PAGES = 512;

export class MapBranch {
  readonly pages: (MapPage | null)[] = new Array<MapPage | null>(BRANCH_PAGES).fill(null);
  refs = 1;
}

export class BlockMap {
  readonly #table: SegmentTable;
  branches: (MapBranch | null)[];
  /** Blocks that are stored. */
  mappedBlocks = 0;
  /** Pages that were made or changed here since the last checkpoint of it began, or a few more: some may be gone. */
  changedPages = 0;

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

  /** 0 when the block reads as zeros, as beyond the map's end; LOCATION_LOST when the map does not say any more. */
  location(block: number): number {
    const branch = this.branches[block >>> 18];
    if (branch === null || branch === undefined) return 0;
    const page = branch.pages[(block >>> 9) & 511] as MapPage | null;
    if (page === null) return 0;
    page.recent = true;
    const { words } = page;
    return (words === NO_WORDS ? this.#table.pages.words(page) : words)[block & 511] as number;
  }

  checksum(block: number): number {
    const page = this.page(block >>> 9);
    return page === null ? 0 : (this.#table.pages.words(page)[(block & 511) + PAGE_ENTRIES] as number);
  }

  /** Puts a block's new place; what was there before is released. */
  set(block: number, location: number, checksum: number): void {
    const page = this.#writable(block >>> 9);
    const at = block & 511;
    if (page.words[at] === 0) {
      this.mappedBlocks++;
      page.mapped++;
    }
    this.#table.pages.put(page, at, location);
    page.words[at + PAGE_ENTRIES] = checksum;
  }

  /** A stored block has another place now, with the same content. */
  move(block: number, location: number): void {
    this.#table.pages.put(this.#writable(block >>> 9), block & 511, location);
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
      this.mappedBlocks -= page.mapped;
      this.writableBranch(index >>> 9).pages[index & 511] = null;
      this.dropPage(page);
      return;
    }
    const page = this.#writable(index);
    for (let at = first & 511, left = end - first; left > 0; at++, left--) {
      if (page.words[at] === 0) continue;
      this.#table.pages.put(page, at, 0);
      page.words[at + PAGE_ENTRIES] = 0;
      this.mappedBlocks--;
      page.mapped--;
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
    this.mappedBlocks += page.mapped;
  }

  /** Branches that have the same pages as those of `other` are those of `other` from now on. */
  shareBranches(other: BlockMap): void {
    const count = Math.min(this.branches.length, other.branches.length);
    for (let at = 0; at < count; at++) {
      const own = this.branches[at] as MapBranch | null;
      const theirs = other.branches[at] as MapBranch | null;
      if (own === null || theirs === null || own === theirs || !haveSamePages(own, theirs)) continue;
      theirs.refs++;
      this.branches[at] = theirs;
      if (--own.refs > 0) continue;
      for (let i = 0; i < BRANCH_PAGES; i++) {
        const page = own.pages[i] as MapPage | null;
        if (page !== null) page.refs--;
      }
    }
  }

  /** The page, made or copied so that only this map sees the change. */
  #writable(index: number): MapPage {
    const branch = this.writableBranch(index >>> 9);
    const page = branch.pages[index & 511] as MapPage | null;
    const { pages } = this.#table;
    if (page === null) {
      const fresh = new MapPage(pages.take().fill(0));
      this.changedPages++;
      pages.add(fresh);
      branch.pages[index & 511] = fresh;
      return fresh;
    }
    const before = page.mapped;
    let own = page;
    if (page.refs === 1) {
      if (page.file !== undefined) {
        pages.words(page);
        pages.change(page);
        this.changedPages++;
      }
    } else {
      this.changedPages++;
      own = copyPage(page, this.#table);
      page.refs--;
      branch.pages[index & 511] = own;
    }
    this.mappedBlocks += own.mapped - before;
    return own;
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
    if (--page.refs === 0) this.#table.pages.drop(page);
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

function haveSamePages(a: MapBranch, b: MapBranch): boolean {
  for (let i = 0; i < BRANCH_PAGES; i++) if (a.pages[i] !== b.pages[i]) return false;
  return true;
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
  const { pages } = table;
  // Room for the copy first: making it could take it from the page.
  const copy = new MapPage(pages.take());
  copy.words.set(pages.words(page));
  pages.add(copy);
  copy.mapped = page.lost ? PAGE_ENTRIES : page.mapped;
  if (pages.link(page, copy)) return copy;
  for (let i = 0; i < PAGE_ENTRIES; i++) {
    const location = copy.words[i] as number;
    if (location !== 0 && location !== LOCATION_LOST) table.reference(location);
  }
  return copy;
}

function branchCountOf(blockCount: number): number {
  return Math.ceil(blockCount / (PAGE_ENTRIES * BRANCH_PAGES));
}

export function pageCountOf(blockCount: number): number {
  return Math.ceil(blockCount / PAGE_ENTRIES);
}
