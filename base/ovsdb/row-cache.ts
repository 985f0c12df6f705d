// The rows a monitor has shown, kept up to date by its updates. Pure: updates in, change events out.
// Source: RFC 7047, 4.1.6 (update) and ovsdb-server(7), 4.1.14 (update2).
// Invariant: applying the events to the rows before gives the rows after; one event per row and update.
import { parseDatum } from "./codec.js";
import { applyDiff, equalDatums } from "./datum.js";
import { show, syntaxError } from "./errors.js";
import { isUuid } from "./identifiers.js";
import { objectOf } from "./json-object.js";
import { OvsdbRow } from "./row.js";
import type { DatabaseSchema, Datum, TableSchema } from "./types.js";

export type RowChange =
  | { readonly kind: "insert"; readonly table: string; readonly uuid: string; readonly row: OvsdbRow }
  | {
      readonly kind: "modify";
      readonly table: string;
      readonly uuid: string;
      readonly row: OvsdbRow;
      readonly before: OvsdbRow;
    }
  | { readonly kind: "delete"; readonly table: string; readonly uuid: string; readonly before: OvsdbRow };

export type UpdateFormat = "update" | "update2";

type RowEdit = (table: TableSchema, before: OvsdbRow | undefined) => Map<string, Datum> | undefined;

export class RowCache {
  readonly #schema: DatabaseSchema;
  #tables = new Map<string, Map<string, OvsdbRow>>();

  constructor(schema: DatabaseSchema) {
    this.#schema = schema;
  }

  /** The rows of `table` by uuid; a live view. */
  rows(table: string): ReadonlyMap<string, OvsdbRow> {
    return this.#tables.get(table) ?? new Map();
  }

  /** Applies <table-updates> or <table-updates2>. Throws OvsdbError "syntax error" when they make no sense. */
  apply(updates: unknown, format: UpdateFormat): RowChange[] {
    const changes: RowChange[] = [];
    for (const [name, rows] of Object.entries(objectOf(updates, "table updates"))) {
      const table = this.#schema.tables.get(name);
      if (table === undefined)
        throw syntaxError(`an update of table ${show(name)}, which is not in the schema`);
      for (const [uuid, update] of Object.entries(objectOf(rows, `updates of ${name}`))) {
        if (!isUuid(uuid)) throw syntaxError(`${show(uuid)} is no row uuid`);
        const edit = format === "update2" ? parseUpdate2(update) : parseUpdate(update);
        const change = this.#change(table, uuid, edit);
        if (change !== undefined) changes.push(change);
      }
    }
    return changes;
  }

  /** Takes the initial rows of a new monitor in place of all there were; the events are the difference. */
  replace(initial: unknown, format: UpdateFormat): RowChange[] {
    const before = this.#tables;
    this.#tables = new Map();
    this.apply(initial, format);
    const changes: RowChange[] = [];
    for (const [table, rows] of this.#tables) {
      for (const [uuid, row] of rows) {
        const old = before.get(table)?.get(uuid);
        if (old === undefined) changes.push({ kind: "insert", table, uuid, row });
        else if (!equalRows(old, row)) changes.push({ kind: "modify", table, uuid, row, before: old });
      }
    }
    for (const [table, rows] of before) {
      for (const [uuid, old] of rows) {
        if (!this.#tables.get(table)?.has(uuid)) changes.push({ kind: "delete", table, uuid, before: old });
      }
    }
    return changes;
  }

  #change(table: TableSchema, uuid: string, edit: RowEdit): RowChange | undefined {
    let rows = this.#tables.get(table.name);
    if (rows === undefined) {
      rows = new Map();
      this.#tables.set(table.name, rows);
    }
    const before = rows.get(uuid);
    const data = edit(table, before);
    if (data === undefined) {
      rows.delete(uuid);
      return before && { kind: "delete", table: table.name, uuid, before };
    }
    const row = new OvsdbRow(uuid, table, data);
    rows.set(uuid, row);
    if (before === undefined) return { kind: "insert", table: table.name, uuid, row };
    return equalRows(before, row) ? undefined : { kind: "modify", table: table.name, uuid, row, before };
  }
}

function parseUpdate(update: unknown): RowEdit {
  const next = objectOf(update, "row update")["new"];
  if (next === undefined || next === null) return () => undefined;
  // "new" holds the whole monitored row.
  return (table, before) => parseColumns(table, next, new Map(before?.data));
}

function parseUpdate2(update: unknown): RowEdit {
  const object = objectOf(update, "row update");
  if (Object.hasOwn(object, "delete")) return () => undefined;
  for (const key of ["initial", "insert"]) {
    if (Object.hasOwn(object, key)) return (table) => parseColumns(table, object[key], new Map());
  }
  if (!Object.hasOwn(object, "modify")) throw syntaxError(`${show(update)} is no row update`);
  return (table, before) => {
    if (before === undefined) throw syntaxError(`a row of ${table.name} changed that was never shown`);
    const data = new Map(before.data);
    for (const [column, json] of Object.entries(objectOf(object["modify"], "modify"))) {
      if (column === "_version") continue;
      const type = columnType(table, column);
      const diff = parseDatum(json, type, { anySize: true, unconstrained: true });
      data.set(column, applyDiff(before.datum(column), diff, type));
    }
    return data;
  };
}

function parseColumns(table: TableSchema, json: unknown, data: Map<string, Datum>): Map<string, Datum> {
  for (const [column, value] of Object.entries(objectOf(json, `row of ${table.name}`))) {
    if (column === "_uuid" || column === "_version") continue;
    data.set(column, parseDatum(value, columnType(table, column), { unconstrained: true }));
  }
  return data;
}

function columnType(table: TableSchema, column: string) {
  const schema = table.columns.get(column);
  if (schema === undefined) throw syntaxError(`${table.name} has no column ${show(column)}`);
  return schema.type;
}

function equalRows(a: OvsdbRow, b: OvsdbRow): boolean {
  for (const column of new Set([...a.data.keys(), ...b.data.keys()])) {
    if (!equalDatums(a.datum(column), b.datum(column))) return false;
  }
  return true;
}
