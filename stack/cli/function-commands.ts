// `plinth nfd`: the daemon of the network functions.
import { join } from "node:path";
import type { Command } from "commander";
import { startNfd } from "../../nfv/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { defaultDirectory, openDirectory } from "../daemons/directory.js";
import { withDir, withLogDir } from "./options.js";

export function register(program: Command): void {
  const command = program
    .command("nfd")
    .description("run the network functions of this machine (started by `plinth up`)");
  withLogDir(withDir(command)).action(async (options: { dir?: string; logDir?: string }) => {
    await runDaemon({ name: "nfd", logDir: options.logDir }, (log) => {
      const layout = openDirectory(defaultDirectory(options.dir));
      return startNfd({ lockPath: join(layout.run, "nfd.lock"), socketPath: layout.nfdControlSocket, log });
    });
  });
}
