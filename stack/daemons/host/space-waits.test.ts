import { expect, it } from "vitest";
import { SpaceWaits } from "./space-waits.js";
import type { PoolFacts } from "./storage-client.js";

const MIB = 1024 * 1024;
const pool = (growthBytes: number, spareBytes = 0): PoolFacts => ({
  name: "p",
  sizeBytes: 100 * MIB,
  allocatedBytes: 0,
  freeBytes: 0,
  disks: [],
  growthBytes,
  spareBytes,
});

it("a full pool is not tried, however long it takes; room that comes is taken at once", () => {
  const waits = new SpaceWaits();
  for (let nowMs = 0; nowMs < 3_600_000; nowMs += 5000)
    expect(waits.mayGoOn("m", [pool(0)], nowMs)).toBe(false);
  expect(waits.mayGoOn("m", [pool(2 * MIB)], 3_600_000)).toBe(true);
});

it("deleted volumes and history are room, too", () => {
  const waits = new SpaceWaits();
  expect(waits.mayGoOn("m", [pool(0)], 0)).toBe(false);
  expect(waits.mayGoOn("m", [pool(0, 8 * MIB)], 1)).toBe(true);
});

it("room that does not help is tried less and less often", () => {
  const waits = new SpaceWaits();
  const tries: number[] = [];
  for (let second = 0; second < 1200; second++) {
    if (waits.mayGoOn("m", [pool(MIB / 2)], second * 1000)) tries.push(second);
  }
  expect(tries).toEqual([5, 15, 35, 75, 155, 315, 615, 915]);
  waits.forget("m");
  expect(waits.mayGoOn("m", [pool(MIB / 2)], 2_000_000)).toBe(false);
});

it("the fullest of several pools counts", () => {
  const waits = new SpaceWaits();
  waits.mayGoOn("m", [pool(0), pool(50 * MIB)], 0);
  expect(waits.mayGoOn("m", [pool(0), pool(60 * MIB)], 10_000)).toBe(false);
});
