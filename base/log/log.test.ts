import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger, RotatingFile } from "./index.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/plog-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("RotatingFile", () => {
  it("keeps every line of the last two files and stays under its bound", () => {
    const path = join(dir, "deep", "x.log");
    const file = new RotatingFile(path, 100);
    for (let i = 0; i < 30; i++) file.write(`line ${String(i).padStart(2, "0")}\n`);
    expect(statSync(path).size).toBeLessThanOrEqual(100);
    expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(100);
    const lines = (readFileSync(`${path}.1`, "utf8") + readFileSync(path, "utf8")).trim().split("\n");
    expect(lines.at(-1)).toBe("line 29");
    const numbers = lines.map((line) => Number(line.slice(5)));
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] as number) + i));
  });

  it("goes on from the size that an earlier process left", () => {
    const path = join(dir, "x.log");
    new RotatingFile(path, 20).write("0123456789\n");
    new RotatingFile(path, 20).write("abcdefghij\n");
    expect(readFileSync(path, "utf8")).toBe("abcdefghij\n");
    expect(readFileSync(`${path}.1`, "utf8")).toBe("0123456789\n");
  });
});

describe("createLogger()", () => {
  it("writes one JSON object per line with name, level and time", () => {
    const path = join(dir, "d.log");
    createLogger({ name: "vswitchd", file: path }).info({ port: 3 }, "port added");
    const line = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    expect(line).toMatchObject({ name: "vswitchd", level: "info", port: 3, msg: "port added" });
    expect(Date.parse(String(line["time"]))).toBeGreaterThan(0);
  });

  it("goes on in a new file when its own was moved, also for a child", () => {
    const path = join(dir, "d.log");
    const log = createLogger({ name: "vswitchd", file: path }).child({ bridge: "br0" });
    log.info("before");
    renameSync(path, `${path}.old`);
    log.reopen?.();
    log.info("after");
    expect(readFileSync(`${path}.old`, "utf8")).toContain('"msg":"before"');
    expect(readFileSync(path, "utf8").trim().split("\n")).toEqual([expect.stringContaining('"msg":"after"')]);
    expect(createLogger({ name: "vswitchd" }).reopen).toBeUndefined();
  });
});
