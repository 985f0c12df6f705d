// Parts of a bench in processes of their own: they start with a fresh heap, and may be killed.
import { spawnSync } from "node:child_process";

/** Longer than any bench may take. */
const DEADLINE_MS = 900_000;

/** Runs `file --child TASK` and gives back what it printed, as JSON; undefined when it killed itself. Throws when it failed. */
export function runInChild(file: string, task: object): unknown {
  const { status, signal, stdout, error } = spawnSync(
    process.execPath,
    [...process.execArgv, file, "--child", JSON.stringify(task)],
    { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], timeout: DEADLINE_MS },
  );
  if (error !== undefined) throw error;
  if (signal === "SIGKILL") return undefined;
  if (status !== 0) throw new Error(`${file} ended with ${signal ?? status}`);
  return JSON.parse(stdout);
}
