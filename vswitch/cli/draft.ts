// The database as the commands of one vsctl line see it: a copy in which each finds what those before it did, and which
// is sent as one transaction at the end. Pure but for the names of new rows.
import { randomUUID } from "node:crypto";
import {
  byUuid,
  type Datum,
  defaultDatum,
  deleteOp,
  encodeDatum,
  equalDatums,
  insertOp,
  type Operation,
  type OvsdbError,
  OvsdbRow,
  type OvsdbValue,
  setOf,
  subtract,
  type TableSchema,
  union,
  updateOp,
} from "../../base/ovsdb/index.js";

/** Where the copy is taken from. */
export interface DraftSource {
  readonly tables: ReadonlyMap<string, TableSchema>;
  rows(table: string): ReadonlyMap<string, OvsdbRow>;
}

export class Draft {
  readonly #source: DraftSource;
  readonly #tables = new Map<string, Map<string, OvsdbRow>>();
  /** Rows of the database that are removed, as they last were. */
  readonly #removed = new Map<string, OvsdbRow>();

  /** What the database would say of a column with too many members, which cannot be put into a datum of its type. */
  refusal: OvsdbError | undefined;

  constructor(source: DraftSource) {
    this.#source = source;
  }

  get tables(): ReadonlyMap<string, TableSchema> {
    return this.#source.tables;
  }

  rows(table: string): OvsdbRow[] {
    return [...this.#table(table).values()];
  }

  row(table: string, uuid: string): OvsdbRow | undefined {
    return this.#table(table).get(uuid);
  }

  /** Also a row that was removed, as it last was: what refers to it refers to it still. */
  referredTo(table: string, uuid: string): OvsdbRow | undefined {
    return this.row(table, uuid) ?? this.#removed.get(uuid);
  }

  /** A new row with default values. */
  insert(table: string, uuid: string = randomUUID()): OvsdbRow {
    const schema = this.#source.tables.get(table) as TableSchema;
    const row = new OvsdbRow(uuid, schema, new Map());
    this.#table(table).set(uuid, row);
    return row;
  }

  remove({ table, uuid }: OvsdbRow): void {
    const now = this.row(table, uuid);
    if (now !== undefined && this.#source.rows(table).has(uuid)) this.#removed.set(uuid, now);
    this.#table(table).delete(uuid);
  }

  set(row: OvsdbRow, column: string, datum: Datum): void {
    const now = this.row(row.table, row.uuid) ?? row;
    const data = new Map(now.data).set(column, datum);
    this.#table(row.table).set(row.uuid, new OvsdbRow(row.uuid, row.schema, data));
  }

  /** Sets a column to these atoms; none empties it. */
  setAtoms(row: OvsdbRow, column: string, ...atoms: readonly (string | number | boolean)[]): void {
    this.set(row, column, setOf(atoms));
  }

  addTo(row: OvsdbRow, column: string, uuid: string): void {
    const now = this.row(row.table, row.uuid) ?? row;
    // The default of a reference that must be there is a row that is not.
    this.set(row, column, union(now.data.get(column) ?? setOf([]), setOf([uuid])));
  }

  takeFrom(row: OvsdbRow, column: string, uuid: string): void {
    const now = this.row(row.table, row.uuid) ?? row;
    this.set(row, column, subtract(now.datum(column), setOf([uuid])));
  }

  /** What makes the database so. Rows that nothing refers to any more go by themselves. */
  operations(): Operation[] {
    const operations: Operation[] = [];
    for (const [table, rows] of this.#tables) {
      const before = this.#source.rows(table);
      for (const row of rows.values()) {
        const old = before.get(row.uuid);
        const changed = [...row.data].filter(([column, datum]) => {
          const type = row.schema.columns.get(column)?.type;
          return type !== undefined && !equalDatums(datum, old?.datum(column) ?? defaultDatum(type));
        });
        const values = Object.fromEntries(
          changed.map(([column, datum]) => [column, encode(row, column, datum)]),
        );
        if (old === undefined) operations.push({ ...insertOp(table, values), uuid: row.uuid });
        else if (changed.length > 0) operations.push(updateOp(table, byUuid(row.uuid), values));
      }
      const isRoot = this.#source.tables.get(table)?.isRoot === true;
      for (const uuid of before.keys())
        if (!rows.has(uuid) && isRoot) operations.push(deleteOp(table, byUuid(uuid)));
    }
    return operations;
  }

  #table(name: string): Map<string, OvsdbRow> {
    let rows = this.#tables.get(name);
    if (rows === undefined) {
      rows = new Map(this.#source.rows(name));
      this.#tables.set(name, rows);
    }
    return rows;
  }
}

function encode(row: OvsdbRow, column: string, datum: Datum): OvsdbValue {
  const type = row.schema.columns.get(column)?.type ?? { key: { type: "string" as const }, min: 0, max: 1 };
  return encodeDatum(datum, type) as OvsdbValue;
}
