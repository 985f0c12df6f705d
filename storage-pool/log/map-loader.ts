// Reading map files: checks them, and gives equal pages to all maps that share them, as they were before the restart.
// Loading touches nothing; what is loaded counts only once it is installed. Thread: the pool's worker. Hot: no.
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { BlockMap, MapPage, pageCountOf } from "../volume/block-map.js";
import { takeWords } from "../volume/page-words.js";
import {
  checksum,
  INDEX_BLOCKS,
  type MapHeader,
  type MapTrailer,
  PAGE_ENTRIES,
  PAGE_SIZE,
  parseMapHeader,
  parseMapTrailer,
  SEGMENT_BLOCKS,
  TABLE_ENTRY_SIZE,
} from "./format.js";
import type { MapFileSource, MapFiles } from "./map-files.js";
import type { MapStore, StoredFile } from "./map-store.js";

/** What a map file says, before its segments are known to exist. */
export interface LoadedMap {
  readonly name: string;
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Of the volume when the map was written; segments of an earlier one hold nothing behind `sequence`. */
  readonly epoch: number;
  /** Index → serial of every segment that may be named. */
  readonly segments: ReadonlyMap<number, number>;
  readonly pages: readonly { readonly index: number; readonly page: LoadedPage }[];
  /** Names of all files that hold its pages, its own first; with the pages in each. */
  readonly files: readonly { readonly name: string; readonly pageCount: number }[];
}

interface LoadedPage {
  readonly page: MapPage;
  readonly file: string;
  readonly place: number;
  readonly sum: number;
  installed: boolean;
}

const WINDOW_PAGES = 256;
/** A trailer with fewer bytes than this in all: 4 million segments and their serials. */
const TRAILER_BYTES_MAX = 128 * 1024 * 1024;

interface OpenFile {
  readonly source: MapFileSource;
  readonly header: MapHeader;
  readonly pages: Map<number, LoadedPage>;
  window: Uint8Array;
  windowAt: number;
}

/** One pass over all map files of a pool. */
export class MapLoader {
  readonly #files: MapFiles;
  readonly #open = new Map<string, OpenFile>();

  constructor(files: MapFiles) {
    this.#files = files;
  }

  /** Reads and checks a root's file with all pages that it names. Throws VOLUME_DAMAGED when anything is missing. */
  load(name: string): LoadedMap {
    const own = this.#file(name);
    const { header } = own;
    const tableAt = BLOCK_SIZE + header.pageCount * PAGE_SIZE;
    const table = own.source.read(tableAt, header.entryCount * TABLE_ENTRY_SIZE);
    const trailer = parseMapTrailer(own.source.read(tableAt + table.byteLength, TRAILER_BYTES_MAX));
    if (trailer === undefined) throw damaged(name, "has no valid trailer");
    const entries = header.formatVersion === 1 ? oldTable(name, header, trailer) : table;
    if (header.formatVersion > 1 && checksum(table, 0, table.byteLength) !== trailer.tableChecksum) {
      throw damaged(name, "has a bad table");
    }
    const { sequence, sizeBytes, epoch } = header;
    const segments = new Map<number, number>();
    for (let i = 0; i + 1 < trailer.segments.length; i += 2) {
      segments.set(trailer.segments[i] as number, trailer.segments[i + 1] as number);
    }
    const files = [name, ...trailer.files].map((each) => ({
      name: each,
      pageCount: this.#file(each).header.pageCount,
    }));
    const pages = this.#pages(name, entries, files, segments, pageCountOf(sizeBytes / BLOCK_SIZE));
    return { name, sequence, sizeBytes, epoch, segments, pages, files };
  }

  close(): void {
    for (const { source } of this.#open.values()) source.close();
    this.#open.clear();
  }

  #pages(
    name: string,
    table: Uint8Array,
    files: LoadedMap["files"],
    segments: ReadonlyMap<number, number>,
    pageMax: number,
  ): { index: number; page: LoadedPage }[] {
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
    const pages: { index: number; page: LoadedPage }[] = [];
    let last = -1;
    for (let at = 0; at + TABLE_ENTRY_SIZE <= table.byteLength; at += TABLE_ENTRY_SIZE) {
      const index = view.getUint32(at, true);
      const file = files[view.getUint32(at + 4, true)]?.name;
      if (index >= pageMax || index <= last || file === undefined)
        throw damaged(name, "has an impossible table");
      last = index;
      const page = this.#page(file, view.getUint32(at + 8, true), view.getUint32(at + 12, true));
      if (page === undefined) throw damaged(name, `has a bad page ${index}`);
      if (!isPossible(page.page.words, segments))
        throw damaged(name, `names an impossible place in page ${index}`);
      pages.push({ index, page });
    }
    return pages;
  }

  #page(name: string, place: number, sum: number): LoadedPage | undefined {
    const file = this.#file(name);
    const known = file.pages.get(place);
    if (known !== undefined) return known;
    if (place >= file.header.pageCount) return undefined;
    const first = file.windowAt;
    if (place < first || (place - first + 1) * PAGE_SIZE > file.window.byteLength) {
      file.windowAt = place;
      file.window = file.source.read(BLOCK_SIZE + place * PAGE_SIZE, WINDOW_PAGES * PAGE_SIZE);
      if (file.window.byteLength < PAGE_SIZE) return undefined;
    }
    const at = (place - file.windowAt) * PAGE_SIZE;
    if (checksum(file.window, at, PAGE_SIZE) !== sum) return undefined;
    const page = new MapPage(takeWords());
    page.bytes.set(file.window.subarray(at, at + PAGE_SIZE));
    const loaded = { page, file: name, place, sum, installed: false };
    file.pages.set(place, loaded);
    return loaded;
  }

  #file(name: string): OpenFile {
    const known = this.#open.get(name);
    if (known !== undefined) return known;
    const source = this.#files.open(name);
    if (source === undefined) throw damaged(name, "is missing");
    const header = parseMapHeader(source.read(0, BLOCK_SIZE));
    if (header === undefined) {
      source.close();
      throw damaged(name, "has no valid header");
    }
    const file = { source, header, pages: new Map(), window: new Uint8Array(), windowAt: 0 };
    this.#open.set(name, file);
    return file;
  }
}

/** Makes a map of what was loaded; pages that other maps have already are shared with them. */
export function installMap(store: MapStore, loaded: LoadedMap, sizeBytes: number): BlockMap {
  const map = new BlockMap(store.table, sizeBytes / BLOCK_SIZE);
  for (const { index, page } of loaded.pages) {
    if (index >= map.pageCount) continue;
    if (page.installed) page.page.refs++;
    else installPage(store, page);
    map.install(index, page.page);
  }
  return map;
}

/** The files of a loaded map, retained for its root. */
export function retainFiles(store: MapStore, loaded: LoadedMap): StoredFile[] {
  const files = loaded.files.map(({ name, pageCount }) => store.file(name, pageCount));
  store.retain(files);
  return files;
}

function installPage(store: MapStore, loaded: LoadedPage): void {
  const { page, file, place, sum } = loaded;
  loaded.installed = true;
  page.moveTo(store.file(file, 0), place, sum);
  for (let i = 0; i < PAGE_ENTRIES; i++) {
    if (page.words[i] !== 0) store.table.reference(page.words[i] as number);
  }
}

function isPossible(words: Uint32Array, segments: ReadonlyMap<number, number>): boolean {
  let known = 0;
  for (let i = 0; i < PAGE_ENTRIES; i++) {
    const location = words[i] as number;
    if (location === 0) continue;
    if ((location & (SEGMENT_BLOCKS - 1)) < INDEX_BLOCKS) return false;
    if (location >>> 10 === known) continue;
    known = location >>> 10;
    if (!segments.has(known)) return false;
  }
  return true;
}

/** Version 1: every page stands in the file itself, indexes and sums in the trailer. */
function oldTable(name: string, header: MapHeader, trailer: MapTrailer): Uint8Array {
  const { pageIndexes, checksums } = trailer;
  if (pageIndexes.length !== header.pageCount || checksums.length !== header.pageCount) {
    throw damaged(name, "counts its pages wrongly");
  }
  const view = new DataView(new ArrayBuffer(pageIndexes.length * TABLE_ENTRY_SIZE));
  for (let i = 0; i < pageIndexes.length; i++) {
    view.setUint32(i * TABLE_ENTRY_SIZE, pageIndexes[i] as number, true);
    view.setUint32(i * TABLE_ENTRY_SIZE + 8, i, true);
    view.setUint32(i * TABLE_ENTRY_SIZE + 12, checksums[i] as number, true);
  }
  return new Uint8Array(view.buffer);
}

function damaged(name: string, what: string) {
  return storageError("VOLUME_DAMAGED", `the map ${name} ${what}`, { context: { name } });
}
