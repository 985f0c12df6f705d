// The disks of a pool that is not open: made its own, looked at, opened. Thread: the pool's worker. Hot: no.
import { randomUUID } from "node:crypto";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { type Disk, formatDisk, missingDisk, openDisk, readSuperblock } from "../disk/disk.js";
import { isDiskPresent, openDiskFile } from "../disk/disk-file.js";
import { NOT_THERE } from "../disk/probe-disk.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { FORMAT_VERSION, SEGMENT_SIZE } from "../log/format.js";
import type { DiskName } from "./disk-returns.js";
import type { OpenDisk, PoolOpening } from "./target-types.js";

/**
 * Makes empty disks the disks of a new pool. All are looked at before any is written. One that a crash left formatted
 * for this very pool is taken as it is.
 */
export function formatPool(name: string, poolId: string, paths: readonly string[]): void {
  const files = paths.map((path) => openDiskFile(path));
  try {
    const found = files.map((file) => readSuperblock(file));
    for (const [i, superblock] of found.entries()) {
      if (superblock === undefined || superblock.poolId === poolId) continue;
      throw storageError(
        "DISK_FOREIGN",
        `${paths[i]} belongs to the pool ${superblock.poolName} (${superblock.poolId})`,
        {
          field: "disks",
          remedy:
            "give an empty file, directory or device, or the data directory that the pool was made with",
        },
      );
    }
    for (const [i, file] of files.entries()) {
      if (found[i] !== undefined) continue;
      const place = { diskIndex: i, diskCount: files.length, diskId: randomUUID() };
      formatDisk(file, { poolId, poolName: name, ...place });
    }
  } finally {
    for (const file of files) file.close();
  }
}

/** For each disk why it cannot be used, or "" when it can; nothing is changed. */
export function probeDisks(poolId: string, disks: readonly DiskName[]): string[] {
  return disks.map(({ path, index, diskId, usedEpoch }) => {
    if (!isDiskPresent(path)) return NOT_THERE;
    try {
      const file = openDiskFile(path);
      try {
        openDisk(file, poolId, index, diskId, usedEpoch);
      } finally {
        file.close();
      }
      return "";
    } catch (thrown) {
      // What a newer program wrote is not missing: whoever goes on without it would ruin it.
      if (thrown instanceof PlinthError && thrown.code === "DISK_FORMAT") throw thrown;
      return describeError(thrown);
    }
  });
}

/** Stands for one that is not there, too. */
export function openOrMissing({ poolId, name }: PoolOpening, disk: OpenDisk): Disk {
  const { path, index, missing, suspect, slotCount, diskClass, diskId, usedEpoch } = disk;
  const place = { poolId, poolName: name, diskId, diskIndex: index, diskCount: 0, slotCount };
  const geometry = { segmentSizeBytes: SEGMENT_SIZE, blockSizeBytes: BLOCK_SIZE };
  const opened =
    missing === undefined
      ? openDisk(openDiskFile(path), poolId, index, diskId, usedEpoch)
      : missingDisk(path, { formatVersion: FORMAT_VERSION, ...place, ...geometry });
  opened.suspect = suspect;
  opened.diskClass = diskClass;
  return opened;
}
