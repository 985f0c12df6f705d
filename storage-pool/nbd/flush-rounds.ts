// Flushes of all clients of a worker: those that wait are served by one sync, and those that come meanwhile by the next.
// Thread: the pool's worker. Hot: no (a round takes a sync).
import { HOP_SYNC, type HopTimes } from "../metrics/hop-times.js";

/** Waits for a flush; `tag` is the waiter's own. */
export interface FlushWaiter {
  flushed(tag: number, error: number): void;
}

/** Told of flushes: `waiter.flushed` is called once everything committed before is durable. */
export interface FlushQueue {
  wait(waiter: FlushWaiter, tag: number): void;
}

/** Makes everything committed durable, for all exports at once. */
export interface Syncer {
  /** Starts one; `onSynced` is called with 0 or an errno, at once or later; `inline`: at once, whoever has to wait. */
  sync(inline: boolean, onSynced: (result: number) => void): void;
}

interface Waiting {
  readonly waiter: FlushWaiter;
  readonly tag: number;
}

export class FlushRounds implements FlushQueue {
  readonly #syncer: Syncer;
  readonly #times: HopTimes;
  readonly #isAlone: () => boolean;
  readonly #onAnswered: (waiters: ReadonlySet<FlushWaiter>) => void;
  #waiting: Waiting[] = [];
  #syncing = false;
  #aside = false;

  /** `isAlone`: one client at most would have to wait for an inline sync; `onAnswered`: these were told. */
  constructor(
    syncer: Syncer,
    times: HopTimes,
    isAlone: () => boolean,
    onAnswered: (waiters: ReadonlySet<FlushWaiter>) => void,
  ) {
    this.#syncer = syncer;
    this.#times = times;
    this.#isAlone = isAlone;
    this.#onAnswered = onAnswered;
  }

  wait(waiter: FlushWaiter, tag: number): void {
    this.#waiting.push({ waiter, tag });
  }

  /** Joins the next flush without being a client: `onSynced` gets 0 or an errno. */
  syncAside(onSynced: (result: number) => void): void {
    this.#aside = true;
    this.wait({ flushed: (_tag, error) => onSynced(error) }, 0);
    this.start();
  }

  /** A round begins if somebody waits and none is under way. */
  start(): void {
    if (this.#waiting.length === 0 || this.#syncing) return;
    const served = this.#waiting;
    this.#waiting = [];
    this.#syncing = true;
    // An inline sync is quicker, but everybody waits for it: only for one client that waits anyway.
    const inline = !this.#aside && this.#isAlone();
    this.#aside = false;
    const beganMs = performance.now();
    this.#syncer.sync(inline, (result) => {
      this.#times.hops[HOP_SYNC]?.observe(performance.now() - beganMs, served.length);
      this.#syncing = false;
      for (const { waiter, tag } of served) waiter.flushed(tag, result);
      this.#onAnswered(new Set(served.map((each) => each.waiter)));
      this.start();
    });
  }
}
