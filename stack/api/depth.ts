// How deep a document may nest. What walks documents by recursion relies on it. Pure.
import { ApiError } from "./errors.js";
import { DOCUMENT_DEPTH_MAX } from "./limits.js";

/** Throws ApiError BadRequest when objects and lists of `value` nest deeper than DOCUMENT_DEPTH_MAX. */
export function checkDepth(value: unknown): void {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DOCUMENT_DEPTH_MAX) {
      throw new ApiError(
        "BadRequest",
        `the body must not be nested deeper than ${DOCUMENT_DEPTH_MAX} levels`,
      );
    }
    const next: unknown[] = [];
    for (const each of level) {
      if (typeof each !== "object" || each === null) continue;
      for (const child of Object.values(each)) if (typeof child === "object") next.push(child);
    }
    level = next;
  }
}
