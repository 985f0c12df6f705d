// Which row holds each value of a table's indexes (RFC 7047, 3.2), kept from commit to commit, so that a commit costs
// what it changes and not what there is. Pure. Invariant: after `apply`, one row per value of each index.
import { stringifyExactJson } from "../../base/json/index.js";
import { equalDatums, formatDatum, OvsdbError, type TableSchema } from "../../base/ovsdb/index.js";
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
          if (other !== undefined) throw this.#twice(columns, after, other, changes);
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

  /** Names both rows, the one that was there before first, with what the changes did to each. */
  #twice(
    columns: readonly string[],
    row: DatabaseRow,
    other: string,
    changes: readonly DatabaseChange[],
  ): OvsdbError {
    const { table } = row;
    const named = enumerate(columns.map((column) => `"${column}"`));
    const columnWord = columns.length === 1 ? "column" : "columns";
    const [first, second] = [other, row.uuid].map((uuid) => history(columns, uuid, changes, table));
    return new OvsdbError(
      "constraint violation",
      `Transaction causes multiple rows in "${table}" table to have identical values (${valuesIn(row, columns)}) ` +
        `for index on ${columnWord} ${named}.  First row, ${first}.  Second row, ${second}.`,
    );
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
  return row && stringifyExactJson(columns.map((column) => row.datum(column)));
}

function valuesIn(row: DatabaseRow, columns: readonly string[]): string {
  return enumerate(
    columns.map((column) => formatDatum(row.datum(column), row.schema.columns.get(column)!.type)),
  );
}

/** "a", "a and b", "a, b, and c". */
function enumerate(words: readonly string[]): string {
  if (words.length < 3) return words.join(" and ");
  return `${words.slice(0, -1).join(", ")}, and ${words.at(-1)}`;
}

/** What `changes` did to a row that has the value of another now. */
function history(
  columns: readonly string[],
  uuid: string,
  changes: readonly DatabaseChange[],
  table: string,
): string {
  const change = changes.find((one) => one.uuid === uuid && one.table.name === table);
  const was = "existed in the database before this transaction";
  const did =
    change === undefined
      ? `${was} and was not modified by the transaction`
      : change.before === undefined
        ? "was inserted by this transaction"
        : isSame(change.before, change.after, columns)
          ? `${was}, which modified some of the row's columns but not any columns in this index`
          : `had the following index values before the transaction: ${valuesIn(change.before, columns)}`;
  return `with UUID ${uuid}, ${did}`;
}
