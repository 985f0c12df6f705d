// Disks of an open pool that are not as they should be, and their return. Thread: the pool's worker. Hot: no.
import { openDisk } from "../disk/disk.js";
import { isDiskPresent, openDiskFile } from "../disk/disk-file.js";
import { storageError } from "../errors.js";
import type { Pool } from "../pool/pool.js";
import type { DiskUsage } from "../pool/pool-disks.js";

/** Which disk of a pool: its place there, its own id ("": never noted), and the opening that it was used in (0: not noted). */
export interface DiskName {
  readonly path: string;
  readonly index: number;
  readonly diskId: string;
  readonly usedEpoch: number;
}

export interface DiskAway {
  readonly index: number;
  readonly state: Extract<DiskUsage["state"], "missing" | "failed" | "detached">;
}

export function disksAway(pool: Pool): DiskAway[] {
  pool.disks.watchPlaces();
  const away: DiskAway[] = [];
  for (const { index, missing, failed, detached } of pool.table.disks) {
    if (missing || failed || detached)
      away.push({ index, state: missing ? "missing" : failed ? "failed" : "detached" });
  }
  return away;
}

/**
 * Uses a disk again that was missing or failed; "", or why the pool has to be opened anew for it. Throws DISK_MISSING,
 * DISK_FOREIGN, DISK_OLD, DISK_FORMAT and DISK_DAMAGED; nothing has changed then.
 */
export function takeBackDisk(
  pool: Pool,
  poolId: string,
  { path, index, diskId, usedEpoch }: DiskName,
  epoch: number,
): string {
  const { disks } = pool;
  // One that is used is the answer to a question that was asked twice.
  const now = disks.disk(index);
  if (now.online && !now.detached) return "";
  // Nothing is made where the disk is not.
  if (!isDiskPresent(path)) {
    throw storageError("DISK_MISSING", `${path} is not there, or the file system on it is not mounted`, {
      field: "disk",
    });
  }
  const file = openDiskFile(path);
  try {
    const back = openDisk(file, poolId, index, diskId, usedEpoch);
    const why = disks.needsOpening(index);
    if (why === "") disks.takeBack(back, epoch);
    else file.close();
    return why;
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}
