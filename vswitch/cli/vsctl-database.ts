// Database commands of vsctl: list, find, get, set, add, remove, clear, create, destroy, wait-until. Source: ovs-vsctl(8).
import {
  type ColumnType,
  compareAtoms,
  type Datum,
  defaultDatum,
  equalDatums,
  excludesAll,
  includesAll,
  indexOfKey,
  isMap,
  isUuid,
  mapOf,
  OvsdbError,
  type OvsdbRow,
  pairsOf,
  pick,
  setOf,
  subtract,
  type TableSchema,
  UUID_TYPE,
  union,
} from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { type Cell, formatTable } from "./table-text.js";
import { formatDatum, parseDatumText } from "./value-text.js";
import type { VsctlCommand, VsctlContext, VsctlRun } from "./vsctl-context.js";

const MANY = Number.POSITIVE_INFINITY;

export const DATABASE_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  ["list", command("TABLE [RECORD]...", 1, MANY, ["--if-exists", "--columns="], list)],
  ["find", command("TABLE [COLUMN[:KEY]=VALUE]...", 1, MANY, ["--columns="], find)],
  ["get", command("TABLE RECORD [COLUMN[:KEY]]...", 2, MANY, ["--if-exists", "--id="], get)],
  ["set", command("TABLE RECORD COLUMN[:KEY]=VALUE...", 3, MANY, ["--if-exists"], set)],
  ["add", command("TABLE RECORD COLUMN [KEY=]VALUE...", 4, MANY, ["--if-exists"], add)],
  ["remove", command("TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...", 4, MANY, ["--if-exists"], remove)],
  ["clear", command("TABLE RECORD COLUMN...", 3, MANY, ["--if-exists"], clear)],
  ["create", command("TABLE COLUMN[:KEY]=VALUE...", 2, MANY, ["--id="], create)],
  ["destroy", command("TABLE [RECORD]...", 1, MANY, ["--if-exists", "--all"], destroy)],
  ["wait-until", command("TABLE RECORD [COLUMN[:KEY]=VALUE]...", 2, MANY, [], waitUntil)],
  ["comment", command("[TEXT]...", 0, MANY, [], () => undefined)],
];

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  options: readonly string[],
  run: VsctlRun,
): VsctlCommand {
  return { usage, argumentsMin, argumentsMax, options, run };
}

// --- Names

/** By name or a beginning that means only one, in any case. */
function tableNamed({ draft }: VsctlContext, name: string): TableSchema {
  const wanted = name.toLowerCase().replaceAll("-", "_");
  const all = [...draft.tables.values()];
  const exact = all.find((table) => table.name.toLowerCase() === wanted);
  const found = all.filter((table) => table.name.toLowerCase().startsWith(wanted));
  if (exact === undefined && found.length === 0) throw commandError(`unknown table "${name}"`);
  if (exact === undefined && found.length > 1) throw commandError(`multiple table names match "${name}"`);
  return exact ?? (found[0] as TableSchema);
}

function columnNamed(table: TableSchema, name: string): string {
  if (name === "_uuid") return name;
  const wanted = name.toLowerCase().replaceAll("-", "_");
  const all = [...table.columns.keys()];
  const exact = all.find((column) => column.toLowerCase() === wanted);
  const found = all.filter((column) => column.toLowerCase().startsWith(wanted));
  if (exact === undefined && found.length === 0)
    throw commandError(`${table.name} does not contain a column whose name matches "${name}"`);
  if (exact === undefined && found.length > 1)
    throw commandError(`${table.name} contains more than one column whose name matches "${name}"`);
  return exact ?? (found[0] as string);
}

function typeOf(table: TableSchema, column: string): ColumnType {
  return column === "_uuid" ? UUID_TYPE : (table.columns.get(column)?.type as ColumnType);
}

function findRecord(context: VsctlContext, table: TableSchema, record: string): OvsdbRow | undefined {
  const symbol = record.startsWith("@") ? context.symbols.get(record) : undefined;
  const uuid = symbol ?? (isUuid(record) ? record.toLowerCase() : undefined);
  const rows = context.draft.rows(table.name);
  if (uuid !== undefined) return rows.find((row) => row.uuid === uuid);
  if (record === "." && rows.length === 1) return rows[0];
  const column = ["name", "target"].find((one) => table.columns.has(one));
  return column === undefined ? undefined : rows.find((row) => row.string(column) === record);
}

/** Undefined only with --if-exists. */
function mustFind(context: VsctlContext, table: TableSchema, record: string): OvsdbRow | undefined {
  const row = findRecord(context, table, record);
  if (row === undefined && !context.options.has("--if-exists"))
    throw commandError(`no row "${record}" in table ${table.name}`);
  return row;
}

/** The text as a value; @NAME stands for a row of the same line. */
function parseValue(context: VsctlContext, text: string, type: ColumnType, anySize = false): Datum {
  const refers = type.key.type === "uuid" || type.value?.type === "uuid";
  const resolved = refers ? text.replaceAll(/@[\w-]+/g, (name) => context.symbols.get(name) ?? name) : text;
  try {
    return parseDatumText(resolved, type, { anySize });
  } catch (thrown) {
    if (!(thrown instanceof OvsdbError)) throw thrown;
    if (type.key.type === "integer" && thrown.error === "syntax error")
      throw commandError(`"${text}" is not a valid integer or range`);
    throw commandError(
      thrown.error === "constraint violation" ? `constraint violation: ${thrown.details}` : thrown.message,
    );
  }
}

// --- Reading

function columnsAsked(context: VsctlContext, table: TableSchema): string[] {
  const asked = context.options.get("--columns");
  if (asked === undefined) return ["_uuid", ...[...table.columns.keys()].sort()];
  return asked
    .split(/[,\s]+/)
    .filter((name) => name !== "")
    .map((name) => columnNamed(table, name));
}

function printRows(context: VsctlContext, table: TableSchema, rows: readonly OvsdbRow[]): void {
  const columns = columnsAsked(context, table);
  const cells = rows.map((row) =>
    columns.map((column): Cell => ({ datum: datumOf(row, column), type: typeOf(table, column) })),
  );
  const text = formatTable(columns, cells, context.style);
  if (text !== "") context.out(text);
}

function datumOf(row: OvsdbRow, column: string): Datum {
  return column === "_uuid" ? setOf([row.uuid]) : row.datum(column);
}

function list(context: VsctlContext, [name = "", ...records]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  columnsAsked(context, table);
  const rows =
    records.length === 0
      ? context.draft.rows(table.name)
      : records.flatMap((record) => mustFind(context, table, record) ?? []);
  printRows(context, table, rows);
}

function find(context: VsctlContext, [name = "", ...conditions]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  columnsAsked(context, table);
  const tests = conditions.map((text) => parseCondition(context, table, text));
  printRows(
    context,
    table,
    context.draft.rows(table.name).filter((row) => tests.every((test) => test(row))),
  );
}

const RELATIONS = [
  "=",
  "!=",
  "<",
  ">",
  "<=",
  ">=",
  "{=}",
  "{!=}",
  "{<}",
  "{>}",
  "{<=}",
  "{>=}",
  "{in}",
  "{not-in}",
];

/** COLUMN[:KEY] RELATION VALUE. */
function parseCondition(context: VsctlContext, table: TableSchema, text: string): (row: OvsdbRow) => boolean {
  const match =
    /^([A-Za-z_][\w-]*)(?::((?:"[^"]*"|[^=!<>{])+))?(\{(?:=|!=|<=|>=|<|>|in|not-in)\}|!=|<=|>=|=|<|>)([\s\S]*)$/.exec(
      text,
    );
  if (match === null) {
    const names = RELATIONS.map((one) => `"${one}"`);
    throw commandError(
      `${text}: argument does not end in ${names.slice(0, -1).join(", ")}, or ${names.at(-1)} followed by a value.`,
    );
  }
  const [, word, key, relation, value] = match as unknown as [
    string,
    string,
    string | undefined,
    string,
    string,
  ];
  const column = columnNamed(table, word);
  const type = typeOf(table, column);
  if (key === undefined) {
    const wanted = parseValue(context, value, type, true);
    return (row) => holds(relation, datumOf(row, column), wanted);
  }
  const wantedKey = unquote(key);
  const wanted = parseValue(context, value, { key: type.value ?? type.key, min: 1, max: 1 }, true);
  return (row) => {
    const pair = pairsOf(row.datum(column)).find(([one]) => String(one) === wantedKey);
    return pair === undefined
      ? relation === "!=" || relation === "{not-in}"
      : holds(relation, setOf([pair[1]]), wanted);
  };
}

function holds(relation: string, have: Datum, wanted: Datum): boolean {
  const [a, b] = [have.keys[0], wanted.keys[0]];
  const order =
    have.keys.length === 1 && a !== undefined && b !== undefined ? compareAtoms(a, b) : Number.NaN;
  const [within, contains] = [includesAll(wanted, have), includesAll(have, wanted)];
  switch (relation) {
    case "=":
    case "{=}":
      return equalDatums(have, wanted);
    case "!=":
    case "{!=}":
      return !equalDatums(have, wanted);
    case "<":
      return order < 0;
    case ">":
      return order > 0;
    case "<=":
      return order <= 0;
    case ">=":
      return order >= 0;
    case "{<}":
      return within && !contains;
    case "{>}":
      return contains && !within;
    case "{<=}":
    case "{in}":
      return within;
    case "{>=}":
      return contains;
    default:
      return excludesAll(have, wanted);
  }
}

function unquote(text: string): string {
  return text.startsWith('"') ? text.slice(1, -1) : text;
}

function get(context: VsctlContext, [name = "", record = "", ...wanted]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  if (row === undefined) return;
  const id = context.options.get("--id");
  if (id !== undefined) context.symbols.set(checkId(id), row.uuid);
  for (const one of wanted) {
    const [word, key] = one.split(/:(.*)/s, 2) as [string, string | undefined];
    const column = columnNamed(table, word);
    const type = typeOf(table, column);
    if (key === undefined) {
      context.out(formatDatum(datumOf(row, column), type));
      continue;
    }
    const pair = pairsOf(row.datum(column)).find(([first]) => String(first) === unquote(key));
    if (pair === undefined && !context.options.has("--if-exists"))
      throw commandError(`no key "${unquote(key)}" in ${table.name} record "${record}" column ${column}`);
    context.out(
      pair === undefined
        ? ""
        : formatDatum(setOf([pair[1]]), { key: type.value ?? type.key, min: 1, max: 1 }),
    );
  }
}

function waitUntil(
  context: VsctlContext,
  [name = "", record = "", ...conditions]: readonly string[],
): "again" | undefined {
  const table = tableNamed(context, name);
  const tests = conditions.map((text) => parseCondition(context, table, text));
  const row = findRecord(context, table, record);
  return row !== undefined && tests.every((test) => test(row)) ? undefined : "again";
}

// --- Writing

function checkId(id: string): string {
  if (!id.startsWith("@")) throw commandError(`row id "${id}" does not begin with "@"`);
  return id;
}

function checkMutable(table: TableSchema, column: string): void {
  if (column === "_uuid" || table.columns.get(column)?.mutable === false)
    throw commandError(`cannot modify read-only column ${column} in table ${table.name}`);
}

/** COLUMN[:KEY]=VALUE of `text` on the row. */
export function applySetting(context: VsctlContext, row: OvsdbRow, text: string, isNew = false): void {
  const match = /^([A-Za-z_][\w-]*)(?::((?:"(?:[^"\\]|\\.)*"|[^=])+))?=([\s\S]*)$/.exec(text);
  if (match === null) throw commandError(`${text}: argument does not end in "=" followed by a value.`);
  const [, word, key, value] = match as unknown as [string, string, string | undefined, string];
  const column = columnNamed(row.schema, word);
  if (!isNew) checkMutable(row.schema, column);
  const type = typeOf(row.schema, column);
  if (key === undefined) {
    context.draft.set(row, column, parseValue(context, value, type));
    return;
  }
  if (!isMap(type)) throw commandError(`cannot specify key to set for non-map column ${column}`);
  const now = (context.draft.row(row.table, row.uuid) ?? row).datum(column);
  const quoted = (part: string): string => (part.startsWith('"') ? part : JSON.stringify(part));
  const pair = parseValue(
    context,
    `${quoted(key)}=${value === "" ? '""' : type.value?.type === "string" ? quoted(value) : value}`,
    type,
    true,
  );
  const others = pairsOf(now).filter(([first]) => first !== pair.keys[0]);
  context.draft.set(row, column, mapOf([...others, ...pairsOf(pair)]));
}

function set(context: VsctlContext, [name = "", record = "", ...settings]: readonly string[]): undefined {
  const row = mustFind(context, tableNamed(context, name), record);
  if (row !== undefined) for (const text of settings) applySetting(context, row, text);
}

function add(
  context: VsctlContext,
  [name = "", record = "", word = "", ...values]: readonly string[],
): undefined {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  const column = columnNamed(table, word);
  checkMutable(table, column);
  if (row === undefined) return;
  const type = typeOf(table, column);
  let datum = row.datum(column);
  for (const text of values) datum = union(datum, parseValue(context, text, type, true));
  if (datum.keys.length > type.max)
    throw commandError(
      `"add" operation would put ${datum.keys.length} ${isMap(type) ? "pairs" : "values"} in column ${column} of table ${table.name} but the maximum number is ${type.max}`,
    );
  context.draft.set(row, column, datum);
}

function remove(
  context: VsctlContext,
  [name = "", record = "", word = "", ...values]: readonly string[],
): undefined {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  const column = columnNamed(table, word);
  checkMutable(table, column);
  if (row === undefined) return;
  const type = typeOf(table, column);
  let datum = row.datum(column);
  for (const text of values) {
    if (isMap(type) && !text.includes("=")) {
      const keys = parseValue(context, text, { key: type.key, min: 0, max: Number.POSITIVE_INFINITY }, true);
      const gone = new Set(keys.keys.map((key) => indexOfKey(datum, key)));
      datum = pick(
        datum,
        datum.keys.map((_, i) => i).filter((i) => !gone.has(i)),
      );
    } else datum = subtract(datum, parseValue(context, text, type, true));
  }
  if (datum.keys.length < type.min)
    throw commandError(
      `"remove" operation would put ${datum.keys.length} values in column ${column} of table ${table.name} but the minimum number is ${type.min}`,
    );
  context.draft.set(row, column, datum);
}

function clear(context: VsctlContext, [name = "", record = "", ...words]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  for (const word of words) {
    const column = columnNamed(table, word);
    checkMutable(table, column);
    const type = typeOf(table, column);
    if (type.min > 0)
      throw commandError(
        `"clear" operation cannot be applied to column ${column} of table ${table.name}, which is not allowed to be empty`,
      );
    if (row !== undefined) context.draft.set(row, column, defaultDatum(type));
  }
}

function create(context: VsctlContext, [name = "", ...settings]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const id = context.options.get("--id");
  if (id === undefined && !table.isRoot)
    context.warn(`applying "create" command to table ${table.name} without --id option will have no effect`);
  const row = context.draft.insert(
    table.name,
    id === undefined ? undefined : context.symbols.get(checkId(id)),
  );
  for (const text of settings) applySetting(context, row, text, true);
  context.out(row.uuid);
}

function destroy(context: VsctlContext, [name = "", ...records]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const all = context.options.has("--all");
  if (all && records.length > 0)
    throw commandError("--all and records argument should not be specified together");
  const rows = all
    ? context.draft.rows(table.name)
    : records.flatMap((record) => mustFind(context, table, record) ?? []);
  for (const row of rows) {
    unlink(context, row);
    context.draft.remove(row);
  }
}

/** Strong references would keep the row. */
function unlink({ draft }: VsctlContext, gone: OvsdbRow): void {
  for (const table of draft.tables.values()) {
    for (const [column, { type }] of table.columns) {
      if (type.key.refTable !== gone.table || type.value !== undefined || type.min > 0) continue;
      for (const row of draft.rows(table.name))
        if (row.strings(column).includes(gone.uuid)) draft.takeFrom(row, column, gone.uuid);
    }
  }
}
