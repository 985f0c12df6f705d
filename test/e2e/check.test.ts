// The main job as a user runs it, `npm start -- --check`: as one without any capability, where the tests run as root.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { currentUid } from "../../base/linux/index.js";
import { processesMentioning } from "../support/leftovers.js";
import { ROOT, type RunResult, requirePrograms, run, runOk } from "../support/run.js";

const DEADLINE_MS = 280_000;
const NOBODY = 65_534;
const CHECK = ["npm", "start", "--silent", "--", "--check"] as const;

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

/** In a copy of this clone, which may lie where only root can read. */
async function checkAsNobody(home: string): Promise<RunResult> {
  requirePrograms("setpriv");
  const clone = join(home, "plinth");
  for (const entry of readdirSync(ROOT).filter((name) => name !== ".git"))
    cpSync(join(ROOT, entry), join(clone, entry), {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
  mkdirSync(join(home, "cache"));
  await runOk("chown", ["-R", `${NOBODY}:${NOBODY}`, home]);
  const drop = [
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
  ];
  return run("setpriv", [...drop, ...CHECK], {
    cwd: clone,
    env: {
      ...process.env,
      HOME: home,
      XDG_CACHE_HOME: join(home, "cache"),
      XDG_DATA_HOME: home,
      npm_config_cache: join(home, "cache", "npm"),
    },
    deadlineMs: DEADLINE_MS,
  });
}

it("npm start -- --check proves the example, exits 0 and leaves nothing behind", async () => {
  const home = mkdtempSync(join(tmpdir(), "plinth-user-"));
  try {
    const [program, ...words] = CHECK;
    expectProved(
      currentUid() === 0
        ? await checkAsNobody(home)
        : await run(program, words, { cwd: ROOT, deadlineMs: DEADLINE_MS }),
    );
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
