// Which processors a thread runs on. Source: sched_setaffinity(2): 0 is the calling thread, and what is read is as many
// bytes as the kernel has. Thread: any.
import { readdirSync } from "node:fs";
import { raw } from "./errno.js";
import { addressOf, define } from "./ffi.js";

const cSetAffinity = define<(pid: number, size: number, mask: number) => number>(
  "int sched_setaffinity(int pid, size_t cpusetsize, intptr_t mask)",
);
const cGetAffinity = define<(pid: number, size: number, mask: number) => number>(
  "int sched_getaffinity(int pid, size_t cpusetsize, intptr_t mask)",
);
const cYield = define<() => number>("int sched_yield()");
/** Of the kernel's mask: 1024 processors. */
const MASK_SIZE = 128;

/** The calling thread runs on processor `core` alone from now on; false where the host does not let it. */
export function pinThread(core: number): boolean {
  if (core < 0 || core >= MASK_SIZE * 8) return false;
  const mask = new Uint8Array(MASK_SIZE);
  mask[core >> 3] = 1 << (core & 7);
  return raw(cSetAffinity(0, MASK_SIZE, addressOf(mask))) === 0;
}

/**
 * Keeps every thread that this process has now, and what they start, off the processors `cores`, for threads that are
 * pinned there later. A thread that may run nowhere else stays as it is. Returns how many threads keep off.
 */
export function avoidProcessors(cores: readonly number[]): number {
  let count = 0;
  for (const name of readdirSync("/proc/self/task")) if (avoid(Number(name), cores)) count++;
  return count;
}

/** The processors on which a thread of this process may run: `thread` is its number in /proc/self/task, 0 the caller. */
export function processorsOf(thread = 0): number[] {
  const mask = maskOf(thread);
  return Array.from({ length: 8 * MASK_SIZE }, (_, core) => core).filter(
    (core) => ((mask[core >> 3]! >> (core & 7)) & 1) === 1,
  );
}

function avoid(thread: number, cores: readonly number[]): boolean {
  const mask = maskOf(thread);
  for (const core of cores) if (core >= 0 && core < MASK_SIZE * 8) mask[core >> 3]! &= ~(1 << (core & 7));
  return mask.some((byte) => byte !== 0) && raw(cSetAffinity(thread, MASK_SIZE, addressOf(mask))) === 0;
}

/** Nothing of a thread that has ended. */
function maskOf(thread: number): Uint8Array {
  const mask = new Uint8Array(MASK_SIZE);
  if (raw(cGetAffinity(thread, MASK_SIZE, addressOf(mask))) < 0) mask.fill(0);
  return mask;
}

/** Lets others run on the calling thread's processor that wait for it; returns at once when nobody does. sched_yield(2). */
export function yieldProcessor(): void {
  cYield();
}
