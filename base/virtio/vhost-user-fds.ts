// Descriptors that a vhost-user front-end has sent.
import { readlinkSync } from "node:fs";
import { PlinthError } from "../errors/index.js";
import { closeFile, setNonBlocking } from "../linux/index.js";

/** Puts `fd` into a column of descriptors; the one before is closed. */
export function replaceFd(column: Int32Array, index: number, fd: number): void {
  const before = column[index]!;
  if (before >= 0) closeFile(before);
  column[index] = fd;
}

export function closeAll(fds: readonly number[]): undefined {
  for (const fd of fds) if (fd >= 0) closeFile(fd);
}

/** Anything but an eventfd (a pipe, a terminal) could block us when written. Throws VHOST_USER_DESCRIPTOR. */
export function prepareEventfd(fd: number, purpose: string): void {
  if (readlinkSync(`/proc/self/fd/${fd}`) !== "anon_inode:[eventfd]") {
    throw new PlinthError("VHOST_USER_DESCRIPTOR", `the ${purpose} descriptor is no eventfd`);
  }
  setNonBlocking(fd);
}
