// Database schemas ⇄ their JSON (RFC 7047, 3.2). Pure.
import { encodeAtom, parseDatum } from "./codec.js";
import { show, syntaxError } from "./errors.js";
import { isIdentifier } from "./identifiers.js";
import { type JsonObject, objectOf } from "./json-object.js";
import { ObjectParser } from "./object-parser.js";
import type {
  Atom,
  AtomicType,
  BaseType,
  ColumnSchema,
  ColumnType,
  DatabaseSchema,
  TableSchema,
} from "./types.js";

const ATOMIC_TYPES: readonly string[] = ["integer", "real", "boolean", "string", "uuid"];
const VERSION = /^\d+\.\d+\.\d+$/;

/** Parses a <database-schema>. Throws OvsdbError "syntax error" naming the table and column. */
export function parseSchema(json: unknown): DatabaseSchema {
  const parser = new ObjectParser(json, "database schema");
  const name = parser.required("name", "id");
  const version = parser.required("version", "string");
  const cksum = parser.optional("cksum", "string");
  const tableSchemas = parser.required("tables", "object");
  parser.finish();
  if (!VERSION.test(version)) throw syntaxError(`version ${show(version)} is not x.y.z`);
  const tables = new Map<string, TableSchema>();
  for (const [table, value] of Object.entries(tableSchemas)) {
    checkName(table, "table");
    tables.set(table, parseTable(table, value));
  }
  checkReferences(tables);
  return { name, version, tables: withRoots(tables), ...(cksum === undefined ? {} : { cksum }) };
}

/** A schema in which no table is a root is from before that notion: all of them are (RFC 7047, 3.2). */
function withRoots(tables: Map<string, TableSchema>): Map<string, TableSchema> {
  if ([...tables.values()].some((table) => table.isRoot)) return tables;
  return new Map([...tables].map(([name, table]) => [name, { ...table, isRoot: true }]));
}

function parseTable(name: string, json: unknown): TableSchema {
  const object = objectOf(json, `table ${name}`);
  const columns = new Map<string, ColumnSchema>();
  for (const [column, value] of Object.entries(objectOf(object["columns"], `columns of ${name}`))) {
    checkName(column, `column of ${name}`);
    const schema = objectOf(value, `column ${name}.${column}`);
    const type = parseColumnType(schema["type"], `${name}.${column}`);
    columns.set(column, {
      type,
      ephemeral: booleanOf(schema["ephemeral"], false, `${name}.${column}.ephemeral`),
      // A weak reference goes with its row, whatever the schema says.
      mutable: booleanOf(schema["mutable"], true, `${name}.${column}.mutable`) || isWeak(type),
    });
  }
  const maxRows = integerOf(object["maxRows"], `${name}.maxRows`) ?? Number.POSITIVE_INFINITY;
  const indexes = parseIndexes(object["indexes"], name, columns);
  return { name, columns, maxRows, indexes, isRoot: booleanOf(object["isRoot"], false, `${name}.isRoot`) };
}

function isWeak({ key, value }: ColumnType): boolean {
  return key.refType === "weak" || value?.refType === "weak";
}

function parseIndexes(
  json: unknown,
  table: string,
  columns: ReadonlyMap<string, ColumnSchema>,
): readonly (readonly string[])[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw syntaxError(`indexes of ${table} are no array`);
  return json.map((index: unknown) => {
    if (!Array.isArray(index) || index.length === 0 || !index.every((column) => columns.has(column))) {
      throw syntaxError(`index ${show(index)} of ${table} does not list its columns`);
    }
    return index as string[];
  });
}

/** Parses a <type>. */
export function parseColumnType(json: unknown, where: string): ColumnType {
  if (typeof json === "string") return { key: parseBaseType(json, where), min: 1, max: 1 };
  const object = objectOf(json, `type of ${where}`);
  const min = integerOf(object["min"], `${where}.min`) ?? 1;
  const max =
    object["max"] === "unlimited"
      ? Number.POSITIVE_INFINITY
      : (integerOf(object["max"], `${where}.max`) ?? 1);
  if ((min !== 0 && min !== 1) || max < 1) throw syntaxError(`min or max of ${where} is out of range`);
  const key = parseBaseType(object["key"], where);
  if (object["value"] === undefined) return { key, min, max };
  return { key, value: parseBaseType(object["value"], where), min, max };
}

function parseBaseType(json: unknown, where: string): BaseType {
  if (typeof json === "string") return { type: atomicTypeOf(json, where) };
  const object = objectOf(json, `base type of ${where}`);
  const type = atomicTypeOf(object["type"], where);
  const number = (key: string): number | bigint | undefined => {
    const value = object[key];
    if (value !== undefined && typeof value !== "number" && typeof value !== "bigint")
      throw syntaxError(`${key} of ${where} is no number`);
    return value;
  };
  const base: Record<string, unknown> = { type };
  for (const key of ["minInteger", "maxInteger", "minReal", "maxReal", "minLength", "maxLength"]) {
    const value = number(key);
    if (value !== undefined) base[key] = value;
  }
  if (object["enum"] !== undefined) {
    base["enum"] = parseDatum(object["enum"], { key: { type }, min: 1, max: Number.POSITIVE_INFINITY }).keys;
  }
  const { refTable, refType } = object;
  if (refTable !== undefined) {
    if (!isIdentifier(refTable)) throw syntaxError(`refTable of ${where} is no identifier`);
    base["refTable"] = refTable;
  }
  if (refType !== undefined) {
    if (refType !== "strong" && refType !== "weak")
      throw syntaxError(`refType of ${where} is neither strong nor weak`);
    base["refType"] = refType;
  }
  return base as unknown as BaseType;
}

function checkReferences(tables: ReadonlyMap<string, TableSchema>): void {
  for (const table of tables.values()) {
    for (const [column, { type }] of table.columns) {
      for (const base of [type.key, type.value]) {
        if (base?.refTable !== undefined && !tables.has(base.refTable)) {
          throw syntaxError(`${table.name}.${column} refers to table ${base.refTable}, which is not there`);
        }
      }
    }
  }
}

/** The <database-schema> of `schema`. */
export function encodeSchema(schema: DatabaseSchema): JsonObject {
  const tables: Record<string, unknown> = {};
  const saysRoot = [...schema.tables.values()].some((table) => !table.isRoot);
  for (const table of schema.tables.values()) tables[table.name] = encodeTable(table, saysRoot);
  const { name, version, cksum } = schema;
  return { name, version, ...(cksum === undefined ? {} : { cksum }), tables };
}

/** Where all tables are roots, none says so. */
function encodeTable(table: TableSchema, saysRoot: boolean): JsonObject {
  const columns: Record<string, unknown> = {};
  for (const [name, { type, ephemeral, mutable }] of table.columns) {
    columns[name] = {
      type: encodeColumnType(type),
      ...(ephemeral ? { ephemeral } : {}),
      ...(mutable ? {} : { mutable }),
    };
  }
  return {
    columns,
    ...(saysRoot && table.isRoot ? { isRoot: true } : {}),
    ...(Number.isFinite(table.maxRows) ? { maxRows: table.maxRows } : {}),
    ...(table.indexes.length > 0 ? { indexes: table.indexes } : {}),
  };
}

function encodeColumnType(type: ColumnType): unknown {
  const key = encodeBaseType(type.key);
  if (type.value === undefined && type.min === 1 && type.max === 1 && typeof key === "string") return key;
  return {
    key,
    ...(type.value === undefined ? {} : { value: encodeBaseType(type.value) }),
    ...(type.min === 1 ? {} : { min: type.min }),
    ...(type.max === 1 ? {} : { max: Number.isFinite(type.max) ? type.max : "unlimited" }),
  };
}

function encodeBaseType(base: BaseType): unknown {
  const keys = Object.keys(base);
  if (keys.length === 1) return base.type;
  return {
    ...base,
    ...(base.enum === undefined
      ? {}
      : { enum: ["set", base.enum.map((atom: Atom) => encodeAtom(atom, base.type))] }),
  };
}

function booleanOf(json: unknown, absent: boolean, what: string): boolean {
  if (json === undefined) return absent;
  if (typeof json !== "boolean") throw syntaxError(`${what} is no boolean`);
  return json;
}

function integerOf(json: unknown, what: string): number | undefined {
  if (json === undefined) return undefined;
  if (typeof json !== "number" || !Number.isSafeInteger(json) || json < 0)
    throw syntaxError(`${what} is no count`);
  return json;
}

function atomicTypeOf(json: unknown, where: string): AtomicType {
  if (typeof json !== "string" || !ATOMIC_TYPES.includes(json))
    throw syntaxError(`${show(json)} is no atomic type (${where})`);
  return json as AtomicType;
}

function checkName(name: string, what: string): void {
  if (!isIdentifier(name) || name.startsWith("_")) throw syntaxError(`${show(name)} cannot name a ${what}`);
}
