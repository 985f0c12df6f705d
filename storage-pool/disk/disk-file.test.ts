import { cpSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { EAGAIN } from "../errors.js";
import { encodeSuperblock, STAMP_AT } from "../log/format.js";
import { DataBuffer } from "./data-buffer.js";
import { formatDisk, openDisk } from "./disk.js";
import { openDiskFile } from "./disk-file.js";
import { probeDisk } from "./probe-disk.js";

const SIZE = 64 * 1024;
let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/df-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test("a read that does not wait brings the bytes, or EAGAIN until they are in memory", async () => {
  const file = openDiskFile(join(dir, "disk"));
  const [written, read] = [new DataBuffer(SIZE), new DataBuffer(SIZE)];
  for (let i = 0; i < SIZE; i++) written.bytes[i] = i >>> 4;
  expect(file.write(written, 0, SIZE, 4096)).toBe(0);
  expect(file.sync() === 0).toBe(true);
  const outcomes = new Set<number>();
  await waitFor(
    () => {
      const result = file.read(read, 0, SIZE, 4096, false);
      outcomes.add(result);
      return result === 0;
    },
    "what was written is not in memory",
    30_000,
    1,
  );
  for (const outcome of outcomes) expect([0, EAGAIN]).toContain(outcome);
  expect(read.bytes.equals(written.bytes)).toBe(true);
  // Beyond the end there is nothing to wait for.
  expect(file.read(read, 0, SIZE, 1024 * 1024, false)).toBe(0);
  expect(read.bytes.every((byte) => byte === 0)).toBe(true);
  file.close();
});

test("a file that is not at its path any more is known, and known again when it is back", () => {
  const path = join(dir, "disk");
  const file = openDiskFile(path);
  const head = new DataBuffer(4096);
  head.bytes.fill(7);
  expect(file.write(head, 0, 4096, 0)).toBe(0);
  expect(file.isInPlace()).toBe(true);
  renameSync(path, `${path}.moved`);
  expect(file.isInPlace()).toBe(false);
  // Something else of its name is not it.
  openDiskFile(path).close();
  expect(file.isInPlace()).toBe(false);
  rmSync(path, { recursive: true });
  // Nor is what was copied from it just now.
  cpSync(`${path}.moved`, path, { recursive: true });
  expect(file.isInPlace()).toBe(false);
  rmSync(path, { recursive: true });
  renameSync(`${path}.moved`, path);
  expect(file.isInPlace()).toBe(true);
  rmSync(path, { recursive: true });
  expect(file.isInPlace()).toBe(false);
  file.close();
});

test("a disk that was away is asked for by its pool, its place and its id", async () => {
  const path = join(dir, "disk");
  const wanted = { path, index: 1, diskId: "d1" };
  expect(await probeDisk("p", wanted)).toMatch(/^not there/);
  const file = openDiskFile(path);
  expect(await probeDisk("p", wanted)).toBe("is not disk 1 of this pool");
  formatDisk(file, { poolId: "p", poolName: "p", diskId: "d1", diskIndex: 1, diskCount: 2 });
  expect(await probeDisk("p", wanted)).toBe("");
  expect(await probeDisk("p", { ...wanted, diskId: "" })).toBe("");
  expect(await probeDisk("q", wanted)).toBe("is not disk 1 of this pool");
  expect(await probeDisk("p", { ...wanted, index: 0 })).toBe("is not disk 0 of this pool");
  expect(await probeDisk("p", { ...wanted, diskId: "d2" })).toContain("gave its place to another");
  expect(() => openDisk(file, "p", 1, "d2")).toThrowError(expect.objectContaining({ code: "DISK_FOREIGN" }));
  // One that was never stamped, as formatting leaves it, cannot have been used.
  expect(await probeDisk("p", { ...wanted, usedEpoch: 0 })).toBe("");
  expect(await probeDisk("p", { ...wanted, usedEpoch: 1 })).toContain("is an older copy of the disk");
  openDisk(file, "p", 1).stamp(3);
  expect(await probeDisk("p", { ...wanted, usedEpoch: 3 })).toBe("");
  expect(await probeDisk("p", { ...wanted, usedEpoch: 4 })).toBe(
    "is an older copy of the disk: it was used last in opening 3 of the pool, and the disk itself in opening 4",
  );
  expect(() => openDisk(file, "p", 1, "d1", 4)).toThrowError(expect.objectContaining({ code: "DISK_OLD" }));
  expect(openDisk(file, "p", 1, "d1", 2).lastEpoch).toBe(3);
  // A stamp that was torn tells nothing.
  const torn = new DataBuffer(4096);
  torn.bytes.fill(0x55);
  expect(file.write(torn, 0, 8, STAMP_AT)).toBe(0);
  expect(openDisk(file, "p", 1, "d1", 4).lastEpoch).toBe(0);
  const newer = new DataBuffer(4096);
  newer.bytes.set(encodeSuperblock({ ...openDisk(file, "p", 1).superblock, formatVersion: 99 }));
  expect(file.write(newer, 0, 4096, 0)).toBe(0);
  expect(await probeDisk("p", wanted)).toContain("has format 99");
  file.close();
});
