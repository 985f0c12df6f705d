// The storage target without its thread: when it does housekeeping.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Epoll } from "../../base/linux/index.js";
import type { Pool } from "../pool/pool.js";
import { AwaitedReads } from "../volume/awaited-reads.js";
import { formatPool } from "./pool-disk-files.js";
import { Target } from "./target.js";

let dir: string;
let epoll: Epoll;
let target: Target;
let pool: Pool;
beforeEach(() => {
  dir = mkdtempSync("/tmp/tg-");
  const path = join(dir, "disk");
  writeFileSync(path, "");
  truncateSync(path, 64 * 1024 * 1024);
  formatPool("p", "id", [path]);
  epoll = new Epoll(8);
  const ignore = () => {};
  target = new Target(epoll, {
    ...{ onCheckpoint: ignore, onDurable: ignore, onLost: ignore },
    ...{ onSuspect: ignore, onPurge: ignore, onHistory: ignore },
  });
  const name = { path, index: 0, diskId: "", usedEpoch: 0 };
  const disk = { ...name, suspect: false, diskClass: "", draining: false, slotCount: 0 };
  target.openPool({
    ...{ name: "p", poolId: "id", disks: [{ ...disk, missing: undefined }], mapDirectory: join(dir, "maps") },
    ...{
      mapMemoryBytes: undefined,
      packAfterMs: undefined,
      volumes: [],
      epoch: 1,
      clean: true,
      nextVolumeId: 1,
    },
  });
  pool = target.pool("p");
});
afterEach(() => {
  vi.restoreAllMocks();
  target.close();
  epoll.close();
  rmSync(dir, { recursive: true, force: true });
});

test("housekeeping that found nothing to do is left out for a moment, and nobody sleeps past the next", () => {
  const housekeep = vi.spyOn(pool.housekeeper, "housekeep").mockReturnValue("idle");
  const sleeps = Array.from({ length: 100 }, (_, i) => target.housekeep(1000 + i / 100));
  expect(housekeep).toHaveBeenCalledTimes(4);
  expect(sleeps.filter((ms) => ms === 250)).toHaveLength(4);
  expect(sleeps.filter((ms) => ms === 1)).toHaveLength(96);
});

test("busy housekeeping, cleaning and writers that wait for room have every breath", () => {
  const housekeep = vi.spyOn(pool.housekeeper, "housekeep").mockReturnValue("busy");
  for (let i = 0; i < 100; i++) expect(target.housekeep(1000 + i / 100)).toBe(0);
  expect(housekeep).toHaveBeenCalledTimes(100);
  housekeep.mockReturnValue("idle");
  const cleaning = vi.spyOn(pool.housekeeper, "cleaning", "get").mockReturnValue(true);
  for (let i = 0; i < 100; i++) expect(target.housekeep(1001 + i / 100)).toBe(250);
  expect(housekeep).toHaveBeenCalledTimes(200);
  cleaning.mockReturnValue(false);
  target.housekeep(1002);
  target.server.hasStalled = true;
  target.housekeep(1002.01);
  expect(housekeep).toHaveBeenCalledTimes(202);
  // Those that waited were tried again.
  expect(target.server.hasStalled).toBe(false);
});

test("guests have their turn in every breath, also while clients of NBD always have something", () => {
  vi.spyOn(target.server, "endBreath").mockReturnValue(true);
  const breath = vi.spyOn(target.blk, "breath").mockReturnValue(false);
  for (let i = 0; i < 3; i++) expect(target.endBreath()).toBe(true);
  expect(breath).toHaveBeenCalledTimes(3);
});

test("a volume, and with it its key, goes only when the reads that are under way have come back", () => {
  const order: string[] = [];
  vi.spyOn(AwaitedReads.prototype, "drain").mockImplementation(() => void order.push("drain"));
  vi.spyOn(pool, "deleteVolume").mockImplementation(() => void order.push("delete"));
  target.deleteVolume("p", 1, "v");
  expect(order).toEqual(["drain", "delete"]);
});
