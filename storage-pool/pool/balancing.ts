// Moves copies while somebody waits for free slots that are on the wrong disks; what is moved is planned in balance.ts.
// Thread: the pool's worker. Hot: no.
import type { Wanted } from "./demand.js";
import type { BalanceJob } from "./mover.js";
import type { PoolDisks } from "./pool-disks.js";

export class Balancing {
  readonly #disks: PoolDisks;
  #job: BalanceJob | undefined;
  /** Moving did not help: not again until `reset`. */
  #failed = false;

  constructor(disks: PoolDisks) {
    this.#disks = disks;
  }

  get active(): boolean {
    return this.#job !== undefined;
  }

  /** Begins if it makes what is wanted possible, or a step to it. */
  begin(wanted: Wanted | undefined): boolean {
    if (wanted === undefined || this.#failed) return false;
    this.#job = this.#disks.balance(wanted.copies, wanted.diskClass, wanted.segments);
    return this.#job !== undefined;
  }

  /** "wait" for the disks, "more", or "done" with a few copies. */
  step(): "more" | "wait" | "done" {
    const job = this.#job as BalanceJob;
    const outcome = job.step();
    if (outcome !== "done") return outcome;
    this.#job = undefined;
    this.#failed = job.progress.doneBytes === 0;
    return outcome;
  }

  /** It may help again. */
  reset(): void {
    this.#failed = false;
  }
}
