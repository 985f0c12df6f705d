// `npm test`: sets up what the tests need, runs every suite and ends with one line of totals.
// Plain JavaScript without dependencies.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { endProcesses } from "./leftovers.mjs";
import { KERNEL_PACKAGES, START_PROGRAMS, TEST_PROGRAMS, UNIT_PROGRAMS } from "./programs/catalogue.mjs";
import { ensurePackageLists, ensurePrograms } from "./programs/install.mjs";
import { ensureKubectl } from "./programs/kubectl.mjs";
import { build, checkPlatform, ensurePackages, ROOT } from "./setup.mjs";
import { describeTotals, summarise } from "./summary.mjs";

const HELP = `npm test                  every suite, after installing what it needs
npm test -- unit sim      only these suites: unit, property, sim, conformance, e2e, nightly
npm test -- --quick       build, lint, tidy, unit and property (npm run ok)
npm test -- --nightly     everything, with the long variants (PLINTH_NIGHTLY=1) and the suite nightly
npm test -- --help        this text

Ends with "N passed, N failed"; exit 0 when nothing failed, 1 otherwise, 2 for arguments it does not know.`;

/** Minutes that each step may take; going over is printed, not failed: the machines are shared. */
const BUDGET_MINUTES = {
  install: 5,
  lint: 1,
  tidy: 1,
  unit: 2,
  property: 2,
  sim: 6,
  conformance: 10,
  e2e: 10,
  nightly: 20,
};
const SUITES = ["unit", "property", "sim", "conformance", "e2e"];
/** What takes too long for every change: only when it is asked for. */
const NIGHTLY = "nightly";
const FOLDER_OF = {
  sim: "test/sim",
  conformance: "test/conformance",
  e2e: "test/e2e",
  nightly: "test/nightly",
};
const FLAGS = ["--quick", "--nightly", "--help", "-h"];

const { suites, quick } = parseArguments(process.argv.slice(2));
const scratch = mkdtempSync(join(tmpdir(), "plinth-test-"));
const results = [];
/** Where runs beside Open vSwitch note what has passed (test/support/differential/fuzz.ts). */
const frameTotals = join(scratch, "frames");
process.env.PLINTH_FUZZ_TOTALS = frameTotals;
/** Every process of this run inherits it. */
process.env.PLINTH_TEST_RUN = basename(scratch);
const MARK = `PLINTH_TEST_RUN=${process.env.PLINTH_TEST_RUN}`;
/** Milliseconds that daemons have to end after the last test of a suite. */
const GRACE_MS = 15_000;
let running;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, async () => {
    running?.kill("SIGTERM");
    await endProcesses(MARK, 1_000);
    cleanUp();
    process.exit(130);
  });
}

try {
  const ready = await step("install", install);
  if (ready && quick) {
    await step("lint", () => tool("node_modules/@biomejs/biome/bin/biome", "check", "."));
    await step("tidy", () => tool("dist/tools/tidy.js"));
  }
  if (ready) for (const suite of suites) await step(suite, () => runSuite(suite));
  if (existsSync(frameTotals)) console.log(describeTotals(readFileSync(frameTotals, "utf8")).join("\n"));
} finally {
  cleanUp();
}
process.exit(printTotals());

function parseArguments(args) {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(HELP);
    process.exit(0);
  }
  const known = [...SUITES, NIGHTLY];
  const unknown = args.filter((arg) => !known.includes(arg) && !FLAGS.includes(arg));
  if (unknown.length > 0) {
    console.error(`npm test does not know ${unknown.join(", ")}\n\n${HELP}`);
    process.exit(2);
  }
  const isNight = args.includes("--nightly");
  if (isNight) process.env.PLINTH_NIGHTLY = "1";
  const wantsQuick = args.includes("--quick");
  const named = known.filter((suite) => args.includes(suite));
  if (named.length > 0) return { suites: named, quick: wantsQuick };
  if (wantsQuick) return { suites: ["unit", "property"], quick: true };
  return { suites: isNight ? known : SUITES, quick: false };
}

function install() {
  checkPlatform();
  ensurePackages();
  build();
  if (suites.includes("unit")) ensurePrograms(UNIT_PROGRAMS);
  if (suites.some((suite) => suite === "conformance" || suite === "e2e" || suite === NIGHTLY)) {
    ensurePrograms([...START_PROGRAMS, ...TEST_PROGRAMS]);
    ensurePackageLists(KERNEL_PACKAGES);
    // The tests and the programs that they start find it like any other.
    process.env.PATH = `${process.env.PATH}:${dirname(ensureKubectl())}`;
  }
}

/** Runs `work`, which returns { ok, failed, skipped } or nothing for one thing that passed; its failure is one failure. */
async function step(name, work) {
  const budget = BUDGET_MINUTES[name];
  console.log(`\n== ${name} (at most ${budget} ${budget === 1 ? "minute" : "minutes"})`);
  const begin = performance.now();
  let outcome = { ok: 1, failed: [], skipped: [] };
  try {
    outcome = (await work()) ?? outcome;
  } catch (error) {
    outcome = { ok: 0, failed: [error.message], skipped: [] };
    console.error(`${name}: ${error.message}`);
  }
  results.push({ name, ...outcome, minutes: (performance.now() - begin) / 60_000 });
  return outcome.failed.length === 0;
}

async function tool(...argv) {
  const status = await runNode(argv);
  if (status !== 0) throw new Error(`failed (exit ${status})`);
}

async function runSuite(suite) {
  const folder = FOLDER_OF[suite];
  if (folder !== undefined && !readdirSync(join(ROOT, folder)).some((name) => name.endsWith(".test.ts")))
    throw new Error(`${folder} holds no test`);
  const report = join(scratch, `${suite}.json`);
  const status = await runNode([
    "node_modules/vitest/vitest.mjs",
    "run",
    ...["--project", suite, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
  ]);
  const left = await endProcesses(MARK, GRACE_MS);
  if (!existsSync(report)) throw new Error(`vitest left no report (exit ${status})`);
  const { ok, failed, skipped } = summarise(JSON.parse(readFileSync(report, "utf8")), ROOT);
  if (failed.length === 0 && status !== 0) failed.push(`vitest ended with ${status}, though no test failed`);
  if (failed.length === 0 && ok === 0) failed.push("no test ran");
  for (const { pid, command } of left) failed.push(`left process ${pid} behind: ${command}`);
  return { ok, failed, skipped };
}

function runNode(argv) {
  return new Promise((resolve, reject) => {
    running = spawn(process.execPath, argv, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
    running.on("error", reject);
    running.on("exit", (code, signal) => {
      running = undefined;
      resolve(code ?? signal);
    });
  });
}

function cleanUp() {
  rmSync(scratch, { recursive: true, force: true });
}

function printTotals() {
  const sum = (count) => results.reduce((total, result) => total + count(result), 0);
  console.log("\nsuite         passed  failed  not run  minutes  budget");
  for (const { name, ok, failed, skipped, minutes } of results) {
    const budget = BUDGET_MINUTES[name];
    const counts = [
      String(ok).padStart(6),
      String(failed.length).padStart(6),
      String(skipped.length).padStart(7),
    ];
    const cells = [...counts, minutes.toFixed(1).padStart(7)];
    const over = minutes > budget ? "  OVER BUDGET" : "";
    console.log(`${name.padEnd(13)} ${cells.join("  ")}  ${String(budget).padStart(6)}${over}`);
  }
  const notRun = (quick ? ["lint", "tidy", ...suites] : suites).filter(
    (name) => !results.some((result) => result.name === name),
  );
  if (notRun.length > 0) console.log(`not run: ${notRun.join(", ")}`);
  for (const { name, skipped } of results)
    for (const line of skipped) console.log(`not run: ${name}: ${line}`);
  for (const { name, failed } of results) for (const line of failed) console.log(`failed: ${name}: ${line}`);
  const bad = sum(({ failed }) => failed.length);
  console.log(`${sum(({ ok }) => ok)} passed, ${bad} failed`);
  return bad === 0 ? 0 : 1;
}
