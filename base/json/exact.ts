// JSON whose integers keep all of their 64 bits (RFC 7047, 3.1: <integer> goes from −2⁶³ to 2⁶³ − 1). A number that
// JavaScript would round is a bigint, in both directions; all others are plain numbers.
import { randomUUID } from "node:crypto";

/** So many digits may be more than a number can hold; a UUID has no such run, so that most texts are parsed once. */
const MAYBE_LONG = /[0-9]{16}/;
/** Without an exponent of three digits, or as many digits as that would be, no number is beyond all reals. */
const MAYBE_HUGE = /[eE]\+?[0-9]{3}|[0-9]{200}/;
/** Where a string begins, or an integer of 16 to 19 digits without fraction or exponent. */
const STRING_OR_INTEGER = /"|(?<![0-9.eE+-])-?[0-9]{16,19}(?![0-9.eE])/g;

/**
 * What JSON.parse gives, with bigints for integers beyond ±(2⁵³ − 1). Throws SyntaxError as it does, and for a number that
 * no real can hold.
 */
export function parseExactJson(text: string): unknown {
  const rounded: unknown = MAYBE_HUGE.test(text) ? JSON.parse(text, onlyFinite) : JSON.parse(text);
  if (!MAYBE_LONG.test(text)) return rounded;
  // Nobody outside can know the mark, so that no string of theirs passes for a number.
  const mark = randomUUID();
  const marked = markIntegers(text, mark);
  if (marked === text) return rounded;
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

function onlyFinite(_key: string, value: unknown): unknown {
  if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY)
    throw new SyntaxError("a number is out of range");
  return value;
}

/** Valid JSON `text` with a string in place of each integer that a number would round: `mark` and the digits. */
function markIntegers(text: string, mark: string): string {
  const token = new RegExp(STRING_OR_INTEGER);
  let marked = "";
  let done = 0;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [found] = match;
    if (found === '"') token.lastIndex = endOfString(text, match.index);
    else if (!Number.isSafeInteger(Number(found))) {
      marked += `${text.slice(done, match.index)}"${mark}${found}"`;
      done = token.lastIndex;
    }
  }
  return marked + text.slice(done);
}

/** Behind the quote that ends the string whose first quote stands at `begin`. By hand: a RegExp overflows on long ones. */
function endOfString(text: string, begin: number): number {
  for (let quote = text.indexOf('"', begin + 1); quote > 0; quote = text.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (text[quote - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return quote + 1;
  }
  return text.length;
}

/** What JSON.stringify gives, with the digits of bigints. */
export function stringifyExactJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (thrown) {
    // It refuses bigints, which are rare: nothing else is paid for them.
    if (!(thrown instanceof TypeError)) throw thrown;
    const mark = randomUUID();
    const marked = JSON.stringify(value, (_, one: unknown) =>
      typeof one === "bigint" ? `${mark}${one}` : one,
    );
    return marked.replaceAll(new RegExp(`"${mark}(-?[0-9]+)"`, "g"), "$1");
  }
}

/** `value`, which has the value of an integer, as JSON's integers are told here: a bigint where a number would round. */
export function exactInteger(value: bigint): number | bigint {
  const rounded = Number(value);
  return Number.isSafeInteger(rounded) ? rounded : value;
}
