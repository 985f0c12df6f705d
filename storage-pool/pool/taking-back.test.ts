import { expect, test, vi } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { openDisk } from "../disk/disk.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(MIB);

function fill(volume: Volume, count: number, plus = 0): void {
  for (let block = 0; block < count; block++) {
    buffer.bytes.fill(((block + plus) % 250) + 1, 0, BLOCK);
    expect(volume.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
    expect(volume.commit()).toBe(0);
  }
}

function expectFilled(volume: Volume, count: number, plus = 0): void {
  for (let block = 0; block < count; block++) {
    expect(volume.read(buffer, 0, block * BLOCK, BLOCK), `block ${block}`).toBe(0);
    expect(buffer.bytes[17], `block ${block}`).toBe(((block + plus) % 250) + 1);
  }
}

function state(memory: MemoryPool, disk: number): string {
  return memory.pool.usage().disks[disk]?.state ?? "";
}

/** Everything is on one disk alone, also after a restart. */
function expectWholeWithout(memory: MemoryPool, disk: number, count: number, plus: number): void {
  memory.missing.add(disk);
  const pool = memory.reopen();
  expect(pool.damaged.size).toBe(0);
  expectFilled(pool.volume(1), count, plus);
  memory.missing.delete(disk);
}

test("a disk that was to be drained is drained when it is back", () => {
  const memory = new MemoryPool(3);
  fill(memory.createVolume(1, 64 * MIB, 2), 2000);
  expect(memory.pool.volume(1).flush()).toBe(0);
  memory.settle();
  memory.missing.add(0);
  memory.reopen().disks.resumeDrain(0);
  expect(state(memory, 0)).toBe("missing");
  expect(memory.comeBack(0)).toBe("");
  expect(state(memory, 0)).toBe("draining");
  memory.settle();
  expect(memory.pool.usage().disks[0]?.segments).toBe(0);
  memory.pool.disks.checkRemove(0, false);
  expectFilled(memory.pool.volume(1), 2000);
});

test("a disk that is drained waits for others: the pool opens without them, and it goes on when there are any", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 2000);
  expect(memory.pool.volume(1).flush()).toBe(0);
  memory.settle();
  memory.missing.add(1);
  memory.reopen().disks.resumeDrain(0);
  memory.settle();
  expectFilled(memory.pool.volume(1), 2000);
  expect(memory.comeBack(1)).toBe("");
  memory.settle();
  expect(memory.pool.usage().disks[0]?.segments).toBeGreaterThan(0);
  memory.addDisk();
  memory.settle();
  expect(memory.pool.usage().disks.map((disk) => disk.state)).toEqual(["draining", "online", "online"]);
  expect(memory.pool.usage().disks[0]?.segments).toBe(0);
  expectFilled(memory.pool.volume(1), 2000);
});

test("a missing disk is taken back at work: copies that still count are kept and looked through, the others made anew", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 2500);
  memory.createSnapshot(1, "s");
  memory.missing.add(0);
  let pool = memory.reopen();
  fill(pool.volume(1), 1500, 5);
  expect(pool.volume(1).flush()).toBe(0);
  memory.settle();
  expect(state(memory, 0)).toBe("missing");
  expect(memory.comeBack(0)).toBe("");
  expect(state(memory, 0)).toBe("online");
  fill(pool.volume(1), 300, 9);
  memory.settle();
  const reports = pool.jobs.reports();
  expect(reports.find(({ kind }) => kind === "resync")).toMatchObject({ state: "done", lostBlocks: 0 });
  expect(reports.map(({ kind }) => kind)).toContain("rebuild");
  expect([...memory.suspect]).toEqual([]);
  expect(pool.usage().degradedSegments).toBe(0);
  expectWholeWithout(memory, 1, 300, 9);
  expect(memory.comeBack(1)).toBe("");
  memory.settle();
  pool = memory.reopen();
  expectFilled(pool.volume(1), 300, 9);
  pool.prove(1);
  memory.settle();
  expect(pool.jobs.reports().at(-1)).toMatchObject({ kind: "prove", state: "done", lostBlocks: 0 });
});

test("a disk that failed is taken back as another object, and whoever holds the old one gets errors", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB, 2);
  fill(volume, 1500);
  const old = memory.pool.disks.disk(0);
  memory.disks[0]!.writeError = 5;
  fill(volume, 1500, 3);
  expect(volume.flush()).toBe(0);
  memory.settle();
  expect(state(memory, 0)).toBe("failed");
  // Not before it can be written.
  expect(() => memory.comeBack(0)).toThrowError(expect.objectContaining({ code: "DISK_DAMAGED" }));
  expect(memory.pool.disks.disk(0)).toBe(old);
  expectFilled(volume, 1500, 3);
  memory.disks[0]!.writeError = 0;
  expect(memory.comeBack(0)).toBe("");
  expect(old.write(0, buffer, 0, BLOCK, 0)).toBe(5);
  fill(volume, 100, 7);
  memory.settle();
  expect([...memory.suspect]).toEqual([]);
  expect(memory.pool.usage().degradedSegments).toBe(0);
  expectWholeWithout(memory, 1, 100, 7);
});

test("what was freed while a disk was away never comes back with it", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 2000);
  memory.missing.add(0);
  const pool = memory.reopen();
  buffer.bytes.fill(0, 0, BLOCK);
  expect(pool.volume(1).stageUnmap(0, 64 * MIB)).toBe(0);
  expect(pool.volume(1).flush()).toBe(0);
  memory.settle();
  expect(memory.comeBack(0)).toBe("");
  const held = memory.pool.disks.disk(0).readCells().length;
  expect(held).toBe(pool.usage().disks[0]?.segments);
  expect(held).toBeLessThan(3);
});

test("where something needs the disk the pool is opened anew, and nothing is changed before", () => {
  const memory = new MemoryPool(2);
  const once = memory.createVolume(2, 64 * MIB, 1);
  fill(once, 3000);
  expect(once.flush()).toBe(0);
  memory.missing.add(0);
  const pool = memory.reopen();
  expect(pool.damaged.has(2)).toBe(true);
  const cells = openDisk(memory.disks[0]!, "p", 0).readCells().length;
  expect(cells).toBeGreaterThan(0);
  expect(memory.comeBack(0)).toContain("volumes not served: 1");
  expect(openDisk(memory.disks[0]!, "p", 0).readCells()).toHaveLength(cells);
  memory.missing.delete(0);
  expectFilled(memory.reopen().volume(2), 3000);
});

test("a volume whose only copy failed is read anew with its disk", () => {
  const memory = new MemoryPool(2);
  const once = memory.createVolume(1, 64 * MIB, 1);
  fill(once, 10);
  const place = once.writer.segment?.disks[0]?.index as number;
  memory.disks[place]!.syncError = 5;
  expect(once.flush()).toBe(5);
  memory.disks[place]!.syncError = 0;
  expect(memory.comeBack(place)).toContain("read anew");
  expectFilled(memory.reopen().volume(1), 10);
});

test("what lacks a copy for a disk that was not at its path gets it when the disk is there again", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB, 2);
  fill(volume, 100);
  const inPlace = vi.spyOn(memory.disks[1]!, "isInPlace").mockReturnValue(false);
  memory.pool.disks.watchPlaces();
  fill(volume, 1500, 3);
  memory.settle();
  expect(memory.pool.usage().degradedSegments).toBeGreaterThan(0);
  inPlace.mockReturnValue(true);
  memory.pool.disks.watchPlaces();
  memory.settle();
  expect(memory.pool.usage().degradedSegments).toBe(0);
  expectWholeWithout(memory, 0, 1500, 3);
});

test("of a disk that is not at its path any more everything is moved away, and nothing is put there until it is back", () => {
  const memory = new MemoryPool(3);
  const volume = memory.createVolume(1, 64 * MIB, 1);
  fill(volume, 3000);
  const twice = memory.createVolume(2, 64 * MIB, 2);
  fill(twice, 2500);
  expect(memory.pool.usage().degradedSegments).toBe(0);
  const inPlace = vi.spyOn(memory.disks[1]!, "isInPlace").mockReturnValue(false);
  expect(memory.pool.disks.watchPlaces().map(({ index }) => index)).toEqual([1]);
  expect(memory.pool.disks.watchPlaces()).toEqual([]);
  expect(state(memory, 1)).toBe("detached");
  expect(memory.pool.usage().degradedSegments).toBeGreaterThan(0);
  fill(volume, 500, 3);
  memory.settle();
  expect(memory.pool.usage()).toMatchObject({ degradedSegments: 0, disks: [{}, { segments: 0 }, {}] });
  expectFilled(twice, 2500);
  inPlace.mockReturnValue(true);
  expect(memory.pool.disks.watchPlaces().map(({ index }) => index)).toEqual([1]);
  expect(state(memory, 1)).toBe("online");
  expectFilled(volume, 500, 3);
});
