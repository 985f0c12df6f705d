// `plinth host`: the agent of this machine, and what it says about the machine.
import { join } from "node:path";
import type { Command } from "commander";
import { callControl } from "../../base/jsonrpc/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { cacheDirectory, defaultDirectory, directoryLayout, openDirectory } from "../daemons/directory.js";
import { startHostAgent } from "../daemons/host/index.js";
import { formatBytes } from "../resources/index.js";
import { withDir, withKernel, withLogDir } from "./options.js";
import { formatRows, type OutputOptions, show, withOutput } from "./output.js";

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
    .description("run the agent that makes this machine match the API (started by `plinth up`)");
  withLogDir(withKernel(withDir(host)))
    .option("--name <name>", "name of the Host object (default: this machine's name)")
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

  const describeCommand = host
    .command("describe")
    .description("show what this machine offers: processors, memory, accelerator, facilities of the kernel");
  withOutput(withDir(describeCommand)).action(async (options: OutputOptions & { dir?: string }) => {
    const dir = options.dir ?? (host.opts() as { dir?: string }).dir;
    const socket = directoryLayout(defaultDirectory(dir)).hostControlSocket;
    const facts = (await callControl(socket, "host.describe")) as HostFacts;
    show(options, facts, () => describe(facts));
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
  return formatRows(undefined, lines);
}
