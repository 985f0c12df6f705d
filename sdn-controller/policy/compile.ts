// Compiles one NetworkPolicy into allow rules over identities. Isolation is not a rule: it follows from `subjects`.
// Source: the NetworkPolicy API documentation. Pure; the oracle in oracle.ts says the same slowly, in the API's words.
import { formatPrefix, type Prefix, parsePrefix, subtractPrefixes } from "../network/ipv4.js";
import type { Identity } from "./identity.js";
import {
  type Direction,
  directionsOf,
  type Policy,
  type PolicyPeer,
  type PolicyPort,
  type PolicyRule,
  policyKey,
  protocolOf,
  rulesOf,
} from "./network-policy.js";
import { portMasks } from "./port-mask.js";
import { type Labels, selects } from "./selector.js";

export const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

/** The other end of a connection: the source for Ingress, the destination for Egress. */
export type RulePeer =
  | { readonly kind: "any" }
  | { readonly kind: "identity"; readonly identity: number }
  /** With `identity` both must hold: a named port was resolved for exactly that identity. */
  | { readonly kind: "prefix"; readonly prefix: Prefix; readonly identity?: number };

/** The connection's destination ports; without `ports` every packet of the protocol. */
export interface RulePorts {
  readonly protocol: number;
  readonly ports?: { readonly value: number; readonly mask: number };
}

/** Permits connections between `subject` and `peer`. Additive: there are no deny rules. */
export interface AllowRule {
  readonly direction: Direction;
  readonly subject: number;
  readonly peer: RulePeer;
  /** Every protocol when absent. */
  readonly ports?: RulePorts;
  readonly policy: string;
  readonly ruleIndex: number;
}

export interface CompiledPolicy {
  readonly key: string;
  readonly directions: readonly Direction[];
  /** Identities that the policy selects; it isolates them in its directions. */
  readonly subjects: readonly number[];
  readonly rules: readonly AllowRule[];
}

/** Everything that compilation of a policy looks at besides the policy. */
export interface PolicyWorld {
  readonly identities: readonly Identity[];
  /** Labels of a namespace as stored; the name label is implied. */
  namespaceLabels(name: string): Labels;
}

export function compilePolicy(policy: Policy, world: PolicyWorld): CompiledPolicy {
  const subjects = world.identities.filter((identity) => isSubject(policy, identity));
  const rules = new Map<string, AllowRule>();
  for (const rule of rulesOf(policy.spec)) {
    const peers = peersOf(policy, rule, world);
    for (const subject of subjects) {
      for (const compiled of compileRule(policy, rule, subject, peers, world)) {
        const key = ruleKey(compiled);
        if (!rules.has(key)) rules.set(key, compiled);
      }
    }
  }
  return {
    key: policyKey(policy),
    directions: directionsOf(policy.spec),
    subjects: subjects.map((identity) => identity.number),
    rules: [...rules.values()],
  };
}

/** Whether the policy selects `identity`. */
function isSubject(policy: Policy, identity: Identity): boolean {
  return identity.namespace === policy.namespace && selects(policy.spec.podSelector ?? {}, identity.labels);
}

/** Whether compiling `policy` can come out differently when `identity` appears or disappears. */
export function involves(policy: Policy, identity: Identity, world: PolicyWorld): boolean {
  if (isSubject(policy, identity)) return true;
  return rulesOf(policy.spec).some((rule) => {
    const byAddress = rule.peers.length === 0 || rule.peers.some((peer) => peer.ipBlock !== undefined);
    if (byAddress && rule.ports.some((port) => typeof port.port === "string")) return true;
    return rule.peers.some((peer) => peerSelects(policy, peer, identity, world));
  });
}

/** Two rules with the same key permit the same packets. */
export function ruleKey(rule: AllowRule): string {
  const ports = rule.ports;
  const range =
    ports === undefined
      ? "*"
      : `${ports.protocol}:${ports.ports ? `${ports.ports.value}/${ports.ports.mask}` : "*"}`;
  return `${rule.direction} ${rule.subject} ${peerText(rule.peer)} ${range}`;
}

function peerText(peer: RulePeer): string {
  if (peer.kind === "any") return "*";
  if (peer.kind === "identity") return `#${peer.identity}`;
  return `${formatPrefix(peer.prefix)}${peer.identity === undefined ? "" : `#${peer.identity}`}`;
}

function peersOf(policy: Policy, rule: PolicyRule, world: PolicyWorld): RulePeer[] {
  if (rule.peers.length === 0) return [{ kind: "any" }];
  const identities = world.identities.filter((identity) =>
    rule.peers.some((peer) => peerSelects(policy, peer, identity, world)),
  );
  const prefixes = rule.peers.flatMap((peer) => (peer.ipBlock === undefined ? [] : prefixesOf(peer)));
  return [
    ...identities.map((identity): RulePeer => ({ kind: "identity", identity: identity.number })),
    ...prefixes.map((prefix): RulePeer => ({ kind: "prefix", prefix })),
  ];
}

function peerSelects(policy: Policy, peer: PolicyPeer, identity: Identity, world: PolicyWorld): boolean {
  if (peer.ipBlock !== undefined) return false;
  if (peer.podSelector === undefined && peer.namespaceSelector === undefined) return false;
  if (peer.namespaceSelector === undefined) {
    if (identity.namespace !== policy.namespace) return false;
  } else if (!selects(peer.namespaceSelector, namespaceLabels(world, identity.namespace))) return false;
  return peer.podSelector === undefined || selects(peer.podSelector, identity.labels);
}

function namespaceLabels(world: PolicyWorld, name: string): Labels {
  return { ...world.namespaceLabels(name), [NAMESPACE_NAME_LABEL]: name };
}

function prefixesOf(peer: PolicyPeer): Prefix[] {
  const prefix = parsePrefix(peer.ipBlock?.cidr ?? "");
  if (prefix === undefined) return [];
  const except = (peer.ipBlock?.except ?? []).flatMap((text) => parsePrefix(text) ?? []);
  return subtractPrefixes(prefix, except);
}

function compileRule(
  policy: Policy,
  rule: PolicyRule,
  subject: Identity,
  peers: readonly RulePeer[],
  world: PolicyWorld,
): AllowRule[] {
  const common = {
    direction: rule.direction,
    subject: subject.number,
    policy: policyKey(policy),
    ruleIndex: rule.index,
  };
  if (rule.ports.length === 0) return peers.map((peer) => ({ ...common, peer }));
  return rule.ports.flatMap((port) => {
    const targets = isNamedEgress(rule, port) ? resolvedPeers(peers, world) : peers;
    return targets.flatMap((peer) =>
      portsOf(port, destinationOf(rule, subject, peer, world)).map((ports) => ({ ...common, peer, ports })),
    );
  });
}

function isNamedEgress(rule: PolicyRule, port: PolicyPort): boolean {
  return rule.direction === "Egress" && typeof port.port === "string";
}

/** A named port is a property of the destination, so an address stands for each destination that we know. */
function resolvedPeers(peers: readonly RulePeer[], world: PolicyWorld): RulePeer[] {
  const named = world.identities.filter((identity) => identity.namedPorts.length > 0);
  return peers.flatMap((peer): RulePeer[] => {
    if (peer.kind === "identity") return [peer];
    return named.map(({ number }) =>
      peer.kind === "any" ? { kind: "identity", identity: number } : { ...peer, identity: number },
    );
  });
}

function destinationOf(
  rule: PolicyRule,
  subject: Identity,
  peer: RulePeer,
  world: PolicyWorld,
): Identity | undefined {
  if (rule.direction === "Ingress") return subject;
  if (peer.kind === "any" || peer.identity === undefined) return undefined;
  return world.identities.find((identity) => identity.number === peer.identity);
}

function portsOf(port: PolicyPort, destination: Identity | undefined): RulePorts[] {
  const protocol = protocolOf(port);
  if (protocol === undefined) return [];
  if (port.port === undefined) return [{ protocol }];
  if (typeof port.port === "number") {
    return portMasks(port.port, port.endPort ?? port.port).map((ports) => ({ protocol, ports }));
  }
  return (destination?.namedPorts ?? [])
    .filter((named) => named.name === port.port && (named.protocol ?? "TCP") === (port.protocol ?? "TCP"))
    .map((named) => ({ protocol, ports: { value: named.port, mask: 0xffff } }));
}
