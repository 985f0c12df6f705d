// Objects and lists in the form that a client asked for. Pure, but for the time that it is given.
import { type ApiObject, apiVersionOf, type ResourceKind } from "../resources/index.js";
import type { AnswerForm } from "./negotiate.js";
import { type IncludeObject, toTable } from "./table.js";

export interface FormOptions {
  readonly form: AnswerForm;
  readonly includeObject: IncludeObject;
  readonly wallMs: number;
}

export interface ListMetadata {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export function objectAnswer(kind: ResourceKind, object: ApiObject, options: FormOptions): object {
  if (options.form === "table") {
    const { resourceVersion } = object.metadata;
    return toTable(kind, [object], { ...options, metadata: { resourceVersion } });
  }
  return options.form === "partial" ? partialObject(object) : object;
}

export function listAnswer(
  kind: ResourceKind,
  objects: readonly ApiObject[],
  metadata: ListMetadata,
  options: FormOptions,
): object {
  if (options.form === "table") return toTable(kind, objects, { ...options, metadata });
  if (options.form === "partial") {
    const items = objects.map(partialObject);
    return { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata, items };
  }
  return { kind: `${kind.kind}List`, apiVersion: apiVersionOf(kind), metadata, items: objects };
}

export function partialObject(object: ApiObject): object {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}

/** metav1.Status of a success, as the answer to a deletion that is complete. */
export function deletedAnswer(kind: ResourceKind, object: ApiObject): object {
  const { name, uid } = object.metadata;
  const details = { name, group: kind.group, kind: kind.plural, uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}
