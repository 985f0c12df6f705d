// Makes the server's objects be what documents say: judged as a whole first, then applied one by one.
// The last applied document is kept in the annotation that kubectl uses, so that both can take turns; what it named and
// the new one does not is removed.
import { randomUUID } from "node:crypto";
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import { admit } from "../api/admission.js";
import { type ApiClient, ApiError, collectionPath, isApiError, objectPath } from "../api/index.js";
import type { ApiObject, ResourceKind } from "../resources/index.js";

export const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

export interface AppliedDocument {
  readonly kind: ResourceKind;
  readonly object: ApiObject;
  readonly where: string;
}

export type Outcome = "created" | "configured" | "unchanged";

/** What is wrong with one document. */
export interface ApplyProblem {
  readonly document: AppliedDocument;
  readonly error: Error;
}

/**
 * Everything that is wrong with `documents`, by our own rules and by a dry run on the server; nothing is changed. What
 * lies in a namespace that the documents make themselves is judged by the rules alone, and so are invariants, which the
 * other documents may yet make true. Warnings of the dry run are told only when it is all that was asked for.
 */
export async function findProblems(
  client: ApiClient,
  documents: readonly AppliedDocument[],
  options: { readonly quiet?: boolean } = {},
): Promise<ApplyProblem[]> {
  const problems: ApplyProblem[] = [];
  const admitted: { kind: ResourceKind; object: ApiObject }[] = [];
  const made = new Set(
    documents.filter(({ kind }) => kind.kind === "Namespace").map(({ object }) => object.metadata.name),
  );
  for (const document of documents) {
    try {
      admitted.push({ kind: document.kind, object: judgeLocally(document, admitted) });
      const { namespace } = document.object.metadata;
      const unmade = namespace !== undefined && made.has(namespace) && !(await exists(client, namespace));
      const later = unmade || (document.kind.kind === "Invariant" && documents.length > 1);
      if (!later) await applyOne(client, document, { ...options, dryRun: true });
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code === "API_UNREACHABLE") throw thrown;
      problems.push({ document, error: thrown });
    }
  }
  return problems;
}

/** Applies one document. Throws ApiError. */
export async function applyOne(
  client: ApiClient,
  document: AppliedDocument,
  options: { readonly dryRun?: boolean; readonly quiet?: boolean } = {},
): Promise<Outcome> {
  const { kind } = document;
  const wanted = withLastApplied(document.object);
  const name = wanted.metadata;
  const query = { fieldValidation: "Strict", dryRun: options.dryRun ? "All" : undefined };
  const quiet = options.quiet === true;
  const before = await find(client, kind, document.object);
  if (before === undefined) {
    const path = collectionPath(kind, name.namespace);
    await client.transport.json({ method: "POST", path, query, body: wanted, quiet });
    return "created";
  }
  const after = (await client.transport.json({
    method: "PATCH",
    path: objectPath(kind, name),
    query,
    contentType: "application/merge-patch+json",
    body: threeWayPatch(before, wanted),
    quiet,
  })) as ApiObject;
  if (options.dryRun) return "configured";
  return before.metadata.resourceVersion === after.metadata.resourceVersion ? "unchanged" : "configured";
}

/** The merge patch that brings `before` to `wanted` and removes what was applied last time and is wanted no more. */
export function threeWayPatch(before: ApiObject, wanted: ApiObject): object {
  const text = before.metadata.annotations?.[LAST_APPLIED];
  let last: unknown;
  try {
    last = text === undefined ? {} : JSON.parse(text);
  } catch {
    last = {};
  }
  return withRemovals(last, wanted) as object;
}

function withRemovals(last: unknown, wanted: unknown): unknown {
  if (!isObject(wanted)) return wanted;
  const patch: Record<string, unknown> = {};
  if (isObject(last)) {
    for (const name of Object.keys(last)) if (!Object.hasOwn(wanted, name)) patch[name] = null;
  }
  for (const [name, value] of Object.entries(wanted)) {
    patch[name] = withRemovals(isObject(last) ? last[name] : undefined, value);
  }
  return patch;
}

/** The document without what only the server says, with itself as annotation. */
function withLastApplied(object: ApiObject): ApiObject {
  const { status: _status, ...rest } = object;
  const { annotations, ...metadata } = object.metadata;
  const others = Object.fromEntries(
    Object.entries(annotations ?? {}).filter(([name]) => name !== LAST_APPLIED),
  );
  const plain = { ...rest, metadata: { ...metadata, annotations: others } };
  return {
    ...rest,
    metadata: { ...metadata, annotations: { ...others, [LAST_APPLIED]: encodeLastApplied(plain) } },
  } as ApiObject;
}

/** As kubectl writes it, letter by letter (keys in order, escapes of Go), so that it sees nothing to do after us. */
function encodeLastApplied(object: object): string {
  const text = JSON.stringify(sortKeys(object));
  return `${text.replace(/[<>&\u2028\u2029]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isObject(value)) return value;
  const names = Object.keys(value).sort();
  return Object.fromEntries(names.map((name) => [name, sortKeys(value[name])]));
}

function judgeLocally(
  document: AppliedDocument,
  earlier: readonly { kind: ResourceKind; object: ApiObject }[],
): ApiObject {
  const { kind, object } = document;
  const { resourceVersion: _version, uid: _uid, ...metadata } = object.metadata;
  const { namespace } = metadata;
  return admit(
    { ...object, metadata },
    {
      kind,
      namespace,
      previous: undefined,
      fieldValidation: "Strict",
      siblings: () =>
        earlier
          .filter((other) => other.kind === kind && other.object.metadata.namespace === namespace)
          .filter((other) => other.object.metadata.name !== metadata.name)
          .map((other) => other.object),
      identity: { uid: randomUUID(), now: new Date(0).toISOString(), nameSuffix: "" },
    },
  ).object;
}

async function exists(client: ApiClient, namespace: string): Promise<boolean> {
  return (await client.get("Namespace", { name: namespace })) !== undefined;
}

async function find(
  client: ApiClient,
  kind: ResourceKind,
  object: ApiObject,
): Promise<ApiObject | undefined> {
  try {
    return (await client.transport.json({
      method: "GET",
      path: objectPath(kind, object.metadata),
    })) as ApiObject;
  } catch (thrown) {
    if (isApiError(thrown, "NotFound")) return undefined;
    throw thrown;
  }
}

/** "network/front" */
export function displayName(kind: ResourceKind, name: string): string {
  return kind.group === "" || kind.group === "plinth.dev"
    ? `${kind.singular}/${name}`
    : `${kind.singular}.${kind.group}/${name}`;
}

export function describeProblem({ document, error }: ApplyProblem): string {
  const name = displayName(document.kind, document.object.metadata.name);
  const causes = error instanceof ApiError ? (error.details?.causes ?? []) : [];
  const reasons =
    causes.length > 0 ? causes.map((cause) => `${cause.field}: ${cause.message}`) : [error.message];
  return reasons.map((reason) => `${document.where}: ${name}: ${reason}`).join("\n");
}
