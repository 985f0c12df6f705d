import { expect, it } from "vitest";
import { waitFor } from "./index.js";
import { WarpableClock } from "./warpable-clock.js";

it("warp() fires timers in the order in which they fall due, those that are set on the way too", () => {
  const clock = new WarpableClock();
  clock.stop();
  const fired: [string, number][] = [];
  const startMs = clock.nowMs();
  const note = (name: string) => fired.push([name, clock.nowMs() - startMs]);
  clock.after(200, () => note("b"));
  clock.after(100, () => {
    note("a");
    clock.after(50, () => note("a+50"));
  });
  clock.after(100, () => note("second a"));
  clock.after(1000, () => note("late"));
  clock.after(150, () => note("cancelled")).cancel();
  clock.warp(500);
  expect(fired).toEqual([
    ["a", 100],
    ["second a", 100],
    ["a+50", 150],
    ["b", 200],
  ]);
  expect(clock.nowMs() - startMs).toBe(500);
  clock.warp(500);
  expect(fired.at(-1)).toEqual(["late", 1000]);
});

it("stop() holds the time and its timers; without it they run with the machine's clock, from where warp() put them", async () => {
  const clock = new WarpableClock();
  let [near, far] = [false, false];
  clock.after(10, () => {
    near = true;
  });
  clock.after(3_600_000, () => {
    far = true;
  });
  await waitFor(() => near, "a timer", 5_000);
  clock.warp(3_590_000);
  expect(far).toBe(false);
  clock.warp(9_900);
  await waitFor(() => far, "a timer that was warped to", 5_000);
  clock.stop();
  const nowMs = clock.nowMs();
  let fired = false;
  clock.after(0, () => {
    fired = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(clock.nowMs()).toBe(nowMs);
  expect(fired).toBe(false);
  clock.warp(0);
  expect(fired).toBe(true);
});
