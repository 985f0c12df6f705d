// What the JSON report of vitest says, for the closing lines of `npm test`: counts, what failed and why, what was not
// run and why. Pure; no dependencies.
import { relative } from "node:path";

/** Length in characters of the reason that is shown of a failure. */
const REASON_LENGTH_MAX = 300;

/**
 * @param {object} report the file that vitest's JSON reporter writes
 * @param {string} root paths are shown relative to it
 * @returns {{ ok: number, failed: string[], skipped: string[] }} lines are for people, one per test
 */
export function summarise(report, root) {
  const failed = [];
  const skipped = [];
  let ok = 0;
  for (const file of report.testResults) {
    const place = relative(root, file.name);
    for (const test of file.assertionResults) {
      const name = [place, ...test.ancestorTitles.filter((title) => title !== ""), test.title].join(" > ");
      if (test.status === "passed") ok++;
      else if (test.status === "failed") failed.push(`${name}: ${firstLine(test.failureMessages[0])}`);
      else skipped.push(`${name}: ${reasonOf(test, file)}`);
    }
    // A file that does not load, or whose hook fails, may have no test that is counted as failed.
    if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"))
      failed.push(`${place}: ${firstLine(file.message)}`);
  }
  return { ok, failed, skipped };
}

/**
 * @param {string} text one JSON object per line: { name, seed, frames, cases, framesOut }
 * @returns {string[]} a table of what went through our switch and Open vSwitch without a difference, with its sum
 */
export function describeTotals(text) {
  const rows = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
  const all = { name: "together", frames: sum("frames"), cases: sum("cases"), framesOut: sum("framesOut") };
  const cells = ({ name, frames, cases, framesOut, seed }) => [
    name.padEnd(60),
    String(frames).padStart(9),
    String(cases).padStart(6),
    String(framesOut).padStart(9),
    seed === undefined ? "" : String(seed).padStart(10),
  ];
  const head = [
    "beside Open vSwitch, no difference".padEnd(60),
    "   frames",
    " cases",
    "     left",
    "from seed",
  ];
  return ["", head.join("  "), ...[...rows, all].map((row) => cells(row).join("  ").trimEnd())];
}

/** Tests that need something say so in their meta (test/support/needs.ts). */
function reasonOf(test, file) {
  if (test.meta?.needs !== undefined) return `needs ${test.meta.needs}`;
  if (test.status === "todo") return "not written yet";
  return file.assertionResults.every((each) => each.status === "skipped") && file.status === "failed"
    ? "its file failed"
    : "left out without a reason";
}

/** The first line that says something, without colours. */
function firstLine(text) {
  const plain = (text ?? "").replace(/\x1b\[[0-9;]*m/g, "");
  const line = plain.split("\n").find((each) => each.trim() !== "") ?? "it says nothing";
  return line.length > REASON_LENGTH_MAX ? `${line.slice(0, REASON_LENGTH_MAX)}…` : line.trim();
}
