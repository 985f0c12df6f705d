// Map pages in memory, and the count of what they name.
//
//   opening: every page is known by its place ─► counted in the background, or when somebody wants it
//   in memory ◄── read and checked ── on the medium only;    ── not looked at lately, and not changed ──► on the medium only
//
// A page is changed only while it is in memory; what is changed stays until a checkpoint has written it, and while one is
// being written only so many more may change (isFull). A page that goes
// while it is on the medium only is counted out later, in steps. While pages are not counted nobody may free, clean or
// give out what was there when the pool was opened (SegmentTable.counted).
// Nearly every page is copied after each checkpoint, to be changed in a few entries only. So a copy is linked with its
// original and counts nothing of its own: what neighbours in such a chain name in the same entry is counted once.
//
//   frozen page ◄─base── copy ◄─base── copy of the copy     of one entry:  a a b: a once, b once;  a b a: a twice, b once
//
// Whether something is named at all is always right in the counts; by how many pages, only after `settle`.
// Invariant: linked pages are in memory; a page in memory is counted; `words` is what its checksum says, or says of every block that it is lost.
// The words of a page are good until another page is asked for, unless it is a changed one.
// Thread: the pool's worker. Hot: yes (words of a page that is there; no allocation but for a read).
import { MAP_MEMORY_BYTES } from "../limits.js";
import { INDEX_BLOCKS, LOCATION_LOST, PAGE_ENTRIES, PAGE_SIZE, SEGMENT_BLOCKS } from "../log/format.js";
import type { SegmentTable } from "../log/segment-table.js";
import { type MapPage, mappedIn, type PageFile, pageChecksum } from "./map-page.js";
import { giveWords, NO_WORDS, takeWords } from "./page-words.js";

/** Pages that are looked at for one that can go, when room is needed. */
const VISITS_MAX = 64;
/** Of the pages that are gone and still counted, one in so many is counted out in a step. */
const LEAVING_SHARE = 64;
/** Pages read at once while counting. */
const RUN_PAGES = 64;

export class PageCache {
  /** Pages that may be in memory. */
  limit = MAP_MEMORY_BYTES / PAGE_SIZE;
  /** With so many changed ones writers wait for the checkpoint that is being made. */
  changedMost = Number.POSITIVE_INFINITY;
  /** Pages in memory. */
  residentCount = 0;
  /** Pages that were read because somebody wanted them, and pages that are damaged. */
  readCount = 0;
  lostCount = 0;
  /** Pages that some map has, and those of them that stand in a file. */
  #pageCount = 0;
  storedCount = 0;
  readonly #table: SegmentTable;
  /** Whatever may be in memory, and how far the last round came. */
  readonly #ring: MapPage[] = [];
  #hand = 0;
  /** Pages to be counted, file by file in the order of their places, and how far that came. */
  #uncounted: (readonly (MapPage | undefined)[])[] = [];
  #next = 0;
  uncountedCount = 0;
  /** Blocks that these name: no more than that is missing in the counts. */
  uncountedBlocks = 0;
  /** Gone, on the medium only, and counted. */
  readonly #leaving: MapPage[] = [];
  /** Copies that are linked with their originals. */
  readonly #heirs = new Set<MapPage>();
  readonly #scratch = new Uint32Array(PAGE_ENTRIES * 2);
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  /** What was read from a file, until the next read. */
  readonly #readBytes = new Uint8Array(RUN_PAGES * PAGE_SIZE);

  constructor(table: SegmentTable) {
    this.#table = table;
  }

  /** Pages that only memory has. Those that leave still stand in their files. */
  get dirtyCount(): number {
    return this.#pageCount + this.#leaving.length - this.storedCount;
  }

  /** No more pages are to be changed now. */
  get isFull(): boolean {
    return this.dirtyCount >= this.changedMost;
  }

  /** Room for a page that is made now, and counted by whoever fills it. */
  take(): Uint32Array {
    if (this.residentCount >= this.limit) this.#evict(VISITS_MAX, 2);
    this.residentCount++;
    return takeWords();
  }

  /** A page was made with words of `take`. */
  add(page: MapPage): void {
    this.#pageCount++;
    this.#ring.push(page);
    if (this.#ring.length > 2 * this.residentCount + 1024) this.#forgetGone();
  }

  /** A page that a file holds, known by its place only; nothing of it is counted. */
  addStored(page: MapPage): void {
    this.#pageCount++;
    this.uncountedCount++;
    this.uncountedBlocks += page.mapped;
  }

  /** Pages of one file that were added so are counted from now on, in the order of their places; the list is ours. */
  countLater(pages: readonly (MapPage | undefined)[]): void {
    this.#uncounted.push(pages);
  }

  /** The page's words, read when they are not there. */
  words(page: MapPage): Uint32Array {
    page.recent = true;
    return page.words === NO_WORDS ? this.#fault(page) : page.words;
  }

  /** The page, which is in memory, is about to differ from what its file holds. What was lost of it is lost for good. */
  change(page: MapPage): void {
    if (page.lost) {
      page.lost = false;
      page.mapped = PAGE_ENTRIES;
      this.lostCount--;
    }
    page.moveTo(undefined, 0);
  }

  /** `heir` is a copy of `base` that was just made, and nothing of it is counted; false when it has to be. */
  link(base: MapPage, heir: MapPage): boolean {
    if (base.heir !== undefined || base.lost) return false;
    base.heir = heir;
    heir.base = base;
    this.#heirs.add(heir);
    return true;
  }

  /** Entry `at` of a page in memory names `location` from now on (0: nothing). */
  put(page: MapPage, at: number, location: number): void {
    const { words, base, heir } = page;
    const old = words[at] as number;
    if (base === undefined && heir === undefined) {
      if (location !== 0) this.#table.reference(location);
      if (old !== 0 && old !== LOCATION_LOST) this.#table.release(old);
    } else {
      this.#note(location, 1 - neighbours(page, at, location));
      this.#note(old, neighbours(page, at, old) - 1);
    }
    words[at] = location;
  }

  /** Every page counts for itself afterwards, until the next one is copied: for who asks by how many something is named. */
  settle(): void {
    for (const heir of this.#heirs) this.#sever(heir); // cold
  }

  /** Whether the medium has what the page is, whatever memory has; false when it cannot be read. */
  standsWell(page: MapPage): boolean {
    if (page.lost || page.file === undefined) return !page.lost;
    const bytes = readPages(page.file, page.place, 1, this.#readBytes);
    return isWhole(page, bytes, 0);
  }

  /**
   * Gives a page, which is on the medium only and cannot be read there, words that were found elsewhere; the caller says
   * then that it changed. False, and nothing done, when they are not what it was.
   */
  restore(page: MapPage, words: Uint32Array): boolean {
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    if (page.isResident || page.refs === 0 || !page.counted) return false;
    if (!isWhole(page, bytes, 0) || mappedIn(words) !== page.mapped) return false;
    const own = this.take();
    own.set(words);
    page.words = own;
    this.#ring.push(page);
    return true;
  }

  /** Nobody names the page any more. */
  drop(page: MapPage): void {
    this.#pageCount--;
    if (page.lost) this.lostCount--;
    if (page.words !== NO_WORDS) {
      page.moveTo(undefined, 0);
      if (page.base === undefined && page.heir === undefined) this.#count(page.words, false);
      else this.#leaveChain(page);
      this.#giveBack(page);
    } else if (page.counted) {
      this.#leaving.push(page);
    } else {
      this.#noteCounted(page);
      page.moveTo(undefined, 0);
    }
  }

  /** Counting is not done, or something that is gone is still counted. */
  get isBehind(): boolean {
    return this.uncountedCount > 0 || this.#leaving.length > 0;
  }

  /** Counts some pages; false when there is nothing to do. Of those that leave more at a time, the more there are. */
  step(pages: number): boolean {
    const leaving = Math.max(pages, Math.ceil(this.#leaving.length / LEAVING_SHARE));
    for (let i = 0; i < leaving && this.#leaving.length > 0; i++)
      this.#countOut(this.#leaving.pop() as MapPage);
    for (let list = this.#uncounted[0]; pages > 0 && list !== undefined; list = this.#uncounted[0]) {
      if (this.#next < list.length) pages -= this.#countRun(list, Math.min(pages, RUN_PAGES));
      else {
        this.#uncounted.shift();
        this.#next = 0;
      }
    }
    return this.isBehind;
  }

  /** What is more than the limit goes, a few at a time. */
  trim(): void {
    if (this.residentCount > this.limit) this.#evict(4 * VISITS_MAX, this.residentCount - this.limit);
  }

  /** Counts pages that stand side by side, up to `most`; how many were looked at. */
  #countRun(list: readonly (MapPage | undefined)[], most: number): number {
    const first = list[this.#next];
    if (first === undefined) {
      this.#next++;
      return 0;
    }
    let run = 0;
    for (; run < most && this.#next + run < list.length; run++) {
      const page = list[this.#next + run];
      if (page === undefined || page.counted || page.file === undefined) break;
      if (page.file !== first.file || page.place !== first.place + run) break;
    }
    const file = first.file;
    const bytes =
      run === 0 || file === undefined ? undefined : readPages(file, first.place, run, this.#readBytes);
    for (let i = 0; i < run; i++) {
      const page = list[this.#next + i] as MapPage;
      const at = i * PAGE_SIZE;
      const isGood = bytes !== undefined && this.#load(page, bytes, at, this.#scratch, this.#scratchBytes);
      if (isGood) this.#count(this.#scratch, true);
      else this.#noteLost(page);
      this.#noteCounted(page);
    }
    this.#next += Math.max(1, run);
    return Math.max(1, run);
  }

  #countOut(page: MapPage): void {
    const bytes = page.file === undefined ? undefined : readPages(page.file, page.place, 1, this.#readBytes);
    if (bytes !== undefined && this.#load(page, bytes, 0, this.#scratch, this.#scratchBytes)) {
      this.#count(this.#scratch, false);
    }
    page.moveTo(undefined, 0);
  }

  #fault(page: MapPage): Uint32Array {
    if (page.refs === 0) return NO_WORDS;
    const words = this.take();
    this.readCount++;
    const { file } = page;
    const bytes = file === undefined ? undefined : readPages(file, page.place, 1, this.#readBytes);
    const target = new Uint8Array(words.buffer, words.byteOffset, words.byteLength); // cold: one per read from a disk
    if (bytes === undefined || !this.#load(page, bytes, 0, words, target)) {
      words.fill(LOCATION_LOST);
      this.#noteLost(page);
    }
    page.words = words;
    this.#ring.push(page);
    if (!page.counted) {
      this.#count(words, true);
      this.#noteCounted(page);
    }
    return words;
  }

  /** Puts what was read into `words` if it is what the page should be. */
  #load(page: MapPage, bytes: Uint8Array, at: number, words: Uint32Array, target: Uint8Array): boolean {
    if (!isWhole(page, bytes, at)) return false;
    target.set(bytes.subarray(at, at + PAGE_SIZE)); // cold: one per read from a disk
    return mappedIn(words) === page.mapped && this.#isPossible(words);
  }

  #isPossible(words: Uint32Array): boolean {
    let known = 0;
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const location = words[i] as number;
      if (location === 0 || location === LOCATION_LOST) continue;
      if ((location & (SEGMENT_BLOCKS - 1)) < INDEX_BLOCKS) return false;
      if (location >>> 10 === known) continue;
      known = location >>> 10;
      if (this.#table.at(known) === undefined) return false;
    }
    return true;
  }

  #noteLost(page: MapPage): void {
    if (page.lost) return;
    page.lost = true;
    this.lostCount++;
  }

  #noteCounted(page: MapPage): void {
    if (page.counted) return;
    page.counted = true;
    this.uncountedCount--;
    this.uncountedBlocks -= page.mapped;
  }

  #count(words: Uint32Array, more: boolean): void {
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const location = words[i] as number;
      if (location === 0 || location === LOCATION_LOST) continue;
      if (more) this.#table.reference(location);
      else this.#table.release(location);
    }
  }

  /**
   * Lets up to `count` pages go that were not looked at since the last round and that a file holds. One of which there is a
   * changed copy goes only when no others were found: it is not wanted any more once the copy is on the medium, and would
   * have to be read again to be counted out.
   */
  #evict(visits: number, count: number): void {
    const ring = this.#ring;
    const isShort = this.residentCount > this.limit;
    for (; visits > 0 && count > 0 && ring.length > 0; visits--) {
      if (this.#hand >= ring.length) this.#hand = 0;
      const page = ring[this.#hand] as MapPage;
      if (page.words === NO_WORDS) {
        this.#takeOut(this.#hand);
      } else if (page.recent || page.file === undefined || (page.heir !== undefined && !isShort)) {
        page.recent = false;
        this.#hand++;
      } else {
        this.#giveBack(page);
        this.#takeOut(this.#hand);
        count--;
      }
    }
  }

  /** Pages that nobody names any more, which the hand did not come by. */
  #forgetGone(): void {
    let kept = 0;
    for (let i = 0; i < this.#ring.length; i++) {
      const page = this.#ring[i] as MapPage;
      if (page.words !== NO_WORDS) this.#ring[kept++] = page;
    }
    this.#ring.length = kept;
  }

  #takeOut(at: number): void {
    const last = this.#ring.pop() as MapPage;
    if (at < this.#ring.length) this.#ring[at] = last;
  }

  /** One run more or one less of a place, or as many as before. */
  #note(location: number, change: number): void {
    if (change === 0 || location === 0 || location === LOCATION_LOST) return;
    if (change > 0) this.#table.reference(location);
    else this.#table.release(location);
  }

  /** Counts a copy for itself. */
  #sever(heir: MapPage): void {
    const base = heir.base as MapPage;
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const location = heir.words[i] as number;
      if (location === base.words[i]) this.#note(location, 1);
    }
    this.#unlink(base, heir);
  }

  /** Counts a page out; its neighbours count for themselves. */
  #leaveChain(page: MapPage): void {
    const { base, heir, words } = page;
    const one = (base ?? heir)?.words ?? NO_WORDS;
    const other = base === undefined ? undefined : heir?.words;
    // Most entries are those of a neighbour: every checkpoint lets go of nearly every page.
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const location = words[i] as number;
      const isSame = one[i] === location;
      if (other === undefined) {
        if (!isSame) this.#note(location, -1);
      } else if (isSame === (other[i] === location)) this.#note(location, isSame ? 1 : -1);
    }
    if (base !== undefined) this.#unlink(base, page);
    if (heir !== undefined) this.#unlink(page, heir);
  }

  #unlink(base: MapPage, heir: MapPage): void {
    base.heir = undefined;
    heir.base = undefined;
    this.#heirs.delete(heir);
  }

  #giveBack(page: MapPage): void {
    if (page.base !== undefined) this.#sever(page);
    if (page.heir !== undefined) this.#sever(page.heir);
    giveWords(page.words);
    page.words = NO_WORDS;
    this.residentCount--;
  }
}

/** How many of the pages that a page is linked with name `location` in the same entry. */
function neighbours({ base, heir }: MapPage, at: number, location: number): number {
  let count = 0;
  if (base !== undefined && base.words[at] === location) count++;
  if (heir !== undefined && heir.words[at] === location) count++;
  return count;
}

/** Whether what was read has the page's checksum. */
function isWhole(page: MapPage, bytes: Uint8Array | undefined, at: number): boolean {
  if (bytes === undefined || at + PAGE_SIZE > bytes.byteLength) return false;
  return (pageChecksum(bytes, at) | 0) === page.sum;
}

/** Pages as they stand in a file; undefined when it cannot be read. */
function readPages(file: PageFile, place: number, count: number, into: Uint8Array): Uint8Array | undefined {
  try {
    return file.read(place, count, into);
  } catch {
    return undefined;
  }
}
