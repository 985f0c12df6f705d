// What the registry is asked, and what it answers.
import type { ApiObject } from "../resources/index.js";
import type { Review } from "./review.js";
import type { Matcher } from "./selectors.js";

export interface ListRequest {
  readonly namespace?: string | undefined;
  readonly matches: Matcher;
  readonly limit?: number | undefined;
  /** Key after which the page starts. */
  readonly after?: string | undefined;
  readonly revision?: number | undefined;
}

export interface ListAnswer {
  readonly objects: readonly ApiObject[];
  readonly revision: number;
  /** Where the next page starts; undefined when this is the last. */
  readonly next: string | undefined;
  readonly remaining: number | undefined;
}

export interface WriteRequest {
  readonly dryRun?: boolean | undefined;
  readonly fieldValidation?: "Strict" | "Warn" | "Ignore" | undefined;
  readonly subresource?: "status" | undefined;
  /** A user's write: it is shown to the reviewer. */
  readonly byUser?: boolean | undefined;
  /** The program that writes, as managedFields name it. */
  readonly manager?: string | undefined;
  /** Looks at what would be stored, and what is, and throws what speaks against it. */
  readonly check?: ((next: ApiObject, current: ApiObject | undefined) => Promise<void>) | undefined;
}

export interface ApplyRequest extends WriteRequest {
  readonly manager: string;
  /** Take fields that others own. */
  readonly force: boolean;
}

export interface DeleteRequest {
  readonly dryRun?: boolean | undefined;
  readonly byUser?: boolean | undefined;
  readonly propagation?: "Background" | "Foreground" | "Orphan" | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface Deletion extends Review {
  readonly object: ApiObject;
  readonly gone: boolean;
}

export interface CollectionDeletion extends Review {
  readonly objects: readonly ApiObject[];
  /** At which they were found. */
  readonly revision: number;
}

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: ApiObject;
}

export interface WatchRequest {
  readonly namespace?: string | undefined;
  readonly matches: Matcher;
  readonly fromRevision: number;
}
