// What NetworkPolicy means, written down slowly and straight from the API documentation, for tests and for
// "would this be allowed?" questions. Shares nothing with the compiler but the data types. Pure.
import type { NamedPort } from "./identity.js";
import type { NetworkPolicySpec, Policy, PolicyPeer, PolicyPort } from "./network-policy.js";
import type { LabelSelector, Labels } from "./selector.js";

export interface OracleEnd {
  /** Dotted decimal. */
  readonly address: string;
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
): OracleVerdict {
  if (!directionAllows("Egress", policies, namespaces, connection))
    return { allowed: false, deniedBy: "Egress" };
  if (!directionAllows("Ingress", policies, namespaces, connection))
    return { allowed: false, deniedBy: "Ingress" };
  return { allowed: true };
}

function directionAllows(
  direction: "Egress" | "Ingress",
  policies: readonly Policy[],
  namespaces: NamespaceLabels,
  connection: OracleConnection,
): boolean {
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
  if (applying.length === 0) return true; // not isolated in this direction
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

function inCidr(cidr: string, address: string): boolean {
  const [base, length] = cidr.split("/") as [string, string];
  return bitsOf(address).slice(0, Number(length)) === bitsOf(base).slice(0, Number(length));
}

function bitsOf(address: string): string {
  return address
    .split(".")
    .map((octet) => Number(octet).toString(2).padStart(8, "0"))
    .join("");
}
