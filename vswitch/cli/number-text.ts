// Whole numbers as the tools of Open vSwitch read them with the functions of C: decimal, octal behind "0" and
// hexadecimal behind "0x", with a sign; and their words for what is none. Pure. Source: strtol(3), atoi(3).
import { flowTextError } from "./errors.js";

const NUMBER = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$/;

/** As strtol with base 0; undefined for what is no number as a whole. */
export function cNumber(text: string): bigint | undefined {
  const match = NUMBER.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = ""] = match;
  const isOctal = /^0[0-7]+$/.test(digits);
  const number = BigInt(isOctal ? `0o${digits.slice(1)}` : digits);
  return sign === "-" ? -number : number;
}

/** What atoi makes of a text: the decimal digits that it begins with. */
export function leadingNumber(text: string): number {
  return Number(/^\s*([+-]?\d{1,15})/.exec(text)?.[1] ?? 0);
}

/** A number of 8 or 16 bits; `what` is its name. Throws FLOW_TEXT_INVALID. */
export function boundedNumber(text: string, max: number, what: string): number {
  const number = cNumber(text);
  if (number === undefined || number < 0n || number > BigInt(max))
    throw flowTextError(`invalid ${what} "${text}"`);
  return Number(number);
}

/** A number of 32 bits; longer ones are refused, where the original keeps the last 32 bits. */
export function wordOf(text: string): number {
  return Number(BigInt.asUintN(32, longNumber(text, 0xffffffffn)));
}

export function longWordOf(text: string): bigint {
  return BigInt.asUintN(64, longNumber(text, 0xffffffffffffffffn));
}

function longNumber(text: string, max: bigint): bigint {
  if (text === "") throw flowTextError("missing required numeric argument");
  const number = cNumber(text);
  if (number === undefined || number > max || number < -max)
    throw flowTextError(`invalid numeric format ${text}`);
  return number;
}

/** The number of a table, which is written in decimal. */
export function tableNumber(text: string, refusal: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 255) throw flowTextError(refusal);
  return Number(text);
}
