// Asks for pages of 2 MiB under large arrays that are read at random: a processor knows the addresses of some thousand
// pages at a time, and the first touch of each is a fault. It is a hint; without it all works alike.
// Source: madvise(2), MADV_HUGEPAGE. Thread: any.
import { addressOf, define } from "./ffi.js";

const cMadvise = define<(address: number, length: number, advice: number) => number>(
  "int madvise(intptr_t address, size_t length, int advice)",
);
const MADV_HUGEPAGE = 14;
export const HUGE_PAGE_BYTES = 2 * 1024 * 1024;

/**
 * Before the array, all zeros, is written to: what has pages keeps them. The huge ones are fetched at once, since the
 * kernel may have to make room for them, for which packets would wait. False where it has none, or the array not as much
 * as one whole.
 */
export function adviseHugePages(array: Int32Array): boolean {
  const address = addressOf(array);
  const from = Math.ceil(address / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  const to = Math.floor((address + array.byteLength) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  if (to <= from || cMadvise(from, to - from, MADV_HUGEPAGE) !== 0) return false;
  const size = array.BYTES_PER_ELEMENT;
  for (let at = from; at < to; at += HUGE_PAGE_BYTES) array[(at - address) / size] = 0;
  return true;
}
