// A transaction's own view of a database: its edits over the committed rows, and the integrity checks at its end.
// Source: RFC 7047, 3.2 (references, maxRows, indexes) and 4.1.3. Pure but for the uuids of new versions.
import {
  type Datum,
  equalDatums,
  OvsdbError,
  pick,
  type TableSchema,
  ZERO_UUID,
} from "../../base/ovsdb/index.js";
import { type Database, type DatabaseChange, DatabaseRow } from "./database.js";
import { ROWS_MAX } from "./limits.js";
import { type Reference, referenceChanges } from "./references.js";

interface Edit {
  readonly before: DatabaseRow | undefined;
  after: DatabaseRow | undefined;
}

export class Transaction {
  readonly #database: Database;
  readonly #edits = new Map<string, Map<string, Edit>>();
  #inserted = 0;
  comment = "";

  constructor(database: Database) {
    this.#database = database;
  }

  table(name: string): TableSchema | undefined {
    return this.#database.schema.tables.get(name);
  }

  get(table: string, uuid: string): DatabaseRow | undefined {
    const edit = this.#edits.get(table)?.get(uuid);
    return edit === undefined ? this.#database.rows(table).get(uuid) : edit.after;
  }

  /** Every row of `table` as this transaction sees it. The list does not change while it is walked. */
  rows(table: string): DatabaseRow[] {
    const edits = this.#edits.get(table);
    const committed = this.#database.rows(table);
    if (edits === undefined) return [...committed.values()];
    const rows: DatabaseRow[] = [];
    for (const row of committed.values()) if (!edits.has(row.uuid)) rows.push(row);
    for (const { after } of edits.values()) if (after !== undefined) rows.push(after);
    return rows;
  }

  /** False when a row has that uuid, or had it when the transaction began: it must not come to mean another row. */
  isFree(table: TableSchema, uuid: string): boolean {
    return !(this.#edits.get(table.name)?.has(uuid) ?? false) && !this.#database.rows(table.name).has(uuid);
  }

  /** `uuid` is free. */
  insert(table: TableSchema, uuid: string, data: ReadonlyMap<string, Datum>): void {
    if (this.#database.rowCount + ++this.#inserted > ROWS_MAX) {
      throw new OvsdbError("resources exhausted", `the database holds at most ${ROWS_MAX} rows`);
    }
    this.#put(table.name, uuid, new DatabaseRow(uuid, table, data));
  }

  /** Replaces the columns in `data`; columns whose value stays leave the row as it is. */
  update(row: DatabaseRow, data: ReadonlyMap<string, Datum>): void {
    let next: Map<string, Datum> | undefined;
    for (const [column, datum] of data) {
      if (equalDatums(row.datum(column), datum)) continue;
      next ??= new Map(row.data);
      next.set(column, datum);
    }
    if (next !== undefined) this.#put(row.table, row.uuid, new DatabaseRow(row.uuid, row.schema, next));
  }

  remove(row: DatabaseRow): void {
    this.#put(row.table, row.uuid, undefined);
  }

  #put(table: string, uuid: string, after: DatabaseRow | undefined): void {
    let edits = this.#edits.get(table);
    if (edits === undefined) {
      edits = new Map();
      this.#edits.set(table, edits);
    }
    const edit = edits.get(uuid);
    if (edit === undefined) edits.set(uuid, { before: this.#database.rows(table).get(uuid), after });
    else edit.after = after;
  }

  /**
   * Collects what nothing refers to, checks integrity and applies everything to the database.
   * Throws OvsdbError "referential integrity violation" or "constraint violation"; then nothing has changed.
   */
  commit(): readonly DatabaseChange[] {
    const references = this.#countReferences();
    this.#checkStrong(references);
    this.#collect(references);
    this.#dropWeak();
    const changes = this.#changes();
    this.#checkRows(changes);
    this.#database.indexes.check(changes);
    this.#database.apply({ changes, comment: this.comment }, references.counts);
    return changes;
  }

  /** Reference counts of every row that an edit touches, and the rows that may have lost their last one. */
  #countReferences(): ReferenceCounts {
    const counts = new Map<string, number>();
    const candidates: DatabaseRow[] = [];
    const added: [DatabaseRow, readonly Reference[]][] = [];
    const count: ReferenceCounts["count"] = (row, references, step) => {
      for (const { table, uuid } of references) {
        if (uuid === row.uuid) continue;
        const next = (counts.get(uuid) ?? this.#database.referenceCount(uuid)) + step;
        counts.set(uuid, next);
        if (next > 0) continue;
        const target = this.get(table, uuid);
        if (target !== undefined) candidates.push(target);
      }
    };
    for (const edits of this.#edits.values()) {
      for (const { before, after } of edits.values()) {
        if (before === after) continue;
        const changes = referenceChanges(before, after);
        if (after !== undefined) {
          count(after, changes.added, 1);
          if (changes.added.length > 0) added.push([after, changes.added]);
        }
        if (before !== undefined) count(before, changes.removed, -1);
        if (before === undefined && after !== undefined) candidates.push(after);
      }
    }
    return { counts, candidates, added, count };
  }

  /** Deletes the rows outside root tables that nothing refers to, and what only they referred to. */
  #collect({ counts, candidates, count }: ReferenceCounts): void {
    for (let row = candidates.pop(); row !== undefined; row = candidates.pop()) {
      if (row.schema.isRoot || (counts.get(row.uuid) ?? this.#database.referenceCount(row.uuid)) > 0)
        continue;
      const current = this.get(row.table, row.uuid);
      if (current === undefined) continue;
      this.remove(current);
      count(current, referenceChanges(current, undefined).removed, -1);
    }
  }

  /** What is newly referred to must be there, and a row that is referred to must not go. */
  #checkStrong({ counts, added }: ReferenceCounts): void {
    for (const [row, references] of added) {
      for (const { table, uuid, column } of references) {
        // One that this transaction deletes is told as that, below.
        if (this.get(table, uuid) !== undefined || this.#database.rows(table).has(uuid)) continue;
        throw new OvsdbError(
          "referential integrity violation",
          `Table ${row.table} column ${column} row ${row.uuid} references nonexistent row ${uuid} in table ${table}.`,
        );
      }
    }
    for (const edits of this.#edits.values()) {
      for (const [uuid, { before, after }] of edits) {
        if (after !== undefined || before === undefined) continue;
        const left = counts.get(uuid) ?? this.#database.referenceCount(uuid);
        if (left > 0) {
          throw new OvsdbError(
            "referential integrity violation",
            `cannot delete ${before.table} row ${uuid} because of ${left} remaining reference(s)`,
          );
        }
      }
    }
  }

  /**
   * Weak references go with the row that they name. Where no row goes, only those that are written now can name none.
   */
  #dropWeak(): void {
    const isAnyGone = this.#isAnyGone();
    for (const schema of this.#database.schema.tables.values()) {
      const columns = [...schema.columns].filter(
        ([, { type }]) => type.key.refType === "weak" || type.value?.refType === "weak",
      );
      if (columns.length === 0) continue;
      for (const row of isAnyGone ? this.rows(schema.name) : this.#writtenRows(schema.name)) {
        const data = new Map<string, Datum>();
        for (const [column, { type }] of columns) {
          const datum = row.datum(column);
          const keep = datum.keys.flatMap((key, i) => {
            const alive =
              this.#isAlive(type.key.refTable, key) &&
              (datum.values === undefined || this.#isAlive(type.value?.refTable, datum.values[i]));
            return alive ? [i] : [];
          });
          if (keep.length === datum.keys.length) continue;
          if (keep.length < type.min) throw emptied(row, column, this.#isNew(row));
          data.set(column, pick(datum, keep));
        }
        if (data.size > 0) this.update(row, data);
      }
    }
  }

  #isNew(row: DatabaseRow): boolean {
    return !this.#database.rows(row.table).has(row.uuid);
  }

  #isAnyGone(): boolean {
    for (const edits of this.#edits.values())
      for (const { before, after } of edits.values())
        if (before !== undefined && after === undefined) return true;
    return false;
  }

  #writtenRows(table: string): DatabaseRow[] {
    const edits = [...(this.#edits.get(table)?.values() ?? [])];
    return edits.flatMap(({ after }) => after ?? []);
  }

  #isAlive(table: string | undefined, atom: unknown): boolean {
    return table === undefined || this.get(table, atom as string) !== undefined;
  }

  #changes(): DatabaseChange[] {
    const changes: DatabaseChange[] = [];
    for (const [name, edits] of this.#edits) {
      const table = this.table(name) as TableSchema;
      for (const [uuid, { before, after }] of edits) {
        if (before === after || (before && after && sameData(before, after))) continue;
        changes.push({ table, uuid, before, after });
      }
    }
    return changes;
  }

  #checkRows(changes: readonly DatabaseChange[]): void {
    for (const { table } of changes) {
      if (!Number.isFinite(table.maxRows)) continue;
      const count = this.rows(table.name).length;
      if (count > table.maxRows) {
        throw new OvsdbError(
          "constraint violation",
          `transaction causes "${table.name}" table to contain ${count} rows, ` +
            `greater than the schema-defined limit of ${table.maxRows} row(s)`,
        );
      }
    }
  }
}

interface ReferenceCounts {
  readonly counts: Map<string, number>;
  /** Rows that may have lost their last reference, and those that are new. */
  readonly candidates: DatabaseRow[];
  /** References that this transaction makes, by the row that makes them. */
  readonly added: readonly (readonly [row: DatabaseRow, references: readonly Reference[]])[];
  /** Adds to or takes from the counts what a row refers to; what has none left becomes a candidate. */
  readonly count: (row: DatabaseRow, references: readonly Reference[], step: 1 | -1) => void;
}

/** None of the weak references in a column that needs one stays. The words, and their slip, are ovsdb-server's. */
function emptied(row: DatabaseRow, column: string, isNew: boolean): OvsdbError {
  const { keys, values = [] } = row.datum(column);
  const where = `"${column}" in "${row.table}" row ${row.uuid}${isNew ? " (inserted within this transaction)" : ""}`;
  return new OvsdbError(
    "constraint violation",
    isNew && [...keys, ...values].includes(ZERO_UUID)
      ? `Weak reference column ${where} contained all-zeros UUID (probably as the default value for this column) ` +
          "but deleting this value caused a constraint volation because this column is not allowed to be empty."
      : `Deletion of ${keys.length} weak reference(s) to deleted (or never-existing) rows from column ${where} ` +
          "caused this column to become empty, but constraints on this column disallow an empty column.",
  );
}

function sameData(a: DatabaseRow, b: DatabaseRow): boolean {
  for (const column of a.schema.columns.keys()) {
    if (!equalDatums(a.datum(column), b.datum(column))) return false;
  }
  return true;
}
