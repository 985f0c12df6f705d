// Operations on column values. Pure; a Datum is never changed in place.
import { OvsdbError } from "./errors.js";
import { type Atom, type AtomicType, type ColumnType, type Datum, isComposite, ZERO_UUID } from "./types.js";

export const EMPTY_SET: Datum = { keys: [], values: undefined };
export const EMPTY_MAP: Datum = { keys: [], values: [] };

/** Orders two atoms of one type. */
export function compareAtoms(a: Atom, b: Atom): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A set (or scalar) of `atoms`, sorted. Throws "ovsdb error" on duplicates (ovsdb-server(7), 3.1). */
export function setOf(atoms: readonly Atom[]): Datum {
  if (atoms.length < 2) return { keys: atoms.slice(), values: undefined };
  const keys = atoms.slice().sort(compareAtoms);
  for (let i = 1; i < keys.length; i++) {
    if (keys[i] === keys[i - 1]) throw new OvsdbError("ovsdb error", "set contains duplicate");
  }
  return { keys, values: undefined };
}

/** A map of `pairs`, sorted by key. Throws "ovsdb error" on duplicate keys (ovsdb-server(7), 3.1). */
export function mapOf(pairs: readonly (readonly [Atom, Atom])[]): Datum {
  const sorted = pairs.slice().sort((a, b) => compareAtoms(a[0], b[0]));
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i]![0] === sorted[i - 1]![0])
      throw new OvsdbError("ovsdb error", "map contains duplicate key");
  }
  return { keys: sorted.map((pair) => pair[0]), values: sorted.map((pair) => pair[1]) };
}

export function defaultAtom(type: AtomicType): Atom {
  switch (type) {
    case "integer":
    case "real":
      return 0;
    case "boolean":
      return false;
    case "string":
      return "";
    case "uuid":
      return ZERO_UUID;
  }
}

/** What a column holds when nobody gave it a value (RFC 7047, 5.2.1). */
export function defaultDatum(type: ColumnType): Datum {
  if (type.min === 0) return type.value === undefined ? EMPTY_SET : EMPTY_MAP;
  return {
    keys: [defaultAtom(type.key.type)],
    values: type.value === undefined ? undefined : [defaultAtom(type.value.type)],
  };
}

export function equalDatums(a: Datum, b: Datum): boolean {
  return a === b || (equalAtoms(a.keys, b.keys) && equalAtoms(a.values ?? [], b.values ?? []));
}

function equalAtoms(a: readonly Atom[], b: readonly Atom[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The position of `key`, or -1. */
export function indexOfKey(datum: Datum, key: Atom): number {
  let low = 0;
  let high = datum.keys.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = compareAtoms(datum.keys[middle] as Atom, key);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** Every element (or pair) of `part` is in `whole`. */
export function includesAll(whole: Datum, part: Datum): boolean {
  return part.keys.every((key, i) => holds(whole, key, part.values?.[i]));
}

/** No element (or pair) of `part` is in `whole`. */
export function excludesAll(whole: Datum, part: Datum): boolean {
  return !part.keys.some((key, i) => holds(whole, key, part.values?.[i]));
}

function holds(datum: Datum, key: Atom, value: Atom | undefined): boolean {
  const at = indexOfKey(datum, key);
  return at >= 0 && (value === undefined || datum.values?.[at] === value);
}

/** `a` with the elements of `b` that it lacks; keys of a map that are there keep their value (RFC 7047, 5.1 "insert"). */
export function union(a: Datum, b: Datum): Datum {
  const added: number[] = [];
  for (let i = 0; i < b.keys.length; i++) if (indexOfKey(a, b.keys[i] as Atom) < 0) added.push(i);
  if (added.length === 0) return a;
  if (a.values === undefined) return setOf([...a.keys, ...added.map((i) => b.keys[i] as Atom)]);
  return mapOf([...pairsOf(a), ...added.map((i) => [b.keys[i], b.values?.[i]] as [Atom, Atom])]);
}

/** `a` without the elements of `b`; from a map a pair goes when key and value match, or the key if `b` is a set. */
export function subtract(a: Datum, b: Datum): Datum {
  const keep: number[] = [];
  for (let i = 0; i < a.keys.length; i++) {
    if (!holds(b, a.keys[i] as Atom, b.values === undefined ? undefined : a.values?.[i])) keep.push(i);
  }
  return keep.length === a.keys.length ? a : pick(a, keep);
}

/** `datum` with only the elements at `indexes` (ascending). */
export function pick(datum: Datum, indexes: readonly number[]): Datum {
  return {
    keys: indexes.map((i) => datum.keys[i] as Atom),
    values: datum.values && indexes.map((i) => datum.values?.[i] as Atom),
  };
}

/** What turns `before` into `after` in the update2 notation of ovsdb-server(7); the whole value for single ones. */
export function diffDatums(before: Datum, after: Datum, type: ColumnType): Datum {
  if (!isComposite(type)) return after;
  if (type.value === undefined) {
    const gone = before.keys.filter((key) => indexOfKey(after, key) < 0);
    const come = after.keys.filter((key) => indexOfKey(before, key) < 0);
    return setOf([...gone, ...come]);
  }
  const pairs: [Atom, Atom][] = [];
  for (const [key, value] of pairsOf(before)) if (indexOfKey(after, key) < 0) pairs.push([key, value]);
  for (const [key, value] of pairsOf(after)) if (!holds(before, key, value)) pairs.push([key, value]);
  return mapOf(pairs);
}

/** The inverse of `diffDatums`: applyDiff(before, diffDatums(before, after)) = after. */
export function applyDiff(before: Datum, diff: Datum, type: ColumnType): Datum {
  if (!isComposite(type)) return diff;
  if (type.value === undefined) {
    const kept = before.keys.filter((key) => indexOfKey(diff, key) < 0);
    return setOf([...kept, ...diff.keys.filter((key) => indexOfKey(before, key) < 0)]);
  }
  const result = new Map<Atom, Atom>(pairsOf(before));
  for (const [key, value] of pairsOf(diff)) {
    if (result.get(key) === value) result.delete(key);
    else result.set(key, value);
  }
  return mapOf([...result]);
}

/** The pairs of a map; a set gives none. */
export function pairsOf(datum: Datum): [Atom, Atom][] {
  const { values } = datum;
  return values === undefined ? [] : datum.keys.map((key, i) => [key, values[i] as Atom]);
}
