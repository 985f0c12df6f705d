import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockFile, lockHolder } from "./index.js";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(() => rmSync(dir, { recursive: true }));

test("lockFile() refuses a second holder in this process and names it", () => {
  const path = `${dir}/l`;
  expect(lockHolder(path)).toBeUndefined();
  const lock = lockFile(path);
  expect(() => lockFile(path)).toThrowError(
    expect.objectContaining({ code: "ALREADY_RUNNING", context: { path, pid: process.pid } }),
  );
  expect(lockHolder(path)).toBe(process.pid);
  lock.close();
  lock.close();
  expect(lockHolder(path)).toBeUndefined();
  lockFile(path).close();
});

test("lockFile() names another process, and the lock falls when that one is killed", async () => {
  const path = `${dir}/l`;
  const door = new URL("../../dist/base/linux/index.js", import.meta.url).href;
  const script = `const { lockFile } = await import(${JSON.stringify(door)});
    lockFile(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(child.stdout, "data");
    expect(lockHolder(path)).toBe(child.pid);
    expect(() => lockFile(path)).toThrowError(
      expect.objectContaining({
        code: "ALREADY_RUNNING",
        message: expect.stringContaining(`process ${child.pid}`),
      }),
    );
  } finally {
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
  expect(lockHolder(path)).toBeUndefined();
  lockFile(path).close();
});
