import { expect, it } from "vitest";
import { createMonotonicClock } from "./monotonic-clock.js";

/** By how much the two clocks may differ when the thread is stopped each time that they are compared. */
const SLACK_MS = 50;

it("counts as performance.now() does, and never goes back", () => {
  const clock = createMonotonicClock();
  let lastMs = clock.ms[0]!;
  for (let i = 0; i < 1000; i++) {
    const beforeMs = performance.now();
    clock.read();
    const [nowMs, afterMs] = [clock.ms[0]!, performance.now()];
    expect(nowMs).toBeGreaterThanOrEqual(lastMs);
    expect(nowMs).toBeGreaterThan(beforeMs - SLACK_MS);
    expect(nowMs).toBeLessThan(afterMs + SLACK_MS);
    lastMs = nowMs;
  }
});

it("stays as it was read until it is read again", () => {
  const clock = createMonotonicClock();
  const nowMs = clock.ms[0]!;
  while (performance.now() < nowMs + 2);
  expect(clock.ms[0]).toBe(nowMs);
  clock.read();
  expect(clock.ms[0]).toBeGreaterThan(nowMs);
});
