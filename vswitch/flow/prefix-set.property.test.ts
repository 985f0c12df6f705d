import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PrefixSet } from "./prefix-set.js";

/** Many with long beginnings in common, and some that have none. */
const value = fc.oneof(
  fc.tuple(fc.integer(), fc.nat(7)).map(([base, low]) => (base & 0x80000000) | low),
  fc.tuple(fc.nat(31), fc.boolean()).map(([shift, sign]) => (1 << shift) | (sign ? 0x80000000 : 0)),
  fc.integer(),
);

describe("PrefixSet", () => {
  it("tells a value from a set by the first bits that no value of the set has, whatever comes and goes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(value, fc.boolean()), { maxLength: 200, size: "max" }),
        fc.array(value, { maxLength: 20 }),
        (steps, others) => {
          const set = new PrefixSet();
          const there: number[] = [];
          for (const [given, goes] of steps) {
            const at = there.indexOf(given);
            if (!goes) {
              set.add(given);
              there.push(given);
            } else {
              set.remove(given);
              if (at >= 0) there.splice(at, 1);
            }
          }
          expect(set.size).toBe(new Set(there).size);
          for (const one of [...others, ...steps.map(([given]) => given)]) {
            const inCommon = Math.max(0, ...there.map((other) => Math.clz32(other ^ one)));
            expect(set.bitsToTell(one)).toBe(inCommon === 32 ? 0 : inCommon + 1);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
