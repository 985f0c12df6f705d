// A `plinth` command that must be refused: it ends by itself, not with 0, says why on standard error and nothing else.
import { expect } from "vitest";
import { PLINTH, type RunOptions, run } from "./run.js";

export async function plinthRefuses(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(process.execPath, [PLINTH, ...args], {
    deadlineMs: 20_000,
    ...options,
  });
  const what = `plinth ${args.join(" ")}`;
  expect(code, `${what}: ${stdout}${stderr}`).not.toBe(0);
  expect(code, `${what} was killed`).not.toBeNull();
  expect(stderr.trim(), `${what} says nothing`).not.toBe("");
  expect(stderr, what).not.toMatch(/ at .*\.js:\d|internal error|\[INTERNAL\]/);
  expect(stdout, what).toBe("");
  return stderr;
}
