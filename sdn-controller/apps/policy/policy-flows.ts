// Tables egress and ingress: compiled rules as flows. An identity that no policy isolates passes; of an isolated one
// only what a rule allows passes, and the rest is counted against the identity's policies. Pure.
import { maskOf } from "../../network/ipv4.js";
import { buildFlow, type Flow, type MatchSpec } from "../../pipeline/flow.js";
import { FLAG_EXEMPT } from "../../pipeline/tables.js";
import type { AllowRule, RulePeer, RulePorts } from "../../policy/compile.js";
import { IDENTITY_WORLD } from "../../policy/identity.js";
import type { Isolation } from "../../policy/policy-set.js";
import { ETHERTYPE_IPV4, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP } from "../ethertypes.js";

const PRIORITY_EXEMPT = 200;
const PRIORITY_RULE = 100;
const PRIORITY_IDENTITY = 10;

export function policyBaseFlows(): Flow[] {
  const origin = { resource: "Pipeline" };
  return [
    buildFlow({
      table: "egress",
      priority: PRIORITY_EXEMPT,
      match: { reg6: { value: FLAG_EXEMPT, mask: FLAG_EXEMPT } },
      next: "output",
      origin,
    }),
    buildFlow({
      table: "egress",
      priority: PRIORITY_IDENTITY,
      match: { reg2: IDENTITY_WORLD },
      next: "ingress",
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

/** What becomes of packets of `identity` that no rule allows. */
export function identityFlows(identity: number, isolation: Isolation): Flow[] {
  const name = `Identity/${identity}`;
  const egress = isolation.Egress.length > 0;
  const ingress = isolation.Ingress.length > 0;
  return [
    buildFlow({
      table: "egress",
      priority: PRIORITY_IDENTITY,
      match: { reg2: identity },
      next: egress ? "denied" : "ingress",
      origin: egress ? { resource: name, reason: "egress-policy" } : { resource: name },
    }),
    buildFlow({
      table: "ingress",
      priority: PRIORITY_IDENTITY,
      match: { reg3: identity },
      next: ingress ? "denied" : "commit",
      origin: ingress ? { resource: name, reason: "ingress-policy" } : { resource: name },
    }),
  ];
}

export function ruleFlow(rule: AllowRule): Flow {
  const egress = rule.direction === "Egress";
  return buildFlow({
    table: egress ? "egress" : "ingress",
    priority: PRIORITY_RULE,
    match: {
      [egress ? "reg2" : "reg3"]: rule.subject,
      eth_type: ETHERTYPE_IPV4,
      ...peerMatch(rule.peer, egress),
      ...portsMatch(rule.ports),
    },
    next: egress ? "ingress" : "commit",
    origin: { resource: `NetworkPolicy/${rule.policy}`, ruleIndex: rule.ruleIndex },
  });
}

function peerMatch(peer: RulePeer, egress: boolean): MatchSpec {
  if (peer.kind === "any") return {};
  const identity = peer.identity === undefined ? {} : { [egress ? "reg3" : "reg2"]: peer.identity };
  if (peer.kind === "identity") return identity;
  const prefix = { value: peer.prefix.address, mask: maskOf(peer.prefix.length) };
  return { ...identity, [egress ? "ipv4_dst" : "ipv4_src"]: prefix };
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
