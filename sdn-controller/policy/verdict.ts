// The verdict of the compiled rules on a connection, and the rule that gave it: what "policy explain" prints. Pure.
import { prefixContains } from "../network/ipv4.js";
import type { AllowRule } from "./compile.js";
import { IDENTITY_WORLD } from "./identity.js";
import type { Direction } from "./network-policy.js";
import type { PolicySet } from "./policy-set.js";

export interface ConnectionEnd {
  readonly identity: number;
  readonly address: number;
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
  /** Policies that isolate the judged end; none means that everything is allowed. */
  readonly isolatedBy: readonly string[];
  /** The rule that allowed it, when the end is isolated. */
  readonly rule?: AllowRule;
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
  const isolatedBy =
    subject.identity === IDENTITY_WORLD ? [] : policies.isolationOf(subject.identity)[direction];
  if (isolatedBy.length === 0) return { direction, allowed: true, isolatedBy };
  for (const key of isolatedBy) {
    for (const rule of policies.rulesOf(key)) {
      if (rule.direction !== direction || rule.subject !== subject.identity) continue;
      if (peerFits(rule, peer) && portsFit(rule, connection))
        return { direction, allowed: true, isolatedBy, rule };
    }
  }
  return { direction, allowed: false, isolatedBy };
}

function peerFits(rule: AllowRule, peer: ConnectionEnd): boolean {
  if (rule.peer.kind === "any") return true;
  if (rule.peer.kind === "identity") return rule.peer.identity === peer.identity;
  if (rule.peer.identity !== undefined && rule.peer.identity !== peer.identity) return false;
  return prefixContains(rule.peer.prefix, peer.address);
}

function portsFit(rule: AllowRule, connection: Connection): boolean {
  if (rule.ports === undefined) return true;
  if (rule.ports.protocol !== connection.protocol) return false;
  const ports = rule.ports.ports;
  if (ports === undefined) return true;
  return connection.port !== undefined && (connection.port & ports.mask) === ports.value;
}
