// Database commands of vsctl: list, find, get, set, add, remove, clear, create, destroy, wait-until. Source: ovs-vsctl(8).
import {
  type ColumnType,
  type Datum,
  defaultDatum,
  encodeDatum,
  formatDatum,
  isMap,
  mapOf,
  type OvsdbRow,
  pairsOf,
  setOf,
  subtract,
  type TableSchema,
  union,
} from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { type Cell, formatTable } from "./table-text.js";
import { command, type VsctlCommand, type VsctlContext } from "./vsctl-context.js";
import {
  columnNamed,
  findRecord,
  isUuidColumn,
  mustFind,
  shownColumn,
  tableNamed,
  typeOf,
} from "./vsctl-records.js";
import { columnIn, isMet, parseAtom, parseValue, placeOf, settingOf } from "./vsctl-settings.js";

const MANY = Number.POSITIVE_INFINITY;

export const DATABASE_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  ["list", command("TABLE [RECORD]...", 1, MANY, ["--if-exists", "--columns="], list, names())],
  ["find", command("TABLE [COLUMN[:KEY]=VALUE]...", 1, MANY, ["--columns="], find, names(1, columnIn))],
  [
    "get",
    command("TABLE RECORD [COLUMN[:KEY]]...", 2, MANY, ["--if-exists", "--id="], get, names(2, checkShown)),
  ],
  ["set", command("TABLE RECORD COLUMN[:KEY]=VALUE...", 3, MANY, ["--if-exists"], set, names(2, columnIn))],
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
  ["wait-until", command("TABLE RECORD [COLUMN[:KEY]=VALUE]...", 2, MANY, [], waitUntil, names(2, columnIn))],
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

function checkShown(table: TableSchema, word: string): void {
  if (!isUuidColumn(word)) columnIn(table, word);
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
  const text = formatTable(columns, cells, context.style);
  // A row that is empty is a line nevertheless.
  context.table(rows.length === 0 && text === "" ? "" : `${text}\n`);
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
  const rows = context.draft.rows(table.name);
  printRows(
    context,
    table,
    rows.filter((row) => conditions.every((text) => isMet(context, row, text))),
  );
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
    const place = isUuidColumn(one) ? { column: "_uuid", key: undefined } : placeOf(table, one);
    const { column, key } = place;
    if (column !== "_uuid") context.draft.verify(row, column);
    const type = typeOf(table, column);
    if (key === undefined) {
      const datum = datumOf(row, column);
      values.push(encodeDatum(datum, type));
      context.out(formatDatum(datum, type));
      continue;
    }
    if (!isMap(type)) throw commandError(`cannot specify key to get for non-map column ${column}`);
    const wantedKey = parseAtom(context, key, type.key);
    const pair = pairsOf(row.datum(column)).find(([first]) => first === wantedKey);
    if (pair === undefined && !context.options.has("--if-exists"))
      throw commandError(`no key "${key}" in ${table.name} record "${record}" column ${column}`);
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
  const row = findRecord(context, table, record);
  return row !== undefined && conditions.every((text) => isMet(context, row, text)) ? undefined : "again";
}

// --- Writing

/** Of a row that the line has made, any column may be modified. */
function checkMutable({ draft }: VsctlContext, row: OvsdbRow, column: string): void {
  if (row.schema.columns.get(column)?.mutable === false && !draft.isNew(row))
    throw commandError(`cannot modify read-only column ${column} in table ${row.table}`);
}

/** COLUMN[:KEY]=VALUE of `text` on the row. */
export function applySetting(context: VsctlContext, row: OvsdbRow, text: string): void {
  const { column, key, value } = settingOf(row.schema, text);
  checkMutable(context, row, column);
  const type = typeOf(row.schema, column);
  if (key === undefined) {
    context.draft.set(row, column, parseValue(context, value, type));
    return;
  }
  if (type.value === undefined) throw commandError(`cannot specify key to set for non-map column ${column}`);
  const pair = [parseAtom(context, key, type.key), parseAtom(context, value, type.value)] as const;
  const now = (context.draft.row(row.table, row.uuid) ?? row).datum(column);
  const others = pairsOf(now).filter(([first]) => first !== pair[0]);
  context.draft.verify(row, column);
  context.draft.set(row, column, mapOf([...others, pair]));
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
  if (row === undefined) return undefined;
  checkMutable(context, row, column);
  return { table, row, column, type: typeOf(table, column) };
}

function add(context: VsctlContext, words: readonly string[]): undefined {
  const found = place(context, words);
  if (found === undefined) return;
  const { table, row, column, type } = found;
  const none = { keys: [], values: isMap(type) ? [] : undefined };
  const added = words
    .slice(3)
    .reduce((all: Datum, text) => union(all, parseValue(context, text, some(type))), none);
  if (context.isLast) {
    context.draft.insertInto(row, column, added);
    return;
  }
  const datum = union(row.datum(column), added);
  const { length } = datum.keys;
  if (length > type.max)
    throw commandError(
      `"add" operation would put ${length} ${isMap(type) ? "pairs" : "values"} in column ${column} of table ${table.name} but the maximum number is ${type.max}`,
    );
  context.draft.verify(row, column);
  context.draft.set(row, column, datum);
}

function remove(context: VsctlContext, words: readonly string[]): undefined {
  const found = place(context, words);
  if (found === undefined) return;
  const { table, row, column, type } = found;
  context.draft.verify(row, column);
  let datum = row.datum(column);
  for (const text of words.slice(3)) {
    datum = subtract(datum, removedBy(context, text, type));
  }
  if (datum.keys.length < type.min)
    throw commandError(
      `"remove" operation would put ${datum.keys.length} ${isMap(type) ? "pairs" : "values"} in column ${column} of table ${table.name} but the minimum number is ${type.min}`,
    );
  context.draft.set(row, column, datum);
}

/** Pairs to take from a map, or keys. */
function removedBy(context: VsctlContext, text: string, type: ColumnType): Datum {
  try {
    return parseValue(context, text, some(type));
  } catch (thrown) {
    if (!isMap(type)) throw thrown;
    return parseValue(context, text, some({ key: type.key, min: 1, max: 1 }));
  }
}

function clear(context: VsctlContext, [name = "", record = "", ...words]: readonly string[]): undefined {
  const table = tableNamed(context, name);
  const row = mustFind(context, table, record);
  if (row === undefined) return;
  for (const word of words) {
    const column = columnNamed(table, word);
    checkMutable(context, row, column);
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
  for (const text of settings) applySetting(context, row, text);
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
