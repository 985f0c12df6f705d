// From a document that somebody sent to an object that may be stored: form, defaults, metadata and rules. Pure, but for
// the identity that it is given.
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../base/json/index.js";
import {
  type ApiObject,
  apiVersionOf,
  conform,
  FieldErrors,
  type ObjectMeta,
  type ResourceKind,
  type SchemaNode,
  validateMetadata,
} from "../resources/index.js";
import { ApiError, invalid } from "./errors.js";
import { validateManagedFields } from "./managed-fields/index.js";
import type { AuditNotes } from "./review.js";

export interface AdmissionRequest {
  readonly kind: ResourceKind;
  readonly namespace: string | undefined;
  /** Undefined for a creation. */
  readonly previous: ApiObject | undefined;
  readonly fieldValidation: "Strict" | "Warn" | "Ignore";
  readonly subresource?: "status" | undefined;
  /** Other objects of the kind in the namespace; asked for only by kinds that compare. */
  readonly siblings: () => readonly ApiObject[];
  /** What a new object gets. */
  readonly identity: { readonly uid: string; readonly now: string; readonly nameSuffix: string };
}

export interface Admitted {
  readonly object: ApiObject;
  /** For the Warning headers of the answer. */
  readonly warnings: string[];
  /** For the audit log. */
  readonly notes?: AuditNotes | undefined;
}

/** Throws ApiError BadRequest or Invalid. `document` is not changed. */
export function admit(document: unknown, request: AdmissionRequest): Admitted {
  const { kind, previous } = request;
  checkType(document, kind);
  const report = { errors: new FieldErrors(), unknownFields: [] as string[] };
  const object = conform(kind.schema as SchemaNode, document, "", report) as ApiObject;
  const name = nameOf(document);
  if (request.fieldValidation === "Strict" && report.unknownFields.length > 0) {
    const fields = report.unknownFields.map((field) => `unknown field "${field}"`).join(", ");
    throw new ApiError(
      "BadRequest",
      `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${fields}`,
    );
  }
  if (report.errors.list.length > 0) throw invalid(kind, name, report.errors.list);
  if (previous === undefined) completeNew(object, request);
  else keepIdentity(object, previous, request, report.errors);
  kind.complete?.(object);
  if (request.subresource === undefined) {
    validateMetadata(object.metadata, kind.nameForm ?? "subdomain", report.errors);
    validateManagedFields(object.metadata.managedFields, apiVersionOf(kind), report.errors);
    const context = {
      previous,
      get siblings() {
        return request.siblings();
      },
    };
    kind.validate?.(object, report.errors, context);
  }
  if (report.errors.list.length > 0) throw invalid(kind, object.metadata.name || name, report.errors.list);
  const unknown = request.fieldValidation === "Warn" ? report.unknownFields : [];
  const advice = request.subresource === undefined ? (kind.advise?.(object) ?? []) : [];
  return { object, warnings: [...unknown.map((field) => `unknown field "${field}"`), ...advice] };
}

/** True when both say the same about what is wanted: everything but metadata and status. */
export function sameWants(a: ApiObject, b: ApiObject): boolean {
  const wants = ({ metadata: _metadata, status: _status, ...rest }: ApiObject) => rest;
  return isDeepStrictEqual(wants(a), wants(b));
}

function checkType(document: unknown, kind: ResourceKind): asserts document is Record<string, unknown> {
  if (!isObject(document)) throw new ApiError("BadRequest", "the body must be a JSON object");
  const { apiVersion, kind: kindName } = document;
  const expected = apiVersionOf(kind);
  if ((apiVersion ?? expected) !== expected || (kindName ?? kind.kind) !== kind.kind) {
    throw new ApiError(
      "BadRequest",
      `the body is a ${JSON.stringify(kindName)} of ${JSON.stringify(apiVersion)}, expected a ${JSON.stringify(kind.kind)} of ${JSON.stringify(expected)}`,
    );
  }
}

function nameOf(document: Record<string, unknown>): string {
  const metadata = document["metadata"];
  if (!isObject(metadata)) return "";
  return String(metadata["name"] ?? metadata["generateName"] ?? "").slice(0, 253);
}

function completeNew(object: ApiObject, request: AdmissionRequest): void {
  const given = object.metadata;
  if (given.resourceVersion !== undefined && given.resourceVersion !== "") {
    throw new ApiError("BadRequest", "resourceVersion should not be set on objects to be created");
  }
  const errors = new FieldErrors();
  if (!given.name && !given.generateName)
    errors.required("metadata.name", "name or generateName is required");
  if (errors.list.length > 0) throw invalid(request.kind, "", errors.list);
  const name = given.name || `${(given.generateName as string).slice(0, 57)}${request.identity.nameSuffix}`;
  object.metadata = metadata(given, {
    name,
    namespace: placeOf(given, request),
    uid: request.identity.uid,
    generation: 1,
    creationTimestamp: request.identity.now,
  });
  if (request.kind.hasStatus) delete object["status"];
}

/** What only the server decides stays as it was. */
function keepIdentity(
  object: ApiObject,
  previous: ApiObject,
  request: AdmissionRequest,
  errors: FieldErrors,
): void {
  const given = object.metadata;
  const was = previous.metadata;
  if (request.subresource === "status") {
    const status = object["status"];
    Object.assign(object, structuredClone({ ...previous, status }));
    if (status === undefined) delete object["status"];
    return;
  }
  if (given.name !== undefined && given.name !== was.name) {
    errors.invalid("metadata.name", given.name, "cannot be changed");
  }
  placeOf(given, request);
  if (given.uid !== undefined && given.uid !== "" && given.uid !== was.uid) {
    throw new ApiError(
      "Conflict",
      `Precondition failed: UID in precondition: ${given.uid}, UID in object meta: ${was.uid}`,
    );
  }
  object.metadata = metadata(given, was);
  if (was.deletionTimestamp !== undefined) {
    const added = (given.finalizers ?? []).filter((each) => !(was.finalizers ?? []).includes(each));
    if (added.length > 0)
      errors.forbidden("metadata.finalizers", "no new finalizers while the object is being deleted");
  }
  if (!request.kind.hasStatus) return;
  if (previous["status"] === undefined) delete object["status"];
  else object["status"] = structuredClone(previous["status"]);
}

/** The namespace of the request; refuses a body that says another. */
function placeOf(given: ObjectMeta, request: AdmissionRequest): string | undefined {
  if (given.namespace !== undefined && given.namespace !== "" && given.namespace !== request.namespace) {
    throw new ApiError(
      "BadRequest",
      request.namespace === undefined
        ? `a ${request.kind.kind} has no namespace`
        : `the namespace of the object (${given.namespace}) does not match the namespace of the request (${request.namespace})`,
    );
  }
  return request.namespace;
}

type Identity = Pick<ObjectMeta, "name" | "uid" | "generation" | "creationTimestamp"> & {
  readonly namespace?: string | undefined;
  readonly deletionTimestamp?: string | undefined;
  readonly deletionGracePeriodSeconds?: number | undefined;
};

/** In the order in which people expect to read it; empty maps and lists are left out. */
function metadata(given: ObjectMeta, identity: Identity): ObjectMeta {
  const kept = <T extends object>(value: T | undefined): T | undefined =>
    value === undefined || Object.keys(value).length === 0 ? undefined : value;
  const all = {
    name: identity.name,
    generateName: given.generateName,
    namespace: identity.namespace,
    uid: identity.uid,
    generation: identity.generation,
    creationTimestamp: identity.creationTimestamp,
    deletionTimestamp: identity.deletionTimestamp,
    deletionGracePeriodSeconds: identity.deletionGracePeriodSeconds,
    labels: kept(given.labels),
    annotations: kept(given.annotations),
    ownerReferences: kept(given.ownerReferences),
    finalizers: kept(given.finalizers),
    managedFields: given.managedFields,
  };
  return Object.fromEntries(
    Object.entries(all).filter(([, value]) => value !== undefined),
  ) as unknown as ObjectMeta;
}
