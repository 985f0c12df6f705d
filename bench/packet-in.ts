// How fast a controller answers packet-ins with flow-mods: a learning switch on our channel, ovs-testcontroller and one in
// os-ken, each with the same many fake switches.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { waitFor } from "../base/time/index.js";
import { freePort } from "../test/support/controller-process.js";
import { ROOT, requirePrograms } from "../test/support/run.js";
import { guardChild, guardDirectory } from "./support/cleanup.js";
import { type Contender, compare, format, type Outcome, writeResults } from "./support/compare.js";
import { benchOptions, numberOption } from "./support/options.js";
import { type ControllerAddress, PacketInGenerator } from "./support/packet-in-generator.js";

const values = benchOptions(
  `usage: node dist/bench/packet-in.js [options]
  --switches N  fake switches (16)
  --window N    packet-ins of a switch that wait for their answer at once (32)
  --runs N      runs of each controller, in turn; the median counts (3)
  --seconds N   how long each is measured (4)
  --quick       one short run of each, printed only
  --print       print only: bench/RESULTS.md stays as it is`,
  {
    switches: { type: "string", default: "16" },
    window: { type: "string", default: "32" },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "4" },
    print: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
  },
);
const DEADLINE_MS = 30_000;
/** Time in which programs that compile while they run do so. */
const WARM_UP_S = 2;

await main();

async function main(): Promise<void> {
  requirePrograms("ovs-testcontroller", "osken-manager");
  const quick = values.quick;
  const switches = numberOption("--switches", values.switches);
  const runs = quick ? 1 : numberOption("--runs", values.runs);
  const seconds = quick ? 1 : numberOption("--seconds", values.seconds);
  const dir = mkdtempSync("/tmp/plinth-bench-");
  const forget = guardDirectory(dir);
  try {
    const outcomes: Outcome[] = [];
    for (const window of [numberOption("--window", values.window), 1]) {
      const contender = (name: string, start: Start): Contender => ({
        name,
        measure: () => measure(dir, start, { switches, window, seconds }),
      });
      outcomes.push(
        await compare({
          title: `packet-in to flow-mod, ${switches} switches, ${window === 1 ? "one packet" : `${window} packets`} each at a time`,
          unit: "flow-mods/s",
          better: "higher",
          ours: contender("plinth", ours),
          peers: [contender("ovs-testcontroller", testController), contender("os-ken", osKen)],
          runs,
        }),
      );
    }
    const command = `node dist/bench/packet-in.js --switches ${switches} --window ${values.window} --runs ${runs} --seconds ${seconds}`;
    const notes = [
      "Each is a learning switch that knows both stations and answers with a flow-mod and a packet-out, OpenFlow 1.3, frames of 60 bytes, one process. Ours is the listener, channel and codec of the controller with 50 lines on top (bench/support/learning-controller.ts): what Plinth makes of packet-ins itself is bounded by limits on purpose.",
      "With one packet under way half of our processor time is the system call that sends the answer (a profile, `--cpu-prof`, on a loaded machine): each answer is one, as each question is one read and one turn of libuv's loop, which the controller in C has more cheaply. With 32 under way answers leave together.",
      "The generator is one process on the other processor. It speaks unix sockets with the first two; os-ken knows only TCP.",
    ];
    if (!values.print && !quick) writeResults("Packet-ins", command, outcomes, notes);
    else
      for (const { title, ours: own, peers } of outcomes)
        for (const peer of peers)
          process.stdout.write(
            `${title}: ${format(own.median)} ÷ ${format(peer.median)} of ${peer.name} = ${peer.ratio.toFixed(2)}\n`,
          );
  } finally {
    forget();
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Load {
  readonly switches: number;
  readonly window: number;
  readonly seconds: number;
}

interface Started {
  readonly child: ChildProcess;
  readonly address: ControllerAddress;
}
type Start = (dir: string) => Promise<Started>;

async function measure(dir: string, start: Start, { switches, window, seconds }: Load): Promise<number> {
  const { child, address } = await start(dir);
  let generator: PacketInGenerator | undefined;
  try {
    generator = await PacketInGenerator.open({ address, switches, window });
    await generator.rate(Math.min(WARM_UP_S, seconds));
    return await generator.rate(seconds);
  } finally {
    generator?.close();
    await ended(child);
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

async function onSocket(dir: string, words: (path: string) => string[]): Promise<Started> {
  const path = join(dir, "controller.sock");
  rmSync(path, { force: true });
  const [program = "", ...args] = words(path);
  const child = guardChild(spawn(program, args, { stdio: ["ignore", "ignore", "inherit"], cwd: dir }));
  await waitFor(() => listens({ path }), `${program} to listen`, DEADLINE_MS, 10);
  return { child, address: { path } };
}

function ours(dir: string): Promise<Started> {
  const script = fileURLToPath(new URL("./support/learning-controller.js", import.meta.url));
  return onSocket(dir, (path) => [process.execPath, script, path]);
}

function testController(dir: string): Promise<Started> {
  const options = [
    "-O",
    "OpenFlow13",
    "--no-chdir",
    `--unixctl=${join(dir, "controller.ctl")}`,
    "-vconsole:err",
  ];
  return onSocket(dir, (path) => ["ovs-testcontroller", ...options, `punix:${path}`]);
}

async function osKen(): Promise<Started> {
  const port = await freePort();
  const app = join(ROOT, "test/conformance/os-ken/learning_switch.py");
  const options = ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", String(port)];
  const env = { ...process.env, PLINTH_OPENFLOW: "1.3", PLINTH_SILENT: "1", PYTHONDONTWRITEBYTECODE: "1" };
  const child = guardChild(
    spawn("osken-manager", [...options, "--default-log-level", "40", app], {
      env,
      stdio: ["ignore", "ignore", "inherit"],
    }),
  );
  const address = { port };
  await waitFor(() => listens(address), "os-ken to listen", DEADLINE_MS, 50);
  return { child, address };
}

/** A socket's file is there before anybody listens on it. A connection that says nothing does no controller harm. */
async function listens(address: ControllerAddress): Promise<boolean> {
  const socket = connect(address as { path: string });
  const answer = await new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  socket.destroy();
  return answer;
}
