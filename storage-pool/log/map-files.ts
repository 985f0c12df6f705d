// Map files: a volume's or snapshot's map written down, so that recovery replays only the records after it.
// Format: see format.ts. Invariant: a file is complete and on the medium before anything names it; a name is never
// written twice. Thread: the pool's worker. Hot: no.
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { syncNames } from "../disk/disk-file.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { BlockMap, MapPage, mappedIn, pageCountOf } from "../volume/block-map.js";
import {
  checksum,
  encodeMapHeader,
  encodeMapTrailer,
  FORMAT_VERSION,
  INDEX_BLOCKS,
  PAGE_ENTRIES,
  PAGE_SIZE,
  parseMapHeader,
  parseMapTrailer,
  SEGMENT_BLOCKS,
} from "./format.js";
import type { SegmentTable } from "./segment-table.js";

/** Where map files are kept. */
export interface MapFiles {
  /** A new file; bytes are given in order. */
  create(name: string): MapFileSink;
  /** All bytes, or undefined when there is none. */
  read(name: string): Uint8Array | undefined;
  remove(name: string): void;
  list(): string[];
}

export interface MapFileSink {
  append(bytes: Uint8Array): void;
  /** Returns once the file and its name are on the medium. */
  finish(): void;
  abort(): void;
}

/** Map files in a directory. Throws what node:fs throws (a full file system makes the checkpoint fail, no more). */
export class DirectoryMapFiles implements MapFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    syncNames(dirname(directory));
  }

  create(name: string): MapFileSink {
    const path = join(this.#directory, name);
    const descriptor = openSync(path, "w", 0o600);
    return {
      append(bytes) {
        for (let done = 0; done < bytes.byteLength; ) done += writeSync(descriptor, bytes, done);
      },
      finish: () => {
        fsyncSync(descriptor);
        closeSync(descriptor);
        syncNames(this.#directory);
      },
      abort() {
        closeSync(descriptor);
        rmSync(path, { force: true });
      },
    };
  }

  read(name: string): Uint8Array | undefined {
    try {
      return readFileSync(join(this.#directory, name));
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw thrown;
    }
  }

  remove(name: string): void {
    rmSync(join(this.#directory, name), { force: true });
  }

  list(): string[] {
    return readdirSync(this.#directory);
  }
}

const PAGES_PER_APPEND = 64;

/** Writes one map in slices; the map must be frozen. */
export class MapFileJob {
  readonly name: string;
  readonly #map: BlockMap;
  readonly #table: SegmentTable;
  readonly #sink: MapFileSink;
  readonly #pageIndexes: number[] = [];
  readonly #checksums: number[] = [];
  readonly #segments = new Set<number>();
  readonly #chunk = new Uint8Array(PAGES_PER_APPEND * PAGE_SIZE);
  #next = 0;

  constructor(
    files: MapFiles,
    table: SegmentTable,
    map: BlockMap,
    options: { name: string; volume: number; sequence: number; sizeBytes: number },
  ) {
    this.name = options.name;
    this.#map = map;
    this.#table = table;
    this.#sink = files.create(options.name);
    const pageCount = map.pages.reduce((count, page) => count + (page === null ? 0 : 1), 0);
    const { volume, sequence, sizeBytes } = options;
    this.#sink.append(
      encodeMapHeader({ formatVersion: FORMAT_VERSION, volume, sequence, sizeBytes, pageCount }),
    );
  }

  /** Writes the next pages; true when the file is complete and on the medium. */
  step(): boolean {
    const { pages } = this.#map;
    let filled = 0;
    for (; this.#next < pages.length && filled < PAGES_PER_APPEND; this.#next++) {
      const page = pages[this.#next] as MapPage | null;
      if (page === null) continue;
      const at = filled * PAGE_SIZE;
      this.#chunk.set(new Uint8Array(page.words.buffer), at);
      this.#pageIndexes.push(this.#next);
      this.#checksums.push(checksum(this.#chunk, at, PAGE_SIZE));
      for (let i = 0; i < PAGE_ENTRIES; i++) {
        if (page.words[i] !== 0) this.#segments.add((page.words[i] as number) >>> 10);
      }
      filled++;
    }
    if (filled > 0) this.#sink.append(this.#chunk.subarray(0, filled * PAGE_SIZE));
    if (this.#next < pages.length) return false;
    const segments = [...this.#segments].flatMap((index) => [index, this.#table.at(index)?.serial ?? 0]);
    this.#sink.append(
      encodeMapTrailer({ pageIndexes: this.#pageIndexes, checksums: this.#checksums, segments }),
    );
    this.#sink.finish();
    return true;
  }

  abort(): void {
    this.#sink.abort();
  }
}

/** What a map file says, before its segments are known to exist. */
export interface LoadedMap {
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Index → serial of every segment that is named. */
  readonly segments: ReadonlyMap<number, number>;
  readonly pages: readonly { readonly index: number; readonly words: Uint32Array }[];
}

/** Reads and checks a map file. Throws VOLUME_DAMAGED when it is missing or broken. */
export function loadMapFile(files: MapFiles, name: string): LoadedMap {
  const bytes = files.read(name);
  const damaged = (what: string) =>
    storageError("VOLUME_DAMAGED", `the map ${name} ${what}`, { context: { name } });
  if (bytes === undefined) throw damaged("is missing");
  const header = parseMapHeader(bytes.subarray(0, BLOCK_SIZE));
  if (header === undefined) throw damaged("has no valid header");
  const trailerAt = BLOCK_SIZE + header.pageCount * PAGE_SIZE;
  const trailer = parseMapTrailer(bytes.subarray(Math.min(trailerAt, bytes.byteLength)));
  if (trailer === undefined) throw damaged("has no valid trailer");
  const { pageIndexes, checksums, segments } = trailer;
  if (pageIndexes.length !== header.pageCount || checksums.length !== header.pageCount) {
    throw damaged("counts its pages wrongly");
  }
  const pageMax = pageCountOf(header.sizeBytes / BLOCK_SIZE);
  const named = new Map<number, number>();
  for (let i = 0; i + 1 < segments.length; i += 2)
    named.set(segments[i] as number, segments[i + 1] as number);
  const pages = pageIndexes.map((index, i) => {
    const at = BLOCK_SIZE + i * PAGE_SIZE;
    if (index >= pageMax || checksum(bytes, at, PAGE_SIZE) !== checksums[i])
      throw damaged(`has a bad page ${index}`);
    const words = new Uint32Array(PAGE_ENTRIES * 2);
    new Uint8Array(words.buffer).set(bytes.subarray(at, at + PAGE_SIZE));
    for (let entry = 0; entry < PAGE_ENTRIES; entry++) {
      const location = words[entry] as number;
      if (location === 0) continue;
      if (!named.has(location >>> 10) || (location & (SEGMENT_BLOCKS - 1)) < INDEX_BLOCKS) {
        throw damaged(`names an impossible place in page ${index}`);
      }
    }
    return { index, words };
  });
  return { sequence: header.sequence, sizeBytes: header.sizeBytes, segments: named, pages };
}

/** Builds maps from loaded files so that equal pages are one page again, as they were before the restart. */
export class MapInstaller {
  readonly #table: SegmentTable;
  readonly #known = new Map<string, MapPage[]>();

  constructor(table: SegmentTable) {
    this.#table = table;
  }

  install(loaded: LoadedMap, sizeBytes: number): BlockMap {
    const map = new BlockMap(this.#table, sizeBytes / BLOCK_SIZE);
    for (const { index, words } of loaded.pages) {
      if (index >= map.pages.length) continue;
      const page = this.#share(index, words);
      map.pages[index] = page;
      map.mappedBlocks += mappedIn(page);
    }
    return map;
  }

  #share(index: number, words: Uint32Array): MapPage {
    const key = `${index}:${checksum(new Uint8Array(words.buffer), 0, PAGE_SIZE)}`;
    const candidates = this.#known.get(key) ?? [];
    const same = candidates.find((page) => page.words.every((word, i) => word === words[i]));
    if (same !== undefined) {
      same.refs++;
      return same;
    }
    const page = new MapPage();
    page.words.set(words);
    for (let i = 0; i < PAGE_ENTRIES; i++) if (words[i] !== 0) this.#table.reference(words[i] as number);
    candidates.push(page);
    this.#known.set(key, candidates);
    return page;
  }
}
