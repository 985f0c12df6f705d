// JSON ⇄ column values (RFC 7047, 5.1), with errors that name what was wrong. Pure.
import { exactInteger } from "../json/index.js";
import { compareAtoms, defaultAtom, mapOf, setOf } from "./datum.js";
import { describeType, formatAtom } from "./datum-text.js";
import { invalidUtf8, OvsdbError, syntaxError } from "./errors.js";
import { isIdentifier, isUuid } from "./identifiers.js";
import type { Atom, AtomicType, BaseType, ColumnType, Datum } from "./types.js";

/** What an error calls a number of elements without limit. */
const UNLIMITED = 0xffff_ffff;

export interface ParseOptions {
  /** Turns a ["named-uuid", name] into a uuid; such names are refused without it. */
  readonly resolveName?: (name: string) => string;
  /** Leaves the number of elements unchecked: for conditions and mutations, which hold parts of a value. */
  readonly anySize?: boolean;
  /** Skips range, length and enum constraints: for differences and data that were checked when written. */
  readonly unconstrained?: boolean;
}

/** Parses a <value> for a column of `type`. Throws OvsdbError "syntax error", "constraint violation" or "ovsdb error". */
export function parseDatum(json: unknown, type: ColumnType, options: ParseOptions = {}): Datum {
  const isMap = type.value !== undefined;
  if (!isMap && !(Array.isArray(json) && json[0] === "set"))
    return { keys: [parseAtom(json, type.key, options)], values: undefined };
  const list = listOf(json, isMap ? "map" : "set");
  if (options.anySize !== true) checkLength(list.length, json, type);
  return isMap
    ? parseMap(list, type, options)
    : setOf(list.map((element) => parseAtom(element, type.key, options)));
}

function parseMap(list: readonly unknown[], type: ColumnType, options: ParseOptions): Datum {
  return mapOf(
    list.map((pair) => {
      if (!Array.isArray(pair) || pair.length !== 2) throw syntaxError("expected 2-element array", pair);
      return [
        parseAtom(pair[0], type.key, options),
        parseAtom(pair[1], type.value as BaseType, options),
      ] as const;
    }),
  );
}

function listOf(json: unknown, tag: "set" | "map"): readonly unknown[] {
  if (!Array.isArray(json) || json.length !== 2 || json[0] !== tag || !Array.isArray(json[1]))
    throw syntaxError(`expected ["${tag}", <array>]`, json);
  return json[1];
}

function checkLength(count: number, json: unknown, { min, max, value }: ColumnType): void {
  if (count >= min && count <= max) return;
  const wanted =
    min === 1 && max === 1 ? "exactly one member" : `${min} to ${Math.min(max, UNLIMITED)} members`;
  const kind = value === undefined ? "set" : "map";
  throw syntaxError(`${kind} must have ${wanted} but ${count} are present`, json);
}

/** Throws "constraint violation" when `datum` has fewer or more elements than `type` allows. */
export function checkSize(datum: Datum, type: ColumnType): void {
  const count = datum.keys.length;
  if (count >= type.min && count <= type.max) return;
  const details = `Attempted to store ${count} elements in ${describeType(type)}.`;
  throw new OvsdbError("constraint violation", details);
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
      if (typeof json === "bigint" || Number.isInteger(json)) {
        const value = BigInt(json as number | bigint);
        if (isInteger64(value)) return exactInteger(value);
      }
      break;
    case "real":
      if (typeof json === "number" || typeof json === "bigint") return Number(json) + 0;
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
  throw syntaxError(`expected ${type}`, json);
}

function checkString(text: string): string {
  if (text.includes("\0")) throw syntaxError("a string contains the character U+0000");
  if (text.isWellFormed()) return text;
  const half = /\p{Cs}/u.exec(text)?.[0]?.charCodeAt(0) as number;
  if (half < 0xdc00) throw syntaxError("a string contains half of a surrogate pair");
  throw invalidUtf8(text);
}

function parseUuid(json: unknown, options: ParseOptions): string {
  if (Array.isArray(json) && json.length === 2 && typeof json[1] === "string") {
    const [tag, text] = json as [unknown, string];
    if (tag === "uuid") {
      if (!isUuid(text)) throw syntaxError(`"${text}" is not a valid UUID`, json);
      return text.toLowerCase();
    }
    if (tag === "named-uuid" && options.resolveName !== undefined) {
      if (!isIdentifier(text)) throw syntaxError("named-uuid string is not a valid <id>", json);
      return options.resolveName(text);
    }
  }
  throw syntaxError('expected ["uuid", <string>]', json);
}

/** An <integer> has 64 bits, with its sign (RFC 7047, 3.1). */
export function isInteger64(value: bigint): boolean {
  return BigInt.asIntN(64, value) === value;
}

/** Throws "constraint violation" when `atom` breaks a constraint of `base`. */
export function checkAtom(atom: Atom, base: BaseType): void {
  if (base.enum !== undefined && !base.enum.includes(atom)) {
    const allowed = [...base.enum].sort(compareAtoms).map((one) => formatAtom(one, base.type));
    throw new OvsdbError(
      "constraint violation",
      `${formatAtom(atom, base.type)} is not one of the allowed values ([${allowed.join(", ")}])`,
    );
  }
  if (typeof atom === "number" || typeof atom === "bigint") {
    const { min, max } = rangeOf(base);
    if ((min !== undefined && atom < min) || (max !== undefined && atom > max)) {
      throw new OvsdbError("constraint violation", `${formatAtom(atom, base.type)} ${outside(base)}`);
    }
  } else if (base.type === "string" && (base.minLength !== undefined || base.maxLength !== undefined)) {
    const length = [...(atom as string)].length;
    const { minLength = 0, maxLength = Number.POSITIVE_INFINITY } = base;
    const wrong =
      length < minLength
        ? `less than minimum allowed length ${minLength}`
        : length > maxLength
          ? `greater than maximum allowed length ${maxLength}`
          : undefined;
    if (wrong !== undefined)
      throw new OvsdbError("constraint violation", `"${atom}" length ${length} is ${wrong}`);
  }
}

function rangeOf({ type, minInteger, maxInteger, minReal, maxReal }: BaseType): {
  readonly min: number | bigint | undefined;
  readonly max: number | bigint | undefined;
} {
  return type === "integer" ? { min: minInteger, max: maxInteger } : { min: minReal, max: maxReal };
}

/** What is wrong with a number outside of the bounds of `base`, one of which there is. */
function outside(base: BaseType): string {
  const { min, max } = rangeOf(base);
  const shown = (bound: number | bigint): string => formatAtom(bound, base.type);
  if (min === undefined) return `is greater than maximum allowed value ${shown(max as number | bigint)}`;
  if (max === undefined) return `is less than minimum allowed value ${shown(min)}`;
  return `is not in the valid range ${shown(min)} to ${shown(max)} (inclusive)`;
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
