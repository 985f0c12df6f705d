import { expect, test, vi } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { INDEX_SIZE, SEGMENT_SIZE, slotCountOf, slotsAt } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(8 * MIB);
const SLOT_0 = slotsAt(slotCountOf(64 * MIB));

function write(volume: Volume, block: number, tag: number, count = 1): void {
  buffer.bytes.fill(tag, 0, count * BLOCK);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, count * BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
}

/** Writes `count` blocks, each with its own number. */
function fill(volume: Volume, count: number, plus = 0): void {
  for (let block = 0; block < count; block++) write(volume, block, ((block + plus) % 250) + 1);
}

function expectFilled(volume: Volume, count: number, plus = 0): void {
  for (let block = 0; block < count; block++) {
    expect(volume.read(buffer, 0, block * BLOCK, BLOCK), `block ${block}`).toBe(0);
    expect(buffer.bytes[17], `block ${block}`).toBe(((block + plus) % 250) + 1);
  }
}

function states(memory: MemoryPool): string[] {
  return memory.pool.usage().disks.map(({ path, state, segments }) => `${path} ${state} ${segments}`);
}

test("what is left counts what the file systems below still give, once for disks on the same", () => {
  const { pool, disks } = new MemoryPool(2, 256 * MIB);
  const alone = pool.usage();
  const available = (bytes: number) => {
    for (const file of disks) vi.spyOn(file, "availableBytes").mockReturnValue(bytes);
  };
  available(64 * MIB);
  const short = pool.usage();
  expect(short.growthBytes).toBeLessThan(128 * MIB);
  expect(short.growthBytes).toBeGreaterThan(64 * MIB);
  expect(short.usableBytes).toBe(short.growthBytes);
  for (const file of disks) Object.assign(file, { filesystem: 7 });
  expect(pool.usage().growthBytes).toBeLessThan(64 * MIB);
  available(1024 * MIB);
  expect(pool.usage()).toMatchObject({ growthBytes: alone.growthBytes, usableBytes: alone.usableBytes });
});

test("no more is left of a pool than it can hold, also before its volumes with two copies hold anything", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB, 2);
  const empty = memory.pool.usage();
  expect(empty.growthBytes).toBe(empty.usableBytes);
  write(volume, 0, 1);
  const used = memory.pool.usage();
  expect(used.growthBytes).toBeLessThan(used.usableBytes);
});

test("a drained disk is empty, everything is on the others, and it can be removed", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB);
  fill(volume, 3000);
  memory.createSnapshot(1, "s");
  fill(volume, 200, 7);
  const job = memory.pool.disks.drain(0);
  expect(() => memory.pool.disks.checkRemove(0, false)).toThrowError(
    expect.objectContaining({ code: "DISK_IN_USE" }),
  );
  memory.settle();
  expect(memory.pool.jobs.reports().find((each) => each.id === job)).toMatchObject({
    state: "done",
    findings: [],
  });
  expect(states(memory)[0]).toBe("disk0 draining 0");
  expectFilled(volume, 200, 7);
  memory.pool.disks.undrain(0);
  expect(() => memory.pool.disks.checkRemove(0, false)).toThrow("disk0 is in use");
  memory.pool.disks.drain(0);
  memory.settle();
  memory.pool.disks.checkRemove(0, false);
  memory.pool.disks.remove(0);
  memory.removed.add(0);
  fill(volume, 100, 9);
  const after = memory.reopen().volume(1);
  expectFilled(after, 100, 9);
  expect(after.snapshots.get("s")?.map.mappedBlocks).toBe(3000);
  expect(memory.pool.prove(1)).toBe(1);
  memory.settle();
  expect(memory.pool.jobs.reports()[0]).toMatchObject({ kind: "prove", state: "done", lostBlocks: 0 });
});

test("a disk is not drained when what it holds finds no room elsewhere, and stays in part when it is tried all the same", () => {
  const memory = new MemoryPool(1);
  const full = expect.objectContaining({ code: "POOL_FULL" });
  expect(() => memory.pool.disks.drain(0)).toThrowError(full);
  const volume = memory.createVolume(1, 64 * MIB);
  fill(volume, 8800);
  memory.addDisk(40 * MIB);
  expect(() => memory.pool.disks.checkDrain(0)).toThrowError(full);
  expect(() => memory.pool.disks.checkDrain(1)).not.toThrow();
  memory.pool.disks.drain(0);
  memory.settle();
  expect(memory.pool.jobs.reports()[0]?.findings[0]).toContain("there is no room");
  expectFilled(volume, 8800);
  memory.pool.disks.undrain(0);
  expect(states(memory)[0]).toMatch(/^disk0 online/);
});

test("a disk is not drained when the others are too few for the copies that volumes have", () => {
  const memory = new MemoryPool(2);
  memory.createVolume(1, 64 * MIB, 1);
  expect(() => memory.pool.disks.checkDrain(0)).not.toThrow();
  memory.createVolume(2, 64 * MIB, 2);
  expect(() => memory.pool.disks.checkDrain(0)).toThrowError(
    expect.objectContaining({
      code: "POOL_FULL",
      message: expect.stringMatching(/^volumes with 2 copies need 2 disks besides disk0/),
    }),
  );
  memory.addDisk(64 * MIB);
  expect(() => memory.pool.disks.checkDrain(0)).not.toThrow();
});

test("two copies: a disk that comes when two are full takes copies of theirs, so that all three can be filled", () => {
  const RUN = 64;
  const memory = new MemoryPool(2, 160 * MIB);
  const volume = memory.createVolume(1, 512 * MIB, 2);
  const put = (block: number, count: number): number => {
    for (;;) {
      const result = volume.stageWrite(buffer, 0, block * BLOCK, count * BLOCK) || volume.commit();
      if (result !== 11) return result;
      memory.settle();
    }
  };
  buffer.bytes.fill(7, 0, RUN * BLOCK);
  let end = 0;
  const fillUp = (): void => {
    while (put(end, RUN) === 0) end += RUN;
    // Not for want of a segment, but because all is given out.
    expect(memory.pool.room.left(2)).toBeLessThan(RUN);
  };
  fillUp();
  memory.addDisk(160 * MIB);
  memory.settle();
  fillUp();
  // Every eighth block, backwards: dead ones are everywhere.
  for (let block = end - 8; block >= 0; block -= 8) expect(put(block, 1)).toBe(0);
});

test("two copies: a disk that fails costs nobody anything, and a third takes its place", () => {
  const memory = new MemoryPool(2);
  const volume = memory.createVolume(1, 64 * MIB, 2);
  fill(volume, 1500);
  memory.disks[0]!.writeError = 5;
  fill(volume, 1500, 3);
  expect(volume.flush()).toBe(0);
  expect(memory.pool.usage().degradedSegments).toBeGreaterThan(0);
  memory.settle();
  expect([...memory.suspect]).toEqual([0]);
  expectFilled(volume, 1500, 3);
  memory.addDisk();
  memory.settle();
  expect(memory.pool.usage().degradedSegments).toBe(0);
  memory.pool.disks.checkRemove(0, false);
  memory.pool.disks.remove(0);
  memory.removed.add(0);
  memory.disks[1]!.content.zero(SLOT_0, 60 * MIB);
  const after = memory.reopen().volume(1);
  expectFilled(after, 1500, 3);
});

test("a failed sync ends the volume that had its only copy there, and no other", () => {
  const memory = new MemoryPool(2);
  const twice = memory.createVolume(1, 64 * MIB, 2);
  const once = memory.createVolume(2, 64 * MIB, 1);
  write(once, 0, 1);
  write(twice, 0, 1);
  const place = once.writer.segment?.disks[0]?.index as number;
  memory.disks[place]!.syncError = 5;
  expect(once.flush()).toBe(5);
  expect(twice.flush()).toBe(0);
  write(twice, 1, 2);
  expect(twice.flush()).toBe(0);
  expect(once.flush()).toBe(5);
});

test("a missing disk is given up only as lost while something may be there that no other disk has", () => {
  const inUse = expect.objectContaining({ code: "DISK_IN_USE" });
  const memory = new MemoryPool(2);
  const once = memory.createVolume(1, 64 * MIB, 1);
  fill(once, 3000);
  const other = once.writer.segment?.disks[0]?.index === 0 ? 1 : 0;
  expect(once.flush()).toBe(0);
  // Killed: the end of the log may be there.
  memory.missing.add(other);
  let pool = memory.reopen();
  expect(pool.damaged.has(1)).toBe(true);
  expect(() => pool.disks.checkRemove(other, false)).toThrowError(inUse);
  expect(() => pool.disks.checkRemove(other, true)).not.toThrow();
  // What it had at its end is there, older blocks are not: served or not, they are wanted.
  memory.missing.clear();
  pool = memory.reopen();
  expectFilled(pool.volume(1), 3000);
  memory.createVolume(2, 64 * MIB, 2);
  memory.close();
  memory.missing.add(other);
  pool = memory.reopen();
  expect(() => pool.disks.checkRemove(other, false)).toThrowError(inUse);
  // With it back and everything moved away it may be away again.
  memory.missing.clear();
  pool = memory.reopen();
  pool.disks.drain(other);
  memory.settle();
  memory.close();
  memory.missing.add(other);
  pool = memory.reopen();
  memory.settle();
  expectFilled(pool.volume(1), 3000);
  expect(() => pool.disks.checkRemove(other, false)).not.toThrow();
});

test("a missing disk stops only volumes that need it; when it is back old copies are put right", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 1500);
  const once = memory.createVolume(2, 64 * MIB, 1);
  fill(once, 3000);
  expect(once.flush()).toBe(0);
  memory.missing.add(0);
  let pool = memory.reopen();
  expect(pool.damaged.get(2)).toContain("it waits for disk0, which is missing");
  expect(() => pool.volume(2)).toThrowError(expect.objectContaining({ code: "DISK_MISSING" }));
  expect(pool.damaged.has(1)).toBe(false);
  expectFilled(pool.volume(1), 1500);
  fill(pool.volume(1), 1500, 5);
  expect(pool.volume(1).flush()).toBe(0);
  memory.settle();
  memory.missing.delete(0);
  pool = memory.reopen();
  expect(pool.damaged.size).toBe(0);
  expectFilled(pool.volume(2), 3000);
  memory.settle();
  expect([...memory.suspect]).toEqual([]);
  expect(pool.usage().degradedSegments).toBe(0);
  memory.missing.add(1);
  pool = memory.reopen();
  expectFilled(pool.volume(1), 1500, 5);
});

test("what was written while one disk was away is not taken from that disk alone", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 100);
  memory.missing.add(0);
  const degraded = memory.reopen();
  fill(degraded.volume(1), 100, 5);
  expect(degraded.volume(1).flush()).toBe(0);
  memory.missing.clear();
  memory.missing.add(1);
  expect(memory.reopen().damaged.get(1)).toContain(
    "disk1, which is missing: the end of its log may be there",
  );
});

test("after an orderly end a volume with one copy is served without a disk that has nothing of it", () => {
  const memory = new MemoryPool(1);
  fill(memory.createVolume(1, 64 * MIB), 100);
  memory.addDisk();
  memory.close();
  memory.missing.add(1);
  const pool = memory.reopen();
  expect(pool.damaged.size).toBe(0);
  expectFilled(pool.volume(1), 100);
});

test("scrub puts records and blocks right that went bad on one copy, and names what is lost", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 900);
  memory.pool.sync();
  memory.pool.disks.drain(0);
  memory.pool.disks.undrain(0);
  for (const [disk, offset] of [
    [0, 80],
    [0, INDEX_SIZE + 5 * BLOCK],
    [1, INDEX_SIZE + 6 * BLOCK],
  ] as const) {
    memory.disks[disk]!.content.write(Uint8Array.of(0xee, 0xee), 0, 2, SLOT_0 + offset);
  }
  memory.pool.scrub();
  memory.settle();
  expect(memory.pool.jobs.reports().at(-1)).toMatchObject({
    kind: "scrub",
    state: "done",
    repairedBlocks: 3,
    lostBlocks: 0,
    totalBytes: 2 * SEGMENT_SIZE,
    doneBytes: 2 * SEGMENT_SIZE,
  });
  for (const disk of [0, 1]) {
    memory.disks[disk]!.content.write(Uint8Array.of(0xee, 0xee), 0, 2, SLOT_0 + INDEX_SIZE + 9 * BLOCK);
  }
  memory.createSnapshot(1, "s");
  memory.pool.scrub();
  memory.settle();
  expect(memory.pool.jobs.reports().at(-1)).toMatchObject({ state: "failed", lostBlocks: 2 });
  const block = { offsetBytes: 9 * BLOCK, lengthBytes: BLOCK };
  const lost = [block, { snapshot: "s", ...block }];
  expect(memory.pool.lostRangesOf(1)).toEqual(lost);
  memory.reopen();
  expect(memory.pool.lostRangesOf(1)).toEqual([]);
  memory.pool.prove(1);
  memory.settle();
  const proof = memory.pool.jobs.reports().at(-1);
  expect(proof).toMatchObject({ kind: "prove", state: "failed", lostBlocks: 2 });
  expect(proof?.findings[0]).toBe("block 9: another checksum than in the map on disk0");
  expect(memory.pool.lostRangesOf(1)).toEqual(lost);
  write(memory.pool.volume(1), 9, 1);
  expect(memory.pool.lostRangesOf(1)).toEqual(lost.slice(1));
});

test("a proof tells a run of bad blocks as one, for each disk, however long it is", () => {
  const memory = new MemoryPool(2);
  fill(memory.createVolume(1, 64 * MIB, 2), 900);
  const bad = new Uint8Array(300 * BLOCK).fill(0xff);
  for (const disk of [0, 1]) {
    memory.disks[disk]!.content.write(bad, 0, bad.byteLength, SLOT_0 + INDEX_SIZE + 100 * BLOCK);
  }
  memory.pool.prove(1);
  memory.settle();
  const { findings = [], lostBlocks } = memory.pool.jobs.reports().at(-1) ?? {};
  expect(findings.slice(0, 2)).toEqual(
    ["disk0", "disk1"].map((disk) => `blocks 100 to 399: another checksum than in the map on ${disk}`),
  );
  expect(lostBlocks).toBe(600);
});

test("a proof counts every block whose segment no disk has", () => {
  const memory = new MemoryPool(1);
  fill(memory.createVolume(1, 64 * MIB), 900);
  memory.pool.sync();
  memory.pool.table.visit((segment) => {
    segment.disks = [];
    segment.slots = [];
  });
  memory.pool.prove(1);
  memory.settle();
  const proof = memory.pool.jobs.reports().at(-1);
  expect(proof?.findings).toContain("blocks 0 to 899: in a segment that is not there");
  expect(proof?.lostBlocks).toBeGreaterThanOrEqual(900);
});
