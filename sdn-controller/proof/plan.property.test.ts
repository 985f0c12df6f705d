// A plan looks only at pairs whose flows differ; here all pairs of both sides are computed, and compared.
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Compiler } from "../compiler.js";
import { PLAN_LINES_MAX, PLAN_PAIRS_COMPARED_MAX } from "../limits.js";
import { adminPolicies, namespaceLabels, pod, policies } from "../testing/arbitraries.js";
import { createCrowd, crowdPort } from "../testing/crowd.js";
import { policyChange } from "../testing/shop.js";
import { createWorld } from "../testing/world.js";
import { boundedPlan, type Plan, planOf, reachablePairs } from "./plan.js";

/** Of each pair everything that may pass, as one text. */
function reached(compiler: Compiler): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { source, destination, connections } of reachablePairs(compiler).pairs) {
    const pair = `${source} ${destination}`;
    texts.set(pair, [...(texts.get(pair)?.split("; ") ?? []), connections].sort().join("; "));
  }
  return texts;
}

describe("planOf()", () => {
  it("is about exactly the pairs whose reachability is another one", () => {
    const vms = fc.array(pod, { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(
        ...([policies, adminPolicies, policies, adminPolicies, vms, pod, namespaceLabels] as const),
        (all, admin, others, otherAdmin, pods, relabelled, names) => {
          const space = pods.map((vm) => ({ ...vm, namespace: "red" }));
          const before = createWorld(all, admin, space, names);
          const port = { ...relabelled, namespace: "red", name: "p0", network: "n" };
          const changes = [
            all.slice(0, 1).map((policy) => policyChange(policy, true)),
            others.map((policy) => policyChange(policy)),
            otherAdmin.map((value) => ({ kind: value.kind, key: value.name, value }) as const),
            [{ kind: "Port", key: "red/p0", value: port } as const],
            [{ kind: "Port", key: "red/p1", value: undefined } as const],
            [{ kind: "Namespace", key: "red", value: { name: "red", labels: names["blue"] ?? {} } } as const],
          ];
          const was = reached(before);
          for (const change of changes) {
            const will = reached(before.fork(change));
            const plan = planOf(before, change);
            const told = new Set(
              [...plan.gained, ...plan.lost].map(({ source, destination }) => `${source} ${destination}`),
            );
            const differing = [...new Set([...was.keys(), ...will.keys()])].filter(
              (pair) => was.get(pair) !== will.get(pair),
            );
            expect([...told].sort()).toEqual(differing.sort());
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("boundedPlan()", () => {
  const wide = policyChange({
    namespace: "t0",
    name: "wide",
    spec: { podSelector: {}, policyTypes: ["Egress"] },
  });

  it("names one of many ports that policies cannot tell apart where lines would be very many", () => {
    const compiler = createCrowd(10, 0);
    const count = Math.ceil(Math.sqrt(PLAN_LINES_MAX)) + 1;
    const { value } = crowdPort(0);
    compiler.apply(
      Array.from({ length: count }, (_, i) => ({
        kind: "Port",
        key: `t0/w${i}`,
        value: { ...value, name: `w${i}`, virtualMachine: `w${i}` } as never,
      })),
    );
    expect(boundedPlan(compiler, compiler.fork([wide]))).toEqual({
      gained: [],
      lost: [
        {
          source: `t0/v0[VirtualMachine] and ${count + 9} like it`,
          destination: `t0/v0[VirtualMachine] and ${count + 9} like it`,
          connections: "All Connections",
        },
      ],
    });
  });

  it("is not worked out where too many pairs of groups may change, and is where few of them do", () => {
    const tiers = Math.ceil(Math.sqrt(PLAN_PAIRS_COMPARED_MAX)) + 1;
    const tier = (n: number) => ({ podSelector: { matchLabels: { tier: `x${n}` } } });
    const opens = (n: number, port: number) =>
      policyChange({
        namespace: "t0",
        name: `p${n}`,
        spec: { ...tier(n), ingress: [{ ports: [{ port }] }] },
      });
    const compiler = createCrowd(0, 0);
    compiler.apply([
      { kind: "Namespace", key: "t0", value: { name: "t0", labels: {} } },
      {
        kind: "Network",
        key: "t0/n",
        value: { namespace: "t0", name: "n", vlan: 1, subnets: ["10.0.0.0/16"] },
      },
      ...Array.from({ length: tiers }, (_, n) => ({ ...crowdPort(n, n), key: `t0/v${n}` }) as never),
      ...Array.from({ length: tiers }, (_, n) => opens(n, 80)),
    ]);
    expect(boundedPlan(compiler, compiler.fork([wide]))).toEqual({
      tooMany: `policies tell ${tiers} groups of ports apart: more than ${PLAN_PAIRS_COMPARED_MAX} pairs of them may change`,
    });
    const plan = boundedPlan(compiler, compiler.fork([opens(0, 81)])) as Plan;
    expect([plan.gained.length, plan.lost.length]).toEqual([tiers - 1, tiers - 1]);
    expect(() => reachablePairs(compiler)).toThrow("groups of ports apart");
  });
});
