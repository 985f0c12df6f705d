// The latest transactions of a database, so that a client that comes back is told only what it missed.
// Source: monitor_cond_since of ovsdb-server(7), 4.1.15. In memory: after a restart nothing is found and everybody
// gets everything. Invariant: at most HISTORY_TRANSACTIONS_MAX transactions, with HISTORY_CHANGES_MAX changes and
// about HISTORY_BYTES_MAX in what they changed, are kept.
import { randomUUID } from "node:crypto";
import type { Atom, Datum } from "../../base/ovsdb/index.js";
import type { DatabaseChange } from "./database.js";
import { HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX, HISTORY_TRANSACTIONS_MAX } from "./limits.js";

interface Entry {
  readonly id: string;
  readonly changes: readonly DatabaseChange[];
  readonly sizeBytes: number;
}

export class TransactionHistory {
  #entries: Entry[] = [];
  #changeCount = 0;
  #sizeBytes = 0;
  /** The id of the state before the first entry. */
  #base: string = randomUUID();

  /** The id of the state that the database is in. */
  get lastId(): string {
    return this.#entries.at(-1)?.id ?? this.#base;
  }

  add(changes: readonly DatabaseChange[]): void {
    const sizeBytes = changes.reduce((sum, change) => sum + sizeOfChange(change), 0);
    this.#entries.push({ id: randomUUID(), changes, sizeBytes });
    this.#changeCount += changes.length;
    this.#sizeBytes += sizeBytes;
    while (this.#isTooMuch()) {
      const oldest = this.#entries.shift() as Entry;
      this.#changeCount -= oldest.changes.length;
      this.#sizeBytes -= oldest.sizeBytes;
      this.#base = oldest.id;
    }
  }

  #isTooMuch(): boolean {
    return (
      this.#entries.length > HISTORY_TRANSACTIONS_MAX ||
      this.#changeCount > HISTORY_CHANGES_MAX ||
      this.#sizeBytes > HISTORY_BYTES_MAX
    );
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

/** About what it costs to keep both versions: the columns that differ, as the others are shared with the database. */
function sizeOfChange({ table, before, after }: DatabaseChange): number {
  let sizeBytes = 0;
  for (const column of table.columns.keys()) {
    const old = before?.data.get(column);
    const now = after?.data.get(column);
    if (old !== now) sizeBytes += sizeOf(old) + sizeOf(now);
  }
  return sizeBytes;
}

function sizeOf(datum: Datum | undefined): number {
  const sizeOfAtoms = (atoms: readonly Atom[]): number =>
    atoms.reduce<number>((sum, atom) => sum + (typeof atom === "string" ? atom.length : 8), 0);
  return datum === undefined ? 0 : sizeOfAtoms(datum.keys) + sizeOfAtoms(datum.values ?? []);
}
