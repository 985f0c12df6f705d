import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { processorsOf } from "./processor.js";

const run = promisify(execFile);
const MODULE = new URL("../../dist/base/linux/index.js", import.meta.url).href;

/** What a process of its own prints as JSON: what is done to its threads must not be done to the test's. */
async function ask(body: string): Promise<unknown> {
  const script = `
    import { readdirSync } from "node:fs";
    import { Worker } from "node:worker_threads";
    const { avoidProcessors, pinThread, processorsOf } = await import(${JSON.stringify(MODULE)});
    const threads = () => readdirSync("/proc/self/task").map(Number);
    ${body}`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script]);
  return JSON.parse(stdout);
}

it("keeps every thread off the processors that are named, and those that come later", async () => {
  const all = processorsOf();
  if (all.length < 2) return;
  const [first, ...others] = all;
  const told = await ask(`
    const count = threads().length;
    const avoiding = avoidProcessors([${first}]);
    const worker = new Worker("setInterval(() => {}, 1000)", { eval: true });
    await new Promise((resolve) => worker.once("online", resolve));
    console.log(JSON.stringify([avoiding >= count, threads().map((thread) => processorsOf(thread))]));
    await worker.terminate();`);
  const [isEach, masks] = told as [boolean, number[][]];
  expect(isEach).toBe(true);
  expect(masks.length).toBeGreaterThan(2);
  for (const mask of masks) expect(mask).toEqual(others);
});

it("pins a thread to one that the others keep off", async () => {
  const [first] = processorsOf();
  expect(
    await ask(
      `avoidProcessors([${first}]); pinThread(${first}); console.log(JSON.stringify(processorsOf()));`,
    ),
  ).toEqual([first]);
});

it("leaves a thread alone that may run nowhere else", async () => {
  const all = processorsOf();
  expect(
    await ask(`const count = avoidProcessors(${JSON.stringify(all)});
      console.log(JSON.stringify([count, processorsOf()]));`),
  ).toEqual([0, all]);
});
