// What JSON.parse gives back, looked at before it is trusted; and JSON with integers of 64 bits.
export { decodeEscapedUtf8, invalidSequenceIn } from "./escaped-utf8.js";
export { exactInteger, parseExactJson, stringifyExactJson } from "./exact.js";

/** True for a JSON object: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
