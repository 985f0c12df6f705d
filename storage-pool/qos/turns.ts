// Whose turn it is: while more than one volume has requests, each may spend so much in a round of the loop, and then the
// sockets are looked at again. Deficit round robin: what was spent too much is owed in the next round, what was not spent
// is not kept. While only one volume has requests it is not held back at all.
//
//   A keeps 16 reads under way    │ 16 │    B │ 16 │    A │ 16 │      a turn is what A has at a time: both get the same
//   B hundreds                    │    with turns of a fixed size B would get all of it each time, and A what it has
//
// So a turn is what the most modest of those that compete took of its last ones, within bounds.
// Source: Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round-Robin". Thread: the pool's worker. Hot: yes.
import type { VolumeShare } from "./volume-share.js";

/** Requests of two volumes that are closer to each other than this compete. */
const NEAR_MS = 2;
/** For so long after they did turns are taken. */
const CONTENDED_MS = 10;
/** What a turn is worth at most: 22 reads of 4 KiB, or 2 writes of 64 KiB; costs as in volume-share.ts. */
export const TURN_MOST = 512 * 1024;
/** And at least, or what every round costs beside the requests would be most of it. */
export const TURN_LEAST = 192 * 1024;
/** Rounds of which the most modest turn counts, and as many before. */
const MODEST_ROUNDS = 8;

export class Turns {
  /** The time of this round, by the monotonic clock. */
  nowMs = 0;
  round = 0;
  /** Several volumes have requests: spend no more than a turn. */
  contended = false;
  /** What a turn of this round is worth. */
  turn = TURN_MOST;
  /** The least that somebody took of a turn without being refused more, in these rounds and in those before. */
  #least = Number.POSITIVE_INFINITY;
  #leastBefore = Number.POSITIVE_INFINITY;
  #contendedUntilMs = Number.NEGATIVE_INFINITY;
  #last: VolumeShare | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** A round of the loop begins: everybody has a turn again. */
  begin(nowMs: number): void {
    this.nowMs = nowMs;
    this.round++;
    this.contended = nowMs < this.#contendedUntilMs;
    if (this.round % MODEST_ROUNDS === 0) {
      this.#leastBefore = this.#least;
      this.#least = Number.POSITIVE_INFINITY;
    }
    const least = Math.min(this.#least, this.#leastBefore);
    this.turn = Math.min(TURN_MOST, Math.max(TURN_LEAST, least));
  }

  /** A volume has its first request of this round. `spent`: of its turn before; Infinity when it was refused more, or none. */
  note(share: VolumeShare, spent: number): void {
    const { nowMs } = this;
    if (spent < this.#least) this.#least = spent;
    if (this.#last !== undefined && this.#last !== share && nowMs - this.#lastMs < NEAR_MS) {
      this.#contendedUntilMs = nowMs + CONTENDED_MS;
    }
    this.#last = share;
    this.#lastMs = nowMs;
  }
}
