// What a scrub makes of map files that are not as they were written; restarts keep only files and disks.
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { INDEX_SIZE, PAGE_SIZE, slotCountOf, slotsAt } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { SnapshotDevice } from "../volume/snapshot-device.js";
import type { Root, Volume } from "../volume/volume.js";
import { auditCounts } from "./count-audit.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const SPAN = 2 * MIB;
const DISK = 96 * MIB;
const PAGES = 24;
const buffer = new DataBuffer(SPAN);
/** Hardly any page stays in memory. */
const LITTLE = { residentPages: 3, dirtyPages: 8, pagesAtOpen: 0, pagesPerStep: 1 };
/** All do. */
const PLENTY = { residentPages: 1000, dirtyPages: 1000, pagesAtOpen: 1000, pagesPerStep: 64 };

function write(volume: Volume, block: number, tag: number): void {
  buffer.bytes.fill(tag, 0, BLOCK);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
}

/**
 * In each page two blocks of which one was written twice, with a snapshot in between, and a third that only the snapshot
 * has. Everything is in map files.
 */
function filled(mapMemory = LITTLE): MemoryPool {
  const memory = new MemoryPool(1, DISK, mapMemory);
  const volume = memory.createVolume(1, PAGES * SPAN);
  for (let i = 0; i < PAGES; i++) {
    for (const [at, tag] of [1, 2, 3].entries()) write(volume, i * 512 + at * 7, 10 * tag + (i % 10));
  }
  memory.createSnapshot(1, "kept");
  for (let i = 0; i < PAGES; i++) {
    write(volume, i * 512 + 7, 100 + i);
    expect(volume.stageUnmap((i * 512 + 14) * BLOCK, BLOCK)).toBe(0);
    expect(volume.commit()).toBe(0);
  }
  memory.settle();
  memory.close();
  return memory;
}

function tagsOf(device: Pick<Volume, "read">): string {
  const tags: string[] = [];
  for (let i = 0; i < PAGES; i++) {
    for (const at of [0, 7, 14]) {
      const result = device.read(buffer, 0, (i * 512 + at) * BLOCK, BLOCK);
      tags.push(result === 0 ? String(buffer.bytes[BLOCK - 1]) : `errno ${result}`);
    }
  }
  return tags.join(" ");
}

/** Of the volume and its snapshot. */
function content(memory: MemoryPool): string[] {
  const volume = memory.pool.volume(1);
  const kept = new SnapshotDevice(volume, volume.snapshots.get("kept") as Root);
  return [tagsOf(volume), tagsOf(kept)];
}

function rootsOf(memory: MemoryPool): Root[] {
  return memory.pool.volume(1).roots();
}

/** One bit of every page of all files that is stored, or of those at some indexes. */
function spoilPages(memory: MemoryPool, indexes = Array.from({ length: PAGES }, (_, i) => i)): number {
  const places = new Set<string>();
  for (const { durable } of rootsOf(memory)) {
    for (const index of indexes) {
      const page = durable?.page(index);
      if (page?.file !== undefined) places.add(`${page.file.name}:${page.place}`);
    }
  }
  for (const place of places) {
    const [name, at] = place.split(":") as [string, string];
    flip(memory, name, BLOCK + Number(at) * PAGE_SIZE + 9);
  }
  return places.size;
}

function flip(memory: MemoryPool, name: string, at: number): void {
  const bytes = memory.files.files.get(name) as Uint8Array;
  bytes[at] = (bytes[at] as number) ^ 4;
}

function scrub(memory: MemoryPool) {
  const id = memory.pool.scrub();
  memory.settle();
  return memory.pool.jobs.reports().find((job) => job.id === id);
}

function proof(memory: MemoryPool) {
  const job = memory.pool.newProof(1);
  while (job.step() !== "done");
  return job.progress;
}

/** Open, counted, and hardly a page in memory. */
function restarted(mapMemory = LITTLE): { memory: MemoryPool; before: string[] } {
  const memory = filled(mapMemory);
  memory.reopen();
  memory.settle();
  return { memory, before: content(memory) };
}

function expectRestored(memory: MemoryPool, before: string[]): void {
  expect(proof(memory)).toMatchObject({ lostBlocks: 0, findings: [] });
  memory.reopen();
  memory.settle();
  expect(content(memory)).toEqual(before);
  expect(proof(memory)).toMatchObject({ lostBlocks: 0, findings: [] });
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
}

test("maps that are as they were written are read, and nothing is done", () => {
  const { memory, before } = restarted();
  const files = memory.files.list();
  const read = scrub(memory);
  expect(read).toMatchObject({ state: "done", repairedBlocks: 0, lostBlocks: 0, findings: [] });
  const pages = new Set(
    rootsOf(memory).flatMap(({ map }) => Array.from({ length: PAGES }, (_, i) => map.page(i))),
  );
  expect(pages.size).toBe(2 * PAGES);
  const segments = memory.pool.table.usedCount * 4 * MIB;
  expect(read?.doneBytes).toBe(segments + pages.size * PAGE_SIZE);
  expect(read?.totalBytes).toBe(read?.doneBytes);
  expect(memory.files.list()).toEqual(files);
  expectRestored(memory, before);
});

test("pages that are in memory are written anew where the medium lost them", () => {
  const { memory, before } = restarted(PLENTY);
  const spoiled = spoilPages(memory);
  expect(proof(memory).findings).toHaveLength(spoiled);
  expect(scrub(memory)).toMatchObject({ state: "done", repairedBlocks: spoiled, lostBlocks: 0 });
  expect(memory.pool.table.pages.lostCount).toBe(0);
  expectRestored(memory, before);
});

test("pages that are nowhere in memory are put together from the log, the volume's and the snapshot's", () => {
  const { memory, before } = restarted();
  const spoiled = spoilPages(memory);
  expect(spoiled).toBe(2 * PAGES);
  expect(scrub(memory)).toMatchObject({
    state: "done",
    repairedBlocks: spoiled,
    lostBlocks: 0,
    findings: [],
  });
  expect(memory.pool.table.pages.lostCount).toBe(0);
  expectRestored(memory, before);
});

test("so are pages whose blocks the cleaner moved", () => {
  const memory = filled();
  const volume = memory.reopen().volume(1);
  // Nearly everything of some segments dies, and room is short.
  const big = 8 * MIB;
  const much = new DataBuffer(big);
  for (let round = 0; round < 30; round++) {
    much.bytes.fill(round + 1);
    const from = (30 + (round % 3)) * 100 * BLOCK;
    while (volume.stageWrite(much, 0, from - (from % SPAN) + 16 * BLOCK, 400 * BLOCK) === 11) memory.settle();
    expect(volume.commit()).toBe(0);
    memory.settle();
  }
  memory.settle();
  expect(memory.pool.relocation.movedBlocks).toBeGreaterThan(0);
  memory.close();
  memory.reopen();
  memory.settle();
  const before = content(memory);
  const spoiled = spoilPages(memory);
  expect(scrub(memory)).toMatchObject({
    state: "done",
    repairedBlocks: spoiled,
    lostBlocks: 0,
    findings: [],
  });
  expectRestored(memory, before);
});

test("a page of which the log does not say everything is named, and its blocks are errors until they are written", () => {
  const { memory } = restarted();
  spoilPages(memory, [3]);
  // Its records go, too: the whole index area of every segment.
  const slots = slotsAt(slotCountOf(DISK));
  for (let slot = 0; slot < memory.pool.table.usedCount + 2; slot++)
    memory.disks[0]?.content.zero(slots + slot * 4 * MIB, INDEX_SIZE);
  const job = scrub(memory);
  expect(job).toMatchObject({ state: "failed", repairedBlocks: 0 });
  expect(job?.findings).toEqual([
    expect.stringContaining("v1: the map of the 2 MiB from block 1536 on is damaged"),
    expect.stringContaining("v1: the map of the 2 MiB from block 1536 of snapshot kept on is damaged"),
  ]);
  expect(job?.lostBlocks).toBe(2 + 3);
  expect(memory.pool.lostRangesOf(1)).toHaveLength(2);
  expect(memory.pool.volume(1).read(buffer, 0, 1536 * BLOCK, BLOCK)).toBe(5);
  write(memory.pool.volume(1), 1536, 9);
  expect(memory.pool.volume(1).read(buffer, 0, 1536 * BLOCK, BLOCK)).toBe(0);
});

test("a file whose head, table or end is damaged is written anew, with its pages where nobody could find them", () => {
  for (const at of [20, -10, "table"] as const) {
    const { memory, before } = restarted();
    const [head] = rootsOf(memory) as [Root];
    const name = head.files[0]?.name as string;
    const length = memory.files.files.get(name)?.byteLength as number;
    const own = head.files[0]?.pageCount as number;
    flip(memory, name, at === "table" ? BLOCK + own * PAGE_SIZE + 2 : at < 0 ? length + at : at);
    expect(proof(memory).findings[0]).toMatch(new RegExp(`the map ${name} has (no valid|a bad)`));
    expect(scrub(memory)).toMatchObject({ state: "done", lostBlocks: 0 });
    // Others may have pages in a file that can be opened.
    if (at === 20) expect(memory.files.files.has(name)).toBe(false);
    expectRestored(memory, before);
  }
});
