// `plinth controller`: the control plane of a data centre.
import { type Command, InvalidArgumentError } from "commander";
import { runDaemon } from "../daemons/daemon.js";
import { defaultDirectory, openDirectory } from "../daemons/directory.js";

export const DEFAULT_API_PORT = 6443;

export function register(program: Command): void {
  program
    .command("controller")
    .description("run the control plane: resource API, scheduler and SDN controller (started by `plinth up`)")
    .option("--dir <dir>", "data directory (default: $PLINTH_DIR, else /var/lib/plinth as root)")
    .option(
      "--port <port>",
      "port of the API on 127.0.0.1; 0 lets the system choose",
      parsePort,
      DEFAULT_API_PORT,
    )
    .option("--log-dir <dir>", "directory of the log file (default: standard error)")
    .action(async (options: { dir?: string; port: number; logDir?: string }) => {
      await runDaemon({ name: "controller", logDir: options.logDir }, async (log) => {
        // Loaded only here: the server's packages would slow every other command down.
        const { startController, startSdnPart } = await import("../daemons/controller/index.js");
        const layout = openDirectory(defaultDirectory(options.dir));
        const version = program.version() ?? "0.0.0";
        return startController({ layout, port: options.port, version, parts: [startSdnPart] }, { log });
      });
    });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    throw new InvalidArgumentError("expected a port from 0 to 65535");
  return port;
}
