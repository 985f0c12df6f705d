// What kinds there are, for clients that ask. Source: Kubernetes API, APIGroupList and APIResourceList (plain lists).
import { ALL_KINDS, apiVersionOf, type ResourceKind } from "../resources/index.js";
import { REVIEWS, SERVICES } from "./access/reviews.js";

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** Group and version of everything outside the core group, in the order of first mention. */
export function apiGroupVersions(): { group: string; version: string }[] {
  const seen = new Map<string, { group: string; version: string }>();
  for (const { group, version } of ALL_KINDS)
    if (group !== "") seen.set(`${group}/${version}`, { group, version });
  for (const { group, version } of REVIEWS) seen.set(`${group}/${version}`, { group, version });
  return [...seen.values()];
}

/** /api */
export function coreVersions(serverAddress: string): object {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress }],
  };
}

/** /apis */
export function apiGroupList(): object {
  return {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: apiGroupVersions().map(({ group }) => apiGroup(group)),
  };
}

/** /apis/GROUP; undefined when there is no such group. */
export function findApiGroup(group: string): object | undefined {
  if (!apiGroupVersions().some((each) => each.group === group)) return undefined;
  return { kind: "APIGroup", apiVersion: "v1", ...apiGroup(group) };
}

function apiGroup(group: string): object {
  const versions = apiGroupVersions()
    .filter((each) => each.group === group)
    .map(({ version }) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions, preferredVersion: versions[0] };
}

/** /api/v1 and /apis/GROUP/VERSION */
export function apiResourceList(group: string, version: string): object {
  const kinds = ALL_KINDS.filter((kind) => kind.group === group && kind.version === version);
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: group === "" ? version : `${group}/${version}`,
    resources: [...kinds.flatMap(resourcesOf), ...reviewsOf(group, version), ...servicesOf(group)],
  };
}

function reviewsOf(group: string, version: string): object[] {
  return REVIEWS.filter((review) => review.group === group && review.version === version).map(
    ({ plural, kind, namespaced }) => ({
      name: plural,
      singularName: "",
      namespaced,
      kind,
      verbs: ["create"],
    }),
  );
}

function servicesOf(group: string): object[] {
  const { plural, singular, kind, shortName } = SERVICES;
  const common = { name: plural, singularName: singular, kind, shortNames: [shortName] };
  return group === "" ? [{ ...common, namespaced: true, verbs: ["list"] }] : [];
}

function resourcesOf(kind: ResourceKind): object[] {
  const common = { namespaced: kind.namespaced, kind: kind.kind };
  const resources: object[] = [
    {
      name: kind.plural,
      singularName: kind.singular,
      ...common,
      verbs: VERBS,
      ...(kind.shortNames.length === 0 ? {} : { shortNames: kind.shortNames }),
      ...(kind.group === "plinth.dev"
        ? { categories: kind.namespaced ? ["all", "plinth"] : ["plinth"] }
        : {}),
    },
  ];
  if (kind.hasStatus) {
    resources.push({
      name: `${kind.plural}/status`,
      singularName: "",
      ...common,
      verbs: ["get", "patch", "update"],
    });
  }
  for (const action of kind.actions ?? []) {
    const verbs = [action.method === "GET" ? "get" : "create"];
    resources.push({ name: `${kind.plural}/${action.name}`, singularName: "", ...common, verbs });
  }
  return resources;
}

/** /version: what clients may expect; kubectl warns when this is far from its own. */
export function serverVersion(plinthVersion: string): object {
  return {
    major: "1",
    minor: "32",
    gitVersion: `v1.32.0+plinth.${plinthVersion}`,
    gitCommit: "",
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "",
    compiler: "node",
    platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
  };
}

/** "plinth.dev/v1alpha1" → path prefix of its resources. */
export function pathOf(kind: Pick<ResourceKind, "group" | "version">): string {
  return kind.group === "" ? `/api/${kind.version}` : `/apis/${apiVersionOf(kind)}`;
}
