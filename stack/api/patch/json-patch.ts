// JSON patch. Source: RFC 6902, through the package of that name. The input is never changed.
// Invariant: the result cannot outgrow OBJECT_SIZE_BYTES_MAX by copying, nor nest without end, and no operation can reach a prototype.
import { applyPatch, type Operation } from "rfc6902";
import { checkDepth } from "../depth.js";
import { ApiError } from "../errors.js";
import { OBJECT_SIZE_BYTES_MAX, PATCH_OPERATIONS_MAX } from "../limits.js";

const OPERATIONS = new Set(["add", "remove", "replace", "move", "copy", "test"]);

/** Throws ApiError BadRequest for what is no patch, Invalid for one that does not fit the object. */
export function applyJsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw new ApiError("BadRequest", "a JSON patch is a list of operations");
  if (patch.length > PATCH_OPERATIONS_MAX) {
    throw new ApiError(
      "RequestEntityTooLarge",
      `a JSON patch has at most ${PATCH_OPERATIONS_MAX} operations`,
    );
  }
  const holder = structuredClone(target);
  for (const [i, operation] of patch.entries()) {
    checkOperation(operation, i);
    const failure = applyOne(holder, operation as Operation);
    if (failure !== undefined) {
      throw new ApiError("Invalid", `the patch does not fit the object: operation ${i}: ${failure}`);
    }
    if ((operation as Operation).op !== "copy") continue;
    checkDepth(holder);
    if (JSON.stringify(holder).length > OBJECT_SIZE_BYTES_MAX) {
      throw new ApiError("RequestEntityTooLarge", "the patched object is too large");
    }
  }
  checkDepth(holder);
  return holder;
}

function applyOne(holder: unknown, operation: Operation): string | undefined {
  try {
    const [failure] = applyPatch(holder, [operation]);
    return failure === null || failure === undefined ? undefined : failure.message || failure.name;
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

function checkOperation(operation: unknown, index: number): void {
  const { op, path, from } = (operation ?? {}) as { op?: unknown; path?: unknown; from?: unknown };
  const usable = (pointer: unknown): boolean =>
    typeof pointer === "string" &&
    pointer.startsWith("/") &&
    !/(^|\/)(__proto__|constructor|prototype)(\/|$)/.test(pointer);
  const needsFrom = op === "move" || op === "copy";
  if (typeof op !== "string" || !OPERATIONS.has(op) || !usable(path) || (needsFrom && !usable(from))) {
    throw new ApiError("BadRequest", `operation ${index} of the JSON patch is malformed`);
  }
}
