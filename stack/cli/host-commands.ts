// `plinth host`: the agent of this machine, and what it says about the machine.
import { join } from "node:path";
import { type Command, Option } from "commander";
import { callControl } from "../../base/jsonrpc/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { cacheDirectory, defaultDirectory, directoryLayout, openDirectory } from "../daemons/directory.js";
import { startHostAgent } from "../daemons/host/index.js";
import { formatBytes } from "../resources/index.js";

const DIR_HELP = "data directory (default: $PLINTH_DIR, else /var/lib/plinth as root)";

interface HostFacts {
  readonly name: string;
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
  readonly accelerator: { readonly accelerator: string; readonly reason: string } | null;
  readonly isolated: boolean;
  readonly facilities: readonly {
    readonly name: string;
    readonly available: boolean;
    readonly reason: string;
  }[];
}

export function register(program: Command): void {
  const host = program
    .command("host")
    .description("run the agent that makes this machine match the API (started by `plinth up`)")
    .option("--dir <dir>", DIR_HELP)
    .option("--kernel <file>", "guest kernel to use in place of the distribution's")
    .option("--name <name>", "name of the Host object (default: this machine's name)")
    .option("--log-dir <dir>", "directory of the log file (default: standard error)")
    .action(async (options: { dir?: string; kernel?: string; name?: string; logDir?: string }) => {
      await runDaemon({ name: "host", logDir: options.logDir }, (log) =>
        startHostAgent({
          layout: openDirectory(defaultDirectory(options.dir)),
          imageCacheDir: join(cacheDirectory(), "images"),
          kernelFile: options.kernel,
          name: options.name,
          version: program.version() ?? "0.0.0",
          log,
        }),
      );
    });

  host
    .command("describe")
    .description("show what this machine offers: processors, memory, accelerator, facilities of the kernel")
    .option("--dir <dir>", DIR_HELP)
    .addOption(
      new Option("-o, --output <format>", "form of the answer").choices(["json", "text"]).default("text"),
    )
    .action(async (options: { dir?: string; output: string }) => {
      const dir = options.dir ?? (host.opts() as { dir?: string }).dir;
      const socket = directoryLayout(defaultDirectory(dir)).hostControlSocket;
      const facts = (await callControl(socket, "host.describe")) as HostFacts;
      process.stdout.write(
        options.output === "json" ? `${JSON.stringify(facts, null, 2)}\n` : describe(facts),
      );
    });
}

function describe(facts: HostFacts): string {
  const { capacity, accelerator } = facts;
  const lines = [
    ["name", facts.name],
    ["processors", String(capacity.cpus)],
    ["memory", formatBytes(capacity.memoryBytes)],
    [
      "accelerator",
      accelerator === null ? "not probed yet" : `${accelerator.accelerator} (${accelerator.reason})`,
    ],
    ["isolation", facts.isolated ? "one user per machine" : "all machines under one user (no root): weaker"],
    ...facts.facilities.map((each) => [each.name, each.available ? "yes" : `no: ${each.reason}`]),
  ];
  const width = Math.max(...lines.map(([name = ""]) => name.length));
  return lines.map(([name = "", value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}
