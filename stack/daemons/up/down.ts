// Taking one machine's data centre down in order: guests first, then the daemons in the reverse order of their start.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PlinthError } from "../../../base/errors/index.js";
import { callControl } from "../../../base/jsonrpc/index.js";
import { lockHolder } from "../../../base/linux/index.js";
import { waitFor } from "../../../base/time/index.js";
import { findProcesses } from "../../../hypervisor-core/index.js";
import { type DirectoryLayout, openDirectory } from "../directory.js";
import { type DaemonSpec, daemonSet } from "./daemon-set.js";
import { stopDaemon } from "./supervisor.js";

/** Guests get this long to shut down before they are switched off. */
const GUESTS_DEADLINE_MS = 30_000;
/** QEMU writes out what it holds and ends within this. */
const QEMU_DEADLINE_MS = 10_000;
const UP_DEADLINE_MS = 90_000;

/**
 * Stops guests and daemons, and tells whether anything ran. What the user asked for (powerState Running) stays as it
 * is: the next start boots them again.
 */
export async function stopEverything(
  layout: DirectoryLayout,
  specs: readonly DaemonSpec[],
  say: (text: string) => void,
): Promise<boolean> {
  let stopped = false;
  const isUp = ({ lockFile }: DaemonSpec) => lockHolder(lockFile) !== undefined;
  const host = specs.find(({ name }) => name === "host");
  if (host !== undefined && isUp(host)) {
    say("stopping the VMs");
    // An agent that cannot answer is stopped below all the same, and its guests after it.
    await callControl(layout.hostControlSocket, "vms.stop", {}, GUESTS_DEADLINE_MS).catch(() => {});
  }
  for (const spec of [...specs].reverse()) {
    if (isUp(spec)) say(`stopping ${spec.name}`);
    stopped = (await stopDaemon(spec)) || stopped;
    if (spec === host) stopped = (await switchOff(layout, say)) || stopped;
  }
  return stopped;
}

/** Ends the guests that no agent looks after any more, while their volumes are still there to be written out. */
async function switchOff(layout: DirectoryLayout, say: (text: string) => void): Promise<boolean> {
  const sockets = readdirSync(layout.run).map((name) => join(layout.run, name, "qmp.sock"));
  const running = () => sockets.flatMap((socket) => findProcesses(socket));
  const found = running();
  if (found.length === 0) return false;
  say(`switching off ${found.length} VM${found.length === 1 ? "" : "s"} without an agent`);
  for (const pid of found) signal(pid, "SIGTERM");
  try {
    await waitFor(() => running().length === 0, "QEMU still runs", QEMU_DEADLINE_MS, 50);
  } catch {
    for (const pid of running()) signal(pid, "SIGKILL");
  }
  return true;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended since.
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
  const asked = lockHolder(upLock) !== undefined;
  if (asked) {
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
  const stopped = await stopEverything(layout, daemonSet(layout, { apiPort: 0 }), say);
  if (!stopped && !asked && !options.purge) say(`nothing runs in ${options.dir}`);
  if (options.purge) {
    say(`removing ${options.dir}`);
    rmSync(options.dir, { recursive: true, force: true });
  }
}
