import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { endProcesses, processesOf } from "./leftovers.mjs";

/** A process with `mark` in its environment; ready when it has one. */
async function started(mark: string, script: string) {
  const [name, value] = mark.split("=") as [string, string];
  const child = spawn("sh", ["-c", script], { env: { ...process.env, [name]: value }, stdio: "ignore" });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.on("exit", (_, signal) => resolve(signal)),
  );
  await expect.poll(() => processesOf(mark).some(({ pid }) => pid === child.pid)).toBe(true);
  return { child, ended };
}

test("finds and kills what a run left, what has another environment too, and nothing else", async () => {
  const mark = `PLINTH_TEST_LEFT=${randomUUID()}`;
  const other = `PLINTH_TEST_LEFT=${randomUUID()}`;
  const stranger = await started(other, "exec sleep 600");
  const { ended } = await started(mark, "env -i sleep 600 & trap '' TERM; wait; wait");
  await expect.poll(() => processesOf(mark).map(({ command }) => command)).toContain("sleep 600");
  const killed = await endProcesses(mark, 0);
  expect(killed.map(({ command }) => command).sort()).toEqual([
    "sh -c env -i sleep 600 & trap '' TERM; wait; wait",
    "sleep 600",
  ]);
  expect(await ended).toBe("SIGKILL");
  expect(processesOf(mark)).toEqual([]);
  expect(processesOf(other)).toHaveLength(1);
  stranger.child.kill("SIGKILL");
  await stranger.ended;
});

test("waits for those that are about to end", async () => {
  const mark = `PLINTH_TEST_LEFT=${randomUUID()}`;
  const { ended } = await started(mark, "sleep 0.3");
  expect(await endProcesses(mark, 30_000)).toEqual([]);
  expect(await ended).toBe(null);
});
