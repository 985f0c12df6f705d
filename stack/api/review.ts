// A look at a change that has passed admission, before it is stored: what it would do beyond the object itself. Writes of
// users are reviewed, one at a time; those of the controllers, which follow from users' objects, are not.
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { ApiError } from "./errors.js";

export interface ReviewedChange {
  readonly kind: ResourceKind;
  /** As it would be stored; as it was, when it is about to go. */
  readonly object: ApiObject;
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
  readonly notes?: AuditNotes;
}

export interface Reviewer {
  /** Whether changes of the kind are looked at. */
  reviews(kind: ResourceKind): boolean;
  review(change: ReviewedChange): Promise<Review>;
}

/** Throws ApiError Forbidden when the review refuses. */
export async function reviewed(reviewer: Reviewer, change: ReviewedChange): Promise<Review> {
  const review = await reviewer.review(change);
  const { refusal } = review;
  if (refusal === undefined) return review;
  const { kind, object } = change;
  const resource = kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
  throw new ApiError("Forbidden", `${resource} "${object.metadata.name}" is forbidden: ${refusal}`);
}
