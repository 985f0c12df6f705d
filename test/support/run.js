// Running programs in tests: everything they print, a deadline, and nothing left behind.
import { spawn } from "node:child_process";
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
/** The repository's root, also when this runs compiled, from dist/. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url)))).replace(/\/dist$/, "");
/** The compiled `plinth`: the bundle that users run, or what tsc made since. */
export const PLINTH = programFile();
function programFile() {
  const [bundle, modules] = [join("bundle", "plinth.js"), join("stack", "cli", "main.js")];
  const dist = join(ROOT, "dist");
  const builtMs = readdirSync(join(dist, ".info"))
    .filter((name) => !/^(?:test|bench|tools)\./.test(name))
    .map((name) => statSync(join(dist, ".info", name)).mtimeMs);
  const bundledMs = statSync(join(dist, bundle), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return join(dist, bundledMs > Math.max(...builtMs) ? bundle : modules);
}
/** Runs a program to its end; rejects only when it cannot be started or outlives `deadlineMs` (then it is killed). */
export function run(program, args, options = {}) {
  const { deadlineMs = 60_000, input, ...spawnOptions } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...spawnOptions, stdio: ["pipe", "pipe", "pipe"] });
    const stdout = [];
    const stderr = [];
    child.stdout?.on("data", (chunk) => stdout.push(chunk));
    child.stderr?.on("data", (chunk) => stderr.push(chunk));
    child.stdin?.on("error", () => {}); // The program may end before it has read everything.
    child.stdin?.end(input);
    const text = (chunks) => Buffer.concat(chunks).toString();
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      const said = `${text(stdout)}\n${text(stderr)}`.trim().slice(-2000);
      reject(
        new Error(`${program} ${args.join(" ")} still ran after ${deadlineMs} ms; it had said:\n${said}`),
      );
    }, deadlineMs);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout: text(stdout), stderr: text(stderr) });
    });
  });
}
/** As run(), but a failure of the program rejects with what it said. Returns standard output. */
export async function runOk(program, args, options = {}) {
  const { code, stdout, stderr } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} exited with ${code}:\n${stdout}${stderr}`);
  return stdout;
}
/** Fails loudly when a program of the test is missing: `npm test` installs all of them. */
export function requirePrograms(...programs) {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/local/sbin"];
  const missing = programs.filter(
    (program) => !folders.some((folder) => isExecutable(join(folder, program))),
  );
  if (missing.length > 0)
    throw new Error(`missing programs: ${missing.join(", ")}; run npm test, which installs them`);
}
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
/** Ends a child of the test whatever state it is in, and waits for it. */
export async function endChild(child, signal = "SIGKILL") {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await exited;
}
//# sourceMappingURL=run.js.map
