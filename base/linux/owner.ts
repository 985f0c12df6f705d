// Who we are and what we may do. Thread: any.
import { readFileSync } from "node:fs";

/** Bits of the capability sets in /proc/self/status; linux/capability.h. */
export const CAP_CHOWN = 0;
export const CAP_SETUID = 7;
export const CAP_NET_ADMIN = 12;
export const CAP_NET_RAW = 13;

/** The real user id; −1 on a system without. */
export function currentUid(): number {
  return process.getuid?.() ?? -1;
}

/** Whether this process has the capability now (effective set). */
export function hasCapability(bit: number): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return line !== null && ((BigInt(`0x${line[1]}`) >> BigInt(bit)) & 1n) === 1n;
}
