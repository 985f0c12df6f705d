import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createWindowCopy } from "./window-copy.js";

const SIZE = 2048;
const place = fc.nat({ max: 500 });

describe("createWindowCopy", () => {
  it("moves exactly the bytes that it is asked for, wherever they lie", () => {
    const range = { from: place, to: place, length: fc.nat({ max: 400 }), swapped: fc.boolean() };
    fc.assert(
      fc.property(fc.record(range), ({ from, to, length, swapped }) => {
        // One in the lower half, the other in the upper: they never overlap.
        const [source, target] = swapped ? [SIZE / 2 + from, to] : [from, SIZE / 2 + to];
        const buffer = new ArrayBuffer(SIZE);
        const bytes = new Uint8Array(buffer);
        // All bit patterns, those of signalling NaNs too.
        for (let i = 0; i < SIZE; i++) bytes[i] = i % 7 === 0 ? 0xff : (i * 37) & 0xff;
        const expected = bytes.slice();
        expected.copyWithin(target, source, source + length);
        createWindowCopy(buffer)(target, source, length);
        // toEqual() looks at each byte as a property: a thousand times slower, and only good for saying what differs.
        if (!Buffer.from(buffer).equals(expected)) expect(bytes).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });
});
