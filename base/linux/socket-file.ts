// Unix sockets in a directory that somebody else may write, such as the run directory of a machine: its owner can put a
// link in the place of any name, at any moment, and have us hand over or dial what is not his.
// Invariant: what is done here is done to one socket file that was looked at: no link, and no second name of another's.
// Source: open(2) (O_PATH), proc(5) (/proc/self/fd). Thread: any. Hot: no.
import { chmodSync, chownSync, closeSync, constants, fstatSync, openSync } from "node:fs";
import { PlinthError } from "../errors/index.js";

const O_PATH = 0o10000000;

/**
 * Holds the socket file at `path` by a descriptor; the caller closes it. Throws with the errno's name, ENOTSOCK for a
 * link or anything else that is no socket, EMLINK for one that has a second name.
 */
export function holdSocketFile(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, O_PATH | constants.O_NOFOLLOW);
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? "EIO";
    throw new PlinthError(code, `${path}: ${code}`, { cause: thrown, context: { path } });
  }
  const stat = fstatSync(fd);
  if (stat.isSocket() && stat.nlink === 1) return fd;
  closeSync(fd);
  const code = stat.isSocket() ? "EMLINK" : "ENOTSOCK";
  const why = stat.isSocket() ? "has a second name" : "is no socket";
  throw new PlinthError(code, `${path} ${why}`, { context: { path } });
}

/** Calls `act` with a path that leads to the socket file at `path`, whatever is put in its place meanwhile. */
export function withSocketFile<T>(path: string, act: (held: string) => T): T {
  const fd = holdSocketFile(path);
  try {
    return act(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

/** Gives the socket file to `uid`, and to the group of that number. */
export function giveSocketFile(path: string, uid: number): void {
  change("chown", path, (held) => chownSync(held, uid, uid));
}

export function changeSocketMode(path: string, mode: number): void {
  change("chmod", path, (held) => chmodSync(held, mode));
}

function change(call: string, path: string, act: (held: string) => void): void {
  try {
    withSocketFile(path, act);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw thrown;
    const code = (thrown as NodeJS.ErrnoException).code ?? "EIO";
    throw new PlinthError(code, `${call} ${path} failed: ${code}`, { cause: thrown, context: { path } });
  }
}
