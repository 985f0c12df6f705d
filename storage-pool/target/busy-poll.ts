// Looks for the next request for a moment before it sleeps, while that pays: going to sleep and being woken costs a virtual machine
// more than a client takes that answers at once.
//
//   wait ─► slept less than NEAR_MS, NEAR_TIMES in a row ─► looks up to LOOK_MS before each sleep
//             ▲                                                    │ found nothing MISSES_MAX times, or somebody else
//             └──────────────── PAUSE_MS or more ──────────────────┘ wanted the processor meanwhile
//
// A step between two looks that takes much longer than a look does was spent by others on this processor. They keep it
// then, and each time that they want it again the pause is twice as long. Thread: the pool's worker. Hot: yes.

/** Sleeps this short, and how many of them, mean that a client waits for each answer before it asks again. */
const NEAR_MS = 0.2;
const NEAR_TIMES = 16;
/** How long to look: longer than a client on another processor takes to see an answer and ask again. */
export const LOOK_MS = 0.05;
/** Looks in vain, less those that found something, before it pauses. */
const MISSES_MAX = 8;
/** Between two looks: longer means that the processor was somebody else's, or that the host of this machine was busy. */
const STEP_MS = 0.03;
const PAUSE_MS = 20;
const PAUSE_MAX_MS = 5000;

/** An epoll set, or what looks like one: sleeps at most `timeoutMs`, returns how many descriptors are ready. */
export interface Waiter {
  wait(timeoutMs: number): number;
}

export class BusyPoll {
  readonly #waiter: Waiter;
  readonly #clock: () => number;
  #near = 0;
  #misses = 0;
  #pauseMs = PAUSE_MS;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** How often it looked, and how often it found something. */
  lookCount = 0;
  hitCount = 0;

  /** `clock`: milliseconds, never going back. */
  constructor(waiter: Waiter, clock: () => number) {
    this.#waiter = waiter;
    this.#clock = clock;
  }

  /**
   * As the waiter's own; sleeps LOOK_MS longer than `timeoutMs` at most. `isAlone`: one request was served, no more,
   * since the last wait. Where there were more, the next ones come together as well if they are not looked for so soon.
   */
  wait(timeoutMs: number, isAlone: boolean): number {
    if (timeoutMs === 0) return this.#waiter.wait(0);
    if (!isAlone) {
      this.#near = 0;
      return this.#waiter.wait(timeoutMs);
    }
    const beganMs = this.#clock();
    if (this.#near >= NEAR_TIMES && beganMs >= this.#pausedUntilMs) {
      const count = this.#look(beganMs);
      if (count > 0) return count;
    }
    const count = this.#waiter.wait(timeoutMs);
    const tookMs = this.#clock() - beganMs;
    if (count > 0 && tookMs < NEAR_MS) this.#near++;
    else this.#near = 0;
    return count;
  }

  #look(beganMs: number): number {
    this.lookCount++;
    let beforeMs = beganMs;
    while (beforeMs - beganMs < LOOK_MS) {
      const count = this.#waiter.wait(0);
      const nowMs = this.#clock();
      if (nowMs - beforeMs > STEP_MS) {
        this.#pause(nowMs);
        this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_MAX_MS);
        return count;
      }
      if (count > 0) {
        this.hitCount++;
        if (this.#misses > 0) this.#misses--;
        else if (this.#pauseMs > PAUSE_MS) this.#pauseMs -= PAUSE_MS / 100;
        return count;
      }
      beforeMs = nowMs;
    }
    if (++this.#misses >= MISSES_MAX) this.#pause(beforeMs);
    return 0;
  }

  #pause(nowMs: number): void {
    this.#pausedUntilMs = nowMs + this.#pauseMs;
    this.#misses = 0;
    this.#near = 0;
  }
}
