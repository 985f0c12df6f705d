// Keeps a machine within its processors and memory: a control group where one can be written, in version 2 or 1,
// else resource limits of the process. What was achieved is told, never assumed. Thread: main.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeError } from "../../base/errors/index.js";

export interface LimitValues {
  readonly cpus: number;
  readonly memoryBytes: number;
}

export interface LimitOutcome {
  readonly enforced: boolean;
  /** For the condition ResourceLimitsEnforced. */
  readonly message: string;
}

/** QEMU itself, beside the guest's memory: devices, translated code, buffers. */
export const MACHINE_OVERHEAD_BYTES = 256 * 1024 * 1024;
/** QEMU maps much more than it uses; the address-space limit is only there against a runaway. */
export const ADDRESS_SPACE_SLACK_BYTES = 4 * 1024 * 1024 * 1024;
const PERIOD_MICROSECONDS = 100_000;
/** Half a processor beside the guest's own for QEMU's device work. */
const DEVICE_CPUS = 0.5;
const GROUP = "plinth";

/** The control-group directories of one machine under the hierarchy at `root` ("/sys/fs/cgroup"). */
export class ControlGroups {
  readonly #root: string;

  constructor(root = "/sys/fs/cgroup") {
    this.#root = root;
  }

  /** Puts `pid` under limits. Never throws: without a writable hierarchy the outcome says why. */
  apply(id: string, pid: number, limits: LimitValues): LimitOutcome {
    try {
      const version2 = existsSync(join(this.#root, "cgroup.controllers"));
      return version2 ? this.#applyVersion2(id, pid, limits) : this.#applyVersion1(id, pid, limits);
    } catch (thrown) {
      return { enforced: false, message: `control groups cannot be used: ${describeError(thrown)}` };
    }
  }

  /** Removes what apply() made; the machine's process must have ended. What is not there is not missed. */
  release(id: string): void {
    for (const parent of this.#parents()) {
      try {
        rmdirSync(join(parent, GROUP, id));
      } catch {
        // Not made by us, or the kernel still counts the ending process; an empty group costs nothing.
      }
    }
  }

  #parents(): string[] {
    return [this.#root, join(this.#root, "memory"), join(this.#root, "cpu"), join(this.#root, "cpu,cpuacct")];
  }

  #applyVersion2(id: string, pid: number, limits: LimitValues): LimitOutcome {
    const group = join(this.#root, GROUP);
    mkdirSync(group, { recursive: true });
    for (const parent of [this.#root, group]) {
      const enabled = readFileSync(join(parent, "cgroup.subtree_control"), "utf8").split(/\s+/);
      if (!enabled.includes("memory") || !enabled.includes("cpu")) {
        writeFileSync(join(parent, "cgroup.subtree_control"), "+memory +cpu");
      }
    }
    const own = join(group, id);
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "memory.max"), String(limits.memoryBytes + MACHINE_OVERHEAD_BYTES));
    writeFileSync(join(own, "cpu.max"), `${quota(limits.cpus)} ${PERIOD_MICROSECONDS}`);
    writeFileSync(join(own, "cgroup.procs"), String(pid));
    return { enforced: true, message: "control group version 2" };
  }

  #applyVersion1(id: string, pid: number, limits: LimitValues): LimitOutcome {
    const cpu = ["cpu", "cpu,cpuacct"].map((name) => join(this.#root, name)).find((path) => existsSync(path));
    const memory = join(this.#root, "memory");
    if (cpu === undefined || !existsSync(memory)) {
      return { enforced: false, message: `no cpu and memory controllers below ${this.#root}` };
    }
    for (const parent of [cpu, memory]) mkdirSync(join(parent, GROUP, id), { recursive: true });
    const memoryGroup = join(memory, GROUP, id);
    const cpuGroup = join(cpu, GROUP, id);
    writeFileSync(
      join(memoryGroup, "memory.limit_in_bytes"),
      String(limits.memoryBytes + MACHINE_OVERHEAD_BYTES),
    );
    writeFileSync(join(cpuGroup, "cpu.cfs_period_us"), String(PERIOD_MICROSECONDS));
    writeFileSync(join(cpuGroup, "cpu.cfs_quota_us"), String(quota(limits.cpus)));
    for (const group of [memoryGroup, cpuGroup]) writeFileSync(join(group, "cgroup.procs"), String(pid));
    return { enforced: true, message: "control groups version 1" };
  }

  /** The machines that still have a group; for tests and for cleaning up. */
  list(): string[] {
    const found = new Set<string>();
    for (const parent of this.#parents()) {
      const group = join(parent, GROUP);
      if (!existsSync(group)) continue;
      for (const entry of readdirSync(group, { withFileTypes: true }))
        if (entry.isDirectory()) found.add(entry.name);
    }
    return [...found];
  }
}

function quota(cpus: number): number {
  return Math.round((cpus + DEVICE_CPUS) * PERIOD_MICROSECONDS);
}
