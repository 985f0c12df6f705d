// Memory of map pages: made by the hundred, because one ArrayBuffer each costs more than what is put into it, and used
// again, because every checkpoint makes copies of pages and lets others go.
// Invariant: words that were given back are in no page. Thread: the pool's worker. Hot: yes.
import { MAP_MEMORY_BYTES } from "../limits.js";
import { PAGE_ENTRIES, PAGE_SIZE } from "../log/format.js";

const SLAB_PAGES = 256;
/** Kept for the next pages; more are left to the garbage collector, a slab only when none of its pages is left. */
const SPARE_MAX = MAP_MEMORY_BYTES / PAGE_SIZE;
/** What a page has that is no page any more: reading it gives no number. */
export const NO_WORDS = new Uint32Array(0);

const spare: Uint32Array[] = [];

/** Room for a page; whatever is in it. */
export function takeWords(): Uint32Array {
  if (spare.length === 0) {
    const slab = new ArrayBuffer(SLAB_PAGES * PAGE_SIZE);
    for (let i = 0; i < SLAB_PAGES; i++) spare.push(new Uint32Array(slab, i * PAGE_SIZE, PAGE_ENTRIES * 2)); // cold
  }
  return spare.pop() as Uint32Array;
}

export function giveWords(words: Uint32Array): void {
  if (spare.length < SPARE_MAX) spare.push(words);
}
