import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HashCounts } from "./hash-counts.js";

describe("HashCounts", () => {
  it("has what was added more often than it was removed", () => {
    const hash = fc.oneof(
      fc.nat(20),
      fc.nat(20).map((n) => n * 64),
      fc.integer(),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(hash, fc.boolean()), { maxLength: 300, size: "max" }), (steps) => {
        const counts = new HashCounts();
        const there = new Map<number, number>();
        for (const [one, goes] of steps) {
          const before = there.get(one) ?? 0;
          if (goes) counts.remove(one);
          else counts.add(one);
          there.set(one, goes ? Math.max(0, before - 1) : before + 1);
          if (counts.has(one) !== there.get(one)! > 0) expect.unreachable(`${one} after ${goes}`);
        }
        for (const [other, count] of there) expect(counts.has(other)).toBe(count > 0);
      }),
      { numRuns: 300 },
    );
  });
});
