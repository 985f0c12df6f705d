import { expect, it } from "vitest";
import { Trend } from "./forecast.js";

const GIB = 2 ** 30;

it("says when a pool that fills evenly is full, to the minute, however long it was watched", () => {
  const trend = new Trend();
  // 1 GiB an hour, a sample each ten seconds, for two days.
  for (let s = 0; s <= 172_800; s += 10) trend.add(s * 1000, 100 * GIB + (s / 3600) * GIB);
  const found = trend.forecast(72 * GIB);
  expect(found?.bytesPerSecond).toBeCloseTo(GIB / 3600, 0);
  expect(Math.abs((found?.fullInSeconds ?? 0) - 72 * 3600)).toBeLessThan(60);
});

it("says nothing before it has seen a minute, and nothing of pools that do not fill", () => {
  const trend = new Trend();
  trend.add(0, GIB);
  trend.add(30_000, 2 * GIB);
  expect(trend.forecast(GIB)).toBeUndefined();
  const still = new Trend();
  for (let s = 0; s < 600; s += 10) still.add(s * 1000, GIB - s);
  expect(still.forecast(GIB)).toMatchObject({ overSeconds: 590 });
  expect(still.forecast(GIB)?.fullInSeconds).toBeUndefined();
});
