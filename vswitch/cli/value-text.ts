// Column values as people write and read them: 5, "two words", [1, 2], {a=b}. Pure.
// Source: ovs-vsctl(8), Database Values.
import {
  type Atom,
  type AtomicType,
  type ColumnType,
  checkAtom,
  checkSize,
  type Datum,
  encodeDatum,
  isMap,
  isUuid,
  mapOf,
  type OvsdbValue,
  setOf,
  syntaxError,
} from "../../base/ovsdb/index.js";

const BARE = /^[A-Za-z_][A-Za-z0-9_.-]*$/;

/** Parses `text` for a column of `type`. Throws OvsdbError "syntax error" or "constraint violation". */
export function parseDatumText(
  text: string,
  type: ColumnType,
  options: { readonly anySize?: boolean } = {},
): Datum {
  const scanner = new Scanner(text);
  const datum = isMap(type) ? scanMap(scanner, type) : scanSet(scanner, type, text);
  if (options.anySize !== true) checkSize(datum, type);
  return datum;
}

/** The same as OVSDB's JSON. */
export function parseValueText(
  text: string,
  type: ColumnType,
  options: { readonly anySize?: boolean } = {},
): OvsdbValue {
  return encodeDatum(parseDatumText(text, type, options), type) as OvsdbValue;
}

/** How `datum` is shown. */
export function formatDatum(datum: Datum, type: ColumnType): string {
  const atom = (value: Atom, base: AtomicType): string => formatAtom(value, base);
  if (type.value !== undefined) {
    const { value } = type;
    const pairs = datum.keys.map(
      (key, i) => `${atom(key, type.key.type)}=${atom(datum.values?.[i] as Atom, value.type)}`,
    );
    return `{${pairs.join(", ")}}`;
  }
  const items = datum.keys.map((key) => atom(key, type.key.type));
  return items.length === 1 && type.max === 1 ? (items[0] as string) : `[${items.join(", ")}]`;
}

function formatAtom(atom: Atom, type: AtomicType): string {
  if (type !== "string") return String(atom);
  const text = atom as string;
  return BARE.test(text) && text !== "true" && text !== "false" && !isUuid(text)
    ? text
    : JSON.stringify(text);
}

function scanSet(scanner: Scanner, type: ColumnType, text: string): Datum {
  if (type.min === 1 && type.max === 1 && type.key.type === "string" && !/^\s*["[]/.test(text)) {
    return setOf([checked(text, type.key)]);
  }
  const bracketed = scanner.take("[");
  const atoms: Atom[] = [];
  while (!scanner.atEnd(bracketed ? "]" : undefined)) {
    atoms.push(checked(toAtom(scanner.word(",]"), type.key.type), type.key));
    scanner.take(",");
  }
  if (bracketed) scanner.expect("]");
  return setOf(atoms);
}

function scanMap(scanner: Scanner, type: ColumnType): Datum {
  const braced = scanner.take("{");
  const pairs: [Atom, Atom][] = [];
  while (!scanner.atEnd(braced ? "}" : undefined)) {
    const key = checked(toAtom(scanner.word("=,}"), type.key.type), type.key);
    scanner.expect("=");
    const base = type.value as ColumnType["key"];
    pairs.push([key, checked(toAtom(scanner.word(",}"), base.type), base)]);
    scanner.take(",");
  }
  if (braced) scanner.expect("}");
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
  throw syntaxError(`"${word.slice(0, 60)}" is no ${type}`);
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Nothing is left, or `close` comes next. */
  atEnd(close: string | undefined): boolean {
    this.#skipSpace();
    if (close !== undefined && this.#text[this.#at] === close) return true;
    if (this.#at < this.#text.length) return false;
    if (close !== undefined) throw syntaxError(`"${this.#text.slice(0, 60)}" lacks its ${close}`);
    return true;
  }

  take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  expect(character: string): void {
    if (!this.take(character))
      throw syntaxError(`"${this.#text.slice(0, 60)}": expected ${character} at ${this.#at}`);
  }

  /** A quoted text, or everything up to white space or a character of `stops`. */
  word(stops: string): string {
    this.#skipSpace();
    if (this.#text[this.#at] === '"') return this.#quoted();
    const begin = this.#at;
    while (this.#at < this.#text.length) {
      const character = this.#text[this.#at] as string;
      if (stops.includes(character) || /\s/.test(character)) break;
      this.#at++;
    }
    if (this.#at === begin) throw syntaxError(`"${this.#text.slice(0, 60)}": expected a value at ${begin}`);
    return this.#text.slice(begin, this.#at);
  }

  #quoted(): string {
    const begin = this.#at++;
    while (this.#at < this.#text.length && this.#text[this.#at] !== '"') {
      this.#at += this.#text[this.#at] === "\\" ? 2 : 1;
    }
    this.#at++;
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
