// What of a file is in the page cache. Source: cachestat(2), Linux 6.5 (struct cachestat_range, struct cachestat).
// Thread: any; each has its own. Hot: yes (cachedPages).
import { raw } from "./errno.js";
import { addressOf, define } from "./ffi.js";

const cSyscall = define<(n: number, fd: number, range: number, result: number, flags: number) => number>(
  "int64_t syscall(int64_t n, int64_t fd, int64_t range, int64_t result, int64_t flags)",
);
/** The same number on every architecture. */
const SYS_CACHESTAT = 451;
const RANGE_WORDS = 2;
const RESULT_WORDS = 5;
const words = new Float64Array(RANGE_WORDS + RESULT_WORDS);
const numbers = new Uint32Array(words.buffer);
const rangeAddress = addressOf(new Uint8Array(words.buffer));
const resultAddress = rangeAddress + RANGE_WORDS * 8;

/**
 * Pages of a range that are in the page cache, those that are still being read among them; or the negated errno: ENOSYS
 * where the kernel is older. `length` above 0 (0 would mean up to the end); both below 2⁵³.
 */
export function cachedPages(fd: number, offset: number, length: number): number {
  numbers[0] = offset >>> 0;
  numbers[1] = (offset / 0x1_0000_0000) >>> 0;
  numbers[2] = length >>> 0;
  numbers[3] = (length / 0x1_0000_0000) >>> 0;
  const result = raw(cSyscall(SYS_CACHESTAT, fd, rangeAddress, resultAddress, 0));
  return result < 0 ? result : (numbers[RANGE_WORDS * 2] as number);
}
