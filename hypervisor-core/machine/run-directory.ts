// The run directory of one machine: made for its user, filled with what QEMU loads once, cleared of what an earlier
// QEMU left. Invariant: files in it are the machine's, so none is followed through a link or trusted.
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hypervisorError } from "../errors.js";
import { appendGuestSeed, type GuestSeed } from "../image/guest-seed.js";
import type { MachineBoot, MachinePaths } from "./machine-spec.js";

/** Makes the directory (0700, owned by `uid`); the sockets of disks, which are storage's, stay. */
export function prepareRunDirectory(paths: MachinePaths, uid: number | undefined): void {
  mkdirSync(paths.runDir, { recursive: true, mode: 0o700 });
  chmodSync(paths.runDir, 0o700);
  if (uid !== undefined) chownSync(paths.runDir, uid, uid);
}

/** Removes what an earlier QEMU of this machine left behind; no QEMU may be running. */
export function clearRunDirectory(paths: MachinePaths): void {
  if (!existsSync(paths.runDir)) return;
  for (const name of readdirSync(paths.runDir)) {
    if (!/^disk\d+\.sock$/.test(name)) rmSync(join(paths.runDir, name), { recursive: true, force: true });
  }
}

/** Puts kernel and initramfs where the machine's user can read them, whatever the rights on the way to the originals. */
export function stageBoot(
  boot: Extract<MachineBoot, { type: "kernel" }>,
  seed: GuestSeed | undefined,
  paths: MachinePaths,
  uid: number | undefined,
): void {
  stageFile(boot.kernel, paths.kernel);
  if (boot.initramfs === undefined) return;
  const initramfs = readFileSync(boot.initramfs);
  // Made anew or not at all: whatever stands there already is not ours to write through, nor to give away.
  const fd = openSync(paths.initramfs, "wx", 0o600);
  try {
    writeFileSync(fd, seed === undefined ? initramfs : appendGuestSeed(initramfs, seed));
    if (uid !== undefined) fchownSync(fd, uid, uid);
  } finally {
    closeSync(fd);
  }
}

/** The disk image of `boot`, open for reading. Throws MACHINE_START_FAILED. */
export function openBootDisk(boot: Extract<MachineBoot, { type: "disk" }>): number {
  try {
    return openSync(boot.path, constants.O_RDONLY);
  } catch (cause) {
    throw hypervisorError("MACHINE_START_FAILED", `cannot open the disk image ${boot.path}`, { cause });
  }
}

/** QEMU has read them; a restart of the guest uses QEMU's own copy. */
export function unstageBoot(paths: MachinePaths): void {
  for (const path of [paths.kernel, paths.initramfs]) rmSync(path, { force: true });
}

function stageFile(from: string, to: string): void {
  if ((statSync(from).mode & 0o004) !== 0) {
    try {
      linkSync(from, to);
      return;
    } catch {
      // Another file system: copy.
    }
  }
  const fd = openSync(to, "wx", 0o644);
  try {
    writeFileSync(fd, readFileSync(from));
    fchmodSync(fd, 0o644);
  } finally {
    closeSync(fd);
  }
}

/** Opens a file that belongs to a machine: never through a link, never anything but a plain file with one name. */
function openOwn(path: string, flags: number): { readonly fd: number; readonly size: number } | undefined {
  let fd: number;
  try {
    fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  const stat = fstatSync(fd);
  if (stat.isFile() && stat.nlink === 1) return { fd, size: stat.size };
  closeSync(fd);
  return undefined;
}

/** Empties a log that has grown above `sizeBytesMax`; its writer appends, so it simply goes on. */
export function trimLog(path: string, sizeBytesMax: number): void {
  const file = openOwn(path, constants.O_WRONLY);
  if (file === undefined) return;
  try {
    if (file.size > sizeBytesMax) ftruncateSync(file.fd, 0);
  } finally {
    closeSync(file.fd);
  }
}

/** The last lines of a log, for an error message, without what would steer a terminal; empty when there is none. */
export function readLogTail(path: string, lines = 3, sizeBytesMax = 4096): string {
  const file = openOwn(path, constants.O_RDONLY);
  if (file === undefined) return "";
  try {
    const text = readFileSync(file.fd).subarray(-sizeBytesMax).toString("utf8");
    return text
      .trim()
      .split("\n")
      .slice(-lines)
      .map((line) => line.replaceAll(/\p{C}/gu, "?"))
      .join("; ");
  } finally {
    closeSync(file.fd);
  }
}
