// Column values as people write them: 5, "two words", [1, 2], {a=b}. Pure.
// Source: ovs-vsctl(8), Database Values.
import {
  type Atom,
  type AtomicType,
  type ColumnType,
  checkAtom,
  type Datum,
  describeType,
  isMap,
  isUuid,
  mapOf,
  setOf,
  syntaxError,
} from "../../base/ovsdb/index.js";

/** Parses `text` for a column of `type`. Throws OvsdbError "syntax error" or "constraint violation". */
export function parseDatumText(text: string, type: ColumnType): Datum {
  const scanner = new Scanner(text, describeType(type));
  const datum = isMap(type) ? scanMap(scanner, type) : scanSet(scanner, type, text);
  const { length } = datum.keys;
  const what = isMap(type) ? "pair(s)" : "value(s)";
  if (length > type.max)
    throw syntaxError(`${text}: ${length} ${what} specified but the maximum number is ${type.max}`);
  if (length < type.min)
    throw syntaxError(`${text}: ${length} ${what} specified but the minimum number is ${type.min}`);
  return datum;
}

function scanSet(scanner: Scanner, type: ColumnType, text: string): Datum {
  const bracketed = scanner.take("[");
  const atoms: Atom[] = [];
  while (!scanner.atEnd(bracketed ? "]" : undefined)) {
    const word = scanner.word(type.key.type === "string");
    const range = type.key.type === "integer" ? rangeOf(word) : undefined;
    for (const atom of range ?? [toAtom(word, type.key.type)]) atoms.push(checked(atom, type.key));
    scanner.take(",");
  }
  if (bracketed) scanner.expect("]");
  if (new Set(atoms).size < atoms.length) throw syntaxError(`${text}: set contains duplicate value`);
  return setOf(atoms);
}

const RANGE_SIZE_MAX = 4096;

/** "3-5" stands for 3, 4 and 5. */
function rangeOf(word: string): number[] | undefined {
  const [, first, last] = /^([+-]?\d{1,15})-([+-]?\d{1,15})$/.exec(word) ?? [];
  if (first === undefined) return undefined;
  const [from, to] = [Number(first), Number(last)];
  if (to < from) throw syntaxError(`"${word}" is not a valid range. Range end cannot be before start.`);
  if (to - from >= RANGE_SIZE_MAX) throw syntaxError(`"${word}" has more than ${RANGE_SIZE_MAX} members`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

function scanMap(scanner: Scanner, type: ColumnType): Datum {
  const braced = scanner.take("{");
  const pairs: [Atom, Atom][] = [];
  while (!scanner.atEnd(braced ? "}" : undefined)) {
    const key = checked(toAtom(scanner.word(type.key.type === "string"), type.key.type), type.key);
    scanner.equals();
    const base = type.value as ColumnType["key"];
    pairs.push([key, checked(toAtom(scanner.value(base.type === "string"), base.type), base)]);
    scanner.take(",");
  }
  if (braced) scanner.expect("}");
  if (new Set(pairs.map(([key]) => key)).size < pairs.length)
    throw syntaxError(`${scanner.text}: map contains duplicate key`);
  return mapOf(pairs);
}

function checked(atom: Atom, base: ColumnType["key"]): Atom {
  checkAtom(atom, base);
  return atom;
}

function toAtom(word: string, type: AtomicType): Atom {
  switch (type) {
    case "string":
      return word;
    case "boolean":
      if (["true", "yes", "on", "1"].includes(word)) return true;
      if (["false", "no", "off", "0"].includes(word)) return false;
      break;
    case "integer":
      if (/^[+-]?(\d+|0x[0-9a-fA-F]+)$/.test(word) && Number.isSafeInteger(Number(word))) return Number(word);
      break;
    case "real":
      if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word) && Number.isFinite(Number(word)))
        return Number(word);
      break;
    case "uuid":
      if (isUuid(word)) return word.toLowerCase();
  }
  throw syntaxError(`"${word.slice(0, 60)}" is not a valid ${WANTED[type]}`);
}

const WANTED: Readonly<Record<AtomicType, string>> = {
  integer: "integer or range",
  real: "real number",
  boolean: 'boolean (use "true" or "false")',
  string: "string",
  uuid: "UUID",
};

/** What ends a word that is not quoted, besides white space. */
const DELIMITERS = /[:=,[\]{}!<>]/;

class Scanner {
  readonly #text: string;
  readonly #type: string;
  #at = 0;

  /** `type` in words, for what is refused. */
  constructor(text: string, type: string) {
    this.#text = text;
    this.#type = type;
  }

  get text(): string {
    return this.#text;
  }

  /** Nothing is left, or `close` comes next. */
  atEnd(close: string | undefined): boolean {
    this.#skipSpace();
    if (close !== undefined && this.#text[this.#at] === close) return true;
    if (this.#at < this.#text.length) return false;
    if (close !== undefined) throw syntaxError(`${this.#text}: missing "${close}" at end of data`);
    return true;
  }

  take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** What closes the value, with nothing behind it. */
  expect(character: string): void {
    if (!this.take(character)) throw syntaxError(`${this.#text}: missing "${character}" at end of data`);
    this.#skipSpace();
    if (this.#at < this.#text.length)
      throw syntaxError(`${this.#text}: trailing garbage after "${character}"`);
  }

  /** The sign between a key and its value. */
  equals(): void {
    if (this.take("=")) return;
    const found = this.#text[this.#at];
    // The original's sentence ends where the text does.
    const rest = found === undefined ? "" : `${found}" expecting "="`;
    throw syntaxError(`${this.#text}: syntax error at "${rest}`);
  }

  /** As word(), but where nothing stands, that is what is wrong. */
  value(isText: boolean): string {
    this.#skipSpace();
    if (DELIMITERS.test(this.#text[this.#at] ?? ","))
      throw syntaxError('An empty string is not valid as input; use "" to represent the empty string');
    return this.word(isText);
  }

  /** A quoted text, or everything up to white space or a delimiter. Only of a text are the quotes taken off. */
  word(isText: boolean): string {
    this.#skipSpace();
    if (this.#text[this.#at] === '"') return this.#quoted(isText);
    const begin = this.#at;
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] as string;
      if (DELIMITERS.test(character) || /\s/.test(character)) break;
      this.#at++;
    }
    if (this.#at === begin) {
      const found = this.#text[begin];
      if (found === undefined)
        throw syntaxError(`${this.#text}: unexpected end of input parsing ${this.#type}`);
      throw syntaxError(`${this.#text}: unexpected "${found}" parsing ${this.#type}`);
    }
    return this.#text.slice(begin, this.#at);
  }

  #quoted(isText: boolean): string {
    const begin = this.#at++;
    while (this.#at < this.#text.length && this.#text[this.#at] !== '"') {
      this.#at += this.#text[this.#at] === "\\" ? 2 : 1;
    }
    if (this.#at >= this.#text.length)
      throw syntaxError(`${this.#text}: quoted string extends past end of argument`);
    this.#at++;
    if (!isText) return this.#text.slice(begin, this.#at);
    try {
      return JSON.parse(this.#text.slice(begin, this.#at)) as string;
    } catch {
      throw syntaxError(`"${this.#text.slice(begin, begin + 60)}" is no quoted text`);
    }
  }

  #skipSpace(): void {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at++;
  }
}
