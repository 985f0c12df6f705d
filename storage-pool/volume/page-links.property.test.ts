// Copies of pages that count nothing of their own, against counting every page: whatever maps do.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PAGE_ENTRIES, SEGMENT_BLOCKS, SEGMENT_LOG } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { BlockMap } from "./block-map.js";
import type { MapPage } from "./map-page.js";

const MIB = 1024 * 1024;
const PAGES = 2;
/** Few entries are used, so that maps meet in them. */
const ENTRIES = 6;

const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("set" as const), map: fc.nat(), block: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("unmap" as const), map: fc.nat(), block: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("move" as const), map: fc.nat(), block: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("freeze" as const), map: fc.nat(), block: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("release" as const), map: fc.nat(), block: fc.nat() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("settle" as const), map: fc.nat(), block: fc.nat() }) },
);

/** Location → pages that name it. */
function countedFrom(maps: readonly BlockMap[]): Map<number, number> {
  const counts = new Map<number, number>();
  const seen = new Set<MapPage>();
  for (const map of maps) {
    for (let index = 0; index < map.pageCount; index++) {
      const page = map.page(index);
      if (page === null || seen.has(page)) continue;
      seen.add(page);
      for (let at = 0; at < PAGE_ENTRIES; at++) {
        const location = page.words[at] as number;
        if (location !== 0) counts.set(location, (counts.get(location) ?? 0) + 1);
      }
    }
  }
  return counts;
}

test("what is named is counted, what is not is not, and after settling each page counts for itself", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
      const { table } = new MemoryPool(1, 64 * MIB).pool;
      const segment = table.allocate(SEGMENT_LOG, 1, 1, 1, 1);
      if (typeof segment === "number") throw new Error(`errno ${segment}`);
      let next = segment.index * SEGMENT_BLOCKS + 18;
      const first = next;
      const maps = [new BlockMap(table, PAGES * PAGE_ENTRIES)];
      for (const { do: what, map: which, block: place } of commands) {
        const map = maps[which % maps.length] as BlockMap;
        const block = ((place >>> 4) % PAGES) * PAGE_ENTRIES + (place % ENTRIES);
        const location = map.location(block);
        if (what === "set") map.set(block, next++, 7);
        else if (what === "unmap") map.unmap(block, 1);
        else if (what === "move" && location !== 0) map.move(block, next++);
        else if (what === "freeze") maps.push(map.freeze());
        else if (what === "settle") table.pages.settle();
        else if (what === "release" && maps.length > 1) {
          map.release();
          maps.splice(which % maps.length, 1);
        }
        const expected = countedFrom(maps);
        for (let at = first; at < next; at++) {
          const count = table.countOf(at);
          expect(count > 0).toBe(expected.has(at));
          expect(count).toBeLessThanOrEqual(expected.get(at) ?? 0);
        }
        expect(segment.liveBlocks).toBe(expected.size);
      }
      table.pages.settle();
      const expected = countedFrom(maps);
      for (let at = first; at < next; at++) expect(table.countOf(at)).toBe(expected.get(at) ?? 0);
      for (const map of maps) map.release();
      expect(table.liveBlocks).toBe(0);
    }),
  );
});

test("a page between an older and a newer one leaves both to count for themselves when it goes", () => {
  const { table } = new MemoryPool(1, 64 * MIB).pool;
  const segment = table.allocate(SEGMENT_LOG, 1, 1, 1, 1);
  if (typeof segment === "number") throw new Error(`errno ${segment}`);
  const first = segment.index * SEGMENT_BLOCKS + 18;
  const [kept, before, between, after] = [first, first + 1, first + 2, first + 3];
  const counts = () => [kept, before, between, after].map((at) => table.countOf(at));
  const head = new BlockMap(table, PAGE_ENTRIES);
  head.set(0, kept, 7);
  head.set(1, before, 7);
  const oldest = head.freeze();
  head.set(1, between, 7);
  const middle = head.freeze();
  head.set(2, after, 7);
  // Linked: what neighbours name in the same entry counts once.
  expect(counts()).toEqual([1, 1, 1, 1]);
  middle.release();
  expect(counts()).toEqual([2, 1, 1, 1]);
  oldest.release();
  expect(counts()).toEqual([1, 0, 1, 1]);
  head.release();
  expect(table.liveBlocks).toBe(0);
});
