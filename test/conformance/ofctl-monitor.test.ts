// Monitors in the background: `ovs-ofctl monitor --detach` and `plinth ofctl monitor --detach` beside each other, each on
// a switch of ours, both spoken to by ovs-appctl. They answer and write down the same.
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { OpenFlowAgent } from "../../vswitch/agent/index.js";
import { MemorySwitch } from "../../vswitch/agent/memory-switch.js";
import { PLINTH, requirePrograms, run, runOk } from "../support/run.js";

const DEADLINE_MS = 60_000;
const TOOLS = {
  real: ["ovs-ofctl"],
  ours: [process.execPath, PLINTH, "ofctl"],
} as const;
type Side = keyof typeof TOOLS;
const SIDES = ["real", "ours"] as const;

let directory: string;
let agents: OpenFlowAgent[];

beforeEach(async () => {
  requirePrograms("ovs-ofctl", "ovs-appctl");
  directory = mkdtempSync("/tmp/monitor-");
  agents = await Promise.all(
    SIDES.map((side) =>
      OpenFlowAgent.open(
        { managementSocket: path(side, "mgmt") },
        { model: new MemorySwitch(), clock: systemClock, log: silentLog },
      ),
    ),
  );
});

afterEach(async () => {
  for (const side of SIDES) {
    const pid = existsSync(path(side, "pid")) ? Number(readFileSync(path(side, "pid"), "utf8")) : 0;
    if (pid > 0) process.kill(pid, "SIGKILL");
  }
  for (const agent of agents) await agent.close();
  rmSync(directory, { recursive: true, force: true });
});

function path(side: Side, kind: string): string {
  return join(directory, `${side}.${kind}`);
}

/** Ends when the monitor is ready; what it says goes to a file of its own. */
async function start(side: Side, ...words: string[]): Promise<void> {
  const [program, ...first] = TOOLS[side];
  const log = openSync(path(side, "log"), "a");
  const files = [`--pidfile=${path(side, "pid")}`, `--unixctl=${path(side, "ctl")}`];
  const line = [...first, "-O", "OpenFlow13", "monitor", `unix:${path(side, "mgmt")}`, ...words, ...files];
  const code = await new Promise((resolve, reject) => {
    const child = spawn(program, [...line, "--detach", "--no-chdir"], { stdio: ["ignore", log, log] });
    child.on("error", reject);
    child.on("close", resolve);
  });
  closeSync(log);
  expect(code, readFileSync(path(side, "log"), "utf8")).toBe(0);
}

/** What ovs-appctl prints, and ends with. */
async function told(side: Side, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("ovs-appctl", ["-T", "30", "-t", path(side, "ctl"), ...words]);
  return `${code} ${stdout}${stderr}`.replaceAll(path(side, "ctl"), "CTL").replaceAll(side, "SIDE");
}

const written = (side: Side, kind: string): string =>
  readFileSync(path(side, kind), "utf8")
    .replaceAll(/ \(xid=0x[0-9a-f]+\)/g, "")
    .replaceAll(side, "SIDE");

const ECHO = "0402000c0000006401020304";
const FRAME = "0001020304050607080900000800".padEnd(120, "0");
type Story = Readonly<Record<string, unknown>>;
const LINES = [
  ["ofctl/barrier"],
  ["ofctl/send", ECHO],
  ["ofctl/send", "0414000800000065", "xx", "0414"],
  ["ofctl/send", "0414000900000065"],
  ["ofctl/packet-out", `in_port=controller packet=${FRAME} actions=controller`],
  ["ofctl/packet-out", "in_port=controller actions=controller"],
  ["ofctl/packet-out", `in_port=controller packet=${FRAME} actions=foo`],
  ["ofctl/block"],
  ["ofctl/block"],
  ["ofctl/unblock"],
  ["ofctl/unblock"],
  ["ofctl/set-output-file"],
  ["ofctl/set-output-file", "/"],
  ["ofctl/nothing"],
  ["ofctl/barrier"],
];

function startAgain(side: Side): ReturnType<typeof run> {
  const [program, ...first] = TOOLS[side];
  const files = [`--pidfile=${path(side, "pid")}`, "--detach"];
  return run(program, [...first, "monitor", `unix:${path(side, "mgmt")}`, ...files]);
}

/** All that one monitor answers and writes, from its start to its end. */
async function story(side: Side): Promise<Story> {
  await start(side, "65534");
  // A second one of the same file is refused while the first works.
  const second = startAgain(side);
  const answers: string[] = [];
  for (const words of LINES) answers.push(`${words.join(" ")}: ${await told(side, ...words)}`);
  answers.push(await told(side, "ofctl/set-output-file", path(side, "later")));
  answers.push(await told(side, "ofctl/barrier"));
  const log = written(side, "log");
  const { code, stderr } = await second;
  expect(stderr).toContain(`${path(side, "pid")}: already running as pid `);
  await runOk("ovs-appctl", ["-t", path(side, "ctl"), "exit"]);
  await waitFor(
    () => !existsSync(path(side, "pid")) && !existsSync(path(side, "ctl")),
    `${side} did not end`,
    DEADLINE_MS,
  );
  return { answers, code, log, later: written(side, "later") };
}

it(
  "monitors run in the background, do what ovs-appctl tells them, and end without a trace",
  async () => {
    const [real, ours] = (await Promise.all(SIDES.map(story))) as [Story, Story];
    expect(real["log"]).toContain("OFPT_ECHO_REPLY");
    expect(real["later"]).toBe("OFPT_BARRIER_REPLY (OF1.3):\n");
    expect(ours).toEqual(real);
  },
  2 * DEADLINE_MS,
);
