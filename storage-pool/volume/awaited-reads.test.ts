// Reads that wait for the disks by themselves, from real files. They need io_uring.
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Epoll, IoUring } from "../../base/linux/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { SEGMENT_BLOCKS } from "../log/format.js";
import type { Pool } from "../pool/pool.js";
import { dropCache, SCATTERED_BLOCKS, scatteredVolume } from "../testing/scattered-volume.js";
import { AWAITED_BLOCKS_MAX, AWAITED_READS_MAX, AwaitedReads } from "./awaited-reads.js";
import { createBlockCipher } from "./block-cipher.js";
import type { Volume } from "./volume.js";

let dir: string;
let epoll: Epoll;
let awaited: AwaitedReads;
let pool: Pool;
let volume: Volume;
let expected: Buffer;
/** By slot: what came. */
let came: Map<number, Buffer | number>;
const waiter = {
  readDone(slot: number, buffer: DataBuffer, at: number, result: number): void {
    const { length } = lengths.get(slot) as { length: number };
    came.set(slot, result === OK ? Buffer.from(buffer.bytes.subarray(at, at + length)) : result);
  },
};
const lengths = new Map<number, { length: number }>();

beforeEach(() => {
  dir = mkdtempSync("/tmp/ar-");
  epoll = new Epoll(4);
  awaited = new AwaitedReads(epoll, true);
  came = new Map();
  lengths.clear();
});
afterEach(() => {
  vi.restoreAllMocks();
  awaited.close();
  pool.close();
  epoll.close();
  rmSync(dir, { recursive: true, force: true });
});

function make(copies: number): void {
  ({ pool, volume, expected } = scatteredVolume(dir, copies));
  pool.reader.awaited = awaited;
}

function begin(block: number, count: number): number {
  const slot = volume.awaitRead(block * BLOCK_SIZE, count * BLOCK_SIZE, waiter);
  if (slot >= 0) lengths.set(slot, { length: count * BLOCK_SIZE });
  return slot;
}

/** As the worker's loop does, until nothing is under way. */
function pump(): void {
  awaited.wait();
  while (awaited.count > 0) {
    const count = epoll.wait(1000);
    expect(count, "the bell is rung for what has come").toBeGreaterThan(0);
    for (let i = 0; i < count; i++) expect(awaited.onReady(epoll.fds[i] as number)).toBe(true);
    awaited.look();
  }
}

function content(block: number, count: number): Buffer {
  return expected.subarray(block * BLOCK_SIZE, (block + count) * BLOCK_SIZE);
}

/** A stored block at or behind `from`. */
function stored(from: number): number {
  let block = from;
  while (volume.head.map.location(block) === 0) block++;
  return block;
}

function firstCopy(block: number): { file: Disk["file"]; at: number } {
  const location = volume.head.map.location(block);
  const { disks, slots } = pool.table.of(location);
  const disk = disks[0] as Disk;
  const at = disk.position(slots[0] as number) + (location & (SEGMENT_BLOCKS - 1)) * BLOCK_SIZE;
  return { file: disk.file, at };
}

function spoil(block: number): void {
  const { file, at } = firstCopy(block);
  const fd = openSync(file.path, "r+");
  writeSync(fd, Buffer.from("spoilt"), 0, 6, at + 1000);
  closeSync(fd);
}

test("reads of any ranges come back with their bytes, holes among them, from the disk and from memory", () => {
  make(1);
  const { path } = firstCopy(stored(0)).file;
  const range = fc
    .tuple(fc.nat(SCATTERED_BLOCKS - 1), fc.integer({ min: 1, max: AWAITED_BLOCKS_MAX }))
    .map(([block, count]) => ({ block, count: Math.min(count, SCATTERED_BLOCKS - block) }));
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 40 }), fc.boolean(), (ranges, isCold) => {
      if (isCold) dropCache(path);
      came.clear();
      const slots = ranges.map(({ block, count }) => begin(block, count));
      pump();
      for (const [i, { block, count }] of ranges.entries()) {
        const slot = slots[i] as number;
        const isHole = content(block, count).every((byte) => byte === 0);
        // What is all holes needs no disk.
        expect(slot < 0).toBe(isHole);
        if (slot >= 0) expect((came.get(slot) as Buffer).equals(content(block, count))).toBe(true);
      }
      expect(came.size).toBe(slots.filter((slot) => slot >= 0).length);
    }),
    { numRuns: 40 },
  );
});

test("what a disk does not have in memory is EAGAIN to those that do not wait, and can be awaited", () => {
  make(1);
  const block = stored(200);
  const target = new DataBuffer(4 * BLOCK_SIZE);
  const prepare = () => volume.prepareRead(target, 0, block * BLOCK_SIZE, BLOCK_SIZE);
  expect(volume.finishRead(prepare(), false)).toBe(OK);
  if (!dropCache(firstCopy(block).file.path)) return;
  expect(volume.finishRead(prepare(), false)).toBe(EAGAIN);
  const slot = begin(block, 1);
  pump();
  expect((came.get(slot) as Buffer).equals(content(block, 1))).toBe(true);
  expect(volume.finishRead(prepare())).toBe(OK);
});

test("a bad block is EIO here, and repaired by those that wait", () => {
  make(2);
  const block = stored(200);
  spoil(block);
  const slot = begin(block, 1);
  pump();
  expect(came.get(slot)).toBe(EIO);
  const target = new DataBuffer(BLOCK_SIZE);
  expect(volume.read(target, 0, block * BLOCK_SIZE, BLOCK_SIZE)).toBe(OK);
  expect(target.bytes.equals(content(block, 1))).toBe(true);
  const again = begin(block, 1);
  pump();
  expect((came.get(again) as Buffer).equals(content(block, 1))).toBe(true);
});

test("what is written meanwhile leaves a read its old bytes", () => {
  make(1);
  const block = stored(300);
  const slot = begin(block, 1);
  const source = new DataBuffer(BLOCK_SIZE);
  source.bytes.fill(99);
  expect(volume.stageWrite(source, 0, block * BLOCK_SIZE, BLOCK_SIZE)).toBe(OK);
  expect(volume.commit()).toBe(OK);
  const after = begin(block, 1);
  pump();
  expect((came.get(slot) as Buffer).equals(content(block, 1))).toBe(true);
  expect((came.get(after) as Buffer).equals(source.bytes)).toBe(true);
});

test("a place that is used anew before it is read is not taken for it", () => {
  make(1);
  const block = stored(300);
  const slot = begin(block, 1);
  spoil(block);
  pump();
  expect(came.get(slot)).toBe(EIO);
});

test("encrypted blocks come decrypted, and holes stay holes", () => {
  make(1);
  const cipher = createBlockCipher(Uint8Array.from({ length: 64 }, (_, i) => i));
  const plain = new DataBuffer(2 * BLOCK_SIZE);
  plain.bytes.fill(5);
  const secret = new DataBuffer(2 * BLOCK_SIZE);
  cipher.encrypt(plain, 0, secret, 0, 98, 2);
  expect(volume.stageWrite(secret, 0, 98 * BLOCK_SIZE, 2 * BLOCK_SIZE)).toBe(OK);
  expect(volume.commit()).toBe(OK);
  const slot = pool.reader.beginRead(volume.head.map, 98, 4, cipher, waiter);
  lengths.set(slot, { length: 4 * BLOCK_SIZE });
  pump();
  const whole = Buffer.concat([plain.bytes, Buffer.alloc(2 * BLOCK_SIZE)]);
  expect((came.get(slot) as Buffer).equals(whole)).toBe(true);
  cipher.close();
});

test("slots run out, and are there again; none is handed out twice", () => {
  make(1);
  const block = stored(0);
  const slots = Array.from({ length: AWAITED_READS_MAX + 5 }, () => begin(block, 1));
  expect(new Set(slots).size).toBe(AWAITED_READS_MAX + 1);
  expect(slots.filter((slot) => slot < 0)).toHaveLength(5);
  awaited.drain();
  expect(came.size).toBe(AWAITED_READS_MAX);
  expect(begin(block, 1)).toBeGreaterThanOrEqual(0);
  expect(begin(0, AWAITED_BLOCKS_MAX + 1)).toBe(-1);
  awaited.drain();
});

test("reads that the kernel has no memory for are tried again", () => {
  make(1);
  const block = stored(0);
  const { submit } = IoUring.prototype;
  let failures = 3;
  vi.spyOn(IoUring.prototype, "submit").mockImplementation(function (this: IoUring, waitFor?: number) {
    if (failures-- > 0) throw new Error("ENOMEM");
    submit.call(this, waitFor);
  });
  const slot = begin(block, 1);
  pump();
  expect((came.get(slot) as Buffer).equals(content(block, 1))).toBe(true);
});

test("without io_uring nothing is awaited", () => {
  awaited.close();
  awaited = new AwaitedReads(epoll, false);
  make(1);
  expect(begin(stored(0), 1)).toBe(-1);
});

test("what is packed is not read by itself, nor prepared, but unpacked for who waits", () => {
  const blocks = 1024;
  ({ pool } = scatteredVolume(dir, 1, { coldMs: 0, leastBlocks: 600 }));
  pool.reader.awaited = awaited;
  volume = pool.createVolume({
    ...{ id: 2, name: "w", sizeBytes: blocks * BLOCK_SIZE, copies: 1, epoch: 1, mapFile: "" },
    ...{
      checkpointSequence: 0,
      durableSequence: 0,
      originVolume: 0,
      snapshots: [],
      diskClass: "",
      keyId: "",
    },
    ...{ rewindMs: 0, keyframes: [], clockMs: 0, deletedAtMs: 0, compression: "deflate" as const },
  });
  const source = new DataBuffer(blocks * BLOCK_SIZE);
  for (let i = 0; i < blocks; i++) source.bytes.fill(1 + (i % 255), i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
  expected = Buffer.from(source.bytes);
  expect(volume.stageWrite(source, 0, 0, expected.byteLength)).toBe(OK);
  expect(volume.flush()).toBe(OK);
  volume.writer.seal();
  const isPacked = (block: number) => pool.table.isPackedOrLost(volume.head.map.location(block));
  for (let n = 0; n < 3000 && !isPacked(0); n++) {
    const outcome = pool.housekeeper.housekeep(1e6 + n);
    if (typeof outcome === "object") pool.housekeeper.checkpointRecorded(true);
  }
  expect(isPacked(3)).toBe(true);
  for (const [first, count] of [
    [3, 1],
    [0, AWAITED_BLOCKS_MAX],
  ] as const) {
    expect(begin(first, count)).toBe(-1);
    expect(volume.prepareRead(source, 0, first * BLOCK_SIZE, count * BLOCK_SIZE)).toBe(-1);
    expect(volume.read(source, 0, first * BLOCK_SIZE, count * BLOCK_SIZE)).toBe(OK);
    expect(content(first, count).equals(source.bytes.subarray(0, count * BLOCK_SIZE))).toBe(true);
  }
});
