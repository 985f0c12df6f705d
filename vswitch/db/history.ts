// The latest transactions of a database, so that a client that comes back is told only what it missed.
// Source: monitor_cond_since of ovsdb-server(7), 4.1.15. In memory: after a restart nothing is found and everybody
// gets everything. Invariant: at most HISTORY_TRANSACTIONS_MAX transactions and HISTORY_CHANGES_MAX changes are kept.
import { randomUUID } from "node:crypto";
import type { DatabaseChange } from "./database.js";
import { HISTORY_CHANGES_MAX, HISTORY_TRANSACTIONS_MAX } from "./limits.js";

interface Entry {
  readonly id: string;
  readonly changes: readonly DatabaseChange[];
}

export class TransactionHistory {
  #entries: Entry[] = [];
  #changeCount = 0;
  /** The id of the state before the first entry. */
  #base: string = randomUUID();

  /** The id of the state that the database is in. */
  get lastId(): string {
    return this.#entries.at(-1)?.id ?? this.#base;
  }

  add(changes: readonly DatabaseChange[]): void {
    this.#entries.push({ id: randomUUID(), changes });
    this.#changeCount += changes.length;
    while (this.#entries.length > HISTORY_TRANSACTIONS_MAX || this.#changeCount > HISTORY_CHANGES_MAX) {
      const oldest = this.#entries.shift() as Entry;
      this.#changeCount -= oldest.changes.length;
      this.#base = oldest.id;
    }
  }

  /** What changed after transaction `id`, one change per row; undefined when that is not known any more. */
  since(id: string): DatabaseChange[] | undefined {
    const at = this.#entries.findIndex((entry) => entry.id === id);
    if (at < 0 && id !== this.#base) return undefined;
    const merged = new Map<string, DatabaseChange>();
    for (const { changes } of this.#entries.slice(at + 1)) {
      for (const change of changes) {
        const key = `${change.table.name} ${change.uuid}`;
        const first = merged.get(key);
        merged.set(key, first === undefined ? change : { ...change, before: first.before });
      }
    }
    return [...merged.values()].filter(({ before, after }) => before !== undefined || after !== undefined);
  }
}
