import fc from "fast-check";
import { expect, test } from "vitest";
import { BLOCK_SIZE } from "../limits.js";
import { checksum } from "./checksum.js";
import { runChecksum } from "./run-checksum.js";

const RUN = 9;
const bytes = Buffer.alloc(RUN * BLOCK_SIZE);

function joined(count: number): number {
  let sum = checksum(bytes, 0, BLOCK_SIZE);
  for (let i = 1; i < count; i++) sum = runChecksum(sum, checksum(bytes, i * BLOCK_SIZE, BLOCK_SIZE));
  return sum;
}

test("the joined checksum is that of the run, and of no run with a bit flipped or two blocks swapped", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.byteLength - 1), fc.nat(255)), { maxLength: 40 }),
      fc.integer({ min: 1, max: RUN }),
      fc.nat(),
      fc.nat(7),
      (writes, count, where, bit) => {
        bytes.fill(0);
        for (const [at, value] of writes) bytes[at] = value;
        const whole = checksum(bytes, 0, count * BLOCK_SIZE);
        expect(joined(count)).toBe(whole);
        const at = where % (count * BLOCK_SIZE);
        bytes[at] = (bytes[at] as number) ^ (1 << bit);
        expect(checksum(bytes, 0, count * BLOCK_SIZE)).not.toBe(whole);
        bytes[at] = (bytes[at] as number) ^ (1 << bit);
        if (count < 2) return;
        const [first, second] = [bytes.subarray(0, BLOCK_SIZE), bytes.subarray(BLOCK_SIZE, 2 * BLOCK_SIZE)];
        if (first.equals(second)) return;
        const kept = Buffer.from(first);
        first.set(second);
        second.set(kept);
        expect(checksum(bytes, 0, count * BLOCK_SIZE)).not.toBe(whole);
      },
    ),
    { numRuns: 300 },
  );
});
