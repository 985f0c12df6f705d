import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Match } from "../../base/openflow/index.js";
import { matchOf, shapeOf, valuesOf } from "./kept-matches.js";

const bytes = fc.uint8Array({ minLength: 0, maxLength: 3 });
const entry = fc
  .record({
    field: fc.constantFrom("eth_type", "ipv4_src", "tcp_dst", "tun_metadata0"),
    value: bytes,
    mask: fc.option(bytes, { nil: undefined }),
  })
  .map(({ field, value, mask }) => (mask === undefined ? { field, value } : { field, value, mask }));

describe("kept matches", () => {
  it("come back as they were, however many shapes there are", () => {
    fc.assert(
      fc.property(fc.array(fc.array(entry, { maxLength: 3 }), { maxLength: 60, size: "max" }), (matches) => {
        const kept = (matches as Match[]).map((match) => [shapeOf(match), valuesOf(match)] as const);
        kept.forEach(([shape, values], i) => {
          expect(matchOf(shape, values)).toEqual(matches[i]);
        });
      }),
      { numRuns: 200 },
    );
  });

  it("of the same fields and masks share their shape", () => {
    const one = (last: number): Match => [
      { field: "eth_type", value: Uint8Array.of(8, 0) },
      { field: "ipv4_src", value: Uint8Array.of(10, 0, 0, last), mask: Uint8Array.of(255, 255, 255, 0) },
    ];
    expect(shapeOf(one(1))).toBe(shapeOf(one(2)));
    expect(shapeOf(one(1))).not.toBe(shapeOf(one(1).slice(0, 1)));
  });
});
