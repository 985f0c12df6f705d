// A look at a change that has passed admission, before it is stored: what it would do beyond the object itself. Writes of
// users are reviewed, one at a time; those of the controllers, which follow from users' objects, are not.
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { ApiError } from "./errors.js";

export interface ReviewedChange {
  readonly kind: ResourceKind;
  /** As they would be stored; as they were, when they are about to go. Several are one change. */
  readonly objects: readonly [ApiObject, ...ApiObject[]];
  readonly gone: boolean;
  readonly dryRun: boolean;
}

export type AuditNotes = Readonly<Record<string, string>>;

export interface Review {
  /** For the Warning headers of the answer. */
  readonly warnings: readonly string[];
  /** Why the change must not be; it is refused then. */
  readonly refusal?: string;
  /** What the audit log should say of the change once it is stored: annotations by name. */
  readonly notes?: AuditNotes | undefined;
}

export interface Reviewer {
  /** Whether changes of the kind are looked at. */
  reviews(kind: ResourceKind): boolean;
  review(change: ReviewedChange): Promise<Review>;
}

/** Cause of a refusal by the reviewer. */
export const REVIEW_REFUSED = "ReviewRefused";

/** Throws ApiError Forbidden when the review refuses. */
export async function reviewed(reviewer: Reviewer, change: ReviewedChange): Promise<Review> {
  const review = await reviewer.review(change);
  const { refusal } = review;
  if (refusal === undefined) return review;
  const { kind, objects } = change;
  const resource = kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
  const [{ metadata }] = objects;
  const which = objects.length === 1 ? `${resource} "${metadata.name}"` : `${resource} (${objects.length})`;
  throw new ApiError("Forbidden", `${which} ${objects.length === 1 ? "is" : "are"} forbidden: ${refusal}`, {
    ...(objects.length === 1 ? { name: metadata.name } : {}),
    group: kind.group,
    kind: kind.plural,
    causes: [{ reason: REVIEW_REFUSED, message: refusal, field: "" }],
  });
}
