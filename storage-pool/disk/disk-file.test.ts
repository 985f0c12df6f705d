import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { EAGAIN } from "../errors.js";
import { DataBuffer } from "./data-buffer.js";
import { openDiskFile } from "./disk-file.js";

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
