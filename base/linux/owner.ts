// Who we are and whom files belong to. Thread: any.
import { chmodSync, lchownSync, readFileSync } from "node:fs";
import { PlinthError } from "../errors/index.js";

/** Bits of the capability sets in /proc/self/status; linux/capability.h. */
export const CAP_CHOWN = 0;
export const CAP_SETUID = 7;
export const CAP_NET_ADMIN = 12;
export const CAP_NET_RAW = 13;

/** The real user id; −1 on a system without. */
export function currentUid(): number {
  return process.getuid?.() ?? -1;
}

/** Gives `path` (a link itself, not its target) to `uid`:`gid`. Throws with the errno's name. */
export function changeOwner(path: string, uid: number, gid: number): void {
  wrap("chown", path, () => lchownSync(path, uid, gid));
}

export function changeMode(path: string, mode: number): void {
  wrap("chmod", path, () => chmodSync(path, mode));
}

/** Whether this process has the capability now (effective set). */
export function hasCapability(bit: number): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return line !== null && ((BigInt(`0x${line[1]}`) >> BigInt(bit)) & 1n) === 1n;
}

function wrap(call: string, path: string, action: () => void): void {
  try {
    action();
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? "EIO";
    throw new PlinthError(code, `${call} ${path} failed: ${code}`, { cause: thrown, context: { path } });
  }
}
