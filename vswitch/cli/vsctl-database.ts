// Database commands of vsctl: list, find, get, set, add, remove, clear, create, destroy, wait-until. Source: ovs-vsctl(8).
import {
  type Atom,
  type ColumnType,
  compareAtoms,
  type Datum,
  defaultDatum,
  describeType,
  encodeDatum,
  equalDatums,
  excludesAll,
  formatDatum,
  includesAll,
  indexOfKey,
  isMap,
  mapOf,
  OvsdbError,
  type OvsdbRow,
  pairsOf,
  pick,
  setOf,
  subtract,
  type TableSchema,
  union,
} from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { type Cell, formatTable } from "./table-text.js";
import { parseDatumText } from "./value-text.js";
import { command, type VsctlCommand, type VsctlContext } from "./vsctl-context.js";
import { columnNamed, findRecord, mustFind, shownColumn, tableNamed, typeOf } from "./vsctl-records.js";

const MANY = Number.POSITIVE_INFINITY;

export const DATABASE_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  ["list", command("TABLE [RECORD]...", 1, MANY, ["--if-exists", "--columns="], list, names())],
  ["find", command("TABLE [COLUMN[:KEY]=VALUE]...", 1, MANY, ["--columns="], find, names(1, checkColumn))],
  [
    "get",
    command("TABLE RECORD [COLUMN[:KEY]]...", 2, MANY, ["--if-exists", "--id="], get, names(2, checkShown)),
  ],
  [
    "set",
    command("TABLE RECORD COLUMN[:KEY]=VALUE...", 3, MANY, ["--if-exists"], set, names(2, checkColumn)),
  ],
  [
    "add",
    command("TABLE RECORD COLUMN [KEY=]VALUE...", 4, MANY, ["--if-exists"], add, names(2, columnNamed, 1)),
  ],
  [
    "remove",
    command(
      "TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...",
      4,
      MANY,
      ["--if-exists"],
      remove,
      names(2, columnNamed, 1),
    ),
  ],
  ["clear", command("TABLE RECORD COLUMN...", 3, MANY, ["--if-exists"], clear, names(2, columnNamed))],
  ["create", command("TABLE COLUMN[:KEY]=VALUE...", 2, MANY, ["--id="], create, prepareCreate)],
  ["destroy", command("TABLE [RECORD]...", 1, MANY, ["--if-exists", "--all"], destroy, names())],
  [
    "wait-until",
    command("TABLE RECORD [COLUMN[:KEY]=VALUE]...", 2, MANY, [], waitUntil, names(2, checkColumn)),
  ],
  ["comment", command("[ARG]...", 0, MANY, [], () => undefined)],
];

type CheckWord = (table: TableSchema, word: string) => unknown;

/** Checks the table, and `count` words from the one at `from` on, of what columns they name. */
function names(from = 1, check?: CheckWord, count = MANY): VsctlCommand["prepare"] {
  return (context, args) => {
    const table = tableNamed(context, args[0] as string);
    if (context.options.has("--columns")) columnsAsked(context, table);
    if (check !== undefined) for (const word of args.slice(from, from + count)) check(table, word);
  };
}

/** Told before anything is done. */
function prepareCreate(
  context: Pick<VsctlContext, "draft" | "options" | "warn">,
  [name = ""]: readonly string[],
): void {
  const table = tableNamed(context, name);
  if (!context.options.has("--id") && !table.isRoot)
    context.warn(`applying "create" command to table ${table.name} without --id option will have no effect`);
}

/** Of COLUMN[:KEY] and of COLUMN[:KEY]=VALUE. */
function checkShown(table: TableSchema, word: string): void {
  shownColumn(table, word.split(":", 1)[0] as string);
}

function checkColumn(table: TableSchema, word: string): void {
  columnNamed(table, /^[\w-]*/.exec(word)?.[0] ?? "");
}

// --- Values

/** The text as a value; @NAME stands for a row of the same line. */
function parseValue(context: VsctlContext, text: string, type: ColumnType): Datum {
  const refers = type.key.type === "uuid" || type.value?.type === "uuid";
  const resolved = refers ? text.replaceAll(/@[\w-]+/g, (name) => context.symbols.use(name)) : text;
  try {
    return parseDatumText(resolved, type);
  } catch (thrown) {
    if (!(thrown instanceof OvsdbError)) throw thrown;
    const isConstraint = thrown.error === "constraint violation";
    throw commandError(isConstraint ? `constraint violation: ${thrown.details}` : thrown.details);
  }
}

/** As many as one likes, but one at least: what add and remove take. */
function some(type: ColumnType): ColumnType {
  return { ...type, min: 1, max: Number.POSITIVE_INFINITY };
}

// --- Reading

function columnsAsked(context: Pick<VsctlContext, "options">, table: TableSchema): string[] {
  const asked = context.options.get("--columns");
  if (asked === undefined) return ["_uuid", ...[...table.columns.keys()].sort()];
  const names = asked.split(/[,\s]+/).filter((name) => name !== "");
  if (names.length === 0) throw commandError("must specify at least one column name");
  return names.map((name) => shownColumn(table, name));
}

function printRows(context: VsctlContext, table: TableSchema, rows: readonly OvsdbRow[]): void {
  const columns = columnsAsked(context, table);
  const cells = rows.map((row) =>
    columns.map((column): Cell => ({ datum: datumOf(row, column), type: typeOf(table, column) })),
  );
  context.table(formatTable(columns, cells, context.style));
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

interface Condition {
  readonly column: string;
  readonly key: string | undefined;
  readonly relation: string;
  readonly value: string;
}

/** COLUMN[:KEY] RELATION VALUE. */
function splitCondition(table: TableSchema, text: string): Condition {
  const match =
    /^([A-Za-z_][\w-]*)(?::((?:"[^"]*"|[^=!<>{])+))?(\{(?:=|!=|<=|>=|<|>|in|not-in)\}|!=|<=|>=|=|<|>)([\s\S]+)$/.exec(
      text,
    );
  if (match === null) {
    columnNamed(table, /^[\w-]*/.exec(text)?.[0] ?? "");
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
  return { column: columnNamed(table, word), key, relation, value };
}

/** The value is looked at when there is a row to compare it with. */
function parseCondition(context: VsctlContext, table: TableSchema, text: string): (row: OvsdbRow) => boolean {
  const { column, key, relation, value } = splitCondition(table, text);
  const type = typeOf(table, column);
  if (key === undefined)
    return (row) => holds(relation, datumOf(row, column), parseValue(context, value, type));
  const wantedKey = unquote(key);
  const wantedType: ColumnType = { key: type.value ?? type.key, min: 0, max: Number.POSITIVE_INFINITY };
  return (row) => {
    const wanted = parseValue(context, value, wantedType);
    const pair = pairsOf(row.datum(column)).find(([one]) => String(one) === wantedKey);
    // Of sets only a key that is missing says something.
    if (pair === undefined) return relation.startsWith("{") && holds(relation, setOf([]), wanted);
    return holds(relation, setOf([pair[1]]), wanted);
  };
}

function holds(relation: string, have: Datum, wanted: Datum): boolean {
  const [within, contains] = [includesAll(wanted, have), includesAll(have, wanted)];
  switch (relation) {
    case "=":
    case "{=}":
      return equalDatums(have, wanted);
    case "!=":
    case "{!=}":
      return !equalDatums(have, wanted);
    case "<":
      return compareDatums(have, wanted) < 0;
    case ">":
      return compareDatums(have, wanted) > 0;
    case "<=":
      return compareDatums(have, wanted) <= 0;
    case ">=":
      return compareDatums(have, wanted) >= 0;
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

/** What has more members is larger; else the first that differs decides, keys before values. */
function compareDatums(a: Datum, b: Datum): number {
  if (a.keys.length !== b.keys.length) return a.keys.length - b.keys.length;
  const differences = [
    ...a.keys.map((key, i) => compareAtoms(key, b.keys[i] as Atom)),
    ...(a.values ?? []).map((value, i) => compareAtoms(value, b.values?.[i] as Atom)),
  ];
  return differences.find((one) => one !== 0) ?? 0;
}

function unquote(text: string): string {
  return text.startsWith('"') ? text.slice(1, -1) : text;
}

function get(context: VsctlContext, [name = "", record = "", ...wanted]: readonly string[]): undefined {
  const id = context.options.get("--id");
  if (id !== undefined && context.options.has("--if-exists"))
    throw commandError("--if-exists and --id may not be specified together");
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  if (row === undefined) return;
  if (id !== undefined) context.symbols.name(id, row.uuid);
  const values: unknown[] = [];
  context.data(values);
  for (const one of wanted) {
    const [word, key] = one.split(/:(.*)/s, 2) as [string, string | undefined];
    const column = shownColumn(table, word);
    const type = typeOf(table, column);
    if (key === undefined) {
      const datum = datumOf(row, column);
      values.push(encodeDatum(datum, type));
      context.out(formatDatum(datum, type));
      continue;
    }
    if (!isMap(type)) throw commandError(`cannot specify key to get for non-map column ${column}`);
    const pair = pairsOf(row.datum(column)).find(([first]) => String(first) === unquote(key));
    if (pair === undefined && !context.options.has("--if-exists"))
      throw commandError(`no key "${unquote(key)}" in ${table.name} record "${record}" column ${column}`);
    const single: ColumnType = { key: type.value ?? type.key, min: 1, max: 1 };
    values.push(pair === undefined ? null : encodeDatum(setOf([pair[1]]), single));
    context.out(pair === undefined ? "" : formatDatum(setOf([pair[1]]), single));
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

function checkMutable(table: TableSchema, column: string): void {
  if (table.columns.get(column)?.mutable === false)
    throw commandError(`cannot modify read-only column ${column} in table ${table.name}`);
}

/** COLUMN[:KEY]=VALUE of `text` on the row. */
export function applySetting(context: VsctlContext, row: OvsdbRow, text: string, isNew = false): void {
  const { column, key, value } = splitSetting(row.schema, text);
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
    `${type.key.type === "string" ? quoted(key) : key}=${type.value?.type === "string" ? quoted(value) : value}`,
    type,
  );
  const others = pairsOf(now).filter(([first]) => first !== pair.keys[0]);
  context.draft.set(row, column, mapOf([...others, ...pairsOf(pair)]));
}

function splitSetting(table: TableSchema, text: string): Omit<Condition, "relation"> {
  const match = /^([A-Za-z_][\w-]*)(?::("(?:[^"\\]|\\.)*"|[^":=, [\]{}!<>]+))?=([\s\S]+)$/.exec(text);
  if (match === null) {
    columnNamed(table, /^[\w-]*/.exec(text)?.[0] ?? "");
    throw commandError(`${text}: argument does not end in "=" followed by a value.`);
  }
  const [, word, key, value] = match as unknown as [string, string, string | undefined, string];
  return { column: columnNamed(table, word), key, value };
}

function set(context: VsctlContext, [name = "", record = "", ...settings]: readonly string[]): undefined {
  const row = mustFind(context, tableNamed(context, name), record);
  if (row !== undefined) for (const text of settings) applySetting(context, row, text);
}

/** The row and the column that may be changed, which a command names first; nothing when --if-exists allows that. */
function place(context: VsctlContext, [name = "", record = "", word = ""]: readonly string[]) {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  const column = columnNamed(table, word);
  checkMutable(table, column);
  return row === undefined ? undefined : { table, row, column, type: typeOf(table, column) };
}

function add(context: VsctlContext, words: readonly string[]): undefined {
  const found = place(context, words);
  if (found === undefined) return;
  const { row, column, type } = found;
  let datum = row.datum(column);
  for (const text of words.slice(3)) datum = union(datum, parseValue(context, text, some(type)));
  const { length } = datum.keys;
  if (length > type.max)
    context.draft.refusal ??= new OvsdbError(
      "constraint violation",
      `Attempted to store ${length} elements in ${describeType(type)}.`,
    );
  context.draft.set(row, column, datum);
}

function remove(context: VsctlContext, words: readonly string[]): undefined {
  const found = place(context, words);
  if (found === undefined) return;
  const { table, row, column, type } = found;
  let datum = row.datum(column);
  for (const text of words.slice(3)) {
    if (isMap(type) && !text.includes("=")) {
      const keys = parseValue(context, text, some({ key: type.key, min: 1, max: 1 }));
      const gone = new Set(keys.keys.map((key) => indexOfKey(datum, key)));
      datum = pick(
        datum,
        datum.keys.map((_, i) => i).filter((i) => !gone.has(i)),
      );
    } else datum = subtract(datum, parseValue(context, text, some(type)));
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
  if (row === undefined) return;
  for (const word of words) {
    const column = columnNamed(table, word);
    checkMutable(table, column);
    const type = typeOf(table, column);
    if (type.min > 0)
      throw commandError(
        `"clear" operation cannot be applied to column ${column} of table ${table.name}, which is not allowed to be empty`,
      );
    context.draft.set(row, column, defaultDatum(type));
  }
}

function create(context: VsctlContext, [name = "", ...settings]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const id = context.options.get("--id");
  const row = context.draft.insert(
    table.name,
    id === undefined ? undefined : context.symbols.create(id, table.isRoot),
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
  if (!all && records.length === 0) context.warn("either --all or records argument should be specified");
  for (const row of rows) context.draft.remove(row);
}
