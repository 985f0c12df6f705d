// errno numbers of Linux, their names, and the error thrown when a system call fails.
// Source: asm-generic/errno-base.h and errno.h (the same on x86-64 and arm64); names through node:os.
import { constants } from "node:os";
import { PlinthError } from "../errors/index.js";
import { lastErrno } from "./ffi.js";

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EBADF = 9;
export const EAGAIN = 11;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOSPC = 28;
export const EPIPE = 32;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const ENETDOWN = 100;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ECONNREFUSED = 111;
export const EINPROGRESS = 115;

const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) {
  if (!NAMES.has(value)) NAMES.set(value, name);
}

/** "ENOENT" for 2 or −2; "E<number>" for one that has no name. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  if (positive === EAGAIN) return "EAGAIN";
  if (positive === EOPNOTSUPP) return "EOPNOTSUPP";
  return NAMES.get(positive) ?? `E${positive}`;
}

/** The error for a failed call: its code is the errno's name. `errno` may be positive or negated. */
export function systemError(call: string, errno: number, detail = ""): PlinthError {
  const name = errnoName(errno);
  const about = detail === "" ? "" : ` ${detail}`;
  return new PlinthError(name, `${call}${about} failed: ${name}`, {
    context: { call, errno: Math.abs(errno), detail },
  });
}

/** Throws systemError when a libc result is −1; otherwise the result itself. */
export function check(result: number, call: string, detail = ""): number {
  if (result === -1) throw systemError(call, lastErrno(), detail);
  return result;
}

/** A libc result as the kernel gives it: at least 0, or the negated errno. Part of hot calls. */
export function raw(result: number): number {
  return result === -1 ? -lastErrno() : result;
}
