// Which processor a thread runs on. Source: sched_setaffinity(2): 0 is the calling thread. Thread: any.
import { raw } from "./errno.js";
import { addressOf, define } from "./ffi.js";

const cSetAffinity = define<(pid: number, size: number, mask: number) => number>(
  "int sched_setaffinity(int pid, size_t cpusetsize, intptr_t mask)",
);
/** Of the kernel's mask: 1024 processors. */
const MASK_SIZE = 128;

/** The calling thread runs on processor `core` alone from now on; false where the host does not let it. */
export function pinThread(core: number): boolean {
  if (core < 0 || core >= MASK_SIZE * 8) return false;
  const mask = new Uint8Array(MASK_SIZE);
  mask[core >> 3] = 1 << (core & 7);
  return raw(cSetAffinity(0, MASK_SIZE, addressOf(mask))) === 0;
}
