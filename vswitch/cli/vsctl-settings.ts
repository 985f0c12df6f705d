// COLUMN[:KEY] and what stands behind it in the words of a vsctl line: a value to set, or a relation and a value to compare
// with. Source: ovs-vsctl(8), Database Values and Database Commands.
import {
  type Atom,
  type BaseType,
  type ColumnType,
  compareAtoms,
  type Datum,
  equalDatums,
  excludesAll,
  includesAll,
  OvsdbError,
  type OvsdbRow,
  pairsOf,
  setOf,
  type TableSchema,
} from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { parseAtomText, parseDatumText } from "./value-text.js";
import { readToken } from "./value-token.js";
import type { VsctlContext } from "./vsctl-context.js";
import { columnNamed, typeOf } from "./vsctl-records.js";

interface Place {
  readonly column: string;
  /** As it was typed, with its quotes. */
  readonly key: string | undefined;
}

interface Setting extends Place {
  readonly operator: string;
  /** Never empty. */
  readonly value: string;
}

const RELATIONS = [
  ...["=", "!=", "<", ">", "<=", ">="],
  ...["{=}", "{!=}", "{<}", "{>}", "{<=}", "{>=}", "{in}", "{not-in}"],
];

/** The column that the word begins with. Throws COMMAND_FAILED, as all here do. */
export function columnIn(table: TableSchema, word: string): string {
  return readColumn(table, word).column;
}

/** Of COLUMN[:KEY]. */
export function placeOf(table: TableSchema, word: string): Place {
  const { end, ...place } = readPlace(table, word);
  if (end < word.length) throw commandError(`${word}: trailing garbage "${word.slice(end)}" in argument`);
  return place;
}

/** Of COLUMN[:KEY]=VALUE; of two operators that fit, the longer one is meant. */
export function settingOf(table: TableSchema, word: string, operators: readonly string[] = ["="]): Setting {
  const { column, key, end } = readPlace(table, word);
  const operator = operators
    .filter((one) => word.startsWith(one, end) && word.length > end + one.length)
    .reduce((best, one) => (one.length > best.length ? one : best), "");
  if (operator === "")
    throw commandError(`${word}: argument does not end in ${alternatives(operators)} followed by a value.`);
  return { column, key, operator, value: word.slice(end + operator.length) };
}

function readPlace(table: TableSchema, word: string): Place & { readonly end: number } {
  const { column, end } = readColumn(table, word);
  if (word[end] !== ":") return { column, key: undefined, end };
  const key = told(() => readToken(word, end + 1));
  return { column, key: key.text, end: key.end };
}

function readColumn(table: TableSchema, word: string): { readonly column: string; readonly end: number } {
  const { text, end } = told(() => readToken(word, 0));
  if (text === "") throw commandError(`${word}: missing column name`);
  return { column: columnNamed(table, text), end };
}

function alternatives(operators: readonly string[]): string {
  const names = operators.map((one) => `"${one}"`);
  return names.length === 1 ? (names[0] as string) : `${names.slice(0, -1).join(", ")}, or ${names.at(-1)}`;
}

/** The text as a value; @NAME stands for a row of the same line. */
export function parseValue(context: VsctlContext, text: string, type: ColumnType): Datum {
  return told(() => parseDatumText(text, type, (name, base) => context.symbols.use(name, base)));
}

export function parseAtom(context: VsctlContext, text: string, base: BaseType): Atom {
  return told(() => parseAtomText(text, base, (name, of) => context.symbols.use(name, of)));
}

/** A refusal as a command tells it. */
function told<Result>(parse: () => Result): Result {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof OvsdbError)) throw thrown;
    const isConstraint = thrown.error === "constraint violation";
    throw commandError(isConstraint ? `constraint violation: ${thrown.details}` : thrown.details);
  }
}

/** Whether the row is as COLUMN[:KEY] RELATION VALUE says. */
export function isMet(context: VsctlContext, row: OvsdbRow, word: string): boolean {
  const { column, key, operator, value } = settingOf(row.schema, word, RELATIONS);
  const type = typeOf(row.schema, column);
  const have = row.datum(column);
  if (key === undefined) return holds(operator, have, parseValue(context, value, type));
  if (type.value === undefined)
    throw commandError(`cannot specify key to check for non-map column ${column}`);
  const wantedKey = parseAtom(context, key, type.key);
  const wanted = parseValue(context, value, {
    key: type.value,
    min: type.min,
    max: Number.POSITIVE_INFINITY,
  });
  const pair = pairsOf(have).find(([one]) => one === wantedKey);
  // Of sets only a key that is missing says something.
  if (pair === undefined) return operator.startsWith("{") && holds(operator, setOf([]), wanted);
  return holds(operator, setOf([pair[1]]), wanted);
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
