// A command line of `plinth ofctl` or `plinth vsctl` in the test's own process: starting one for each line takes longer
// than what it does.
import { runTool, type Tool, type ToolIo } from "../../stack/cli/tool-command.js";
import type { RunResult } from "./run.js";

/** Bridges are not known by name, and no file is read. */
export async function runInside(
  name: string,
  run: (words: readonly string[], io: ToolIo) => ReturnType<Tool["run"]>,
  words: readonly string[],
): Promise<RunResult> {
  let [stdout, stderr] = ["", ""];
  const code = await runTool({ name, run }, words, {
    out: (text) => {
      stdout += text;
    },
    err: (text) => {
      stderr += text;
    },
    read: () => Promise.reject(new Error("nothing is read")),
    endpointOf: () => undefined,
    socket: (socket) => socket,
    interrupted: new Promise<void>(() => {}),
  });
  return { code, stdout, stderr };
}
