// Tables admin-egress, egress, admin-ingress and ingress: compiled rules as flows. Admin rules are asked first, in tables
// of their own, so that Pass can go on to the next. An identity that no network policy isolates falls to the rules of the
// baseline and then passes; of an isolated one only what a rule allows passes, and the rest is counted against it. Pure.
//
//   priority      admin-…                       egress, ingress
//   65535         replies and the like          –
//   65534 − …     admin rules, 64 levels each   –
//   1000          –                             rules of network policies
//   900           –                             isolated: denied
//   800 − …       –                             rules of the baseline
//   10, 0         on to the next table          not isolated: on to the next table
import { assert } from "../../../base/assert/index.js";
import { ipMaskOf } from "../../network/ip-address.js";
import { buildFlow, type Flow, type MatchSpec } from "../../pipeline/flow.js";
import { FLAG_EXEMPT, type TableName } from "../../pipeline/tables.js";
import type { CompiledRule, RulePeer, RulePorts } from "../../policy/compile.js";
import { IDENTITY_WORLD } from "../../policy/identity.js";
import type { Isolation } from "../../policy/policy-set.js";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP } from "../ethertypes.js";

const PRIORITY_EXEMPT = 65535;
const PRIORITY_ADMIN = 65534;
/** Levels of one admin policy: changes of action between its rules, of which the API admits no more. */
const ADMIN_LEVELS = 64;
const PRIORITY_RULE = 1000;
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
    buildFlow({
      table: "egress",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "egress-policy" },
    }),
    buildFlow({
      table: "ingress",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "ingress-policy" },
    }),
  ];
}

/** What becomes of packets of `identity` that no rule decides about. */
export function identityFlows(identity: number, isolation: Isolation): Flow[] {
  const name = `Identity/${identity}`;
  const egress = isolation.Egress.length > 0;
  const ingress = isolation.Ingress.length > 0;
  return [
    buildFlow({
      table: "egress",
      priority: egress ? PRIORITY_ISOLATED : PRIORITY_IDENTITY,
      match: { reg2: identity },
      next: egress ? "denied" : "admin-ingress",
      origin: egress ? { resource: name, reason: "egress-policy" } : { resource: name },
    }),
    buildFlow({
      table: "ingress",
      priority: ingress ? PRIORITY_ISOLATED : PRIORITY_IDENTITY,
      match: { reg3: identity },
      next: ingress ? "denied" : "commit",
      origin: ingress ? { resource: name, reason: "ingress-policy" } : { resource: name },
    }),
  ];
}

/** One flow for both families where it needs no look at what is inside IP, else one for each. */
export function ruleFlows(rule: CompiledRule): Flow[] {
  const { peer, ports } = rule;
  if (peer.kind === "prefix")
    return [ruleFlow(rule, peer.prefix.family === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)];
  if (ports === undefined) return [ruleFlow(rule, undefined)];
  return [ruleFlow(rule, ETHERTYPE_IPV4), ...(rule.ipv6 ? [ruleFlow(rule, ETHERTYPE_IPV6)] : [])];
}

function ruleFlow(rule: CompiledRule, family: number | undefined): Flow {
  const egress = rule.direction === "Egress";
  const origin = { resource: rule.policy, ruleIndex: rule.ruleIndex };
  const denies = rule.action === "Deny";
  return buildFlow({
    table: tableOf(rule),
    priority: priorityOf(rule),
    match: {
      [egress ? "reg2" : "reg3"]: rule.subject,
      ...(family === undefined ? {} : { eth_type: family }),
      ...peerMatch(rule.peer, egress),
      ...portsMatch(rule.ports),
    },
    next: nextOf(rule),
    origin: denies ? { ...origin, reason: egress ? "egress-policy" : "ingress-policy" } : origin,
  });
}

function tableOf({ tier, direction }: CompiledRule): TableName {
  if (tier === "Admin") return direction === "Egress" ? "admin-egress" : "admin-ingress";
  return direction === "Egress" ? "egress" : "ingress";
}

function nextOf({ action, direction }: CompiledRule): TableName {
  if (action === "Deny") return "denied";
  if (action === "Pass") return direction === "Egress" ? "egress" : "ingress";
  return direction === "Egress" ? "admin-ingress" : "commit";
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
