// Resources as the SDN controller wants to be told them. Pure.
import {
  type InventoryChange,
  type LoadBalancerInput,
  type NetworkInput,
  type PolicyHandling,
  type PortInput,
  parseHandling,
} from "../../../sdn-controller/index.js";
import type {
  AdminNetworkPolicy,
  BaselineAdminNetworkPolicy,
  Invariant,
  Namespace,
  Network,
  NetworkFunction,
  NetworkPolicy,
  Port,
  VirtualMachine,
} from "../../resources/index.js";

type Change<K extends InventoryChange["kind"]> = Extract<InventoryChange, { kind: K }>;

interface Named {
  readonly metadata: { readonly name: string; readonly namespace?: string | undefined };
}

/** "namespace/name", or the name alone for a cluster-wide object. */
export function keyOf(object: Named): string {
  const { name, namespace } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

export function namespaceInput(namespace: Namespace): Change<"Namespace"> {
  const { name, labels } = namespace.metadata;
  return { kind: "Namespace", key: name, value: { name, labels: labels ?? {} } };
}

export function networkInput(network: Network): Change<"Network"> {
  const { spec, status } = network;
  const value: NetworkInput = {
    ...nameOf(network),
    vlan: spec.vlan,
    subnets: spec.subnets,
    mtu: spec.mtu,
    dnsServers: spec.dnsServers ?? [],
    ...(spec.gateway !== undefined && isIpv4(spec.gateway) ? { gateway: spec.gateway } : {}),
    ...(status?.segmentId === undefined ? {} : { segmentId: status.segmentId }),
  };
  return { kind: "Network", key: keyOf(network), value };
}

/** `vm` is the machine that the port belongs to, for its named ports. */
export function portInput(port: Port, vm: VirtualMachine | undefined): Change<"Port"> {
  const { spec, status } = port;
  const value: PortInput = {
    ...nameOf(port),
    network: spec.network,
    labels: port.metadata.labels ?? {},
    namedPorts: vm?.spec.ports ?? [],
    allocated: {
      ...(status?.macAddress === undefined ? {} : { macAddress: status.macAddress }),
      addresses: status?.addresses ?? [],
    },
    ...(spec.virtualMachine === undefined ? {} : { virtualMachine: spec.virtualMachine }),
    ...(spec.macAddress === undefined ? {} : { macAddress: spec.macAddress }),
    ...(spec.addresses === undefined ? {} : { addresses: spec.addresses }),
  };
  return { kind: "Port", key: keyOf(port), value };
}

export function policyInput(policy: NetworkPolicy): Change<"NetworkPolicy"> {
  return {
    kind: "NetworkPolicy",
    key: keyOf(policy),
    value: { ...nameOf(policy), spec: policy.spec, ...handlingOf(policy, true) },
  };
}

export function adminPolicyInput(
  kind: "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy",
  policy: AdminNetworkPolicy | BaselineAdminNetworkPolicy,
): InventoryChange {
  const { name } = policy.metadata;
  const value = { kind, name, spec: policy.spec, ...handlingOf(policy, false) };
  return { kind, key: keyOf(policy), value };
}

/** What the annotations ask for; those that are wrong are refused when the policy is written. */
function handlingOf(
  policy: { readonly metadata: { readonly annotations?: Readonly<Record<string, string>> | undefined } },
  canStage: boolean,
): { readonly handling?: PolicyHandling } {
  const { handling } = parseHandling(policy.metadata.annotations ?? {}, canStage);
  return Object.keys(handling).length === 0 ? {} : { handling };
}

export function invariantInput(invariant: Invariant): Change<"Invariant"> {
  const { name } = invariant.metadata;
  return { kind: "Invariant", key: name, value: { name, ...invariant.spec } };
}

export function functionInput(given: NetworkFunction): Change<"NetworkFunction"> {
  const { spec, status } = given;
  const balancer = spec.loadBalancer;
  if (balancer === undefined) return { kind: "NetworkFunction", key: keyOf(given), value: undefined };
  const value: LoadBalancerInput = {
    ...nameOf(given),
    network: spec.network,
    address: balancer.address,
    targetPorts: balancer.ports
      .filter((port) => port.protocol === "TCP")
      .map((port) => port.targetPort ?? port.port),
    selector: balancer.selector,
    drain: balancer.drain,
    allocated: {
      ...(status?.macAddress === undefined ? {} : { macAddress: status.macAddress }),
      ...(status?.probeAddress === undefined ? {} : { probeAddress: status.probeAddress }),
    },
  };
  return { kind: "NetworkFunction", key: keyOf(given), value };
}

/** Equal for two inputs that differ at most in what the controller itself wrote into the status. */
export function wishOf(change: InventoryChange): string {
  return JSON.stringify(change, (key, value: unknown) =>
    key === "allocated" || key === "segmentId" ? undefined : value,
  );
}

function nameOf(object: Named): { namespace: string; name: string } {
  return { namespace: object.metadata.namespace ?? "default", name: object.metadata.name };
}

function isIpv4(text: string): boolean {
  return !text.includes(":");
}
