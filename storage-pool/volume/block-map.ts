// Where each block of a volume lies: two levels, pages shared between a head, its snapshots, clones and checkpoints.
//
//   pages[block >>> 9] ─► MapPage { words[0..511] location, words[512..1023] crc32c, refs }
//
// 8 bytes per mapped block. A page that is named by more than one map is copied before it changes; locations are
// counted once per page (SegmentTable), so freezing a map costs one counter per page and no block is ever copied.
// Invariant: page.refs = maps that name it; every non-zero location of a page with refs > 0 is counted.
// Thread: the pool's worker. Hot: yes (location, checksum, set).

import { PAGE_ENTRIES } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";

export class MapPage {
  readonly words = new Uint32Array(PAGE_ENTRIES * 2);
  refs = 1;
}

export class BlockMap {
  readonly #table: SegmentTable;
  pages: (MapPage | null)[];
  /** Blocks that are stored. */
  mappedBlocks = 0;

  constructor(table: SegmentTable, blockCount: number) {
    this.#table = table;
    this.pages = new Array<MapPage | null>(pageCountOf(blockCount)).fill(null);
  }

  /** 0 when the block reads as zeros. */
  location(block: number): number {
    const page = this.pages[block >>> 9] as MapPage | null;
    return page === null ? 0 : (page.words[block & 511] as number);
  }

  checksum(block: number): number {
    const page = this.pages[block >>> 9] as MapPage | null;
    return page === null ? 0 : (page.words[(block & 511) + PAGE_ENTRIES] as number);
  }

  /** Puts a block's new place; what was there before is released. */
  set(block: number, location: number, checksum: number): void {
    const page = this.writable(block >>> 9);
    const at = block & 511;
    const old = page.words[at] as number;
    this.#table.reference(location);
    if (old !== 0) this.#table.release(old);
    else this.mappedBlocks++;
    page.words[at] = location;
    page.words[at + PAGE_ENTRIES] = checksum;
  }

  /** The blocks read as zeros from now on. Whole pages go at once. */
  unmap(first: number, count: number): void {
    const end = first + count;
    let block = first;
    while (block < end) {
      const index = block >>> 9;
      const pageEnd = Math.min(end, (index + 1) << 9);
      if (this.pages[index] !== null) this.#unmapInPage(index, block, pageEnd);
      block = pageEnd;
    }
  }

  #unmapInPage(index: number, first: number, end: number): void {
    if (end - first === PAGE_ENTRIES) {
      const page = this.pages[index] as MapPage;
      this.mappedBlocks -= mappedIn(page);
      this.dropPage(page);
      this.pages[index] = null;
      return;
    }
    const page = this.writable(index);
    for (let at = first & 511, left = end - first; left > 0; at++, left--) {
      const old = page.words[at] as number;
      if (old === 0) continue;
      this.#table.release(old);
      page.words[at] = 0;
      page.words[at + PAGE_ENTRIES] = 0;
      this.mappedBlocks--;
    }
  }

  /** The page, made or copied so that only this map sees the change. */
  writable(index: number): MapPage {
    const page = this.pages[index] as MapPage | null;
    if (page === null) {
      const fresh = new MapPage();
      this.pages[index] = fresh;
      return fresh;
    }
    if (page.refs === 1) return page;
    const copy = this.copyPage(page);
    page.refs--;
    this.pages[index] = copy;
    return copy;
  }

  /** A page with the same content that nobody names yet (refs 1). */
  copyPage(page: MapPage): MapPage {
    const copy = new MapPage();
    copy.words.set(page.words);
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      if (copy.words[i] !== 0) this.#table.reference(copy.words[i] as number);
    }
    return copy;
  }

  /** One map less names the page. */
  dropPage(page: MapPage): void {
    if (--page.refs > 0) return;
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      if (page.words[i] !== 0) this.#table.release(page.words[i] as number);
    }
  }

  /** A second map with the same content, sharing every page. */
  freeze(): BlockMap {
    const copy = new BlockMap(this.#table, 0);
    copy.pages = this.pages.slice();
    copy.mappedBlocks = this.mappedBlocks;
    for (let i = 0; i < copy.pages.length; i++) {
      const page = copy.pages[i] as MapPage | null;
      if (page !== null) page.refs++;
    }
    return copy;
  }

  /** The map is not used any more. */
  release(): void {
    for (let i = 0; i < this.pages.length; i++) {
      const page = this.pages[i] as MapPage | null;
      if (page !== null) this.dropPage(page);
    }
    this.pages = [];
    this.mappedBlocks = 0;
  }

  /** Makes room for a larger volume. */
  grow(blockCount: number): void {
    while (this.pages.length < pageCountOf(blockCount)) this.pages.push(null);
  }
}

export function pageCountOf(blockCount: number): number {
  return Math.ceil(blockCount / PAGE_ENTRIES);
}

export function mappedIn(page: MapPage): number {
  let count = 0;
  for (let i = 0; i < PAGE_ENTRIES; i++) if (page.words[i] !== 0) count++;
  return count;
}
