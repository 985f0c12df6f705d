// The rows of one database, and what happens when a transaction is committed to it.
// Source: RFC 7047, 3 and 5. Thread: main.
// Invariants: every strong reference has its row; a row outside root tables is referred to; indexes are unique;
// a change is in the log before anybody can see it.
import { randomUUID } from "node:crypto";
import {
  type DatabaseSchema,
  type Datum,
  defaultDatum,
  OvsdbRow,
  syntaxError,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { RowIndexes } from "./row-indexes.js";

/** A row with the version that changes whenever the row does. */
export class DatabaseRow extends OvsdbRow {
  readonly version: string;

  constructor(
    uuid: string,
    schema: TableSchema,
    data: ReadonlyMap<string, Datum>,
    version: string = randomUUID(),
  ) {
    super(uuid, schema, data);
    this.version = version;
  }
}

/** What a commit did to one row: insert without `before`, delete without `after`. */
export interface DatabaseChange {
  readonly table: TableSchema;
  readonly uuid: string;
  readonly before: DatabaseRow | undefined;
  readonly after: DatabaseRow | undefined;
}

export interface Commit {
  readonly changes: readonly DatabaseChange[];
  /** Comments of the transaction, for the log. */
  readonly comment: string;
}

export class Database {
  readonly schema: DatabaseSchema;
  /** Called with each commit before it takes effect; throwing refuses it. */
  persist: ((commit: Commit) => void) | undefined;
  readonly indexes: RowIndexes;
  readonly #tables = new Map<string, Map<string, DatabaseRow>>();
  readonly #references = new Map<string, number>();
  readonly #listeners = new Set<(commit: Commit) => void>();
  #rowCount = 0;

  constructor(schema: DatabaseSchema) {
    this.schema = schema;
    this.indexes = new RowIndexes(schema.tables.values());
    for (const name of schema.tables.keys()) this.#tables.set(name, new Map());
  }

  get rowCount(): number {
    return this.#rowCount;
  }

  /** The rows of `table` by uuid; a live view. Throws "syntax error" for an unknown table. */
  rows(table: string): ReadonlyMap<string, DatabaseRow> {
    const rows = this.#tables.get(table);
    if (rows === undefined) throw syntaxError(`there is no table ${table.slice(0, 60)}`);
    return rows;
  }

  /** How many strong references of other rows keep `uuid` alive. */
  referenceCount(uuid: string): number {
    return this.#references.get(uuid) ?? 0;
  }

  /** Calls `listener` after each commit that changed a row; returns how to stop that. */
  subscribe(listener: (commit: Commit) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes changes whose integrity was checked: log, then memory, then listeners. */
  apply(commit: Commit, references: ReadonlyMap<string, number>): void {
    if (commit.changes.length === 0) return;
    this.persist?.(commit);
    for (const { table, uuid, before, after } of commit.changes) {
      const rows = this.#tables.get(table.name) as Map<string, DatabaseRow>;
      if (after === undefined) rows.delete(uuid);
      else rows.set(uuid, after);
      this.#rowCount += (after === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    }
    this.indexes.apply(commit.changes);
    for (const [uuid, count] of references) {
      if (count === 0) this.#references.delete(uuid);
      else this.#references.set(uuid, count);
    }
    for (const listener of this.#listeners) listener(commit);
  }
}

/** A row's value for a real column or for _uuid and _version; undefined when there is no such column. */
export function columnDatum(row: DatabaseRow, column: string): Datum | undefined {
  if (column === "_uuid") return { keys: [row.uuid], values: undefined };
  if (column === "_version") return { keys: [row.version], values: undefined };
  const datum = row.data.get(column);
  if (datum !== undefined) return datum;
  const schema = row.schema.columns.get(column);
  return schema === undefined ? undefined : defaultDatum(schema.type);
}
