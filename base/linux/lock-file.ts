// One daemon per directory: a POSIX record lock held for life, and the question who holds it.
// Source: fcntl(2), F_SETLK and F_GETLK. The kernel drops the lock when the process dies, however it dies.
// Invariant: POSIX locks belong to the process and fall with the first close of *any* descriptor of that file,
// so a file locked here is never opened a second time here (the table below). Thread: main.
import { statSync } from "node:fs";
import { PlinthError } from "../errors/index.js";
import { EACCES, EAGAIN, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile, O_CREAT, O_RDONLY, O_RDWR, openFile } from "./file.js";

const cFcntl = define<(fd: number, command: number, flock: number) => number>(
  "int fcntl(int fd, int command, intptr_t lock)",
);
const F_GETLK = 5;
const F_SETLK = 6;
const F_WRLCK = 1;
const F_UNLCK = 2;

/** struct flock on 64-bit Linux: type i16@0, whence i16@2, start i64@8, length i64@16, pid i32@24. */
const FLOCK_SIZE = 32;

const heldHere = new Set<string>();

export interface FileLock {
  /** Lets go; closing twice is allowed. The file stays, so that nobody can race with its removal. */
  close(): void;
}

/**
 * Takes the exclusive lock of `path` (made if missing, 0600). Throws ALREADY_RUNNING with `context.pid` when
 * another process, or this one, holds it.
 */
export function lockFile(path: string): FileLock {
  const before = identity(path);
  if (before !== undefined && heldHere.has(before)) throw alreadyRunning(path, process.pid);
  const fd = openFile(path, O_RDWR | O_CREAT, 0o600);
  const lock = new Uint8Array(FLOCK_SIZE);
  new DataView(lock.buffer).setInt16(0, F_WRLCK, true);
  const result = raw(cFcntl(fd, F_SETLK, addressOf(lock)));
  if (result < 0) {
    const holder = askHolder(fd);
    closeFile(fd);
    if (result === -EAGAIN || result === -EACCES) throw alreadyRunning(path, holder);
    throw systemError("fcntl(F_SETLK)", result, path);
  }
  const key = identity(path) ?? path;
  heldHere.add(key);
  return {
    close() {
      if (!heldHere.delete(key)) return;
      closeFile(fd);
    },
  };
}

/** The process that holds the lock of `path`; undefined when nobody does, or the file is missing. */
export function lockHolder(path: string): number | undefined {
  const key = identity(path);
  if (key === undefined) return undefined;
  if (heldHere.has(key)) return process.pid;
  const fd = openFile(path, O_RDONLY);
  try {
    return askHolder(fd);
  } finally {
    closeFile(fd);
  }
}

function askHolder(fd: number): number | undefined {
  const lock = new Uint8Array(FLOCK_SIZE);
  const view = new DataView(lock.buffer);
  view.setInt16(0, F_WRLCK, true);
  const result = raw(cFcntl(fd, F_GETLK, addressOf(lock)));
  if (result < 0) throw systemError("fcntl(F_GETLK)", result);
  return view.getInt16(0, true) === F_UNLCK ? undefined : view.getInt32(24, true);
}

function identity(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}

function alreadyRunning(path: string, pid: number | undefined): PlinthError {
  const holder = pid === undefined ? "another process" : `process ${pid}`;
  return new PlinthError("ALREADY_RUNNING", `${holder} already runs here and holds ${path}`, {
    remedy: "stop it first, or choose another directory with --dir",
    context: { path, pid },
  });
}
