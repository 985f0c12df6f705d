// `npm test`: sets up what the tests need, runs every suite and ends with one line of totals.
// Plain JavaScript without dependencies.
//   npm test                  everything
//   npm test -- unit sim      only these suites
//   npm test -- --quick       build, lint, tidy, unit and property (npm run ok)
//   npm test -- --nightly     everything, with the long variants (PLINTH_NIGHTLY=1)
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { START_PROGRAMS, TEST_PROGRAMS } from "./programs/catalogue.mjs";
import { ensurePackageLists, ensurePrograms } from "./programs/install.mjs";
import { build, checkPlatform, ensurePackages, ROOT } from "./setup.mjs";

/** Minutes that each suite may take; going over is printed, not failed: the machines are shared. */
const BUDGET_MINUTES = { install: 5, unit: 2, property: 2, sim: 6, conformance: 10, e2e: 10 };
const SUITES = ["unit", "property", "sim", "conformance", "e2e"];
const FOLDER_OF = { sim: "test/sim", conformance: "test/conformance", e2e: "test/e2e" };

const args = process.argv.slice(2);
const quick = args.includes("--quick");
const named = args.filter((arg) => !arg.startsWith("-"));
const unknown = named.filter((name) => !SUITES.includes(name));
if (unknown.length > 0) {
  console.error(`unknown suite ${unknown.join(", ")}; there are ${SUITES.join(", ")}`);
  process.exit(2);
}
const chosen = named.length > 0 ? named : quick ? ["unit", "property"] : SUITES;
const wantsPrograms = chosen.some((suite) => suite === "conformance" || suite === "e2e");
if (args.includes("--nightly")) process.env.PLINTH_NIGHTLY = "1";

const results = [];
let passed = 0;
let failed = 0;

const scratch = mkdtempSync(join(tmpdir(), "plinth-test-"));
try {
  step("install", () => {
    checkPlatform();
    ensurePackages();
    build();
    if (wantsPrograms) {
      ensurePrograms([...START_PROGRAMS, ...TEST_PROGRAMS]);
      ensurePackageLists("linux-image-cloud-amd64");
    }
  });
  if (failed === 0) {
    if (quick) {
      step("lint", () => tool("lint", ["node_modules/@biomejs/biome/bin/biome", "check", "."]));
      step("tidy", () => tool("tidy", ["dist/tools/tidy.js"]));
    }
    for (const suite of chosen) runSuite(suite);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

console.log("\nsuite         passed  failed  minutes  budget");
for (const { name, ok, bad, minutes } of results) {
  const budget = BUDGET_MINUTES[name];
  const over = budget !== undefined && minutes > budget ? "  OVER BUDGET" : "";
  console.log(
    `${name.padEnd(13)} ${String(ok).padStart(6)}  ${String(bad).padStart(6)}  ${minutes.toFixed(1).padStart(7)}  ${String(budget ?? "").padStart(6)}${over}`,
  );
}
if (!existsSync(join(ROOT, "..", "shared", "conformance"))) {
  console.log("not run: packet vectors (../shared/conformance is not here)");
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

function step(name, work) {
  const begin = performance.now();
  let ok = 1;
  try {
    work();
  } catch (error) {
    ok = 0;
    failed++;
    console.error(`${name}: ${error.message}`);
  }
  results.push({ name, ok, bad: 1 - ok, minutes: (performance.now() - begin) / 60_000 });
}

function tool(what, argv) {
  const done = spawnSync(process.execPath, argv, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  if (done.status !== 0) throw new Error(`${what} failed`);
  passed++;
}

function runSuite(suite) {
  const folder = FOLDER_OF[suite];
  if (
    folder !== undefined &&
    !readdirSync(join(ROOT, folder), { recursive: true }).some((f) => String(f).endsWith(".test.ts"))
  ) {
    throw new Error(`${folder} holds no test`);
  }
  const begin = performance.now();
  const report = join(scratch, `${suite}.json`);
  const done = spawnSync(
    process.execPath,
    [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--project",
      suite,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ],
    { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] },
  );
  let ok = 0;
  let bad = 0;
  if (existsSync(report)) {
    const summary = JSON.parse(readFileSync(report, "utf8"));
    ok = summary.numPassedTests;
    bad = summary.numFailedTests;
    // A file that does not load has no tests to count as failed.
    bad += summary.testResults.filter(
      (file) => file.status === "failed" && file.assertionResults.length === 0,
    ).length;
  }
  if (done.status !== 0 && bad === 0) bad = 1;
  if (ok === 0 && bad === 0) bad = 1;
  passed += ok;
  failed += bad;
  results.push({ name: suite, ok, bad, minutes: (performance.now() - begin) / 60_000 });
}
