// Query parameters of the resource paths, read once and checked.
import { FieldErrors, type ResourceKind } from "../resources/index.js";
import { ApiError, invalid } from "./errors.js";
import { LIST_LIMIT_MAX } from "./limits.js";
import { MANAGER_LENGTH_MAX, validateManagerName } from "./managed-fields/index.js";
import { type Matcher, parseSelectors } from "./selectors.js";
import type { IncludeObject } from "./table.js";

export type Query = Readonly<Record<string, string | string[] | undefined>>;

export interface ListQuery {
  readonly matches: Matcher;
  readonly watch: boolean;
  readonly bookmarks: boolean;
  /** Undefined when nothing is said: what is there comes first when no version is named. */
  readonly sendInitialEvents: boolean | undefined;
  readonly timeoutMs: number | undefined;
  readonly resourceVersion: number | undefined;
  /** Show exactly that version. */
  readonly exact: boolean;
  /** Not everything in the collection is asked for. */
  readonly selective: boolean;
  readonly limit: number | undefined;
  readonly page: { readonly revision: number; readonly after: string } | undefined;
  readonly includeObject: IncludeObject;
}

/** Throws ApiError BadRequest naming the parameter. */
export function parseListQuery(kind: ResourceKind, query: Query): ListQuery {
  const limit = number(query, "limit");
  const timeoutSeconds = number(query, "timeoutSeconds");
  const token = text(query, "continue") || undefined;
  const watch = flag(query, "watch");
  const [labels, fields] = [text(query, "labelSelector"), text(query, "fieldSelector")];
  checkVersionMatch(query, watch, token);
  return {
    matches: parseSelectors(kind, labels, fields),
    selective: Boolean(labels?.trim()) || Boolean(fields?.trim()),
    watch,
    bookmarks: flag(query, "allowWatchBookmarks"),
    sendInitialEvents: text(query, "sendInitialEvents") ? flag(query, "sendInitialEvents") : undefined,
    timeoutMs: timeoutSeconds === undefined || timeoutSeconds === 0 ? undefined : timeoutSeconds * 1000,
    resourceVersion: number(query, "resourceVersion"),
    exact: text(query, "resourceVersionMatch") === "Exact",
    limit: limit === undefined || limit === 0 ? undefined : Math.min(limit, LIST_LIMIT_MAX),
    page: token === undefined ? undefined : parseContinue(token),
    includeObject: parseIncludeObject(query),
  };
}

/** Source: Kubernetes API concepts, "Resource versions", and ListOptions v1 meta. */
function checkVersionMatch(query: Query, watch: boolean, token: string | undefined): void {
  const match = text(query, "resourceVersionMatch") || undefined;
  const version = text(query, "resourceVersion") || undefined;
  const initial = text(query, "sendInitialEvents") || undefined;
  const errors = new FieldErrors();
  if (match !== undefined && match !== "Exact" && match !== "NotOlderThan")
    errors.notSupported("resourceVersionMatch", match, ["Exact", "NotOlderThan"]);
  if (initial !== undefined && !watch) errors.forbidden("sendInitialEvents", "is forbidden for list");
  if (watch && initial === undefined && match !== undefined)
    errors.forbidden("resourceVersionMatch", "is forbidden for watch unless sendInitialEvents is provided");
  if (watch && initial !== undefined && match !== "NotOlderThan")
    errors.forbidden("resourceVersionMatch", "must be NotOlderThan when sendInitialEvents is provided");
  if (!watch && match !== undefined) {
    if (token !== undefined)
      errors.forbidden("resourceVersionMatch", "is forbidden when continue is provided");
    if (version === undefined)
      errors.forbidden("resourceVersionMatch", "is forbidden unless resourceVersion is provided");
    if (match === "Exact" && version === "0")
      errors.forbidden("resourceVersionMatch", 'must not be "Exact" when resourceVersion is "0"');
  }
  if (!watch && token !== undefined && version !== undefined && version !== "0")
    errors.forbidden("resourceVersion", "is forbidden when continue is provided");
  if (errors.list.length > 0) throw invalid(LIST_OPTIONS, "", errors.list);
}
const LIST_OPTIONS = { group: "meta.k8s.io", kind: "ListOptions", plural: "listoptions" } as const;

export interface WriteQuery {
  /** Who writes, as a program: as it says itself, or the first word of its User-Agent. */
  readonly manager: string;
  readonly dryRun: boolean;
  readonly fieldValidation: "Strict" | "Warn" | "Ignore";
}

export function parseWriteQuery(query: Query, userAgent: string | undefined): WriteQuery {
  const fieldValidation = text(query, "fieldValidation") ?? "Warn";
  if (fieldValidation !== "Strict" && fieldValidation !== "Warn" && fieldValidation !== "Ignore") {
    throw new ApiError("BadRequest", 'fieldValidation: expected "Strict", "Warn" or "Ignore"');
  }
  return { manager: parseManager(query, userAgent), dryRun: parseDryRun(query["dryRun"]), fieldValidation };
}

function parseManager(query: Query, userAgent: string | undefined): string {
  const manager = text(query, "fieldManager");
  if (manager === undefined || manager === "")
    return (
      (userAgent?.split("/")[0] ?? "").replace(/\P{ASCII}|\p{C}/gu, "").slice(0, MANAGER_LENGTH_MAX) ||
      "unknown"
    );
  const errors = new FieldErrors();
  validateManagerName(manager, "fieldManager", errors);
  if (errors.list.length > 0) throw invalid(PATCH_OPTIONS, "", errors.list);
  return manager;
}

const PATCH_OPTIONS = { group: "meta.k8s.io", kind: "PatchOptions", plural: "patchoptions" } as const;

/** Of a server-side apply, or of any other patch, which may not force. */
export function parseForce(query: Query, isApply: boolean): boolean {
  const errors = new FieldErrors();
  const force = flag(query, "force");
  if (isApply && !text(query, "fieldManager")) errors.required("fieldManager", "is required for apply patch");
  if (!isApply && text(query, "force") !== undefined)
    errors.forbidden("force", "may not be specified for non-apply patch");
  if (errors.list.length > 0) throw invalid(PATCH_OPTIONS, "", errors.list);
  return force;
}

/** "All" or nothing, in a query or in DeleteOptions. */
export function parseDryRun(value: unknown): boolean {
  const given = [value ?? []].flat();
  if (given.length === 0 || (given.length === 1 && given[0] === "")) return false;
  if (given.every((each) => each === "All")) return true;
  throw new ApiError("BadRequest", 'dryRun: expected "All"');
}

export function parseIncludeObject(query: Query): IncludeObject {
  const given = text(query, "includeObject");
  return given === "None" || given === "Object" ? given : "Metadata";
}

export function encodeContinue(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: 1, revision, after })).toString("base64url");
}

function parseContinue(token: string): { revision: number; after: string } {
  try {
    const { v, revision, after } = JSON.parse(Buffer.from(token, "base64url").toString());
    if (v === 1 && Number.isSafeInteger(revision) && revision >= 0 && typeof after === "string") {
      return { revision, after };
    }
  } catch {
    // Reported below, like any other nonsense.
  }
  throw new ApiError("BadRequest", "continue: not a token of this server");
}

function text(query: Query, name: string): string | undefined {
  const value = query[name];
  return Array.isArray(value) ? value[0] : value;
}

function flag(query: Query, name: string): boolean {
  const value = text(query, name);
  if (value === undefined || value === "" || value === "false" || value === "0") return false;
  if (value === "true" || value === "1") return true;
  throw new ApiError("BadRequest", `${name}: expected true or false`);
}

function number(query: Query, name: string): number | undefined {
  const value = text(query, name);
  if (value === undefined || value === "") return undefined;
  const result = Number(value);
  if (!/^\d{1,16}$/.test(value) || !Number.isSafeInteger(result)) {
    throw new ApiError(
      "BadRequest",
      `${name}: expected a whole number, got ${JSON.stringify(value.slice(0, 40))}`,
    );
  }
  return result;
}
