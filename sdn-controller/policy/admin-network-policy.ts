// AdminNetworkPolicy and BaselineAdminNetworkPolicy of policy.networking.k8s.io/v1alpha1 as plain data.
// Source: sigs.k8s.io/network-policy-api apis/v1alpha1 (adminnetworkpolicy_types.go, shared_types.go). Pure.
import type { PolicyHandling } from "./handling.js";
import type { LabelSelector } from "./selector.js";

export const ADMIN_PRIORITY_MAX = 1000;
export const ADMIN_RULES_MAX = 100;
/** The one name that a BaselineAdminNetworkPolicy may have. */
export const BASELINE_NAME = "default";

export interface NamespacedPods {
  readonly namespaceSelector?: LabelSelector;
  readonly podSelector?: LabelSelector;
}

/** Exactly one field is set. */
export interface AdminSubject {
  readonly namespaces?: LabelSelector;
  readonly pods?: NamespacedPods;
}

/** Exactly one field is set; those below `pods` only in egress rules. */
export interface AdminPeer {
  readonly namespaces?: LabelSelector;
  readonly pods?: NamespacedPods;
  readonly networks?: readonly string[];
  readonly nodes?: LabelSelector;
  /** Of the experimental channel. The API admits none: only documents that are analysed may have them. */
  readonly domainNames?: readonly string[];
}

/** Exactly one field is set. */
export interface AdminPort {
  readonly portNumber?: { readonly protocol?: string; readonly port: number };
  readonly portRange?: { readonly protocol?: string; readonly start: number; readonly end: number };
  readonly namedPort?: string;
}

export type AdminAction = "Allow" | "Deny" | "Pass";

export interface AdminRule {
  readonly name?: string;
  /** Pass only in an AdminNetworkPolicy. */
  readonly action: AdminAction;
  readonly from?: readonly AdminPeer[];
  readonly to?: readonly AdminPeer[];
  /** Every port when absent. */
  readonly ports?: readonly AdminPort[];
}

export interface AdminPolicySpec {
  /** 0 (first) to 1000; only of an AdminNetworkPolicy. */
  readonly priority?: number;
  readonly subject: AdminSubject;
  readonly ingress?: readonly AdminRule[];
  readonly egress?: readonly AdminRule[];
}

export interface AdminPolicy {
  readonly kind: "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy";
  readonly name: string;
  readonly spec: AdminPolicySpec;
  readonly handling?: PolicyHandling;
}
