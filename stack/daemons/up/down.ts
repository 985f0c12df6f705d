// Taking one machine's data centre down in order: guests first, then the daemons in the reverse order of their start.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { PlinthError } from "../../../base/errors/index.js";
import { callControl } from "../../../base/jsonrpc/index.js";
import { lockHolder } from "../../../base/linux/index.js";
import { waitFor } from "../../../base/time/index.js";
import { type DirectoryLayout, openDirectory } from "../directory.js";
import { type DaemonSpec, daemonSet } from "./daemon-set.js";
import { stopDaemon } from "./supervisor.js";

/** Guests get this long to shut down before they are switched off. */
const GUESTS_DEADLINE_MS = 30_000;
const UP_DEADLINE_MS = 90_000;

/** Stops guests and daemons. What the user asked for (powerState Running) stays as it is: the next start boots them again. */
export async function stopEverything(
  layout: DirectoryLayout,
  specs: readonly DaemonSpec[],
  say: (text: string) => void,
): Promise<void> {
  const host = specs.find(({ name }) => name === "host");
  if (host !== undefined && lockHolder(host.lockFile) !== undefined) {
    say("stopping the VMs");
    // An agent that cannot answer is stopped below all the same; its guests are found again by the next start.
    await callControl(layout.hostControlSocket, "vms.stop", {}, GUESTS_DEADLINE_MS).catch(() => {});
  }
  for (const spec of [...specs].reverse()) {
    say(`stopping ${spec.name}`);
    await stopDaemon(spec);
  }
}

export interface DownOptions {
  readonly dir: string;
  /** Removes the directory with everything in it. */
  readonly purge: boolean;
}

/** `plinth down`: asks a running `plinth up` to stop, or stops what it left behind. */
export async function down(options: DownOptions, say: (text: string) => void): Promise<void> {
  const layout = openDirectory(options.dir);
  const upLock = join(layout.run, "up.lock");
  if (lockHolder(upLock) !== undefined) {
    say("asking plinth up to stop");
    await callControl(join(layout.run, "up.sock"), "shutdown", {});
    try {
      await waitFor(() => lockHolder(upLock) === undefined, "plinth up still runs", UP_DEADLINE_MS, 100);
    } catch (cause) {
      throw new PlinthError("NOT_STOPPED", `plinth up (process ${lockHolder(upLock)}) does not end`, {
        cause,
      });
    }
  }
  await stopEverything(layout, daemonSet(layout, { apiPort: 0 }), say);
  if (options.purge) {
    say(`removing ${options.dir}`);
    rmSync(options.dir, { recursive: true, force: true });
  }
}
