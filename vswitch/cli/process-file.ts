// The file with the number of a process that runs in the background, locked for as long as it runs, as ovs-appctl and
// scripts for the service look for it. Source: ovs-ofctl(8), --pidfile. Thread: main.
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { systemReason } from "../../base/errors/index.js";
import { type FileLock, lockFile, lockHolder } from "../../base/linux/index.js";
import { commandError } from "./errors.js";

export interface ProcessFile {
  /** Removes it. */
  close(): void;
}

/** Throws COMMAND_FAILED when `path` cannot be written or, unless `overwrites`, is that of a process that runs. */
export function writeProcessFile(path: string, overwrites: boolean): ProcessFile {
  const holder = overwrites ? undefined : lockHolder(path);
  if (holder !== undefined) throw commandError(`${path}: already running as pid ${holder}, aborting`);
  const temporary = `${path}.tmp${process.pid}`;
  let lock: FileLock;
  try {
    writeFileSync(temporary, `${process.pid}\n`);
    // Only then: a lock falls when its file is closed, whoever closes it.
    lock = lockFile(temporary);
    renameSync(temporary, path);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw commandError(`${path}: create failed (${systemReason(thrown)})`);
  }
  return {
    close() {
      rmSync(path, { force: true });
      lock.close();
    },
  };
}
