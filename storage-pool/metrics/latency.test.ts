import { expect, test } from "vitest";
import { LATENCY_BOUNDS, Latency } from "./latency.js";

test("what took as long as a bound is counted in its bucket, what took longer in the next, and all in the sum", () => {
  const latency = new Latency();
  for (const bound of LATENCY_BOUNDS) latency.observe(bound * 1000, 1);
  expect([...latency.counts]).toEqual([...LATENCY_BOUNDS.map(() => 1), 0]);
  latency.observe(0, 5);
  latency.observe(-1, 1);
  latency.observe(60_000, 2);
  expect(latency.counts[0]).toBe(7);
  expect(latency.counts[LATENCY_BOUNDS.length]).toBe(2);
  expect(latency.sumSeconds).toBeCloseTo(120 + LATENCY_BOUNDS.reduce((sum, each) => sum + each, 0), 6);
});
