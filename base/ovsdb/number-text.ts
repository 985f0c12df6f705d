// Numbers as ovsdb-server writes them in what people read: integers with all their digits, reals with at most 15 that
// count, as C's "%.15g". Pure.

const DIGITS = 15;
/** The smallest exponent of a real that is written without one. */
const PLAIN_MIN = -4;

/** 0.5 is "0.5", 1e15 is "1e+15", 0.00001 is "1e-05". */
export function formatReal(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [digits, exponent] = value.toExponential(DIGITS - 1).split("e") as [string, string];
  const power = Number(exponent);
  if (power >= PLAIN_MIN && power < DIGITS)
    return withoutZeros(value.toFixed(Math.min(DIGITS - 1 - power, 100)));
  return `${withoutZeros(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** A number of JSON, which is an integer when it has the value of one and fits in 64 bits (RFC 7047, 3.1). */
export function formatNumber(value: number | bigint): string {
  if (typeof value === "number" && !Number.isInteger(value)) return formatReal(value);
  const integer = BigInt(value);
  return BigInt.asIntN(64, integer) === integer ? String(integer) : formatReal(Number(value));
}

function withoutZeros(digits: string): string {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}
