// Pieces that the text of actions is made of: lists with parentheses, "from->to", and parts of fields. Pure.
// Source: ovs-actions(7).
import { type BitRange, OXM_FIELDS, OXM_NAMES } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { actionFieldNamed, isFieldName } from "./field-text.js";

/** Splits at commas outside parentheses. Throws FLOW_TEXT_INVALID when those do not pair. */
export function splitList(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let begin = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "," && depth === 0) {
      parts.push(text.slice(begin, i).trim());
      begin = i + 1;
    }
    if (depth < 0) break;
  }
  if (depth !== 0) throw flowTextError(`the parentheses of "${text.slice(0, 60)}" do not pair`);
  parts.push(text.slice(begin).trim());
  return parts.filter((part) => part !== "");
}

/** "key=value" as a pair; the value is undefined when there is no "=". */
export function splitPair(text: string): [key: string, value: string | undefined] {
  const at = text.indexOf("=");
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

export function splitArrow(text: string): [string, string] {
  const at = text.indexOf("->");
  if (at < 0) throw flowTextError(`${text}: missing \`->'`);
  return [text.slice(0, at).trim(), text.slice(at + 2).trim()];
}

/** FIELD, FIELD[], FIELD[BIT] or FIELD[FIRST..LAST], and nothing else. */
export function parseRange(text: string): BitRange {
  const { range, rest } = takeRange(text);
  if (rest !== "") throw flowTextError("unexpected input following field syntax");
  return range;
}

/** The part of a field that `text` begins with, and what follows it. */
export function takeRange(text: string): { readonly range: BitRange; readonly rest: string } {
  const name = /^[^[-]*/.exec(text)?.[0] ?? "";
  if (!isFieldName(name)) throw flowTextError(`${text}: unknown field \`${name}'`);
  const field = actionFieldNamed(name);
  const behind = text.slice(name.length);
  const brackets = /^\[(?:\s*(-?\d{1,9})(?:\.\.\s*(-?\d{1,9}))?)?\]/.exec(behind);
  if (behind.startsWith("[") && brackets === null)
    throw flowTextError(`${text}: syntax error expecting [] or [<bit>] or [<start>..<end>]`);
  const [whole = "", first, end] = brackets ?? [];
  const offset = Number(first ?? 0);
  const size = shownBits(field.name);
  const last = Number(end ?? first ?? size - 1);
  const bound = `is not valid because field is only ${size} bits wide`;
  if (offset > last) throw flowTextError(`${text}: starting bit ${offset} is after ending bit ${last}`);
  if (offset < 0 || offset >= size) throw flowTextError(`${text}: starting bit ${offset} ${bound}`);
  if (last >= size) throw flowTextError(`${text}: ending bit ${last} ${bound}`);
  return { range: { field: field.name, offset, bits: last - offset + 1 }, rest: behind.slice(whole.length) };
}

/** The bit that says whether there is a tag is not counted among those of its number. */
function shownBits(field: BitRange["field"]): number {
  return field === "vlan_vid" ? 12 : OXM_FIELDS[field].bits;
}

export function formatRange({ field, offset, bits }: BitRange): string {
  const { header } = OXM_NAMES[field];
  if (offset === 0 && bits === shownBits(field)) return `${header}[]`;
  return bits === 1 ? `${header}[${offset}]` : `${header}[${offset}..${offset + bits - 1}]`;
}
