// Map files as a store of pages: a root's file holds only pages that no earlier file has and names the others, so that
// a checkpoint costs what changed, and a snapshot's map next to nothing.
//
//   head file 7: own pages + table ──names──► file 5, file 2        snapshot's file 6 ──names──► file 5
//
// A file goes when no root's file names it. One in which few pages are still wanted is emptied by the checkpoints that
// follow: what is alive in it counts as not stored. Invariant: a file that a root's file names exists; a page in memory
// that says where it stands has just that content there. Thread: the pool's worker. Hot: no (in slices).
import { assert } from "../../base/assert/index.js";
import { type BlockMap, BRANCH_PAGES, type MapPage, type PageFile } from "../volume/block-map.js";
import {
  checksum,
  encodeMapHeader,
  encodeMapTrailer,
  FORMAT_VERSION,
  PAGE_SIZE,
  TABLE_ENTRY_SIZE,
} from "./format.js";
import type { MapFileSink, MapFiles } from "./map-files.js";
import type { SegmentTable } from "./segment-table.js";

const PAGES_PER_STEP = 64;
const VISITS_PER_STEP = 16 * 1024;
/** Smaller files are not worth emptying. */
const SPARSE_PAGES_MIN = 256;

export class StoredFile implements PageFile {
  readonly name: string;
  pageCount: number;
  livePages = 0;
  /** Roots' files that name it, itself included. */
  references = 0;
  removed = false;

  constructor(name: string, pageCount: number) {
    this.name = name;
    this.pageCount = pageCount;
  }

  /** A page that stands here has to be written again. */
  get isStale(): boolean {
    return this.removed || (this.pageCount >= SPARSE_PAGES_MIN && this.livePages * 2 < this.pageCount);
  }
}

export class MapStore {
  readonly files: MapFiles;
  readonly table: SegmentTable;
  readonly #known = new Map<string, StoredFile>();

  constructor(files: MapFiles, table: SegmentTable) {
    this.files = files;
    this.table = table;
  }

  /** The file of that name, which exists or is being made. */
  file(name: string, pageCount: number): StoredFile {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const file = new StoredFile(name, pageCount);
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
      file.removed = true;
      this.#known.delete(file.name);
      this.files.remove(file.name);
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
  /** All pages of the map in order, and those of them that this file holds. */
  readonly #pages: MapPage[] = [];
  readonly #ownPages: MapPage[] = [];
  readonly #ownSums: number[] = [];
  readonly #table: DataView;
  readonly #chunk = new Uint8Array(PAGES_PER_STEP * PAGE_SIZE);
  #next = 0;
  #nextOwn = 0;
  #finished = false;

  /** Decides at once where each page stands. Throws what the file system throws; then nothing is left behind. */
  constructor(store: MapStore, map: BlockMap, options: RootFileOptions, written: WrittenPages = new Map()) {
    this.#store = store;
    this.#own = store.file(options.name, 0);
    this.#use(this.#own);
    const entries: number[] = [];
    visitPages(map, (index, page) => {
      let at = written.get(page);
      if (at === undefined && (page.file === undefined || (page.file as StoredFile).isStale)) {
        at = { file: this.#own, place: this.#ownPages.length };
        written.set(page, at);
        this.#ownPages.push(page);
      }
      this.#pages.push(page);
      entries.push(index, this.#use(at?.file ?? (page.file as StoredFile)), at?.place ?? page.place, 0);
    });
    this.#table = new DataView(new ArrayBuffer(entries.length * 4));
    for (let i = 0; i < entries.length; i++) this.#table.setUint32(i * 4, entries[i] as number, true);
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

  /** Writes the next pages; true when the file is complete and on the medium. */
  step(): boolean {
    let filled = 0;
    const end = Math.min(this.#pages.length, this.#next + VISITS_PER_STEP);
    for (; this.#next < end && filled < PAGES_PER_STEP; this.#next++) {
      const page = this.#pages[this.#next] as MapPage;
      const { bytes } = page;
      // What stands in a file is what it was when its sum was made.
      const sum = page.file === undefined ? checksum(bytes, 0, PAGE_SIZE) : page.sum;
      this.#table.setUint32(this.#next * TABLE_ENTRY_SIZE + 12, sum, true);
      if (page !== this.#ownPages[this.#nextOwn]) continue;
      this.#chunk.set(bytes, filled * PAGE_SIZE);
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
    const known = this.#ordinals.get(file);
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
    this.#store.table.visit((segment) => {
      if (segment.liveBlocks > 0) segments.push(segment.index, segment.serial);
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
