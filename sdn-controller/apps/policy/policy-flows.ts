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
import { buildFlow, type Flow, type MaskedValue, type MatchSpec } from "../../pipeline/flow.js";
import { FLAG_DENIED, FLAG_EXEMPT, MARK_CUT, MARK_KNOWN, type TableName } from "../../pipeline/tables.js";
import type { CompiledRule, RulePeer, RulePorts } from "../../policy/compile.js";
import { conjunctionGroups, type RuleGroup } from "../../policy/conjunctions.js";
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

/** One flow for both families where it needs no look at what is inside IP, else one for each. */
function ruleFlows(rule: CompiledRule): Flow[] {
  return familiesOf(rule).flatMap((family) =>
    rule.staged ? stagedFlows(rule, family) : [ruleFlow(rule, family)],
  );
}

/**
 * The flows of one policy's rules. Where a rule is about many peers and many ports these are the clauses of a conjunction:
 * as many flows as peers and ports together, not as their product. `idOf` gives conjunctions their numbers, while there are any.
 */
export function policyFlows(
  rules: readonly CompiledRule[],
  idOf: (group: RuleGroup) => number | undefined,
): Flow[] {
  return conjunctionGroups(rules).flatMap((group) => {
    const { rules: own, isProduct } = group;
    const id = isProduct ? idOf(group) : undefined;
    const conjunction = id === undefined ? [] : conjunctionFlows(own, id);
    const plainCount = own.reduce((sum, rule) => sum + familiesOf(rule).length, 0);
    return id !== undefined && conjunction.length < plainCount ? conjunction : own.flatMap(ruleFlows);
  });
}

function conjunctionFlows(rules: readonly CompiledRule[], id: number): Flow[] {
  const [rule] = rules as [CompiledRule];
  const egress = rule.direction === "Egress";
  const subject = { [egress ? "reg2" : "reg3"]: rule.subject };
  const common = {
    table: tableOf(rule),
    priority: priorityOf(rule),
    origin: { resource: rule.policy, ruleIndex: rule.ruleIndex },
  };
  const clause = (number: number, match: MatchSpec): Flow =>
    buildFlow({
      ...common,
      match: { ...subject, ...match },
      actions: [{ type: "conjunction", id, clause: number, clauseCount: 2 }],
    });
  const whole = ruleFlow(rule, undefined, { ...subject, conj_id: id });
  const peers = rules.map(({ peer }) =>
    clause(0, { ...(peer.kind === "prefix" ? familyMatch(familyOf(peer)) : {}), ...peerMatch(peer, egress) }),
  );
  const ports = rules.flatMap((one) =>
    (one.ipv6 ? [ETHERTYPE_IPV4, ETHERTYPE_IPV6] : [ETHERTYPE_IPV4]).map((family) =>
      clause(1, { ...familyMatch(family), ...portsMatch(one.ports) }),
    ),
  );
  return [...new Map([whole, ...peers, ...ports].map((flow) => [flow.key, flow])).values()];
}

function familyMatch(family: number): MatchSpec {
  return { eth_type: family };
}

function familyOf(peer: Extract<RulePeer, { kind: "prefix" }>): number {
  return peer.prefix.family === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
}

function familiesOf({ peer, ports, ipv6 }: CompiledRule): (number | undefined)[] {
  if (peer.kind === "prefix") return [familyOf(peer)];
  if (ports === undefined) return [undefined];
  return ipv6 ? [ETHERTYPE_IPV4, ETHERTYPE_IPV6] : [ETHERTYPE_IPV4];
}

/** What the rule would allow is counted where it is denied now; where it is not, it just goes on. */
function stagedFlows(rule: CompiledRule, family: number | undefined): Flow[] {
  const { direction, policy, ruleIndex } = rule;
  const origin = { resource: policy, ruleIndex };
  const common = { table: stagedTableOf(direction), priority: PRIORITY_RULE } as const;
  const match = matchOf(rule, family);
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

function matchOf(rule: CompiledRule, family: number | undefined): MatchSpec {
  const egress = rule.direction === "Egress";
  return {
    [egress ? "reg2" : "reg3"]: rule.subject,
    ...(family === undefined ? {} : { eth_type: family }),
    ...peerMatch(rule.peer, egress),
    ...portsMatch(rule.ports),
  };
}

function ruleFlow(rule: CompiledRule, family: number | undefined, match = matchOf(rule, family)): Flow {
  const { direction } = rule;
  const egress = direction === "Egress";
  const origin = { resource: rule.policy, ruleIndex: rule.ruleIndex };
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
