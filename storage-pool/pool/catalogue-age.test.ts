import { expect, test, vi } from "vitest";
import type { PlinthError } from "../../base/errors/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { CELL_SIZE, STAMP_AT } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(BLOCK);

function write(volume: Volume, block: number, tag: number): void {
  buffer.bytes.fill(tag);
  expect(volume.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  expect(volume.commit()).toBe(0);
  expect(volume.flush()).toBe(0);
}

function tagAt(volume: Volume, block: number): number {
  expect(volume.read(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
  return buffer.bytes[0] as number;
}

/** A pool with a volume in it, stopped. */
function stopped(): MemoryPool {
  const memory = new MemoryPool(1);
  write(memory.createVolume(1, 16 * MIB), 0, 1);
  memory.close();
  return memory;
}

function copyOf({ specs, epoch, nextVolumeId, clean }: MemoryPool) {
  return { specs: [...specs], epoch, nextVolumeId, clean };
}

/** The catalogue as it was copied; everything else as it is. */
function restore(memory: MemoryPool, copy: ReturnType<typeof copyOf>): void {
  memory.specs.clear();
  for (const [id, spec] of copy.specs) memory.specs.set(id, spec);
  memory.epoch = copy.epoch;
  memory.nextVolumeId = copy.nextVolumeId;
  memory.clean = copy.clean;
}

/** As a program wrote the disks that knew no stamps. */
function forgetStamps(memory: MemoryPool): void {
  for (const { content } of memory.disks) content.zero(STAMP_AT, CELL_SIZE);
}

/** The refusal; nothing was changed by it. */
function refusalOf(memory: MemoryPool): PlinthError {
  const changes = memory.disks.flatMap((disk) => [vi.spyOn(disk, "write"), vi.spyOn(disk, "punch")]);
  const files = [...memory.files.files.keys()];
  let refusal: PlinthError | undefined;
  try {
    memory.reopen();
  } catch (thrown) {
    refusal = thrown as PlinthError;
  }
  for (const change of changes) {
    expect(change).not.toHaveBeenCalled();
    change.mockRestore();
  }
  expect([...memory.files.files.keys()]).toEqual(files);
  expect(refusal).toMatchObject({ code: "CATALOGUE_OLD" });
  return refusal as PlinthError;
}

test("a pool that was opened since the catalogue was copied is refused, though nothing was written", () => {
  const memory = stopped();
  const copy = copyOf(memory);
  memory.reopen();
  memory.createSnapshot(1, "kept");
  const now = copyOf(memory);
  restore(memory, copy);
  const { message, remedy, context } = refusalOf(memory);
  expect(message).toMatch(/disk0 was used in opening 2 of the pool, and the catalogue knows of 1$/);
  expect(remedy).toContain("put the newest catalogue back");
  expect(context).toEqual({ epoch: 2, volumeId: 0, epochs: {} });
  restore(memory, now);
  expect([...memory.reopen().volume(1).snapshots.keys()]).toEqual(["kept"]);
});

test("a volume that the catalogue never knew is named with its disk; with the newest catalogue it is all there", () => {
  const memory = stopped();
  memory.reopen();
  const copy = copyOf(memory);
  write(memory.createVolume(2, 16 * MIB), 3, 7);
  const now = copyOf(memory);
  forgetStamps(memory);
  restore(memory, copy);
  expect(refusalOf(memory).message).toMatch(/disk0 holds a log of volume 2, which the catalogue never knew$/);
  restore(memory, now);
  expect(tagAt(memory.reopen().volume(2), 3)).toBe(7);
});

test("a log from a later opening of its volume is named, one of a volume that was deleted is not", () => {
  const memory = stopped();
  const copy = copyOf(memory);
  const pool = memory.reopen();
  write(pool.volume(1), 0, 9);
  write(memory.createVolume(2, 16 * MIB), 0, 1);
  // Deleted, and a crash before its segments were freed.
  memory.specs.delete(2);
  const now = copyOf(memory);
  forgetStamps(memory);
  restore(memory, { ...copy, nextVolumeId: 3 });
  const { message, context } = refusalOf(memory);
  expect(message).toMatch(
    /older than the disks: disk0 holds a log of v1 from its opening 2, and the catalogue knows of 1$/,
  );
  expect(context).toEqual({ epoch: 0, volumeId: 0, epochs: { 1: 2 } });
  restore(memory, now);
  expect(tagAt(memory.reopen().volume(1), 0)).toBe(9);
});

test("many volumes are told by their number", () => {
  const memory = stopped();
  const copy = copyOf(memory);
  for (let id = 2; id < 9; id++) write(memory.createVolume(id, MIB), 0, id);
  forgetStamps(memory);
  restore(memory, copy);
  const { message, context } = refusalOf(memory);
  expect(message).toMatch(/volume 5, which the catalogue never knew; 3 more$/);
  expect(context).toMatchObject({ volumeId: 8 });
});

test("a catalogue that is said to be new enough opens the pool: what is on the disks of its volumes is served", () => {
  const memory = stopped();
  const copy = copyOf(memory);
  const pool = memory.reopen();
  write(pool.volume(1), 0, 9);
  write(memory.createVolume(2, 16 * MIB), 0, 1);
  restore(memory, copy);
  const { epoch, volumeId } = refusalOf(memory).context as { epoch: number; volumeId: number };
  restore(memory, { ...copy, epoch, nextVolumeId: volumeId + 1, clean: false });
  const after = memory.reopen();
  expect(tagAt(after.volume(1), 0)).toBe(9);
  expect(after.table.logOf(2)).toEqual([]);
});

test("a disk that was away while the others were used is no reason to refuse", () => {
  const memory = new MemoryPool(2);
  write(memory.createVolume(1, 16 * MIB, 2), 0, 1);
  memory.missing.add(1);
  write(memory.reopen().volume(1), 0, 2);
  memory.missing.clear();
  expect(tagAt(memory.reopen().volume(1), 0)).toBe(2);
});

test("a catalogue from before a disk came is refused, though the pool was not opened since: flushed writes lie there", () => {
  const memory = new MemoryPool(1);
  const volume = memory.createVolume(1, 16 * MIB);
  write(volume, 0, 1);
  const copy = copyOf(memory);
  // In the order in which the daemon does it: recorded, told to the disks, used.
  memory.epoch++;
  memory.pool.disks.stamp(memory.epoch);
  memory.pool.sync();
  memory.addDisk();
  for (let block = 0; block < 4096; block++) write(volume, block, 7);
  write(volume, 0, 9);
  const now = copyOf(memory);
  memory.removed.add(1);
  restore(memory, copy);
  expect(refusalOf(memory).message).toMatch(
    /disk0 was used in opening 2 of the pool, and the catalogue knows of 1$/,
  );
  memory.removed.clear();
  restore(memory, now);
  expect(tagAt(memory.reopen().volume(1), 0)).toBe(9);
});
