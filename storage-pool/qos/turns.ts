// Whose turn it is: while more than one volume has requests, each may spend so much in a round of the loop, and then the
// sockets are looked at again. Deficit round robin: what was spent too much is owed in the next round, what was not spent
// is not kept. While only one volume has requests it is not held back at all.
// Source: Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round-Robin". Thread: the pool's worker. Hot: yes.
import type { VolumeShare } from "./volume-share.js";

/** Requests of two volumes that are closer to each other than this compete. */
const NEAR_MS = 2;
/** For so long after they did turns are taken. */
const CONTENDED_MS = 10;

export class Turns {
  /** The time of this round, by the monotonic clock. */
  nowMs = 0;
  round = 0;
  /** Several volumes have requests: spend no more than a turn. */
  contended = false;
  #contendedUntilMs = Number.NEGATIVE_INFINITY;
  #last: VolumeShare | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** A round of the loop begins: everybody has a turn again. */
  begin(nowMs: number): void {
    this.nowMs = nowMs;
    this.round++;
    this.contended = nowMs < this.#contendedUntilMs;
  }

  /** A volume has its first request of this round. */
  note(share: VolumeShare): void {
    const { nowMs } = this;
    if (this.#last !== undefined && this.#last !== share && nowMs - this.#lastMs < NEAR_MS) {
      this.#contendedUntilMs = nowMs + CONTENDED_MS;
    }
    this.#last = share;
    this.#lastMs = nowMs;
  }
}
