import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import type { Protocol } from "../policy/analysis/connection-set.js";
import { judge } from "../policy/oracle.js";
import { verdictOf } from "../policy/verdict.js";
import { adminPolicies, namespaceLabels, pods, policies } from "../testing/arbitraries.js";
import { policyChange } from "../testing/shop.js";
import { createWorld } from "../testing/world.js";
import { type Fields, FlowModel } from "./flow-model.js";
import type { PacketSpace } from "./packet-space.js";
import { comparePlan, planOf } from "./plan.js";
import { Reachability } from "./reachability.js";

const NUMBERS: Record<string, number> = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1 };

function has(space: PacketSpace, protocol: string, port: number): boolean {
  if (protocol === "ICMP") return space.others;
  return space.connections[protocol as Protocol].some(({ first, last }) => first <= port && port <= last);
}

const probes = fc.array(
  fc.record({
    source: fc.nat(4),
    destination: fc.nat(4),
    protocol: fc.constantFrom("TCP", "UDP", "SCTP", "ICMP"),
    port: fc.constantFrom(1, 2, 5, 8, 12, 13, 21, 22, 65535),
  }),
  { minLength: 6, maxLength: 20 },
);

describe("Reachability", () => {
  it("says of every packet what the oracle, the verdict of the rules and a trace through the flows say", () => {
    fc.assert(
      fc.property(policies, adminPolicies, pods, namespaceLabels, probes, (all, admin, vms, names, asked) => {
        // One network: every pair counts.
        const space = vms.map((vm) => ({ ...vm, namespace: "red" }));
        const compiler = createWorld(all, admin, space, names);
        const reach = new Reachability(compiler);
        const flows = [...compiler.flows.keys()].map((key) => compiler.flows.flow(key) as Flow);
        for (const { source, destination, protocol, port } of asked) {
          const [i, j] = [source % vms.length, destination % vms.length];
          if (i === j) continue;
          const [from, to] = [i, j].map((k) => compiler.inventory.port(`red/p${k}`)) as [PortView, PortView];
          const end = (k: number) => ({ address: `10.0.0.${k + 10}`, pod: space[k] as (typeof space)[0] });
          const numbered = protocol === "ICMP" ? {} : { port };
          const connection = { source: end(i), destination: end(j), protocol, ...numbered };
          const expected = judge(all, (name) => names[name] ?? {}, connection, admin).allowed;
          expect(has(reach.between(from, to), protocol, port)).toBe(expected);
          const ruled = (view: PortView) => ({
            identity: compiler.policies.identityOf(view.key)?.number ?? 0,
            address: view.addresses[0] as number,
          });
          const verdict = verdictOf(compiler.policies, {
            source: ruled(from),
            destination: ruled(to),
            protocol: NUMBERS[protocol] as number,
            ...numbered,
          });
          expect(verdict.allowed).toBe(expected);
          const word = protocol.toLowerCase();
          const packet: Fields = {
            in_port: i + 1,
            eth_src: from.mac,
            eth_dst: to.mac,
            eth_type: 0x0800,
            ipv4_src: from.addresses[0] as number,
            ipv4_dst: to.addresses[0] as number,
            ip_proto: NUMBERS[protocol] as number,
            ...(protocol === "ICMP" ? {} : { [`${word}_dst`]: port, [`${word}_src`]: 50_000 }),
          };
          expect(new FlowModel(flows).run(packet).outputs.length > 0).toBe(expected);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("planOf()", () => {
  it("tells what applying the change then brings, and its opposite for taking it back", () => {
    fc.assert(
      fc.property(policies, adminPolicies, pods, namespaceLabels, (all, admin, vms, names) => {
        const space = vms.map((vm) => ({ ...vm, namespace: "red" }));
        const [before, after] = [createWorld([], [], space, names), createWorld(all, admin, space, names)];
        const changes = [
          ...all.map((policy) => policyChange(policy)),
          ...admin.map((value) => ({ kind: value.kind, key: value.name, value }) as const),
        ];
        const plan = planOf(before, changes);
        expect(plan).toEqual(comparePlan(before, after));
        const back = changes.map(({ kind, key }) => ({ kind, key, value: undefined }) as const);
        expect(planOf(after, back)).toEqual({ gained: plan.lost, lost: plan.gained });
        expect(planOf(after, changes)).toEqual({ gained: [], lost: [] });
      }),
      { numRuns: 100 },
    );
  });
});
