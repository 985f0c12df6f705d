import { describe, expect, it } from "vitest";

import { createShop, POLICIES, policyChange } from "../testing/shop.js";
import { reviewChanges } from "./change-review.js";
import { breachesOf, formatBreach, type Invariant } from "./invariants.js";

const tier = (value: string) => ({ podSelector: { matchLabels: { tier: value } } });
const invariant = (
  name: string,
  assert: "Never" | "Always",
  from: string,
  to: string,
  more = {},
): Invariant => ({
  name,
  assert,
  from: tier(from),
  to: tier(to),
  ...more,
});
const held = (one: Invariant) => breachesOf(createShop().compiler, [one], 9).map(formatBreach);

describe("breachesOf()", () => {
  it("finds nothing where the promise holds", () => {
    expect(held(invariant("a", "Never", "web", "db"))).toEqual([]);
    expect(
      held(invariant("a", "Never", "client", "web", { ports: [{ port: 81 }, { protocol: "UDP" }] })),
    ).toEqual([]);
    expect(held(invariant("a", "Always", "app", "db", { ports: [{ port: 5432 }] }))).toEqual([]);
    expect(held(invariant("a", "Never", "nobody", "db"))).toEqual([]);
  });

  it("shows a packet that arrives and must not", () => {
    expect(held(invariant("a", "Never", "app", "db"))).toEqual([
      "invariant a would be broken: shop/app[VirtualMachine] (10.20.0.2) to shop/db[VirtualMachine] (10.20.0.3) on TCP 5432: " +
        "may leave shop/app: egress[0] of policy shop/app allows it; may reach shop/db: ingress[0] of policy shop/db allows it",
    ]);
  });

  it("shows a packet that must arrive and does not", () => {
    const [text] = held(invariant("a", "Always", "app", "db", { ports: [{ port: 5432, endPort: 5433 }] }));
    expect(text).toMatch(/on TCP 5433: may not leave shop\/app: no rule of .*policy shop\/app.* allows it/);
  });

  it("takes a machine for reached when one of its ports is", () => {
    expect(held(invariant("a", "Always", "web", "app", { ports: [{ port: 8080 }] }))).toEqual([]);
  });
});

describe("reviewChanges()", () => {
  const { compiler } = createShop();
  const promise = { kind: "Invariant", key: "a" } as const;

  it("tells only breaches that the change brings", () => {
    compiler.apply([
      { ...promise, value: invariant("a", "Never", "app", "db", { ports: [{ port: 5432 }] }) },
    ]);
    expect(reviewChanges(compiler, [], { plan: false }).breaches).toEqual([]);
    const [, , , , db] = POLICIES;
    const without = reviewChanges(compiler, [policyChange(db as (typeof POLICIES)[0], true)], { plan: true });
    expect(without.breaches).toEqual([]);
    expect(without.plan).toMatchObject({
      lost: [
        {
          source: "shop/app[VirtualMachine]",
          destination: "shop/db[VirtualMachine]",
          connections: "TCP 5432",
        },
      ],
    });
    const widened = { ...promise, value: invariant("a", "Never", "app", "db") };
    expect(reviewChanges(compiler, [widened], { plan: false }).breaches).toHaveLength(1);
  });
});
