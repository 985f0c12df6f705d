// Splits "table=1,tcp nw_dst=10.0.0.1,actions=…" into words with values, as the tools of Open vSwitch do. Pure.
// Source: ovs-ofctl(8), Flow Syntax: parts are separated by commas or white space, parentheses nest.

export interface KeyValue {
  readonly key: string;
  /** "" for a bare word. */
  readonly value: string;
  /** What stands between key and value. */
  readonly delimiter: "" | "=" | ":" | "(";
}

const SEPARATOR = /[,\s]/;
const CLOSE = /\)/;
const KEY_END = /[:=(,\s]/;

/** Every word of `text` in order. What is not closed extends to the end. */
export function splitKeyValues(text: string): KeyValue[] {
  const found: KeyValue[] = [];
  for (let at = skip(text, 0); at < text.length; at = skip(text, at)) {
    let end = at;
    while (end < text.length && !KEY_END.test(text[end] as string)) end++;
    const key = text.slice(at, end);
    const delimiter = text[end] ?? "";
    if (delimiter === ":" || delimiter === "=" || delimiter === "(") {
      let valueEnd = endOfValue(text, end + 1, delimiter === "(" ? CLOSE : SEPARATOR);
      // "(…)->…" is one value.
      if (delimiter === "(" && text.startsWith(")->", valueEnd))
        valueEnd = endOfValue(text, valueEnd, SEPARATOR);
      found.push({ key, value: text.slice(end + 1, valueEnd), delimiter });
      at = valueEnd + 1;
    } else {
      found.push({ key, value: "", delimiter: "" });
      at = end + 1;
    }
  }
  return found;
}

function skip(text: string, at: number): number {
  while (at < text.length && SEPARATOR.test(text[at] as string)) at++;
  return at;
}

/** The index of the first character outside parentheses that `isEnd` finds. */
function endOfValue(text: string, from: number, isEnd: RegExp): number {
  let at = from;
  while (at < text.length && !isEnd.test(text[at] as string))
    at = text[at] === "(" ? behindParentheses(text, at) : at + 1;
  return Math.min(at, text.length);
}

/** Behind the parenthesis that closes the one at `open`, or behind the text. */
function behindParentheses(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at + 1;
  }
  return text.length;
}
