// A `plinth storaged` of a test with a directory and disks of its own.
import { mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { DaemonProcess } from "./daemon-process.js";
import { PLINTH, runOk } from "./run.js";

/** Disks are names in its directory, or absolute paths. */
export class StorageProcess extends DaemonProcess {
  readonly dir: string;
  readonly disks: readonly string[];

  constructor(
    diskNames: readonly string[] = ["d0"],
    env: NodeJS.ProcessEnv = {},
    options: readonly string[] = [],
  ) {
    const dir = mkdtempSync("/tmp/st-");
    const disks = diskNames.map((name) => resolve(dir, name));
    super({
      args: ["storaged", "--dir", join(dir, "s"), ...disks.flatMap((disk) => ["--disk", disk]), ...options],
      controlSocket: join(dir, "s", "control.sock"),
      env,
    });
    this.dir = dir;
    this.disks = disks;
  }

  /** The shared socket as a URI of one export. */
  uri(name: string): string {
    return `nbd+unix:///${name}?socket=${join(this.dir, "s", "nbd.sock")}`;
  }

  /** The command line against this daemon. */
  plinth(...args: string[]): Promise<string> {
    return runOk(process.execPath, [PLINTH, ...args, "--dir", join(this.dir, "s")]);
  }

  /** The page cache forgets the first disk again and again until `work` is over, so that reads have to come from it. */
  async forgetting(work: () => Promise<unknown>): Promise<void> {
    let isOver = false;
    const working = work().finally(() => {
      isOver = true;
    });
    const disk = `if=${join(this.disks[0] ?? "", "segments")}`;
    while (!isOver) await runOk("dd", [disk, "iflag=nocache", "count=0", "status=none"]);
    await working;
  }

  async destroy(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}
