import { expect, test } from "vitest";
import { CleanPacer, type CleanSituation } from "./clean-pacer.js";

const STEP = 64;

/** Clients write `blocks` at a time; how much may be moved for each block once the pace is even. */
function pace(situation: Partial<CleanSituation>, blocks = 16): number {
  const pacer = new CleanPacer();
  let writtenBlocks = 0;
  let moved = 0;
  for (let i = 0; i < 1000; i++) {
    writtenBlocks += blocks;
    pacer.update({ ...QUIET, ...situation, nowMs: i, writtenBlocks });
    for (let most = pacer.take(STEP); most > 0; most = pacer.take(STEP)) moved += most;
  }
  return moved / writtenBlocks;
}

const QUIET: CleanSituation = {
  nowMs: 0,
  slots: 1000,
  freeSegments: 500,
  waitingSegments: 0,
  deadShare: 0,
  writtenBlocks: 0,
  reads: 0,
};

test("with room enough clients pay nothing, and the fewer segments are free the more they pay", () => {
  expect(pace({})).toBe(0);
  const deadShare = 0.15;
  const paces = [40, 30, 20, 10, 4].map((freeSegments) => pace({ freeSegments, deadShare }));
  expect(paces).toEqual([...paces].sort((a, b) => a - b));
  expect(paces.at(-1)).toBeGreaterThan(9);
  expect(pace({ freeSegments: 10, waitingSegments: 30, deadShare })).toBe(paces[0]);
});

test("free segments are kept as a part of what is free or dead: few where little can be won", () => {
  const low = (freeSegments: number, deadShare: number) => {
    const pacer = new CleanPacer();
    pacer.update({ ...QUIET, freeSegments, deadShare });
    return pacer.lowSegments;
  };
  expect(low(100, 0.2)).toBe(Math.floor((100 + 180) / 3));
  expect(low(20, 0.1)).toBe(Math.floor((20 + 98) / 3));
  expect(low(0, 0)).toBe(12);
});

test("a client that only reads earns less than one that writes, and no burst is saved up", () => {
  const pacer = new CleanPacer();
  for (let reads = 0; reads < 100_000; reads += 100)
    pacer.update({ ...QUIET, freeSegments: 5, nowMs: reads / 100, reads });
  let steps = 0;
  while (pacer.take(STEP) > 0 && steps < 100) steps++;
  expect(steps).toBeLessThanOrEqual(5);
});

test("what was earned is moved soon, but not a few blocks at a time", () => {
  const pacer = new CleanPacer();
  const none = { ...QUIET, freeSegments: 4, deadShare: 0.1 };
  pacer.update(none);
  pacer.update({ ...none, nowMs: 1, writtenBlocks: 1 });
  expect(pacer.take(STEP)).toBe(0);
  pacer.update({ ...none, nowMs: 2, writtenBlocks: 3 });
  const moved = pacer.take(STEP);
  expect(moved).toBeGreaterThanOrEqual(16);
  expect(moved).toBeLessThan(STEP);
  expect(pacer.take(STEP)).toBe(0);
});

test("dead blocks cost a trickle while clients are busy, and go when they are idle", () => {
  expect(pace({ deadShare: 0.6 })).toBeGreaterThan(0);
  expect(pace({ deadShare: 0.6 })).toBeLessThan(1);
  const pacer = new CleanPacer();
  pacer.update({ ...QUIET, writtenBlocks: 1, deadShare: 0.4 });
  expect(pacer.livePercent).toBe(0);
  expect(pacer.take(STEP)).toBe(0);
  pacer.update({ ...QUIET, writtenBlocks: 1, deadShare: 0.4, nowMs: 1000 });
  expect(pacer.livePercent).toBeGreaterThan(50);
  expect(pacer.take(STEP)).toBe(STEP);
});
