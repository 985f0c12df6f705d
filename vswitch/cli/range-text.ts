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
  if (at < 0) throw flowTextError(`${text.slice(0, 60)}: missing \`->'`);
  return [text.slice(0, at).trim(), text.slice(at + 2).trim()];
}

/** `whole` is what is told when the part is wrong. FIELD, FIELD[], FIELD[BIT] or FIELD[FIRST..LAST]. */
export function parseRange(text: string, whole = text): BitRange {
  const match = /^([A-Za-z_0-9]+)(?:\[(?:(\d{1,3})(?:\.\.(\d{1,3}))?)?\])?$/.exec(text.trim());
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no part of a field`);
  const name = match[1] as string;
  if (!isFieldName(name)) throw flowTextError(`${whole}: unknown field \`${name}'`);
  const field = actionFieldNamed(name);
  const offset = Number(match[2] ?? 0);
  const last = match[3] === undefined ? (match[2] === undefined ? field.bits - 1 : offset) : Number(match[3]);
  const bound = `is not valid because field is only ${field.bits} bits wide`;
  if (offset >= field.bits) throw flowTextError(`${whole}: starting bit ${offset} ${bound}`);
  if (last >= field.bits) throw flowTextError(`${whole}: ending bit ${last} ${bound}`);
  if (last < offset) throw flowTextError(`${text}: starting bit ${offset} is after ending bit ${last}`);
  return { field: field.name, offset, bits: last - offset + 1 };
}

/** The bit that says whether there is a tag is not counted among those of its number. */
function shownBits(field: BitRange["field"]): number {
  return field === "vlan_vid" ? 12 : OXM_FIELDS[field].bits;
}

export function formatRange({ field, offset, bits }: BitRange): string {
  const { header } = OXM_NAMES[field];
  if (offset === 0 && bits >= shownBits(field)) return `${header}[]`;
  return bits === 1 ? `${header}[${offset}]` : `${header}[${offset}..${offset + bits - 1}]`;
}
