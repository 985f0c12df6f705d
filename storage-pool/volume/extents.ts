// Walks over maps: runs of stored and absent blocks, and runs of blocks that two maps have in common or not.
// Invariant: runs alternate, are not empty and cover the range exactly; the first and last are cut to it.
// Thread: the pool's worker. Hot: yes (holes and shared pages are passed a page at a time).
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import type { ExtentVisitor } from "./block-device.js";
import type { BlockMap } from "./block-map.js";

const PAGE_MASK = PAGE_ENTRIES - 1;

/** Runs of stored (true) and absent blocks. */
export function walkExtents(map: BlockMap, offset: number, length: number, visit: ExtentVisitor): void {
  const end = offset + length;
  let start = offset;
  let block = Math.floor(offset / BLOCK_SIZE);
  let stored = map.location(block) !== 0;
  while (start < end) {
    block++;
    while (block * BLOCK_SIZE < end) {
      if (!stored && (block & PAGE_MASK) === 0 && map.page(block >>> 9) === null) {
        block += PAGE_ENTRIES;
        continue;
      }
      if ((map.location(block) !== 0) !== stored) break;
      block++;
    }
    const stop = Math.min(end, block * BLOCK_SIZE);
    if (!visit(stop - start, stored)) return;
    start = stop;
    stored = !stored;
  }
}

/** Runs of blocks that differ (true) or not between two maps of one volume, or of a clone and its origin. */
export function walkChanges(
  from: BlockMap,
  to: BlockMap,
  offset: number,
  length: number,
  visit: ExtentVisitor,
): void {
  const end = offset + length;
  let start = offset;
  let block = Math.floor(offset / BLOCK_SIZE);
  let changed = differs(from, to, block);
  while (start < end) {
    block++;
    while (block * BLOCK_SIZE < end) {
      if (!changed && (block & PAGE_MASK) === 0 && isSamePage(from, to, block >>> 9)) {
        block += PAGE_ENTRIES;
        continue;
      }
      if (differs(from, to, block) !== changed) break;
      block++;
    }
    const stop = Math.min(end, block * BLOCK_SIZE);
    if (!visit(stop - start, changed)) return;
    start = stop;
    changed = !changed;
  }
}

/** Equal places have equal content; the cleaner moves a block in all maps at once. */
function differs(from: BlockMap, to: BlockMap, block: number): boolean {
  return locationIn(from, block) !== locationIn(to, block);
}

/** A map may be shorter than the other: what is beyond its end reads as zeros. */
function locationIn(map: BlockMap, block: number): number {
  return block >>> 9 < map.pageCount ? map.location(block) : 0;
}

function isSamePage(from: BlockMap, to: BlockMap, index: number): boolean {
  return from.page(index) === to.page(index);
}
