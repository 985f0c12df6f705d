// `plinth controller`: the control plane of a data centre.
import type { Command } from "commander";
import { runDaemon } from "../daemons/daemon.js";
import { defaultDirectory, openDirectory } from "../daemons/directory.js";
import { withApiPort, withDir, withLogDir } from "./options.js";

export function register(program: Command): void {
  const command = program
    .command("controller")
    .description(
      "run the control plane: resource API, scheduler and SDN controller (started by `plinth up`)",
    );
  withLogDir(withApiPort(withDir(command))).action(
    async (options: { dir?: string; port: number; logDir?: string }) => {
      await runDaemon({ name: "controller", logDir: options.logDir }, async (log) => {
        // Loaded only here: the server's packages would slow every other command down.
        const { startController, startSdnPart } = await import("../daemons/controller/index.js");
        const layout = openDirectory(defaultDirectory(options.dir));
        const version = program.version() ?? "0.0.0";
        return startController({ layout, port: options.port, version, parts: [startSdnPart] }, { log });
      });
    },
  );
}
