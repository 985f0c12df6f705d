// What the API server needs to know about a kind. One file per kind makes one of these; `index.ts` lists them.
import type { TSchema } from "typebox";
import type { FieldErrors } from "./field-errors.js";
import type { NameForm } from "./names.js";
import type { ObjectMeta } from "./schema.js";

/** Any object as the API server keeps it. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** A column of `kubectl get`. */
export interface Column<T> {
  readonly name: string;
  readonly type?: "string" | "integer" | "boolean" | "date";
  readonly description: string;
  /** Shown only by -o wide. */
  readonly wide?: boolean;
  value(object: T): string | number | boolean | undefined;
}

export interface ValidationContext<T> {
  /** The object as it was before this write; undefined for a creation. */
  readonly previous: T | undefined;
  /** The other objects of the kind in the same namespace (all, for a cluster-wide kind). */
  readonly siblings: readonly T[];
}

export interface ResourceKind<T = ApiObject> {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  /** Its description documents the kind. */
  readonly schema: TSchema;
  /** True when status is a subresource of its own and spec changes raise metadata.generation. */
  readonly hasStatus: boolean;
  /** True for the kinds that Kubernetes itself defines: they take strategic merge patches. */
  readonly strategicMerge: boolean;
  readonly columns: readonly Column<T>[];
  /** Further subresources that the host agent answers, by name and method. */
  readonly actions?: readonly { readonly name: string; readonly method: "GET" | "POST" }[];
  /** True when `validate` looks at `siblings`: writes of the kind then happen one at a time. */
  readonly comparesSiblings?: boolean;
  /**
   * What one object takes of what a ResourceQuota limits, by the quota's name for it: a whole number. Depends on nothing
   * but what is wanted (spec).
   */
  readonly consumes?: Readonly<
    Record<string, { readonly base: "binary" | "decimal"; amountOf(object: T): number }>
  >;
  /** What names may look like; a DNS subdomain unless said otherwise. */
  readonly nameForm?: NameForm;
  /** Fills in what depends on other fields; runs after schema defaults. May change `object`. */
  complete?(object: T): void;
  /** What the schema cannot say. Runs only on objects that conform to it. */
  validate?(object: T, errors: FieldErrors, context: ValidationContext<T>): void;
  /** Warnings for whoever writes the object: what is taken and may not have been meant. Runs on what `validate` found sound. */
  advise?(object: T): string[];
}

export const PLINTH_GROUP = "plinth.dev";
export const PLINTH_VERSION = "v1alpha1";
export const PLINTH_API_VERSION = `${PLINTH_GROUP}/${PLINTH_VERSION}`;

/** "plinth.dev/v1alpha1", or "v1" for the core group. */
export function apiVersionOf(kind: Pick<ResourceKind, "group" | "version">): string {
  return kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
}

/** The words of one kind of ours; hides the object type so that all kinds fit into one list. */
export function defineKind<T>(kind: ResourceKind<T>): ResourceKind {
  return kind as unknown as ResourceKind;
}

/** The common part of all kinds of our own group. */
export const plinthKind = {
  group: PLINTH_GROUP,
  version: PLINTH_VERSION,
  hasStatus: true,
  strategicMerge: false,
} as const;
