// What the schema of the policy kinds cannot say: which policies have no meaning, with the field that is to blame.
// Source: validation of networking.k8s.io/v1; the comments of policy.networking.k8s.io/v1alpha1. Pure.
import {
  ADMIN_PRIORITY_MAX,
  type AdminPeer,
  type AdminPolicy,
  type AdminPort,
  BASELINE_NAME,
} from "../admin-network-policy.js";
import type { Policy, PolicyPeer, PolicyPort } from "../network-policy.js";
import type { LabelSelector } from "../selector.js";
import { parseCidr } from "./address-range.js";
import { isProtocol, PORT_MAX, PORT_MIN } from "./connection-set.js";

const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Undefined when the policy is sound. */
export function networkPolicyProblem({ spec }: Policy): string | undefined {
  const rules = [
    ...(spec.ingress ?? []).map((rule, i) => ({
      at: `spec.ingress[${i}]`,
      word: "from",
      peers: rule.from,
      rule,
    })),
    ...(spec.egress ?? []).map((rule, i) => ({ at: `spec.egress[${i}]`, word: "to", peers: rule.to, rule })),
  ];
  for (const type of spec.policyTypes ?? []) {
    if (type !== "Ingress" && type !== "Egress")
      return `spec.policyTypes: expected Ingress or Egress, found ${JSON.stringify(type)}`;
  }
  return (
    selectorProblem(spec.podSelector, "spec.podSelector") ??
    first(
      rules,
      ({ at, word, peers, rule }) =>
        first(peers ?? [], (peer, j) => peerProblem(peer, `${at}.${word}[${j}]`)) ??
        first(rule.ports ?? [], (port, j) => portProblem(port, `${at}.ports[${j}]`)),
    )
  );
}

function peerProblem(peer: PolicyPeer, at: string): string | undefined {
  const selects = peer.podSelector !== undefined || peer.namespaceSelector !== undefined;
  if (peer.ipBlock !== undefined) {
    if (selects) return `${at}: ipBlock may not stand beside a selector`;
    return blockProblem(peer.ipBlock.cidr, peer.ipBlock.except ?? [], `${at}.ipBlock`);
  }
  if (!selects) return `${at}: expected podSelector, namespaceSelector or ipBlock`;
  return (
    selectorProblem(peer.podSelector, `${at}.podSelector`) ??
    selectorProblem(peer.namespaceSelector, `${at}.namespaceSelector`)
  );
}

function blockProblem(cidr: string, except: readonly string[], at: string): string | undefined {
  const block = parseCidr(cidr ?? "");
  if (block === undefined)
    return `${at}.cidr: expected a block such as 10.9.0.0/16, found ${JSON.stringify(cidr)}`;
  return first(except, (text, i) =>
    parseCidr(text) === undefined
      ? `${at}.except[${i}]: expected a block such as 10.9.1.0/24, found ${JSON.stringify(text)}`
      : undefined,
  );
}

function portProblem({ protocol, port, endPort }: PolicyPort, at: string): string | undefined {
  if (protocol !== undefined && protocol !== "" && !isProtocol(protocol))
    return `${at}.protocol: expected TCP, UDP or SCTP, found ${JSON.stringify(protocol)}`;
  if (typeof port === "number" && !isPort(port))
    return `${at}.port: expected a number from 1 to 65535, found ${port}`;
  if (endPort === undefined) return undefined;
  if (typeof port !== "number") return `${at}.endPort: only a port number may stand before it`;
  if (!isPort(endPort) || endPort < port)
    return `${at}.endPort: expected a number from ${port} to 65535, found ${endPort}`;
  return undefined;
}

/** Undefined when the policy is sound. */
export function adminPolicyProblem({ kind, name, spec }: AdminPolicy): string | undefined {
  const admin = kind === "AdminNetworkPolicy";
  if (!admin && name !== BASELINE_NAME)
    return `metadata.name: expected "${BASELINE_NAME}", found ${JSON.stringify(name)}`;
  const { priority } = spec;
  if (admin && (priority === undefined || priority < 0 || priority > ADMIN_PRIORITY_MAX))
    return `spec.priority: expected a number from 0 to ${ADMIN_PRIORITY_MAX}, found ${priority ?? "nothing"}`;
  const subject = spec.subject ?? {};
  if ((subject.namespaces === undefined) === (subject.pods === undefined))
    return "spec.subject: expected either namespaces or pods";
  const actions = admin ? ["Allow", "Deny", "Pass"] : ["Allow", "Deny"];
  const rules = [
    ...(spec.ingress ?? []).map((rule, i) => ({ at: `spec.ingress[${i}]`, word: "from" as const, rule })),
    ...(spec.egress ?? []).map((rule, i) => ({ at: `spec.egress[${i}]`, word: "to" as const, rule })),
  ];
  return (
    selectorProblem(subject.namespaces, "spec.subject.namespaces") ??
    podsProblem(subject.pods, "spec.subject.pods") ??
    first(rules, ({ at, word, rule }) => {
      const peers = rule[word] ?? [];
      if (!actions.includes(rule.action))
        return `${at}.action: expected ${actions.join(", ")}, found ${JSON.stringify(rule.action)}`;
      if (peers.length === 0) return `${at}.${word}: expected at least one peer`;
      return (
        first(peers, (peer, j) => adminPeerProblem(peer, `${at}.${word}[${j}]`, word === "to")) ??
        first(rule.ports ?? [], (port, j) => adminPortProblem(port, `${at}.ports[${j}]`))
      );
    })
  );
}

function adminPeerProblem(peer: AdminPeer, at: string, egress: boolean): string | undefined {
  const allowed = ["namespaces", "pods", ...(egress ? ["networks", "nodes", "domainNames"] : [])];
  const given = allowed.filter((field) => peer[field as keyof AdminPeer] !== undefined);
  if (given.length !== 1) return `${at}: expected exactly one of ${allowed.join(", ")}`;
  return (
    selectorProblem(peer.namespaces, `${at}.namespaces`) ??
    podsProblem(peer.pods, `${at}.pods`) ??
    selectorProblem(peer.nodes, `${at}.nodes`) ??
    first(peer.networks ?? [], (cidr, i) =>
      parseCidr(cidr) === undefined
        ? `${at}.networks[${i}]: expected a block such as 10.9.0.0/16, found ${JSON.stringify(cidr)}`
        : undefined,
    )
  );
}

function adminPortProblem(port: AdminPort, at: string): string | undefined {
  const { portNumber, portRange, namedPort } = port;
  if ([portNumber, portRange, namedPort].filter((one) => one !== undefined).length !== 1)
    return `${at}: expected exactly one of portNumber, portRange, namedPort`;
  const protocol = portNumber?.protocol ?? portRange?.protocol;
  if (protocol !== undefined && protocol !== "" && !isProtocol(protocol))
    return `${at}: expected protocol TCP, UDP or SCTP, found ${JSON.stringify(protocol)}`;
  if (portNumber !== undefined && !isPort(portNumber.port))
    return `${at}.portNumber.port: expected a number from 1 to 65535, found ${portNumber.port}`;
  if (
    portRange !== undefined &&
    !(isPort(portRange.start) && isPort(portRange.end) && portRange.start <= portRange.end)
  )
    return `${at}.portRange: expected 1 ≤ start ≤ end ≤ 65535, found ${portRange.start}-${portRange.end}`;
  return undefined;
}

function podsProblem(
  pods: { namespaceSelector?: LabelSelector; podSelector?: LabelSelector } | undefined,
  at: string,
): string | undefined {
  return (
    selectorProblem(pods?.namespaceSelector, `${at}.namespaceSelector`) ??
    selectorProblem(pods?.podSelector, `${at}.podSelector`)
  );
}

function selectorProblem(selector: LabelSelector | undefined, at: string): string | undefined {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    if (!LABEL_KEY.test(key)) return `${at}.matchLabels: ${JSON.stringify(key)} is no label key`;
    if (!LABEL_VALUE.test(value))
      return `${at}.matchLabels.${key}: ${JSON.stringify(value)} is no label value`;
  }
  return first(selector?.matchExpressions ?? [], ({ key, operator, values }, i) => {
    const here = `${at}.matchExpressions[${i}]`;
    const count = values?.length ?? 0;
    if (key === undefined || !LABEL_KEY.test(key))
      return `${here}.key: ${JSON.stringify(key)} is no label key`;
    if (operator === "In" || operator === "NotIn")
      return count === 0 ? `${here}.values: ${operator} needs at least one` : undefined;
    if (operator === "Exists" || operator === "DoesNotExist")
      return count > 0 ? `${here}.values: ${operator} takes none` : undefined;
    return `${here}.operator: expected In, NotIn, Exists or DoesNotExist, found ${JSON.stringify(operator)}`;
  });
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= PORT_MIN && port <= PORT_MAX;
}

function first<T>(
  items: readonly T[],
  problem: (item: T, index: number) => string | undefined,
): string | undefined {
  for (const [i, item] of items.entries()) {
    const found = problem(item, i);
    if (found !== undefined) return found;
  }
  return undefined;
}
