// Which row holds each value of a table's indexes (RFC 7047, 3.2), kept from commit to commit, so that a commit costs
// what it changes and not what there is. Pure. Invariant: after `apply`, one row per value of each index.
import { equalDatums, OvsdbError, type TableSchema } from "../../base/ovsdb/index.js";
import type { DatabaseChange, DatabaseRow } from "./database.js";

export class RowIndexes {
  /** By table, one map from value to uuid per index. */
  readonly #tables = new Map<string, Map<string, string>[]>();

  constructor(tables: Iterable<TableSchema>) {
    for (const { name, indexes } of tables)
      this.#tables.set(
        name,
        indexes.map(() => new Map()),
      );
  }

  /** Throws OvsdbError "constraint violation" when two rows would have one value after `changes`. */
  check(changes: readonly DatabaseChange[]): void {
    for (const table of new Set(changes.map((change) => change.table))) {
      const own = table.indexes.length === 0 ? [] : changes.filter((change) => change.table === table);
      table.indexes.forEach((columns, i) => {
        const moved = own.filter(({ before, after }) => !isSame(before, after, columns));
        const freed = new Set(moved.map(({ before }) => keyOf(before, columns)));
        const taken = new Map<string, string>();
        for (const { uuid, after } of moved) {
          const key = keyOf(after, columns);
          if (key === undefined || after === undefined) continue;
          const other = taken.get(key) ?? (freed.has(key) ? undefined : this.#holder(table, i, key));
          if (other !== undefined) throw twice(table, columns, after, other);
          taken.set(key, uuid);
        }
      });
    }
  }

  apply(changes: readonly DatabaseChange[]): void {
    for (const { table, uuid, before, after } of changes) {
      table.indexes.forEach((columns, i) => {
        if (isSame(before, after, columns)) return;
        const held = this.#tables.get(table.name)?.[i];
        const old = keyOf(before, columns);
        // Another change may have given the value to its row already.
        if (old !== undefined && held?.get(old) === uuid) held.delete(old);
        const key = keyOf(after, columns);
        if (key !== undefined) held?.set(key, uuid);
      });
    }
  }

  #holder(table: TableSchema, index: number, key: string): string | undefined {
    return this.#tables.get(table.name)?.[index]?.get(key);
  }
}

/** True when both are there with the very same values, as a change of other columns leaves them. */
function isSame(
  before: DatabaseRow | undefined,
  after: DatabaseRow | undefined,
  columns: readonly string[],
): boolean {
  if (before === undefined || after === undefined) return false;
  return columns.every((column) => equalDatums(before.datum(column), after.datum(column)));
}

function keyOf(row: DatabaseRow | undefined, columns: readonly string[]): string | undefined {
  return row && JSON.stringify(columns.map((column) => row.datum(column)));
}

function twice(table: TableSchema, columns: readonly string[], row: DatabaseRow, other: string): OvsdbError {
  const value = columns.map((column) => row.datum(column).keys.join(",")).join(", ");
  return new OvsdbError(
    "constraint violation",
    `rows ${other} and ${row.uuid} of ${table.name} would both have ${columns.join(", ")} = "${value}"`,
  );
}
