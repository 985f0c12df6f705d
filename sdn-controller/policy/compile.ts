// Compiles one policy into rules over identities. Isolation is not a rule: it follows from `subjects`.
// Source: policy-model.ts. Pure; the oracle in oracle.ts says the same slowly, in the API's words.
import { formatIpPrefix, type IpPrefix, parseIpPrefix, subtractIpPrefixes } from "../network/ip-address.js";
import { logsRule } from "./handling.js";
import type { Identity } from "./identity.js";
import { type Direction, IP_PROTOCOLS } from "./network-policy.js";
import {
  type EndpointSelector,
  modelKey,
  NAMESPACE_NAME_LABEL,
  type PeerModel,
  type PolicyModel,
  type PortModel,
  type RuleAction,
  type RuleModel,
  type SelectableEndpoint,
  selectsEndpoint,
  type Tier,
} from "./policy-model.js";
import { portMasks } from "./port-mask.js";
import type { Labels } from "./selector.js";

/** The other end of a connection: the source for Ingress, the destination for Egress. */
export type RulePeer =
  | { readonly kind: "any" }
  | { readonly kind: "identity"; readonly identity: number }
  /** With `identity` both must hold: a named port was resolved for exactly that identity. */
  | { readonly kind: "prefix"; readonly prefix: IpPrefix; readonly identity?: number };

/** The connection's destination ports; without `ports` every packet of the protocol. */
export interface RulePorts {
  readonly protocol: number;
  readonly ports?: { readonly value: number; readonly mask: number };
}

/**
 * Decides about connections between `subject` and every one of `peers` on every one of `ports`, unless a rule that is asked
 * earlier did. It is as large as the sum of both, not as their product.
 */
export interface CompiledRule {
  readonly tier: Tier;
  /** Of the policy within its tier: lower is asked first. */
  readonly priority: number;
  readonly action: RuleAction;
  readonly direction: Direction;
  readonly subject: number;
  /** Not empty, each once. */
  readonly peers: readonly RulePeer[];
  /** Not empty, each once; every protocol when absent. */
  readonly ports?: readonly RulePorts[];
  /** "" for what the rule says itself; else which of its named ports these are, resolved for some of the peers. */
  readonly part: string;
  /** modelKey of its policy. */
  readonly policy: string;
  /** By which its policy knows the rule (rule-identity.ts). */
  readonly ruleId: number;
  /** Whether both ends may speak IPv6; without it the rule is about IPv4 alone. */
  readonly ipv6: boolean;
  /** Counts what it would do, and does nothing. */
  readonly staged: boolean;
  /** A Deny that leaves open connections alone. */
  readonly keepsLive: boolean;
  readonly logged: boolean;
  /** The same for neighbouring rules of one action, which may be asked in any order. */
  readonly level: number;
}

/** A rule with what is the same for all subjects. */
export interface PreparedRule {
  readonly rule: RuleModel;
  readonly id: number;
  readonly peers: readonly RulePeer[];
  /** Those that are not named. */
  readonly ports: readonly RulePorts[];
  readonly level: number;
}

/** Everything that compilation of a policy looks at besides the policy. */
export interface PolicyWorld {
  readonly identities: readonly Identity[];
  /** All that have these labels, of one namespace or of any; perhaps others, too. */
  candidates(namespace: string | undefined, labels: Labels): readonly Identity[];
  identity(number: number): Identity | undefined;
  /** Labels of a namespace as stored; the name label is implied. */
  namespaceLabels(name: string): Labels;
}

/** The identities that a policy is about. */
export function subjectsOf(model: PolicyModel, world: PolicyWorld): Identity[] {
  return candidates(model.subject, world).filter((identity) => isSubject(model, identity, world));
}

/** What of a rule is the same for all subjects. */
export function prepareRule(rule: RuleModel, id: number, level: number, world: PolicyWorld): PreparedRule {
  return { rule, id, peers: peersOf(rule, world), ports: fixedPorts(rule), level };
}

/** What `prepared`, rules of `model` in their order, say about one subject. */
export function compileFor(
  model: PolicyModel,
  prepared: readonly PreparedRule[],
  subject: Identity,
  world: PolicyWorld,
): CompiledRule[] {
  return withoutRepeats(prepared.flatMap((rule) => compileRule(model, rule, subject, world)));
}

/** The identities that a selector may select. */
function candidates({ namespace, podSelector }: EndpointSelector, world: PolicyWorld): readonly Identity[] {
  return world.candidates(namespace, podSelector?.matchLabels ?? {});
}

/** The one namespace whose identities matter to the policy; undefined when those of others may, too. */
export function scopeOf(model: PolicyModel): string | undefined {
  const { namespace } = model.subject;
  const own = model.rules.every((rule) => {
    const named = (rule.ports ?? []).some((port) => port.name !== undefined);
    const byAddress = rule.peers === undefined || rule.peers.some((peer) => peer.kind === "block");
    const peers = rule.peers ?? [];
    return (
      !(named && byAddress) &&
      peers.every((peer) => peer.kind !== "endpoints" || peer.selector.namespace === namespace)
    );
  });
  return own ? namespace : undefined;
}

/** The level of each rule: how often the action changes before it, in its direction. */
export function levelsOf(model: PolicyModel): Map<RuleModel, number> {
  const levels = new Map<RuleModel, number>();
  const last = new Map<Direction, { action: RuleAction; level: number }>();
  for (const rule of model.rules) {
    const before = last.get(rule.direction);
    const level = before === undefined ? 0 : before.level + (before.action === rule.action ? 0 : 1);
    last.set(rule.direction, { action: rule.action, level });
    levels.set(rule, level);
  }
  return levels;
}

/** Whether the policy is about `identity`. */
export function isSubject(model: PolicyModel, identity: Identity, world: PolicyWorld): boolean {
  return selectsEndpoint(model.subject, endpointOf(identity, world));
}

function endpointOf(identity: Identity, world: PolicyWorld): SelectableEndpoint {
  return endpointIn(identity, world.namespaceLabels(identity.namespace));
}

function endpointIn({ namespace, labels }: Identity, stored: Labels): SelectableEndpoint {
  return { namespace, labels, namespaceLabels: { ...stored, [NAMESPACE_NAME_LABEL]: namespace } };
}

/** Whether compiling `rule` for the same subjects can come out differently when `identity` appears or disappears. */
export function involves(rule: RuleModel, identity: Identity, world: PolicyWorld): boolean {
  // A named port is looked up at every destination behind an address.
  const byAddress = rule.peers === undefined || rule.peers.some((peer) => peer.kind === "block");
  const named = rule.direction === "Egress" && identity.namedPorts.length > 0;
  if (byAddress && named && (rule.ports ?? []).some((port) => port.name !== undefined)) return true;
  return (rule.peers ?? []).some((peer) => peerSelects(peer, identity, world));
}

/** Whether a selector of namespaces tells identities of `namespace` apart by whether it has `before` or `after` as labels. */
export function tellsApart(
  selector: EndpointSelector,
  namespace: { readonly identities: readonly Identity[]; readonly before: Labels; readonly after: Labels },
): boolean {
  if (selector.namespace !== undefined) return false;
  return namespace.identities.some((identity) => {
    const [was, is] = [namespace.before, namespace.after].map((labels) =>
      selectsEndpoint(selector, endpointIn(identity, labels)),
    );
    return was !== is;
  });
}

/** Two rules with the same key are about the same packets. */
export function ruleKey({ direction, subject, peers, ports }: CompiledRule): string {
  const range = ports === undefined ? "*" : ports.map(portsText).sort().join(",");
  return `${direction} ${subject} ${peers.map(peerText).sort().join(",")} ${range}`;
}

/** How many pairs of a peer and ports the rule is about. */
export function pairCount({ peers, ports }: CompiledRule): number {
  return peers.length * (ports?.length ?? 1);
}

export interface RulePair {
  readonly peer: RulePeer;
  readonly ports: RulePorts | undefined;
}

export function pairsOf({ peers, ports }: Pick<CompiledRule, "peers" | "ports">): RulePair[] {
  const ranges: readonly (RulePorts | undefined)[] = ports ?? [undefined];
  return peers.flatMap((peer) => ranges.map((range) => ({ peer, ports: range })));
}

/**
 * Rules about the same packets come to the same, as the earlier is asked first or both do the same; but where only some are
 * logged, the first must say so: then the others leave out what it is about.
 */
function withoutRepeats(rules: readonly CompiledRule[]): CompiledRule[] {
  if (rules.every(({ logged }) => logged === rules[0]?.logged)) return [...rules];
  const seen = new Set<string>();
  return rules.flatMap((rule) => {
    const about = (pairs: readonly RulePair[]): CompiledRule => {
      const peers = unique(
        pairs.map(({ peer }) => peer),
        peerText,
      );
      const ports = unique(
        pairs.flatMap((pair) => pair.ports ?? []),
        portsText,
      );
      return { ...rule, peers, ...(ports.length === 0 ? {} : { ports }) };
    };
    const fresh = pairsOf(rule).filter((pair) => {
      const key = ruleKey(about([pair]));
      return !seen.has(key) && seen.add(key);
    });
    if (fresh.length === pairCount(rule)) return [rule];
    const whole = about(fresh);
    // All of it is still every peer with every one of the ports, or it falls apart.
    return pairCount(whole) === fresh.length ? [whole] : fresh.map((pair) => about([pair]));
  });
}

/** Of equal ports the same. */
export function portsText({ protocol, ports }: RulePorts): string {
  return `${protocol}:${ports ? `${ports.value}/${ports.mask}` : "*"}`;
}

function unique<T>(items: readonly T[], textOf: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [textOf(item), item])).values()];
}

/** Of equal peers the same. */
export function peerText(peer: RulePeer): string {
  if (peer.kind === "any") return "*";
  if (peer.kind === "identity") return `#${peer.identity}`;
  return `${formatIpPrefix(peer.prefix)}${peer.identity === undefined ? "" : `#${peer.identity}`}`;
}

function peersOf(rule: RuleModel, world: PolicyWorld): RulePeer[] {
  const { peers } = rule;
  if (peers === undefined) return [{ kind: "any" }];
  const identities = new Set<Identity>();
  for (const peer of peers) {
    if (peer.kind !== "endpoints") continue;
    for (const identity of candidates(peer.selector, world))
      if (peerSelects(peer, identity, world)) identities.add(identity);
  }
  const prefixes = peers.flatMap((peer) => (peer.kind === "block" ? prefixesOf(peer) : []));
  const all = [
    ...[...identities].map((identity): RulePeer => ({ kind: "identity", identity: identity.number })),
    ...prefixes.map((prefix): RulePeer => ({ kind: "prefix", prefix })),
  ];
  return unique(all, peerText);
}

function peerSelects(peer: PeerModel, identity: Identity, world: PolicyWorld): boolean {
  return peer.kind === "endpoints" && selectsEndpoint(peer.selector, endpointOf(identity, world));
}

function prefixesOf(block: { readonly cidr: string; readonly except: readonly string[] }): IpPrefix[] {
  const prefix = parseIpPrefix(block.cidr);
  if (prefix === undefined) return [];
  return subtractIpPrefixes(
    prefix,
    block.except.flatMap((text) => parseIpPrefix(text) ?? []),
  );
}

function compileRule(
  model: PolicyModel,
  { rule, id, peers, ports, level }: PreparedRule,
  subject: Identity,
  world: PolicyWorld,
): CompiledRule[] {
  const speaksIpv6 = (peer: RulePeer): boolean =>
    subject.ipv6 && (peer.kind === "any" || (identityOf(peer, world)?.ipv6 ?? true));
  const common = {
    tier: model.tier,
    priority: model.priority,
    action: rule.action,
    direction: rule.direction,
    subject: subject.number,
    policy: modelKey(model),
    ruleId: id,
    staged: model.handling.staged === true,
    keepsLive: model.handling.keepsLive === true,
    logged: logsRule(model.handling, rule.direction, rule.index),
    level,
  };
  const others = subject.ipv6 ? peers : matching(peers, (peer) => !isIpv6(peer));
  const byFamily = (own: readonly RulePeer[], part: string, range?: readonly RulePorts[]): CompiledRule[] =>
    [true, false].flatMap((ipv6) => {
      const some = matching(own, (peer) => speaksIpv6(peer) === ipv6);
      if (some.length === 0 || range?.length === 0) return [];
      return [{ ...common, peers: some, part, ipv6, ...(range === undefined ? {} : { ports: range }) }];
    });
  if (rule.ports === undefined) return byFamily(others, "");
  const named = rule.ports.filter(({ name }) => name !== undefined);
  const resolved = (destination: Identity | undefined): RulePorts[] =>
    named.flatMap((port) => namedPorts(port, destination));
  if (named.length === 0) return byFamily(others, "", ports);
  if (rule.direction === "Ingress")
    return byFamily(others, "", unique([...ports, ...resolved(subject)], portsText));
  const groups = new Map<string, { own: RulePeer[]; range: RulePorts[] }>();
  for (const peer of unique(resolvedPeers(others, world), peerText)) {
    const range = unique(resolved(identityOf(peer, world)), portsText);
    const key = range.map(portsText).sort().join(",");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { own: [peer], range });
    else group.own.push(peer);
  }
  return [
    ...byFamily(others, "", ports),
    ...[...groups].flatMap(([key, { own, range }]) => byFamily(own, key, range)),
  ];
}

/** The same list, not a copy, where all of it fits. */
function matching<T>(items: readonly T[], fits: (item: T) => boolean): readonly T[] {
  return items.every(fits) ? items : items.filter(fits);
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

function identityOf(peer: RulePeer, world: PolicyWorld): Identity | undefined {
  return peer.kind === "any" || peer.identity === undefined ? undefined : world.identity(peer.identity);
}

function isIpv6(peer: RulePeer): boolean {
  return peer.kind === "prefix" && peer.prefix.family === 6;
}

function fixedPorts(rule: RuleModel): RulePorts[] {
  const ports = (rule.ports ?? []).filter(({ name }) => name === undefined);
  return unique(
    ports.flatMap((port) => portRule(port.protocol ?? "TCP", port.range)),
    portsText,
  );
}

function namedPorts(port: PortModel, destination: Identity | undefined): RulePorts[] {
  return (destination?.namedPorts ?? [])
    .filter((named) => named.name === port.name && fits(port, named.protocol ?? "TCP"))
    .flatMap((named) => portRule(named.protocol ?? "TCP", { first: named.port, last: named.port }));
}

function fits(port: PortModel, protocol: string): boolean {
  return port.protocol === undefined || port.protocol === protocol;
}

function portRule(name: string, range: PortModel["range"]): RulePorts[] {
  const protocol = IP_PROTOCOLS[name];
  if (protocol === undefined) return [];
  if (range === undefined) return [{ protocol }];
  return portMasks(range.first, range.last).map((ports) => ({ protocol, ports }));
}
