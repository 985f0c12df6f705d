// The queues of a device of the host that its port has lent to other port workers. Thread: the port's.
import type { QueueLoan } from "./queue-loan.js";

interface Loan {
  readonly loan: QueueLoan;
  readonly queues: readonly number[];
}

export class QueueLoans {
  #all: readonly Loan[] = [];

  add(queues: readonly number[], loan: QueueLoan): void {
    this.#all = [...this.#all, { loan, queues }];
  }

  get areAny(): boolean {
    return this.#all.length > 0;
  }

  /** Whether somebody has given back what was not asked for, or has ended. */
  get areStale(): boolean {
    return this.#all.length > 0 && this.#all.some(({ loan }) => loan.isOver || loan.isLost);
  }

  /** Whether somebody has ended in the middle of something. */
  get hasLost(): boolean {
    return this.#all.length > 0 && this.#all.some(({ loan }) => loan.isLost);
  }

  /** Nobody else serves queues any more; returns which were lent. One that has ended does not serve them either. */
  recall(): number[] {
    const all = this.#all;
    this.#all = [];
    for (const { loan } of all) loan.recall(); // cold
    return all.flatMap(({ queues }) => queues);
  }
}

/** Bits by queue: of those that are served here, all but the first may be lent. */
export function lendable(served: number): number {
  return served & (served - 1);
}

/** Whether all of these may be lent, of those in `bits`. */
export function areAmong(queues: readonly number[], bits: number): boolean {
  return queues.every((queue) => ((bits >>> queue) & 1) === 1);
}
