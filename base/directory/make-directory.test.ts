import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { makeDirectory } from "./make-directory.js";

const dir = mkdtempSync(join(tmpdir(), "plinth-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("makes what is missing with its mode, and leaves alone what is there", () => {
  const path = join(dir, "a/b/c");
  makeDirectory(path, 0o700);
  makeDirectory(path, 0o755);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(join(dir, "a")).mode & 0o777).toBe(0o700);
});

test("ends where no directory can be made", () => {
  expect(() => makeDirectory("/proc/sys/none/at/all", 0o700)).toThrow(/ENOENT|EACCES|EPERM|EROFS/);
  writeFileSync(join(dir, "file"), "");
  expect(() => makeDirectory(join(dir, "file/below"), 0o700)).toThrow(/ENOTDIR|EEXIST/);
  expect(() => makeDirectory(join(dir, "file"), 0o700)).toThrow("EEXIST");
});
