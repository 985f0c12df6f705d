// Column values as people write them: 5, "two words", [1, 2], {a=b}. Pure.
// Source: ovs-vsctl(8), Database Values.
import { exactInteger } from "../../base/json/index.js";
import {
  type Atom,
  type BaseType,
  type ColumnType,
  checkAtom,
  type Datum,
  describeType,
  invalidUtf8,
  isInteger64,
  isMap,
  isUuid,
  mapOf,
  OvsdbError,
  setOf,
  syntaxError,
} from "../../base/ovsdb/index.js";
import { readToken, skipSpace } from "./value-token.js";

/** The uuid of the row that @NAME stands for in a column of this type. */
export type SymbolOf = (name: string, base: BaseType) => string;

const RANGE_SIZE_MAX = 4096;
const RANGE = /^([+-]?\d{1,19})-([+-]?\d{1,19})$/;
const NO_SYMBOLS: SymbolOf = (name) => {
  throw syntaxError(`"${name}" is not a valid UUID`);
};

/** Parses `text` for a column of `type`. Throws OvsdbError "syntax error" or "constraint violation", as all here do. */
export function parseDatumText(text: string, type: ColumnType, symbolOf: SymbolOf = NO_SYMBOLS): Datum {
  const [open, close] = isMap(type) ? ["{", "}"] : ["[", "]"];
  let at = skipSpace(text, 0);
  if (at === text.length)
    throw syntaxError(`use "${open}${close}" to specify the empty ${isMap(type) ? "map" : "set"}`);
  const isEnclosed = text[at] === open;
  if (isEnclosed) at = skipSpace(text, at + 1);
  const keys: Atom[] = [];
  const values: Atom[] = [];
  while (at < text.length && !(isEnclosed && text[at] === close)) {
    at = skipSpace(text, parseMember(text, at, type, symbolOf, keys, values));
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  if (isEnclosed) {
    if (at === text.length) throw syntaxError(`${text}: missing "${close}" at end of data`);
    if (skipSpace(text, at + 1) < text.length)
      throw syntaxError(`${text}: trailing garbage after "${close}"`);
  }
  const what = isMap(type) ? "pair(s)" : "value(s)";
  const { length } = keys;
  if (length < type.min)
    throw syntaxError(`${text}: ${length} ${what} specified but the minimum number is ${type.min}`);
  if (length > type.max)
    throw syntaxError(`${text}: ${length} ${what} specified but the maximum number is ${type.max}`);
  if (new Set(keys).size < length)
    throw syntaxError(
      `${text}: ${isMap(type) ? "map contains duplicate key" : "set contains duplicate value"}`,
    );
  return isMap(type) ? mapOf(keys.map((key, i) => [key, values[i] as Atom])) : setOf(keys);
}

/** Adds the member that begins at `begin`, a pair or some numbers in a row perhaps; returns where it ends. */
function parseMember(
  text: string,
  begin: number,
  type: ColumnType,
  symbolOf: SymbolOf,
  keys: Atom[],
  values: Atom[],
): number {
  const key = readToken(text, begin);
  if (key.end === begin)
    throw syntaxError(`${text}: unexpected "${text[begin]}" parsing ${describeType(type)}`);
  const range = type.key.type === "integer" ? RANGE.exec(key.text) : null;
  if (range !== null) for (const one of membersOf(range, type.key)) keys.push(one);
  else keys.push(parseAtomText(key.text, type.key, symbolOf));
  if (type.value === undefined) return key.end;
  const sign = skipSpace(text, key.end);
  if (text[sign] !== "=") {
    // The original's sentence ends where the text does.
    const rest = sign === text.length ? "" : `${text[sign]}" expecting "="`;
    throw syntaxError(`${text.slice(begin)}: syntax error at "${rest}`);
  }
  const value = readToken(text, skipSpace(text, sign + 1));
  const atom = parseAtomText(value.text, type.value, symbolOf);
  while (values.length < keys.length) values.push(atom);
  return value.end;
}

/** "3-5" stands for 3, 4 and 5. */
function membersOf([word, first, last]: readonly string[], base: BaseType): Atom[] {
  const from = integerOf(first as string);
  const to = integerOf(last as string);
  if (from === undefined || to === undefined) throw syntaxError(`"${word}" is not a valid integer or range`);
  if (to < from) throw syntaxError(`"${word}" is not a valid range. Range end cannot be before start.`);
  checkAtom(exactInteger(from), base);
  checkAtom(exactInteger(to), base);
  if (to - from >= RANGE_SIZE_MAX)
    throw new OvsdbError(
      "constraint violation",
      `Range "${from}-${to}" is too big. Maximum allowed size is ${RANGE_SIZE_MAX}.`,
    );
  const members = Array.from({ length: Number(to - from) + 1 }, (_, i) => exactInteger(from + BigInt(i)));
  for (const one of members) checkAtom(one, base);
  return members;
}

/** Parses `text`, all of it, as one atom. */
export function parseAtomText(text: string, base: BaseType, symbolOf: SymbolOf = NO_SYMBOLS): Atom {
  const atom = atomOf(text, base, symbolOf);
  if (base.type === "string") checkText(atom as string);
  checkAtom(atom, base);
  return atom;
}

function atomOf(text: string, base: BaseType, symbolOf: SymbolOf): Atom {
  switch (base.type) {
    case "string":
      return stringOf(text);
    case "boolean":
      if (["true", "yes", "on", "1"].includes(text)) return true;
      if (["false", "no", "off", "0"].includes(text)) return false;
      throw syntaxError(`"${text}" is not a valid boolean (use "true" or "false")`);
    case "integer": {
      const value = integerOf(text);
      if (value === undefined) throw syntaxError(`"${text}" is not a valid integer or range`);
      return exactInteger(value);
    }
    case "real":
      if (/^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)))
        return Number(text) + 0;
      throw syntaxError(`"${text}" is not a valid real number`);
    case "uuid":
      if (text.startsWith("@")) return symbolOf(text, base);
      if (isUuid(text)) return text.toLowerCase();
      throw syntaxError(`"${text}" is not a valid UUID`);
  }
}

/** Undefined for what is no integer of 64 bits. */
function integerOf(text: string): bigint | undefined {
  if (!/^\s*[+-]?\d+$/.test(text)) return undefined;
  const value = BigInt(text.replace("+", ""));
  return isInteger64(value) ? value : undefined;
}

function stringOf(text: string): string {
  if (text === "")
    throw syntaxError('An empty string is not valid as input; use "" to represent the empty string');
  if (!text.startsWith('"')) return text;
  if (text.length < 2 || !text.endsWith('"'))
    throw syntaxError(`${text}: missing quote at end of quoted string`);
  try {
    return unescaped(text.slice(1, -1));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw syntaxError(`${text}: ${thrown.message}`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** What stands between the quotes of a JSON text. Throws SyntaxError. */
function unescaped(text: string): string {
  let result = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === '"') throw new SyntaxError('quoted string may not include unescaped "');
    if (character !== "\\") {
      result += character;
      continue;
    }
    const letter = text[++at] ?? "";
    if (letter !== "u") {
      const meant = ESCAPES[letter];
      if (meant === undefined) throw new SyntaxError(`bad escape \\${letter}`);
      result += meant;
      continue;
    }
    const unit = codeUnit(text, at + 1);
    at += 4;
    result += String.fromCharCode(unit);
    if (unit < 0xd800 || unit >= 0xdc00) continue;
    if (text.slice(at + 1, at + 3) !== "\\u") throw new SyntaxError("malformed escaped surrogate pair");
    const second = codeUnit(text, at + 3);
    if (second < 0xdc00 || second >= 0xe000)
      throw new SyntaxError("second half of escaped surrogate pair is not trailing surrogate");
    result += String.fromCharCode(second);
    at += 6;
  }
  return result;
}

function codeUnit(text: string, at: number): number {
  const digits = text.slice(at, at + 4);
  if (digits.length < 4) throw new SyntaxError("quoted string ends within \\u escape");
  if (!/^[0-9a-f]{4}$/i.test(digits)) throw new SyntaxError("malformed \\u escape");
  const unit = Number.parseInt(digits, 16);
  if (unit === 0) throw new SyntaxError("null bytes not supported in quoted strings");
  return unit;
}

/** A trailing half of a surrogate pair without a leading one, which UTF-8 cannot write. */
const HALF = /(?<![\ud800-\udbff])[\udc00-\udfff]/;

function checkText(text: string): void {
  if (HALF.test(text)) throw invalidUtf8(text);
}
