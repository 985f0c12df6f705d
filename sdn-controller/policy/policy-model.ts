// One form for the three kinds of policy, so that what they mean is written down once: the compiler and the offline
// analysis both work on it. Tiers are asked in order: admin policies by priority, network policies, the baseline.
//
//   Admin     the first rule that matches decides: Allow, Deny, or Pass (on to the next tier)
//   Network   an endpoint that a policy isolates gets only what some rule allows; without one the next tier is asked
//   Baseline  the first rule that matches decides; without one everything is allowed
//
// Source: the NetworkPolicy API documentation; KEP-2091 for the other two. Pure.

import type { AdminPeer, AdminPolicy, AdminPort, AdminRule } from "./admin-network-policy.js";
import type { PolicyHandling } from "./handling.js";
import {
  type Direction,
  directionsOf,
  type Policy,
  type PolicyPeer,
  type PolicyRule,
  rulesOf,
} from "./network-policy.js";
import { type LabelSelector, type Labels, selects } from "./selector.js";

export type Tier = "Admin" | "Network" | "Baseline";
export type RuleAction = "Allow" | "Deny" | "Pass";
export type PolicyKind = "NetworkPolicy" | "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy";

export const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

/** Endpoints of the selected namespaces (or of the one named) whose own labels fit, too. */
export interface EndpointSelector {
  readonly namespace?: string;
  readonly namespaceSelector?: LabelSelector;
  /** Every endpoint when absent. */
  readonly podSelector?: LabelSelector;
}

export type PeerModel =
  | { readonly kind: "endpoints"; readonly selector: EndpointSelector }
  | { readonly kind: "block"; readonly cidr: string; readonly except: readonly string[] }
  /** Nodes are no endpoints here, so this selects nothing. */
  | { readonly kind: "nodes"; readonly selector: LabelSelector }
  /** Names of hosts outside, whose addresses nobody knows here: nothing, too. */
  | { readonly kind: "names" }
  | { readonly kind: "nothing" };

/** Destination ports. With a name and no protocol: the protocol that the port of that name has. */
export interface PortModel {
  readonly protocol?: string;
  readonly range?: { readonly first: number; readonly last: number };
  readonly name?: string;
}

export interface RuleModel {
  readonly direction: Direction;
  /** Counts from 0 within the direction. */
  readonly index: number;
  readonly name?: string;
  readonly action: RuleAction;
  /** Everything, addresses included, when absent. */
  readonly peers?: readonly PeerModel[];
  /** Every protocol and port when absent. */
  readonly ports?: readonly PortModel[];
}

export interface PolicyModel {
  readonly kind: PolicyKind;
  readonly tier: Tier;
  /** "" for the cluster-wide kinds. */
  readonly namespace: string;
  readonly name: string;
  /** Lower comes first within the tier; 0 outside the admin tier. */
  readonly priority: number;
  readonly subject: EndpointSelector;
  /** Network tier: the directions in which its subjects are isolated. Elsewhere those that have rules. */
  readonly directions: readonly Direction[];
  readonly rules: readonly RuleModel[];
  /** Rules that are written down but have no effect, as their direction is none of the policy's. */
  readonly idleRules: readonly RuleModel[];
  readonly handling: PolicyHandling;
}

/** "NetworkPolicy/namespace/name", or "AdminNetworkPolicy/name". */
export function modelKey(model: Pick<PolicyModel, "kind" | "namespace" | "name">): string {
  return `${model.kind}/${model.namespace === "" ? "" : `${model.namespace}/`}${model.name}`;
}

export function modelOfNetworkPolicy(policy: Policy): PolicyModel {
  const { namespace, name, spec, handling = {} } = policy;
  const directions = directionsOf(spec);
  const idle = (["Ingress", "Egress"] as const).filter((direction) => !directions.includes(direction));
  return {
    kind: "NetworkPolicy",
    tier: "Network",
    namespace,
    name,
    priority: 0,
    subject: { namespace, podSelector: spec.podSelector ?? {} },
    directions,
    handling,
    rules: rulesOf(spec).map((rule) => ruleOfNetworkPolicy(rule, namespace)),
    idleRules:
      idle.length === 0
        ? []
        : rulesOf({ ...spec, policyTypes: idle }).map((rule) => ruleOfNetworkPolicy(rule, namespace)),
  };
}

function ruleOfNetworkPolicy(rule: PolicyRule, namespace: string): RuleModel {
  const { direction, index, peers, ports } = rule;
  return {
    direction,
    index,
    action: "Allow",
    ...(peers.length === 0 ? {} : { peers: peers.map((peer) => peerOfNetworkPolicy(peer, namespace)) }),
    ...(ports.length === 0
      ? {}
      : {
          ports: ports.map(({ protocol, port, endPort }) => ({
            protocol: protocol || "TCP",
            ...(typeof port === "string" ? { name: port } : {}),
            ...(typeof port === "number" ? { range: { first: port, last: endPort ?? port } } : {}),
          })),
        }),
  };
}

function peerOfNetworkPolicy(peer: PolicyPeer, namespace: string): PeerModel {
  if (peer.ipBlock !== undefined)
    return { kind: "block", cidr: peer.ipBlock.cidr, except: peer.ipBlock.except ?? [] };
  const { podSelector, namespaceSelector } = peer;
  if (podSelector === undefined && namespaceSelector === undefined) return { kind: "nothing" };
  const selector = {
    ...(namespaceSelector === undefined ? { namespace } : { namespaceSelector }),
    ...(podSelector === undefined ? {} : { podSelector }),
  };
  return { kind: "endpoints", selector };
}

export function modelOfAdminPolicy(policy: AdminPolicy): PolicyModel {
  const { kind, name, spec, handling = {} } = policy;
  const rules = [
    ...(spec.ingress ?? []).map((rule, index) => adminRule(rule, "Ingress", index)),
    ...(spec.egress ?? []).map((rule, index) => adminRule(rule, "Egress", index)),
  ];
  return {
    kind,
    tier: kind === "AdminNetworkPolicy" ? "Admin" : "Baseline",
    namespace: "",
    name,
    priority: spec.priority ?? 0,
    subject: spec.subject.pods ?? { namespaceSelector: spec.subject.namespaces ?? {} },
    directions: (["Ingress", "Egress"] as const).filter((direction) =>
      rules.some((rule) => rule.direction === direction),
    ),
    rules,
    idleRules: [],
    handling,
  };
}

function adminRule(rule: AdminRule, direction: Direction, index: number): RuleModel {
  const peers = (direction === "Ingress" ? rule.from : rule.to) ?? [];
  return {
    direction,
    index,
    action: rule.action,
    peers: peers.flatMap(peersOfAdminPolicy),
    ...(rule.name === undefined || rule.name === "" ? {} : { name: rule.name }),
    ...(rule.ports === undefined ? {} : { ports: rule.ports.map(portOfAdminPolicy) }),
  };
}

function peersOfAdminPolicy(peer: AdminPeer): PeerModel[] {
  if (peer.namespaces !== undefined)
    return [{ kind: "endpoints", selector: { namespaceSelector: peer.namespaces } }];
  if (peer.pods !== undefined) return [{ kind: "endpoints", selector: peer.pods }];
  if (peer.nodes !== undefined) return [{ kind: "nodes", selector: peer.nodes }];
  if (peer.domainNames !== undefined) return [{ kind: "names" }];
  return (peer.networks ?? []).map((cidr) => ({ kind: "block", cidr, except: [] }));
}

function portOfAdminPolicy(port: AdminPort): PortModel {
  if (port.namedPort !== undefined) return { name: port.namedPort };
  const { portNumber, portRange } = port;
  if (portRange !== undefined)
    return { protocol: portRange.protocol || "TCP", range: { first: portRange.start, last: portRange.end } };
  const first = portNumber?.port ?? 0;
  return { protocol: portNumber?.protocol || "TCP", range: { first, last: first } };
}

/** What a selector can see of an endpoint. `namespaceLabels` include the name label. */
export interface SelectableEndpoint {
  readonly namespace: string;
  readonly namespaceLabels: Labels;
  readonly labels: Labels;
}

export function selectsEndpoint(selector: EndpointSelector, endpoint: SelectableEndpoint): boolean {
  if (selector.namespace !== undefined) {
    if (endpoint.namespace !== selector.namespace) return false;
  } else if (!selects(selector.namespaceSelector ?? {}, endpoint.namespaceLabels)) return false;
  return selector.podSelector === undefined || selects(selector.podSelector, endpoint.labels);
}

/** In the order in which they are asked: tiers, priorities, then names so that the order is the same everywhere. */
export function compareModels(a: PolicyModel, b: PolicyModel): number {
  const tiers: readonly Tier[] = ["Admin", "Network", "Baseline"];
  return (
    tiers.indexOf(a.tier) - tiers.indexOf(b.tier) ||
    a.priority - b.priority ||
    (modelKey(a) < modelKey(b) ? -1 : 1)
  );
}
