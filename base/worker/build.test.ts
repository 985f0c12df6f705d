import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Build } from "./build.js";

test("a folder that was built anew, or is gone, is told from others", () => {
  const directory = mkdtempSync("/tmp/build-");
  try {
    const note = (folder: string, text: string): void =>
      writeFileSync(join(directory, `${folder}.tsbuildinfo`), text);
    note("base", "1");
    note("vswitch", "1");
    const build = new Build(directory);
    expect(build.isReplaced(["base", "vswitch", "none"])).toBe(false);
    note("vswitch", "22");
    expect(build.isReplaced(["base"])).toBe(false);
    expect(build.isReplaced(["base", "vswitch"])).toBe(true);
    rmSync(directory, { recursive: true });
    expect(build.isReplaced(["base"])).toBe(true);
    const unnoted = new Build(directory);
    expect(unnoted.isReplaced(["base"])).toBe(false);
    mkdirSync(directory);
    expect(unnoted.isReplaced(["base"])).toBe(false);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
