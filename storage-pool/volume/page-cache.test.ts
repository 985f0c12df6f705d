import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { PAGE_ENTRIES, PAGE_SIZE } from "../log/format.js";
import { auditCounts } from "../pool/count-audit.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "./volume.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
/** Of a page of a map. */
const SPAN = 2 * MIB;
const PAGES = 40;
const buffer = new DataBuffer(2 * MIB);
const LITTLE = { residentPages: 3, dirtyPages: 8, pagesAtOpen: 0, pagesPerStep: 1 };

function write(volume: Volume, block: number, tag: number): void {
  buffer.bytes.fill(tag, 0, BLOCK);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
}

function tagAt(volume: Volume, block: number): number {
  expect(volume.read(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  return buffer.bytes[0] as number;
}

/** A pool with little memory for maps, and one block in each of PAGES pages of a volume. */
function filled(): MemoryPool {
  const memory = new MemoryPool(1, 96 * MIB, LITTLE);
  const volume = memory.createVolume(1, PAGES * SPAN);
  for (let i = 0; i < PAGES; i++) write(volume, i * 512 + i, i + 1);
  memory.close();
  return memory;
}

function residentOf(memory: MemoryPool): number {
  return memory.pool.table.pages.residentCount;
}

test("opening reads no page of a map; what it holds is known, and counted by and by", () => {
  const memory = filled();
  const pool = memory.reopen();
  const { table } = pool;
  expect(table.pages.readCount).toBe(0);
  expect(residentOf(memory)).toBe(0);
  expect(table.pages.uncountedCount).toBe(PAGES);
  expect(table.liveBlocks).toBe(0);
  expect(table.liveBlocksMost).toBe(PAGES);
  expect(pool.volume(1).head.map.mappedBlocks).toBe(PAGES);
  expect(pool.usageOf(1).exclusiveBytes).toBe(PAGES * BLOCK);
  memory.settle();
  expect(table.isCounted).toBe(true);
  expect(table.liveBlocks).toBe(PAGES);
  expect(auditCounts(pool.volumes.values(), table)).toEqual([]);
});

test("no segment of an earlier time is freed or given out before everything is counted", () => {
  const memory = filled();
  const { table, housekeeper } = memory.reopen();
  const used = table.usedCount;
  housekeeper.freeDead();
  expect(table.usedCount).toBe(used);
  expect(tagAt(memory.pool.volume(1), 512 + 1)).toBe(2);
});

test("a checkpoint before everything is counted keeps what is not", () => {
  const memory = filled();
  memory.reopen();
  const volume = memory.pool.volume(1);
  write(volume, 0, 50);
  const record = memory.pool.housekeeper.checkpointNow(volume);
  if (record === undefined) throw new Error("nothing to write down");
  expect(memory.pool.table.isCounted).toBe(false);
  memory.record(record);
  memory.reopen();
  memory.settle();
  expect(tagAt(memory.pool.volume(1), 0)).toBe(50);
  for (let i = 1; i < PAGES; i++) expect(tagAt(memory.pool.volume(1), i * 512 + i)).toBe(i + 1);
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
});

test("pages beyond the limit leave memory and are read back when they are wanted", () => {
  const memory = filled();
  memory.reopen();
  const volume = memory.pool.volume(1);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < PAGES; i++) expect(tagAt(volume, i * 512 + i)).toBe(i + 1);
    expect(residentOf(memory)).toBeLessThanOrEqual(LITTLE.residentPages + 2);
  }
  expect(memory.pool.table.pages.readCount).toBeGreaterThan(PAGES);
  expect(memory.pool.table.pages.dirtyCount).toBe(0);
});

test("changed pages stay until a checkpoint has written them", () => {
  const memory = filled();
  memory.reopen();
  const volume = memory.pool.volume(1);
  for (let i = 0; i < PAGES; i++) write(volume, i * 512 + i, 100 + i);
  expect(memory.pool.table.pages.dirtyCount).toBe(PAGES);
  expect(residentOf(memory)).toBeGreaterThanOrEqual(PAGES);
  memory.settle();
  const record = memory.pool.housekeeper.checkpointNow(volume);
  if (record !== undefined) memory.record(record);
  memory.settle();
  expect(memory.pool.table.pages.dirtyCount).toBe(0);
  expect(residentOf(memory)).toBeLessThanOrEqual(LITTLE.residentPages + 2);
  for (let i = 0; i < PAGES; i++) expect(tagAt(volume, i * 512 + i)).toBe(100 + i);
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
});

test("what is deleted while its map is on the medium only is counted out and freed", () => {
  const memory = filled();
  memory.createSnapshot(1, "s");
  memory.settle();
  memory.reopen();
  memory.settle();
  const { table } = memory.pool;
  expect(table.liveBlocks).toBe(PAGES);
  memory.specs.delete(1);
  memory.pool.deleteVolume(1);
  memory.settle();
  expect(table.liveBlocks).toBe(0);
  expect(table.pages.isBehind).toBe(false);
  let sealed = 0;
  table.visit((segment) => {
    if (segment.sealed) sealed++;
  });
  expect(sealed).toBe(0);
});

test("a damaged page of a map: errors for its blocks, found by prove, nothing freed; what is written there is good again", () => {
  const memory = filled();
  const { mapFile } = memory.specs.get(1)!;
  const file = memory.files.files.get(mapFile)!;
  // The third page, in the middle.
  file[BLOCK + 2 * PAGE_SIZE + 100] = file[BLOCK + 2 * PAGE_SIZE + 100]! ^ 4;
  const pool = memory.reopen();
  const volume = pool.volume(1);
  expect(tagAt(volume, 512 + 1)).toBe(2);
  const hurt = 2 * 512 + 2;
  expect(volume.read(buffer, 0, hurt * BLOCK, BLOCK)).toBe(5);
  const used = pool.table.usedCount;
  memory.settle();
  expect(pool.table.pages.lostCount).toBe(1);
  expect(pool.table.usedCount).toBeGreaterThanOrEqual(used);
  expect(pool.lostRangesOf(1)).toContainEqual({ offsetBytes: hurt * BLOCK, lengthBytes: BLOCK });
  const job = pool.newProof(1);
  while (job.step() !== "done");
  expect(job.progress.findings).toContainEqual(
    expect.stringContaining("the map of the 2 MiB from block 1024 on is damaged"),
  );
  write(volume, hurt, 77);
  expect(tagAt(volume, hurt)).toBe(77);
  memory.close();
  const again = memory.reopen().volume(1);
  expect(tagAt(again, hurt)).toBe(77);
  expect(tagAt(again, 512 + 1)).toBe(2);
  expect(again.read(buffer, 0, (hurt + 1) * BLOCK, BLOCK)).toBe(5);
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
});

test("a page that says another number of blocks than its table is damaged", () => {
  const memory = filled();
  const pool = memory.reopen();
  const page = pool.volume(1).head.map.page(4)!;
  page.mapped++;
  expect(pool.volume(1).read(buffer, 0, (4 * 512 + 4) * BLOCK, BLOCK)).toBe(5);
});

test("maps take 8 bytes for each block of a page in memory, and no more pages than the bound, however many are written", () => {
  const bounds = { residentPages: 64, dirtyPages: 32, pagesAtOpen: 0, pagesPerStep: 16 };
  const memory = new MemoryPool(1, 192 * MIB, bounds);
  // 1 TiB, and one block in each of so many pages: the dearest way to write.
  const volume = memory.createVolume(1, 2 ** 40);
  const written = 12_000;
  const { pages } = memory.pool.table;
  let most = 0;
  for (let i = 0; i < written; i++) {
    write(volume, i * 40 * 512, (i % 255) + 1);
    if (i % 64 === 63) memory.settle();
    most = Math.max(most, pages.residentCount);
  }
  expect(PAGE_SIZE).toBe(8 * PAGE_ENTRIES);
  expect(volume.head.map.mappedBlocks).toBe(written);
  // Between two rounds of housekeeping nobody is held back: what was changed then comes on top.
  expect(most).toBeLessThanOrEqual(bounds.residentPages + 64);
  memory.close();
  // What is too much goes a little at a time.
  for (let i = 0; i < 100; i++) pages.trim();
  expect(pages.residentCount).toBeLessThanOrEqual(bounds.residentPages);
  for (let i = 0; i < written; i += 97) expect(tagAt(volume, i * 40 * 512)).toBe((i % 255) + 1);
  expect(pages.residentCount).toBeLessThanOrEqual(bounds.residentPages + 1);
});
