// Where the tools of Open vSwitch look for its daemons: NAME.pid, locked, and NAME.PID.ctl in the run directory. With
// OVS_RUNDIR=DIR they find this switch without being told more. Source: ovs-appctl(8), -t.
// Invariant: a file of process number is never opened here again while it is locked (POSIX record locks). Thread: main.
import { readdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lockFile } from "../../base/linux/index.js";

/** Both are this process. */
const NAMES = ["ovs-vswitchd", "ovsdb-server"];

/** Makes both for `control`, a file in `dir`, in place of what an earlier process has left; close() removes them. */
export function makePidFiles(dir: string, control: string): { close(): void } {
  const made: { close(): void }[] = [];
  for (const name of NAMES) {
    removeStale(dir, name);
    const pidFile = join(dir, `${name}.pid`);
    const link = join(dir, `${name}.${process.pid}.ctl`);
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
    const lock = lockFile(pidFile);
    symlinkSync(control, link);
    made.push({
      close() {
        unlinkSync(link);
        unlinkSync(pidFile);
        lock.close();
      },
    });
  }
  return {
    close() {
      for (const one of made.splice(0)) one.close();
    },
  };
}

/** The directory's lock is ours: whoever made these is gone. */
function removeStale(dir: string, name: string): void {
  rmSync(join(dir, `${name}.pid`), { force: true });
  for (const file of readdirSync(dir)) {
    if (file.startsWith(`${name}.`) && /\.\d+\.ctl$/.test(file)) rmSync(join(dir, file), { force: true });
  }
}
