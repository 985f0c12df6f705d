// Errors of the OVSDB protocol (RFC 7047, 3.1): a short stable text in `error`, an explanation in `details`. Explanations
// are those of ovsdb-server 3.1, because scripts compare them; what they were about stands in `syntax` beside them.
import { PlinthError } from "../errors/index.js";
import { invalidSequenceIn, stringifyExactJson } from "../json/index.js";
import { formatNumber } from "./number-text.js";

/** The error texts of RFC 7047 and of ovsdb-server(7). */
export type OvsdbErrorText =
  | "syntax error"
  | "unknown column"
  | "unknown mutator"
  | "unknown function"
  | "unknown database"
  | "unknown method"
  | "constraint violation"
  | "referential integrity violation"
  | "domain error"
  | "range error"
  | "timed out"
  | "not supported"
  | "aborted"
  | "not owner"
  | "duplicate uuid-name"
  | "duplicate uuid"
  | "not allowed"
  | "ovsdb error"
  | "resources exhausted"
  | "I/O error"
  | "canceled";

/** A failure as OVSDB states it; `code` is the text in upper snake case ("CONSTRAINT_VIOLATION"). */
export class OvsdbError extends PlinthError {
  readonly error: string;
  readonly details: string;
  /** The JSON that was wrong, as text with sorted members. */
  readonly syntax: string | undefined;

  /** `json` is what was wrong; undefined when no single value was. */
  constructor(error: OvsdbErrorText | (string & {}), details: string, json?: unknown) {
    super(error.toUpperCase().replace(/[^A-Z0-9]+/g, "_"), details === "" ? error : `${error}: ${details}`);
    this.error = error;
    this.details = details;
    this.syntax = json === undefined ? undefined : syntaxOf(json);
  }

  toJson(): { readonly error: string; readonly details: string; readonly syntax?: string } {
    const { error, details, syntax } = this;
    return syntax === undefined ? { error, details } : { error, details, syntax };
  }
}

export function syntaxError(details: string, json?: unknown): OvsdbError {
  return new OvsdbError("syntax error", details, json);
}

/** Of a `text` that was made of bytes that are no UTF-8, or holds the trailing half of a surrogate pair alone. */
export function invalidUtf8(text: string): OvsdbError {
  const invalid = invalidSequenceIn(text);
  const half = text.match(/\p{Cs}/u)?.[0]?.charCodeAt(0) ?? 0xdc00;
  const bytes = invalid.length > 0 ? invalid : [0xed, 0x80 | ((half >> 6) & 0x3f)];
  const sequence = bytes.map((byte) => `0x${byte.toString(16).padStart(2, "0")}`).join(" ");
  return new OvsdbError(
    "constraint violation",
    `not a valid UTF-8 string: invalid UTF-8 sequence ${sequence}`,
  );
}

/** `json` as text, with sorted members and with numbers as ovsdb-server shows them. */
function syntaxOf(json: unknown): string {
  if (typeof json === "number" || typeof json === "bigint") return formatNumber(json);
  if (Array.isArray(json)) return `[${json.map(syntaxOf).join(",")}]`;
  if (typeof json !== "object" || json === null) return JSON.stringify(json);
  const members = Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, value]) => `${JSON.stringify(key)}:${syntaxOf(value)}`).join(",")}}`;
}

/** The same JSON with the members of its objects in order. */
export function sortMembers(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(sortMembers);
  if (typeof json !== "object" || json === null) return json;
  const entries = Object.entries(json).map(([key, value]): [string, unknown] => [key, sortMembers(value)]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A short printed form of an untrusted value, for error messages. */
export function show(value: unknown): string {
  const text = stringifyExactJson(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
