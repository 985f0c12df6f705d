// A random world compiled: a network for each namespace, machine number i as port pI at 10.0.0.(10 + i), switch port i + 1.
import { Compiler } from "../compiler.js";
import type { AdminPolicy } from "../policy/admin-network-policy.js";
import type { Policy } from "../policy/network-policy.js";
import type { OracleEnd } from "../policy/oracle.js";
import type { Labels } from "../policy/selector.js";
import { policyChange } from "./shop.js";

export function createWorld(
  policies: readonly Policy[],
  adminPolicies: readonly AdminPolicy[],
  vms: readonly NonNullable<OracleEnd["pod"]>[],
  namespaceLabels: Readonly<Record<string, Labels>>,
): Compiler {
  const compiler = new Compiler();
  compiler.setAttachments(new Map(vms.map((vm, i) => [`${vm.namespace}/p${i}`, i + 1])));
  compiler.apply([
    ...Object.entries(namespaceLabels).map(
      ([key, labels]) => ({ kind: "Namespace", key, value: { name: key, labels } }) as const,
    ),
    ...["red", "blue", "green"].map((namespace, i) => {
      const value = { namespace, name: "n", vlan: i + 1, subnets: ["10.0.0.0/24"] };
      return { kind: "Network", key: `${namespace}/n`, value } as const;
    }),
    ...vms.map((vm, i) => {
      const value = { ...vm, name: `p${i}`, network: "n", addresses: [`10.0.0.${i + 10}`] };
      return { kind: "Port", key: `${vm.namespace}/p${i}`, value } as const;
    }),
    ...policies.map((policy) => policyChange(policy)),
    ...adminPolicies.map((value) => ({ kind: value.kind, key: value.name, value }) as const),
  ]);
  return compiler;
}
