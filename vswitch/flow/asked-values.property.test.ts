import fc from "fast-check";
import { expect, it } from "vitest";
import { AskedValues } from "./asked-values.js";
import { ASKED_VALUES_MAX } from "./limits.js";

/** Any number, and the same again; spread as hashes are. */
const hash = fc
  .oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.nat({ max: 40 }))
  .map((n) => Math.imul(n, 0x9e3779b1));

it("has everything that was noted since it was cleared, and nothing else", () => {
  fc.assert(
    fc.property(fc.array(fc.array(hash, { maxLength: 3000, size: "max" }), { maxLength: 4 }), (rounds) => {
      const asked = new AskedValues();
      let before: readonly number[] = [];
      for (const hashes of rounds) {
        asked.clear();
        const noted = new Set(hashes);
        for (const one of hashes) asked.note(one);
        expect(hashes.every((one) => asked.mayHave(one))).toBe(true);
        // Of those that meet in one place there may be too many; such a crowd is none here.
        expect(before.filter((one) => !noted.has(one)).some((one) => asked.mayHave(one))).toBe(false);
        before = hashes;
      }
    }),
    { numRuns: 50 },
  );
});

it("may have anything once there is no room, until it is cleared", () => {
  const asked = new AskedValues();
  for (let n = 0; n < ASKED_VALUES_MAX; n++) asked.note(Math.imul(n, 0x9e3779b1));
  expect(asked.mayHave(5)).toBe(true);
  asked.clear();
  expect(asked.mayHave(5)).toBe(false);
});

it("gives up, and looks no further, when many meet in one place", () => {
  const asked = new AskedValues();
  for (let n = 0; n < 100; n++) asked.note(n << 20);
  expect(asked.mayHave(5)).toBe(true);
  for (let n = 0; n < 100; n++) expect(asked.mayHave(n << 20)).toBe(true);
});
