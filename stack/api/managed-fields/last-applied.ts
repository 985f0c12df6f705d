// The way from `kubectl apply` to `kubectl apply --server-side`: fields that kubectl itself set last time, by the note
// that it left on the object, are its to change though another of its names owns them. Pure.
// Source: Kubernetes documentation, "Server-Side Apply", Upgrading from client-side apply.
import { isObject } from "../../../base/json/index.js";
import type { ApiObject, SchemaNode } from "../../resources/index.js";
import { ApiError } from "../errors.js";
import { normalize } from "./configuration.js";
import { difference, emptySet, type FieldSet, union } from "./field-set.js";
import { compare, DuplicateItem, fieldsOf } from "./typed-fields.js";

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * Fields of `live` that are still as the note says. `ownable` gives the part of an object that can be owned. None for
 * managers other than kubectl, without a note, and for a note that cannot be read.
 */
export function fieldsLastApplied(
  schema: SchemaNode,
  live: ApiObject,
  manager: string,
  ownable: (object: ApiObject) => Record<string, unknown>,
): FieldSet {
  const note = live.metadata.annotations?.[LAST_APPLIED];
  if (manager !== "kubectl" || note === undefined) return emptySet();
  try {
    const document: unknown = JSON.parse(note);
    if (!isObject(document) || !isObject(document["metadata"])) return emptySet();
    const applied = ownable(normalize(schema, document) as ApiObject);
    const { added, modified, removed } = compare(schema, applied, ownable(live));
    return difference(fieldsOf(schema, applied), union(union(added, modified), removed));
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof DuplicateItem || thrown instanceof ApiError)
      return emptySet();
    throw thrown;
  }
}
