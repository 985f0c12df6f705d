// A random world compiled: a network for each namespace, machine number i as port pI at 10.0.0.(10 + i), switch port i + 1.
// All but green have IPv6, too: fd00::(10 + i).
import { Compiler } from "../compiler.js";
import { tryParseIpAddress } from "../network/ip-address.js";
import type { AdminPolicy } from "../policy/admin-network-policy.js";
import type { Policy } from "../policy/network-policy.js";
import type { OracleEnd } from "../policy/oracle.js";
import type { Labels } from "../policy/selector.js";
import type { Fields } from "../proof/flow-model.js";
import { policyChange } from "./shop.js";

export const IPV4_ONLY = "green";

/** Of machine number `i`, as the oracle reads it. */
export function worldAddress(i: number, family: number): string {
  return family === 4 ? `10.0.0.${i + 10}` : `fd00:0:0:0:0:0:0:${(i + 10).toString(16)}`;
}

/** The fields of a packet that tell who speaks to whom: machines number `from` and `to`. */
export function worldEnds(from: number, to: number, family: number): Fields {
  const [source, destination] = [from, to].map((i) => tryParseIpAddress(worldAddress(i, family))?.value);
  return {
    eth_type: family === 4 ? 0x0800 : 0x86dd,
    [`ipv${family}_src`]: source,
    [`ipv${family}_dst`]: destination,
  };
}

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
      const subnets = ["10.0.0.0/24", ...(namespace === IPV4_ONLY ? [] : ["fd00::/64"])];
      const value = { namespace, name: "n", vlan: i + 1, subnets };
      return { kind: "Network", key: `${namespace}/n`, value } as const;
    }),
    ...vms.map((vm, i) => {
      const addresses = [4, ...(vm.namespace === IPV4_ONLY ? [] : [6])].map((each) => worldAddress(i, each));
      const value = { ...vm, name: `p${i}`, network: "n", addresses };
      return { kind: "Port", key: `${vm.namespace}/p${i}`, value } as const;
    }),
    ...policies.map((policy) => policyChange(policy)),
    ...adminPolicies.map((value) => ({ kind: value.kind, key: value.name, value }) as const),
  ]);
  return compiler;
}
