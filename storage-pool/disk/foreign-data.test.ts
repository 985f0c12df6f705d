import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readSuperblock } from "./disk.js";
import { openDiskFile } from "./disk-file.js";

const dir = mkdtempSync(join(tmpdir(), "plinth-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A file of 128 KiB, all zeros but for what `bytes` puts at `offset`. */
function read(offset: number, bytes: Buffer) {
  const path = join(dir, "disk");
  const content = Buffer.alloc(131_072);
  bytes.copy(content, offset);
  writeFileSync(path, content);
  const file = openDiskFile(path);
  try {
    return readSuperblock(file);
  } finally {
    file.close();
  }
}

test.each([
  ["btrfs", 0x1_0040, Buffer.from("_BHRfS_M")],
  ["a member of a Linux RAID", 0x1000, Buffer.from([0xfc, 0x4e, 0x2b, 0xa9])],
  ["an ISO 9660 image", 0x8001, Buffer.from("CD001")],
  ["ZFS", 0x4000, Buffer.from([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])],
])("a disk that begins with zeros and holds %s is not taken for an empty one", (what, offset, bytes) => {
  expect(() => read(offset, bytes)).toThrow(`holds data that is not Plinth's: ${what}`);
  expect(read(offset + 1, bytes)).toBeUndefined();
});

test("a disk of zeros is empty", () => {
  expect(read(0, Buffer.alloc(1))).toBeUndefined();
});
