// JSON ⇄ column values (RFC 7047, 5.1), with errors that name what was wrong. Pure.
import { defaultAtom, mapOf, setOf } from "./datum.js";
import { OvsdbError, show, syntaxError } from "./errors.js";
import type { Atom, AtomicType, BaseType, ColumnType, Datum } from "./types.js";

const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

export interface ParseOptions {
  /** Turns a ["named-uuid", name] into a uuid; such names are refused without it. */
  readonly resolveName?: (name: string) => string;
  /** Leaves the number of elements unchecked: for conditions and mutations, which hold parts of a value. */
  readonly anySize?: boolean;
  /** Skips range, length and enum constraints: for differences and data that were checked when written. */
  readonly unconstrained?: boolean;
}

export function isUuid(value: unknown): value is string {
  return typeof value === "string" && UUID.test(value);
}

/** An <id> of RFC 7047, 3.1. */
export function isIdentifier(value: unknown): value is string {
  return typeof value === "string" && IDENTIFIER.test(value);
}

/** Parses a <value> for a column of `type`. Throws OvsdbError "syntax error", "constraint violation" or "ovsdb error". */
export function parseDatum(json: unknown, type: ColumnType, options: ParseOptions = {}): Datum {
  const datum = type.value === undefined ? parseSet(json, type, options) : parseMap(json, type, options);
  if (options.anySize !== true) checkSize(datum, type, "syntax error");
  return datum;
}

function parseSet(json: unknown, type: ColumnType, options: ParseOptions): Datum {
  const list = taggedList(json, "set");
  if (list === undefined) return { keys: [parseAtom(json, type.key, options)], values: undefined };
  return setOf(list.map((element) => parseAtom(element, type.key, options)));
}

function parseMap(json: unknown, type: ColumnType, options: ParseOptions): Datum {
  const list = taggedList(json, "map");
  if (list === undefined) throw syntaxError(`expected ["map", [...]], found ${show(json)}`);
  return mapOf(
    list.map((pair) => {
      if (!Array.isArray(pair) || pair.length !== 2)
        throw syntaxError(`expected a [key, value] pair, found ${show(pair)}`);
      return [
        parseAtom(pair[0], type.key, options),
        parseAtom(pair[1], type.value as BaseType, options),
      ] as const;
    }),
  );
}

function taggedList(json: unknown, tag: "set" | "map"): readonly unknown[] | undefined {
  if (!Array.isArray(json) || json[0] !== tag) return undefined;
  if (json.length !== 2 || !Array.isArray(json[1]))
    throw syntaxError(`expected ["${tag}", [...]], found ${show(json)}`);
  return json[1];
}

/** Throws `error` when `datum` has fewer or more elements than `type` allows. */
export function checkSize(
  datum: Datum,
  type: ColumnType,
  error: "syntax error" | "constraint violation" = "constraint violation",
): void {
  const count = datum.keys.length;
  if (count >= type.min && count <= type.max) return;
  const most = type.max === Number.POSITIVE_INFINITY ? "any number of" : `at most ${type.max}`;
  throw new OvsdbError(error, `${count} elements, but the column takes at least ${type.min} and ${most}`);
}

/** Parses an <atom> of `base`, with its constraints. */
export function parseAtom(json: unknown, base: BaseType, options: ParseOptions = {}): Atom {
  const atom = parseBareAtom(json, base.type, options);
  if (options.unconstrained !== true) checkAtom(atom, base);
  return atom;
}

function parseBareAtom(json: unknown, type: AtomicType, options: ParseOptions): Atom {
  switch (type) {
    case "integer":
      if (typeof json === "number" && Number.isInteger(json)) {
        if (!Number.isSafeInteger(json))
          throw syntaxError(`integer ${json} is beyond ±(2^53 - 1), which is all that is kept exactly`);
        return json + 0;
      }
      break;
    case "real":
      if (typeof json === "number") return json + 0;
      break;
    case "boolean":
      if (typeof json === "boolean") return json;
      break;
    case "string":
      if (typeof json === "string") return checkString(json);
      break;
    case "uuid":
      return parseUuid(json, options);
  }
  throw syntaxError(`expected ${type}, found ${show(json)}`);
}

function checkString(text: string): string {
  if (text.includes("\0")) throw syntaxError("a string contains the character U+0000");
  if (/\p{Cs}/u.test(text)) throw syntaxError("a string contains half of a surrogate pair");
  return text;
}

function parseUuid(json: unknown, options: ParseOptions): string {
  if (Array.isArray(json) && json.length === 2) {
    const [tag, text] = json as [unknown, unknown];
    if (tag === "uuid" && isUuid(text)) return text.toLowerCase();
    if (tag === "named-uuid" && options.resolveName !== undefined) {
      if (!isIdentifier(text)) throw syntaxError(`${show(text)} is no name for a row`);
      return options.resolveName(text);
    }
  }
  throw syntaxError(`expected ["uuid", "..."], found ${show(json)}`);
}

/** Throws "constraint violation" when `atom` breaks a constraint of `base`. */
export function checkAtom(atom: Atom, base: BaseType): void {
  if (base.enum !== undefined && !base.enum.includes(atom)) {
    throw new OvsdbError(
      "constraint violation",
      `${atom} is not one of the allowed values ([${[...base.enum].sort().join(", ")}])`,
    );
  }
  if (typeof atom === "number") {
    const min = base.type === "integer" ? base.minInteger : base.minReal;
    const max = base.type === "integer" ? base.maxInteger : base.maxReal;
    if ((min !== undefined && atom < min) || (max !== undefined && atom > max)) {
      throw new OvsdbError("constraint violation", `${atom} ${rangeText(min, max)}`);
    }
  } else if (base.type === "string" && (base.minLength !== undefined || base.maxLength !== undefined)) {
    const length = [...(atom as string)].length;
    if (length < (base.minLength ?? 0) || length > (base.maxLength ?? Number.POSITIVE_INFINITY)) {
      throw new OvsdbError(
        "constraint violation",
        `${show(atom)} has ${length} characters; ${base.minLength ?? 0} to ${base.maxLength ?? "any"} are allowed`,
      );
    }
  }
}

/** What is wrong with a number outside of these bounds, one of which there is. */
function rangeText(min: number | undefined, max: number | undefined): string {
  if (max === undefined) return `is less than minimum allowed value ${min}`;
  if (min === undefined) return `is greater than maximum allowed value ${max}`;
  return `is not in the valid range ${min} to ${max} (inclusive)`;
}

export function encodeAtom(atom: Atom, type: AtomicType): unknown {
  return type === "uuid" ? ["uuid", atom] : atom;
}

/** The <value> of a column; a set of one is written as its bare atom. */
export function encodeDatum(datum: Datum, type: ColumnType): unknown {
  const { keys, values } = datum;
  if (type.value !== undefined) {
    const valueType = type.value.type;
    return [
      "map",
      keys.map((key, i) => [
        encodeAtom(key, type.key.type),
        encodeAtom(values?.[i] ?? defaultAtom(valueType), valueType),
      ]),
    ];
  }
  if (keys.length === 1) return encodeAtom(keys[0] as Atom, type.key.type);
  return ["set", keys.map((key) => encodeAtom(key, type.key.type))];
}
