// Volumes that are compressed: what is packed reads as it was, whatever happens to it, and what is damaged is named.
import { deflateRawSync } from "node:zlib";
import { expect, test } from "vitest";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { auditCounts } from "../pool/count-audit.js";
import { MAP_MEMORY } from "../pool/open-pool.js";
import type { Pool } from "../pool/pool.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { packedUsageOf, packedUsageOfAll } from "../volume/compression.js";
import type { Root, Volume } from "../volume/volume.js";
import { bufferChecksum } from "./checksum.js";
import {
  CELL_SIZE,
  CELLS_AT,
  DATA_BLOCKS,
  encodeGroup,
  encodeSuperblock,
  FORMAT_VERSION,
  GROUP_BLOCKS,
  GROUP_SIZE,
  INDEX_SIZE,
  PAGE_SIZE,
  parseSuperblock,
  RECORD_SIZE,
} from "./format.js";
import { readRecords } from "./recovery.js";
import type { Segment } from "./segment-table.js";

const MIB = 1024 * 1024;
const BLOCKS = 3072;
const SIZE = BLOCKS * BLOCK_SIZE;
const buffer = new DataBuffer(SIZE);
const PACKING = { coldMs: 3000, leastBlocks: (DATA_BLOCKS * 5) / 4 };

/** Words in some order, another one for each block; below 0: noise, which does not shrink. */
function fill(at: number, tag: number): void {
  const random = new Random(Math.abs(tag));
  const block = buffer.bytes.subarray(at, at + BLOCK_SIZE);
  if (tag < 0) {
    for (let i = 0; i < BLOCK_SIZE; i++) block[i] = random.below(256);
    return;
  }
  const words = ["segment", "block ", "of the volume", " is ", "written", ", packed", `${tag} `, "\n"];
  let text = `${tag} `;
  while (text.length < BLOCK_SIZE) text += random.pick(words);
  block.write(text.slice(0, BLOCK_SIZE), 0, "latin1");
}

function write(volume: Volume, first: number, count: number, tag: (block: number) => number): void {
  for (let i = 0; i < count; i++) fill(i * BLOCK_SIZE, tag(first + i));
  expect(volume.stageWrite(buffer, 0, first * BLOCK_SIZE, count * BLOCK_SIZE)).toBe(0);
  expect(volume.commit()).toBe(0);
}

/** The volume, or a snapshot of it, holds what `tag` says; read in pieces of `step` blocks. */
function expectContent(
  volume: Volume,
  tag: (block: number) => number,
  step = 64,
  root: Root = volume.head,
): void {
  const expected = Buffer.alloc(step * BLOCK_SIZE);
  for (let first = 0; first < BLOCKS; first += step) {
    for (let i = 0; i < step; i++) fill(i * BLOCK_SIZE, tag(first + i));
    buffer.bytes.copy(expected, 0, 0, expected.byteLength);
    expect(volume.read(buffer, 0, first * BLOCK_SIZE, step * BLOCK_SIZE, true, root)).toBe(0);
    expect(expected.equals(buffer.bytes.subarray(0, expected.byteLength)), `from ${first} on`).toBe(true);
  }
}

function packed({ table }: Pool): Segment[] {
  const found: Segment[] = [];
  table.visitPacked((segment) => found.push(segment));
  return found;
}

const text = (block: number): number => block + 1;

/** A volume of text that is packed, as far as it fills segments; its log is sealed. */
function filled(disks = 1, copies = 1, tag = text, mapMemory = MAP_MEMORY): MemoryPool {
  const memory = new MemoryPool(disks, 128 * MIB, mapMemory, PACKING);
  const volume = memory.createVolume(1, SIZE, copies);
  memory.setCompression(1, "deflate");
  for (let first = 0; first < BLOCKS; first += 64) write(volume, first, 64, tag);
  volume.writer.seal();
  memory.settle();
  return memory;
}

function expectSound(memory: MemoryPool): void {
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
  for (const id of memory.pool.volumes.keys()) {
    const proof = memory.pool.newProof(id);
    while (proof.step() !== "done");
    expect(proof.progress.findings).toEqual([]);
  }
}

test("what is cold and shrinks is packed, reads as it was, and stays so after a crash", () => {
  const memory = filled();
  const { table } = memory.pool;
  expect(packed(memory.pool)).toHaveLength(1);
  expect(table.liveBlocks).toBe(BLOCKS);
  expect(table.packedGain).toBe((packed(memory.pool)[0] as Segment).liveBlocks - DATA_BLOCKS);
  expect(table.usedCount).toBeLessThan(3);
  expect(packedUsageOf(table, 1).savedBytes).toBe(table.packedGain * BLOCK_SIZE);
  expect(packedUsageOfAll(table)).toEqual(packedUsageOf(table, 1));
  expectContent(memory.pool.volume(1), text);
  expectContent(memory.pool.volume(1), text, 1);
  expectSound(memory);
  memory.reopen();
  expect(packed(memory.pool)).toHaveLength(1);
  expectContent(memory.pool.volume(1), text, 3);
  expectSound(memory);
});

test("what does not shrink, is not to be compressed or is encrypted stays as it is", () => {
  expect(packed(filled(1, 1, (block) => -1 - block).pool)).toEqual([]);
  const memory = new MemoryPool(1, 128 * MIB, MAP_MEMORY, PACKING);
  const plain = memory.createVolume(1, SIZE);
  const secret = memory.createVolume(2, SIZE, 1, "key");
  memory.pool.keys.unlock(
    "key",
    new Uint8Array(64).map((_, i) => i),
  );
  memory.setCompression(2, "deflate");
  for (const volume of [plain, secret]) {
    for (let first = 0; first < BLOCKS; first += 64) write(volume, first, 64, text);
    volume.writer.seal();
  }
  memory.settle();
  expect(packed(memory.pool)).toEqual([]);
  // Wanted later, it is done later.
  memory.setCompression(1, "deflate");
  memory.settle();
  expect(packed(memory.pool)).toHaveLength(1);
  expectContent(memory.pool.volume(1), text);
});

test("blocks of groups are overwritten and trimmed, and a segment of which little is left is emptied", () => {
  const memory = filled();
  const volume = memory.pool.volume(1);
  const [segment] = packed(memory.pool);
  const changed = (block: number) => (block % 3 === 0 ? block + 50_000 : block + 1);
  for (let block = 0; block < BLOCKS; block += 3) write(volume, block, 1, changed);
  expectContent(volume, changed, 48);
  memory.createSnapshot(1, "s");
  const rest = (block: number) => (block < 2600 && block % 8 !== 1 ? block + 90_000 : changed(block));
  for (let block = 0; block < 2600; block++) if (block % 8 !== 1) write(volume, block, 1, rest);
  expectContent(volume, rest);
  memory.settle();
  expectContent(volume, rest);
  expectContent(volume, changed, 16, volume.snapshots.get("s") as Root);
  const kept = memory.specs.get(1);
  if (kept !== undefined) memory.specs.set(1, { ...kept, snapshots: [] });
  memory.pool.deleteSnapshot(1, "s");
  memory.settle();
  expect(packed(memory.pool)).not.toContain(segment);
  expectContent(volume, rest);
  expectSound(memory);
  memory.reopen();
  expectContent(memory.pool.volume(1), rest);
});

test("snapshots, clones and diffs name what is packed as they named it before", () => {
  const memory = new MemoryPool(1, 256 * MIB, MAP_MEMORY, PACKING);
  const volume = memory.createVolume(1, SIZE);
  for (let first = 0; first < BLOCKS; first += 64) write(volume, first, 64, text);
  memory.createSnapshot(1, "s");
  write(volume, 100, 20, (block) => block + 7000);
  memory.setCompression(1, "deflate");
  volume.writer.seal();
  memory.settle();
  expect(packed(memory.pool)).toHaveLength(1);
  const runs: [number, boolean][] = [];
  volume.changes("s", 0, SIZE, (length, isChanged) => {
    runs.push([length / BLOCK_SIZE, isChanged]);
    return true;
  });
  expect(runs).toEqual([
    [100, false],
    [20, true],
    [BLOCKS - 120, false],
  ]);
  expectContent(volume, text, 64, volume.snapshots.get("s") as Root);
  expectContent(volume, (block) => (block >= 100 && block < 120 ? block + 7000 : block + 1));
  const reverted = memory.pool.prepareRevert(1, "s");
  memory.pool.finishRevert(1, true);
  expect(reverted.mapFile).not.toBe("");
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});

/** Flips a bit of each block of the payload of the `n`-th group, on one disk. */
function spoil(memory: MemoryPool, n: number, disk = 0): number {
  const [segment] = packed(memory.pool) as [Segment];
  const record = readRecords(segment).filter(({ group }) => group !== undefined)[n];
  if (record === undefined) throw new Error("no such group");
  const place = segment.places[disk];
  if (place === undefined) throw new Error("no such copy");
  const one = new DataBuffer(BLOCK_SIZE);
  for (let i = 0; i < record.checksums.length; i++) {
    const offset = (record.dataBlock + i) * BLOCK_SIZE;
    place.disk.read(place.slot, one, 0, BLOCK_SIZE, offset);
    one.bytes[17] = (one.bytes[17] as number) ^ 4;
    place.disk.write(place.slot, one, 0, BLOCK_SIZE, offset);
  }
  return record.offset / BLOCK_SIZE;
}

test("of a group that is damaged every block is an error, and no other block is", () => {
  const memory = filled();
  const first = spoil(memory, 9);
  memory.reopen();
  const volume = memory.pool.volume(1);
  for (let block = first - 4; block < first + 20; block++) {
    const isGone = block >= first && block < first + GROUP_BLOCKS;
    expect(volume.read(buffer, 0, block * BLOCK_SIZE, BLOCK_SIZE), `block ${block}`).toBe(isGone ? 5 : 0);
  }
  expect(volume.read(buffer, 0, (first - 2) * BLOCK_SIZE, 8 * BLOCK_SIZE)).toBe(5);
  expect(memory.pool.lostRangesOf(1)).toEqual([{ offsetBytes: first * BLOCK_SIZE, lengthBytes: GROUP_SIZE }]);
  // Written anew it is good again.
  write(volume, first, GROUP_BLOCKS, text);
  expectContent(volume, text);
});

test("a scrub and a proof find a damaged group, and whose it is", () => {
  const memory = filled();
  const first = spoil(memory, 3);
  const proof = memory.pool.newProof(1);
  while (proof.step() !== "done");
  expect(proof.progress.lostBlocks).toBe(GROUP_BLOCKS);
  expect(proof.progress.findings[0]).toMatch(`blocks ${first} to ${first + 15}: packed, and not`);
  memory.reopen();
  memory.pool.scrub();
  memory.settle();
  expect(memory.pool.lostRangesOf(1)).toEqual([{ offsetBytes: first * BLOCK_SIZE, lengthBytes: GROUP_SIZE }]);
});

test.each(["a read", "a scrub"])("%s puts a bad copy of a group right from the good one", (how) => {
  const memory = filled(2, 2);
  const first = spoil(memory, 5, 0);
  const [segment] = packed(memory.pool) as [Segment];
  const { length } = readRecords(segment).filter(({ group }) => group !== undefined)[5]?.checksums ?? [];
  if (how === "a read") {
    expect(memory.pool.volume(1).read(buffer, 0, (first + 3) * BLOCK_SIZE, BLOCK_SIZE)).toBe(0);
  } else {
    memory.pool.scrub();
    memory.settle();
  }
  expect(memory.pool.reader.repairedBlocks).toBe(length);
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});

test.each([
  ["unpacks to much more", deflateRawSync(Buffer.alloc(40 * MIB))],
  ["unpacks to less", deflateRawSync(Buffer.alloc(GROUP_SIZE - 1, 7))],
  ["unpacks to something else", deflateRawSync(Buffer.alloc(GROUP_SIZE, 7))],
  ["is no stream", Buffer.alloc(999, 0xff)],
])("a group that %s is never served, though its checksums are right", (_, bytes) => {
  const memory = filled();
  const [segment] = packed(memory.pool) as [Segment];
  const record = readRecords(segment).find(({ group }) => group !== undefined);
  const place = segment.places[0];
  if (record?.group === undefined || place === undefined) throw new Error("nothing is packed");
  const { group, at, dataBlock, offset } = record;
  const size = Math.min(bytes.byteLength, record.checksums.length * BLOCK_SIZE);
  const payload = new DataBuffer(record.checksums.length * BLOCK_SIZE);
  payload.bytes.set(bytes.subarray(0, size));
  const index = new DataBuffer(INDEX_SIZE);
  const blocks = Math.ceil(size / BLOCK_SIZE);
  for (let i = 0; i < blocks; i++) {
    index.words[(at + RECORD_SIZE) / 4 + i] = bufferChecksum(payload, i * BLOCK_SIZE, BLOCK_SIZE);
  }
  for (let i = 0; i < GROUP_BLOCKS; i++)
    index.words[(at + RECORD_SIZE) / 4 + blocks + i] = group.sums[i] as number;
  const { location, stored } = group;
  const length = encodeGroup(index, at, location, stored, size, offset, dataBlock, segment.serial);
  place.disk.write(place.slot, payload, 0, payload.bytes.byteLength, dataBlock * BLOCK_SIZE);
  place.disk.write(place.slot, index, at, length, at);
  memory.reopen();
  const volume = memory.pool.volume(1);
  expect(volume.read(buffer, 0, offset, BLOCK_SIZE)).toBe(5);
  expect(volume.read(buffer, 0, offset + GROUP_SIZE, BLOCK_SIZE)).toBe(0);
});

test("a packed segment of which the header cell is damaged is found by its records", () => {
  const memory = filled();
  const [segment] = packed(memory.pool) as [Segment];
  const place = segment.places[0];
  if (place === undefined) throw new Error("it has no copy");
  const cell = new DataBuffer(CELL_SIZE);
  cell.bytes.fill(0x5a);
  memory.disks[0]?.write(cell, 0, CELL_SIZE, CELLS_AT + place.slot * CELL_SIZE);
  memory.reopen();
  expect(packed(memory.pool)[0]?.storedBlocks).toBe(segment.storedBlocks);
  expectContent(memory.pool.volume(1), text);
  memory.reopen();
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});

test("a drained disk and a lost one are made up for with what is packed", () => {
  const memory = filled(2, 2);
  memory.addDisk(128 * MIB);
  memory.pool.disks.drain(0);
  memory.settle();
  for (const segment of packed(memory.pool)) expect(segment.disks.map(({ index }) => index)).not.toContain(0);
  expectContent(memory.pool.volume(1), text);
  memory.missing.add(1);
  memory.removed.add(0);
  memory.reopen();
  expectContent(memory.pool.volume(1), text);
  memory.addDisk(128 * MIB);
  memory.settle();
  for (const segment of packed(memory.pool)) expect(segment.disks).toHaveLength(2);
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});

test("pages of maps that went bad are put together from what the records of groups say", () => {
  const little = { residentPages: 2, dirtyPages: 100, pagesAtOpen: 0, pagesPerStep: 1 };
  const memory = filled(1, 1, text, little);
  memory.close();
  memory.reopen();
  memory.settle();
  const { map } = memory.pool.volume(1).head;
  let unread = 0;
  for (let index = 0; index < map.pageCount; index++) {
    const page = map.page(index);
    const bytes = memory.files.files.get(page?.file?.name ?? "");
    if (page === null || bytes === undefined) continue;
    const at = BLOCK_SIZE + page.place * PAGE_SIZE + 40;
    bytes[at] = (bytes[at] as number) ^ 1;
    if (!page.isResident) unread++;
  }
  expect(unread).toBeGreaterThan(2);
  memory.pool.scrub();
  memory.settle();
  expect(memory.pool.lostRangesOf(1)).toEqual([]);
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});

test("a packed segment that no copy can be written of leaves everything as it was", () => {
  const memory = new MemoryPool(1, 128 * MIB, MAP_MEMORY, PACKING);
  const volume = memory.createVolume(1, SIZE);
  for (let first = 0; first < BLOCKS; first += 64) write(volume, first, 64, text);
  volume.writer.seal();
  memory.settle();
  memory.setCompression(1, "deflate");
  const [file] = memory.disks;
  if (file !== undefined) file.writeError = 28;
  for (let i = 0; i < 400; i++) memory.pool.housekeeper.housekeep(1e9 + i * 1000);
  expect(packed(memory.pool).filter(({ liveBlocks }) => liveBlocks > 0)).toEqual([]);
  expectContent(volume, text);
  if (file !== undefined) file.writeError = 0;
  for (let i = 0; i < 4000; i++) memory.pool.housekeeper.housekeep(2e9 + i * 1000);
  expect(packed(memory.pool)).toHaveLength(1);
  expectContent(volume, text);
});

test("a pool of the version before is opened as it is, becomes one of today, and is packed then", () => {
  const memory = new MemoryPool(1, 128 * MIB, MAP_MEMORY, PACKING);
  const volume = memory.createVolume(1, SIZE);
  for (let first = 0; first < BLOCKS; first += 64) write(volume, first, 64, text);
  expect(volume.flush()).toBe(0);
  const [disk] = memory.pool.table.disks;
  const [file] = memory.disks;
  if (disk === undefined || file === undefined) throw new Error("there is no disk");
  const head = new DataBuffer(BLOCK_SIZE);
  const older = FORMAT_VERSION - 1;
  head.bytes.set(encodeSuperblock({ ...disk.superblock, formatVersion: older }));
  file.write(head, 0, 512, 0);
  for (const { slot, header } of disk.readCells()) disk.writeCell(slot, { ...header, formatVersion: older });
  memory.reopen();
  file.read(head, 0, BLOCK_SIZE, 0);
  expect(parseSuperblock(head.bytes, "disk")?.formatVersion).toBe(FORMAT_VERSION);
  expectContent(memory.pool.volume(1), text);
  memory.setCompression(1, "deflate");
  memory.settle();
  expect(packed(memory.pool)).toHaveLength(1);
  memory.reopen();
  expectContent(memory.pool.volume(1), text);
  expectSound(memory);
});
