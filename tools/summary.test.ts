import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeTotals, type Summary, summarise } from "./summary.mjs";

const ROOT = join(import.meta.dirname, "..");
let summary: Summary;
let dir: string;

/** A real run of vitest over files that fail, skip and do not load. */
beforeAll(() => {
  // Below the project, so that the files find vitest.
  dir = mkdtempSync(join(ROOT, "node_modules", ".summary-"));
  const file = (name: string, text: string): void => writeFileSync(join(dir, name), text);
  const head = 'import { describe, expect, it } from "vitest";\n';
  file(
    "a.test.mjs",
    `${head}describe("sums", () => {
       it("adds", () => expect(1 + 1).toBe(2));
       it("is wrong", () => { throw new Error("two is not\\nthree"); });
     });
     describe("as root", { skip: true, meta: { needs: "root" } }, () => it("reads all", () => {}));
     it("is lazy", { skip: true }, () => {});
     it("comes later", { todo: true });`,
  );
  file("b.test.mjs", 'import "./nowhere.mjs";');
  file(
    "c.test.mjs",
    `${head}import { beforeAll } from "vitest";
     beforeAll(() => { throw new Error("no machine"); });
     it("never runs", () => {});`,
  );
  const report = join(dir, "report.json");
  const vitest = join(ROOT, "node_modules", "vitest", "vitest.mjs");
  const argv = [
    vitest,
    "run",
    "--root",
    dir,
    "--reporter=json",
    `--outputFile=${report}`,
    "--config",
    "none.mjs",
  ];
  file("none.mjs", "export default {};");
  try {
    execFileSync(process.execPath, argv, { cwd: dir, stdio: "ignore", timeout: 110_000 });
  } catch {
    // Tests fail here on purpose; what happened is in the report.
  }
  summary = summarise(JSON.parse(readFileSync(report, "utf8")), dir);
}, 120_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("summarise()", () => {
  it("names every failed test with the first line of its error", () => {
    expect(summary.failed).toContainEqual("a.test.mjs > sums > is wrong: Error: two is not");
  });

  it("names files that do not load and hooks that fail", () => {
    expect(summary.failed).toContainEqual(expect.stringMatching(/^b\.test\.mjs: .*nowhere/));
    expect(summary.failed.filter((line) => line.startsWith("c.test.mjs"))).toEqual([
      expect.stringContaining("no machine"),
    ]);
    expect(summary.failed).toHaveLength(3);
  });

  it("names every test that did not run, and what it needs", () => {
    expect([...summary.skipped].filter((line) => line.startsWith("a.")).sort()).toEqual([
      "a.test.mjs > as root > reads all: needs root",
      "a.test.mjs > comes later: not written yet",
      "a.test.mjs > is lazy: left out without a reason",
    ]);
  });

  it("blames the file for tests that a failed hook kept from running", () => {
    expect(summary.skipped).toContainEqual("c.test.mjs > never runs: its file failed");
  });

  it("counts what passed", () => expect(summary.ok).toBe(1));
});

describe("describeTotals()", () => {
  it("lists what each run has passed, and adds it up", () => {
    const runs = [
      { name: "NORMAL", seed: 7, frames: 1000, cases: 3, framesOut: 900 },
      { name: "mirrors", seed: 123_456, frames: 50, cases: 1, framesOut: 120 },
    ];
    const lines = describeTotals(runs.map((run) => `${JSON.stringify(run)}\n`).join(""));
    expect(lines.slice(1).map((line) => line.split(/\s{2,}/))).toEqual([
      ["beside Open vSwitch, no difference", "frames", "cases", "left", "from seed"],
      ["NORMAL", "1000", "3", "900", "7"],
      ["mirrors", "50", "1", "120", "123456"],
      ["together", "1050", "4", "1020"],
    ]);
  });
});
