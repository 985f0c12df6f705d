// Which accelerator really works here. /dev/kvm that opens proves nothing (nested and paravirtual hosts refuse later),
// so a tiny guest is booted on it, as the user machines run under; the verdict is kept until QEMU or the image changes.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { PROBE_MARKER } from "../image/guest-files.js";
import type { GuestImage } from "../image/guest-image.js";
import type { Accelerator } from "./machine-spec.js";

export interface AcceleratorVerdict {
  readonly accelerator: Accelerator;
  /** Why not KVM, or that it passed. */
  readonly reason: string;
}

export interface AcceleratorProbeOptions {
  readonly qemu: string;
  readonly image: GuestImage;
  /** Where the verdict is kept. */
  readonly cacheFile: string;
  readonly uid?: number | undefined;
  readonly deadlineMs?: number;
}

const STAGE_PREFIX = "plinth-probe-";
const PROBE_DEADLINE_MS = 15_000;
const OUTPUT_BYTES_MAX = 64 * 1024;

/** The verdict, probed once per QEMU, image and user. Never fails: what cannot be probed is emulated. */
export async function probeAccelerator(options: AcceleratorProbeOptions): Promise<AcceleratorVerdict> {
  if (!existsSync("/dev/kvm")) return { accelerator: "tcg", reason: "this machine has no /dev/kvm" };
  const key = verdictKey(options);
  const cached = readVerdict(options.cacheFile, key);
  if (cached !== undefined) return cached;
  const verdict = await bootOnKvm(options);
  writeFileSync(options.cacheFile, JSON.stringify({ key, ...verdict }), { mode: 0o600 });
  return verdict;
}

function verdictKey(options: AcceleratorProbeOptions): string {
  const { ino, mode, uid, gid } = statSync("/dev/kvm");
  const { size, mtimeMs } = statSync(options.qemu);
  const facts = [options.image.key, size, mtimeMs, ino, mode, uid, gid, options.uid !== undefined];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

function readVerdict(file: string, key: string): AcceleratorVerdict | undefined {
  try {
    const saved = JSON.parse(readFileSync(file, "utf8")) as AcceleratorVerdict & { key: string };
    if (saved.key === key && (saved.accelerator === "kvm" || saved.accelerator === "tcg")) {
      return { accelerator: saved.accelerator, reason: saved.reason };
    }
  } catch {
    // No verdict yet, or half a file: probe again.
  }
  return undefined;
}

async function bootOnKvm(options: AcceleratorProbeOptions): Promise<AcceleratorVerdict> {
  const note = `${options.cacheFile}.stage`;
  removeStage(note);
  // The machine's user may not be able to walk to the image cache.
  const stage = mkdtempSync(join(tmpdir(), STAGE_PREFIX));
  try {
    writeFileSync(note, stage, { mode: 0o600 });
    chmodSync(stage, 0o711);
    for (const name of ["kernel", "initramfs"] as const) {
      copyFileSync(options.image[name], join(stage, name));
      chmodSync(join(stage, name), 0o644);
    }
    return await bootStaged(options, stage);
  } finally {
    rmSync(stage, { recursive: true, force: true });
    rmSync(note, { force: true });
  }
}

/** What a process that was killed in the middle of its probe has left behind. */
function removeStage(note: string): void {
  if (!existsSync(note)) return;
  const stage = readFileSync(note, "utf8");
  const isOurs = dirname(stage) === tmpdir() && basename(stage).startsWith(STAGE_PREFIX);
  if (isOurs) rmSync(stage, { recursive: true, force: true });
}

function bootStaged(options: AcceleratorProbeOptions, stage: string): Promise<AcceleratorVerdict> {
  const words = [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "128", "-accel", "kvm"],
    ...["-machine", process.arch === "arm64" ? "virt,gic-version=max" : "q35", "-cpu", "host"],
    ...["-kernel", join(stage, "kernel"), "-initrd", join(stage, "initramfs"), "-serial", "stdio"],
    ...["-append", `console=${process.arch === "arm64" ? "ttyAMA0" : "ttyS0"} quiet panic=-1 plinth.probe`],
  ];
  const group = statSync("/dev/kvm").gid || options.uid;
  const user = options.uid === undefined ? {} : { uid: options.uid, gid: group as number };
  return new Promise((resolve) => {
    // Nobody would end the guest of a process that was killed: the kernel does.
    const command = ["--pdeathsig", "KILL", "--", options.qemu, ...words];
    const child = spawn("setpriv", command, { cwd: "/", stdio: ["ignore", "pipe", "pipe"], ...user });
    let output = "";
    const take = (bytes: Buffer): void => {
      output = `${output}${bytes.toString("latin1")}`.slice(-OUTPUT_BYTES_MAX);
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    const timer = setTimeout(() => child.kill("SIGKILL"), options.deadlineMs ?? PROBE_DEADLINE_MS);
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ accelerator: "tcg", reason: `KVM cannot be probed: ${error.message}` });
    });
    child.once("close", (_code, signal) => {
      clearTimeout(timer);
      if (output.includes(PROBE_MARKER)) {
        resolve({ accelerator: "kvm", reason: "a probe guest booted on KVM" });
        return;
      }
      const words = output.trim().split("\n").slice(-2).join("; ") || `ended by ${signal ?? "itself"}`;
      resolve({ accelerator: "tcg", reason: `a probe guest did not boot on KVM: ${words.slice(0, 300)}` });
    });
  });
}
