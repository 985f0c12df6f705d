// Which pages of a map a replay will change: asked of the disk all together and in the order of their places, before the
// first is waited for. Otherwise each costs the time that the disk takes to answer. Thread: the pool's worker. Hot: no.
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES, RECORD_MARK, RECORD_UNMAP } from "../log/format.js";
import type { RecordCursor } from "../log/record-reader.js";
import type { BlockMap } from "../volume/block-map.js";
import type { MapPage, PageFile } from "../volume/map-page.js";

const PAGE_SPAN_BYTES = PAGE_ENTRIES * BLOCK_SIZE;
/** Pages between two that are wanted are read along with them when they are as few. */
const GAP_PAGES = 3;

export class PageForesight {
  readonly #map: BlockMap;
  readonly #wanted = new Map<PageFile, Set<number>>();

  constructor(map: BlockMap) {
    this.#map = map;
  }

  note({ kind, offset, length }: Pick<RecordCursor, "kind" | "offset" | "length">): void {
    if (kind === RECORD_MARK) return;
    const first = Math.floor(offset / PAGE_SPAN_BYTES);
    const last = Math.min(Math.floor((offset + length - 1) / PAGE_SPAN_BYTES), this.#map.pageCount - 1);
    // Of what is trimmed only the edges are looked at: pages that go as a whole need not be read.
    const step = kind === RECORD_UNMAP ? Math.max(1, last - first) : 1;
    for (let index = first; index <= last; index += step) {
      const page = this.#map.page(index);
      if (page !== null) this.#want(page);
    }
  }

  /** Of each file the runs of pages that are wanted. */
  ask(): void {
    for (const [file, places] of this.#wanted) {
      const sorted = Uint32Array.from(places).sort();
      for (let from = 0; from < sorted.length; ) {
        const place = sorted[from] as number;
        let end = from + 1;
        while (end < sorted.length && (sorted[end] as number) <= (sorted[end - 1] as number) + 1 + GAP_PAGES)
          end++;
        file.expect(place, (sorted[end - 1] as number) - place + 1);
        from = end;
      }
    }
    this.#wanted.clear();
  }

  #want({ file, place, isResident }: MapPage): void {
    if (file === undefined || isResident) return;
    const places = this.#wanted.get(file);
    if (places === undefined) this.#wanted.set(file, new Set([place]));
    else places.add(place);
  }
}
