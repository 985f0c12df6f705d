// Tables admin-egress, egress, admin-ingress and ingress: compiled rules as flows. Admin rules are asked first, in tables
// of their own, so that Pass can go on to the next. An identity that no network policy isolates falls to the rules of the
// baseline and then passes; of an isolated one only what a rule allows passes, and the rest is counted against it. A rule
// about many peers and many ports is a conjunction: clauses of the rule's priority that match the peers, others that
// match the ports, and the flow that matches its number and does what the rule says. Pure.
//
//   priority      admin-…                       egress, ingress
//   65535         replies and the like          –
//   65534 − …     admin rules, 64 levels each   –
//   1000          –                             rules of network policies
//   901           –                             isolated, but open connections are left alone
//   900           –                             isolated: denied
//   800 − …       –                             rules of the baseline
//   10, 0         on to the next table          not isolated: on to the next table
import { assert } from "../../../base/assert/index.js";
import { type Action, CT_STATE_EST, CT_STATE_RPL, CT_STATE_TRK } from "../../../base/openflow/index.js";
import { hash32 } from "../../network/hash.js";
import { ipMaskOf } from "../../network/ip-address.js";
import { load, loadBits } from "../../pipeline/actions.js";
import { causeHash, type Origin } from "../../pipeline/cookie.js";
import {
  buildFlow,
  type ConjunctionAction,
  type Flow,
  type FlowSpec,
  type MaskedValue,
  type MatchSpec,
} from "../../pipeline/flow.js";
import { FLAG_DENIED, FLAG_EXEMPT, MARK_CUT, MARK_KNOWN, type TableName } from "../../pipeline/tables.js";
import {
  type CompiledRule,
  pairsOf,
  peerText,
  portsText,
  type RulePair,
  type RulePeer,
  type RulePorts,
} from "../../policy/compile.js";
import { canBeConjunction } from "../../policy/conjunctions.js";
import { IDENTITY_WORLD } from "../../policy/identity.js";
import type { Direction } from "../../policy/network-policy.js";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP } from "../ethertypes.js";

const PRIORITY_EXEMPT = 65535;
const PRIORITY_ADMIN = 65534;
/** Levels of one admin policy: changes of action between its rules, of which the API admits no more. */
const ADMIN_LEVELS = 64;
const PRIORITY_RULE = 1000;
const PRIORITY_LIVE = 901;
const PRIORITY_ISOLATED = 900;
const PRIORITY_BASELINE = 800;
const PRIORITY_IDENTITY = 10;

export function policyBaseFlows(): Flow[] {
  const origin = { resource: "Pipeline" };
  return [
    buildFlow({
      table: "admin-egress",
      priority: PRIORITY_EXEMPT,
      match: { reg6: { value: FLAG_EXEMPT, mask: FLAG_EXEMPT } },
      next: "output",
      origin,
    }),
    buildFlow({ table: "admin-egress", priority: 0, match: {}, next: "egress", origin }),
    buildFlow({ table: "admin-ingress", priority: 0, match: {}, next: "ingress", origin }),
    buildFlow({
      table: "egress",
      priority: PRIORITY_IDENTITY,
      match: { reg2: IDENTITY_WORLD },
      next: "admin-ingress",
      origin,
    }),
    ...DIRECTIONS.flatMap((direction) => [
      denial(direction, 0, {}, { resource: "Pipeline" }, []),
      buildFlow({
        table: stagedTableOf(direction),
        priority: 1,
        match: { reg6: DENIED },
        next: "denied",
        origin,
      }),
      buildFlow({ table: stagedTableOf(direction), priority: 0, match: {}, next: onward(direction), origin }),
    ]),
  ];
}

const DIRECTIONS = ["Egress", "Ingress"] as const;
const DENIED: MaskedValue = { value: FLAG_DENIED, mask: FLAG_DENIED };
const NOT_DENIED: MaskedValue = { value: 0, mask: FLAG_DENIED };
/** Of a packet in the opener's direction of a connection that is there and was not cut. */
const LIVE: MatchSpec = {
  ct_state: {
    value: CT_STATE_TRK | CT_STATE_EST,
    mask: CT_STATE_TRK | CT_STATE_EST | CT_STATE_RPL,
  },
  ct_mark: { value: MARK_KNOWN, mask: MARK_KNOWN + MARK_CUT },
};

function tableFor(direction: Direction): TableName {
  return direction === "Egress" ? "egress" : "ingress";
}

function stagedTableOf(direction: Direction): TableName {
  return direction === "Egress" ? "staged-egress" : "staged-ingress";
}

/** Where what the direction allows goes on. */
function onward(direction: Direction): TableName {
  return direction === "Egress" ? "admin-ingress" : "commit";
}

/** Denied by network policies or the baseline: staged policies are asked before the packet is dropped. */
function denial(
  direction: Direction,
  priority: number,
  match: MatchSpec,
  origin: Origin,
  more: readonly Action[],
): Flow {
  const reason = direction === "Egress" ? "egress-policy" : "ingress-policy";
  return buildFlow({
    table: tableFor(direction),
    priority,
    match,
    actions: [loadBits("reg6", 1, 1, 1), load("reg7", causeHash(direction, origin.resource)), ...more],
    next: stagedTableOf(direction),
    origin: { ...origin, reason },
  });
}

/** How the policies that isolate an identity in one direction are handled. */
export interface IdentityHandling {
  readonly isolated: boolean;
  /** All of them leave open connections alone. */
  readonly keepsLive: boolean;
  readonly logsDenied: boolean;
  /** Some policy that isolates it is only tried. */
  readonly staged: boolean;
}

/** What becomes of packets of `identity` that no rule decides about. */
export function identityFlows(
  identity: number,
  handling: Readonly<Record<Direction, IdentityHandling>>,
): Flow[] {
  return DIRECTIONS.flatMap((direction) => directionFlows(identity, direction, handling[direction]));
}

function directionFlows(identity: number, direction: Direction, handling: IdentityHandling): Flow[] {
  const origin = { resource: `Identity/${identity}` };
  const match = { [direction === "Egress" ? "reg2" : "reg3"]: identity };
  const table = tableFor(direction);
  const flows: Flow[] = [];
  if (handling.isolated) {
    const log = handling.logsDenied ? [loadBits("reg6", 2, 1, 1)] : [];
    flows.push(denial(direction, PRIORITY_ISOLATED, match, origin, log));
    if (handling.keepsLive)
      flows.push(
        buildFlow({
          table,
          priority: PRIORITY_LIVE,
          match: { ...match, ...LIVE },
          next: onward(direction),
          origin,
        }),
      );
  } else {
    const next = handling.staged ? stagedTableOf(direction) : onward(direction);
    flows.push(buildFlow({ table, priority: PRIORITY_IDENTITY, match, next, origin }));
  }
  if (handling.staged && !handling.isolated)
    flows.push(
      buildFlow({
        table: stagedTableOf(direction),
        priority: PRIORITY_ISOLATED,
        match: { ...match, reg6: NOT_DENIED },
        next: onward(direction),
        origin: { ...origin, reason: "would-deny" },
      }),
    );
  return flows;
}

/**
 * The flows of one policy's rules. Where a rule is about many peers and many ports these are the clauses of a conjunction:
 * as many flows as peers and ports together, not as their product. `idOf` gives conjunctions their numbers, while there are any.
 */
export function policyFlows(
  rules: readonly CompiledRule[],
  idOf: (rule: CompiledRule) => number | undefined,
): Flow[] {
  const wholes: Flow[] = [];
  const clauses = new Map<string, Clauses>();
  // Of two flows for the same packets the first counts: it is that of the earlier rule.
  const ordinary = new Map<string, Flow>();
  for (const rule of rules) {
    const worthwhile = canBeConjunction(rule) && clauseCount(rule) + 1 < ordinaryCount(rule);
    const id = worthwhile ? idOf(rule) : undefined;
    if (id !== undefined) {
      addClauses(clauses, rule, id);
      wholes.push(ruleFlow(rule, { ...subjectMatch(rule), conj_id: id }));
      continue;
    }
    for (const pair of pairsOf(rule))
      for (const flow of pairFlows(rule, pair)) if (!ordinary.has(flow.key)) ordinary.set(flow.key, flow);
  }
  const parts = [...clauses.values()].map(({ spec, actions }) =>
    buildFlow({ ...spec, actions: actions.sort((a, b) => a.id - b.id || a.clause - b.clause) }),
  );
  return [...wholes, ...parts, ...ordinary.values()];
}

function ordinaryCount(rule: CompiledRule): number {
  const { peers, ports } = rule;
  const count = peers.reduce((sum, peer) => sum + familiesOf(rule, { peer, ports: ports?.[0] }).length, 0);
  return count * (ports?.length ?? 1);
}

/** One flow for both families where it needs no look at what is inside IP, else one for each. */
function pairFlows(rule: CompiledRule, pair: RulePair): Flow[] {
  return familiesOf(rule, pair).flatMap((family) => {
    const match = matchOf(rule, pair, family);
    return rule.staged ? stagedFlows(rule, match) : [ruleFlow(rule, match)];
  });
}

/** A flow that is a clause of each of these conjunctions. */
interface Clauses {
  readonly spec: FlowSpec;
  readonly actions: ConjunctionAction[];
}

/** Rules that have peers or ports in common share the flow for each. */
function addClauses(all: Map<string, Clauses>, rule: CompiledRule, id: number): void {
  const [table, priority, subject] = [tableOf(rule), priorityOf(rule), subjectMatch(rule)];
  const origin = { resource: rule.policy, ruleId: rule.ruleId };
  const add = (clause: number, about: string, match: () => MatchSpec): void => {
    const key = `${table} ${priority} ${rule.subject} ${about}`;
    const known: Clauses = all.get(key) ?? { spec: { table, priority, match: match(), origin }, actions: [] };
    all.set(key, known);
    known.actions.push({ type: "conjunction", id, clause, clauseCount: 2 });
  };
  const egress = rule.direction === "Egress";
  for (const peer of rule.peers)
    add(0, peerText(peer), () => ({
      ...subject,
      ...(peer.kind === "prefix" ? familyMatch(familyOf(peer)) : {}),
      ...peerMatch(peer, egress),
    }));
  for (const ports of rule.ports ?? [])
    for (const family of portFamilies(rule))
      add(1, `${family} ${portsText(ports)}`, () => ({
        ...subject,
        ...familyMatch(family),
        ...portsMatch(ports),
      }));
}

function clauseCount(rule: CompiledRule): number {
  return rule.peers.length + (rule.ports?.length ?? 0) * portFamilies(rule).length;
}

/** Ports are looked at inside IP: one flow for each family. */
function portFamilies({ ipv6 }: CompiledRule): readonly number[] {
  return ipv6 ? BOTH_FAMILIES : ONLY_IPV4;
}

const ONLY_IPV4: readonly number[] = [ETHERTYPE_IPV4];
const BOTH_FAMILIES: readonly number[] = [ETHERTYPE_IPV4, ETHERTYPE_IPV6];

function subjectMatch({ direction, subject }: CompiledRule): MatchSpec {
  return { [direction === "Egress" ? "reg2" : "reg3"]: subject };
}

function familyMatch(family: number): MatchSpec {
  return { eth_type: family };
}

function familyOf(peer: Extract<RulePeer, { kind: "prefix" }>): number {
  return peer.prefix.family === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
}

function familiesOf(rule: CompiledRule, { peer, ports }: RulePair): readonly (number | undefined)[] {
  if (peer.kind === "prefix") return [familyOf(peer)];
  return ports === undefined ? [undefined] : portFamilies(rule);
}

/** What the rule would allow is counted where it is denied now; where it is not, it just goes on. */
function stagedFlows(rule: CompiledRule, match: MatchSpec): Flow[] {
  const { direction, policy, ruleId } = rule;
  const origin = { resource: policy, ruleId };
  const common = { table: stagedTableOf(direction), priority: PRIORITY_RULE } as const;
  return [
    buildFlow({
      ...common,
      match: { ...match, reg6: DENIED },
      next: "denied",
      origin: { ...origin, reason: "would-allow" },
    }),
    buildFlow({ ...common, match: { ...match, reg6: NOT_DENIED }, next: onward(direction), origin }),
  ];
}

function matchOf(rule: CompiledRule, { peer, ports }: RulePair, family: number | undefined): MatchSpec {
  return {
    ...subjectMatch(rule),
    ...(family === undefined ? {} : familyMatch(family)),
    ...peerMatch(peer, rule.direction === "Egress"),
    ...portsMatch(ports),
  };
}

function ruleFlow(rule: CompiledRule, match: MatchSpec): Flow {
  const { direction } = rule;
  const egress = direction === "Egress";
  const origin = { resource: rule.policy, ruleId: rule.ruleId };
  const priority = priorityOf(rule);
  const log = rule.logged ? [loadBits("reg6", 2, 1, 1)] : [];
  if (rule.action === "Deny") {
    const judged = rule.keepsLive ? { ...match, ct_state: NOT_ESTABLISHED } : match;
    if (rule.tier === "Baseline") return denial(direction, priority, judged, origin, log);
    return buildFlow({
      table: tableOf(rule),
      priority,
      match: judged,
      actions: [load("reg7", causeHash(direction, origin.resource)), ...log],
      next: "denied",
      origin: { ...origin, reason: egress ? "egress-policy" : "ingress-policy" },
    });
  }
  const named = rule.logged ? [...log, load(egress ? "reg8" : "reg9", hash32(origin.resource))] : [];
  return buildFlow({ table: tableOf(rule), priority, match, actions: named, next: nextOf(rule), origin });
}

const NOT_ESTABLISHED: MaskedValue = { value: CT_STATE_TRK, mask: CT_STATE_TRK | CT_STATE_EST };

function tableOf({ tier, direction }: CompiledRule): TableName {
  if (tier === "Admin") return direction === "Egress" ? "admin-egress" : "admin-ingress";
  return tableFor(direction);
}

function nextOf({ action, direction }: CompiledRule): TableName {
  return action === "Pass" ? tableFor(direction) : onward(direction);
}

function priorityOf({ tier, priority, level }: CompiledRule): number {
  assert(level < ADMIN_LEVELS, `a policy changes its action ${level} times`);
  if (tier === "Network") return PRIORITY_RULE;
  return tier === "Admin" ? PRIORITY_ADMIN - priority * ADMIN_LEVELS - level : PRIORITY_BASELINE - level;
}

function peerMatch(peer: RulePeer, egress: boolean): MatchSpec {
  if (peer.kind === "any") return {};
  const identity = peer.identity === undefined ? {} : { [egress ? "reg3" : "reg2"]: peer.identity };
  if (peer.kind === "identity") return identity;
  const { family, address, length } = peer.prefix;
  const field = `ipv${family}_${egress ? "dst" : "src"}`;
  return { ...identity, [field]: { value: address, mask: ipMaskOf(family, length) } };
}

const PORT_FIELD: Readonly<Record<number, "tcp_dst" | "udp_dst" | "sctp_dst">> = {
  [IPPROTO_TCP]: "tcp_dst",
  [IPPROTO_UDP]: "udp_dst",
  [IPPROTO_SCTP]: "sctp_dst",
};

function portsMatch(ports: RulePorts | undefined): MatchSpec {
  if (ports === undefined) return {};
  const field = PORT_FIELD[ports.protocol];
  if (ports.ports === undefined || field === undefined) return { ip_proto: ports.protocol };
  return { ip_proto: ports.protocol, [field]: ports.ports };
}
