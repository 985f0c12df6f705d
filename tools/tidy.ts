// `npm run tidy`: import doors, purity, headers, hot-file bans and file sizes over every source file git knows.
// Sizes and hot-file findings are a ratchet: tools/tidy/ratchet.json lists what is tolerated, and it may only shrink.
//   node dist/tools/tidy.js            check; exit 1 on a finding
//   node dist/tools/tidy.js --lower    write smaller allowances where the code has become better
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { check, type Finding, hotFindings } from "./tidy/rules.js";

const LINES_MAX = 500;
const RATCHET = "tools/tidy/ratchet.json";

type Allowance = Record<string, { lines?: number; hot?: number }>;

const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"], {
  encoding: "utf8",
});
const files = listed
  .split("\n")
  .filter((path) => path !== "" && !path.endsWith(".d.ts"))
  .flatMap((path) => {
    try {
      return [{ path, text: readFileSync(path, "utf8") }];
    } catch {
      return []; // Deleted in the working tree, still in the index.
    }
  });
const allowed = JSON.parse(readFileSync(RATCHET, "utf8")) as Allowance;
const lower = process.argv.includes("--lower");

const findings: Finding[] = [];
const next: Allowance = {};
for (const file of files) {
  findings.push(...check(file));
  const hot = hotFindings(file);
  const hotAllowed = allowed[file.path]?.hot ?? 0;
  if (hot.length > hotAllowed) findings.push(...hot);
  const lines = file.text.split("\n").length - 1;
  const linesAllowed = Math.max(LINES_MAX, allowed[file.path]?.lines ?? 0);
  if (lines > linesAllowed) {
    findings.push({
      path: file.path,
      line: lines,
      rule: "size",
      message: `${lines} lines; at most ${linesAllowed}: split it`,
    });
  }
  const entry = {
    ...(lines > LINES_MAX ? { lines: Math.min(lines, linesAllowed) } : {}),
    ...(hot.length > 0 ? { hot: Math.min(hot.length, hotAllowed) } : {}),
  };
  if (Object.keys(entry).length > 0) next[file.path] = entry;
}
if (lower) writeFileSync(RATCHET, `${JSON.stringify(next, null, 2)}\n`);

for (const { path, line, rule, message } of findings) console.log(`${path}:${line}: ${rule}: ${message}`);
console.log(`tidy: ${files.length} files, ${findings.length} findings`);
process.exit(findings.length === 0 ? 0 : 1);
