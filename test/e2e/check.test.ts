// The main job as a user runs it: `npm start -- --check`, as root and as a user without any capability.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesMentioning } from "../support/leftovers.js";
import { ROOT, requirePrograms, run } from "../support/run.js";

const DEADLINE_MS = 280_000;
const NOBODY = 65_534;

function checkDirectories(): string[] {
  return readdirSync("/tmp").filter((name) => name.startsWith("plinth-check-"));
}

describe("npm start -- --check", () => {
  it("proves the example, exits 0 and leaves nothing behind", async () => {
    const before = checkDirectories();
    const done = await run("npm", ["start", "--silent", "--", "--check"], {
      cwd: ROOT,
      deadlineMs: DEADLINE_MS,
    });
    expect(done.code, `${done.stdout}\n${done.stderr}`).toBe(0);
    expect(done.stdout).toMatch(/(\d+) of \1 proofs held/);
    expect(checkDirectories()).toEqual(before);
    expect(processesMentioning("/tmp/plinth-check-")).toEqual([]);
    process.stdout.write(done.stdout);
  });

  it("does the same as an ordinary user without capabilities", async () => {
    requirePrograms("setpriv");
    if (process.getuid?.() !== 0) return expect(process.getuid?.()).not.toBe(0); // Then the test above was this one.
    const home = mkdtempSync(join(tmpdir(), "plinth-user-"));
    try {
      // A clone may lie where only root can read.
      for (const entry of ["dist", "node_modules", "examples", "package.json", "tools"]) {
        cpSync(join(ROOT, entry), join(home, "plinth", entry), { recursive: true, verbatimSymlinks: true });
      }
      mkdirSync(join(home, "cache"));
      await run("chown", ["-R", `${NOBODY}:${NOBODY}`, home]);
      const drop = [
        `--reuid=${NOBODY}`,
        `--regid=${NOBODY}`,
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
      ];
      const main = join(home, "plinth", "dist", "stack", "cli", "main.js");
      const done = await run("setpriv", [...drop, process.execPath, main, "up", "--check"], {
        cwd: home,
        env: { ...process.env, HOME: home, XDG_CACHE_HOME: join(home, "cache"), XDG_DATA_HOME: home },
        deadlineMs: DEADLINE_MS,
      });
      expect(done.code, `${done.stdout}\n${done.stderr}`).toBe(0);
      expect(done.stdout).toMatch(/(\d+) of \1 proofs held/);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
