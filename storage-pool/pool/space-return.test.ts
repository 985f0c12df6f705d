import { expect, test, vi } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { CHECKPOINT_IDLE_MS, UNPUNCHED_MS } from "../limits.js";
import { SEGMENT_SIZE } from "../log/format.js";
import { type FaultyDiskFile, MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const source = new DataBuffer(MIB);
source.bytes.fill(7);

function overwrite(volume: Volume): void {
  for (let at = 0; at < SIZE; at += MIB) {
    expect(volume.stageWrite(source, 0, at, MIB)).toBe(0);
    expect(volume.commit()).toBe(0);
  }
}

/** A volume of which everything was overwritten, with the space of its first segments free and not given back. */
function overwritten(): { memory: MemoryPool; punched: () => number; sleep: (ms: number) => void } {
  const memory = new MemoryPool(1, 128 * MIB);
  const volume = memory.createVolume(1, SIZE);
  const punch = vi.spyOn(memory.disks[0] as FaultyDiskFile, "punch");
  let nowMs = 1;
  const rest = () => {
    for (let idle = 0; idle < 3; ) {
      const outcome = memory.pool.housekeeper.housekeep(nowMs);
      if (typeof outcome === "object") memory.record(outcome);
      idle = outcome === "idle" ? idle + 1 : 0;
    }
  };
  const sleep = (ms: number) => {
    nowMs += ms;
    rest();
  };
  overwrite(volume);
  overwrite(volume);
  rest();
  sleep(CHECKPOINT_IDLE_MS);
  expect(memory.pool.table.disks[0]?.unpunchedCount).toBeGreaterThanOrEqual(SIZE / SEGMENT_SIZE - 1);
  return { memory, sleep, punched: () => punch.mock.calls.length };
}

test("what overwriting freed is written to again, and goes back after a while without writes", () => {
  const { memory, punched, sleep } = overwritten();
  const [disk] = memory.pool.table.disks;
  const kept = disk?.unpunchedCount ?? 0;
  sleep(UNPUNCHED_MS / 2);
  expect(punched()).toBe(0);
  overwrite(memory.pool.volume(1));
  expect(disk?.unpunchedCount).toBeLessThan(kept);
  sleep(1);
  sleep(UNPUNCHED_MS / 2);
  expect(punched()).toBe(0);
  sleep(UNPUNCHED_MS);
  expect(punched()).toBeGreaterThanOrEqual(kept);
  expect(disk?.unpunchedCount).toBe(0);
});

test("after a trim all that is free goes back soon", () => {
  const { memory, punched, sleep } = overwritten();
  const volume = memory.pool.volume(1);
  expect(volume.stageUnmap(0, SIZE) || volume.commit()).toBe(0);
  sleep(1);
  expect(punched()).toBe(0);
  sleep(CHECKPOINT_IDLE_MS);
  expect(punched()).toBeGreaterThanOrEqual(2 * (SIZE / SEGMENT_SIZE - 1));
  expect(memory.pool.table.disks[0]?.unpunchedCount).toBe(0);
});

test("after the deletion of a volume all that is free goes back soon", () => {
  const { memory, punched, sleep } = overwritten();
  memory.specs.delete(1);
  memory.pool.deleteVolume(1);
  sleep(1);
  sleep(CHECKPOINT_IDLE_MS);
  expect(punched()).toBeGreaterThan(0);
  expect(memory.pool.table.disks[0]?.unpunchedCount).toBe(0);
});

test("a file system that is nearly full gets back what is free", () => {
  const { memory, punched, sleep } = overwritten();
  const file = memory.disks[0] as FaultyDiskFile;
  vi.spyOn(file, "availableBytes").mockReturnValue(file.sizeBytes / 16);
  sleep(1000);
  expect(punched()).toBeGreaterThan(0);
  expect(memory.pool.table.disks[0]?.unpunchedCount).toBe(0);
});
