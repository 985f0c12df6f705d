// What one monitor shows: initial rows and the differences of each commit, in the three notations of OVSDB.
// Source: RFC 7047, 4.1.5 and 4.1.6 (update); ovsdb-server(7) for monitor_cond (update2) and monitor_cond_since (update3).
// Pure. Invariant: initial rows plus all updates give exactly the rows that match, with their monitored columns.
import { isObject } from "../../base/json/index.js";
import {
  type Datum,
  defaultDatum,
  diffDatums,
  encodeDatum,
  equalDatums,
  ObjectParser,
  syntaxError,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { columnTypeOf, matchesAny, type ParsedCondition, parseWhere } from "./conditions.js";
import { columnDatum, type Database, type DatabaseChange, type DatabaseRow } from "./database.js";
import { checkColumn, columnDiffers, encodeRow } from "./operations.js";

export type MonitorNotation = "update" | "update2" | "update3";
type Json = Record<string, unknown>;
type ChangeKind = "initial" | "insert" | "delete" | "modify";

const KINDS: readonly ChangeKind[] = ["initial", "insert", "delete", "modify"];

interface MonitoredTable {
  readonly table: TableSchema;
  /** The columns to show for each kind of change, perhaps none; a kind that is left out is not shown at all. */
  readonly columns: Readonly<Partial<Record<ChangeKind, readonly string[]>>>;
  /** Any of these must hold; undefined for every row. */
  where: readonly ParsedCondition[] | undefined;
}

/** The tables and columns that a client asked to see. */
export class Monitor {
  readonly notation: MonitorNotation;
  readonly #tables: Map<string, MonitoredTable>;

  /** Parses <monitor-requests> (or <monitor-cond-requests>). Throws OvsdbError "syntax error". */
  constructor(database: Database, requests: unknown, notation: MonitorNotation) {
    this.notation = notation;
    this.#tables = new Map();
    if (!isObject(requests)) throw syntaxError("monitor-requests must be object", requests);
    for (const [name, json] of Object.entries(requests)) {
      const table = database.schema.tables.get(name);
      if (table === undefined) throw syntaxError(`no table named ${name}`);
      this.#tables.set(name, parseTable(table, json, notation !== "update"));
    }
  }

  /** The rows there are, for the answer to the request. */
  initial(database: Database): Json {
    const updates: Json = {};
    for (const [name, monitored] of this.#tables) {
      if (monitored.columns.initial === undefined) continue;
      for (const row of database.rows(name).values()) {
        if (isShown(monitored.where, row)) this.#add(updates, monitored, row.uuid, undefined, row, "initial");
      }
    }
    return updates;
  }

  /** What a commit shows to this monitor; undefined when nothing. */
  update(changes: readonly DatabaseChange[]): Json | undefined {
    const updates: Json = {};
    for (const { table, uuid, before, after } of changes) {
      const monitored = this.#tables.get(table.name);
      if (monitored === undefined) continue;
      const was = before !== undefined && isShown(monitored.where, before) ? before : undefined;
      const is = after !== undefined && isShown(monitored.where, after) ? after : undefined;
      this.#add(updates, monitored, uuid, was, is, undefined);
    }
    return Object.keys(updates).length === 0 ? undefined : updates;
  }

  /** Takes new conditions (monitor_cond_change); returns what appears and vanishes by that. */
  changeConditions(database: Database, requests: unknown): Json | undefined {
    const fresh = new Map<MonitoredTable, readonly ParsedCondition[] | undefined>();
    if (!isObject(requests)) throw syntaxError("monitor-cond-change-requests must be object");
    for (const [name, json] of Object.entries(requests)) {
      if (!database.schema.tables.has(name)) throw syntaxError(`no table named ${name}`);
      const monitored = this.#tables.get(name);
      if (monitored === undefined) throw syntaxError(`no table named ${name} in monitor session`);
      if (!Array.isArray(json)) throw syntaxError(`table ${name} no monitor-cond-change JSON array`);
      const wheres = json.map((one) => parseChange(one, name));
      fresh.set(monitored, parseConditions(monitored.table, wheres));
    }
    const updates: Json = {};
    for (const [monitored, where] of fresh) {
      const before = monitored.where;
      monitored.where = where;
      for (const row of database.rows(monitored.table.name).values()) {
        const was = isShown(before, row) ? row : undefined;
        const is = isShown(where, row) ? row : undefined;
        if (was !== is) this.#add(updates, monitored, row.uuid, was, is, undefined);
      }
    }
    return Object.keys(updates).length === 0 ? undefined : updates;
  }

  #add(
    updates: Json,
    monitored: MonitoredTable,
    uuid: string,
    before: DatabaseRow | undefined,
    after: DatabaseRow | undefined,
    kind: "initial" | undefined,
  ): void {
    if (before === undefined && after === undefined) return;
    const change = kind ?? (before === undefined ? "insert" : after === undefined ? "delete" : "modify");
    const columns = monitored.columns[change];
    if (columns === undefined) return;
    const encode = this.notation === "update" ? encodeUpdate : encodeUpdate2;
    const update = encode(change, columns, before, after);
    if (update === undefined) return;
    updates[monitored.table.name] ??= {};
    (updates[monitored.table.name] as Json)[uuid] = update;
  }
}

function encodeUpdate(
  kind: ChangeKind,
  columns: readonly string[],
  before: DatabaseRow | undefined,
  after: DatabaseRow | undefined,
): Json | undefined {
  if (before === undefined) return after && { new: encodeRow(after, columns) };
  if (after === undefined) return { old: encodeRow(before, columns) };
  const changed = columns.filter((column) => columnDiffers(before, after, column));
  if (changed.length === 0 && kind === "modify") return undefined;
  return { old: encodeRow(before, changed), new: encodeRow(after, columns) };
}

function encodeUpdate2(
  kind: ChangeKind,
  columns: readonly string[],
  before: DatabaseRow | undefined,
  after: DatabaseRow | undefined,
): Json | undefined {
  if (after === undefined) return { delete: null };
  const row: Json = {};
  for (const column of columns) {
    const type = columnTypeOf(after.schema, column);
    const datum = columnDatum(after, column) as Datum;
    // A new row leaves out what holds its default.
    const old = before === undefined ? defaultDatum(type) : (columnDatum(before, column) as Datum);
    if (equalDatums(old, datum)) continue;
    row[column] = encodeDatum(before === undefined ? datum : diffDatums(old, datum, type), type);
  }
  if (kind === "modify" && Object.keys(row).length === 0) return undefined;
  return { [kind]: row };
}

function isShown(where: readonly ParsedCondition[] | undefined, row: DatabaseRow): boolean {
  return where === undefined || matchesAny(row, where);
}

function parseTable(table: TableSchema, json: unknown, conditional: boolean): MonitoredTable {
  const requests = Array.isArray(json) ? json : [json];
  const columns: Partial<Record<ChangeKind, string[]>> = {};
  const seen = new Set<string>();
  const wheres: (readonly unknown[] | undefined)[] = [];
  for (const request of requests) {
    const parser = new ObjectParser(request, `table ${table.name}`);
    const where = conditional ? parser.optional("where", "array") : undefined;
    const named = parser.optional("columns", "array");
    const select = parser.optional("select", "object");
    parser.finish();
    const shown = parseColumns(table, named);
    for (const kind of parseSelect(select, table)) columns[kind] = [...(columns[kind] ?? []), ...shown];
    for (const column of shown) {
      if (seen.has(column)) throw syntaxError(`column ${column} mentioned more than once`, named);
      seen.add(column);
    }
    wheres.push(where);
  }
  return { table, columns, where: parseConditions(table, wheres) };
}

/** The columns named, or all but _uuid (RFC 7047, 4.1.5). */
function parseColumns(table: TableSchema, named: readonly unknown[] | undefined): readonly string[] {
  if (named === undefined) return ["_version", ...table.columns.keys()];
  for (const column of named) {
    if (typeof column !== "string") throw syntaxError("array of column names expected", named);
    checkColumn(table, column, named);
  }
  return named as string[];
}

function parseSelect(select: unknown, table: TableSchema): readonly ChangeKind[] {
  if (select === undefined) return KINDS;
  const parser = new ObjectParser(select, `table ${table.name} select`);
  const shown = KINDS.filter((kind) => parser.optional(kind, "boolean") !== false);
  parser.finish();
  return shown;
}

/** The new "where" of a condition change. */
function parseChange(json: unknown, table: string): readonly unknown[] | undefined {
  const parser = new ObjectParser(json, `table ${table}`);
  const columns = parser.optional("columns", "array");
  const where = parser.optional("where", "array");
  parser.finish();
  if (columns !== undefined) throw syntaxError("changing columns is unsupported", json);
  return where;
}

/** All conditions of several requests: a row is shown when any holds; undefined when every row is. */
function parseConditions(
  table: TableSchema,
  wheres: readonly (readonly unknown[] | undefined)[],
): ParsedCondition[] | undefined {
  // All are read before any decides, so that what is wrong is told.
  const parsed = wheres.map((where) => (where === undefined ? [] : parseWhere(table, where)));
  const isShowingAll = parsed.some((conditions) => conditions.length === 0 || conditions.includes(true));
  return isShowingAll ? undefined : parsed.flat();
}
