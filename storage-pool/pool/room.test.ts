import { expect, test, vi } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, ENOSPC, OK } from "../errors.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const MIB = 1024 * 1024;
const BLOCK = 4096;
const buffer = new DataBuffer(8 * MIB);
buffer.bytes.fill(7);

const write = (volume: Volume, offset: number, length: number): number =>
  volume.stageWrite(buffer, 0, offset, length) || volume.commit();

test("a writer for whom there is no room is told so, however long what it waits for takes, with a rewind window too", () => {
  let nowMs = 1e12;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => nowMs);
  try {
    const memory = new MemoryPool(1, 96 * MIB);
    const volume = memory.createVolume(1, 128 * MIB);
    memory.pool.setRewind(1, 3_600_000);
    let offset = 0;
    for (; memory.pool.room.left(1) * BLOCK >= 8 * MIB; offset += MIB) {
      expect(write(volume, offset, MIB)).toBe(OK);
      nowMs += 1000;
    }
    memory.settle();
    let outcome = EAGAIN;
    for (let tries = 0; tries < 1000 && outcome === EAGAIN; tries++) {
      // A client asks again with every breath of housekeeping, and time passes.
      nowMs += 1000;
      outcome = write(volume, offset, 8 * MIB);
      const step = memory.pool.housekeeper.housekeep(nowMs);
      if (typeof step === "object") memory.record(step);
    }
    expect(outcome).toBe(ENOSPC);
    expect(write(volume, offset, MIB)).toBe(OK);
  } finally {
    clock.mockRestore();
  }
});
