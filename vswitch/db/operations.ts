// The operations of a transaction (RFC 7047, 5.2), each on the transaction's own view.
import { randomUUID } from "node:crypto";
import {
  type BaseType,
  checkAtom,
  type Datum,
  defaultDatum,
  encodeDatum,
  equalDatums,
  isIdentifier,
  isUuid,
  OvsdbError,
  objectOf,
  parseDatum,
  show,
  syntaxError,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { columnTypeOf, matchesAll, type ParsedCondition, parseWhere, uuidOf } from "./conditions.js";
import { columnDatum, type DatabaseRow } from "./database.js";
import { applyMutations, checkMutable, parseMutations } from "./mutations.js";
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
      throw new OvsdbError("duplicate uuid-name", `two inserts are named ${name}`);
    this.#inserted.add(name);
    return this.resolve(name);
  }
}

type Execute = (operation: Json, context: OperationContext) => Json;

const OPERATIONS: ReadonlyMap<string, { readonly members: readonly string[]; readonly execute: Execute }> =
  new Map([
    ["insert", { members: ["table", "row", "uuid-name", "uuid"], execute: insert }],
    ["select", { members: ["table", "where", "columns"], execute: select }],
    ["update", { members: ["table", "where", "row"], execute: update }],
    ["mutate", { members: ["table", "where", "mutations"], execute: mutate }],
    ["delete", { members: ["table", "where"], execute: remove }],
    ["wait", { members: ["timeout", "table", "where", "columns", "until", "rows"], execute: wait }],
    ["commit", { members: ["durable"], execute: commit }],
    ["abort", { members: [], execute: abort }],
    ["comment", { members: ["comment"], execute: comment }],
    ["assert", { members: ["lock"], execute: assertLock }],
  ]);

/** Carries out one operation and returns its result. Throws OvsdbError or WaitUnmet. */
export function executeOperation(json: unknown, context: OperationContext): Json {
  const operation = objectOf(json, "an operation");
  const { op } = operation;
  const known = typeof op === "string" ? OPERATIONS.get(op) : undefined;
  if (known === undefined) throw syntaxError(`there is no operation ${show(op)}`);
  for (const member of Object.keys(operation)) {
    if (member !== "op" && !known.members.includes(member))
      throw syntaxError(`operation ${show(op)} takes no member ${show(member)}`);
  }
  return known.execute(operation, context);
}

function insert(operation: Json, { transaction, names }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const name = operation["uuid-name"];
  const wanted = operation["uuid"];
  if (name !== undefined && !isIdentifier(name))
    throw syntaxError(`"uuid-name" ${show(name)} is no identifier`);
  if (wanted !== undefined && !isUuid(wanted)) throw syntaxError(`"uuid" ${show(wanted)} is no uuid`);
  const uuid = name === undefined ? (wanted?.toLowerCase() ?? randomUUID()) : names.define(name);
  const data = parseRow(table, operation["row"], names);
  // ovsdb-server takes these two along without a word; a row's identity is not the client's to choose here.
  for (const column of ["_uuid", "_version"]) data.delete(column);
  checkDefaults(table, data);
  transaction.insert(table, uuid, data);
  return { uuid: ["uuid", uuid] };
}

function select(operation: Json, { transaction, names }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const rows = matching(transaction, table, parseWhere(table, operation["where"], names.resolve));
  const columns = parseColumns(table, operation["columns"]);
  // Distinct rows only, as seen in these columns.
  const distinct = new Map<string, Json>();
  for (const row of rows) {
    const json = encodeRow(row, columns);
    distinct.set(JSON.stringify(json), json);
  }
  return { rows: [...distinct.values()] };
}

function update(operation: Json, { transaction, names }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const data = parseRow(table, operation["row"], names);
  for (const column of data.keys()) checkMutable(table, column);
  const rows = matching(transaction, table, parseWhere(table, operation["where"], names.resolve));
  for (const row of rows) transaction.update(row, data);
  return { count: rows.length };
}

function mutate(operation: Json, { transaction, names }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const mutations = parseMutations(table, operation["mutations"], names.resolve);
  const rows = matching(transaction, table, parseWhere(table, operation["where"], names.resolve));
  for (const row of rows)
    transaction.update(
      row,
      applyMutations((column) => row.datum(column), mutations),
    );
  return { count: rows.length };
}

function remove(operation: Json, { transaction, names }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const rows = matching(transaction, table, parseWhere(table, operation["where"], names.resolve));
  for (const row of rows) transaction.remove(row);
  return { count: rows.length };
}

function wait(operation: Json, { transaction, names, elapsedMs }: OperationContext): Json {
  const table = transaction.table(operation["table"]);
  const where = parseWhere(table, operation["where"], names.resolve);
  const columns = parseColumns(table, operation["columns"] ?? [...table.columns.keys()]);
  const { until, rows: wanted } = operation;
  const timeoutMs = operation["timeout"] ?? Number.POSITIVE_INFINITY;
  const isDuration = timeoutMs === Number.POSITIVE_INFINITY || Number.isSafeInteger(timeoutMs);
  if (typeof timeoutMs !== "number" || !isDuration || timeoutMs < 0)
    throw syntaxError(`"timeout" ${show(timeoutMs)} is no duration`);
  if (until !== "==" && until !== "!=") throw syntaxError(`"until" is == or !=, not ${show(until)}`);
  if (!Array.isArray(wanted)) throw syntaxError(`"rows" is no array: ${show(wanted)}`);
  const key = (datums: readonly Datum[]): string => JSON.stringify(datums);
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
  if (elapsedMs < timeoutMs) throw new WaitUnmet(timeoutMs);
  throw new OvsdbError("timed out", `the rows of ${table.name} are not ${until} as given`);
}

function commit(operation: Json, context: OperationContext): Json {
  if (typeof operation["durable"] !== "boolean") throw syntaxError(`"durable" is no boolean`);
  context.durable ||= operation["durable"];
  return {};
}

function abort(): Json {
  throw new OvsdbError("aborted", "the transaction asked for it");
}

function comment(operation: Json, { transaction }: OperationContext): Json {
  const text = operation["comment"];
  if (typeof text !== "string") throw syntaxError(`"comment" is no string`);
  transaction.comment += transaction.comment === "" ? text : `\n${text}`;
  return {};
}

function assertLock(operation: Json, { ownsLock }: OperationContext): Json {
  const { lock } = operation;
  if (!isIdentifier(lock)) throw syntaxError(`"lock" ${show(lock)} is no identifier`);
  if (!ownsLock(lock)) throw new OvsdbError("not owner", `this client does not hold lock ${lock}`);
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
  const data = new Map<string, Datum>();
  for (const [column, value] of Object.entries(objectOf(json, `a row of ${table.name}`))) {
    const type = columnTypeOf(table, column);
    try {
      data.set(column, parseDatum(value, type, { resolveName: names.resolve }));
    } catch (thrown) {
      if (!(thrown instanceof OvsdbError)) throw thrown;
      throw new OvsdbError(thrown.error, `${table.name}.${column}: ${thrown.details}`);
    }
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

/** The columns named, or all with _uuid and _version. */
function parseColumns(table: TableSchema, json: unknown): readonly string[] {
  if (json === undefined) return ["_uuid", "_version", ...table.columns.keys()];
  if (!Array.isArray(json)) throw syntaxError(`"columns" is no array: ${show(json)}`);
  for (const column of json) checkColumn(table, column);
  if (new Set(json).size < json.length) throw syntaxError(`"columns" names a column twice: ${show(json)}`);
  return json as string[];
}

/** Throws "syntax error" unless `column` is one of the table's, _uuid or _version. */
export function checkColumn(table: TableSchema, column: unknown): void {
  if (column === "_uuid" || column === "_version") return;
  if (typeof column !== "string" || !table.columns.has(column)) {
    throw syntaxError(`${show(column)} is no column of ${table.name}`);
  }
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
