// How programs use the resource API: typed reads, writes and informers. Two implementations: `ApiClient` (HTTPS, with
// a kubeconfig) and `LocalClient` (inside the controller's process).
import type { ApiObject, Condition, KindName, ResourceInput, ResourceTypes } from "../resources/index.js";

/** Names one object; any `metadata` will do. `namespace` is needed for namespaced kinds. */
export interface ObjectName {
  readonly name: string;
  readonly namespace?: string | undefined;
}

export interface ListOptions {
  /** All namespaces when absent. */
  readonly namespace?: string | undefined;
  /** "tier=web,env in (a,b)" */
  readonly labelSelector?: string | undefined;
  /** "metadata.name=x,spec.host=y" */
  readonly fieldSelector?: string | undefined;
}

export interface ResourceList<T> {
  readonly items: T[];
  readonly resourceVersion: string;
}

export interface WriteOptions {
  /** Judge, answer, and change nothing. */
  readonly dryRun?: boolean;
  /** What happens to unknown fields; Strict refuses them. */
  readonly fieldValidation?: "Strict" | "Warn" | "Ignore";
}

export interface PatchOptions extends WriteOptions {
  /** JSON merge patch (RFC 7386) unless said otherwise. */
  readonly type?: "merge" | "json" | "strategic";
  readonly subresource?: "status";
}

export interface DeleteOptions {
  readonly dryRun?: boolean;
  /** Refuse with 409 when the object is not this one any more. */
  readonly uid?: string;
  readonly propagation?: "Background" | "Foreground" | "Orphan";
}

export type Change<T> =
  | { readonly type: "added"; readonly object: T; readonly previous: undefined }
  | { readonly type: "modified"; readonly object: T; readonly previous: T }
  | { readonly type: "deleted"; readonly object: T; readonly previous: T };

export interface InformerOptions<T> extends ListOptions {
  /**
   * Called for every object that is there, then for every change, in order. After a lost connection only differences
   * are told. Must not throw; a promise is not awaited.
   */
  readonly onChange?: (change: Change<T>) => void;
  /** Called once, after everything that was there at first has been told. */
  readonly onSynced?: () => void;
  /** Called when the connection is lost or refused; it is tried again by itself. */
  readonly onError?: (error: Error) => void;
}

/** A kind's objects, kept up to date. */
export interface Informer<T> {
  /** Resolves once everything that was there at first is in the cache; rejects when closed before. */
  readonly synced: Promise<void>;
  get(name: ObjectName): T | undefined;
  list(): T[];
  close(): void;
}

export interface EventInput {
  readonly type?: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/**
 * Errors are `ApiError` (errors.ts) with the HTTP status and the Kubernetes reason: NotFound, AlreadyExists, Conflict,
 * Invalid …; or PlinthError API_UNREACHABLE. Objects that are handed out belong to the caller's cache: do not change them.
 */
export interface ResourceClient {
  /** undefined when there is none. */
  get<K extends KindName>(kind: K, name: ObjectName): Promise<ResourceTypes[K] | undefined>;
  list<K extends KindName>(kind: K, options?: ListOptions): Promise<ResourceList<ResourceTypes[K]>>;
  create<K extends KindName>(
    kind: K,
    object: ResourceInput<K>,
    options?: WriteOptions,
  ): Promise<ResourceTypes[K]>;
  /** With metadata.resourceVersion set, refused with 409 Conflict when someone else was faster. */
  replace<K extends KindName>(
    kind: K,
    object: ResourceInput<K>,
    options?: WriteOptions & { readonly subresource?: "status" },
  ): Promise<ResourceTypes[K]>;
  patch<K extends KindName>(
    kind: K,
    name: ObjectName,
    patch: unknown,
    options?: PatchOptions,
  ): Promise<ResourceTypes[K]>;
  /** Merges into status (RFC 7386: null removes; lists are replaced as a whole). */
  patchStatus<K extends KindName>(kind: K, name: ObjectName, status: object): Promise<ResourceTypes[K]>;
  /** False when there was none. The object may stay until its finalizers are done. */
  delete(kind: KindName, name: ObjectName, options?: DeleteOptions): Promise<boolean>;
  watchKind<K extends KindName>(
    kind: K,
    options: InformerOptions<ResourceTypes[K]>,
  ): Informer<ResourceTypes[K]>;
  /** Writes an Event about `object`; equal ones are counted. Never throws: a lost event is no failure. */
  recordEvent(object: Pick<ApiObject, "apiVersion" | "kind" | "metadata">, event: EventInput): Promise<void>;
}

/**
 * `conditions` with one verdict put in. The same array when nothing but the time would change, so that callers can
 * skip the write; lastTransitionTime moves only with `status`.
 */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  verdict: Omit<Condition, "lastTransitionTime">,
  nowMs: number = Date.now(),
): Condition[] {
  const before = conditions?.find((each) => each.type === verdict.type);
  if (
    before !== undefined &&
    before.status === verdict.status &&
    before.reason === verdict.reason &&
    before.message === verdict.message &&
    before.observedGeneration === verdict.observedGeneration
  ) {
    return conditions as Condition[];
  }
  const lastTransitionTime =
    before?.status === verdict.status && before.lastTransitionTime !== undefined
      ? before.lastTransitionTime
      : formatTime(nowMs);
  const others = (conditions ?? []).filter((each) => each.type !== verdict.type);
  return [...others, { ...verdict, lastTransitionTime }].sort((a, b) => (a.type < b.type ? -1 : 1));
}

/** RFC 3339 in whole seconds, as Kubernetes writes times. */
export function formatTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}
