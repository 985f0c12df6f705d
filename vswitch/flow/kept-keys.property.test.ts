import fc from "fast-check";
import { expect, it } from "vitest";
import type { Match } from "../../base/openflow/index.js";
import { compileMatch, compilePassingMatch, keptMatch } from "./fields.js";
import { TunnelOptions } from "./tunnel-options.js";

const options = new TunnelOptions();
const address = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** More masks than are shared at a time. */
const match: fc.Arbitrary<Match> = fc
  .tuple(fc.integer({ min: 1, max: 24 }), address, fc.boolean())
  .map(([length, value, isDestination]) => {
    const mask = Uint8Array.from(
      [0, 8, 16, 24],
      (at) => (0xff00 >> Math.max(0, Math.min(8, length - at))) & 0xff,
    );
    return [
      { field: "eth_type", value: Uint8Array.of(8, 0) },
      {
        field: isDestination ? "ipv4_dst" : "ipv4_src",
        value: value.map((byte, i) => byte & mask[i]!),
        mask,
      },
    ];
  });

it("keptMatch() keeps what compileMatch() makes, whatever is compiled afterwards", () => {
  fc.assert(
    fc.property(fc.array(match, { minLength: 1, maxLength: 60 }), (matches) => {
      const kept = matches.map((one) => keptMatch(compilePassingMatch(one, options)));
      expect(kept).toEqual(matches.map((one) => compileMatch(one)));
    }),
  );
});

it("flows of one mask share it, and none shares its value", () => {
  const [first, second] = ["10.0.0.1", "10.0.0.2"].map((text) => {
    const value = Uint8Array.from(text.split("."), Number);
    return keptMatch(compilePassingMatch([{ field: "ipv4_dst", value }], options));
  });
  expect(first?.mask).toBe(second?.mask);
  expect(first?.value).not.toEqual(second?.value);
});
