// The three ways to change an object by saying only the difference.
import { isObject } from "../../../base/json/index.js";
import type { ApiObject, ResourceKind, SchemaNode } from "../../resources/index.js";
import { ApiError } from "../errors.js";
import { applyJsonPatch } from "./json-patch.js";
import { applyMergePatch } from "./merge-patch.js";
import { applyStrategicMerge } from "./strategic-merge.js";

export type PatchType = "merge" | "json" | "strategic";

/** What `patch` makes of `current`; neither is changed. Throws ApiError. */
export function applyPatch(kind: ResourceKind, type: PatchType, current: ApiObject, patch: unknown): unknown {
  if (type === "json") return applyJsonPatch(current, patch);
  if (!isObject(patch)) throw new ApiError("BadRequest", "the patch must be a JSON object");
  if (type === "merge") return applyMergePatch(current, patch);
  if (!kind.strategicMerge) {
    throw new ApiError(
      "UnsupportedMediaType",
      `strategic merge patches are for the kinds of Kubernetes; use a merge or JSON patch for ${kind.kind}`,
    );
  }
  return applyStrategicMerge(current, patch, kind.schema as SchemaNode);
}
