// A clock that runs with the machine's until it is stopped, and that can be moved forward at any time: timers that fall
// due on the way fire. For daemons that are tested with time/stop and time/warp. Thread: one.
import type { Clock, Timer } from "./index.js";

interface Pending {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
  handle: NodeJS.Timeout | undefined;
}

export class WarpableClock implements Clock {
  readonly #pending = new Set<Pending>();
  #order = 0;
  #warpedMs = 0;
  #stoppedMs: number | undefined;

  nowMs(): number {
    return (this.#stoppedMs ?? performance.now()) + this.#warpedMs;
  }

  /** That of the machine, whatever the monotonic time does. */
  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    const atMs = this.nowMs() + Math.max(0, delayMs);
    const entry: Pending = { atMs, order: this.#order++, callback, handle: undefined };
    this.#pending.add(entry);
    this.#arm(entry);
    return {
      cancel: () => {
        clearTimeout(entry.handle);
        this.#pending.delete(entry);
      },
    };
  }

  /** From now on only warp() moves the time. */
  stop(): void {
    if (this.#stoppedMs !== undefined) return;
    // Whole milliseconds add up without error.
    this.#stoppedMs = Math.ceil(this.nowMs());
    this.#warpedMs = 0;
    for (const entry of this.#pending) clearTimeout(entry.handle);
  }

  /** Moves the time forward. Timers fire in the order in which they fall due, each at its own time at the earliest. */
  warp(deltaMs: number): void {
    const untilMs = this.nowMs() + deltaMs;
    for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
      this.#pending.delete(next);
      clearTimeout(next.handle);
      this.#warpedMs += Math.max(0, next.atMs - this.nowMs());
      next.callback();
    }
    this.#warpedMs += Math.max(0, untilMs - this.nowMs());
    for (const entry of this.#pending) this.#arm(entry);
  }

  #next(untilMs: number): Pending | undefined {
    let first: Pending | undefined;
    for (const one of this.#pending) {
      if (one.atMs > untilMs) continue;
      if (
        first === undefined ||
        one.atMs < first.atMs ||
        (one.atMs === first.atMs && one.order < first.order)
      )
        first = one;
    }
    return first;
  }

  #arm(entry: Pending): void {
    clearTimeout(entry.handle);
    if (this.#stoppedMs !== undefined) return;
    entry.handle = setTimeout(
      () => {
        this.#pending.delete(entry);
        entry.callback();
      },
      Math.max(0, entry.atMs - this.nowMs()),
    );
    entry.handle.unref();
  }
}
