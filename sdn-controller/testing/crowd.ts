// Many ports and policies, for costs and benches: tenants of 200 ports in ten tiers, each policy about two of them.
import { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import { policyChange } from "./shop.js";

const PORTS_PER_TENANT = 200;
const TIERS = 10;

/** Policy number `number` among `portCount` ports; `port` is what it opens. */
export function crowdPolicy(number: number, portCount: number, port: number): InventoryChange {
  const tenants = Math.ceil(portCount / PORTS_PER_TENANT);
  const tier = Math.floor(number / tenants) % TIERS;
  const labels = (n: number) => ({ podSelector: { matchLabels: { tier: `x${n % TIERS}` } } });
  return policyChange({
    namespace: `t${number % tenants}`,
    name: `p${number}`,
    spec: {
      ...labels(tier),
      policyTypes: ["Ingress"],
      ingress: [{ from: [labels(tier + 1)], ports: [{ port }] }],
    },
  });
}

export function crowdPort(number: number, tier = number % TIERS): InventoryChange {
  const namespace = `t${Math.floor(number / PORTS_PER_TENANT)}`;
  const name = `v${number}`;
  const value = { namespace, name, network: "n", virtualMachine: name, namedPorts: [] };
  return { kind: "Port", key: `${namespace}/${name}`, value: { ...value, labels: { tier: `x${tier}` } } };
}

/** Everything at first, and the switch port of each port: its number and one. */
export function crowd(
  portCount: number,
  policyCount: number,
): { readonly changes: InventoryChange[]; readonly attachments: Map<string, number> } {
  const changes: InventoryChange[] = [];
  for (let tenant = 0; tenant * PORTS_PER_TENANT < portCount; tenant++) {
    const namespace = `t${tenant}`;
    changes.push({ kind: "Namespace", key: namespace, value: { name: namespace, labels: {} } });
    const network = { namespace, name: "n", vlan: 1 + (tenant % 4094), subnets: ["10.0.0.0/16"] };
    changes.push({ kind: "Network", key: `${namespace}/n`, value: network });
  }
  const ports = Array.from({ length: portCount }, (_, number) => crowdPort(number));
  const policies = Array.from({ length: policyCount }, (_, number) =>
    crowdPolicy(number, portCount, 1000 + number),
  );
  const attachments = new Map(ports.map(({ key }, number) => [key, number + 1]));
  return { changes: [...changes, ...ports, ...policies], attachments };
}

export function createCrowd(portCount: number, policyCount: number): Compiler {
  const { changes, attachments } = crowd(portCount, policyCount);
  const compiler = new Compiler();
  compiler.setAttachments(attachments);
  compiler.apply(changes);
  compiler.flows.takeTouched();
  return compiler;
}
