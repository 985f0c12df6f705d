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
  type Mutation,
  mutateOp,
  type Operation,
  OvsdbRow,
  type OvsdbValue,
  pairsOf,
  setOf,
  setValue,
  subtract,
  type TableSchema,
  union,
  updateOp,
  waitOp,
} from "../../base/ovsdb/index.js";

/** Where the copy is taken from. */
export interface DraftSource {
  readonly tables: ReadonlyMap<string, TableSchema>;
  rows(table: string): ReadonlyMap<string, OvsdbRow>;
}

/** Members for a column, put in by the database to what is there by then. */
interface Insertion {
  readonly row: OvsdbRow;
  readonly column: string;
  readonly members: Datum;
}

export class Draft {
  readonly #source: DraftSource;
  readonly #tables = new Map<string, Map<string, OvsdbRow>>();
  /** Rows of the database that are removed, as they last were. */
  readonly #removed = new Map<string, OvsdbRow>();
  /** Columns of which the line has used what was in them, by table and row. */
  readonly #verified = new Map<string, Map<string, Set<string>>>();
  readonly #insertions: Insertion[] = [];

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

  /** Whether the line has made the row. */
  isNew({ table, uuid }: OvsdbRow): boolean {
    return !this.#source.rows(table).has(uuid);
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

  /** The line holds only while the column is as it was read: else it is to be tried anew. Told of what is written after. */
  verify({ table, uuid }: OvsdbRow, column: string): void {
    const rows = this.#verified.get(table) ?? new Map<string, Set<string>>();
    this.#verified.set(table, rows.set(uuid, (rows.get(uuid) ?? new Set()).add(column)));
  }

  /** Leaves it to the database to put the members in, and to refuse them; no other command of the line sees them. */
  insertInto(row: OvsdbRow, column: string, members: Datum): void {
    this.#insertions.push({ row, column, members });
  }

  /** Whatever the column holds: see verify(). */
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
    this.verify(row, column);
    this.set(row, column, union(this.#references(row, column), setOf([uuid])));
  }

  takeFrom(row: OvsdbRow, column: string, uuid: string): void {
    this.verify(row, column);
    this.set(row, column, subtract(this.#references(row, column), setOf([uuid])));
  }

  /** What the column refers to, without rows that are nowhere: neither given to it by the line nor by its default. */
  #references(row: OvsdbRow, column: string): Datum {
    const table = row.schema.columns.get(column)?.type.key.refTable as string;
    const { keys } = (this.row(row.table, row.uuid) ?? row).datum(column);
    return setOf(keys.filter((uuid) => this.referredTo(table, uuid as string) !== undefined));
  }

  /**
   * What makes the database so; none where nothing is to change. Rows that nothing refers to any more go by themselves.
   * The waits that come first fail at once when the database is no longer what the line has seen.
   */
  operations(): Operation[] {
    const writes = [...this.#writes(), ...this.#insertions.map(insertionOp)];
    return writes.length === 0 ? [] : [...this.#waits(), ...writes];
  }

  #waits(): Operation[] {
    const waits: Operation[] = [];
    for (const [table, rows] of this.#verified) {
      for (const [uuid, columns] of rows) {
        const seen = this.#source.rows(table).get(uuid);
        if (seen === undefined) continue;
        const values = [...columns].map((column) => [column, encode(seen, column, seen.datum(column))]);
        waits.push(waitOp(table, byUuid(uuid), [...columns], "==", [Object.fromEntries(values)], 0));
      }
    }
    // Where one row may be, two lines at a time would each make it.
    for (const [table, rows] of this.#tables) {
      const isFirst = rows.size > 0 && this.#source.rows(table).size === 0;
      if (isFirst && this.#source.tables.get(table)?.maxRows === 1)
        waits.push(waitOp(table, [], [], "==", [], 0));
    }
    return waits;
  }

  #writes(): Operation[] {
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

function insertionOp({ row, column, members }: Insertion): Operation {
  const type = row.schema.columns.get(column)?.type;
  const value = encode(row, column, members);
  const mutations: Mutation[] = [
    [column, "insert", members.keys.length === 1 && type?.value === undefined ? setValue([value]) : value],
  ];
  // What is put into a map leaves a key that is there as it is.
  const now = new Map(pairsOf(row.datum(column)));
  const replaced = pairsOf(members).filter(([key, one]) => now.has(key) && now.get(key) !== one);
  if (type?.value !== undefined && replaced.length > 0) {
    const keys = setOf(replaced.map(([key]) => key));
    const value = encodeDatum(keys, { key: type.key, min: 0, max: type.max });
    mutations.unshift([column, "delete", value as OvsdbValue]);
  }
  return mutateOp(row.table, byUuid(row.uuid), mutations);
}

function encode(row: OvsdbRow, column: string, datum: Datum): OvsdbValue {
  const type = row.schema.columns.get(column)?.type ?? { key: { type: "string" as const }, min: 0, max: 1 };
  return encodeDatum(datum, type) as OvsdbValue;
}
