// Permissions: what a rule allows, and which of some rules go beyond others. Pure.
// Source: Kubernetes documentation, "Using RBAC Authorization", and API reference, PolicyRule v1.
import type { PolicyRule } from "../../resources/index.js";
import { type Attributes, isResource, resourceText } from "./attributes.js";

export function allows(rule: PolicyRule, attributes: Attributes): boolean {
  if (!has(rule.verbs, attributes.verb)) return false;
  if (!isResource(attributes))
    return (rule.nonResourceURLs ?? []).some((url) => matchesPath(url, attributes.path));
  const { group, name, subresource } = attributes;
  const resource = resourceText(attributes);
  const { apiGroups = [], resources = [], resourceNames = [] } = rule;
  return (
    has(apiGroups, group) &&
    (has(resources, resource) || (subresource !== "" && resources.includes(`*/${subresource}`))) &&
    (resourceNames.length === 0 || (name !== "" && resourceNames.includes(name)))
  );
}

const has = (words: readonly string[], wanted: string): boolean =>
  words.includes("*") || words.includes(wanted);

/** "/openapi/*" stands for everything below; * alone for every path. */
function matchesPath(pattern: string, path: string): boolean {
  if (pattern === "*" || pattern === path) return true;
  return pattern.endsWith("*") && path.startsWith(pattern.slice(0, -1));
}

/** The single permissions of `wanted` that `held` does not give. At most `limit`; one more than all are not looked for. */
export function uncovered(
  held: readonly PolicyRule[],
  wanted: readonly PolicyRule[],
  limit = 20,
): PolicyRule[] {
  const missing: PolicyRule[] = [];
  for (const rule of wanted) {
    // The usual case, without taking rules apart.
    if (held.some((each) => coversWhole(each, rule))) continue;
    for (const single of singles(rule)) {
      if (held.some((each) => coversWhole(each, single))) continue;
      missing.push(single);
      if (missing.length >= limit) return missing;
    }
  }
  return missing;
}

function* singles({
  verbs,
  apiGroups,
  resources,
  resourceNames = [],
  nonResourceURLs,
}: PolicyRule): Generator<PolicyRule> {
  for (const verb of verbs) {
    for (const url of nonResourceURLs ?? []) yield { verbs: [verb], nonResourceURLs: [url] };
    for (const group of apiGroups ?? []) {
      for (const resource of resources ?? []) {
        const one = { verbs: [verb], apiGroups: [group], resources: [resource] };
        if (resourceNames.length === 0) yield one;
        for (const name of resourceNames) yield { ...one, resourceNames: [name] };
      }
    }
  }
}

/** Every permission of `wanted` is one of `held`. */
function coversWhole(held: PolicyRule, wanted: PolicyRule): boolean {
  if (!wanted.verbs.every((verb) => has(held.verbs, verb))) return false;
  const urls = wanted.nonResourceURLs ?? [];
  const paths = held.nonResourceURLs ?? [];
  if (urls.length > 0) return urls.every((url) => paths.some((pattern) => matchesPath(pattern, url)));
  const { apiGroups = [], resources = [], resourceNames = [] } = held;
  return (
    (wanted.apiGroups ?? []).length > 0 &&
    (wanted.apiGroups ?? []).every((group) => has(apiGroups, group)) &&
    (wanted.resources ?? []).every((resource) => coversResource(resources, resource)) &&
    (resourceNames.length === 0 ||
      ((wanted.resourceNames ?? []).length > 0 &&
        (wanted.resourceNames ?? []).every((name) => resourceNames.includes(name))))
  );
}

function coversResource(held: readonly string[], wanted: string): boolean {
  const slash = wanted.indexOf("/");
  return has(held, wanted) || (slash >= 0 && held.includes(`*${wanted.slice(slash)}`));
}

/** As Kubernetes shows a rule in a refusal. */
export function ruleText(rule: PolicyRule): string {
  const parts: readonly (readonly [string, readonly string[] | undefined])[] = [
    ["APIGroups", rule.apiGroups],
    ["Resources", rule.resources],
    ["ResourceNames", rule.resourceNames],
    ["NonResourceURLs", rule.nonResourceURLs],
    ["Verbs", rule.verbs],
  ];
  const told = parts.filter(([, words]) => words !== undefined && words.length > 0);
  return `{${told.map(([name, words]) => `${name}:[${words?.map((word) => JSON.stringify(word)).join(" ")}]`).join(", ")}}`;
}
