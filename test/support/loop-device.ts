// Loop devices of a test: block devices over sparse files. Needs root and the loop driver; what is missing is said.
import { rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { runOk } from "./run.js";

export class LoopDevice {
  readonly path: string;
  readonly #file: string;

  private constructor(path: string, file: string) {
    this.path = path;
    this.#file = file;
  }

  /** Over a new file of so many bytes. Throws, with the reason, where this machine has no loop devices. */
  static async create(file: string, sizeBytes: number): Promise<LoopDevice> {
    writeFileSync(file, "", { flag: "wx" });
    truncateSync(file, sizeBytes);
    const path = await runOk("losetup", ["--find", "--show", file]).catch((cause: Error) => {
      rmSync(file);
      throw new Error(
        `this test needs loop devices (root, /dev/loop-control and a free /dev/loopN): ${cause.message}`,
        { cause },
      );
    });
    return new LoopDevice(path.trim(), file);
  }

  /** What the file takes on its file system. */
  get usedBytes(): number {
    return statSync(this.#file).blocks * 512;
  }

  async destroy(): Promise<void> {
    await runOk("losetup", ["--detach", this.path]);
    rmSync(this.#file, { force: true });
  }
}
