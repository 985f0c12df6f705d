// Mutations of a column's value: arithmetic, insert and delete (RFC 7047, 5.1). Pure.

import { exactInteger } from "../../base/json/index.js";
import {
  type Atom,
  type BaseType,
  type ColumnType,
  checkAtom,
  checkSize,
  type Datum,
  isInteger64,
  isMap,
  OvsdbError,
  parseDatum,
  setOf,
  subtract,
  syntaxError,
  type TableSchema,
  union,
} from "../../base/ovsdb/index.js";
import { columnTypeOf, typeMismatch } from "./conditions.js";

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
  json: readonly unknown[],
  resolveName: (name: string) => string,
): ParsedMutation[] {
  return json.map((mutation: unknown) => parseMutation(table, mutation, resolveName));
}

function parseMutation(
  table: TableSchema,
  json: unknown,
  resolveName: (name: string) => string,
): ParsedMutation {
  if (!isMutation(json)) throw syntaxError("Parse error in mutation.", json);
  const [column, mutator, value] = json;
  const type = columnTypeOf(table, column, json);
  if (!isMutable(table, column)) throw immutable("mutate", table, column, json);
  if (mutator === "insert" || mutator === "delete") {
    if (type.min === 1 && type.max === 1) throw typeMismatch(mutator, column, type, json);
    return { column, type, mutate: partial(mutator, value, type, resolveName) };
  }
  if (!isArithmetic(mutator)) throw new OvsdbError("unknown mutator", `No mutator named ${mutator}.`);
  if (!isNumeric(type, mutator)) throw typeMismatch(mutator, column, type, json);
  return { column, type, mutate: arithmetic(mutator, value, type.key) };
}

function isArithmetic(mutator: string): mutator is Arithmetic {
  return ARITHMETIC.includes(mutator);
}

function isNumeric({ key, value }: ColumnType, mutator: Arithmetic): boolean {
  return value === undefined && (key.type === "integer" || (key.type === "real" && mutator !== "%="));
}

function isMutation(json: unknown): json is readonly [string, string, unknown] {
  return (
    Array.isArray(json) && json.length === 3 && typeof json[0] === "string" && typeof json[1] === "string"
  );
}

/** False for what stays as it was inserted: _uuid, _version and the columns that the schema says. */
export function isMutable(table: TableSchema, column: string): boolean {
  return table.columns.get(column)?.mutable === true;
}

/** For an attempt to change such a column by `json`. */
export function immutable(
  verb: "update" | "mutate",
  table: TableSchema,
  column: string,
  json: unknown,
): OvsdbError {
  const details = `Cannot ${verb} immutable column ${column} in table ${table.name}.`;
  return new OvsdbError("constraint violation", details, json);
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

/** From a map, either pairs or bare keys may be deleted; what is neither is refused for not being keys. */
function parseDeleted(value: unknown, type: ColumnType, resolveName: (name: string) => string): Datum {
  const options = { resolveName, anySize: true };
  if (!isMap(type)) return parseDatum(value, type, options);
  try {
    return parseDatum(value, type, options);
  } catch (thrown) {
    if (!(thrown instanceof OvsdbError)) throw thrown;
    return parseDatum(value, { key: type.key, min: 0, max: Number.POSITIVE_INFINITY }, options);
  }
}

function arithmetic(mutator: Arithmetic, value: unknown, base: BaseType): (datum: Datum) => Datum {
  const [operand] = parseDatum(value, { key: { type: base.type }, min: 1, max: 1 }).keys as [number | bigint];
  return (datum) => {
    const results = datum.keys.map((atom) => compute(mutator, atom, operand, base));
    if (new Set(results).size === results.length) return setOf(results);
    throw new OvsdbError("constraint violation", `Result of "${mutator}" operation contains duplicates.`);
  };
}

function compute(mutator: Arithmetic, atom: Atom, operand: number | bigint, base: BaseType): number | bigint {
  if (operand === 0 && (mutator === "/=" || mutator === "%=")) {
    throw new OvsdbError("domain error", "Division by zero.");
  }
  const value = atom as number | bigint;
  const result =
    base.type === "integer"
      ? computeInteger(mutator, BigInt(value), BigInt(operand))
      : computeReal(mutator, Number(value), Number(operand));
  if (result === undefined)
    throw new OvsdbError("range error", `Result of "${mutator}" operation is out of range.`);
  checkAtom(result, base);
  return result;
}

/** Undefined for what has no place in 64 bits. */
function computeInteger(mutator: Arithmetic, value: bigint, operand: bigint): number | bigint | undefined {
  const result = integerResult(mutator, value, operand);
  return isInteger64(result) ? exactInteger(result) : undefined;
}

function integerResult(mutator: Arithmetic, value: bigint, operand: bigint): bigint {
  switch (mutator) {
    case "+=":
      return value + operand;
    case "-=":
      return value - operand;
    case "*=":
      return value * operand;
    case "/=":
      return value / operand;
    case "%=":
      return value % operand;
  }
}

/** Undefined for what no real can hold. */
function computeReal(mutator: Arithmetic, value: number, operand: number): number | undefined {
  let result: number;
  if (mutator === "+=") result = value + operand;
  else if (mutator === "-=") result = value - operand;
  else if (mutator === "*=") result = value * operand;
  else result = value / operand;
  return Number.isFinite(result) ? result + 0 : undefined;
}

/** The row values after all `mutations`, each of which must leave a size that its column may have. */
export function applyMutations(
  current: (column: string) => Datum,
  mutations: readonly ParsedMutation[],
): Map<string, Datum> {
  const result = new Map<string, Datum>();
  for (const { column, type, mutate } of mutations) {
    const mutated = mutate(result.get(column) ?? current(column));
    checkSize(mutated, type);
    result.set(column, mutated);
  }
  return result;
}
