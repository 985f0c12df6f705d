import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";
import { auditCounts } from "./count-audit.js";
import { mapMemoryOf } from "./open-pool.js";

const MIB = 1024 * 1024;
const TIB = 1024 ** 4;
const BOUNDS = { ...mapMemoryOf(2 * MIB), pagesAtOpen: 0 };
/** Where writers wait: MEANWHILE_SHARE more than what makes a checkpoint due. */
const MOST = (BOUNDS.dirtyPages * 5) / 3;
const buffer = new DataBuffer(BLOCK_SIZE);

/** One block of page `index` of the map; 0 or EAGAIN. */
function touch(volume: Volume, index: number): number {
  buffer.bytes.fill((index % 255) + 1);
  const result = volume.stageWrite(buffer, 0, index * PAGE_ENTRIES * BLOCK_SIZE, BLOCK_SIZE);
  expect(volume.commit()).toBe(OK);
  return result;
}

function tagAt(volume: Volume, index: number): number {
  expect(volume.read(buffer, 0, index * PAGE_ENTRIES * BLOCK_SIZE, BLOCK_SIZE)).toBe(OK);
  return buffer.bytes[0] as number;
}

test("however fast writers are, changed pages have a bound, and so have those that a start has to read", () => {
  const memory = new MemoryPool(1, 192 * MIB, BOUNDS);
  const volume = memory.createVolume(1, TIB);
  const { pages } = memory.pool.table;
  let checkpoints = 0;
  let most = 0;
  const written = 4000;
  // A step of housekeeping comes after more writes than a step writes pages.
  for (let index = 0; index < written; index++) {
    expect(touch(volume, index)).toBe(OK);
    most = Math.max(most, pages.dirtyCount);
    if (index % 96 !== 0) continue;
    const outcome = memory.pool.housekeeper.housekeep(index);
    if (typeof outcome !== "object") continue;
    memory.record(outcome);
    checkpoints++;
  }
  expect(most).toBeLessThanOrEqual(MOST);
  expect(checkpoints).toBeGreaterThan(written / MOST);
  const reopened = memory.reopen();
  expect(reopened.damaged.size).toBe(0);
  expect(reopened.table.pages.dirtyCount).toBeLessThanOrEqual(MOST);
  for (let index = 0; index < written; index += 41)
    expect(tagAt(reopened.volume(1), index)).toBe((index % 255) + 1);
  expect(auditCounts(reopened.volumes.values(), reopened.table)).toEqual([]);
});

test("while disks or the catalogue keep a checkpoint waiting, writers wait at the bound and go on behind it", () => {
  const memory = new MemoryPool(1, 96 * MIB, BOUNDS);
  const volume = memory.createVolume(1, TIB);
  const { housekeeper, table } = memory.pool;
  let index = 0;
  for (; index < BOUNDS.dirtyPages; index++) expect(touch(volume, index)).toBe(OK);
  let outcome = housekeeper.housekeep(1);
  while (typeof outcome !== "object") outcome = housekeeper.housekeep(1);
  expect(housekeeper.holdsWriters).toBe(false);
  while (touch(volume, index) === OK) index++;
  expect(touch(volume, index)).toBe(EAGAIN);
  expect(table.pages.dirtyCount).toBeLessThanOrEqual(MOST);
  expect(housekeeper.holdsWriters).toBe(true);
  // Trims and flushes need not wait, and what was written can be read.
  expect(volume.stageUnmap(0, BLOCK_SIZE)).toBe(OK);
  expect(volume.flush()).toBe(OK);
  expect(tagAt(volume, 5)).toBe(6);
  memory.record(outcome);
  expect(housekeeper.holdsWriters).toBe(false);
  expect(touch(volume, index)).toBe(OK);
});

test("nobody waits for a checkpoint that cannot go on: one that failed, or is held for a change of the catalogue", () => {
  const memory = new MemoryPool(1, 96 * MIB, BOUNDS);
  const volume = memory.createVolume(1, TIB);
  const { housekeeper } = memory.pool;
  const { files } = memory;
  let index = 0;
  for (; index < BOUNDS.dirtyPages; index++) expect(touch(volume, index)).toBe(OK);
  const create = files.create;
  files.create = () => {
    throw new Error("ENOSPC");
  };
  for (; index < MOST + 10; index++) {
    housekeeper.housekeep(1);
    expect(touch(volume, index)).toBe(OK);
  }
  files.create = create;
  while (typeof housekeeper.housekeep(5000) !== "object");
  while (touch(volume, index) === OK) index++;
  housekeeper.hold();
  expect(touch(volume, index)).toBe(OK);
  housekeeper.release();
  expect(touch(volume, index)).toBe(EAGAIN);
  housekeeper.checkpointRecorded(false);
  expect(touch(volume, index)).toBe(OK);
});

test("of several volumes the one with most changed pages is written down", () => {
  const memory = new MemoryPool(1, 96 * MIB, BOUNDS);
  const volumes = [1, 2, 3].map((id) => memory.createVolume(id, TIB));
  for (let index = 0; index < BOUNDS.dirtyPages; index++) {
    const volume = volumes[index % 4 === 0 ? 0 : index % 8 === 1 ? 2 : 1] as Volume;
    expect(touch(volume, index)).toBe(OK);
  }
  let outcome = memory.pool.housekeeper.housekeep(1);
  while (typeof outcome !== "object") outcome = memory.pool.housekeeper.housekeep(1);
  expect(outcome.volume).toBe(2);
});

test("however many volumes change a few pages each, all together have the bound", () => {
  const memory = new MemoryPool(1, 256 * MIB, BOUNDS);
  const volumes = Array.from({ length: 40 }, (_, i) => memory.createVolume(i + 1, TIB));
  const { pages } = memory.pool.table;
  let most = 0;
  for (let index = 0; index < 1600; index++) {
    expect(touch(volumes[index % volumes.length] as Volume, index)).toBe(OK);
    most = Math.max(most, pages.dirtyCount);
    const outcome = memory.pool.housekeeper.housekeep(1);
    if (typeof outcome === "object") memory.record(outcome);
  }
  expect(most).toBeLessThanOrEqual(MOST + BOUNDS.dirtyPages / 4);
});
