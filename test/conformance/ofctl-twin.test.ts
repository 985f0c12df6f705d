// The same command line to ovs-ofctl and to `plinth ofctl`, each against a switch of its own that has seen the same
// lines before: standard output, standard error and exit code agree, apart from clocks, transaction ids and the name
// of the program.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runTool } from "../../stack/cli/tool-command.js";
import { runOfctl } from "../../vswitch/index.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { PLINTH, requirePrograms, run } from "../support/run.js";
import { COMMAND_LINES, FILES } from "./ofctl-lines.js";

let directory: string;
const switches: OpenFlowSwitch[] = [];

beforeAll(async () => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/twin-");
  for (const name of ["real", "ours"]) {
    mkdirSync(join(directory, name));
    switches.push(await OpenFlowSwitch.open(join(directory, name)));
  }
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(directory, name), text);
});

afterAll(async () => {
  for (const one of switches) await one.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Everything that two runs of the same program would differ in, too. */
function normal(text: string, socket: string): string {
  return text
    .replaceAll(socket, "SWITCH")
    .replaceAll(/^(ovs-ofctl|plinth ofctl): /gm, "")
    .replaceAll(/\(xid=0x[0-9a-f]+\)/g, "(xid)")
    .replaceAll(/xid=[0-9a-f]{8} time=[\d.]+ ms/g, "xid time")
    .replaceAll(/duration[=:]?[\d.]+s/g, "duration")
    .replaceAll(/^\d{4}-\d\d-\d\dT[\d:.]+Z\|\d{5}\|/gm, "")
    .replaceAll(/^[0-9a-f]{8} {2}.*\n/gm, "");
}

interface Told {
  readonly code: number | null;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
}

function toldAs(code: number | null, stdout: string, stderr: string, socket: string): Told {
  return { code, stdout: normal(stdout, socket).split("\n"), stderr: normal(stderr, socket).split("\n") };
}

async function real(line: readonly string[], socket: string): Promise<Told> {
  const env = { ...process.env, OVS_RUNDIR: directory };
  const words = ["-O", "OpenFlow13", ...line.map((word) => (word === "SW" ? socket : word))];
  const { code, stdout, stderr } = await run("ovs-ofctl", words, { deadlineMs: 20_000, env, cwd: directory });
  return toldAs(code, stdout, stderr, socket);
}

/** In this process: starting one for each line would take minutes. */
async function ours(line: readonly string[], socket: string): Promise<Told> {
  let [out, err] = ["", ""];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    read: async (path: string) => readFileSync(join(directory, path)),
    endpointOf: () => undefined,
    socket: (name: string) => name,
    interrupted: new Promise<void>(() => {}),
  };
  const words = ["-O", "OpenFlow13", ...line.map((word) => (word === "SW" ? socket : word))];
  const code = await runTool({ name: "ofctl", run: runOfctl }, words, io);
  return toldAs(code, out, err, socket);
}

it.each(COMMAND_LINES.map((line) => [line.join(" "), line] as const))("%s", async (_name, line) => {
  const expected = await real(line, `unix:${join(directory, "real", "br0.mgmt")}`);
  expect(await ours(line, `unix:${join(directory, "ours", "br0.mgmt")}`)).toEqual(expected);
});

it("plinth ofctl is that command", async () => {
  const socket = `unix:${join(directory, "ours", "br0.mgmt")}`;
  const shown = await run(process.execPath, [PLINTH, "ofctl", "show", socket]);
  expect([shown.code, shown.stderr]).toEqual([0, ""]);
  expect(shown.stdout).toContain("n_tables:");
  const refused = await run(process.execPath, [PLINTH, "ofctl", "fly"]);
  expect([refused.code, refused.stderr]).toEqual([
    1,
    "plinth ofctl: unknown command 'fly'; use --help for help\n",
  ]);
});
