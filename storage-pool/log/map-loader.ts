// Reading map files: their tables say which pages there are; the pages themselves are read when they are wanted, and equal
// ones are given to all maps that share them, as they were before the restart.
// Loading touches nothing; what is loaded counts only once it is installed. Thread: the pool's worker. Hot: no.
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { BlockMap, pageCountOf } from "../volume/block-map.js";
import { MapPage } from "../volume/map-page.js";
import { NO_WORDS } from "../volume/page-words.js";
import { checksum } from "./checksum.js";
import {
  type MapHeader,
  type MapTrailer,
  PAGE_ENTRIES,
  PAGE_SIZE,
  parseMapHeader,
  parseMapTrailer,
  TABLE_ENTRY_SIZE,
  TABLE_ENTRY_SIZE_OLD,
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
  /** Every segment that may be named: index and serial, in pairs. */
  readonly segments: readonly number[];
  /** As today's files have it: an entry of TABLE_ENTRY_SIZE per page. */
  readonly table: DataView;
  /** Names of all files that hold its pages, its own first; with the pages in each. */
  readonly files: readonly { readonly name: string; readonly pageCount: number }[];
}

const WINDOW_PAGES = 256;
/** A trailer with fewer bytes than this in all: 4 million segments and their serials. */
const TRAILER_BYTES_MAX = 128 * 1024 * 1024;

interface OpenFile {
  readonly source: MapFileSource;
  readonly header: MapHeader;
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
    const { formatVersion, entryCount, sequence, sizeBytes, epoch } = header;
    const entrySize = formatVersion < 4 ? TABLE_ENTRY_SIZE_OLD : TABLE_ENTRY_SIZE;
    const written = own.source.read(tableAt, entryCount * entrySize);
    const trailer = parseMapTrailer(own.source.read(tableAt + written.byteLength, TRAILER_BYTES_MAX));
    if (trailer === undefined) throw damaged(name, "has no valid trailer");
    if (formatVersion > 1 && checksum(written, 0, written.byteLength) !== trailer.tableChecksum) {
      throw damaged(name, "has a bad table");
    }
    const files = [name, ...trailer.files].map((each) => ({
      name: each,
      pageCount: this.#file(each).header.pageCount,
    }));
    const entries = formatVersion === 1 ? oldTable(name, header, trailer) : written;
    const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    const table = formatVersion < 4 ? this.#renewed(name, view, files) : view;
    checkTable(name, table, files, pageCountOf(sizeBytes / BLOCK_SIZE));
    return { name, sequence, sizeBytes, epoch, segments: trailer.segments, table, files };
  }

  close(): void {
    for (const { source } of this.#open.values()) source.close();
    this.#open.clear();
  }

  /** A table of version 2 or 3 as one of today: every page is read for what is stored in it. */
  #renewed(name: string, old: DataView, files: LoadedMap["files"]): DataView {
    const count = Math.floor(old.byteLength / TABLE_ENTRY_SIZE_OLD);
    const table = new DataView(new ArrayBuffer(count * TABLE_ENTRY_SIZE));
    for (let i = 0; i < count; i++) {
      const from = i * TABLE_ENTRY_SIZE_OLD;
      const to = i * TABLE_ENTRY_SIZE;
      for (let word = 0; word < TABLE_ENTRY_SIZE_OLD; word += 4) {
        table.setUint32(to + word, old.getUint32(from + word, true), true);
      }
      const file = files[table.getUint32(to + 4, true)]?.name;
      if (file === undefined) throw damaged(name, "has an impossible table");
      table.setUint32(to + 16, this.#mappedAt(file, table.getUint32(to + 8, true)), true);
    }
    return table;
  }

  /** Blocks stored in the page at `place`; whether it is what it should be is found when it is wanted. */
  #mappedAt(name: string, place: number): number {
    const file = this.#file(name);
    const first = file.windowAt;
    if (place < first || (place - first + 1) * PAGE_SIZE > file.window.byteLength) {
      file.windowAt = place;
      file.window = file.source.read(BLOCK_SIZE + place * PAGE_SIZE, WINDOW_PAGES * PAGE_SIZE);
      if (file.window.byteLength < PAGE_SIZE) return 0;
    }
    const { buffer, byteOffset } = file.window;
    const view = new DataView(buffer, byteOffset + (place - file.windowAt) * PAGE_SIZE, PAGE_SIZE);
    let mapped = 0;
    for (let i = 0; i < PAGE_ENTRIES; i++) if (view.getUint32(i * 4, true) !== 0) mapped++;
    return mapped;
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
    const file = { source, header, window: new Uint8Array(), windowAt: 0 };
    this.#open.set(name, file);
    return file;
  }
}

/**
 * Makes a map of what was loaded; pages that other maps have already are shared with them, and whole branches with `like`
 * where it has the same pages: a hundred snapshots take no more memory than they did before the restart. No page is read.
 */
export function installMap(
  store: MapStore,
  loaded: LoadedMap,
  sizeBytes: number,
  like: BlockMap | undefined,
): BlockMap {
  const map = new BlockMap(store.table, sizeBytes / BLOCK_SIZE);
  const files = loaded.files.map(({ name, pageCount }) => store.file(name, pageCount));
  const { table } = loaded;
  for (let at = 0; at < table.byteLength; at += TABLE_ENTRY_SIZE) {
    const index = table.getUint32(at, true);
    if (index >= map.pageCount) continue;
    const file = files[table.getUint32(at + 4, true)] as StoredFile;
    const place = table.getUint32(at + 8, true);
    file.found ??= new Array<MapPage | undefined>(file.pageCount).fill(undefined);
    let page = file.found[place];
    if (page !== undefined) page.refs++;
    else {
      page = new MapPage(NO_WORDS, false);
      page.moveTo(file, place, table.getUint32(at + 12, true));
      page.mapped = table.getUint32(at + 16, true);
      store.table.pages.addStored(page);
      file.found[place] = page;
    }
    map.install(index, page);
  }
  if (like !== undefined) map.shareBranches(like);
  return map;
}

/** The files of a loaded map, retained for its root. */
export function retainFiles(store: MapStore, loaded: LoadedMap): StoredFile[] {
  const files = loaded.files.map(({ name, pageCount }) => store.file(name, pageCount));
  store.retain(files);
  return files;
}

/** Throws VOLUME_DAMAGED unless the entries rise, lie within the volume, and name pages that there can be. */
function checkTable(name: string, table: DataView, files: LoadedMap["files"], pageMax: number): void {
  let last = -1;
  for (let at = 0; at < table.byteLength; at += TABLE_ENTRY_SIZE) {
    const index = at + TABLE_ENTRY_SIZE > table.byteLength ? pageMax : table.getUint32(at, true);
    const file = index >= pageMax ? undefined : files[table.getUint32(at + 4, true)];
    const isGood =
      file !== undefined &&
      index > last &&
      table.getUint32(at + 8, true) < file.pageCount &&
      table.getUint32(at + 16, true) <= PAGE_ENTRIES;
    if (!isGood) throw damaged(name, "has an impossible table");
    last = index;
  }
}

/** Version 1: every page stands in the file itself, indexes and sums in the trailer. */
function oldTable(name: string, header: MapHeader, trailer: MapTrailer): Uint8Array {
  const { pageIndexes, checksums } = trailer;
  if (pageIndexes.length !== header.pageCount || checksums.length !== header.pageCount) {
    throw damaged(name, "counts its pages wrongly");
  }
  const view = new DataView(new ArrayBuffer(pageIndexes.length * TABLE_ENTRY_SIZE_OLD));
  for (let i = 0; i < pageIndexes.length; i++) {
    view.setUint32(i * TABLE_ENTRY_SIZE_OLD, pageIndexes[i] as number, true);
    view.setUint32(i * TABLE_ENTRY_SIZE_OLD + 8, i, true);
    view.setUint32(i * TABLE_ENTRY_SIZE_OLD + 12, checksums[i] as number, true);
  }
  return new Uint8Array(view.buffer);
}

function damaged(name: string, what: string) {
  return storageError("VOLUME_DAMAGED", `the map ${name} ${what}`, { context: { name } });
}
