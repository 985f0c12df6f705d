// The machine's monotonic clock for loops that poll. What performance.now() answers is an object on the heap wherever the
// compiler cannot keep it in a register; at a million turns a second that is most of the garbage there is, and the loop
// stands still while it is collected. Here the time stands in memory of one's own.
// Source: clock_gettime(2). Thread: any; a clock belongs to one. Hot: yes (read: about 50 ns).
import { addressOf, define } from "./ffi.js";

/** A clock that is read by looking: read(), then `ms[0]`. */
export interface PolledClock {
  /** Milliseconds with fractions, as of the last read(). */
  readonly ms: Float64Array;
  read(): void;
}

const cGetTime = define<(clock: number, at: number) => number>("int clock_gettime(int clock, intptr_t at)");
const CLOCK_MONOTONIC = 1;
const TIMESPEC_WORDS = 4;
/** The two clocks are compared so often when one is made: between two looks the thread may have been stopped. */
const COMPARISONS = 8;

/**
 * Counts as performance.now() does in the same thread, to some microseconds. A closure and not a class: an address is
 * more than a small integer, and what takes one out of an object's field makes a new number for each call.
 */
export function createMonotonicClock(): PolledClock {
  const ms = new Float64Array(1);
  /** struct timespec: seconds and nanoseconds, 64 bits each. */
  const time = new Uint32Array(TIMESPEC_WORDS);
  const address = addressOf(time);
  const first = new Float64Array(2);
  const read = (): void => {
    cGetTime(CLOCK_MONOTONIC, address);
    ms[0] = (time[0]! - first[0]!) * 1000 + time[2]! / 1e6 + first[1]!;
  };
  read();
  first[0] = time[0]!;
  first[1] = shiftOf(read, ms);
  read();
  return { ms, read };
}

/** How much performance.now() is ahead, in milliseconds. */
function shiftOf(read: () => void, ms: Float64Array): number {
  let [leastMs, shiftMs] = [Number.POSITIVE_INFINITY, 0];
  for (let i = 0; i < COMPARISONS; i++) {
    const beforeMs = performance.now(); // cold
    read();
    const tookMs = performance.now() - beforeMs; // cold
    if (tookMs >= leastMs) continue;
    leastMs = tookMs;
    shiftMs = beforeMs + tookMs / 2 - ms[0]!;
  }
  return shiftMs;
}
