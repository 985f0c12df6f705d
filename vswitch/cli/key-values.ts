// Splits "table=1,tcp nw_dst=10.0.0.1,actions=…" into words with values, as the tools of Open vSwitch do. Pure.
// Source: ovs-ofctl(8), Flow Syntax: parts are separated by commas or white space, parentheses nest.
import { flowTextError } from "./errors.js";

export interface KeyValue {
  readonly key: string;
  /** "" for a bare word. */
  readonly value: string;
  /** What stands between key and value. */
  readonly delimiter: "" | "=" | ":" | "(";
}

const SEPARATOR = /[,\s]/;
const KEY_END = /[:=(,\s]/;

/** Every word of `text` in order. Throws FLOW_TEXT_INVALID when parentheses do not pair. */
export function splitKeyValues(text: string): KeyValue[] {
  const found: KeyValue[] = [];
  for (let at = skip(text, 0); at < text.length; at = skip(text, at)) {
    let end = at;
    while (end < text.length && !KEY_END.test(text[end] as string)) end++;
    const key = text.slice(at, end);
    const delimiter = text[end] ?? "";
    if (delimiter === ":" || delimiter === "=") {
      const valueEnd = endOfValue(text, end + 1);
      found.push({ key, value: text.slice(end + 1, valueEnd), delimiter });
      at = valueEnd;
    } else if (delimiter === "(") {
      const close = endOfParentheses(text, end);
      found.push({ key, value: text.slice(end + 1, close), delimiter });
      at = close + 1;
    } else {
      found.push({ key, value: "", delimiter: "" });
      at = Math.max(end, at + 1);
    }
  }
  return found;
}

function skip(text: string, at: number): number {
  while (at < text.length && SEPARATOR.test(text[at] as string)) at++;
  return at;
}

function endOfValue(text: string, at: number): number {
  while (at < text.length && !SEPARATOR.test(text[at] as string)) {
    at = text[at] === "(" ? endOfParentheses(text, at) + 1 : at + 1;
  }
  return at;
}

/** The index of the parenthesis that closes the one at `open`. */
function endOfParentheses(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  throw flowTextError(`${text.slice(0, 60)}: the parentheses do not pair`);
}
