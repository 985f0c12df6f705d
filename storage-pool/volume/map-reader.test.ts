import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeSync } from "node:fs";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { IoUring, probeIoUring, systemError } from "../../base/linux/index.js";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { DIRECT_ALIGN } from "../disk/direct-file.js";
import type { Disk } from "../disk/disk.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { SEGMENT_BLOCKS } from "../log/format.js";
import type { Pool } from "../pool/pool.js";
import { dropCache, SCATTERED_BLOCKS, scatteredVolume } from "../testing/scattered-volume.js";
import type { Volume } from "./volume.js";

const BLOCKS = SCATTERED_BLOCKS;

let dir: string;
let pool: Pool | undefined;
beforeEach(() => {
  dir = mkdtempSync("/tmp/mr-");
});
afterEach(() => {
  pool?.close();
  pool = undefined;
  rmSync(dir, { recursive: true, force: true });
  delete process.env["PLINTH_IO_URING"];
});

/** As scatteredVolume(). */
function scattered(copies: number): { volume: Volume; expected: Buffer } {
  const made = scatteredVolume(dir, copies);
  pool = made.pool;
  return made;
}

/** Another volume of the pool, of 512 blocks, written in order with bytes that differ from block to block. */
function inOrder(): { volume: Volume; expected: Buffer } {
  const { volume } = scattered(1);
  const source = new DataBuffer(BLOCKS * BLOCK_SIZE);
  for (let i = 0; i < BLOCKS; i++) source.bytes.fill(1 + (i % 251), i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
  expect(volume.stageWrite(source, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
  expect(volume.flush()).toBe(OK);
  return { volume, expected: Buffer.from(source.bytes) };
}

/** Puts something else into the first copy of a block, behind the pool's back. */
function spoil(volume: Volume, block: number): void {
  const { path, at } = firstCopy(volume, block);
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.from("spoilt"), 0, 6, at + 1000);
  closeSync(fd);
}

/** The file that the first copy of a stored block is in, and where. */
function firstCopy({ head }: Volume, block: number): { path: string; at: number } {
  const location = head.map.location(block);
  const { disks, slots } = (pool as Pool).table.of(location);
  const disk = disks[0] as Disk;
  const at = disk.position(slots[0] as number) + (location % SEGMENT_BLOCKS) * BLOCK_SIZE;
  return { path: disk.file.path, at };
}

/** From `from` on, the first block that is stored. */
function storedBlock({ head }: Volume, from: number): number {
  for (let block = from; block < BLOCKS; block++) if (head.map.location(block) !== 0) return block;
  throw new Error("nothing is stored there");
}

test.each(["1", "0"])("every range reads as written, waiting or not (io_uring %s)", (ring) => {
  process.env["PLINTH_IO_URING"] = ring;
  const { volume, expected } = scattered(1);
  const random = new Random(8);
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE + 64);
  for (let n = 0; n < 300; n++) {
    const offset = random.below(BLOCKS * BLOCK_SIZE);
    const length =
      1 + random.below(Math.min(BLOCKS * BLOCK_SIZE - offset, n % 3 === 0 ? BLOCKS * BLOCK_SIZE : 90_000));
    const at = random.below(64);
    const result = volume.read(target, at, offset, length, n % 2 === 0);
    if (result === EAGAIN && n % 2 === 1) continue;
    expect(result).toBe(OK);
    expect(target.bytes.subarray(at, at + length).equals(expected.subarray(offset, offset + length))).toBe(
      true,
    );
  }
});

test("a kernel without memory for a batch is asked for the blocks one by one, and for batches again later", () => {
  const { volume, expected } = scattered(1);
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  const submit = vi.spyOn(IoUring.prototype, "submit").mockImplementationOnce(() => {
    throw systemError("io_uring_enter", -12);
  });
  for (let n = 0; n < 2; n++) {
    target.bytes.fill(0);
    expect(volume.read(target, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
    expect(target.bytes.equals(expected)).toBe(true);
  }
  const calls = submit.mock.calls.length;
  if (probeIoUring() === undefined) expect(calls).toBeGreaterThan(8);
  else expect(calls).toBe(0);
  submit.mockRestore();
});

test("a bad block among scattered ones is read from the other copy and put right", () => {
  const { volume, expected } = scattered(2);
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  const first = storedBlock(volume, 20);
  for (const block of [first, storedBlock(volume, first + 1), storedBlock(volume, 300)]) spoil(volume, block);
  expect(volume.read(target, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
  expect(target.bytes.equals(expected)).toBe(true);
  expect((pool as Pool).reader.repairedBlocks).toBe(3);
  expect(volume.read(target, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
  expect((pool as Pool).reader.repairedBlocks).toBe(3);
});

test("a bad block without another copy is an error for whatever has it, and for nothing else", () => {
  const { volume, expected } = scattered(1);
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  const bad = storedBlock(volume, 200);
  spoil(volume, bad);
  expect(volume.read(target, 0, (bad - 10) * BLOCK_SIZE, 20 * BLOCK_SIZE)).toBe(EIO);
  expect(volume.read(target, 0, bad * BLOCK_SIZE, BLOCK_SIZE, false)).toBe(EIO);
  expect(volume.read(target, 0, 0, bad * BLOCK_SIZE)).toBe(OK);
  const before = bad * BLOCK_SIZE;
  expect(target.bytes.subarray(0, before).equals(expected.subarray(0, before))).toBe(true);
  expect(volume.read(target, 0, (bad + 1) * BLOCK_SIZE, 64 * BLOCK_SIZE)).toBe(OK);
});

test("long reads of what is not in memory go around the page cache, and bring the same bytes", () => {
  const { volume, expected } = inOrder();
  const { path } = firstCopy(volume, 0);
  const { reader } = pool as Pool;
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE + 2 * DIRECT_ALIGN);
  // Where a disk cannot put them by itself, and where it can.
  const places = [16, DIRECT_ALIGN - (target.address % DIRECT_ALIGN)];
  const read = (at: number) => target.bytes.subarray(at, at + BLOCKS * BLOCK_SIZE);
  for (const [wait, at] of [false, true].flatMap((wait) => places.map((at) => [wait, at] as const))) {
    const isDropped = dropCache(path);
    const before = reader.bypassCount;
    target.bytes.fill(0xee);
    if (wait) expect(volume.read(target, at, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
    else expect(volume.read(target, at, 0, BLOCKS * BLOCK_SIZE, false)).toBe(isDropped ? EAGAIN : OK);
    expect(reader.bypassCount > before).toBe(wait && isDropped && probeIoUring() === undefined);
    if (wait) expect(read(at).equals(expected)).toBe(true);
    else if (isDropped && probeIoUring() === undefined) expect(dropCache(path)).toBe(true);
  }
  // What was written since and is in memory only is what is read, too.
  const source = new DataBuffer(BLOCK_SIZE);
  source.bytes.fill(0x77);
  expect(volume.stageWrite(source, 0, 300 * BLOCK_SIZE, BLOCK_SIZE)).toBe(OK);
  expect(volume.commit()).toBe(OK);
  source.bytes.copy(expected, 300 * BLOCK_SIZE);
  expect(volume.read(target, 16, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
  expect(read(16).equals(expected)).toBe(true);
});

test("a block that went bad on the disk is found when it is read around the page cache", () => {
  const { volume } = inOrder();
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  spoil(volume, 200);
  const isDropped = dropCache(firstCopy(volume, 200).path);
  expect(volume.read(target, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(EIO);
  expect((pool as Pool).reader.bypassCount > 0).toBe(isDropped && probeIoUring() === undefined);
  dropCache(firstCopy(volume, 200).path);
  expect(volume.read(target, 0, 201 * BLOCK_SIZE, 200 * BLOCK_SIZE)).toBe(OK);
});

test("where reading around the page cache fails reads go through it from then on", () => {
  const { volume, expected } = inOrder();
  const { path } = firstCopy(volume, 0);
  const { direct } = ((pool as Pool).table.of(volume.head.map.location(0)).disks[0] as Disk).file;
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  const isDropped = dropCache(path);
  const real = IoUring.prototype.prepare;
  // A bad address: the kernel refuses it as it refuses one that is not aligned.
  vi.spyOn(IoUring.prototype, "prepare").mockImplementation(function (
    this: IoUring,
    op,
    fd,
    address,
    ...rest
  ) {
    return real.call(this, op, fd, fd === direct?.descriptor ? address + 1 : address, ...rest);
  });
  expect(volume.read(target, 0, 0, BLOCKS * BLOCK_SIZE)).toBe(OK);
  vi.restoreAllMocks();
  expect(target.bytes.equals(expected)).toBe(true);
  expect(direct?.failed ?? false).toBe(direct !== undefined && isDropped && probeIoUring() === undefined);
});

/** Every block of the volume as a read of its own, all together; the results. */
function readTogether(volume: Volume, target: DataBuffer, blocks: readonly number[]): number[] {
  const tickets = blocks.map((block, i) =>
    volume.prepareRead(target, i * BLOCK_SIZE, block * BLOCK_SIZE, BLOCK_SIZE),
  );
  expect(Math.min(...tickets)).toBeGreaterThanOrEqual(0);
  return tickets.map((ticket) => volume.finishRead(ticket));
}

const blocksFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

test.each([
  ["1", 64],
  ["1", 2],
  ["0", 64],
])("reads that came together are one system call (io_uring %s, %i of them)", (ring, count) => {
  process.env["PLINTH_IO_URING"] = ring;
  const { volume, expected } = scattered(1);
  const submit = vi.spyOn(IoUring.prototype, "submit");
  const target = new DataBuffer(64 * BLOCK_SIZE);
  for (let first = 0; first < BLOCKS; first += 64) {
    const blocks = blocksFrom(first, count);
    target.bytes.fill(0xee);
    expect(readTogether(volume, target, blocks)).toEqual(blocks.map(() => OK));
    const length = count * BLOCK_SIZE;
    const from = first * BLOCK_SIZE;
    expect(target.bytes.subarray(0, length).equals(expected.subarray(from, from + length))).toBe(true);
  }
  const calls = submit.mock.calls.length;
  submit.mockRestore();
  expect(calls).toBe(count > 2 && probeIoUring() === undefined ? BLOCKS / 64 : 0);
});

test.each(["1", "0"])("of reads that came together only that of a bad block fails (io_uring %s)", (ring) => {
  process.env["PLINTH_IO_URING"] = ring;
  const { volume, expected } = scattered(1);
  const bad = storedBlock(volume, 200);
  spoil(volume, bad);
  const blocks = blocksFrom(bad - 10, 20);
  const target = new DataBuffer(20 * BLOCK_SIZE);
  expect(readTogether(volume, target, blocks)).toEqual(blocks.map((block) => (block === bad ? EIO : OK)));
  for (const [i, block] of blocks.entries()) {
    if (block === bad) continue;
    const from = block * BLOCK_SIZE;
    const found = target.bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
    expect(found.equals(expected.subarray(from, from + BLOCK_SIZE))).toBe(true);
  }
});

test("a bad block among reads that came together is put right from the other copy", () => {
  const { volume, expected } = scattered(2);
  const bad = storedBlock(volume, 200);
  spoil(volume, bad);
  const target = new DataBuffer(20 * BLOCK_SIZE);
  const from = (bad - 10) * BLOCK_SIZE;
  for (let n = 0; n < 2; n++) {
    target.bytes.fill(0xee);
    expect(readTogether(volume, target, blocksFrom(bad - 10, 20)).every((result) => result === OK)).toBe(
      true,
    );
    expect(target.bytes.equals(expected.subarray(from, from + target.bytes.byteLength))).toBe(true);
    expect((pool as Pool).reader.repairedBlocks).toBe(1);
  }
});

test("of reads that came together only those behind the end of a file that was cut short fail", () => {
  const { volume, expected } = scattered(1);
  const middle = storedBlock(volume, 200);
  const { path, at: cut } = firstCopy(volume, middle);
  // In the middle of a block: the kernel reads a part of it, and nothing of the later ones.
  truncateSync(path, cut + 1000);
  const isThere = (block: number) =>
    volume.head.map.location(block) === 0 || firstCopy(volume, block).at < cut;
  const blocks = blocksFrom(middle - 100, 200);
  const target = new DataBuffer(200 * BLOCK_SIZE);
  const results = readTogether(volume, target, blocks);
  expect(results).toEqual(blocks.map((block) => (isThere(block) ? OK : EIO)));
  expect(new Set(results)).toEqual(new Set([OK, EIO]));
  for (const [i, block] of blocks.entries()) {
    if (!isThere(block)) continue;
    const found = target.bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
    expect(found.equals(expected.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE))).toBe(true);
  }
});

test("what the ring failed at among reads that came together is read the plain way", () => {
  const { volume, expected } = scattered(1);
  const { reap } = IoUring.prototype;
  const failing = vi.spyOn(IoUring.prototype, "reap").mockImplementation(function (this: IoUring) {
    const count = reap.call(this);
    for (let i = 0; i < count; i += 2) this.results[i] = -EIO;
    return count;
  });
  const target = new DataBuffer(64 * BLOCK_SIZE);
  const results = readTogether(volume, target, blocksFrom(0, 64));
  if (probeIoUring() === undefined) expect(failing).toHaveBeenCalled();
  failing.mockRestore();
  expect(new Set(results)).toEqual(new Set([OK]));
  expect(target.bytes.equals(expected.subarray(0, 64 * BLOCK_SIZE))).toBe(true);
  expect((pool as Pool).reader.lostBlocks).toBe(0);
});

test("parts of blocks, long reads and more than fit are to be read alone; tickets end with the next batch", () => {
  const { volume, expected } = scattered(1);
  const target = new DataBuffer(BLOCKS * BLOCK_SIZE);
  expect(volume.prepareRead(target, 0, 512, BLOCK_SIZE)).toBe(-1);
  expect(volume.prepareRead(target, 0, 0, 512)).toBe(-1);
  expect(volume.prepareRead(target, 0, 0, 65 * BLOCK_SIZE)).toBe(-1);
  const tickets = blocksFrom(0, BLOCKS).map((block) =>
    volume.prepareRead(target, block * BLOCK_SIZE, block * BLOCK_SIZE, BLOCK_SIZE),
  );
  expect(tickets.slice(0, 256)).toEqual(blocksFrom(0, 256));
  expect(new Set(tickets.slice(256))).toEqual(new Set([-1]));
  // Nobody asks for most of them.
  expect(volume.finishRead(0)).toBe(OK);
  const block = storedBlock(volume, 300);
  expect(readTogether(volume, target, [block])).toEqual([OK]);
  const from = block * BLOCK_SIZE;
  expect(target.bytes.subarray(0, BLOCK_SIZE).equals(expected.subarray(from, from + BLOCK_SIZE))).toBe(true);
});
