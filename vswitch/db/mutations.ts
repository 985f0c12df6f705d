// Mutations of a column's value: arithmetic, insert and delete (RFC 7047, 5.1). Pure.
import {
  type Atom,
  type BaseType,
  type ColumnSchema,
  type ColumnType,
  checkAtom,
  checkSize,
  type Datum,
  isMap,
  OvsdbError,
  parseDatum,
  setOf,
  show,
  subtract,
  syntaxError,
  type TableSchema,
  union,
} from "../../base/ovsdb/index.js";
import { unknownColumn } from "./conditions.js";

export interface ParsedMutation {
  readonly column: string;
  readonly type: ColumnType;
  readonly mutate: (datum: Datum) => Datum;
}

type Arithmetic = "+=" | "-=" | "*=" | "/=" | "%=";
const ARITHMETIC: readonly string[] = ["+=", "-=", "*=", "/=", "%="];

/** Parses an array of <mutation> for `table`. Immutable columns are refused. */
export function parseMutations(
  table: TableSchema,
  json: unknown,
  resolveName: (name: string) => string,
): ParsedMutation[] {
  if (!Array.isArray(json)) throw syntaxError(`"mutations" is no array: ${show(json)}`);
  return json.map((mutation: unknown) => parseMutation(table, mutation, resolveName));
}

function parseMutation(
  table: TableSchema,
  json: unknown,
  resolveName: (name: string) => string,
): ParsedMutation {
  if (!isMutation(json)) throw syntaxError(`a mutation is [column, mutator, value], not ${show(json)}`);
  const [column, mutator, value] = json;
  checkMutable(table, column);
  const { type } = table.columns.get(column) as ColumnSchema;
  const where = `${table.name}.${column}`;
  if (mutator === "insert" || mutator === "delete") {
    const isScalar = type.min === 1 && type.max === 1;
    if (isScalar) throw syntaxError(`${mutator} needs a set or map, and ${where} is neither`);
    return { column, type, mutate: partial(mutator, value, type, resolveName) };
  }
  if (!ARITHMETIC.includes(mutator)) throw new OvsdbError("unknown mutator", show(mutator));
  return { column, type, mutate: arithmetic(mutator as Arithmetic, value, type, where) };
}

function isMutation(json: unknown): json is readonly [string, string, unknown] {
  return (
    Array.isArray(json) && json.length === 3 && typeof json[0] === "string" && typeof json[1] === "string"
  );
}

/** Throws "unknown column", or "constraint violation" for a column that cannot be changed. */
export function checkMutable(table: TableSchema, column: string): void {
  const schema = table.columns.get(column);
  const isFixed = column === "_uuid" || column === "_version";
  if (schema === undefined && !isFixed) throw unknownColumn(table, column);
  if (schema?.mutable === true) return;
  throw new OvsdbError(
    "constraint violation",
    `column ${table.name}.${column} cannot be changed once its row is there`,
  );
}

function partial(
  mutator: "insert" | "delete",
  value: unknown,
  type: ColumnType,
  resolveName: (name: string) => string,
): (datum: Datum) => Datum {
  if (mutator === "insert") {
    const added = parseDatum(value, { ...type, min: 0 }, { resolveName });
    return (datum) => union(datum, added);
  }
  const gone = parseDeleted(value, type, resolveName);
  return (datum) => subtract(datum, gone);
}

/** From a map, either pairs or bare keys may be deleted. */
function parseDeleted(value: unknown, type: ColumnType, resolveName: (name: string) => string): Datum {
  const options = { resolveName, anySize: true, unconstrained: true };
  if (!isMap(type) || (Array.isArray(value) && value[0] === "map")) return parseDatum(value, type, options);
  return parseDatum(value, { key: type.key, min: 0, max: Number.POSITIVE_INFINITY }, options);
}

function arithmetic(
  mutator: Arithmetic,
  value: unknown,
  type: ColumnType,
  where: string,
): (datum: Datum) => Datum {
  const base: BaseType = type.key;
  if (isMap(type) || (base.type !== "integer" && !(base.type === "real" && mutator !== "%="))) {
    throw syntaxError(`${mutator} does not fit the type of ${where}`);
  }
  const [operand] = parseDatum(value, { key: { type: base.type }, min: 1, max: 1 }).keys as [number];
  return (datum) => {
    const results = datum.keys.map((atom) => compute(mutator, atom, operand, base, where));
    if (new Set(results).size === results.length) return setOf(results);
    throw new OvsdbError("constraint violation", `${mutator} makes two elements of ${where} equal`);
  };
}

function compute(mutator: Arithmetic, atom: Atom, operand: number, base: BaseType, where: string): number {
  if (operand === 0 && (mutator === "/=" || mutator === "%=")) {
    throw new OvsdbError("domain error", `division of ${where} by zero`);
  }
  const value = atom as number;
  let result: number;
  if (mutator === "+=") result = value + operand;
  else if (mutator === "-=") result = value - operand;
  else if (mutator === "*=") result = value * operand;
  else if (mutator === "%=") result = value % operand;
  else result = base.type === "integer" ? Math.trunc(value / operand) : value / operand;
  const fits = base.type === "integer" ? Number.isSafeInteger(result) : Number.isFinite(result);
  if (!fits) throw new OvsdbError("range error", `the result of ${mutator} on ${where} is out of range`);
  checkAtom(result + 0, base);
  return result + 0;
}

/** The row values after all `mutations`; the size of each column is checked once at the end. */
export function applyMutations(
  current: (column: string) => Datum,
  mutations: readonly ParsedMutation[],
): Map<string, Datum> {
  const result = new Map<string, Datum>();
  for (const { column, mutate } of mutations)
    result.set(column, mutate(result.get(column) ?? current(column)));
  for (const { column, type } of mutations) checkSize(result.get(column) as Datum, type);
  return result;
}
