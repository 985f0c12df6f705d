// What the controller is told: the networks, ports, policies and functions that should exist, as plain data.
// The composition root maps its resources to these; nothing here knows the API. Addresses and MACs are text.
import type { AdminPolicy } from "./policy/admin-network-policy.js";
import type { NamedPort } from "./policy/identity.js";
import type { Policy } from "./policy/network-policy.js";
import type { LabelSelector, Labels } from "./policy/selector.js";
import type { Invariant } from "./proof/invariants.js";

export interface NamespaceInput {
  readonly name: string;
  readonly labels: Labels;
}

export interface NetworkInput {
  readonly namespace: string;
  readonly name: string;
  readonly vlan: number;
  /** Prefixes such as "10.10.0.0/24", at least one; of IPv6 with the length 64. */
  readonly subnets: readonly string[];
  /** 1500 when absent. */
  readonly mtu?: number;
  readonly gateway?: string;
  readonly dnsServers?: readonly string[];
  /** From the status: kept whenever it is valid and not another network's. */
  readonly segmentId?: number;
}

export interface PortInput {
  readonly namespace: string;
  readonly name: string;
  /** Name of a network in the same namespace. */
  readonly network: string;
  readonly virtualMachine?: string;
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
  /** What the user asked for, if anything. */
  readonly macAddress?: string;
  readonly addresses?: readonly string[];
  /** From the status: allocations made earlier, kept whenever they are still possible. */
  readonly allocated?: { readonly macAddress?: string; readonly addresses?: readonly string[] };
}

export interface LoadBalancerInput {
  readonly namespace: string;
  readonly name: string;
  readonly network: string;
  /** The virtual address. */
  readonly address: string;
  /** TCP ports on which the machines behind it serve. */
  readonly targetPorts: readonly number[];
  /** Of the virtual machines behind it. */
  readonly selector: LabelSelector;
  /** Names of virtual machines that finish what they have and get nothing new. */
  readonly drain: readonly string[];
  readonly allocated?: { readonly macAddress?: string; readonly probeAddress?: string };
}

/** One object that changed; `value` undefined = it is gone. `key` is "namespace/name", of a cluster-wide object its name. */
export type InventoryChange =
  | { readonly kind: "Namespace"; readonly key: string; readonly value: NamespaceInput | undefined }
  | { readonly kind: "Network"; readonly key: string; readonly value: NetworkInput | undefined }
  | { readonly kind: "Port"; readonly key: string; readonly value: PortInput | undefined }
  | { readonly kind: "NetworkPolicy"; readonly key: string; readonly value: Policy | undefined }
  | {
      readonly kind: "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy";
      readonly key: string;
      readonly value: AdminPolicy | undefined;
    }
  | { readonly kind: "Invariant"; readonly key: string; readonly value: Invariant | undefined }
  | { readonly kind: "NetworkFunction"; readonly key: string; readonly value: LoadBalancerInput | undefined };

// --- What the controller tells

export interface StatusCondition {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

export interface EndpointStatus {
  /** The virtual machine. */
  readonly name: string;
  readonly address: string;
  readonly macAddress: string;
  readonly draining: boolean;
}

/** Fields of an object's status that the controller owns. Sent again only when they change. */
export type StatusPatch =
  | {
      readonly kind: "Network";
      readonly key: string;
      readonly status: { readonly segmentId?: number; readonly conditions: readonly StatusCondition[] };
    }
  | {
      readonly kind: "Port";
      readonly key: string;
      readonly status: {
        readonly macAddress?: string;
        readonly addresses: readonly string[];
        readonly conditions: readonly StatusCondition[];
      };
    }
  | {
      readonly kind: "NetworkFunction";
      readonly key: string;
      readonly status: {
        readonly address?: string;
        readonly macAddress?: string;
        readonly probeAddress?: string;
        readonly endpoints: readonly EndpointStatus[];
        readonly conditions: readonly StatusCondition[];
      };
    };

/** Something worth telling the user about an object, once. */
export interface SdnEvent {
  readonly kind: StatusPatch["kind"] | "NetworkPolicy" | "Host";
  readonly key: string;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}
