// What NetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy mean, written down slowly, packet by packet and
// straight from the API documentation, for tests. Shares nothing with compiler and analysis but the data types. Pure.
import type { AdminPeer, AdminPolicy, AdminPort, AdminSubject } from "./admin-network-policy.js";
import type { NamedPort } from "./identity.js";
import type { NetworkPolicySpec, Policy, PolicyPeer, PolicyPort } from "./network-policy.js";
import type { LabelSelector, Labels } from "./selector.js";

export interface OracleEnd {
  /** Dotted decimal, or IPv6 without "::". Absent where it is not known: no address rule fits then. */
  readonly address?: string;
  /** Absent for an end that is no port of ours. */
  readonly pod?: {
    readonly namespace: string;
    readonly labels: Labels;
    readonly namedPorts: readonly NamedPort[];
  };
}

export interface OracleConnection {
  readonly source: OracleEnd;
  readonly destination: OracleEnd;
  /** "TCP", "UDP", "SCTP" or anything else, such as "ICMP". */
  readonly protocol: string;
  readonly port?: number;
}

export interface OracleVerdict {
  readonly allowed: boolean;
  /** The direction that refused, egress being asked first. */
  readonly deniedBy?: "Egress" | "Ingress";
}

type NamespaceLabels = (name: string) => Labels;

export function judge(
  policies: readonly Policy[],
  namespaces: NamespaceLabels,
  connection: OracleConnection,
  adminPolicies: readonly AdminPolicy[] = [],
): OracleVerdict {
  const all = { policies, adminPolicies, namespaces };
  if (!directionAllows("Egress", all, connection)) return { allowed: false, deniedBy: "Egress" };
  if (!directionAllows("Ingress", all, connection)) return { allowed: false, deniedBy: "Ingress" };
  return { allowed: true };
}

interface Everything {
  readonly policies: readonly Policy[];
  readonly adminPolicies: readonly AdminPolicy[];
  readonly namespaces: NamespaceLabels;
}

function directionAllows(
  direction: "Egress" | "Ingress",
  all: Everything,
  connection: OracleConnection,
): boolean {
  const admin = all.adminPolicies
    .filter((policy) => policy.kind === "AdminNetworkPolicy")
    .sort((a, b) => (a.spec.priority ?? 0) - (b.spec.priority ?? 0));
  for (const policy of admin) {
    const action = adminAction(direction, policy, all.namespaces, connection);
    if (action === "Allow") return true;
    if (action === "Deny") return false;
    if (action === "Pass") break;
  }
  const verdict = networkPoliciesSay(direction, all.policies, all.namespaces, connection);
  if (verdict !== undefined) return verdict;
  for (const policy of all.adminPolicies) {
    if (policy.kind !== "BaselineAdminNetworkPolicy") continue;
    const action = adminAction(direction, policy, all.namespaces, connection);
    if (action !== undefined) return action === "Allow";
  }
  return true;
}

/** The action of the policy's first rule that matches; undefined when none does, or the policy is not about this pod. */
function adminAction(
  direction: "Egress" | "Ingress",
  policy: AdminPolicy,
  namespaces: NamespaceLabels,
  connection: OracleConnection,
): "Allow" | "Deny" | "Pass" | undefined {
  const self = direction === "Egress" ? connection.source : connection.destination;
  const other = direction === "Egress" ? connection.destination : connection.source;
  if (self.pod === undefined || !subjectMatches(policy.spec.subject, self, namespaces)) return undefined;
  for (const rule of (direction === "Egress" ? policy.spec.egress : policy.spec.ingress) ?? []) {
    const peers = (direction === "Egress" ? rule.to : rule.from) ?? [];
    const portOk = rule.ports === undefined || rule.ports.some((port) => adminPortMatches(port, connection));
    if (portOk && peers.some((peer) => adminPeerMatches(peer, other, namespaces))) return rule.action;
  }
  return undefined;
}

function subjectMatches(subject: AdminSubject, end: OracleEnd, namespaces: NamespaceLabels): boolean {
  if (end.pod === undefined) return false;
  const labels = { ...namespaces(end.pod.namespace), "kubernetes.io/metadata.name": end.pod.namespace };
  if (subject.namespaces !== undefined) return labelsMatch(subject.namespaces, labels);
  if (subject.pods === undefined) return false;
  return (
    labelsMatch(subject.pods.namespaceSelector ?? {}, labels) &&
    labelsMatch(subject.pods.podSelector ?? {}, end.pod.labels)
  );
}

function adminPeerMatches(peer: AdminPeer, end: OracleEnd, namespaces: NamespaceLabels): boolean {
  if (peer.networks !== undefined) return peer.networks.some((cidr) => inCidr(cidr, end.address));
  return subjectMatches(peer, end, namespaces);
}

function adminPortMatches(port: AdminPort, connection: OracleConnection): boolean {
  if (connection.port === undefined) return false;
  if (port.portNumber !== undefined)
    return (
      (port.portNumber.protocol ?? "TCP") === connection.protocol && port.portNumber.port === connection.port
    );
  if (port.portRange !== undefined)
    return (
      (port.portRange.protocol ?? "TCP") === connection.protocol &&
      port.portRange.start <= connection.port &&
      connection.port <= port.portRange.end
    );
  return (connection.destination.pod?.namedPorts ?? []).some(
    (named) =>
      named.name === port.namedPort &&
      named.port === connection.port &&
      (named.protocol ?? "TCP") === connection.protocol,
  );
}

/** Undefined when no policy isolates the pod in this direction. */
function networkPoliciesSay(
  direction: "Egress" | "Ingress",
  policies: readonly Policy[],
  namespaces: NamespaceLabels,
  connection: OracleConnection,
): boolean | undefined {
  const self = direction === "Egress" ? connection.source : connection.destination;
  const other = direction === "Egress" ? connection.destination : connection.source;
  const pod = self.pod;
  if (pod === undefined) return true; // only pods are isolated
  const applying: Policy[] = [];
  for (const policy of policies) {
    if (policy.namespace !== pod.namespace) continue;
    if (!types(policy.spec).includes(direction)) continue;
    if (!labelsMatch(policy.spec.podSelector ?? {}, pod.labels)) continue;
    applying.push(policy);
  }
  if (applying.length === 0) return undefined;
  for (const policy of applying) {
    const rules =
      direction === "Egress"
        ? (policy.spec.egress ?? []).map((rule) => ({ peers: rule.to, ports: rule.ports }))
        : (policy.spec.ingress ?? []).map((rule) => ({ peers: rule.from, ports: rule.ports }));
    for (const rule of rules) {
      const peerOk =
        rule.peers === undefined ||
        rule.peers.length === 0 ||
        rule.peers.some((peer) => peerMatches(peer, policy.namespace, other, namespaces));
      const portOk =
        rule.ports === undefined ||
        rule.ports.length === 0 ||
        rule.ports.some((port) => portMatches(port, connection));
      if (peerOk && portOk) return true;
    }
  }
  return false;
}

function types(spec: NetworkPolicySpec): readonly string[] {
  if (spec.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return spec.egress !== undefined && spec.egress.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
}

function peerMatches(
  peer: PolicyPeer,
  policyNamespace: string,
  end: OracleEnd,
  namespaces: NamespaceLabels,
): boolean {
  if (peer.ipBlock !== undefined) {
    if (!inCidr(peer.ipBlock.cidr, end.address)) return false;
    return !(peer.ipBlock.except ?? []).some((except) => inCidr(except, end.address));
  }
  const pod = end.pod;
  if (pod === undefined) return false;
  const labels = { ...namespaces(pod.namespace), "kubernetes.io/metadata.name": pod.namespace };
  if (peer.podSelector !== undefined && peer.namespaceSelector !== undefined)
    return labelsMatch(peer.podSelector, pod.labels) && labelsMatch(peer.namespaceSelector, labels);
  if (peer.podSelector !== undefined)
    return pod.namespace === policyNamespace && labelsMatch(peer.podSelector, pod.labels);
  if (peer.namespaceSelector !== undefined) return labelsMatch(peer.namespaceSelector, labels);
  return false;
}

function portMatches(port: PolicyPort, connection: OracleConnection): boolean {
  if ((port.protocol ?? "TCP") !== connection.protocol) return false;
  if (port.port === undefined) return true;
  if (connection.port === undefined) return false;
  if (typeof port.port === "number")
    return connection.port >= port.port && connection.port <= (port.endPort ?? port.port);
  for (const named of connection.destination.pod?.namedPorts ?? []) {
    if (named.name === port.port && (named.protocol ?? "TCP") === connection.protocol) {
      if (named.port === connection.port) return true;
    }
  }
  return false;
}

function labelsMatch(selector: LabelSelector, labels: Labels): boolean {
  for (const key of Object.keys(selector.matchLabels ?? {})) {
    if (!(key in labels) || labels[key] !== selector.matchLabels?.[key]) return false;
  }
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const present = key in labels;
    const listed = present && (values ?? []).includes(labels[key] as string);
    if (operator === "In" && !listed) return false;
    else if (operator === "NotIn" && listed) return false;
    else if (operator === "Exists" && !present) return false;
    else if (operator === "DoesNotExist" && present) return false;
    else if (!["In", "NotIn", "Exists", "DoesNotExist"].includes(operator)) return false;
  }
  return true;
}

function inCidr(cidr: string, address: string | undefined): boolean {
  const [base, length] = cidr.split("/") as [string, string];
  if (address === undefined || base.includes(":") !== address.includes(":")) return false;
  return bitsOf(address).slice(0, Number(length)) === bitsOf(base).slice(0, Number(length));
}

function bitsOf(address: string): string {
  if (address.includes(":"))
    return address
      .split(":")
      .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
      .join("");
  return address
    .split(".")
    .map((octet) => Number(octet).toString(2).padStart(8, "0"))
    .join("");
}
