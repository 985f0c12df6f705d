// Starts QEMU as a process that outlives us, and finds it again. Identity is the monitor's socket in its arguments;
// a process number is looked up freshly each time it is needed and never kept. Thread: main.
import { spawn } from "node:child_process";
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from "node:fs";
import { basename, delimiter, join } from "node:path";
import { hypervisorError } from "../errors.js";
import type { Accelerator } from "./machine-spec.js";
import { ADDRESS_SPACE_SLACK_BYTES } from "./resource-limits.js";

export interface QemuProcessOptions {
  readonly program: string;
  readonly arguments: readonly string[];
  /** Where QEMU's own words go; made by us, appended to. */
  readonly log: string;
  /** Runs under this user and nothing else; our own when undefined. */
  readonly uid?: number | undefined;
  /** Where QEMU keeps what a guest writes to an image that is only read. */
  readonly temporaryDir: string;
  /** Open for reading; QEMU gets it as number 3. Stays the caller's to close. */
  readonly bootDisk?: number | undefined;
  readonly memoryBytes: number;
  readonly accelerator: Accelerator;
}

/** No core files, a bounded number of descriptors, and a ceiling on address space ($1, KiB); then QEMU itself. */
const LIMITS_SCRIPT = 'ulimit -c 0; ulimit -n 1024; ulimit -v "$1" 2>/dev/null; shift; exec "$@"';

export interface StartedQemu {
  /** Good for placing the process under limits now; not an identity. */
  readonly pid: number;
  /** True once it has ended. */
  ended(): boolean;
}

/**
 * Spawns QEMU in a session of its own: no signal of our terminal and no end of ours reaches it.
 * Throws MACHINE_START_FAILED.
 */
export function spawnQemu(options: QemuProcessOptions): Promise<StartedQemu> {
  const words = openSync(options.log, "a", 0o640);
  const addressSpaceKib = Math.ceil((options.memoryBytes * 2 + ADDRESS_SPACE_SLACK_BYTES) / 1024);
  try {
    const child = spawn(
      "/bin/sh",
      ["-c", LIMITS_SCRIPT, "plinth", String(addressSpaceKib), options.program, ...options.arguments],
      {
        detached: true,
        cwd: "/",
        stdio: ["ignore", words, words, ...(options.bootDisk === undefined ? [] : [options.bootDisk])],
        env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: "/", TMPDIR: options.temporaryDir },
        ...(options.uid === undefined ? {} : { uid: options.uid, gid: groupOf(options) }),
      },
    );
    child.unref();
    let ended = false;
    child.once("exit", () => {
      ended = true;
    });
    return new Promise((resolve, reject) => {
      child.once("error", (cause) =>
        reject(hypervisorError("MACHINE_START_FAILED", `cannot start QEMU: ${cause.message}`, { cause })),
      );
      child.once("spawn", () => resolve({ pid: child.pid as number, ended: () => ended }));
    });
  } finally {
    closeSync(words);
  }
}

/** The group that may open /dev/kvm where it is needed, else one equal to the user. */
function groupOf(options: QemuProcessOptions): number {
  if (options.accelerator === "kvm" && existsSync("/dev/kvm")) {
    const { gid } = statSync("/dev/kvm");
    if (gid !== 0) return gid;
  }
  return options.uid as number;
}

/** The QEMU of this architecture on PATH. Throws PROGRAM_MISSING. */
export function findQemu(architecture: string = process.arch): string {
  const name = architecture === "arm64" ? "qemu-system-aarch64" : "qemu-system-x86_64";
  const places = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/bin", "/usr/libexec"];
  const found = places.map((place) => join(place, name)).find(isProgram);
  if (found === undefined) {
    throw hypervisorError("PROGRAM_MISSING", `the program ${name} is not installed`, {
      remedy: "install qemu-system-x86 (Debian, Ubuntu) or your distribution's QEMU",
    });
  }
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Process numbers of the QEMUs that have `path` as the path=… of one option; ended ones are not counted. */
export function findProcesses(path: string): number[] {
  const found: number[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const [program = "", ...words] = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      if (!basename(program).startsWith("qemu-system")) continue;
      if (words.some((word) => `${word},`.includes(`,path=${path},`))) found.push(Number(entry));
    } catch {
      // Ended between listing and reading, or not ours to read.
    }
  }
  return found;
}

/**
 * The users that any process of this host has. A machine's user is taken from the others: what is left of an earlier
 * machine, or belongs to another data centre, must not come into the new one's directory.
 */
export function usersOfProcesses(): Set<number> {
  const users = new Set<number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const line = /^Uid:(.*)$/m.exec(readFileSync(`/proc/${entry}/status`, "utf8"))?.[1] ?? "";
      for (const uid of line.trim().split(/\s+/)) users.add(Number(uid));
    } catch {
      // Ended between listing and reading.
    }
  }
  return users;
}

/** SIGKILL to whatever holds `path` in its arguments. True when there was something to kill. */
export function killProcesses(path: string): boolean {
  const found = findProcesses(path);
  for (const pid of found) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Ended by itself in the meantime.
    }
  }
  return found.length > 0;
}
