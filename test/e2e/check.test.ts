// The main job as a user runs it: `npm start -- --check`, as root and as a user without any capability.
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { processesMentioning } from "../support/leftovers.js";
import { needsRoot } from "../support/needs.js";
import { PLINTH, ROOT, type RunResult, requirePrograms, run } from "../support/run.js";

const DEADLINE_MS = 280_000;
const NOBODY = 65_534;

/** Every proof held, and the directory that was made for them is gone with all that ran in it. */
function expectProved({ code, stdout, stderr }: RunResult): void {
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  expect(stdout).toMatch(/(\d+) of \1 proofs held/);
  const dir = /^proving in (\/tmp\/plinth-check-\w+)/m.exec(stdout)?.[1] ?? "";
  expect(dir, stdout).not.toBe("");
  expect(existsSync(dir)).toBe(false);
  expect(processesMentioning(dir)).toEqual([]);
  process.stdout.write(stdout);
}

describe("npm start -- --check", () => {
  it("proves the example, exits 0 and leaves nothing behind", async () => {
    const done = await run("npm", ["start", "--silent", "--", "--check"], {
      cwd: ROOT,
      deadlineMs: DEADLINE_MS,
    });
    expectProved(done);
  });

  // For an ordinary user the test above is this one.
  it("does the same as an ordinary user without capabilities", needsRoot, async () => {
    requirePrograms("setpriv");
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
      const main = join(home, "plinth", relative(ROOT, PLINTH));
      const done = await run("setpriv", [...drop, process.execPath, main, "up", "--check"], {
        cwd: home,
        env: { ...process.env, HOME: home, XDG_CACHE_HOME: join(home, "cache"), XDG_DATA_HOME: home },
        deadlineMs: DEADLINE_MS,
      });
      expectProved(done);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
