import { mkdtempSync, rmSync, statSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  addressOf,
  adviseWillNeed,
  beginWriteBack,
  closeFile,
  duplicateFile,
  fdatasyncFile,
  fsyncFile,
  IoVectors,
  O_CREAT,
  O_RDWR,
  openFile,
  preadFile,
  punchHole,
  pwriteFile,
  sysPread,
  sysPreadv,
  sysPwritev,
  truncateFile,
} from "./index.js";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(() => rmSync(dir, { recursive: true }));

test("pwriteFile() and preadFile() carry bytes at offsets beyond 4 GiB", () => {
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  const offset = 5 * 2 ** 30 + 3;
  pwriteFile(fd, new TextEncoder().encode("plinth"), offset);
  fdatasyncFile(fd);
  fsyncFile(fd);
  const back = new Uint8Array(10);
  expect(preadFile(fd, back, offset)).toBe(6);
  expect(new TextDecoder().decode(back.subarray(0, 6))).toBe("plinth");
  closeFile(fd);
});

test("preadFile() fills a view that starts inside its buffer and nothing around it", () => {
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  pwriteFile(fd, Uint8Array.of(1, 2, 3, 4), 0);
  const whole = new Uint8Array(16);
  expect(preadFile(fd, whole.subarray(5, 9), 0)).toBe(4);
  expect([...whole]).toEqual([0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0]);
  closeFile(fd);
});

test("sysPwritev() and sysPreadv() gather and scatter", () => {
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  const a = new Uint8Array(4).fill(1);
  const b = new Uint8Array(8).fill(2);
  const vectors = new IoVectors(2);
  vectors.set(0, addressOf(a), 4);
  vectors.set(1, addressOf(b), 8);
  expect(sysPwritev(fd, vectors.address, 2, 0)).toBe(12);
  a.fill(0);
  b.fill(0);
  expect(sysPreadv(fd, vectors.address, 2, 0)).toBe(12);
  expect([...a, ...b]).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
  closeFile(fd);
});

test("adviseWillNeed() and beginWriteBack() change nothing that is read, and are no error where they cannot be done", () => {
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  pwriteFile(fd, Uint8Array.of(1, 2, 3, 4), 0);
  beginWriteBack(fd, 0, 4096);
  adviseWillNeed(fd, 0, 4096);
  const back = new Uint8Array(4);
  expect(preadFile(fd, back, 0)).toBe(4);
  expect([...back]).toEqual([1, 2, 3, 4]);
  closeFile(fd);
  expect(() => adviseWillNeed(-1, 0, 4096)).not.toThrow();
  expect(() => beginWriteBack(-1, 0, 4096)).not.toThrow();
});

test("punchHole() gives blocks back and leaves the size", () => {
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  pwriteFile(fd, new Uint8Array(1 << 20).fill(7), 0);
  fsyncFile(fd);
  const before = statSync(`${dir}/f`);
  punchHole(fd, 0, 1 << 20);
  fsyncFile(fd);
  const after = statSync(`${dir}/f`);
  expect(after.size).toBe(1 << 20);
  expect(after.blocks).toBeLessThan(before.blocks);
  truncateFile(fd, 10);
  expect(statSync(`${dir}/f`).size).toBe(10);
  closeFile(fd);
});

test("failed calls throw a PlinthError whose code is the errno's name", () => {
  expect(() => openFile(`${dir}/missing`, O_RDWR)).toThrowError(
    expect.objectContaining({ code: "ENOENT", message: expect.stringContaining(`${dir}/missing`) }),
  );
  const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
  const second = duplicateFile(fd);
  closeFile(fd);
  expect(() => closeFile(fd)).toThrowError(expect.objectContaining({ code: "EBADF" }));
  expect(sysPread(second, addressOf(new Uint8Array(1)), 1, 0)).toBe(0);
  closeFile(second);
  expect(sysPread(second, addressOf(new Uint8Array(1)), 1, 0)).toBe(-9);
});
