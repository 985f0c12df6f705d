// `npm start`: installs what is missing, builds, and becomes `plinth up`. Plain JavaScript without dependencies.
//   npm start                    start the data centre and the example, stay until Ctrl-C
//   npm start -- --check         the same in a temporary directory, prove it, stop; exit 0 or 1
//   npm start -- --install-only  stop after installing and building
//   npm start -- --help          every option of `plinth up`
import { spawn } from "node:child_process";
import { KERNEL_PACKAGES, START_PROGRAMS } from "./programs/catalogue.mjs";
import { ensurePackageLists, ensurePrograms } from "./programs/install.mjs";
import { build, checkPlatform, ensurePackages, PROGRAM } from "./setup.mjs";

const args = process.argv.slice(2);
const say = (text) => console.log(`plinth: ${text}`);

try {
  checkPlatform();
  ensurePrograms(START_PROGRAMS, say);
  ensurePackages(say);
  build(say, ["stack"]);
  ensurePackageLists(KERNEL_PACKAGES, say);
} catch (error) {
  console.error(`plinth: ${error.message}`);
  process.exit(1);
}
if (args.includes("--install-only")) process.exit(0);

const up = spawn(process.execPath, [PROGRAM, "up", ...args], {
  stdio: "inherit",
});
// A terminal's Ctrl-C reaches `plinth up` too; a signal sent to this process alone is passed on.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    if (signal !== "SIGINT" || !process.stdin.isTTY) up.kill(signal);
  });
}
up.on("error", (error) => {
  console.error(`plinth: ${error.message}`);
  process.exit(1);
});
up.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
