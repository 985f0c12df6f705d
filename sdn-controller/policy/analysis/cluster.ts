// What a manifest describes when all of it is taken together: workloads with the labels that their namespaces have, and
// sound policies in the order in which they are asked. What contradicts itself is refused as a whole. Pure.
import { PlinthError } from "../../../base/errors/index.js";
import type { AdminPolicy } from "../admin-network-policy.js";
import {
  compareModels,
  modelOfAdminPolicy,
  modelOfNetworkPolicy,
  NAMESPACE_NAME_LABEL,
  type PolicyModel,
  selectsEndpoint,
} from "../policy-model.js";
import type { Labels } from "../selector.js";
import type { ContainerPort, Entrance, Located, Manifest, PodSource, Problem, Service } from "./manifest.js";
import { adminPolicyProblem, networkPolicyProblem } from "./policy-problems.js";

/** An endpoint of policies: all pods of one owner are one. */
export interface Workload {
  readonly namespace: string;
  readonly name: string;
  readonly kind: string;
  /** "namespace/name[Kind]", or "{ingress-controller}". */
  readonly text: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
  readonly ports: readonly ContainerPort[];
  /** Names of the pods that are known by their owner's name. */
  readonly pods: readonly string[];
  /** Of the nodes that its pods run on, as far as documents tell. */
  readonly nodeAddresses: readonly string[];
}

export interface Cluster {
  /** Sorted by text. */
  readonly workloads: readonly Workload[];
  readonly policies: readonly PolicyModel[];
  /** The labels of a namespace: at least that of its name, which every namespace has. */
  readonly labelsOf: (namespace: string) => Labels;
  readonly services: readonly Service[];
  readonly entrances: readonly Entrance[];
  readonly problems: readonly Problem[];
}

/** Throws POLICY_INVALID for what has no meaning: the message names the document and the field. */
export function clusterOf(manifest: Manifest): Cluster {
  const problems: Problem[] = [...manifest.problems];
  const namespaces = namespacesOf(manifest, problems);
  const labelsOf = (name: string): Labels => namespaces.get(name) ?? { [NAMESPACE_NAME_LABEL]: name };
  const policies = policiesOf(manifest, problems);
  return {
    workloads: workloadsOf(manifest, labelsOf, policies, problems),
    policies,
    labelsOf,
    services: latest(manifest.services, ({ namespace, name }) => `Service ${namespace}/${name}`, problems),
    entrances: latest(
      manifest.entrances,
      ({ kind, namespace, name }) => `${kind} ${namespace}/${name}`,
      problems,
    ),
    problems,
  };
}

function namespacesOf(manifest: Manifest, problems: Problem[]): Map<string, Labels> {
  const result = new Map<string, Labels>();
  for (const { value } of unique(manifest.namespaces, ({ name }) => `Namespace ${name}`, problems))
    result.set(value.name, { ...value.labels, [NAMESPACE_NAME_LABEL]: value.name });
  return result;
}

function policiesOf(manifest: Manifest, problems: Problem[]): PolicyModel[] {
  const network = unique(
    manifest.networkPolicies,
    ({ namespace, name }) => `NetworkPolicy ${namespace}/${name}`,
    problems,
    networkPolicyProblem,
  );
  const admin = unique(
    manifest.adminPolicies,
    ({ kind, name }) => `${kind} ${name}`,
    problems,
    adminPolicyProblem,
  );
  checkPriorities(admin);
  return [
    ...admin.map(({ value }) => modelOfAdminPolicy(value)),
    ...network.map(({ value }) => modelOfNetworkPolicy(value)),
  ].sort(compareModels);
}

function checkPriorities(policies: readonly Located<AdminPolicy>[]): void {
  const byPriority = new Map<number, string>();
  for (const { value, where } of policies) {
    const { kind, name, spec } = value;
    if (kind !== "AdminNetworkPolicy") continue;
    const priority = spec.priority ?? 0;
    const other = byPriority.get(priority);
    if (other !== undefined)
      throw invalid(
        `${where}: AdminNetworkPolicy ${name} and ${other} both have priority ${priority}: which of them comes first is not defined`,
      );
    byPriority.set(priority, `${name} (${where})`);
  }
}

/** Each object once. The same one again is worth a warning; another one of the same name is a contradiction. */
function unique<T>(
  items: readonly Located<T>[],
  nameOf: (value: T) => string,
  problems: Problem[],
  problemOf: (value: T) => string | undefined = () => undefined,
): Located<T>[] {
  const seen = new Map<string, Located<T>>();
  for (const item of items) {
    const name = nameOf(item.value);
    const problem = problemOf(item.value);
    if (problem !== undefined) throw invalid(`${item.where}: ${name}: ${problem}`);
    const before = seen.get(name);
    if (before === undefined) seen.set(name, item);
    else if (JSON.stringify(before.value) === JSON.stringify(item.value))
      problems.push({
        severity: "warning",
        message: `${item.where}: ${name} was in ${before.where} already`,
      });
    else throw invalid(`${item.where}: ${name} is not what ${before.where} says: one name, one object`);
  }
  return [...seen.values()];
}

/** Each object once: of several of one name the last counts, as where they are applied one after the other. */
function latest<T>(
  items: readonly Located<T>[],
  nameOf: (value: T) => string,
  problems: Problem[],
): readonly T[] {
  const seen = new Map<string, Located<T>>();
  for (const item of items) {
    const name = nameOf(item.value);
    const before = seen.get(name);
    if (before !== undefined) problems.push(laterCounts(item.where, name, before.where));
    seen.set(name, item);
  }
  return [...seen.values()].map(({ value }) => value);
}

function laterCounts(where: string, name: string, before: string): Problem {
  return { severity: "warning", message: `${where}: ${name} was in ${before} already; the later one counts` };
}

function workloadsOf(
  manifest: Manifest,
  labelsOf: (namespace: string) => Labels,
  policies: readonly PolicyModel[],
  problems: Problem[],
): Workload[] {
  const names = portNamesAsked(manifest, policies);
  const result = new Map<string, { workload: Workload; source: PodSource }>();
  for (const source of manifest.pods) {
    const { kind, name } = source.owner ?? source;
    const { namespace, labels, ports } = source;
    const text = `${namespace}/${name}[${kind}]`;
    const { nodeAddresses = [] } = source;
    const pods = source.owner === undefined ? [] : [source.name];
    const common = { namespace, name, kind, text, labels, ports, namespaceLabels: labelsOf(namespace) };
    const workload = { ...common, pods, nodeAddresses };
    const before = result.get(text);
    // A dump of a cluster has the owner beside its pods, in any order.
    if (before !== undefined && (source.owner ?? before.source.owner) !== undefined) {
      checkAlike(before, { workload, source }, policies);
      problems.push(...differentPorts(before, { workload, source }, names));
      result.set(text, { workload: together(before.workload, workload), source: before.source });
      continue;
    }
    if (before !== undefined) problems.push(laterCounts(source.where, text, before.source.where));
    result.set(text, { workload, source });
  }
  return [...result.values()].map(({ workload }) => workload).sort((a, b) => (a.text < b.text ? -1 : 1));
}

/** One endpoint, and another pod that is known by its name. */
function together(one: Workload, other: Workload): Workload {
  return {
    ...one,
    pods: [...one.pods, ...other.pods],
    nodeAddresses: [...new Set([...one.nodeAddresses, ...other.nodeAddresses])],
  };
}

interface Sourced {
  readonly workload: Workload;
  readonly source: PodSource;
}

/** Pods of one owner count as one endpoint, so no policy may tell them apart. */
function checkAlike(first: Sourced, second: Sourced, policies: readonly PolicyModel[]): void {
  for (const policy of policies) {
    const selectors = [
      policy.subject,
      ...policy.rules.flatMap((rule) =>
        (rule.peers ?? []).flatMap((peer) => (peer.kind === "endpoints" ? [peer.selector] : [])),
      ),
    ];
    const differs = selectors.some(
      (selector) => selectsEndpoint(selector, first.workload) !== selectsEndpoint(selector, second.workload),
    );
    if (differs)
      throw invalid(
        `${second.source.where}: ${second.source.kind} ${second.source.name} and ${first.source.name} belong to ` +
          `${first.workload.text}, but ${policy.kind} ${policy.name} selects only one of them: their labels differ`,
      );
  }
}

/** Names of ports that policies or services ask for. */
function portNamesAsked({ services }: Manifest, policies: readonly PolicyModel[]): Set<string> {
  const targets = services.flatMap(({ value }) => value.ports.map(({ targetPort }) => targetPort));
  const inRules = policies.flatMap(({ rules }) =>
    rules.flatMap(({ ports = [] }) => ports.map(({ name }) => name)),
  );
  return new Set([...targets, ...inRules].filter((name) => typeof name === "string"));
}

/** Pods of one owner count as one endpoint, with the ports of the first: what others call by the same name is told. */
function differentPorts(first: Sourced, second: Sourced, names: ReadonlySet<string>): Problem[] {
  return [...names].flatMap((name): Problem[] => {
    const [known, own] = [first, second].map(({ workload }) => portsOfName(workload, name));
    if (known === own) return [];
    const { where, kind, name: pod } = second.source;
    return [
      {
        severity: "warning",
        message: `${where}: port ${name} of ${kind} ${pod} is ${own}; it counts as ${first.workload.text}, which has ${known} by ${first.source.kind} ${first.source.name}`,
      },
    ];
  });
}

function portsOfName({ ports }: Workload, name: string): string {
  const own = ports.filter((port) => port.name === name);
  const texts = own.map(({ protocol = "TCP", port }) => `${protocol} ${port}`).sort();
  return texts.length === 0 ? "none" : texts.join(" and ");
}

function invalid(message: string): PlinthError {
  return new PlinthError("POLICY_INVALID", message);
}
