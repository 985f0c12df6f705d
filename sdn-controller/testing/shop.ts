// A small world for tests: the shop example's networks, machines, policies and load balancer, on switch ports 1 to 9.
import { Compiler } from "../compiler.js";
import type { InventoryChange, LoadBalancerInput, NetworkInput, PortInput } from "../inputs.js";
import type { LoadBalancerView, NetworkView, PortView } from "../network/views.js";
import type { Policy } from "../policy/network-policy.js";
import type { Labels } from "../policy/selector.js";

export const OFPORTS: ReadonlyMap<string, number> = new Map([
  ["shop/client", 1],
  ["shop/web1", 2],
  ["shop/web2", 3],
  ["shop/app", 4],
  ["shop/db", 5],
  ["shop/web1-back", 6],
  ["shop/web2-back", 7],
  ["nf:shop/web", 9],
]);

export function portInput(
  name: string,
  network: string,
  labels: Labels,
  more: Partial<PortInput> = {},
): PortInput {
  return {
    namespace: "shop",
    name,
    network,
    virtualMachine: name.split("-")[0] ?? name,
    labels,
    namedPorts: [],
    ...more,
  };
}

const network = (name: string, vlan: number, subnet: string): NetworkInput => ({
  namespace: "shop",
  name,
  vlan,
  subnets: [subnet],
});
const tier = (value: string) => ({ podSelector: { matchLabels: { tier: value } } });

export const POLICIES: readonly Policy[] = [
  { namespace: "shop", name: "default-deny", spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] } },
  {
    namespace: "shop",
    name: "client",
    spec: {
      ...tier("client"),
      egress: [{ to: [tier("web")], ports: [{ port: 80 }] }],
      policyTypes: ["Egress"],
    },
  },
  {
    namespace: "shop",
    name: "web",
    spec: {
      ...tier("web"),
      ingress: [{ from: [tier("client")], ports: [{ port: 80 }] }],
      egress: [{ to: [tier("app")], ports: [{ port: 8080 }] }],
    },
  },
  {
    namespace: "shop",
    name: "app",
    spec: {
      ...tier("app"),
      ingress: [{ from: [tier("web")], ports: [{ port: 8080 }] }],
      egress: [{ to: [tier("db")], ports: [{ port: 5432 }] }],
    },
  },
  {
    namespace: "shop",
    name: "db",
    spec: { ...tier("db"), ingress: [{ from: [tier("app")], ports: [{ port: 5432 }] }] },
  },
];

export const BALANCER: LoadBalancerInput = {
  namespace: "shop",
  name: "web",
  network: "front",
  address: "10.10.0.100",
  targetPorts: [80],
  selector: { matchLabels: { tier: "web" } },
  drain: [],
};

export function shopChanges(): InventoryChange[] {
  const ports = [
    portInput("client", "front", { tier: "client" }),
    portInput("web1", "front", { tier: "web" }),
    portInput("web2", "front", { tier: "web" }),
    portInput("web1-back", "back", { tier: "web" }),
    portInput("web2-back", "back", { tier: "web" }),
    portInput("app", "back", { tier: "app" }),
    portInput("db", "back", { tier: "db" }),
  ];
  return [
    { kind: "Namespace", key: "shop", value: { name: "shop", labels: {} } },
    { kind: "Network", key: "shop/front", value: network("front", 10, "10.10.0.0/24") },
    { kind: "Network", key: "shop/back", value: network("back", 20, "10.20.0.0/24") },
    ...ports.map((value): InventoryChange => ({ kind: "Port", key: `shop/${value.name}`, value })),
    { kind: "NetworkFunction", key: "shop/web", value: BALANCER },
  ];
}

export function policyChange(policy: Policy, gone = false): InventoryChange {
  return {
    kind: "NetworkPolicy",
    key: `${policy.namespace}/${policy.name}`,
    value: gone ? undefined : policy,
  };
}

export interface Shop {
  readonly compiler: Compiler;
  port(name: string): PortView;
  balancer(): LoadBalancerView;
  network(name: string): NetworkView;
}

/** The whole example compiled, with or without its policies. */
export function createShop(policies: readonly Policy[] = POLICIES): Shop {
  const compiler = new Compiler();
  compiler.setAttachments(OFPORTS);
  compiler.apply([...shopChanges(), ...policies.map((policy) => policyChange(policy))]);
  return {
    compiler,
    port: (name) => compiler.inventory.port(`shop/${name}`) as PortView,
    balancer: () => compiler.inventory.function("shop/web") as LoadBalancerView,
    network: (name) => compiler.inventory.network(`shop/${name}`) as NetworkView,
  };
}
