// Time as a parameter: code that needs it is given a Clock, so that the simulator can drive it.
export { WarpableClock } from "./warpable-clock.js";

export interface Timer {
  /** Stops the timer; stopping twice is allowed. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds (fractional); never goes back. */
  nowMs(): number;
  /** Wall-clock milliseconds since the epoch, for timestamps that people read. */
  wallMs(): number;
  /** Calls `callback` once after `delayMs`. The timer never keeps the process alive on its own. */
  after(delayMs: number, callback: () => void): Timer;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    const handle = setTimeout(callback, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

interface Pending {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that only moves when told to; timers fire in order of time, then of creation. */
export class SimulatedClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #pending: Pending[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const entry: Pending = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#pending.push(entry);
    this.#pending.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    return {
      cancel: () => {
        this.#pending = this.#pending.filter((other) => other !== entry);
      },
    };
  }

  /** Moves time forward by `deltaMs`, firing every timer that falls due on the way. */
  advance(deltaMs: number): void {
    const untilMs = this.#nowMs + deltaMs;
    for (let next = this.#pending[0]; next !== undefined && next.atMs <= untilMs; next = this.#pending[0]) {
      this.#pending.shift();
      this.#nowMs = next.atMs;
      next.callback();
    }
    this.#nowMs = untilMs;
  }
}

/** Resolves when `condition` holds; rejects with `describe()` once `deadlineMs` has passed. Polls every `intervalMs`. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  describe: string | (() => string),
  deadlineMs: number,
  intervalMs = 20,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    if (await condition()) return;
    if (performance.now() >= endMs) {
      throw new Error(
        `timed out after ${deadlineMs} ms: ${typeof describe === "string" ? describe : describe()}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
