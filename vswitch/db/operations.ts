// The operations of a transaction (RFC 7047, 5.2), each on the transaction's own view.
import { randomUUID } from "node:crypto";
import { isObject, stringifyExactJson } from "../../base/json/index.js";
import {
  type BaseType,
  checkAtom,
  type Datum,
  defaultDatum,
  encodeDatum,
  equalDatums,
  isIdentifier,
  isUuid,
  ObjectParser,
  OvsdbError,
  parseDatum,
  syntaxError,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { columnTypeOf, matchesAll, type ParsedCondition, parseWhere, uuidOf } from "./conditions.js";
import { columnDatum, type DatabaseRow } from "./database.js";
import { applyMutations, immutable, isMutable, parseMutations } from "./mutations.js";
import type { Transaction } from "./transaction.js";

type Json = Readonly<Record<string, unknown>>;

/** Thrown by a `wait` that does not hold yet: the transaction is to be tried again when the database changed. */
export class WaitUnmet {
  /** From the start of the transaction; Infinity to wait for ever. */
  readonly timeoutMs: number;
  constructor(timeoutMs: number) {
    this.timeoutMs = timeoutMs;
  }
}

export interface OperationContext {
  readonly transaction: Transaction;
  readonly names: RowNames;
  /** Since the transaction arrived. */
  readonly elapsedMs: number;
  readonly ownsLock: (lock: string) => boolean;
  /** The name of a database that clients may only read. */
  readonly reserved: string | undefined;
  durable: boolean;
}

/** The uuids that the names of a transaction stand for; a name may be used before its insert. */
export class RowNames {
  readonly #uuids = new Map<string, string>();
  readonly #inserted = new Set<string>();

  /** Looks ahead, so that a name means the uuid that its insert asks for wherever it is used. */
  constructor(operations: readonly unknown[]) {
    for (const operation of operations) {
      const { "uuid-name": name, uuid } = (operation ?? {}) as Json;
      if (isIdentifier(name) && isUuid(uuid) && !this.#uuids.has(name))
        this.#uuids.set(name, uuid.toLowerCase());
    }
  }

  readonly resolve = (name: string): string => {
    const known = this.#uuids.get(name);
    if (known !== undefined) return known;
    const uuid: string = randomUUID();
    this.#uuids.set(name, uuid);
    return uuid;
  };

  /** The uuid for an insert under `name`. Throws "duplicate uuid-name" the second time. */
  define(name: string): string {
    if (this.#inserted.has(name))
      throw new OvsdbError(
        "duplicate uuid-name",
        'This "uuid-name" appeared on an earlier "insert" operation.',
        name,
      );
    this.#inserted.add(name);
    return this.resolve(name);
  }
}

type Execute = (parser: ObjectParser, context: OperationContext) => Json;

/** `isRead` for what may be asked of a database that clients only read. */
const OPERATIONS: ReadonlyMap<string, { readonly isRead: boolean; readonly execute: Execute }> = new Map([
  ["insert", { isRead: false, execute: insert }],
  ["select", { isRead: true, execute: select }],
  ["update", { isRead: false, execute: update }],
  ["mutate", { isRead: false, execute: mutate }],
  ["delete", { isRead: false, execute: remove }],
  ["wait", { isRead: true, execute: wait }],
  ["commit", { isRead: false, execute: commit }],
  ["abort", { isRead: true, execute: abort }],
  ["comment", { isRead: true, execute: comment }],
  ["assert", { isRead: true, execute: assertLock }],
]);

/**
 * Carries out one operation, which errors call `name`, and returns its result. Throws OvsdbError or WaitUnmet; a fault
 * in the operation's members goes before what came of it.
 */
export function executeOperation(json: unknown, name: string, context: OperationContext): Json {
  const parser = new ObjectParser(json, name);
  const op = parser.required("op", "id");
  const known = OPERATIONS.get(op);
  if (known === undefined) parser.fail(`No operation "${op}"`);
  const { execute, isRead } = known ?? { execute: nothing, isRead: true };
  let result: Json;
  try {
    result = execute(parser, context);
  } catch (thrown) {
    if (thrown instanceof OvsdbError || thrown instanceof WaitUnmet) parser.finish();
    throw thrown;
  }
  parser.finish();
  const { reserved } = context;
  if (isRead || reserved === undefined) return result;
  const details = `${op} operation not allowed on table in reserved database ${reserved}`;
  throw new OvsdbError("not allowed", details);
}

/** For an operation that is none: its parser has failed. */
function nothing(): Json {
  return {};
}

function takeTable(parser: ObjectParser, transaction: Transaction): TableSchema {
  const name = parser.required("table", "id");
  const table = transaction.table(name);
  if (table === undefined) parser.fail(`No table named ${name}.`);
  return table as TableSchema;
}

function insert(parser: ObjectParser, { transaction, names }: OperationContext): Json {
  const table = takeTable(parser, transaction);
  const name = parser.optional("uuid-name", "id");
  const wanted = parser.optional("uuid", "string");
  const row = parser.required("row", "object");
  parser.check();
  if (wanted !== undefined) checkUuid(wanted, table, transaction);
  const uuid = name === undefined ? (wanted?.toLowerCase() ?? randomUUID()) : names.define(name);
  const data = parseRow(table, row, names);
  // ovsdb-server takes these two along without a word; a row's identity is not the client's to choose here.
  for (const column of ["_uuid", "_version"]) data.delete(column);
  checkDefaults(table, data);
  transaction.insert(table, uuid, data);
  return { uuid: ["uuid", uuid] };
}

function checkUuid(wanted: string, table: TableSchema, transaction: Transaction): void {
  if (!isUuid(wanted)) throw syntaxError("bad uuid", wanted);
  if (transaction.isFree(table, wanted.toLowerCase())) return;
  throw new OvsdbError(
    "duplicate uuid",
    "This UUID would duplicate a UUID already present within the table or deleted within the same transaction.",
    wanted,
  );
}

function select(parser: ObjectParser, { transaction, names }: OperationContext): Json {
  const table = takeTable(parser, transaction);
  const conditions = parser.required("where", "array");
  const named = parser.optional("columns", "array");
  parser.check();
  const where = parseWhere(table, conditions, names.resolve);
  const columns = parseColumns(table, named);
  // Distinct rows only, as seen in these columns.
  const distinct = new Map<string, Json>();
  for (const row of matching(transaction, table, where)) {
    const json = encodeRow(row, columns);
    distinct.set(stringifyExactJson(json), json);
  }
  return { rows: [...distinct.values()] };
}

function update(parser: ObjectParser, { transaction, names }: OperationContext): Json {
  const table = takeTable(parser, transaction);
  const conditions = parser.required("where", "array");
  const row = parser.required("row", "object");
  parser.check();
  const data = parseRow(table, row, names);
  for (const column of data.keys()) {
    if (!isMutable(table, column)) throw immutable("update", table, column, parser.json);
  }
  const rows = matching(transaction, table, parseWhere(table, conditions, names.resolve));
  for (const old of rows) transaction.update(old, data);
  return { count: rows.length };
}

function mutate(parser: ObjectParser, { transaction, names }: OperationContext): Json {
  const table = takeTable(parser, transaction);
  const conditions = parser.required("where", "array");
  const asked = parser.required("mutations", "array");
  parser.check();
  const mutations = parseMutations(table, asked, names.resolve);
  const rows = matching(transaction, table, parseWhere(table, conditions, names.resolve));
  for (const row of rows)
    transaction.update(
      row,
      applyMutations((column) => row.datum(column), mutations),
    );
  return { count: rows.length };
}

function remove(parser: ObjectParser, { transaction, names }: OperationContext): Json {
  const conditions = parser.required("where", "array");
  const table = takeTable(parser, transaction);
  parser.check();
  const rows = matching(transaction, table, parseWhere(table, conditions, names.resolve));
  for (const row of rows) transaction.remove(row);
  return { count: rows.length };
}

function wait(parser: ObjectParser, { transaction, names, elapsedMs }: OperationContext): Json {
  const timeout = parser.optional("timeout", "integer") ?? Number.POSITIVE_INFINITY;
  const conditions = parser.required("where", "array");
  const named = parser.optional("columns", "array");
  const until = parser.required("until", "string");
  const wanted = parser.required("rows", "array");
  const table = takeTable(parser, transaction);
  parser.check();
  const where = parseWhere(table, conditions, names.resolve);
  const columns = parseColumns(table, named, [...table.columns.keys()]);
  if (timeout < 0) throw syntaxError("timeout must be nonnegative", timeout);
  if (until !== "==" && until !== "!=") throw syntaxError('"until" must be "==" or "!="', until);
  const key = (datums: readonly Datum[]): string => stringifyExactJson(datums);
  const expected = new Set(
    wanted.map((json: unknown) => {
      const row = parseRow(table, json, names);
      return key(columns.map((column) => row.get(column) ?? defaultDatum(columnTypeOf(table, column))));
    }),
  );
  const actual = new Set(
    matching(transaction, table, where).map((row) =>
      key(columns.map((column) => columnDatum(row, column) as Datum)),
    ),
  );
  const equal = actual.size === expected.size && [...actual].every((row) => expected.has(row));
  if (equal === (until === "==")) return {};
  const timeoutMs = Number(timeout);
  if (elapsedMs < timeoutMs) throw new WaitUnmet(timeoutMs);
  const waitedMs = Math.trunc(elapsedMs);
  const details = waitedMs > 0 ? `"wait" timed out after ${waitedMs} ms` : '"where" clause test failed';
  throw new OvsdbError("timed out", details);
}

function commit(parser: ObjectParser, context: OperationContext): Json {
  if (parser.required("durable", "boolean") === true) context.durable = true;
  return {};
}

function abort(): Json {
  throw new OvsdbError("aborted", "aborted by request");
}

function comment(parser: ObjectParser, { transaction }: OperationContext): Json {
  const text = parser.required("comment", "string");
  transaction.comment += transaction.comment === "" ? text : `\n${text}`;
  return {};
}

function assertLock(parser: ObjectParser, { ownsLock }: OperationContext): Json {
  const lock = parser.required("lock", "id");
  parser.check();
  if (!ownsLock(lock)) throw new OvsdbError("not owner", `Asserted lock ${lock} not held.`);
  return {};
}

function matching(
  transaction: Transaction,
  table: TableSchema,
  where: readonly ParsedCondition[],
): DatabaseRow[] {
  const uuid = uuidOf(where);
  if (uuid === undefined) return transaction.rows(table.name).filter((row) => matchesAll(row, where));
  const row = transaction.get(table.name, uuid);
  return row !== undefined && matchesAll(row, where) ? [row] : [];
}

function parseRow(table: TableSchema, json: unknown, names: RowNames): Map<string, Datum> {
  if (!isObject(json)) throw syntaxError("row must be JSON object", json);
  const data = new Map<string, Datum>();
  for (const [column, value] of Object.entries(json)) {
    const type = columnTypeOf(table, column, json);
    data.set(column, parseDatum(value, type, { resolveName: names.resolve }));
  }
  return data;
}

/** Throws "constraint violation" when a column that was not given would hold a default that its type excludes. */
function checkDefaults(table: TableSchema, data: ReadonlyMap<string, Datum>): void {
  for (const [column, { type }] of table.columns) {
    if (type.min === 0 || data.has(column)) continue;
    const { keys, values } = defaultDatum(type);
    for (const key of keys) checkAtom(key, type.key);
    for (const value of values ?? []) checkAtom(value, type.value as BaseType);
  }
}

/** The columns named, or else `all`: _uuid and _version too unless given. */
function parseColumns(
  table: TableSchema,
  named: readonly unknown[] | undefined,
  all: readonly string[] = ["_uuid", "_version", ...table.columns.keys()],
): readonly string[] {
  if (named === undefined) return all;
  const columns = new Set<string>();
  for (const column of named) {
    if (typeof column !== "string" || columns.has(column))
      throw syntaxError("array of distinct column names expected", named);
    checkColumn(table, column, named);
    columns.add(column);
  }
  return [...columns];
}

/** Throws "syntax error" unless `column`, named in `json`, is one of the table's, _uuid or _version. */
export function checkColumn(table: TableSchema, column: string, json: unknown): void {
  if (column === "_uuid" || column === "_version" || table.columns.has(column)) return;
  throw syntaxError(`${column} is not a valid column name`, json);
}

/** The JSON of `columns` of a row. */
export function encodeRow(row: DatabaseRow, columns: Iterable<string>): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const column of columns) {
    json[column] = encodeDatum(columnDatum(row, column) as Datum, columnTypeOf(row.schema, column));
  }
  return json;
}

/** True when `column` differs between two versions of a row. */
export function columnDiffers(before: DatabaseRow, after: DatabaseRow, column: string): boolean {
  return !equalDatums(columnDatum(before, column) as Datum, columnDatum(after, column) as Datum);
}
