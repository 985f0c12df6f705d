// Transactions whose `wait` does not hold yet: tried again after each commit, and once more at their deadline.
// Source: RFC 7047, 5.2.6. Thread: main. Invariant: each settles once: done, timed out, canceled or dropped.
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import { OvsdbError } from "../../base/ovsdb/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { TransactOutcome } from "./execute.js";

/** What a timer can wait for, 24 days; a longer wait is one without end. */
const TIMER_MS_MAX = 2 ** 31 - 2;

type Done = Extract<TransactOutcome, { kind: "done" }>;

export interface WaitingTransaction {
  readonly owner: unknown;
  /** The request's id, as the owner's `cancel` names it. */
  readonly id: string;
  readonly attempt: () => TransactOutcome;
  /** Makes the answer of an outcome. */
  readonly finish: (outcome: Done) => Promise<unknown>;
}

interface Entry {
  readonly transaction: WaitingTransaction;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
  timer: Timer | undefined;
}

export class WaitingTransactions {
  readonly #clock: Clock;
  readonly #entries = new Set<Entry>();
  #retrying = false;
  #again = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Tries `transaction` now and keeps it when it must wait. Resolves with its answer. */
  run(transaction: WaitingTransaction): Promise<unknown> {
    const outcome = transaction.attempt();
    if (outcome.kind === "done") return transaction.finish(outcome);
    return new Promise((resolve, reject) => {
      const entry: Entry = { transaction, resolve, reject, timer: undefined };
      this.#entries.add(entry);
      if (outcome.timeoutMs < TIMER_MS_MAX) {
        // A little later than the deadline, so that the clock surely shows it as passed.
        entry.timer = this.#clock.after(outcome.timeoutMs + 1, () => this.#retry(entry));
      }
    });
  }

  /** The database changed: tries all again, until none moves on. */
  changed(): void {
    this.#again = true;
    if (this.#retrying) return;
    this.#retrying = true;
    // After the commit at hand is over: its own listeners must not see a later one first.
    queueMicrotask(() => {
      try {
        while (this.#again) {
          this.#again = false;
          for (const entry of [...this.#entries]) this.#retry(entry);
        }
      } finally {
        this.#retrying = false;
      }
    });
  }

  /** Whether a transaction of `owner` waits under this `id`. */
  holds(owner: unknown, id: string): boolean {
    return this.#find(owner, id) !== undefined;
  }

  cancel(owner: unknown, id: string): void {
    const entry = this.#find(owner, id);
    if (entry === undefined) return;
    this.#remove(entry);
    entry.reject(new JsonRpcFault({ error: "canceled", details: "the client canceled the transaction" }));
  }

  #find(owner: unknown, id: string): Entry | undefined {
    for (const entry of this.#entries)
      if (entry.transaction.owner === owner && entry.transaction.id === id) return entry;
    return undefined;
  }

  /** Forgets the transactions of a client that has gone. */
  drop(owner: unknown): void {
    for (const entry of this.#entries) if (entry.transaction.owner === owner) this.#abandon(entry);
  }

  close(): void {
    for (const entry of this.#entries) this.#abandon(entry);
  }

  #abandon(entry: Entry): void {
    this.#remove(entry);
    entry.reject(new OvsdbError("canceled", "the connection ended"));
  }

  #retry(entry: Entry): void {
    if (!this.#entries.has(entry)) return;
    const outcome = entry.transaction.attempt();
    if (outcome.kind === "wait") return;
    this.#remove(entry);
    entry.transaction.finish(outcome).then(entry.resolve, entry.reject);
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry);
    entry.timer?.cancel();
  }
}
