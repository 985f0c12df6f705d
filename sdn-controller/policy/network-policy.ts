// NetworkPolicy of networking.k8s.io/v1 as plain data, and its defaulting.
// Source: k8s.io/api networking/v1 types.go; pkg/apis/networking/v1/defaults.go. Pure.
import type { PolicyHandling } from "./handling.js";
import type { LabelSelector } from "./selector.js";

export type Direction = "Ingress" | "Egress";

export interface IpBlock {
  readonly cidr: string;
  readonly except?: readonly string[];
}

/** Either an ipBlock, or a podSelector and/or namespaceSelector; a peer with none of them selects nothing. */
export interface PolicyPeer {
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
  readonly ipBlock?: IpBlock;
}

export interface PolicyPort {
  /** TCP when absent. */
  readonly protocol?: string;
  /** A number, or the name of a port of the VM; every port of the protocol when absent. */
  readonly port?: number | string;
  /** With a numeric port: the end of an inclusive range. */
  readonly endPort?: number;
}

export interface IngressRule {
  readonly from?: readonly PolicyPeer[];
  readonly ports?: readonly PolicyPort[];
}

export interface EgressRule {
  readonly to?: readonly PolicyPeer[];
  readonly ports?: readonly PolicyPort[];
}

export interface NetworkPolicySpec {
  readonly podSelector?: LabelSelector;
  readonly ingress?: readonly IngressRule[];
  readonly egress?: readonly EgressRule[];
  readonly policyTypes?: readonly string[];
}

export interface Policy {
  readonly namespace: string;
  readonly name: string;
  readonly spec: NetworkPolicySpec;
  readonly handling?: PolicyHandling;
}

/** One rule with its direction's own word for peers removed. `index` counts within the direction. */
export interface PolicyRule {
  readonly direction: Direction;
  readonly index: number;
  readonly peers: readonly PolicyPeer[];
  readonly ports: readonly PolicyPort[];
}

/** The directions that a policy isolates. Missing or empty means Ingress, and Egress if there are egress rules. */
export function directionsOf(spec: NetworkPolicySpec): Direction[] {
  const types = spec.policyTypes ?? [];
  if (types.length === 0) return (spec.egress ?? []).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  return (["Ingress", "Egress"] as const).filter((direction) => types.includes(direction));
}

/** The rules of the directions that the policy isolates; rules of another direction have no effect. */
export function rulesOf(spec: NetworkPolicySpec): PolicyRule[] {
  const directions = directionsOf(spec);
  const rules: PolicyRule[] = [];
  if (directions.includes("Ingress")) {
    (spec.ingress ?? []).forEach((rule, index) => {
      rules.push({ direction: "Ingress", index, peers: rule.from ?? [], ports: rule.ports ?? [] });
    });
  }
  if (directions.includes("Egress")) {
    (spec.egress ?? []).forEach((rule, index) => {
      rules.push({ direction: "Egress", index, peers: rule.to ?? [], ports: rule.ports ?? [] });
    });
  }
  return rules;
}

export const IP_PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
