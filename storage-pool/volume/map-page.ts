// A page of a map: 2 MiB of a volume. Its words may be on the medium only; whoever wants them asks the PageCache.
// Thread: the pool's worker. Hot: yes.
import { checksum } from "../log/checksum.js";
import { PAGE_ENTRIES, PAGE_SIZE } from "../log/format.js";
import { NO_WORDS } from "./page-words.js";

/** A map file, as pages that stand in it know it. */
export interface PageFile {
  readonly name: string;
  /** So many pages from `place` on; fewer bytes, or none, when they cannot be read. They may be put into `into`, which has room. */
  read(place: number, count: number, into: Uint8Array): Uint8Array;
  /** So many pages from `place` on will be read soon. */
  expect(place: number, count: number): void;
  /** One more page in memory, or one less, stands there. */
  gain(): void;
  lose(): void;
}

export class MapPage {
  /** Locations, then checksums; none while they are not in memory, and once nobody names the page. */
  words: Uint32Array;
  refs = 1;
  /** Blocks that are stored. */
  mapped = 0;
  /** Where the page stands on the medium, with exactly this content; undefined when nowhere yet. */
  file: PageFile | undefined = undefined;
  /** Place within the file, counted in pages. */
  place = 0;
  /** crc32c of the content, when it stands in a file; signed, because half a million of these stay small integers so. */
  sum = 0;
  /** Its locations are in the segment table's counts. */
  counted: boolean;
  /** Looked at since the cache came by last. */
  recent = true;
  /** What stands on the medium is not what was written: every word says so. */
  lost = false;
  /**
   * The page that this one is a copy of, and a copy of this one, while both are in memory: a place that both name in the
   * same entry is counted once (see PageCache).
   */
  base: MapPage | undefined = undefined;
  heir: MapPage | undefined = undefined;

  /** `words` are the page's own from now on. */
  constructor(words: Uint32Array, counted = true) {
    this.words = words;
    this.counted = counted;
  }

  get isResident(): boolean {
    return this.words !== NO_WORDS;
  }

  /** The content as bytes, when it is in memory. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.words.buffer, this.words.byteOffset, this.words.byteLength);
  }

  /** The page stands in `file` now, or nowhere. */
  moveTo(file: PageFile | undefined, place: number, sum = 0): void {
    this.file?.lose();
    this.file = file;
    this.place = place;
    this.sum = sum | 0;
    file?.gain();
  }
}

/** crc32c of a page that stands from `at` on, as files and their tables have it. */
export function pageChecksum(bytes: Uint8Array, at: number): number {
  return checksum(bytes, at, PAGE_SIZE);
}

export function mappedIn(words: Uint32Array): number {
  let count = 0;
  for (let i = 0; i < PAGE_ENTRIES; i++) if (words[i] !== 0) count++;
  return count;
}
