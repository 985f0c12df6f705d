import fc from "fast-check";
import { expect, test } from "vitest";
import { Turns } from "./turns.js";
import { NO_LIMITS, TAKE_LATER, TAKE_OK, TAKE_WAIT, VolumeShare } from "./volume-share.js";

test("whatever is asked when, no more is given than the rates and what was saved up, and waits are no longer than needed", () => {
  const request = fc.record({
    afterMs: fc.double({ min: 0, max: 400, noNaN: true }),
    bytes: fc.nat(200_000),
  });
  const limits = fc.record({
    iops: fc.constantFrom(0, 1, 10, 500),
    bytesPerSecond: fc.constantFrom(0, 1000, 100_000),
    burstMs: fc.constantFrom(1, 1000, 5000),
  });
  fc.assert(
    fc.property(limits, fc.array(request, { minLength: 1, maxLength: 200 }), (given, requests) => {
      const turns = new Turns();
      const share = new VolumeShare(turns);
      let nowMs = 1000;
      turns.begin(nowMs);
      share.setLimits(given);
      let ops = 0;
      let bytes = 0;
      let largest = 0;
      for (const request of requests) {
        nowMs += request.afterMs;
        turns.begin(nowMs);
        let result = share.take(request.bytes, false);
        if (result === TAKE_WAIT) {
          expect(share.readyMs).toBeGreaterThan(nowMs);
          nowMs = share.readyMs + 1e-6 * share.readyMs;
          turns.begin(nowMs);
          result = share.take(request.bytes, false);
        }
        expect(result).toBe(TAKE_OK);
        ops++;
        bytes += request.bytes;
        largest = Math.max(largest, request.bytes);
        const savedMs = nowMs - 1000 + given.burstMs;
        if (given.iops > 0) expect(ops).toBeLessThanOrEqual(1 + (savedMs * given.iops) / 1000 + 1e-3);
        if (given.bytesPerSecond > 0) {
          // The last request may overdraw the bucket.
          expect(bytes - largest).toBeLessThanOrEqual(1 + (savedMs * given.bytesPerSecond) / 1000 + 1e-3);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("limits change while requests wait, and none at all hold nobody back", () => {
  const turns = new Turns();
  const share = new VolumeShare(turns);
  turns.begin(0);
  share.setLimits({ iops: 1, bytesPerSecond: 0, burstMs: 1000 });
  expect(share.take(0, false)).toBe(TAKE_OK);
  expect(share.take(0, false)).toBe(TAKE_WAIT);
  expect(share.readyMs).toBe(1000);
  expect(share.throttledCount).toBe(1);
  turns.begin(500);
  share.setLimits({ iops: 100, bytesPerSecond: 0, burstMs: 1000 });
  // The bucket is as it was, and fills faster.
  expect(share.take(0, false)).toBe(TAKE_WAIT);
  expect(share.readyMs).toBeLessThanOrEqual(510);
  share.setLimits(NO_LIMITS);
  for (let i = 0; i < 1000; i++) expect(share.take(1e9, false)).toBe(TAKE_OK);
});

test("a limit begins full, whatever was done under the other one", () => {
  const [iops, bytesPerSecond, burstMs] = [50, 1000, 1000];
  const turns = new Turns();
  const share = new VolumeShare(turns);
  turns.begin(0);
  share.setLimits({ iops: 0, bytesPerSecond, burstMs });
  for (let i = 0; i < 10_000; i++) expect(share.take(0, false)).toBe(TAKE_OK);
  share.setLimits({ iops, bytesPerSecond: 0, burstMs });
  for (let i = 0; i < iops; i++) expect(share.take(1e9, false)).toBe(TAKE_OK);
  expect(share.take(0, false)).toBe(TAKE_WAIT);
  share.setLimits({ iops, bytesPerSecond, burstMs });
  turns.begin(20);
  expect(share.take(bytesPerSecond, false)).toBe(TAKE_OK);
  turns.begin(40);
  expect(share.take(bytesPerSecond, false)).toBe(TAKE_OK);
  expect(share.take(0, false)).toBe(TAKE_WAIT);
});

/** Serves volumes that each have the same requests waiting, for some rounds; bytes that each was given. */
function compete(sizes: readonly number[], rounds: number): number[] {
  const turns = new Turns();
  const shares = sizes.map(() => new VolumeShare(turns));
  const given = sizes.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    turns.begin(round * 0.5);
    for (const [i, size] of sizes.entries()) {
      for (let n = 0; n < 500 && shares[i]?.take(size, false) === TAKE_OK; n++) {
        given[i] = (given[i] as number) + 2 * size + 16 * 1024;
      }
    }
  }
  return given;
}

test("volumes that compete get the same whatever the size of their requests, and one alone is not held back", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(4096, 65_536, 1 << 20, 8 << 20), { minLength: 2, maxLength: 5 }),
      (sizes) => {
        // The first round, in which nobody knows of the others, is not counted.
        const before = compete(sizes, 4);
        const after = compete(sizes, 404);
        const rates = after.map((each, i) => each - (before[i] as number));
        expect(Math.min(...rates) / Math.max(...rates)).toBeGreaterThan(0.8);
      },
    ),
    { numRuns: 40 },
  );
  const turns = new Turns();
  const alone = new VolumeShare(turns);
  turns.begin(0);
  for (let i = 0; i < 10_000; i++) expect(alone.take(1 << 20, false)).toBe(TAKE_OK);
});

test("a volume with few requests at a time gets as much as one with hundreds, or all that it asks for", () => {
  const rounds = 400;
  /** The greatest part of a round that one of many reads of 4 KiB may have beside a volume that asks for a single one. */
  const least = 8;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), (depth) => {
      const turns = new Turns();
      const [modest, greedy] = [new VolumeShare(turns), new VolumeShare(turns)];
      const served = (share: VolumeShare, most: number) => {
        let count = 0;
        while (count < most && share.take(4096, false) === TAKE_OK) count++;
        return count;
      };
      let [few, many] = [0, 0];
      for (let round = 0; round < rounds; round++) {
        turns.begin(round * 0.5);
        const counts = [served(modest, depth), served(greedy, 256)] as const;
        if (round < 20) continue;
        few += counts[0];
        many += counts[1];
      }
      expect(many).toBeLessThanOrEqual(1.1 * Math.max(few, least * (rounds - 20)));
      expect(few).toBeGreaterThanOrEqual(Math.min(depth * (rounds - 20), many) * 0.9);
    }),
    { numRuns: 60 },
  );
});

test("a request that was not carried out is given back", () => {
  const turns = new Turns();
  const [share, other] = [new VolumeShare(turns), new VolumeShare(turns)];
  for (let round = 0; round < 3; round++) {
    turns.begin(round);
    for (let n = 0; n < 1000 && other.take(4096, false) === TAKE_OK; n++);
    let count = 0;
    while (count < 1000 && share.take(4096, false) === TAKE_OK) count++;
    if (round === 0) continue;
    // 512 KiB at 24 KiB each; what the last one took too much is owed.
    expect(Math.abs(count - 21.5)).toBe(0.5);
    expect(share.take(4096, false)).toBe(TAKE_LATER);
    share.giveBack(4096, false);
    expect(share.take(4096, false)).toBe(TAKE_OK);
  }
});
