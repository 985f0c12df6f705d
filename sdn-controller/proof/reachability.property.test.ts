import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { type IpAddress, tryParseIpAddress } from "../network/ip-address.js";
import type { PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import type { Protocol } from "../policy/analysis/connection-set.js";
import { judge } from "../policy/oracle.js";
import { verdictOf } from "../policy/verdict.js";
import { adminPolicies, namespaceLabels, pods, policies } from "../testing/arbitraries.js";
import { policyChange } from "../testing/shop.js";
import { createWorld, worldAddress, worldEnds } from "../testing/world.js";
import { type Fields, FlowModel } from "./flow-model.js";
import { NO_PACKETS, type PacketSpace } from "./packet-space.js";
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
    family: fc.constantFrom(4 as const, 6 as const),
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
        for (const { source, destination, family, protocol, port } of asked) {
          const [i, j] = [source % vms.length, destination % vms.length];
          if (i === j) continue;
          const [from, to] = [i, j].map((k) => compiler.inventory.port(`red/p${k}`)) as [PortView, PortView];
          const end = (k: number) => ({
            address: worldAddress(k, family),
            pod: space[k] as (typeof space)[0],
          });
          const numbered = protocol === "ICMP" ? {} : { port };
          const connection = { source: end(i), destination: end(j), protocol, ...numbered };
          const expected = judge(all, (name) => names[name] ?? {}, connection, admin).allowed;
          const addressed = (k: number) => tryParseIpAddress(worldAddress(k, family)) as IpAddress;
          const pair = reach
            .pairsBetween(from, to)
            .find(
              (each) =>
                each.source.value === addressed(i).value && each.destination.value === addressed(j).value,
            );
          expect(has(pair?.space ?? NO_PACKETS, protocol, port)).toBe(expected);
          const any = has(reach.between(from, to, family), protocol, port);
          expect(expected && !any).toBe(false);
          if (family === 4) expect(any).toBe(expected);
          const addresses = reach.pairsBetween(from, to);
          expect(has(reach.betweenAll(from, to), protocol, port)).toBe(
            addresses.every((each) => has(each.space, protocol, port)),
          );
          const ruled = (view: PortView, k: number) => ({
            identity: compiler.policies.identityOf(view.key)?.number ?? 0,
            address: addressed(k),
          });
          const verdict = verdictOf(compiler.policies, {
            source: ruled(from, i),
            destination: ruled(to, j),
            protocol: NUMBERS[protocol] as number,
            ...numbered,
          });
          expect(verdict.allowed).toBe(expected);
          const word = protocol.toLowerCase();
          const packet: Fields = {
            in_port: i + 1,
            eth_src: from.mac,
            eth_dst: to.mac,
            ...worldEnds(i, j, family),
            ip_proto: protocol === "ICMP" && family === 6 ? 58 : (NUMBERS[protocol] as number),
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
