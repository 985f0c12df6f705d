import fc from "fast-check";
import { expect, it } from "vitest";
import { nextAfter, snapshotName } from "./schedule-control.js";

const at = (text: string) => Date.parse(text);

it("schedules are due by UTC, whatever the clock on the wall says", () => {
  expect(nextAfter("0 * * * *", at("2026-03-29T00:59:59Z"))).toBe(at("2026-03-29T01:00:00Z"));
  expect(nextAfter("30 2 * * *", at("2026-03-29T02:30:00Z"))).toBe(at("2026-03-30T02:30:00Z"));
  expect(nextAfter("0 0 29 2 *", at("2026-03-01T00:00:00Z"))).toBe(at("2028-02-29T00:00:00Z"));
});

it("refuses what is no schedule, and never throws", () => {
  for (const bad of ["", "hourly", "* * * *", "* * * * * *", "61 * * * *", "@daily", "0 0 30 2 *"]) {
    expect(nextAfter(bad, 0)).toBeUndefined();
  }
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), (text) => {
      const next = nextAfter(text, 1_800_000_000_000);
      expect(next === undefined || next > 1_800_000_000_000).toBe(true);
    }),
  );
});

it("a snapshot's name is one that can be typed back", () => {
  expect(snapshotName("hourly", at("2026-03-01T12:00:05.999Z"))).toBe("hourly-2026-03-01t12-00-05z");
});
