// Objects seen as fields that have owners: which fields a value has, how two values differ, what becomes of a value when
// another is laid over it, and what is left when fields are given up. The schema says what is one field:
//
//   object with properties        a struct: each property is a field
//   object without                a map: each entry is a field        x-kubernetes-map-type: atomic → one field
//   array                         one field
//   array, list-type map          each item, known by its keys        x-kubernetes-list-type, x-kubernetes-list-map-keys
//   array, list-type set          each item, known by its value
//
// Pure; inputs are never changed. Values that do not fit the schema are one field each: admission refuses them later.
// Source: Kubernetes API, "Server-Side Apply", Merge strategy; structured-merge-diff, package typed (rules, not code).
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../../base/json/index.js";
import type { SchemaNode } from "../../resources/index.js";
import {
  emptySet,
  type FieldPath,
  type FieldSet,
  fieldElement,
  insert,
  isEmpty,
  isScalar,
  keyElement,
  type Scalar,
  valueElement,
} from "./field-set.js";

export class DuplicateItem extends Error {}

type Shape = "leaf" | "map" | "list";
type Children = ReadonlyMap<string, unknown>;

/** The fields that `value` states, as an applied configuration owns them. Throws DuplicateItem. */
export function fieldsOf(schema: SchemaNode | undefined, value: unknown): FieldSet {
  const set = emptySet();
  collect(schema, value, [], set);
  return set;
}

function collect(schema: SchemaNode | undefined, value: unknown, path: FieldPath, set: FieldSet): void {
  if (shapeOf(schema, value) === "leaf") {
    insert(set, path);
    return;
  }
  const children = childrenOf(schema, value, "refuse");
  if (children.size === 0 && path.length > 0) insert(set, path);
  for (const [element, child] of children) {
    const at = [...path, element];
    if (!isProperty(schema, element)) insert(set, at);
    collect(childSchema(schema, element), child, at, set);
  }
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

/** What differs from `before` to `after`; structs, maps and items that come or go as a whole are told too. */
export function compare(schema: SchemaNode, before: unknown, after: unknown): Comparison {
  const comparison = { added: emptySet(), modified: emptySet(), removed: emptySet() };
  compareAt(schema, before, after, [], comparison);
  return comparison;
}

function compareAt(
  schema: SchemaNode | undefined,
  before: unknown,
  after: unknown,
  path: FieldPath,
  told: Comparison,
): void {
  if (before === undefined || after === undefined) {
    if (before !== undefined) insertAll(schema, before, path, told.removed);
    if (after !== undefined) insertAll(schema, after, path, told.added);
    return;
  }
  const shape = shapeOf(schema, after);
  if (shapeOf(schema, before) !== shape) {
    insertAll(schema, before, path, told.removed);
    insertAll(schema, after, path, told.added);
    return;
  }
  if (shape === "leaf") {
    if (!isDeepStrictEqual(before, after)) insert(told.modified, path);
    return;
  }
  const [was, is] = [childrenOf(schema, before, "group"), childrenOf(schema, after, "group")];
  for (const element of new Set([...was.keys(), ...is.keys()])) {
    compareAt(childSchema(schema, element), was.get(element), is.get(element), [...path, element], told);
  }
}

function insertAll(schema: SchemaNode | undefined, value: unknown, path: FieldPath, set: FieldSet): void {
  if (path.length > 0) insert(set, path);
  if (shapeOf(schema, value) === "leaf") return;
  for (const [element, child] of childrenOf(schema, value, "group")) {
    insertAll(childSchema(schema, element), child, [...path, element], set);
  }
}

/** `live` with everything that `applied` states; what only `live` has stays. */
export function merge(schema: SchemaNode | undefined, live: unknown, applied: unknown): unknown {
  const shape = shapeOf(schema, applied);
  if (shape === "leaf" || shapeOf(schema, live) !== shape) return structuredClone(applied);
  const [was, wanted] = [childrenOf(schema, live, "first"), childrenOf(schema, applied, "first")];
  const both = (element: string): unknown => {
    const present = was.get(element);
    if (!wanted.has(element)) return structuredClone(present);
    return merge(childSchema(schema, element), present, wanted.get(element));
  };
  if (shape === "list") return mergedOrder([...was.keys()], [...wanted.keys()]).map(both);
  const result: Record<string, unknown> = {};
  for (const element of new Set([...was.keys(), ...wanted.keys()])) setMember(result, element, both(element));
  return result;
}

/** The applied items in their order; items that only are there stay behind the one that they stand behind. */
function mergedOrder(live: readonly string[], applied: readonly string[]): string[] {
  const wanted = new Set(applied);
  const placed = new Set<string>();
  const result: string[] = [];
  let next = 0;
  const place = (element: string): void => {
    placed.add(element);
    result.push(element);
  };
  for (const element of live) {
    if (!wanted.has(element)) place(element);
    else if (!placed.has(element)) {
      while (next < applied.length && !placed.has(element)) place(applied[next++] as string);
    }
  }
  while (next < applied.length) place(applied[next++] as string);
  return result;
}

/**
 * `value` without the fields of `last` that are not in `owned`: what a manager states no longer, and nobody else does.
 * What becomes empty by that goes too. An item stays while somebody owns it as such, and then keeps its keys.
 */
export function prune(
  schema: SchemaNode | undefined,
  value: unknown,
  last: FieldSet,
  owned: FieldSet,
): unknown {
  const shape = shapeOf(schema, value);
  if (shape === "leaf" || last.size === 0) return value;
  const kept: [string, unknown][] = [];
  for (const [element, child] of childrenOf(schema, value, "first")) {
    const had = last.get(element);
    const has = owned.get(element);
    const isOwned = has !== undefined && (has.member || (element.startsWith("f:") && !isEmpty(has.below)));
    if (had === undefined) kept.push([element, child]);
    else if (!had.member || isOwned) {
      const below = element.startsWith("k:") ? withoutKeys(schema, had.below) : had.below;
      const rest = prune(childSchema(schema, element), child, below, has?.below ?? emptySet());
      if (isOwned || !isBare(rest) || isBare(child)) kept.push([element, rest]);
    }
  }
  if (shape === "list") return kept.map(([, child]) => child);
  const result: Record<string, unknown> = {};
  for (const [element, child] of kept) setMember(result, element, child);
  return result;
}

function withoutKeys(list: SchemaNode | undefined, fields: FieldSet): FieldSet {
  const keys = (list?.["x-kubernetes-list-map-keys"] ?? []).map(fieldElement);
  return new Map([...fields].filter(([element]) => !keys.includes(element)));
}

const isBare = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length === 0;

function shapeOf(schema: SchemaNode | undefined, value: unknown): Shape {
  if (isObject(value)) {
    const isMap = schema?.type === undefined || schema.type === "object";
    return isMap && schema?.["x-kubernetes-map-type"] !== "atomic" ? "map" : "leaf";
  }
  if (!Array.isArray(value)) return "leaf";
  const type = schema?.["x-kubernetes-list-type"];
  if (type === "map")
    return value.every((item) => itemKeys(schema as SchemaNode, item) !== undefined) ? "list" : "leaf";
  return type === "set" && value.every(isScalar) ? "list" : "leaf";
}

/**
 * Members of a map or items of a list by their path element. Items that share their keys, which only an object that
 * somebody else wrote can have, are told as one list (group), by the first of them, or refused.
 */
function childrenOf(
  schema: SchemaNode | undefined,
  value: unknown,
  duplicates: "refuse" | "group" | "first",
): Children {
  const children = new Map<string, unknown>();
  if (!Array.isArray(value)) {
    for (const [name, member] of Object.entries(value as object)) {
      if (member !== undefined) children.set(fieldElement(name), member);
    }
    return children;
  }
  for (const item of value) {
    const keys = schema?.["x-kubernetes-list-type"] === "map" ? itemKeys(schema, item) : undefined;
    const element = keys === undefined ? valueElement(item as Scalar) : keyElement(keys);
    if (!children.has(element)) children.set(element, item);
    else if (duplicates === "refuse") throw new DuplicateItem(element.slice(2));
    else if (duplicates === "group") children.set(element, [children.get(element), item].flat());
  }
  return children;
}

/** What names an item of a keyed list; undefined when a key is missing and has no default. */
function itemKeys(list: SchemaNode, item: unknown): Record<string, Scalar> | undefined {
  if (!isObject(item)) return undefined;
  const keys: Record<string, Scalar> = {};
  for (const name of list["x-kubernetes-list-map-keys"] ?? []) {
    const value = item[name] ?? list.items?.properties?.[name]?.default;
    if (value === undefined || !isScalar(value)) return undefined;
    keys[name] = value;
  }
  return keys;
}

function isProperty(schema: SchemaNode | undefined, element: string): boolean {
  return element.startsWith("f:") && Object.hasOwn(schema?.properties ?? {}, element.slice(2));
}

function childSchema(schema: SchemaNode | undefined, element: string): SchemaNode | undefined {
  if (!element.startsWith("f:")) return schema?.items;
  if (isProperty(schema, element)) return schema?.properties?.[element.slice(2)];
  return typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

/** A member named __proto__ must become a member, not the prototype. */
function setMember(target: Record<string, unknown>, element: string, value: unknown): void {
  Object.defineProperty(target, element.slice(2), {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}
