import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import { adminPolicies, namespaceLabels, pod, policies } from "../testing/arbitraries.js";
import { createCrowd, crowdPolicy, crowdPort } from "../testing/crowd.js";
import { policyChange } from "../testing/shop.js";
import { createWorld } from "../testing/world.js";
import { type GroupPlan, groupPlanOf } from "./group-plan.js";
import { type Plan, planOf } from "./plan.js";

/** Ports that get lines, whichever: both families may have one of their own. */
const pairs = (lines: Plan["gained"]): Set<string> =>
  new Set(lines.map(({ source, destination }) => `${source} ${destination}`));

function compare(compiler: Compiler, changes: readonly InventoryChange[]): GroupPlan {
  const exact = planOf(compiler, changes);
  const grouped = groupPlanOf(compiler, changes) as GroupPlan;
  expect([grouped.gainedPairs, grouped.lostPairs]).toEqual([
    pairs(exact.gained).size,
    pairs(exact.lost).size,
  ]);
  if (grouped.gainedPairs + grouped.lostPairs <= 100)
    expect({ gained: grouped.gained, lost: grouped.lost }).toEqual(exact);
  return grouped;
}

describe("groupPlanOf()", () => {
  it("is the plan pair by pair, of policies, labels of machines and of namespaces that change", () => {
    const vms = fc.array(pod, { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(
        ...([policies, adminPolicies, policies, adminPolicies, vms, pod, namespaceLabels] as const),
        (all, admin, others, otherAdmin, pods, relabelled, names) => {
          const space = pods.map((vm) => ({ ...vm, namespace: "red" }));
          const before = createWorld(all, admin, space, names);
          const port = { ...relabelled, namespace: "red", name: "p0", network: "n" };
          const gone = [
            ...all.map((policy) => policyChange(policy, true)),
            ...admin.map(({ kind, name }) => ({ kind, key: name, value: undefined }) as const),
          ];
          compare(before, [
            ...gone,
            ...others.map((policy) => policyChange(policy)),
            ...otherAdmin.map((value) => ({ kind: value.kind, key: value.name, value }) as const),
          ]);
          compare(before, [{ kind: "Port", key: "red/p0", value: port }]);
          compare(before, [{ kind: "Port", key: "red/p1", value: undefined }]);
          compare(before, [
            { kind: "Namespace", key: "red", value: { name: "red", labels: names["blue"] ?? {} } },
          ]);
        },
      ),
      { numRuns: 15 },
    );
  });

  it("counts pairs of very many ports, and compiles two of each group", () => {
    const compiler = createCrowd(1_200, 20);
    const plan = groupPlanOf(compiler, [crowdPolicy(0, 1_200, 4_000)]) as GroupPlan;
    // Twenty ports of each tier: 20 x 20 pairs have another port open.
    expect(plan).toEqual({
      gainedPairs: 400,
      lostPairs: 400,
      gained: [
        {
          source: "t0/{tier=x1}@n (20 ports)",
          destination: "t0/{tier=x0}@n (20 ports)",
          connections: "TCP 4000",
        },
      ],
      lost: [
        {
          source: "t0/{tier=x1}@n (20 ports)",
          destination: "t0/{tier=x0}@n (20 ports)",
          connections: "TCP 1000",
        },
      ],
    });
  });

  it("is exact for one machine more among very many groups, whatever the other namespaces hold", () => {
    const compiler = createCrowd(400, 20);
    const port = (name: string, tier: string): InventoryChange => {
      const value = { namespace: "t0", name, network: "n", virtualMachine: name, namedPorts: [] };
      return { kind: "Port", key: `t0/${name}`, value: { ...value, labels: { tier } } };
    };
    const about = (tier: string) => ({ podSelector: { matchLabels: { tier } } });
    // A hundred tiers of their own: far too many pairs of groups to look at all of them.
    compiler.apply([
      ...Array.from({ length: 100 }, (_, n) => port(`own${n}`, `own${n}`)),
      ...Array.from({ length: 100 }, (_, n) =>
        policyChange({
          namespace: "t0",
          name: `own${n}`,
          spec: { ...about(`own${n}`), ingress: [{ from: [about("x1")], ports: [{ port: 9_000 + n }] }] },
        }),
      ),
    ]);
    const plan = groupPlanOf(compiler, [port("new", "x1")]) as GroupPlan;
    const to = (name: string): string[] =>
      plan.gained
        .filter(
          ({ source, destination }) =>
            source.startsWith("t0/new[") && new RegExp(`${name}\\b`).test(destination),
        )
        .map(({ connections }) => connections);
    expect(to("own7")).toEqual(["TCP 9007"]);
    const exact = pairs(planOf(compiler, [port("new", "x1")]).gained);
    expect([plan.gainedPairs, plan.lostPairs]).toEqual([exact.size, 0]);
    expect(
      groupPlanOf(compiler, [policyChange({ namespace: "t0", name: "shut", spec: about("x3") })]),
    ).toEqual({
      tooMany: expect.stringContaining("groups of ports apart: 12100 pairs of them, more than 4096"),
    });
  });

  it("is the plan pair by pair of a machine that gets other labels among many", () => {
    const compiler = createCrowd(100, 10);
    const moved = compare(compiler, [crowdPort(1, 2)]);
    // It loses what leads to tier x0, and much else: groups are told, and the machine by its name.
    expect(moved.lostPairs).toBeGreaterThan(10);
    const ends = [...moved.gained, ...moved.lost].flatMap(({ source, destination }) => [source, destination]);
    expect(ends).toContain("t0/v1[VirtualMachine]");
  });

  it("says so where policies tell too many groups apart", () => {
    const blocks = Array.from({ length: 600 }, (_, i) => ({
      ipBlock: { cidr: `172.16.${i & 255}.${i >> 8}/32` },
    }));
    const spec = { podSelector: {}, policyTypes: ["Ingress" as const], ingress: [{ from: blocks }] };
    const plan = groupPlanOf(createCrowd(600, 1), [policyChange({ namespace: "t0", name: "wide", spec })]);
    expect(plan).toEqual({ tooMany: "policies name 600 address blocks, more than 512" });
  });
});
