// Strategic merge patch: a merge patch that can change lists by key. Pure: neither input is changed.
// Source: Kubernetes "Update API objects in place using kubectl patch" and k8s.io/apimachinery/pkg/util/strategicpatch:
// lists with x-kubernetes-patch-strategy "merge" merge by their merge key (objects) or as a set (scalars); directives
// $patch (replace, delete, merge), $deleteFromPrimitiveList/F, $setElementOrder/F, $retainKeys.
import { isObject } from "../../../base/json/index.js";
import type { SchemaNode } from "../../resources/index.js";
import { ApiError } from "../errors.js";

const DELETE_FROM = "$deleteFromPrimitiveList/";
const ORDER_OF = "$setElementOrder/";
type Members = Record<string, unknown>;

export function applyStrategicMerge(
  target: unknown,
  patch: unknown,
  schema: SchemaNode | undefined,
): unknown {
  if (!isObject(patch)) throw new ApiError("BadRequest", "a strategic merge patch is an object");
  return mergeObject(isObject(target) ? target : {}, patch, schema);
}

function mergeObject(target: Members, patch: Members, schema: SchemaNode | undefined): Members {
  const directive = patch["$patch"];
  if (directive === "replace") return clean(patch) as Members;
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge") {
    throw new ApiError("BadRequest", `unknown $patch directive ${JSON.stringify(directive)}`);
  }
  const result: Members = { ...target };
  retainKeys(result, patch["$retainKeys"]);
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith("$")) continue;
    const before = Object.hasOwn(result, name) ? result[name] : undefined;
    const member = memberSchema(schema, name);
    if (value === null) delete result[name];
    else if (Array.isArray(value)) {
      result[name] = mergesLists(member)
        ? mergeList(asList(before), value, member as SchemaNode)
        : clean(value);
    } else if (isObject(value)) result[name] = mergeObject(isObject(before) ? before : {}, value, member);
    else result[name] = value;
  }
  applyListDirectives(result, patch, schema);
  return result;
}

/** Deletions and order come after merging, for lists that the patch itself may not even name. */
function applyListDirectives(result: Members, patch: Members, schema: SchemaNode | undefined): void {
  for (const [name, value] of Object.entries(patch)) {
    if (!name.startsWith(DELETE_FROM)) continue;
    const list = name.slice(DELETE_FROM.length);
    if (Array.isArray(result[list])) {
      result[list] = asList(result[list]).filter((item) => !asList(value).includes(item));
    }
  }
  for (const [name, value] of Object.entries(patch)) {
    if (!name.startsWith(ORDER_OF)) continue;
    const list = name.slice(ORDER_OF.length);
    if (Array.isArray(result[list])) {
      const key = memberSchema(schema, list)?.["x-kubernetes-patch-merge-key"];
      result[list] = inOrder(asList(result[list]), asList(value), key);
    }
  }
}

function mergeList(target: readonly unknown[], patch: readonly unknown[], schema: SchemaNode): unknown[] {
  const key = schema["x-kubernetes-patch-merge-key"];
  if (key === undefined) return [...new Set([...target, ...patch])];
  if (patch.some((item) => isObject(item) && item["$patch"] === "replace")) {
    return patch.filter((item) => !(isObject(item) && item["$patch"] === "replace")).map(clean);
  }
  const result = [...target];
  for (const item of patch) {
    if (!isObject(item))
      throw new ApiError("BadRequest", `an item of a list that merges by ${key} must be an object`);
    if (item[key] === undefined)
      throw new ApiError("BadRequest", `an item of the patch has no ${key} to merge by`);
    const at = result.findIndex((other) => isObject(other) && other[key] === item[key]);
    if (item["$patch"] === "delete") {
      if (at >= 0) result.splice(at, 1);
    } else if (at < 0) result.push(mergeObject({}, item, schema.items));
    else result[at] = mergeObject(result[at] as Members, item, schema.items);
  }
  return result;
}

/** Items named by `order` come in that order; each other one stays behind the item it followed. */
function inOrder(list: readonly unknown[], order: readonly unknown[], key: string | undefined): unknown[] {
  const idOf = (item: unknown): unknown =>
    key === undefined ? item : isObject(item) ? item[key] : undefined;
  const wanted = order.map(idOf);
  const named = list.filter((item) => wanted.includes(idOf(item)));
  named.sort((a, b) => wanted.indexOf(idOf(a)) - wanted.indexOf(idOf(b)));
  const result: unknown[] = [...named];
  for (const [i, item] of list.entries()) {
    if (wanted.includes(idOf(item))) continue;
    const before = i === 0 ? -1 : result.indexOf(list[i - 1]);
    result.splice(before + 1, 0, item);
  }
  return result;
}

function retainKeys(result: Members, keys: unknown): void {
  if (!Array.isArray(keys)) return;
  for (const name of Object.keys(result)) if (!keys.includes(name)) delete result[name];
}

function mergesLists(schema: SchemaNode | undefined): boolean {
  return schema?.["x-kubernetes-patch-strategy"] === "merge";
}

function memberSchema(schema: SchemaNode | undefined, name: string): SchemaNode | undefined {
  if (schema?.properties !== undefined && Object.hasOwn(schema.properties, name))
    return schema.properties[name];
  return typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A copy without directives and nulls. */
function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean);
  if (!isObject(value)) return value;
  const result: Members = {};
  for (const [name, member] of Object.entries(value)) {
    if (!name.startsWith("$") && member !== null) result[name] = clean(member);
  }
  return result;
}
