// Command lines that need no switch, to ovs-ofctl and to `plinth ofctl` in this process: what each prints and ends with.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "../../stack/cli/tool-command.js";
import { runOfctl } from "../../vswitch/index.js";
import { run } from "./run.js";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  /** Without lines of the log and the name of the program. */
  readonly stderr: string;
}

const DEADLINE_MS = 20_000;

function outcome(code: number | null, stdout: string, stderr: string): Outcome {
  const told = stderr
    .replaceAll(/^\d{4}-\d\d-\d\dT.*\n/gm, "")
    .replaceAll(/^(ovs-ofctl|plinth ofctl): /gm, "");
  return { code, stdout, stderr: told };
}

/** `directory` is where the files of the command line are. */
export async function byOvs(
  directory: string,
  words: readonly string[],
  input: string | Uint8Array,
): Promise<Outcome> {
  const options = { deadlineMs: DEADLINE_MS, cwd: directory, input };
  const { code, stdout, stderr } = await run("ovs-ofctl", words, options);
  return outcome(code, stdout, stderr);
}

export async function byPlinth(
  directory: string,
  words: readonly string[],
  input: string | Uint8Array,
): Promise<Outcome> {
  let [out, err] = ["", ""];
  const code = await runTool({ name: "ofctl", run: runOfctl }, words, {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    read: async (path: string) => (path === "-" ? Buffer.from(input) : readFileSync(join(directory, path))),
    endpointOf: () => undefined,
    socket: (name: string) => name,
    interrupted: new Promise<void>(() => {}),
  });
  return outcome(code, out, err);
}
