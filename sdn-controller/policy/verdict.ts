// The verdict of the compiled rules on a connection, and the rule that gave it: what "policy explain" prints. Pure.
import { type IpAddress, ipPrefixContains } from "../network/ip-address.js";
import type { CompiledRule, RulePeer, RulePorts } from "./compile.js";
import { IDENTITY_WORLD } from "./identity.js";
import type { Direction } from "./network-policy.js";
import type { PolicySet } from "./policy-set.js";

export interface ConnectionEnd {
  readonly identity: number;
  readonly address: IpAddress;
}

export interface Connection {
  readonly source: ConnectionEnd;
  readonly destination: ConnectionEnd;
  /** IP protocol number. */
  readonly protocol: number;
  /** Destination port where the protocol has one. */
  readonly port?: number;
}

export interface DirectionVerdict {
  readonly direction: Direction;
  readonly allowed: boolean;
  /** Network policies that isolate the judged end (modelKeys); they were asked only when no admin rule decided. */
  readonly isolatedBy: readonly string[];
  /** The rule that decided; absent when none did: then isolation alone denies, and its absence allows. */
  readonly rule?: CompiledRule;
  /** Other rules of network policies that allow it as well: taking `rule` away changes nothing. */
  readonly allowedToo?: readonly CompiledRule[];
  /** The admin rule that passed the connection on to the other tiers. */
  readonly passedBy?: CompiledRule;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}

/** Judges the first packet of `connection`; its replies share the verdict. */
export function verdictOf(policies: PolicySet, connection: Connection): Verdict {
  const egress = judgeDirection(policies, "Egress", connection);
  const ingress = judgeDirection(policies, "Ingress", connection);
  return { allowed: egress.allowed && ingress.allowed, egress, ingress };
}

function judgeDirection(policies: PolicySet, direction: Direction, connection: Connection): DirectionVerdict {
  const subject = direction === "Egress" ? connection.source : connection.destination;
  const peer = direction === "Egress" ? connection.destination : connection.source;
  if (subject.identity === IDENTITY_WORLD) return { direction, allowed: true, isolatedBy: [] };
  const fits = (rule: CompiledRule): boolean =>
    rule.direction === direction &&
    rule.subject === subject.identity &&
    rule.peers.some((one) => peerFits(one, peer)) &&
    (rule.ports?.some((one) => portsFit(one, connection)) ?? true);
  const admin = policies
    .tier("Admin")
    .flatMap(({ rules }) => rules)
    .find(fits);
  if (admin !== undefined && admin.action !== "Pass")
    return { direction, allowed: admin.action === "Allow", isolatedBy: [], rule: admin };
  const passed = admin === undefined ? {} : { passedBy: admin };
  const isolatedBy = policies.isolationOf(subject.identity)[direction];
  if (isolatedBy.length > 0) {
    const [rule, ...others] = isolatedBy.flatMap((key) => policies.rulesOf(key)).filter(fits);
    return {
      direction,
      allowed: rule !== undefined,
      isolatedBy,
      ...(rule === undefined ? {} : { rule }),
      ...(others.length === 0 ? {} : { allowedToo: others }),
      ...passed,
    };
  }
  const rule = policies
    .tier("Baseline")
    .flatMap(({ rules }) => rules)
    .find(fits);
  const decided = rule === undefined ? {} : { rule };
  return { direction, allowed: rule?.action !== "Deny", isolatedBy, ...decided, ...passed };
}

function peerFits(wanted: RulePeer, peer: ConnectionEnd): boolean {
  if (wanted.kind === "any") return true;
  if (wanted.kind === "identity") return wanted.identity === peer.identity;
  if (wanted.identity !== undefined && wanted.identity !== peer.identity) return false;
  return ipPrefixContains(wanted.prefix, peer.address);
}

function portsFit({ protocol, ports }: RulePorts, connection: Connection): boolean {
  if (protocol !== connection.protocol) return false;
  if (ports === undefined) return true;
  return connection.port !== undefined && (connection.port & ports.mask) === ports.value;
}
