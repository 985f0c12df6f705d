// The maps' part of a scrub: what map files hold is read, and what is not as it was written is put right: from memory
// where the page is there, else from the records of the segments, which say of each block where it lies and what its
// checksum is. Right means that it has the checksum which the maps know; what nothing gives back is named.
//
//   pages of all files ──bad, in memory──► changed: the next checkpoint writes it elsewhere
//                      └─bad, not there──► gathered ──► records of all segments ──► put together, checked ──► the same
//                                                                                   └─► named, read as errors from now on
//
// Of the places that records name for a block those are the page's that more pages name than those that can be read. Where
// several pages of one place are bad at once this leaves a choice: the newest first, and the checksum says whether it was
// right. What one page was helps to find the others. Thread: the pool's worker. Hot: no (in steps).
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES, PAGE_SIZE, RECORD_DATA, SEGMENT_BLOCKS } from "../log/format.js";
import type { MapStore } from "../log/map-store.js";
import { readRecords } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { MapPage } from "../volume/map-page.js";
import type { Root, Volume } from "../volume/volume.js";
import { find, type JobProgress } from "./job.js";
import { type BadPage, describePage, StoredPages } from "./stored-pages.js";

/** Pages that are put together in one pass over the segments: so much memory for what records say of them. */
const GATHERED_MAX = 64;
/** Segments whose records are read in one step. */
const SEGMENTS_PER_STEP = 8;

export interface MapScrubOptions {
  readonly table: SegmentTable;
  readonly store: MapStore;
  readonly volumes: ReadonlyMap<number, Volume>;
  /** The maps of a volume are to be written anew soon. */
  readonly onMended: (volume: Volume) => void;
  /** Pages turned out to be lost. */
  readonly onLostPages: () => void;
}

/** What a record says of a block of a page. */
interface Candidate {
  readonly entry: number;
  readonly location: number;
  readonly sum: number;
}

/** A page that is put together; what records say of it, oldest first. */
interface Gathered {
  readonly bad: BadPage;
  readonly found: Candidate[];
}

/** What is done at most to put one page together, some ten milliseconds: steps, of which a checksum is so many. */
const STEPS_MAX = 1024 * 1024;
const CHECKSUM_STEPS = 64;

/** What one entry of a page can be: one of these, or nothing if that is not `sure`. The likeliest first. */
interface Choice {
  sure: boolean;
  candidates: Candidate[];
}

export class MapScrub {
  readonly totalBytes: number;
  readonly #options: MapScrubOptions;
  readonly #progress: JobProgress;
  #walk: StoredPages | undefined;
  #gathered: Gathered[] = [];
  /** Segments of which the records are still to be read; undefined while pages are looked at. */
  #segments: number[] | undefined;
  /** Pages tried in vain since one was found. */
  #vain = 0;

  /** `progress`: where it says what it found. */
  constructor(options: MapScrubOptions, progress: JobProgress) {
    this.#options = options;
    this.#progress = progress;
    this.totalBytes = options.store.usage().liveBytes;
  }

  /** Bytes of maps read in this step; undefined when all is done. */
  step(): number | undefined {
    const { store, table, volumes } = this.#options;
    if (this.#segments !== undefined) return this.#readSegments(this.#segments);
    this.#walk ??= new StoredPages(volumes.values(), store.files, table.pages, {
      onBadPage: (bad) => this.#onBadPage(bad),
      onBadFile: (volume, root) => this.#onBadFile(volume, root),
    });
    const read = this.#walk.step();
    const isFull = this.#gathered.length >= GATHERED_MAX;
    if (this.#gathered.length === 0 || (read !== undefined && !isFull)) return read;
    const segments: Segment[] = [];
    table.visit((segment) => segments.push(segment));
    // Taken from the end: the oldest first.
    this.#segments = segments.sort((a, b) => b.serial - a.serial).map(({ index }) => index);
    return read ?? 0;
  }

  #onBadPage(bad: BadPage): void {
    const { page } = bad;
    if (page.lost) this.#nameLost(bad);
    else if (page.isResident) this.#mended(bad);
    else this.#gathered.push({ bad, found: [] });
  }

  /** The next checkpoint writes it anew; pages in files that cannot be opened go with it. */
  #onBadFile(volume: Volume, root: Root): void {
    for (const file of root.files) file.checkHead();
    root.dirty = true;
    this.#options.onMended(volume);
    this.#progress.repairedBlocks++;
  }

  /** The page is in memory as it should be: it counts as changed. */
  #mended({ volume, index, page }: BadPage): void {
    const { table, volumes, onMended } = this.#options;
    table.pages.change(page);
    onMended(volume);
    for (const each of volumes.values()) {
      for (const root of each.roots()) {
        if (root.map.page(index) !== page) continue;
        root.dirty = true;
        onMended(each);
      }
    }
    this.#progress.repairedBlocks++;
  }

  #nameLost(bad: BadPage): void {
    this.#progress.lostBlocks += Math.max(1, bad.page.mapped);
    find(this.#progress, `${bad.volume.name}: ${describePage(bad)} is damaged, and nothing gives it back`);
  }

  #readSegments(left: number[]): number {
    const { table } = this.#options;
    for (let i = 0; i < SEGMENTS_PER_STEP && left.length > 0; i++) {
      const segment = table.at(left.pop() as number);
      if (segment === undefined) continue;
      for (const { kind, offset, dataBlock, checksums, group } of readRecords(segment)) {
        if (kind !== RECORD_DATA && !segment.numbers.includes((group?.location ?? 0) >>> 10)) continue;
        const location = group?.location ?? segment.index * SEGMENT_BLOCKS + dataBlock;
        const sums = group?.sums ?? checksums;
        const stored = group?.stored ?? -1;
        for (const each of this.#gathered) gather(each, offset / BLOCK_SIZE, location, sums, stored);
      }
    }
    if (left.length === 0 && !this.#putOneTogether()) {
      this.#gathered = [];
      this.#segments = undefined;
    }
    return 0;
  }

  /** What was found helps with the others: they are tried in turn until nothing more is found; false at the end. */
  #putOneTogether(): boolean {
    const { table, onLostPages } = this.#options;
    const next = this.#vain < this.#gathered.length ? this.#gathered.shift() : undefined;
    if (next === undefined) {
      // Reading one tells everybody who asks.
      for (const { bad } of this.#gathered) {
        table.pages.words(bad.page);
        this.#nameLost(bad);
      }
      if (this.#gathered.length > 0) onLostPages();
      this.#vain = 0;
      return false;
    }
    const { page } = next.bad;
    // Whom nobody names any more, or was written meanwhile, needs nothing.
    if (page.refs === 0 || page.file === undefined) return true;
    if (this.#restore(next)) this.#vain = 0;
    else {
      this.#vain++;
      this.#gathered.push(next);
    }
    return true;
  }

  #restore({ bad, found }: Gathered): boolean {
    const { page, index } = bad;
    if (page.lost) return false;
    const { pages } = this.#options.table;
    if (!page.isResident) {
      const { readable, unreadable } = this.#othersAt(index, page);
      pages.settle();
      const choices = this.#choices(found, readable, unreadable);
      if (!tryAll(choices, page.mapped, (words) => pages.restore(page, words))) return false;
    }
    this.#mended(bad);
    return true;
  }

  /** For each entry of a page that records say something of; those that leave most to choose come last. */
  #choices(found: readonly Candidate[], readable: readonly Uint32Array[], unreadable: number): Choice[] {
    const choices = new Map<number, Choice>();
    for (let i = found.length - 1; i >= 0; i--) {
      const candidate = found[i] as Candidate;
      const { entry, location } = candidate;
      const count = this.#options.table.countOf(location);
      let named = 0;
      for (const words of readable) if (words[entry] === location) named++;
      if (count <= named) continue;
      const choice = choices.get(entry) ?? { sure: false, candidates: [] };
      choices.set(entry, choice);
      if (choice.sure) continue;
      choice.sure = count > named + unreadable;
      if (choice.sure) choice.candidates = [];
      choice.candidates.push(candidate);
    }
    return [...choices.values()].sort((a, b) => a.candidates.length - b.candidates.length);
  }

  /** Locations in the other pages of the same place in some map, and how many of these cannot be read. */
  #othersAt(index: number, page: MapPage): { readable: Uint32Array[]; unreadable: number } {
    const { table, volumes } = this.#options;
    const seen = new Set<MapPage>([page]);
    const readable: Uint32Array[] = [];
    let unreadable = 0;
    const look = (map: BlockMap | undefined) => {
      const other = map?.page(index) ?? null;
      if (other === null || seen.has(other)) return;
      seen.add(other);
      if (other.lost || (!other.isResident && !table.pages.standsWell(other))) unreadable++;
      else readable.push(table.pages.words(other).slice(0, PAGE_ENTRIES));
    };
    for (const volume of volumes.values()) {
      for (const { map, durable, pending } of [...volume.roots(), ...volume.history.dropped]) {
        look(map);
        look(durable);
        look(pending);
      }
    }
    return { readable, unreadable };
  }
}

/** Tries what a page with `mapped` blocks can be; true when `accept` took one. */
function tryAll(
  choices: readonly Choice[],
  mapped: number,
  accept: (words: Uint32Array) => boolean,
): boolean {
  const words = new Uint32Array(PAGE_SIZE / 4);
  let steps = 0;
  /** Entries from `at` on; so many of them are to be nothing. */
  const fill = (at: number, nothing: number): boolean => {
    if (nothing > choices.length - at || steps++ >= STEPS_MAX) return false;
    const choice = choices[at];
    if (choice === undefined) {
      steps += CHECKSUM_STEPS;
      return accept(words);
    }
    let entry = 0;
    for (const candidate of choice.candidates) {
      entry = candidate.entry;
      words[entry] = candidate.location;
      words[entry + PAGE_ENTRIES] = candidate.sum;
      if (fill(at + 1, nothing)) return true;
    }
    words[entry] = 0;
    words[entry + PAGE_ENTRIES] = 0;
    return !choice.sure && nothing > 0 && fill(at + 1, nothing - 1);
  };
  return choices.length >= mapped && fill(0, choices.length - mapped);
}

/**
 * What a record of blocks from `block` on, the first of them at `location`, says of a page. `stored`: which blocks of a
 * group are there; −1: all of a record.
 */
function gather(
  { bad, found }: Gathered,
  block: number,
  location: number,
  sums: Uint32Array,
  stored: number,
): void {
  const first = bad.index * PAGE_ENTRIES;
  const from = Math.max(0, first - block);
  const end = Math.min(sums.length, first + PAGE_ENTRIES - block);
  for (let i = from; i < end; i++) {
    if (stored >= 0 && ((stored >>> i) & 1) === 0) continue;
    found.push({ entry: block + i - first, location: location + i, sum: sums[i] as number });
  }
}
