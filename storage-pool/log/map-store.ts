// Map files as a store of pages: a root's file holds only pages that no earlier file has and names the others, so that
// a checkpoint costs what changed, and a snapshot's map next to nothing.
//
//   head file 7: own pages + table ──names──► file 5, file 2        snapshot's file 6 ──names──► file 5
//
// A file goes when no root's file names it. One in which few pages are still wanted is emptied by the checkpoints that
// follow: what is alive in it counts as not stored. Invariant: a file that a root's file names exists; a page in memory
// that says where it stands has just that content there. Thread: the pool's worker. Hot: no (in slices).
import { assert } from "../../base/assert/index.js";
import { BLOCK_SIZE } from "../limits.js";
import { type BlockMap, BRANCH_PAGES } from "../volume/block-map.js";
import { type MapPage, type PageFile, pageChecksum } from "../volume/map-page.js";
import { checksum } from "./checksum.js";
import {
  encodeMapHeader,
  encodeMapTrailer,
  FORMAT_VERSION,
  PAGE_ENTRIES,
  PAGE_SIZE,
  parseMapHeader,
  TABLE_ENTRY_SIZE,
} from "./format.js";
import type { MapFileSink, MapFileSource, MapFiles } from "./map-files.js";
import type { SegmentTable } from "./segment-table.js";

/** Pages that are written in one step, when nothing else is said. */
const PAGES_PER_WRITE = 64;
const VISITS_PER_STEP = 16 * 1024;
/** Smaller files are not worth emptying. */
const SPARSE_PAGES_MIN = 256;

/** Files that are kept open for reading, beside those that exist no more. */
const OPEN_FILES_MAX = 256;
const NOTHING = new Uint8Array();

export class StoredFile implements PageFile {
  readonly name: string;
  readonly #store: MapStore;
  pageCount: number;
  /** Pages of it that some map has. */
  livePages = 0;
  /** While the pool is opened: the pages that were met, by place. */
  found: (MapPage | undefined)[] | undefined;
  /** Roots' files that name it, itself included. */
  references = 0;
  removed = false;
  /** Its head is damaged: after a restart no page of it could be found. */
  #headless = false;
  #source: MapFileSource | undefined;

  constructor(store: MapStore, name: string, pageCount: number) {
    this.#store = store;
    this.name = name;
    this.pageCount = pageCount;
  }

  read(place: number, count: number, into: Uint8Array): Uint8Array {
    this.open();
    return this.#source?.read(BLOCK_SIZE + place * PAGE_SIZE, count * PAGE_SIZE, into) ?? NOTHING;
  }

  expect(place: number, count: number): void {
    this.open();
    this.#source?.expect?.(BLOCK_SIZE + place * PAGE_SIZE, count * PAGE_SIZE);
  }

  gain(): void {
    this.livePages++;
    this.#store.table.pages.storedCount++;
  }

  lose(): void {
    this.livePages--;
    this.#store.table.pages.storedCount--;
    if (this.removed && this.livePages === 0) this.close();
  }

  /** What is open can be read even when it was removed. */
  open(): void {
    if (this.#source !== undefined || this.removed) return;
    this.#source = this.#store.files.open(this.name);
    if (this.#source !== undefined) this.#store.opened(this);
  }

  close(): void {
    this.#source?.close();
    this.#source = undefined;
  }

  /** Looks whether the file can be opened after a restart; if not, its pages have to be written again. */
  checkHead(): void {
    const source = this.#store.files.open(this.name);
    this.#headless = source === undefined || parseMapHeader(source.read(0, BLOCK_SIZE)) === undefined;
    source?.close();
  }

  /** A page that stands here has to be written again. */
  get isStale(): boolean {
    return (
      this.removed ||
      this.#headless ||
      (this.pageCount >= SPARSE_PAGES_MIN && this.livePages * 2 < this.pageCount)
    );
  }
}

export class MapStore {
  readonly files: MapFiles;
  readonly table: SegmentTable;
  readonly pagesPerWrite: number;
  readonly #known = new Map<string, StoredFile>();
  /** Of those that exist, in the order in which they were opened. */
  #open: StoredFile[] = [];

  constructor(files: MapFiles, table: SegmentTable, pagesPerWrite = PAGES_PER_WRITE) {
    this.files = files;
    this.table = table;
    this.pagesPerWrite = pagesPerWrite;
  }

  /** The file of that name, which exists or is being made. */
  file(name: string, pageCount: number): StoredFile {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const file = new StoredFile(this, name, pageCount);
    this.#known.set(name, file);
    return file;
  }

  /** One more root's file names these. */
  retain(files: readonly StoredFile[]): void {
    for (const file of files) file.references++;
  }

  /** One less; what nobody names any more is removed. */
  release(files: readonly StoredFile[]): void {
    for (const file of files) {
      if (--file.references > 0) continue;
      // Pages of it may be wanted until a checkpoint has written them elsewhere.
      if (file.livePages > 0) file.open();
      file.removed = true;
      this.#open = this.#open.filter((each) => each !== file);
      if (file.livePages === 0) file.close();
      this.#known.delete(file.name);
      this.files.remove(file.name);
    }
  }

  /** A file was opened for reading: another one may have to be closed. */
  opened(file: StoredFile): void {
    this.#open.push(file);
    if (this.#open.length > OPEN_FILES_MAX) this.#open.shift()?.close();
  }

  close(): void {
    for (const file of this.#open) file.close();
    this.#open = [];
  }

  /** Every map is installed: its pages are counted from now on, file by file. */
  installed(): void {
    const { pages } = this.table;
    for (const file of this.#known.values()) {
      if (file.found !== undefined) pages.countLater(file.found);
      file.found = undefined;
    }
  }

  /** Removes files that nothing names: what a crash left behind. */
  removeUnknown(): void {
    for (const name of this.files.list()) if (!this.#known.has(name)) this.files.remove(name);
  }

  /** Bytes of pages in all files, and of those that are wanted. */
  usage(): { fileCount: number; pageBytes: number; liveBytes: number } {
    let pages = 0;
    let live = 0;
    for (const file of this.#known.values()) {
      pages += file.pageCount;
      live += file.livePages;
    }
    return { fileCount: this.#known.size, pageBytes: pages * PAGE_SIZE, liveBytes: live * PAGE_SIZE };
  }
}

export interface RootFileOptions {
  readonly name: string;
  readonly volume: number;
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Of the volume, now; 0 for a volume that has no log yet. */
  readonly epoch: number;
}

/** Pages that files of the same checkpoint hold already. */
export type WrittenPages = Map<MapPage, { file: StoredFile; place: number }>;

/** Writes one root's file in slices; the map must be frozen. Ends with `commit` or `abort`. */
export class MapFileJob {
  /** All files that the map needs, its own first; retained until `abort`, or by whoever takes them after `commit`. */
  readonly files: StoredFile[] = [];
  readonly #store: MapStore;
  readonly #sink: MapFileSink;
  readonly #own: StoredFile;
  readonly #ordinals = new Map<StoredFile, number>();
  /** The file that was asked for last: pages that were written together often stand together. */
  #lastUsed: StoredFile | undefined;
  #lastOrdinal = 0;
  /** All pages of the map in order, and those of them that this file holds. */
  readonly #pages: MapPage[] = [];
  readonly #ownPages: MapPage[] = [];
  readonly #ownSums: number[] = [];
  readonly #table: DataView;
  readonly #chunk: Uint8Array;
  #next = 0;
  #nextOwn = 0;
  #finished = false;

  /** Decides at once where each page stands. Throws what the file system throws; then nothing is left behind. */
  constructor(store: MapStore, map: BlockMap, options: RootFileOptions, written: WrittenPages = new Map()) {
    this.#store = store;
    this.#chunk = new Uint8Array(store.pagesPerWrite * PAGE_SIZE);
    this.#own = store.file(options.name, 0);
    this.#use(this.#own);
    let count = 0;
    visitPages(map, () => count++);
    this.#table = new DataView(new ArrayBuffer(count * TABLE_ENTRY_SIZE));
    let entry = 0;
    visitPages(map, (index, page) => {
      let file = page.file as StoredFile | undefined;
      let { place } = page;
      if (file === undefined || file.isStale) {
        let at = written.get(page);
        if (at === undefined) {
          at = { file: this.#own, place: this.#ownPages.length };
          written.set(page, at);
          this.#ownPages.push(page);
        }
        ({ file, place } = at);
      }
      this.#pages.push(page);
      this.#table.setUint32(entry, index, true);
      this.#table.setUint32(entry + 4, this.#use(file), true);
      this.#table.setUint32(entry + 8, place, true);
      entry += TABLE_ENTRY_SIZE;
    });
    this.#own.pageCount = this.#ownPages.length;
    const { volume, sequence, sizeBytes, epoch } = options;
    const counts = { pageCount: this.#ownPages.length, entryCount: this.#pages.length };
    try {
      this.#sink = store.files.create(options.name);
    } catch (thrown) {
      store.release(this.files);
      throw thrown;
    }
    this.#sink.append(
      encodeMapHeader({ formatVersion: FORMAT_VERSION, volume, sequence, sizeBytes, epoch, ...counts }),
    );
  }

  /** How much of it is written, from 0 to 1. */
  get share(): number {
    const own = this.#ownPages.length;
    return own > 0 ? this.#nextOwn / own : this.#next / Math.max(1, this.#pages.length);
  }

  /** Writes the next pages; true when the file is complete and on the medium. */
  step(): boolean {
    let filled = 0;
    const end = Math.min(this.#pages.length, this.#next + VISITS_PER_STEP);
    for (; this.#next < end && filled < this.#store.pagesPerWrite; this.#next++) {
      const page = this.#pages[this.#next] as MapPage;
      const isOwn = page === this.#ownPages[this.#nextOwn];
      if (isOwn || page.lost) this.#store.table.pages.words(page);
      // What stands in a file is what it was when its sum was made; what is lost stays lost wherever it stands.
      const isNew = page.file === undefined || page.lost;
      const sum = isNew ? pageChecksum(page.bytes, 0) : page.sum;
      const at = this.#next * TABLE_ENTRY_SIZE;
      this.#table.setUint32(at + 12, sum, true);
      this.#table.setUint32(at + 16, page.lost ? PAGE_ENTRIES : page.mapped, true);
      if (!isOwn) continue;
      this.#chunk.set(page.bytes, filled * PAGE_SIZE);
      this.#ownSums.push(sum);
      this.#nextOwn++;
      filled++;
    }
    if (filled > 0) this.#sink.append(this.#chunk.subarray(0, filled * PAGE_SIZE));
    if (this.#next < this.#pages.length) return false;
    this.#finish();
    return true;
  }

  /** The catalogue names the file: its pages need not be written again. */
  commit(): void {
    for (const [place, page] of this.#ownPages.entries()) {
      page.moveTo(this.#own, place, this.#ownSums[place] as number);
    }
  }

  /** The file goes, whether complete or not. */
  abort(): void {
    try {
      if (!this.#finished) this.#sink.abort();
    } finally {
      this.#store.release(this.files);
    }
  }

  /** The file's number in the table; held from now on. */
  #use(file: StoredFile): number {
    if (file === this.#lastUsed) return this.#lastOrdinal;
    const known = this.#ordinals.get(file);
    this.#lastUsed = file;
    this.#lastOrdinal = known ?? this.files.length;
    if (known !== undefined) return known;
    const ordinal = this.files.length;
    this.#ordinals.set(file, ordinal);
    this.files.push(file);
    this.#store.retain([file]);
    return ordinal;
  }

  #finish(): void {
    assert(this.#nextOwn === this.#ownPages.length, "own pages come in the order of the map");
    const table = new Uint8Array(this.#table.buffer);
    const segments: number[] = [];
    const { table: all } = this.#store;
    all.visit((segment) => {
      // What is not counted yet may be named: a segment that no file lists is gone after the next start.
      if (segment.liveBlocks === 0 && all.isKnown(segment)) return;
      for (const number of segment.numbers) segments.push(number, segment.serial);
    });
    this.#sink.append(table);
    this.#sink.append(
      encodeMapTrailer({
        pageIndexes: [],
        checksums: [],
        segments,
        files: this.files.slice(1).map((file) => file.name),
        tableChecksum: checksum(table, 0, table.byteLength),
      }),
    );
    this.#sink.finish();
    this.#finished = true;
  }
}

function visitPages(map: BlockMap, visit: (index: number, page: MapPage) => void): void {
  for (const [at, branch] of map.branches.entries()) {
    if (branch === null) continue;
    for (let i = 0; i < BRANCH_PAGES; i++) {
      const page = branch.pages[i] as MapPage | null;
      if (page !== null) visit(at * BRANCH_PAGES + i, page);
    }
  }
}
