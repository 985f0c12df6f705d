import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { RuleModel } from "./policy-model.js";
import { numberRules } from "./rule-identity.js";

const ruleIdsOf = (all: readonly RuleModel[]): readonly number[] => numberRules(all).ids;

function rules(ports: readonly number[]): RuleModel[] {
  return ports.map((port, index) => ({
    direction: "Ingress",
    index,
    action: "Allow",
    ports: [{ protocol: "TCP", range: { first: port, last: port } }],
  }));
}

describe("numberRules()", () => {
  it("gives every rule a number of its own, repeated rules too", () => {
    const ids = ruleIdsOf(rules(Array.from({ length: 2_000 }, (_, n) => n % 1_500)));
    expect(new Set(ids).size).toBe(2_000);
    expect(Math.min(...ids)).toBeGreaterThan(0);
    expect(Math.max(...ids)).toBeLessThan(2 ** 16);
  });

  it("goes by what a rule says, not by its place", () => {
    const ports = Array.from({ length: 1_000 }, (_, n) => n);
    const ids = ruleIdsOf(rules(ports));
    expect([...ruleIdsOf(rules([...ports].reverse()))].reverse()).toEqual(ids);
    const [, ...others] = ruleIdsOf(rules([60_000, ...ports]));
    // One rule more takes at most few numbers that others would have had.
    expect(others.filter((id, n) => id !== ids[n]).length).toBeLessThan(10);
    const [first, second] = ruleIdsOf(rules([80, 80]));
    expect(ruleIdsOf(rules([443, 80, 80])).slice(1)).toEqual([first, second]);
  });

  it("leaves a wide rule its number when one of its peers or ports changes, as a rule", () => {
    const wide = (from: number, count: number): RuleModel => ({
      direction: "Egress",
      index: 0,
      action: "Allow",
      peers: [{ kind: "block", cidr: `10.0.${from % 256}.0/24`, except: [] }],
      ports: Array.from({ length: count }, (_, n) => ({
        protocol: "TCP",
        range: { first: from + n, last: from + n },
      })),
    });
    const all = Array.from({ length: 100 }, (_, n) => wide(100 * n, 20));
    const before = ruleIdsOf(all);
    const after = all.map((_, n) => ruleIdsOf(all.map((rule, i) => (i === n ? wide(100 * n, 21) : rule)))[n]);
    expect(after.filter((id, n) => id !== before[n]).length).toBeLessThan(15);
  });

  it("goes by the name of a rule that has one, whatever it says", () => {
    const named = (port: number): RuleModel[] =>
      rules([port, 443]).map((rule, i) => ({ ...rule, name: `r${i}` }));
    expect(ruleIdsOf(named(80))).toEqual(ruleIdsOf(named(81)));
  });

  it("ends for a policy of more rules than there are numbers", () => {
    const ids = ruleIdsOf(rules(Array.from({ length: 70_000 }, (_, n) => n)));
    expect(new Set(ids).size).toBe(70_000);
  });

  it("gives the same numbers from what is known of the rules before, whatever the edit", () => {
    const list = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(list, { minLength: 2, maxLength: 4 }), (edits) => {
        let known = numberRules([]);
        for (const ports of edits) {
          known = numberRules(rules(ports), known);
          expect(known).toEqual(numberRules(rules(ports)));
        }
      }),
    );
  });
});
