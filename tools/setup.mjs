// What both entries (`npm start`, `npm test`) do first: right Node, npm packages as locked, everything built.
// No dependencies: it runs on a fresh clone.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** `plinth`, once it is built. */
export const PROGRAM = join(ROOT, "dist", "bundle", "plinth.js");
const STAMP = join(ROOT, "node_modules", ".plinth-lock");

/** Throws when this Node or this system cannot run Plinth. */
export function checkPlatform() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 11)) {
    throw new Error(`Plinth needs Node 20.11 or newer; this is ${process.versions.node}`);
  }
  if (process.platform !== "linux")
    throw new Error(`Plinth's daemons run on Linux; this is ${process.platform}`);
}

/** Installs the npm packages when they are not the ones of package-lock.json. */
export function ensurePackages(say = console.log) {
  const lock = createHash("sha256")
    .update(readFileSync(join(ROOT, "package-lock.json")))
    .digest("hex");
  const stamp = `${lock} ${process.versions.modules}`;
  if (existsSync(STAMP) && readFileSync(STAMP, "utf8") === stamp) return;
  say("installing npm packages");
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], "npm ci");
  writeFileSync(STAMP, stamp);
}

/** Compiles what changed: everything, or only `projects` and what they need (running needs no tests). */
export function build(say = console.log, projects = []) {
  say("building");
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  run(process.execPath, [tsc, "-b", ...projects], "the build");
  run(process.execPath, [join(ROOT, "tools", "bundle.mjs")], "the bundle");
}

function run(command, args, what) {
  const done = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  if (done.error) throw new Error(`${what} could not run: ${done.error.message}`);
  if (done.status !== 0) throw new Error(`${what} failed (exit ${done.status ?? done.signal})`);
}
