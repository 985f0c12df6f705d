// Sets of fields of an object, as the `fieldsV1` of managedFields names them. Pure; sets are never changed once made,
// but for `insert`, which builds them.
//
// A path is a list of elements, each written as FieldsV1 writes it:
//   f:NAME              a field of a struct or map
//   k:{"KEY":VALUE,…}   the item of a list with these keys, keys sorted
//   v:VALUE             the item of a set with this JSON value
//   i:INDEX             the item at this position
// In JSON a set is nested objects; "." says that a path that has more below it is itself in the set.
// Source: Kubernetes API, FieldsV1; structured-merge-diff, package fieldpath (the form, not the code).
import { isObject } from "../../../base/json/index.js";
import { DOCUMENT_DEPTH_MAX } from "../limits.js";

export interface FieldNode {
  member: boolean;
  readonly below: FieldSet;
}
export type FieldSet = Map<string, FieldNode>;
export type FieldPath = readonly string[];

export const emptySet = (): FieldSet => new Map();

export function isEmpty(set: FieldSet): boolean {
  for (const node of set.values()) if (node.member || !isEmpty(node.below)) return false;
  return true;
}

export function insert(set: FieldSet, path: FieldPath): void {
  let at = set;
  for (const [i, element] of path.entries()) {
    let node = at.get(element);
    if (node === undefined) {
      node = { member: false, below: emptySet() };
      at.set(element, node);
    }
    if (i === path.length - 1) node.member = true;
    at = node.below;
  }
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  return combine(a, b, (inA, inB) => inA || inB);
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  return combine(a, b, (inA, inB) => inA && inB);
}

export function difference(a: FieldSet, b: FieldSet): FieldSet {
  return combine(a, b, (inA, inB) => inA && !inB);
}

export function equal(a: FieldSet, b: FieldSet): boolean {
  return isEmpty(combine(a, b, (inA, inB) => inA !== inB));
}

/** Every path in the set, in the order of its JSON form. */
export function paths(set: FieldSet, prefix: FieldPath = []): FieldPath[] {
  return sorted(set).flatMap(([element, node]) => {
    const path = [...prefix, element];
    return [...(node.member ? [path] : []), ...paths(node.below, path)];
  });
}

function combine(a: FieldSet, b: FieldSet, keep: (inA: boolean, inB: boolean) => boolean): FieldSet {
  const result = emptySet();
  for (const element of new Set([...a.keys(), ...b.keys()])) {
    const [inA, inB] = [a.get(element), b.get(element)];
    const member = keep(inA?.member ?? false, inB?.member ?? false);
    const below = combine(inA?.below ?? NONE, inB?.below ?? NONE, keep);
    if (member || below.size > 0) result.set(element, { member, below });
  }
  return result;
}
const NONE: FieldSet = emptySet();

/** The JSON form, in one order whatever the order of insertion. */
export function encodeFields(set: FieldSet): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [element, { member, below }] of sorted(set)) {
    const inside = encodeFields(below);
    if (Object.keys(inside).length > 0) result[element] = member ? { ".": {}, ...inside } : inside;
    else if (member) result[element] = {};
  }
  return result;
}

/** Throws FieldsError, and nothing else, for what is no FieldsV1. */
export function parseFields(value: unknown): FieldSet {
  return parseBelow(value, "", 0);
}

export class FieldsError extends Error {}

function parseBelow(value: unknown, at: string, depth: number): FieldSet {
  if (!isObject(value)) throw new FieldsError(`${at || "fieldsV1"}: must be an object`);
  if (depth > DOCUMENT_DEPTH_MAX)
    throw new FieldsError(`must not be deeper than ${DOCUMENT_DEPTH_MAX} levels`);
  const result = emptySet();
  for (const [text, inside] of Object.entries(value)) {
    if (text === ".") {
      if (!isObject(inside) || Object.keys(inside).length > 0)
        throw new FieldsError(`${at}: "." must be an empty object`);
      continue;
    }
    const element = parseElement(text);
    if (element === undefined) {
      throw new FieldsError(
        `${JSON.stringify(text.slice(0, 80))}: must be f:NAME, k:{KEYS}, v:VALUE or i:INDEX`,
      );
    }
    const below = parseBelow(inside, text.slice(0, 80), depth + 1);
    const here = inside as Record<string, unknown>;
    const member = Object.hasOwn(here, ".") || Object.keys(here).length === 0;
    result.set(element, { member, below });
  }
  return result;
}

/** The element in its one form; undefined when it is none. */
function parseElement(text: string): string | undefined {
  const rest = text.slice(2);
  switch (text.slice(0, 2)) {
    case "f:":
      return text;
    case "i:":
      return /^(0|[1-9]\d{0,8})$/.test(rest) ? text : undefined;
    case "v:": {
      const value = parseJson(rest);
      return isScalar(value) ? valueElement(value) : undefined;
    }
    case "k:": {
      const keys = parseJson(rest);
      if (!isObject(keys) || Object.keys(keys).length === 0) return undefined;
      return Object.values(keys).every(isScalar) ? keyElement(keys as Record<string, Scalar>) : undefined;
    }
    default:
      return undefined;
  }
}

export type Scalar = string | number | boolean | null;

export function isScalar(value: unknown): value is Scalar {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

export const fieldElement = (name: string): string => `f:${name}`;
export const valueElement = (value: Scalar): string => `v:${JSON.stringify(value)}`;
export function keyElement(keys: Readonly<Record<string, Scalar>>): string {
  const ordered = Object.entries(keys).sort(([a], [b]) => (a < b ? -1 : 1));
  const members = ordered.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `k:{${members.join(",")}}`;
}

/** As people read it: .spec.interfaces[name="front"].network */
export function pathText(path: FieldPath): string {
  return path.map(elementText).join("");
}

function elementText(element: string): string {
  const rest = element.slice(2);
  if (element.startsWith("f:")) return `.${rest}`;
  if (element.startsWith("i:")) return `[${rest}]`;
  if (element.startsWith("v:")) return `[=${rest}]`;
  const keys = Object.entries(parseJson(rest) as Record<string, Scalar>);
  return `[${keys.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(",")}]`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const RANK: Readonly<Record<string, number>> = { f: 0, k: 1, v: 2, i: 3 };

function sorted(set: FieldSet): [string, FieldNode][] {
  const rank = (element: string): number => RANK[element[0] as string] ?? 4;
  return [...set].sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0));
}
