import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { auditCounts } from "../pool/count-audit.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Volume } from "../volume/volume.js";
import { checksum } from "./checksum.js";
import {
  encodeMapHeader,
  encodeMapTrailer,
  FORMAT_VERSION,
  PAGE_SIZE,
  parseMapHeader,
  parseMapTrailer,
  TABLE_ENTRY_SIZE,
  TABLE_ENTRY_SIZE_OLD,
} from "./format.js";

const BLOCK = 4096;
const MIB = 1024 * 1024;
const buffer = new DataBuffer(BLOCK);

/** A volume with a block in each of five pages, closed in order. */
function stored(): { memory: MemoryPool; name: string } {
  const memory = new MemoryPool(1, 64 * MIB);
  const volume = memory.createVolume(1, 16 * MIB);
  for (let i = 0; i < 5; i++) {
    buffer.bytes.fill(i + 1);
    expect(volume.stageWrite(buffer, 0, (i * 512 + i) * BLOCK, BLOCK)).toBe(0);
  }
  expect(volume.commit()).toBe(0);
  memory.close();
  return { memory, name: memory.specs.get(1)!.mapFile };
}

interface Parts {
  readonly pages: Uint8Array;
  readonly table: Uint8Array;
  readonly header: NonNullable<ReturnType<typeof parseMapHeader>>;
  readonly trailer: NonNullable<ReturnType<typeof parseMapTrailer>>;
}

function partsOf(file: Uint8Array): Parts {
  const header = parseMapHeader(file.slice(0, BLOCK))!;
  const tableAt = BLOCK + header.pageCount * PAGE_SIZE;
  const end = tableAt + header.entryCount * TABLE_ENTRY_SIZE;
  const trailer = parseMapTrailer(file.slice(end))!;
  return { header, trailer, pages: file.slice(BLOCK, tableAt), table: file.slice(tableAt, end) };
}

/** The file with another version and another table. */
function put({ header, trailer, pages }: Parts, formatVersion: number, table: Uint8Array): Uint8Array {
  return new Uint8Array(
    Buffer.concat([
      encodeMapHeader({ ...header, formatVersion }),
      pages,
      table,
      encodeMapTrailer({ ...trailer, tableChecksum: checksum(table, 0, table.byteLength) }),
    ]),
  );
}

function expectContent(memory: MemoryPool): void {
  const volume = memory.pool.volume(1);
  expect(volume.head.map.mappedBlocks).toBe(5);
  for (let i = 0; i < 5; i++) {
    expect(volume.read(buffer, 0, (i * 512 + i) * BLOCK, BLOCK)).toBe(0);
    expect(buffer.bytes[0]).toBe(i + 1);
  }
}

test("a map of version 3, whose table does not say what pages hold, is read and becomes one of today", () => {
  const { memory, name } = stored();
  const parts = partsOf(memory.files.files.get(name)!);
  const old = new Uint8Array(parts.header.entryCount * TABLE_ENTRY_SIZE_OLD);
  for (let i = 0; i < parts.header.entryCount; i++) {
    const at = i * TABLE_ENTRY_SIZE;
    old.set(parts.table.subarray(at, at + TABLE_ENTRY_SIZE_OLD), i * TABLE_ENTRY_SIZE_OLD);
  }
  memory.files.files.set(name, put(parts, 3, old));
  const pool = memory.reopen();
  expectContent(memory);
  expect(auditCounts(pool.volumes.values(), pool.table)).toEqual([]);
  buffer.bytes.fill(9);
  expect(pool.volume(1).stageWrite(buffer, 0, 9 * BLOCK, BLOCK)).toBe(0);
  expect(pool.volume(1).stageUnmap(9 * BLOCK, BLOCK)).toBe(0);
  memory.close();
  const newer = memory.files.files.get(memory.specs.get(1)!.mapFile)!;
  expect(parseMapHeader(newer.slice(0, BLOCK))?.formatVersion).toBe(FORMAT_VERSION);
  memory.reopen();
  expectContent(memory);
});

test("a newer map is refused", () => {
  const { memory, name } = stored();
  const parts = partsOf(memory.files.files.get(name)!);
  memory.files.files.set(name, put(parts, FORMAT_VERSION + 1, parts.table));
  expect(() => memory.reopen()).toThrowError(expect.objectContaining({ code: "DISK_FORMAT" }));
});

test.each([
  ["a page beyond the volume", 0, 1 << 20],
  ["a page twice", 0, 1],
  ["a file that it does not name", 4, 7],
  ["a place beyond the file's end", 8, 5],
  ["more blocks than a page has", 16, 513],
])("a table that says %s makes the volume refused, not served wrongly", (_, at, value) => {
  const { memory, name } = stored();
  const parts = partsOf(memory.files.files.get(name)!);
  const table = parts.table.slice();
  new DataView(table.buffer).setUint32(2 * TABLE_ENTRY_SIZE + at, value, true);
  memory.files.files.set(name, put(parts, 4, table));
  memory.reopen();
  expect(() => memory.pool.volume(1)).toThrowError(
    expect.objectContaining({ code: "VOLUME_DAMAGED", message: expect.stringContaining("impossible table") }),
  );
});

test("after a start maps share branches where they have the same pages, and part when one is written to", () => {
  const GIB = 1024 * MIB;
  const memory = new MemoryPool(1, 96 * MIB);
  const volume = memory.createVolume(1, 3 * GIB);
  const write = (to: Volume, block: number, tag: number) => {
    buffer.bytes.fill(tag);
    expect(to.stageWrite(buffer, 0, block * BLOCK, BLOCK)).toBe(0);
    expect(to.commit()).toBe(0);
  };
  for (const gib of [0, 1, 2]) write(volume, gib * 2 ** 18, gib + 1);
  memory.createSnapshot(1, "old");
  memory.createSnapshot(1, "new");
  write(volume, 2 ** 18 + 7, 9);
  memory.close();
  const after = memory.reopen().volume(1);
  const branches = (name: string) => after.snapshots.get(name)!.map.branches;
  expect(branches("new")).toEqual(branches("old"));
  for (const at of [0, 1, 2]) expect(branches("new")[at]).toBe(branches("old")[at]);
  const shared = after.head.map.branches.map((branch, at) => branch === branches("new")[at]);
  expect(shared).toEqual([true, false, true]);
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
  write(after, 0, 42);
  expect(after.head.map.branches[0]).not.toBe(branches("new")[0]);
  const old = after.snapshots.get("old")!;
  expect(after.read(buffer, 0, 0, BLOCK, true, old)).toBe(0);
  expect(buffer.bytes[0]).toBe(1);
  memory.pool.deleteSnapshot(1, "old");
  memory.pool.deleteSnapshot(1, "new");
  memory.settle();
  expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
  expect(memory.pool.table.liveBlocks).toBe(4);
});
