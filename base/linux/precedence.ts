// A thread that others wait for gets the processor before them, for a moment, where the host lets us. A nice value would
// not do: where the kernel groups processes by session it only counts among those of one.
// Source: sched(7), sched_setscheduler(2): 0 is the calling thread. Needs CAP_SYS_NICE. Thread: any.
import { raw } from "./errno.js";
import { addressOf, define } from "./ffi.js";

const cSetScheduler = define<(pid: number, policy: number, parameter: number) => number>(
  "int sched_setscheduler(int pid, int policy, intptr_t parameter)",
);
const SCHED_OTHER = 0;
const SCHED_RR = 2;
/** Threads that are made meanwhile are ordinary ones. */
const SCHED_RESET_ON_FORK = 0x4000_0000;

/** What `work` returns; it must be short, and sleep when it waits. */
export function beforeOthers<T>(work: () => T): T {
  const isFirst = setScheduler(SCHED_RR | SCHED_RESET_ON_FORK, 1);
  try {
    return work();
  } finally {
    if (isFirst) setScheduler(SCHED_OTHER, 0);
  }
}

/** False where the host does not let us. */
function setScheduler(policy: number, priority: number): boolean {
  return raw(cSetScheduler(0, policy, addressOf(Int32Array.of(priority)))) === 0;
}
