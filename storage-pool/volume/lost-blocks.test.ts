import { expect, test } from "vitest";
import { BLOCK_SIZE } from "../limits.js";
import { LOCATION_LOST, PAGE_ENTRIES } from "../log/format.js";
import type { BlockMap } from "./block-map.js";
import { LostBlocks } from "./lost-blocks.js";

test("a page that was lost is named until all of its blocks are written anew", () => {
  const locations = new Array<number>(3 * PAGE_ENTRIES).fill(7);
  locations.fill(LOCATION_LOST, PAGE_ENTRIES, 2 * PAGE_ENTRIES);
  const map = { location: (block: number) => locations[block] } as BlockMap;
  const lost = new LostBlocks();
  expect(lost.note(map, PAGE_ENTRIES)).toBe(true);
  for (let block = PAGE_ENTRIES; block < 2 * PAGE_ENTRIES; block++) {
    expect(lost.rangesOf(map)).toEqual([{ offsetBytes: block * BLOCK_SIZE, lengthBytes: BLOCK_SIZE }]);
    locations[block] = 8;
  }
  expect(lost.rangesOf(map)).toEqual([]);
});
