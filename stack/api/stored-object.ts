// Objects as the store keeps them, and the checks that every write of one makes. Pure, but for nameSuffix.
//
// Keys: /GROUP/PLURAL/NAMESPACE/NAME or /GROUP/PLURAL/NAME ("core" for the core group); values: the object as JSON
// without resourceVersion, which is the store's revision of the key.
import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../base/json/index.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";
import { sameWants } from "./admission.js";
import { ApiError, conflict } from "./errors.js";
import { OBJECT_SIZE_BYTES_MAX } from "./limits.js";
import { sameOwners } from "./managed-fields/index.js";
import type { ObjectName } from "./resource-client.js";

const NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789";

/** A write that changes nothing else is no reason to write when it was. */
export function keepTimes(current: ApiObject, next: ApiObject): void {
  const [was, is] = [current.metadata, next.metadata];
  if (!sameOwners(was.managedFields, is.managedFields)) return;
  const plain = ({ metadata, ...rest }: ApiObject): unknown => {
    const { managedFields: _owners, resourceVersion: _version, ...others } = metadata;
    return { ...rest, metadata: others };
  };
  if (isDeepStrictEqual(plain(current), plain(next))) setOwners(next, was.managedFields);
}

export function setOwners(object: ApiObject, owners: ApiObject["metadata"]["managedFields"]): void {
  if (owners === undefined) delete object.metadata.managedFields;
  else object.metadata.managedFields = owners;
}

export const MODIFIED =
  "the object has been modified; please apply your changes to the latest version and try again";

export function prefixOf(kind: ResourceKind, namespace?: string): string {
  const base = `/${kind.group === "" ? "core" : kind.group}/${kind.plural}/`;
  return namespace === undefined ? base : `${base}${namespace}/`;
}

export function keyOf(kind: ResourceKind, name: ObjectName): string {
  return prefixOf(kind, kind.namespaced ? (name.namespace ?? "") : undefined) + name.name;
}

/** A copy with resourceVersion in its usual place, behind uid. */
export function withVersion(object: ApiObject, revision: number): ApiObject {
  const metadata: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(object.metadata)) {
    if (name !== "resourceVersion") metadata[name] = value;
    if (name === "uid") metadata["resourceVersion"] = String(revision);
  }
  return { ...object, metadata: metadata as unknown as ApiObject["metadata"] };
}

export function encode(object: ApiObject): Uint8Array {
  const { resourceVersion: _version, ...metadata } = object.metadata;
  const bytes = Buffer.from(JSON.stringify({ ...object, metadata }));
  if (bytes.byteLength > OBJECT_SIZE_BYTES_MAX) {
    throw new ApiError(
      "RequestEntityTooLarge",
      `the object has ${bytes.byteLength} bytes, at most ${OBJECT_SIZE_BYTES_MAX} are allowed`,
    );
  }
  return bytes;
}

export const FOREGROUND_FINALIZER = "foregroundDeletion";

/** A copy whose deletion has been asked for. Throws ApiError Forbidden for the namespace that must be. */
export function markDeleted(
  kind: ResourceKind,
  current: ApiObject,
  { propagation, now }: { readonly propagation: string | undefined; readonly now: string },
): ApiObject {
  if (kind.kind === "Namespace" && current.metadata.name === "default") {
    throw new ApiError("Forbidden", 'namespaces "default" is forbidden: this namespace may not be deleted');
  }
  const marked = structuredClone(current);
  const { metadata } = marked;
  if (metadata.deletionTimestamp === undefined) {
    metadata.deletionTimestamp = now;
    metadata.deletionGracePeriodSeconds = 0;
    metadata.generation += 1;
    if (propagation === "Foreground") {
      metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), FOREGROUND_FINALIZER])];
    }
  }
  if (kind.kind === "Namespace") marked["status"] = { phase: "Terminating" };
  return marked;
}

/** Nothing holds the object back: no finalizer, and for a namespace no content either (finishNamespace sees to that). */
export function mayGo(kind: ResourceKind, object: ApiObject): boolean {
  return (object.metadata.finalizers ?? []).length === 0 && kind.kind !== "Namespace";
}

/** Labels count beside what is wanted: selectors look at them. */
export function sameForReview(a: ApiObject, b: ApiObject): boolean {
  return sameWants(a, b) && isDeepStrictEqual(a.metadata.labels ?? {}, b.metadata.labels ?? {});
}

export function checkVersion(kind: ResourceKind, current: ApiObject, document: unknown): void {
  const wanted = (document as Partial<ApiObject> | null)?.metadata?.resourceVersion;
  if (wanted === undefined || wanted === "" || wanted === current.metadata.resourceVersion) return;
  throw conflict(kind, current.metadata.name, MODIFIED);
}

interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

/** Whether the preconditions hold of the object. */
export function isMeant({ metadata }: ApiObject, { uid, resourceVersion }: Preconditions): boolean {
  return (
    (uid === undefined || uid === metadata.uid) &&
    (resourceVersion === undefined || resourceVersion === metadata.resourceVersion)
  );
}

/** Throws ApiError Conflict. */
export function checkPreconditions(kind: ResourceKind, current: ApiObject, request: Preconditions): void {
  const { uid, resourceVersion } = current.metadata;
  if (request.uid !== undefined && request.uid !== uid) {
    const why = `Precondition failed: UID in precondition: ${request.uid}, UID in object meta: ${uid}`;
    throw conflict(kind, current.metadata.name, why);
  }
  if (request.resourceVersion !== undefined && request.resourceVersion !== resourceVersion) {
    throw conflict(kind, current.metadata.name, MODIFIED);
  }
}

export function nameSuffix(): string {
  return [...randomBytes(5)].map((byte) => NAME_LETTERS[byte % NAME_LETTERS.length]).join("");
}

export function nameOf(document: unknown): unknown {
  return isObject(document) && isObject(document["metadata"]) ? document["metadata"]["name"] : undefined;
}
