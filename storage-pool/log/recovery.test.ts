import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";
import { CELL_SIZE, CELLS_AT, INDEX_SIZE, RECORD_SIZE, slotCountOf, slotsAt } from "./format.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(8 * MIB);
const SLOT_0 = slotsAt(slotCountOf(64 * MIB));

function write(volume: Volume, block: number, tag: number, count = 1): void {
  buffer.bytes.fill(tag, 0, count * BLOCK);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, count * BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
}

function tagAt(volume: Volume, block: number): number {
  expect(volume.read(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  return buffer.bytes[0] as number;
}

/** Flips a byte on a disk in memory. */
function damage(memory: MemoryPool, offset: number, disk = 0): void {
  const byte = new Uint8Array(1);
  const { content } = memory.disks[disk]!;
  content.read(byte, 0, 1, offset);
  byte[0] = byte[0]! ^ 1;
  content.write(byte, 0, 1, offset);
}

const RECORD = RECORD_SIZE + 8;

test("replay brings back what was written after the last checkpoint", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 50; i++) write(volume, i, i + 1);
  volume.stageUnmap(10 * BLOCK, 5 * BLOCK);
  volume.commit();
  const after = memory.reopen().volume(1);
  expect(tagAt(after, 9)).toBe(10);
  expect(tagAt(after, 12)).toBe(0);
  expect(tagAt(after, 49)).toBe(50);
  expect(after.head.map.mappedBlocks).toBe(45);
});

test("a bad record above the durable position ends the log", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  damage(memory, SLOT_0 + 5 * RECORD + 20);
  const after = memory.reopen().volume(1);
  expect([4, 5, 9].map((block) => tagAt(after, block))).toEqual([5, 0, 0]);
  // What is written now replaces what was cut off, also for the next recovery.
  write(after, 20, 99);
  const again = memory.reopen().volume(1);
  expect([4, 5, 9, 20].map((block) => tagAt(again, block))).toEqual([5, 0, 0, 99]);
});

test("what was cut off stays cut off when a checkpoint has freed the segment that cut it", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 5; i++) write(volume, i, i + 1);
  expect(volume.flush()).toBe(0);
  // The sixth will be bad; the seventh, good, would undo the first.
  write(volume, 5, 6);
  expect(volume.stageUnmap(0, BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
  damage(memory, SLOT_0 + INDEX_SIZE + 5 * BLOCK + 9);
  memory.reopen();
  const after = memory.reopen();
  expect(tagAt(after.volume(1), 0)).toBe(1);
  const record = after.housekeeper.checkpointNow(after.volume(1));
  if (record === undefined) throw new Error("nothing to write down");
  // Only the mark of the opening stands where the sixth did.
  expect(record.sequence).toBe(6);
  memory.record(record);
  const again = memory.reopen().volume(1);
  expect([0, 4, 5].map((block) => tagAt(again, block))).toEqual([1, 5, 0]);
});

test("bad payload above the durable position ends the log, too", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  damage(memory, SLOT_0 + INDEX_SIZE + 7 * BLOCK + 9);
  const after = memory.reopen().volume(1);
  expect([6, 7, 8].map((block) => tagAt(after, block))).toEqual([7, 0, 0]);
});

test("a bad record below the durable position is damage: the volume is named and left alone, others are served", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  const other = memory.createVolume(2, 16 * MIB);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  expect(volume.flush()).toBe(0);
  write(volume, 11, 1);
  write(other, 0, 77);
  damage(memory, SLOT_0 + 5 * RECORD + 20);
  const pool = memory.reopen();
  expect(pool.damaged.get(1)).toContain("record 6");
  expect(() => pool.volume(1)).toThrowError(expect.objectContaining({ code: "VOLUME_DAMAGED" }));
  expect(tagAt(pool.volume(2), 0)).toBe(77);
  memory.settle();
  expect(memory.reopen().damaged.size).toBe(1);
});

/** Nothing says any more that there ever was a segment. */
function forgetSegments(memory: MemoryPool, disk = 0): void {
  memory.disks[disk]!.content.zero(CELLS_AT, slotCountOf(64 * MIB) * CELL_SIZE);
}

test("a volume of whose log nothing at all is left is missed by name, others are served", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  memory.createVolume(2, 16 * MIB);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  expect(volume.flush()).toBe(0);
  memory.settle();
  forgetSegments(memory);
  const pool = memory.reopen();
  // Ten writes, and the mark that says how far they were flushed.
  expect(pool.damaged.get(1)).toBe("its log ends after record 0, though everything up to 11 was durable");
  expect(tagAt(pool.volume(2), 0)).toBe(0);
});

test("a log of which all is gone since the checkpoint is missed", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  memory.close();
  memory.reopen();
  // The opening counts what the maps name, which frees what it can; then the log begins.
  memory.settle();
  const after = memory.pool.volume(1);
  const { checkpointSequence } = memory.specs.get(1)!;
  write(after, 20, 77);
  expect(after.flush()).toBe(0);
  memory.pool.housekeeper.housekeep(1e9);
  expect(memory.specs.get(1)).toMatchObject({ checkpointSequence, durableSequence: after.writer.sequence });
  const { slots } = memory.pool.table.logOf(1).at(-1)!;
  memory.disks[0]!.content.zero(CELLS_AT + slots[0]! * CELL_SIZE, CELL_SIZE);
  expect(memory.reopen().damaged.get(1)).toBe(
    `its log ends after record ${checkpointSequence}, though everything up to ${after.writer.sequence} was durable`,
  );
});

test("marks that are gone after an orderly end are missed by nobody", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  write(volume, 0, 1);
  memory.close();
  const after = memory.reopen().volume(1);
  expect(after.mark(1e12)).toBe(0);
  expect(after.commit()).toBe(0);
  expect(after.flush()).toBe(0);
  memory.settle();
  expect(memory.specs.get(1)!.durableSequence).toBeGreaterThan(1);
  memory.close();
  expect(memory.specs.get(1)!.durableSequence).toBe(0);
  forgetSegments(memory);
  expect(memory.reopen().damaged.size).toBe(0);
});

test("with two copies a bad record and bad payload on one disk cost nothing", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 16 * MIB, 2);
  for (let i = 0; i < 10; i++) write(volume, i, i + 1);
  expect(volume.flush()).toBe(0);
  write(volume, 11, 12);
  damage(memory, SLOT_0 + 5 * RECORD + 20, 0);
  damage(memory, SLOT_0 + INDEX_SIZE + 7 * BLOCK + 9, 1);
  const pool = memory.reopen();
  const after = pool.volume(1);
  expect([0, 5, 7, 9, 11].map((block) => tagAt(after, block))).toEqual([1, 6, 8, 10, 12]);
  expect(pool.reader.lostBlocks).toBe(0);
});

test("payload that went bad later is an error to its reader, never wrong bytes", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  write(volume, 0, 1, 4);
  damage(memory, SLOT_0 + INDEX_SIZE + 2 * BLOCK);
  expect(volume.read(buffer, 0, 2 * BLOCK, BLOCK)).toBe(5);
  expect(volume.read(buffer, 0, 0, 4 * BLOCK)).toBe(5);
  expect(tagAt(volume, 1)).toBe(1);
});

test("one flush is one sync, and none when nothing was written", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  const before = memory.disks[0]!.syncCount;
  for (let i = 0; i < 100; i++) write(volume, i, 1);
  expect(volume.flush()).toBe(0);
  expect(volume.flush()).toBe(0);
  expect(memory.disks[0]!.syncCount).toBe(before + 1);
});

test("overwriting for ever stays within the disk: checkpoints and the cleaner give space back", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let round = 0; round < 200; round++) {
    buffer.bytes.fill(round + 1, 0, 64 * BLOCK);
    const offset = ((round * 37) % 60) * 64 * BLOCK;
    let result = volume.stageWrite(buffer, 0, offset, 64 * BLOCK);
    for (let tries = 0; result === 11 && tries < 10; tries++) {
      memory.settle();
      result = volume.stageWrite(buffer, 0, offset, 64 * BLOCK);
    }
    expect(result).toBe(0);
    expect(volume.commit()).toBe(0);
  }
  memory.settle();
  expect(memory.pool.usage().allocatedBytes).toBeLessThan(40 * MIB);
  const after = memory.reopen().volume(1);
  expect(after.head.map.mappedBlocks).toBe(volume.head.map.mappedBlocks);
});

test("a pool that is really full says ENOSPC, and TRIM makes room again", () => {
  const memory = new MemoryPool(1, 48 * MIB);
  const volume = memory.createVolume(1, 256 * MIB);
  buffer.bytes.fill(1);
  let result = 0;
  let block = 0;
  for (; result === 0 || result === 11; block += result === 0 ? 256 : 0) {
    if (result === 11) memory.settle();
    result = volume.stageWrite(buffer, 0, block * BLOCK, 256 * BLOCK);
    expect(volume.commit()).toBe(0);
  }
  expect(result).toBe(28);
  expect(tagAt(volume, 0)).toBe(tagAt(volume, block - 1024));
  expect(volume.stageUnmap(0, 16 * MIB)).toBe(0);
  expect(volume.commit()).toBe(0);
  memory.settle();
  buffer.bytes.fill(1);
  expect(volume.stageWrite(buffer, 0, 0, 4 * MIB)).toBe(0);
  expect(volume.commit()).toBe(0);
});
