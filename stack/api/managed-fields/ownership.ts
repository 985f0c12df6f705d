// Who owns which field after a write. An update takes what it changes; an applied configuration owns what it states,
// gives up what it no longer states, and may not change what others own unless it is forced to. Pure.
// Source: Kubernetes documentation, "Server-Side Apply".
import { isDeepStrictEqual } from "node:util";
import { isObject } from "../../../base/json/index.js";
import { type ApiObject, apiVersionOf, type ResourceKind, type SchemaNode } from "../../resources/index.js";
import { ApiError } from "../errors.js";
import {
  difference,
  emptySet,
  equal,
  type FieldPath,
  type FieldSet,
  intersection,
  isEmpty,
  paths,
  pathText,
  union,
} from "./field-set.js";
import { fieldsLastApplied } from "./last-applied.js";
import {
  BEFORE_FIRST_APPLY,
  isReset,
  type Manager,
  type ManagerName,
  type Managers,
  managerKey,
  readManagers,
  without,
  writeManagers,
} from "./managers.js";
import { compare, DuplicateItem, fieldsOf, merge, prune } from "./typed-fields.js";

type ManagedFields = ApiObject["metadata"]["managedFields"];

export interface Writer {
  /** The field manager: who writes, as a program. */
  readonly manager: string;
  readonly subresource?: "status" | undefined;
  /** RFC 3339, seconds. */
  readonly now: string;
}

/** True when nothing but times tells the one from the other. */
export function sameOwners(a: ManagedFields, b: ManagedFields): boolean {
  const timeless = (entries: ManagedFields): unknown =>
    new Set(entries?.map(({ time: _time, ...entry }) => entry));
  return (a === undefined) === (b === undefined) && isDeepStrictEqual(timeless(a), timeless(b));
}

/** What only the server sets has no owner. */
const UNOWNED_METADATA = new Set([
  "name",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
]);

/**
 * managedFields after an update made `after` of `before` (undefined for a creation). `given` is what the writer sent as
 * managedFields; what there was counts when that is empty. Objects of a time when nobody kept them stay without until
 * they are applied to.
 */
export function ownersAfterUpdate(
  kind: ResourceKind,
  before: ApiObject | undefined,
  after: ApiObject,
  given: ManagedFields,
  writer: Writer,
): ManagedFields {
  const entries = given === undefined || given.length === 0 ? before?.metadata.managedFields : given;
  if ((before !== undefined && entries === undefined) || isReset(given)) return undefined;
  const { subresource } = writer;
  const { added, modified, removed } = compare(
    kind.schema as SchemaNode,
    before === undefined ? {} : ownable(kind, before, subresource),
    ownable(kind, after, subresource),
  );
  const taken = union(added, modified);
  const known = readManagers(entries);
  if (isEmpty(taken) && isEmpty(removed)) return writeManagers(known);
  const managers = without(known, union(taken, removed), undefined);
  if (!isEmpty(taken)) {
    const name: ManagerName = { manager: writer.manager, operation: "Update", subresource };
    const key = managerKey(name);
    const mine = managers.get(key);
    const fields = mine === undefined ? taken : union(mine.fields, taken);
    managers.set(key, { ...name, apiVersion: apiVersionOf(kind), time: writer.now, fields });
  }
  return writeManagers(managers);
}

export interface ApplyRequest extends Writer {
  /** Take fields that others own and this configuration states otherwise. */
  readonly force: boolean;
}

/**
 * What `configuration` makes of `live` (undefined: it is made anew), with its managedFields. Throws ApiError Conflict with
 * a cause for each field that somebody else owns, or Invalid.
 */
export function applyConfiguration(
  kind: ResourceKind,
  live: ApiObject | undefined,
  configuration: ApiObject,
  request: ApplyRequest,
): ApiObject {
  const schema = kind.schema as SchemaNode;
  const { subresource } = request;
  const name: ManagerName = { manager: request.manager, operation: "Apply", subresource };
  const key = managerKey(name);
  const stated = ownable(kind, configuration, subresource);
  const fields = fieldsStated(schema, stated);
  const before = live === undefined ? {} : ownable(kind, live, subresource);
  const known =
    live === undefined ? new Map<string, Manager>() : managersBeforeApply(kind, live, before, request);
  const mine = known.get(key);
  const others = [...known].filter(([each]) => each !== key).map(([, manager]) => manager);
  const owned = others.reduce((all, each) => union(all, each.fields), fields);
  const merged = merge(schema, before, stated);
  const after = prune(schema, merged, mine?.fields ?? new Map(), owned) as Record<string, unknown>;
  const { added, modified, removed } = compare(schema, before, after);
  const changed = union(added, modified);
  if (!request.force) {
    const own = (object: ApiObject): Record<string, unknown> => ownable(kind, object, subresource);
    const allowed = live === undefined ? emptySet() : fieldsLastApplied(schema, live, request.manager, own);
    refuseConflicts(kind, configuration.metadata.name, others, difference(changed, allowed));
  }
  const managers = without(known, union(changed, removed), key);
  const isSame = isEmpty(changed) && isEmpty(removed) && mine !== undefined && equal(mine.fields, fields);
  const time = isSame ? mine.time : request.now;
  if (isEmpty(fields)) managers.delete(key);
  else managers.set(key, { ...name, apiVersion: apiVersionOf(kind), time, fields });
  return assemble(live, configuration, after, writeManagers(managers));
}

function managersBeforeApply(
  kind: ResourceKind,
  live: ApiObject,
  before: Record<string, unknown>,
  request: Writer,
): Managers {
  const { managedFields } = live.metadata;
  if (managedFields !== undefined) return readManagers(managedFields);
  // Made before owners were kept: all of it belongs to whoever made it.
  const { added: fields } = compare(kind.schema as SchemaNode, {}, before);
  const name = { manager: BEFORE_FIRST_APPLY, operation: "Update" as const };
  const entry: Manager = { ...name, apiVersion: apiVersionOf(kind), time: request.now, fields };
  return new Map(isEmpty(fields) ? [] : [[managerKey(name), entry]]);
}

function fieldsStated(schema: SchemaNode, stated: Record<string, unknown>): FieldSet {
  try {
    return fieldsOf(schema, stated);
  } catch (thrown) {
    if (!(thrown instanceof DuplicateItem)) throw thrown;
    throw new ApiError("Invalid", `the applied configuration has duplicate entries for ${thrown.message}`);
  }
}

/** The part of an object that a writer through `subresource` can own. */
function ownable(
  kind: ResourceKind,
  object: ApiObject,
  subresource: "status" | undefined,
): Record<string, unknown> {
  const { apiVersion: _version, kind: _kind, metadata, status, ...rest } = object;
  if (subresource === "status") return status === undefined ? {} : { status };
  const notes = Object.fromEntries(
    Object.entries(metadata).filter(([name, value]) => !UNOWNED_METADATA.has(name) && value !== undefined),
  );
  return {
    ...(Object.keys(notes).length === 0 ? {} : { metadata: notes }),
    ...rest,
    ...(kind.hasStatus || status === undefined ? {} : { status }),
  };
}

/** The object of which `after` is the ownable part. */
function assemble(
  live: ApiObject | undefined,
  configuration: ApiObject,
  after: Record<string, unknown>,
  managedFields: ManagedFields,
): ApiObject {
  const server: Record<string, unknown> = {};
  for (const [name, value] of Object.entries({ ...live?.metadata, ...configuration.metadata })) {
    if (UNOWNED_METADATA.has(name)) server[name] = value;
  }
  const { metadata, ...rest } = after;
  const kept =
    Object.hasOwn(after, "status") || live?.["status"] === undefined ? {} : { status: live["status"] };
  return {
    apiVersion: configuration.apiVersion,
    kind: configuration.kind,
    ...rest,
    ...kept,
    metadata: { ...server, ...(isObject(metadata) ? metadata : {}), managedFields },
  } as unknown as ApiObject;
}

function refuseConflicts(
  kind: ResourceKind,
  name: string,
  others: readonly Manager[],
  changed: FieldSet,
): void {
  const conflicts = others
    .map((manager) => ({ who: describe(manager), paths: paths(intersection(manager.fields, changed)) }))
    .filter((conflict) => conflict.paths.length > 0);
  if (conflicts.length === 0) return;
  const causes = conflicts.flatMap(({ who, paths: each }) =>
    each.map((path) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${who}`,
      field: pathText(path),
    })),
  );
  throw new ApiError("Conflict", conflictText(conflicts, causes.length), {
    name,
    group: kind.group,
    kind: kind.plural,
    causes,
  });
}

function conflictText(
  conflicts: readonly { readonly who: string; readonly paths: readonly FieldPath[] }[],
  count: number,
): string {
  const [first] = conflicts;
  if (count === 1 && first !== undefined) {
    return `Apply failed with 1 conflict: conflict with ${first.who}: ${pathText(first.paths[0] ?? [])}`;
  }
  const lines = conflicts.flatMap(({ who, paths: each }) => [
    `conflicts with ${who}:`,
    ...each.map((path) => `- ${pathText(path)}`),
  ]);
  return `Apply failed with ${count} conflicts: ${lines.join("\n")}`;
}

function describe({ manager, subresource, apiVersion, operation, time }: Manager): string {
  const through = subresource === undefined ? "" : ` with subresource ${JSON.stringify(subresource)}`;
  const at = operation === "Update" && time !== undefined ? ` at ${time}` : "";
  return `${JSON.stringify(manager)}${through} using ${apiVersion}${at}`;
}
