// Conditions on rows: the "where" of operations and monitors (RFC 7047, 5.1). Pure.
import {
  type ColumnType,
  type Condition,
  type ConditionOperator,
  type Datum,
  describeType,
  equalDatums,
  excludesAll,
  includesAll,
  isMap,
  OvsdbError,
  parseDatum,
  syntaxError,
  type TableSchema,
  UUID_TYPE,
} from "../../base/ovsdb/index.js";
import { columnDatum, type DatabaseRow } from "./database.js";

/** `json` is where the column is named. */
export function unknownColumn(table: TableSchema, column: string, json: unknown): OvsdbError {
  return new OvsdbError("unknown column", `No column ${column} in table ${table.name}.`, json);
}

/** For an operator that does not go with the type of `column`. */
export function typeMismatch(operator: string, column: string, type: ColumnType, json: unknown): OvsdbError {
  const details = `"${operator}" operator may not be applied to column ${column} of type ${describeType(type)}.`;
  return syntaxError(`Type mismatch: ${details}`, json);
}

interface ColumnCondition {
  readonly column: string;
  readonly operator: ConditionOperator;
  readonly argument: Datum;
}

/** A test of one column, or what holds for every row or none. */
export type ParsedCondition = ColumnCondition | boolean;

const OPERATORS: readonly string[] = ["<", "<=", "==", "!=", ">=", ">", "includes", "excludes"];
const ORDERING: readonly string[] = ["<", "<=", ">=", ">"];

/** The type of a real column or of _uuid and _version. Throws "unknown column" for any other name in `json`. */
export function columnTypeOf(table: TableSchema, column: string, json?: unknown): ColumnType {
  if (column === "_uuid" || column === "_version") return UUID_TYPE;
  const schema = table.columns.get(column);
  if (schema === undefined) throw unknownColumn(table, column, json);
  return schema.type;
}

/** Parses an array of <condition>; a bare boolean in it holds for every row or for none (ovsdb-server(7), 5.1). */
export function parseWhere(
  table: TableSchema,
  json: readonly unknown[],
  resolveName?: (name: string) => string,
): ParsedCondition[] {
  return json.map((condition: unknown) => parseCondition(table, condition, resolveName));
}

function parseCondition(
  table: TableSchema,
  json: unknown,
  resolveName: ((name: string) => string) | undefined,
): ParsedCondition {
  if (typeof json === "boolean") return json;
  if (!isCondition(json)) throw syntaxError("Parse error in condition.", json);
  const [column, operator, value] = json;
  const type = columnTypeOf(table, column, json);
  if (!OPERATORS.includes(operator))
    throw new OvsdbError("unknown function", `No function named ${operator}.`);
  if (ORDERING.includes(operator) && !isOrdered(type)) throw typeMismatch(operator, column, type, json);
  const options = resolveName === undefined ? {} : { resolveName };
  return { column, operator, argument: parseDatum(value, argumentType(operator, type), options) };
}

function isCondition(json: unknown): json is Condition {
  return (
    Array.isArray(json) && json.length === 3 && typeof json[0] === "string" && typeof json[1] === "string"
  );
}

/** What a condition's value must be: one number to order by, part of a set or map, or a whole value. */
function argumentType(operator: ConditionOperator, type: ColumnType): ColumnType {
  if (ORDERING.includes(operator)) return { ...type, min: 1 };
  if (type.min === 1 && type.max === 1) return type;
  if (operator === "includes") return { ...type, min: 0 };
  return operator === "excludes" ? { ...type, min: 0, max: Number.POSITIVE_INFINITY } : type;
}

function isOrdered(type: ColumnType): boolean {
  return (type.key.type === "integer" || type.key.type === "real") && !isMap(type) && type.max === 1;
}

/** The uuid that every matching row must have, when one condition says so. */
export function uuidOf(where: readonly ParsedCondition[]): string | undefined {
  for (const condition of where) {
    if (typeof condition === "boolean") continue;
    const { column, operator, argument } = condition;
    if (column === "_uuid" && (operator === "==" || operator === "includes") && argument.keys.length === 1)
      return argument.keys[0] as string;
  }
  return undefined;
}

export function matchesAll(row: DatabaseRow, where: readonly ParsedCondition[]): boolean {
  return where.every((condition) => matches(row, condition));
}

export function matchesAny(row: DatabaseRow, where: readonly ParsedCondition[]): boolean {
  return where.some((condition) => matches(row, condition));
}

function matches(row: DatabaseRow, condition: ParsedCondition): boolean {
  if (typeof condition === "boolean") return condition;
  const { column, operator, argument } = condition;
  const datum = columnDatum(row, column) as Datum;
  switch (operator) {
    case "==":
      return equalDatums(datum, argument);
    case "!=":
      return !equalDatums(datum, argument);
    case "includes":
      return includesAll(datum, argument);
    case "excludes":
      return excludesAll(datum, argument);
    default:
      return inOrder(operator, datum, argument);
  }
}

function inOrder(operator: ConditionOperator, datum: Datum, argument: Datum): boolean {
  const [value] = datum.keys;
  const [limit] = argument.keys;
  // An empty optional number is never in order with anything (ovsdb-server(7), 5.1).
  if (value === undefined || limit === undefined) return false;
  switch (operator) {
    case "<":
      return value < limit;
    case "<=":
      return value <= limit;
    case ">":
      return value > limit;
    default:
      return value >= limit;
  }
}
