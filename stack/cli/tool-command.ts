// Runs the commands that stand in for a tool of Open vSwitch: they read their own options, and what goes wrong is told
// and answered with exit codes as the original does.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type { CommandIo } from "../../vswitch/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { backgroundOf } from "./background.js";

/** How often a command that waits wakes up. */
const STAY_MS = 60_000;
/** As a shell shows the end of a program by SIGALRM: the deadline of --timeout passed. */
const EXIT_TIMED_OUT = 142;

export interface Tool {
  readonly name: string;
  readonly description: string;
  readonly help: () => string;
  /** Resolves with the exit code. */
  readonly run: (words: readonly string[], io: ToolIo) => Promise<number>;
}

export interface ToolIo extends CommandIo {
  /** The path of a socket of the switch in --dir. */
  readonly socket: (name: string) => string;
}

export function registerTool(program: Command, tool: Tool): void {
  program
    .command(tool.name)
    .description(tool.description)
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .argument("[words...]", "options, command and arguments")
    .addHelpText("after", () => `\n${tool.help()}`)
    .action(async (words: string[]) => {
      const { dir, rest } = takeDirectory(words);
      // Our timers keep no process alive: one that waits for a server would end, and as if all were done.
      const stay = setInterval(() => {}, STAY_MS);
      try {
        process.exitCode = await runTool(tool, rest, toolIo(dir));
      } finally {
        clearInterval(stay);
      }
    });
}

/** Runs the command line; what the original would say of a failure goes to standard error. Resolves with the exit code. */
export async function runTool(
  tool: Pick<Tool, "name" | "run">,
  words: readonly string[],
  io: ToolIo,
): Promise<number> {
  try {
    return await tool.run(words, io);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    if (
      thrown.code === "OPENFLOW_TIMEOUT" ||
      thrown.code === "RPC_TIMEOUT" ||
      thrown.code === "COMMAND_TIMEOUT"
    ) {
      const stamp = new Date().toISOString().replace(/\.\d+Z$/, "Z");
      io.err(`${stamp}|00001|fatal_signal|WARN|terminating with signal 14 (Alarm clock)\n`);
      return EXIT_TIMED_OUT;
    }
    if (thrown.code !== "REFUSAL_TOLD") io.err(`plinth ${tool.name}: ${thrown.message}\n`);
    return 1;
  }
}

/** --dir is ours and may stand before the command; everything else is the tool's. */
function takeDirectory(words: readonly string[]): {
  readonly dir: string | undefined;
  readonly rest: string[];
} {
  const rest = [...words];
  for (let at = 0; at < rest.length && rest[at] !== "--"; at++) {
    const word = rest[at] as string;
    if (word.startsWith("--dir=")) {
      rest.splice(at, 1);
      return { dir: word.slice("--dir=".length), rest };
    }
    if (word === "--dir") {
      const [, dir] = rest.splice(at, 2);
      return { dir, rest };
    }
  }
  return { dir: undefined, rest };
}

function toolIo(dir: string | undefined): ToolIo {
  const socket = (name: string): string => switchSocket(dir, name);
  return {
    socket,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    read: async (path) => readFileSync(path === "-" ? 0 : path),
    background: backgroundOf(process.env["OVS_RUNDIR"] ?? dirname(socket("x"))),
    endpointOf: (bridge) => {
      const path = socket(`${bridge}.mgmt`);
      if (!bridge.includes("/") && existsSync(path)) return `unix:${path}`;
      return statSync(bridge, { throwIfNoEntry: false })?.isSocket() === true ? `unix:${bridge}` : undefined;
    },
    interrupted: new Promise((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
    }),
  };
}

/**
 * A switch standing alone has its sockets in DIR itself, one under `plinth up` in DIR/switch. Scripts tell tools of Open
 * vSwitch by OVS_RUNDIR where the sockets are.
 */
export function switchSocket(given: string | undefined, name: string): string {
  const told = process.env["OVS_RUNDIR"];
  if (given === undefined && told !== undefined && told !== "") return join(told, name);
  const dir = defaultDirectory(given);
  return existsSync(join(dir, "vswitchd.lock")) ? join(dir, name) : join(directoryLayout(dir).switch, name);
}
