import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const MIB = 1024 * 1024;
const BLOCKS = 1024;
const buffer = new DataBuffer(BLOCKS * BLOCK_SIZE);

/** Every block of 4 MiB, 7 blocks apart from the one before. */
function tear(volume: Volume, tag: number): void {
  for (let i = 0; i < BLOCKS; i++) {
    const block = (i * 7) % BLOCKS;
    buffer.bytes.fill(((tag + block) % 255) + 1, 0, BLOCK_SIZE);
    expect(volume.stageWrite(buffer, 0, block * BLOCK_SIZE, BLOCK_SIZE)).toBe(0);
    expect(volume.commit()).toBe(0);
  }
}

function readAll(volume: Volume, tag: number, root = volume.head): void {
  for (let at = 0; at < BLOCKS * BLOCK_SIZE; at += MIB) {
    expect(volume.read(buffer, at, at, MIB, true, root)).toBe(0);
  }
  for (let block = 0; block < BLOCKS; block++) {
    const bytes = buffer.bytes.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE);
    const expected = Buffer.alloc(BLOCK_SIZE, ((tag + block) % 255) + 1);
    expect(bytes.equals(expected), `block ${block}`).toBe(true);
  }
}

function runs({ map }: Volume["head"]): number {
  let count = 0;
  for (let block = 0; block < BLOCKS; block++) {
    if (block === 0 || map.location(block) !== map.location(block - 1) + 1) count++;
  }
  return count;
}

test("what was read in order lies in order afterwards, and a crash keeps it", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const volume = memory.createVolume(1, 8 * MIB);
  tear(volume, 1);
  memory.settle();
  expect(runs(volume.head)).toBeGreaterThan(900);
  readAll(volume, 1);
  memory.settle();
  expect(runs(volume.head)).toBeLessThan(8);
  expect(memory.pool.relocation.movedBlocks).toBe(BLOCKS);
  readAll(volume, 1);
  memory.reopen();
  expect(runs(memory.pool.volume(1).head)).toBeLessThan(8);
  readAll(memory.pool.volume(1), 1);
});

test("nothing moves that is in order, or was read a block at a time", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const ordered = memory.createVolume(1, 8 * MIB);
  for (let block = 0; block < BLOCKS; block += 256) {
    buffer.bytes.fill(7, 0, MIB);
    expect(ordered.stageWrite(buffer, 0, block * BLOCK_SIZE, MIB)).toBe(0);
    expect(ordered.commit()).toBe(0);
    expect(ordered.read(buffer, 0, block * BLOCK_SIZE, MIB)).toBe(0);
  }
  const torn = memory.createVolume(2, 8 * MIB);
  tear(torn, 2);
  for (let block = 0; block < BLOCKS; block++) {
    expect(torn.read(buffer, 0, block * BLOCK_SIZE, BLOCK_SIZE)).toBe(0);
  }
  memory.settle();
  expect(memory.pool.relocation.movedBlocks).toBe(0);
});

test("a snapshot goes on sharing what is put in order", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const volume = memory.createVolume(1, 8 * MIB);
  tear(volume, 3);
  memory.createSnapshot(1, "before");
  readAll(volume, 3);
  memory.settle();
  expect(runs(volume.head)).toBeLessThan(8);
  const root = volume.snapshots.get("before");
  if (root === undefined) throw new Error("the snapshot is gone");
  expect(runs(root)).toBe(runs(volume.head));
  expect(memory.pool.table.liveBlocks).toBe(BLOCKS);
  readAll(volume, 3, root);
});

test("what a write overtakes is not put back", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const volume = memory.createVolume(1, 8 * MIB);
  tear(volume, 4);
  readAll(volume, 4);
  memory.pool.housekeeper.housekeep(0);
  tear(volume, 5);
  memory.settle();
  readAll(volume, 5);
});

test("a full pool, and a volume that can be rewound, stay as they are", () => {
  const memory = new MemoryPool(1, 64 * MIB);
  const volume = memory.createVolume(1, 8 * MIB);
  tear(volume, 6);
  readAll(volume, 6);
  memory.settle();
  expect(memory.pool.relocation.movedBlocks).toBe(0);
  const roomy = new MemoryPool(1, 256 * MIB);
  const rewound = roomy.createVolume(1, 8 * MIB);
  roomy.pool.setRewind(1, 3_600_000);
  tear(rewound, 7);
  readAll(rewound, 7);
  for (let i = 0; i < 100; i++) {
    const outcome = roomy.pool.housekeeper.housekeep(1_000_000 + i);
    if (typeof outcome === "object") roomy.record(outcome);
  }
  expect(roomy.pool.relocation.movedBlocks).toBe(0);
});

test("a disk that fails meanwhile costs nothing but the order", () => {
  const memory = new MemoryPool(1, 256 * MIB);
  const volume = memory.createVolume(1, 8 * MIB);
  tear(volume, 8);
  memory.settle();
  readAll(volume, 8);
  const [disk] = memory.disks;
  if (disk === undefined) throw new Error("no disk");
  disk.tryError = 11;
  memory.settle();
  disk.tryError = 0;
  expect(memory.pool.relocation.movedBlocks).toBe(0);
  readAll(volume, 8);
  disk.writeError = 28;
  for (let i = 0; i < 100; i++) memory.pool.housekeeper.housekeep(1e9 + i);
  disk.writeError = 0;
  expect(memory.pool.relocation.movedBlocks).toBe(0);
  readAll(volume, 8);
  memory.settle();
  expect(runs(volume.head)).toBeLessThan(8);
});
