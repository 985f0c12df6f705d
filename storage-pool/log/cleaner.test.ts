import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { MemoryPool } from "../testing/memory-pool.js";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

test("blocks of a large volume are moved beside volumes that are far smaller", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const large = memory.createVolume(1, 4 * GIB);
  memory.createVolume(2, MIB);
  const buffer = new DataBuffer(MIB);
  const place = (n: number) => 3 * GIB + n * MIB;
  for (let round = 1; round <= 2; round++) {
    // The second time every other one: half of what is in each segment is dead then.
    for (let n = 0; n < 48; n += round) {
      buffer.bytes.fill(round * 100 + n);
      expect(large.stageWrite(buffer, 0, place(n), MIB)).toBe(0);
      expect(large.commit()).toBe(0);
    }
  }
  memory.settle();
  expect(memory.pool.relocation.movedBlocks).toBeGreaterThan(0);
  for (let n = 0; n < 48; n++) {
    expect(large.read(buffer, 0, place(n), MIB)).toBe(0);
    const expected = Buffer.alloc(MIB, n % 2 === 0 ? 200 + n : 100 + n);
    expect(buffer.bytes.equals(expected), `MiB ${n}`).toBe(true);
  }
});
