import { expect, test } from "vitest";
import {
  closeFile,
  createMemfd,
  FileMapping,
  hasSealShrink,
  MemoryBlock,
  MemoryWindow,
  preadFile,
  pwriteFile,
  sealShrink,
  truncateFile,
} from "./index.js";

test("a MemoryBlock is zero-filled, and using it after free() is harmless", () => {
  const block = new MemoryBlock(5000);
  const bytes = new Uint8Array(block.buffer);
  expect(bytes.length).toBe(8192);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  bytes[8191] = 9;
  block.free();
  block.free();
  expect(bytes[8191]).toBe(0);
  bytes[0] = 1;
});

test("a MemoryWindow shows two files side by side and survives their replacement", () => {
  const a = createMemfd("a", 8192);
  const b = createMemfd("b", 4096);
  pwriteFile(a, Uint8Array.of(1), 4096);
  pwriteFile(b, Uint8Array.of(2), 0);
  const window = new MemoryWindow(1 << 30);
  const bytes = new Uint8Array(window.buffer);
  window.mapFile(0, 4096, a, 4096);
  window.mapFile(4096, 4096, b, 0);
  expect([bytes[0], bytes[4096]]).toEqual([1, 2]);
  bytes.copyWithin(1, 4096, 4097);
  const back = new Uint8Array(2);
  preadFile(a, back, 4096);
  expect([...back]).toEqual([1, 2]);
  window.mapAnonymous(0, 8192);
  expect([bytes[0], bytes[4096]]).toEqual([0, 0]);
  bytes[0] = 77;
  preadFile(a, back, 4096);
  expect([...back]).toEqual([1, 2]);
  window.unmap(0, 8192);
  window.release();
  window.release();
  expect(bytes[0]).toBe(0);
  closeFile(a);
  closeFile(b);
});

test("a MemoryWindow refuses ranges outside itself", () => {
  const window = new MemoryWindow(8192);
  for (const [offset, length] of [
    [8192, 4096],
    [0, 12288],
    [-4096, 4096],
    [1, 4096],
    [0, 0],
  ] as const) {
    expect(() => window.mapAnonymous(offset, length)).toThrowError(
      expect.objectContaining({ code: "WINDOW_RANGE" }),
    );
  }
  window.release();
});

test("a view above 4 GiB is refused instead of aborting the process", () => {
  expect(() => new MemoryWindow(2 ** 32)).toThrowError(expect.objectContaining({ code: "VIEW_TOO_LARGE" }));
});

test("sealShrink() makes a memfd keep its size", () => {
  const fd = createMemfd("sealed", 8192);
  expect(hasSealShrink(fd)).toBe(false);
  expect(sealShrink(fd)).toBe(true);
  expect(hasSealShrink(fd)).toBe(true);
  expect(() => truncateFile(fd, 4096)).toThrowError(expect.objectContaining({ code: "EPERM" }));
  const mapping = new FileMapping(fd, 8192);
  new Uint8Array(mapping.buffer)[8191] = 5;
  const back = new Uint8Array(1);
  preadFile(fd, back, 8191);
  expect(back[0]).toBe(5);
  mapping.unmap();
  closeFile(fd);
});
