// The datapath's monotonic time in whole milliseconds: the machine's, moved forward by what it was warped and held where
// it was stopped, for tests. Thread: datapath worker. Hot: yes.
import type { PolledClock } from "../../base/linux/index.js";

export class DatapathTime {
  readonly #clock: PolledClock;
  #warpedMs = 0;
  /** −1: runs. */
  #stoppedMs = -1;

  constructor(clock: PolledClock) {
    this.#clock = clock;
  }

  /** As of when the clock was read last. A small integer, which is passed along without allocation. */
  get lastMs(): number {
    return (this.#stoppedMs >= 0 ? this.#stoppedMs : Math.floor(this.#clock.ms[0]!)) + this.#warpedMs;
  }

  nowMs(): number {
    this.#clock.read();
    return this.lastMs;
  }

  /** From now on only warp() moves the time. */
  stop(): void {
    this.#clock.read();
    if (this.#stoppedMs < 0) this.#stoppedMs = Math.floor(this.#clock.ms[0]!);
  }

  warp(deltaMs: number): void {
    this.#warpedMs += deltaMs;
  }
}
