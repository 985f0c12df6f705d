// The datapath's monotonic time in whole milliseconds: the machine's, moved forward by what it was warped and held where
// it was stopped, for tests. Thread: datapath worker. Hot: yes.

export class DatapathTime {
  #warpedMs = 0;
  /** −1: runs. */
  #stoppedMs = -1;

  /** `realMs` is performance.now(). A small integer, which is passed along without allocation. */
  at(realMs: number): number {
    return (this.#stoppedMs >= 0 ? this.#stoppedMs : Math.floor(realMs)) + this.#warpedMs;
  }

  /** From `realMs` on only warp() moves the time. */
  stop(realMs: number): void {
    if (this.#stoppedMs < 0) this.#stoppedMs = Math.floor(realMs);
  }

  warp(deltaMs: number): void {
    this.#warpedMs += deltaMs;
  }
}
