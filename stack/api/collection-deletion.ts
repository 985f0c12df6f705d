// What the deletion of several objects of one kind writes, as one transaction. Pure.
import { isDeepStrictEqual } from "node:util";
import type { Condition, Operation } from "../../base/store/index.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { encode, keyOf, markDeleted, mayGo, withVersion } from "./stored-object.js";

export interface CollectionPlan {
  readonly conditions: readonly Condition[];
  readonly operations: readonly Operation[];
  /** Those that go at once; the others are marked. */
  readonly gone: readonly ApiObject[];
  /** As their deletion is asked for; what a dry run answers. */
  readonly marked: readonly ApiObject[];
  /** All of them as they are left. `lastRevision`: that of the transaction, of which `after` operations follow ours. */
  left(lastRevision: number, after: number): ApiObject[];
}

/** Throws ApiError Forbidden for the namespace that must be. */
export function planCollectionDeletion(
  kind: ResourceKind,
  objects: readonly ApiObject[],
  how: { readonly propagation: string | undefined; readonly now: string },
): CollectionPlan {
  const operations: Operation[] = [];
  const gone: ApiObject[] = [];
  const all: ApiObject[] = [];
  const left: { readonly object: ApiObject; readonly operation: number | undefined }[] = [];
  for (const current of objects) {
    const key = keyOf(kind, current.metadata);
    const marked = markDeleted(kind, current, how);
    all.push(marked);
    if (mayGo(kind, marked)) {
      gone.push(current);
      left.push({ object: current, operation: operations.length });
      operations.push({ type: "delete", key });
    } else if (isDeepStrictEqual(marked, current)) left.push({ object: current, operation: undefined });
    else {
      left.push({ object: marked, operation: operations.length });
      operations.push({ type: "put", key, value: encode(marked) });
    }
  }
  return {
    conditions: objects.map(({ metadata }) => ({
      key: keyOf(kind, metadata),
      revision: Number(metadata.resourceVersion),
    })),
    operations,
    gone,
    marked: all,
    left: (lastRevision, after) =>
      left.map(({ object, operation }) => {
        if (operation === undefined) return object;
        return withVersion(object, lastRevision - after - (operations.length - 1 - operation));
      }),
  };
}
