// What a write means for the ResourceQuotas of its namespace: what they count is counted anew, and what would go beyond
// is refused. Pure but for `list`. The registry stores the counts in the transaction of the write itself, so that
// status.used is true at every revision, and after a crash.
// Source: Kubernetes, "Resource Quotas"; words of refusals as of its ResourceQuota admission.
import { isDeepStrictEqual } from "node:util";
import {
  ALL_KINDS,
  type ApiObject,
  FieldErrors,
  formatQuantity,
  parseQuantity,
  type ResourceKind,
  type ResourceQuota,
  resourceQuotaKind,
} from "../resources/index.js";
import { ApiError, invalid, isApiError } from "./errors.js";
import { QUOTAS_PER_NAMESPACE_MAX } from "./limits.js";

/** One thing that a quota can name. */
interface Measure {
  readonly kind: ResourceKind;
  readonly base: "binary" | "decimal";
  /** What one object comes to: a whole number. */
  amountOf(object: ApiObject): number;
}

/** Kinds of the core group that Kubernetes counts by their bare name, too. */
const BARE = ["secrets", "resourcequotas"];
const MEASURES: ReadonlyMap<string, Measure> = new Map(
  ALL_KINDS.filter(({ namespaced }) => namespaced).flatMap((kind) => {
    const { group, plural } = kind;
    const count: Measure = { kind, base: "decimal", amountOf: () => 1 };
    const named: [string, Measure][] = [[`count/${plural}${group === "" ? "" : `.${group}`}`, count]];
    if (group === "" && BARE.includes(plural)) named.push([plural, count]);
    for (const [name, each] of Object.entries(kind.consumes ?? {})) named.push([name, { kind, ...each }]);
    return named;
  }),
);

export interface QuotaWrite {
  readonly kind: ResourceKind;
  /** Undefined for a creation. */
  readonly before: ApiObject | undefined;
  /** Undefined for a removal. The status of a ResourceQuota is set to what is. */
  readonly after: ApiObject | undefined;
}
type Lister = (kind: ResourceKind) => Promise<readonly ApiObject[]>;

const EXCEEDED = "exceeded quota:";

/** Whether a write was refused because of a quota. */
export function isQuotaExceeded(thrown: unknown): boolean {
  return isApiError(thrown, "Forbidden") && thrown.message.includes(` is forbidden: ${EXCEEDED} `);
}

/** Whether one of the quotas counts objects of the kind. */
export function isCounted(kind: ResourceKind, quotas: readonly ApiObject[]): boolean {
  return quotas.some((quota) => measuresOf(quota).some(([, measure]) => measure.kind === kind));
}

/**
 * The quotas that change with the write, as they are to be stored with it. `list` gives the objects of a kind in the
 * namespace. Throws ApiError Forbidden when the write takes more than a quota leaves, Invalid for a quota on what nothing
 * counts.
 */
export async function chargeQuotas(write: QuotaWrite, list: Lister): Promise<readonly ApiObject[]> {
  const quotas = await list(resourceQuotaKind);
  if (write.kind === resourceQuotaKind && write.after !== undefined) await count(write, quotas.length, list);
  const own = write.kind === resourceQuotaKind ? (write.after ?? write.before)?.metadata.name : undefined;
  const others = quotas.filter(({ metadata }) => metadata.name !== own);
  if (!isCounted(write.kind, others)) return [];
  const objects = withWrite(write, write.kind, await list(write.kind));
  return others.flatMap((quota) => charged(write, quota, objects) ?? []);
}

/** The same for objects of `kind` that go together: nothing is refused. */
export async function releaseQuotas(
  kind: ResourceKind,
  gone: readonly ApiObject[],
  list: Lister,
): Promise<readonly ApiObject[]> {
  const names = new Set(gone.map(({ metadata }) => metadata.name));
  const quotas = await list(resourceQuotaKind);
  const others =
    kind === resourceQuotaKind ? quotas.filter(({ metadata }) => !names.has(metadata.name)) : quotas;
  if (!isCounted(kind, others)) return [];
  const objects = (await list(kind)).filter(({ metadata }) => !names.has(metadata.name));
  return others.flatMap(
    (quota) => charged({ kind, before: undefined, after: undefined }, quota, objects) ?? [],
  );
}

/** A quota as it is after the write; undefined when that changes nothing. */
function charged(write: QuotaWrite, quota: ApiObject, objects: readonly ApiObject[]): ApiObject | undefined {
  const { spec, status } = quota as unknown as ResourceQuota;
  const used: Record<string, string> = { ...status?.used };
  const exceeded: { resource: string; requested: string; used: string; limited: string }[] = [];
  for (const [resource, measure] of measuresOf(quota)) {
    if (measure.kind !== write.kind) continue;
    const total = sum(measure, objects);
    const added = amountOf(measure, write.after) - amountOf(measure, write.before);
    const limited = spec.hard?.[resource] ?? "0";
    used[resource] = formatQuantity(total, measure.base);
    // What takes nothing more is let through, also where less is allowed by now than there is.
    if (added <= 0n || total <= (parseQuantity(limited) ?? 0)) continue;
    exceeded.push({
      resource,
      requested: formatQuantity(added, measure.base),
      used: formatQuantity(total - added, measure.base),
      limited,
    });
  }
  if (exceeded.length > 0) {
    const all = (what: "requested" | "used" | "limited"): string =>
      exceeded.map((each) => `${each.resource}=${each[what]}`).join(",");
    const why = `${EXCEEDED} ${quota.metadata.name}, requested: ${all("requested")}, used: ${all("used")}, limited: ${all("limited")}`;
    throw forbidden(write, why);
  }
  if (isDeepStrictEqual(used, status?.used)) return undefined;
  return { ...quota, status: { hard: spec.hard ?? {}, used } };
}

/** Sets the status of the quota that is written. */
async function count(write: QuotaWrite, quotas: number, list: Lister): Promise<void> {
  const quota = write.after as ApiObject;
  const hard = (quota as unknown as ResourceQuota).spec.hard ?? {};
  const errors = new FieldErrors();
  for (const resource of Object.keys(hard)) {
    if (!MEASURES.has(resource))
      errors.notSupported(`spec.hard[${resource}]`, resource, [...MEASURES.keys()]);
  }
  if (errors.list.length > 0) throw invalid(write.kind, quota.metadata.name, errors.list);
  if (write.before === undefined && quotas >= QUOTAS_PER_NAMESPACE_MAX) {
    throw forbidden(write, `a namespace has at most ${QUOTAS_PER_NAMESPACE_MAX} quotas`);
  }
  const used: Record<string, string> = {};
  for (const [resource, measure] of measuresOf(quota)) {
    const objects = withWrite(write, measure.kind, await list(measure.kind));
    used[resource] = formatQuantity(sum(measure, objects), measure.base);
  }
  quota["status"] = { hard: { ...hard }, used };
}

function measuresOf(quota: ApiObject): [string, Measure][] {
  const { spec } = quota as unknown as ResourceQuota;
  return Object.keys(spec.hard ?? {})
    .sort()
    .flatMap((resource) => {
      const measure = MEASURES.get(resource);
      return measure === undefined ? [] : [[resource, measure] as [string, Measure]];
    });
}

/** Objects of `kind` as they are after the write. */
function withWrite(
  write: QuotaWrite,
  kind: ResourceKind,
  objects: readonly ApiObject[],
): readonly ApiObject[] {
  if (kind !== write.kind) return objects;
  const name = (write.after ?? write.before)?.metadata.name;
  const others = objects.filter(({ metadata }) => metadata.name !== name);
  return write.after === undefined ? others : [...others, write.after];
}

function amountOf(measure: Measure, object: ApiObject | undefined): bigint {
  return object === undefined ? 0n : BigInt(measure.amountOf(object));
}

function sum(measure: Measure, objects: readonly ApiObject[]): bigint {
  return objects.reduce((total, object) => total + amountOf(measure, object), 0n);
}

function forbidden({ kind, before, after }: QuotaWrite, why: string): ApiError {
  const { name } = ((after ?? before) as ApiObject).metadata;
  const resource = kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
  return new ApiError("Forbidden", `${resource} "${name}" is forbidden: ${why}`, {
    name,
    group: kind.group,
    kind: kind.plural,
  });
}
