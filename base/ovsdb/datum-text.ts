// Types and values of columns as people read them: "set of up to 3 integers", "two words", [1, 2], {a=b}. Pure.
// Source: ovs-vsctl(8), Database Values.
import { isUuid } from "./identifiers.js";
import { formatReal } from "./number-text.js";
import type { Atom, AtomicType, ColumnType, Datum } from "./types.js";

const BARE = /^[A-Za-z_][A-Za-z0-9_.-]*$/;

/** "set of up to 3 integers", "map of 1 or more (string, string) pairs", "string". */
export function describeType({ key, value, min, max }: ColumnType): string {
  if (min === 1 && max === 1 && value === undefined) return key.type;
  const count =
    max === Number.POSITIVE_INFINITY
      ? min > 0
        ? `${min} or more `
        : ""
      : min > 0
        ? `${min} to ${max} `
        : `up to ${max} `;
  if (value === undefined) return `set of ${count}${key.type}s`;
  return `map of ${count}(${key.type}, ${value.type}) pairs`;
}

/** How `datum` is shown. */
export function formatDatum(datum: Datum, type: ColumnType): string {
  if (type.value !== undefined) {
    const { value } = type;
    const pairs = datum.keys.map(
      (key, i) => `${formatAtom(key, type.key.type)}=${formatAtom(datum.values?.[i] as Atom, value.type)}`,
    );
    return `{${pairs.join(", ")}}`;
  }
  const items = datum.keys.map((key) => formatAtom(key, type.key.type));
  return items.length === 1 && type.max === 1 ? (items[0] as string) : `[${items.join(", ")}]`;
}

/** A text is quoted unless it can be told from other values without. */
export function formatAtom(atom: Atom, type: AtomicType): string {
  if (type === "real") return formatReal(atom as number);
  if (type !== "string") return String(atom);
  const text = atom as string;
  return BARE.test(text) && text !== "true" && text !== "false" && !isUuid(text)
    ? text
    : JSON.stringify(text);
}
