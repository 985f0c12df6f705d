#!/usr/bin/env node
// The one binary: `plinth <command>`. Commands live in `*-commands.ts`, one file per area; this file only wires them.
// Only the area that is asked for is loaded: a daemon that is started again after a crash should be back soon.
import { Command } from "commander";
import { describeError, PlinthError } from "../../base/errors/index.js";

interface Area {
  readonly commands: readonly string[];
  load(): Promise<{ register(program: Command): void }>;
}

const AREAS: readonly Area[] = [
  { commands: ["up", "down", "logs"], load: () => import("./up-commands.js") },
  { commands: ["controller"], load: () => import("./controller-commands.js") },
  { commands: ["host"], load: () => import("./host-commands.js") },
  {
    commands: ["get", "describe", "apply", "delete", "events", "explain"],
    load: () => import("./resource-commands.js"),
  },
  { commands: ["wait", "api-resources"], load: () => import("./wait-command.js") },
  { commands: ["user"], load: () => import("./user-commands.js") },
  { commands: ["vm"], load: () => import("./vm-commands.js") },
  { commands: ["storaged", "volume", "pool"], load: () => import("./storage-commands.js") },
  { commands: ["nfd"], load: () => import("./function-commands.js") },
  { commands: ["probe"], load: () => import("./probe-commands.js") },
  {
    commands: ["vswitchd", "vsctl", "ofctl", "appctl", "trace"],
    load: () => import("./switch-commands.js"),
  },
  { commands: ["capture"], load: () => import("./capture-command.js") },
  { commands: ["policy"], load: () => import("./policy-commands.js") },
  { commands: ["plan"], load: () => import("./plan-command.js") },
];

const STAYING = new Set(["up", "controller", "host", "storaged", "nfd", "vswitchd"]);

/** A reader that has seen enough (`plinth get vm | head -1`) ends a command, but never what stays: up and the daemons. */
function outliveReader(stays: boolean): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      if (!stays) process.exit(process.exitCode ?? 0);
    });
  }
}

async function main(): Promise<void> {
  const program = new Command("plinth")
    .description("A software-defined data centre: VMs, virtual switches, volumes and network functions.")
    .version("0.1.0");
  const asked = process.argv[2] ?? "";
  outliveReader(STAYING.has(asked) || (asked === "volume" && process.argv[3] === "serve"));
  const area = AREAS.find(({ commands }) => commands.includes(asked));
  for (const { load } of area === undefined ? AREAS : [area]) (await load()).register(program);
  nameHelp(program, "plinth");
  await program.parseAsync(process.argv);
}

/** Who is told that something is wrong is told where the command says what it takes. */
function nameHelp(command: Command, path: string): void {
  const what = command.commands.length > 0 ? "lists what there is" : "says what it takes";
  command.showHelpAfterError(`(${path} --help ${what})`);
  for (const each of command.commands) nameHelp(each, `${path} ${each.name()}`);
}

main().catch((thrown: unknown) => {
  const code = thrown instanceof PlinthError ? ` [${thrown.code}]` : "";
  process.stderr.write(`plinth: ${describeError(thrown)}${code}\n`);
  process.exitCode = 1;
});
