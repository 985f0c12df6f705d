import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { closeFile, createMemfd, hasSealShrink, sealShrink } from "../linux/index.js";
import { GuestMemory } from "./guest-memory.js";
import { GuestWindow } from "./guest-window.js";

let window: GuestWindow;
let fds: number[] = [];
beforeEach(() => {
  window = new GuestWindow(64 << 20);
});
afterEach(() => {
  window.close();
  for (const fd of fds) closeFile(fd);
  fds = [];
});

function memfd(sizeBytes: number): number {
  const fd = createMemfd("guest", sizeBytes);
  fds.push(fd);
  return fd;
}
const region = (guestAddress: number, sizeBytes: number, fileOffset = 0) => ({
  guestAddress,
  sizeBytes,
  userAddress: guestAddress + 0x7000_0000_0000,
  fileOffset,
});

test("translate() answers only for ranges inside one region", () => {
  const memory = new GuestMemory(window);
  const fd = memfd(0x5000);
  memory.map([region(0x1000, 0x2000), region(0x1_0000_0000, 0x3000, 0x2000)], [fd, fd]);
  expect(hasSealShrink(fd)).toBe(true);
  const first = memory.translate(0x1000, 0, 0x2000);
  const second = memory.translate(0, 1, 0x3000);
  expect(first).toBeGreaterThanOrEqual(0);
  expect(memory.translate(0x2fff, 0, 1)).toBe(first + 0x1fff);
  expect(memory.translateUser(0x7001_0000_0010, 4)).toBe(second + 0x10);
  for (const [low, high, length] of [
    [0x0fff, 0, 1],
    [0x0fff, 0, 2],
    [0x2fff, 0, 2],
    [0x3000, 0, 1],
    [0x1000, 0, 0x2001],
    [0x1000, 0, 0xffff_ffff],
    [0xffff_ffff, 0, 1],
    [0xffff_ffff, 0xffff_ffff, 2],
    [0x1000, 0x8000_0000, 1],
    [0x2fff, 1, 2],
  ] as const) {
    expect(memory.translate(low, high, length)).toBe(-1);
  }
  memory.unmap();
  expect(memory.translate(0x1000, 0, 1)).toBe(-1);
  expect(window.reservedBytes).toBe(0);
});

test("two guests see their own files, and bytes move between them by copyWithin", () => {
  const a = new GuestMemory(window);
  const b = new GuestMemory(window);
  a.map([region(0, 0x1000)], [memfd(0x1000)]);
  b.map([region(0, 0x1000)], [memfd(0x1000)]);
  const from = a.translate(16, 0, 4);
  const to = b.translate(32, 0, 4);
  window.bytes.set([1, 2, 3, 4], from);
  window.bytes.copyWithin(to, from, from + 4);
  expect([...window.bytes.slice(to, to + 4)]).toEqual([1, 2, 3, 4]);
  a.unmap();
  expect(window.bytes[to]).toBe(1);
  b.unmap();
});

test.each([
  ["a file that is too short", [region(0, 0x3000)]],
  ["an offset beyond the file", [region(0, 0x1000, 0x2000)]],
  ["overlapping regions", [region(0, 0x2000), region(0x1000, 0x1000)]],
  ["an empty region", [region(0, 0)]],
  ["a size that is no multiple of a page", [region(0, 100)]],
  ["an end beyond 2^53", [region(2 ** 53 - 0x1000, 0x1000)]],
] as const)("map() refuses %s and keeps nothing", (_name, regions) => {
  const memory = new GuestMemory(window);
  const fd = memfd(0x2000);
  expect(() => memory.map(regions, [fd, fd])).toThrowError(
    expect.objectContaining({ code: "GUEST_MEMORY_INVALID" }),
  );
  expect(memory.regionCount).toBe(0);
  expect(window.reservedBytes).toBe(0);
});

test("map() names guest memory that has no room", () => {
  const memory = new GuestMemory(window);
  expect(() => memory.map([region(0, 128 << 20)], [memfd(128 << 20)])).toThrowError(
    expect.objectContaining({ code: "GUEST_MEMORY_TOO_LARGE" }),
  );
});

test("a file that is not sealed and cannot be is refused unless allowed", () => {
  const fd = memfd(0x1000);
  sealShrink(fd);
  expect(() => new GuestMemory(window).map([region(0, 0x1000)], [fd])).not.toThrow();
  const plain = 0; // standard input is no regular file here
  expect(() => new GuestMemory(window).map([region(0, 0x1000)], [plain])).toThrowError(
    expect.objectContaining({ code: "GUEST_MEMORY_INVALID" }),
  );
  const dir = mkdtempSync("/tmp/pl-memory-");
  const path = join(dir, "file"); // on a file system without seals
  writeFileSync(path, new Uint8Array(0x1000));
  const file = openSync(path, "r+");
  fds.push(file);
  rmSync(dir, { recursive: true });
  expect(() => new GuestMemory(window).map([region(0, 0x1000)], [file])).toThrowError(
    "its file is not sealed against shrinking; use memory-backend-memfd, or allow-unsealed-memory",
  );
  expect(() =>
    new GuestMemory(window, { allowUnsealed: true }).map([region(0, 0x1000)], [file]),
  ).not.toThrow();
});

test("a GuestWindow gives out the lowest free range and never overlaps", () => {
  const a = window.reserve(0x3000);
  const b = window.reserve(0x1000);
  const c = window.reserve(0x1000, 0x20_0000);
  expect([a, b]).toEqual([0, 0x3000]);
  expect((window.memory.address + c) % 0x20_0000).toBe(0);
  window.giveBack(a);
  expect(window.reserve(0x2000)).toBe(0);
  expect(window.reserve(0x1000)).toBe(0x2000);
  expect(window.reserve(64 << 20)).toBe(-1);
});

test("a region added twice goes with the second removal, and one in its place is refused", () => {
  const memory = new GuestMemory(window);
  const fd = memfd(0x4000);
  memory.map([region(0x10_0000, 0x1000)], [memfd(0x1000)]);
  memory.add(region(0x1000, 0x2000), fd);
  memory.add(region(0x1000, 0x2000), fd);
  expect(memory.regionCount).toBe(2);
  for (const [other, file] of [
    [region(0x1000, 0x2000), memfd(0x4000)],
    [region(0x1000, 0x2000, 0x1000), fd],
    [region(0x1000, 0x1000), fd],
  ] as const) {
    expect(() => memory.add(other, file)).toThrowError(
      expect.objectContaining({ code: "GUEST_MEMORY_INVALID" }),
    );
  }
  memory.remove(region(0x10_0000, 0x1000));
  memory.remove(region(0x1000, 0x2000));
  expect(memory.translate(0x1000, 0, 0x2000)).toBeGreaterThanOrEqual(0);
  memory.remove(region(0x1000, 0x2000));
  expect(memory.translate(0x1000, 0, 1)).toBe(-1);
  expect(window.reservedBytes).toBe(0);
  expect(() => memory.remove(region(0x1000, 0x2000))).toThrowError(/there is no region/);
});
