import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { BlockDevice } from "./block-device.js";
import { SnapshotDevice } from "./snapshot-device.js";
import type { Volume } from "./volume.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(4 * MIB);

function write(volume: Volume, block: number, tag: number, count = 1): void {
  buffer.bytes.fill(tag, 0, count * BLOCK);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, count * BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
}

/** Runs of a walk in blocks. */
function runs(walk: (visit: (length: number, state: boolean) => boolean) => void): [number, boolean][] {
  const found: [number, boolean][] = [];
  walk((length, state) => {
    found.push([length / BLOCK, state]);
    return true;
  });
  return found;
}

function changes(device: BlockDevice, base: string): [number, boolean][] {
  return runs((visit) => {
    expect(device.changes(base, 0, device.sizeBytes, visit)).toBe(true);
  });
}

test("changes() names what differs from a snapshot, and what two snapshots have not in common", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 4096 * BLOCK);
  write(volume, 0, 1, 600);
  memory.createSnapshot(1, "a");
  expect(changes(volume, "a")).toEqual([[4096, false]]);
  write(volume, 10, 2, 3);
  write(volume, 2000, 2, 5);
  memory.createSnapshot(1, "b");
  expect(volume.stageUnmap(512 * BLOCK, 512 * BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
  const expected: [number, boolean][] = [
    [10, false],
    [3, true],
    [1987, false],
    [5, true],
    [2091, false],
  ];
  const b = new SnapshotDevice(volume, volume.snapshots.get("b")!);
  expect(changes(b, "a")).toEqual(expected);
  expect(changes(volume, "b")).toEqual([
    [512, false],
    [88, true],
    [4096 - 600, false],
  ]);
  memory.settle();
  expect(changes(b, "a")).toEqual(expected);
  expect(volume.snapshotNames()).toEqual(["a", "b"]);
  expect(volume.changes("c", 0, BLOCK, () => true)).toBe(false);
});

test("blocks of zeros are not stored, and what they replace is given back", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 1024 * BLOCK);
  buffer.bytes.fill(0);
  expect(volume.stageWrite(buffer, 0, 0, MIB)).toBe(0);
  expect(volume.commit()).toBe(0);
  expect(volume.head.map.mappedBlocks).toBe(0);
  expect(volume.writer.sequence).toBe(0);
  write(volume, 0, 7, 256);
  buffer.bytes.fill(0);
  for (const block of [3, 4, 100]) buffer.bytes[block * BLOCK + BLOCK - 1] = 9;
  expect(volume.stageWrite(buffer, 0, 0, MIB)).toBe(0);
  expect(volume.commit()).toBe(0);
  expect(runs((visit) => volume.extents(0, MIB, visit))).toEqual([
    [3, false],
    [2, true],
    [95, false],
    [1, true],
    [155, false],
  ]);
  expect(volume.read(buffer, 0, 0, MIB)).toBe(0);
  expect(buffer.bytes.subarray(0, MIB).findIndex((byte) => byte !== 0)).toBe(4 * BLOCK - 1);
});

test("zeros that come in pieces of any size take no room, and give it back", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 8 * MIB);
  const put = (tag: number, offset: number, length: number): void => {
    buffer.bytes.fill(tag, 0, length);
    expect(volume.stageWrite(buffer, 0, offset, length)).toBe(OK);
    expect(volume.commit()).toBe(OK);
  };
  for (let at = 0; at < MIB; at += 60_000) put(0, at, 60_000);
  expect(volume.head.map.mappedBlocks).toBe(0);
  put(7, 2 * BLOCK + 100, 3 * BLOCK);
  expect(volume.head.map.mappedBlocks).toBe(4);
  put(0, BLOCK + 5, 3 * BLOCK);
  expect(volume.head.map.mappedBlocks).toBe(2);
  expect(volume.read(buffer, 0, 0, 8 * BLOCK)).toBe(OK);
  const held = buffer.bytes.subarray(0, 8 * BLOCK);
  expect([held.indexOf(7), held.lastIndexOf(7)]).toEqual([4 * BLOCK + 5, 5 * BLOCK + 99]);
  put(0, 4 * BLOCK + 1, 2 * BLOCK);
  expect(volume.head.map.mappedBlocks).toBe(0);
});

test("a long range of zeros that is to keep its room is refused before its first block, not half way", () => {
  const memory = new MemoryPool(1, 48 * MIB);
  const volume = memory.createVolume(1, 256 * MIB);
  expect(volume.reserve(0, 16 * MIB)).toBe(0);
  volume.unreserve(0, 16 * MIB);
  expect(memory.pool.room.promised).toBe(0);
  let refused = volume.reserve(0, 256 * MIB);
  for (; refused === 11; refused = volume.reserve(0, 256 * MIB)) memory.settle();
  expect(refused).toBe(28);
  expect(volume.head.map.mappedBlocks).toBe(0);
});

test("a read that does not wait says EAGAIN when any of it has to be waited for, and takes no copy for bad", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * BLOCK, 2);
  write(volume, 0, 1, 3);
  write(volume, 8, 2);
  const read = (wait: boolean): number => volume.read(buffer, 0, 0, 16 * BLOCK, wait);
  for (const disk of memory.disks) disk.tryError = EAGAIN;
  expect([read(false), read(true)]).toEqual([EAGAIN, OK]);
  expect([buffer.bytes[0], buffer.bytes[5 * BLOCK], buffer.bytes[8 * BLOCK]]).toEqual([1, 0, 2]);
  // Unaligned ends, too.
  expect(volume.read(buffer, 0, 100, 2 * BLOCK, false)).toBe(EAGAIN);
  // A hole is known without a disk.
  expect(volume.read(buffer, 0, 16 * BLOCK, BLOCK, false)).toBe(OK);
  // Any other failure is met with the other copy.
  for (const disk of memory.disks) disk.tryError = 0;
  (memory.disks[0] as (typeof memory.disks)[0]).tryError = EIO;
  expect(read(false)).toBe(OK);
  expect([buffer.bytes[0], buffer.bytes[8 * BLOCK]]).toEqual([1, 2]);
  expect(volume.writer.broken).toBe(false);
});
