// Deleting a pool with its disks. A crash at any point is gone on from by the next start.
//
//   asked ──► marked in the catalogue ──► let go by the worker ──► volumes forgotten ──► keys destroyed
//                     restart ──┘             gone from the catalogue ◄── maps removed ◄── disks erased ◄──┘
//
// Invariants: nothing is changed before the mark; a pool with the mark is never opened; its entry goes last, so what it
// names is erased or still known. Thread: main.
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { PoolEntry, VolumeEntry } from "./catalogue/catalogue.js";
import { refuseInUse } from "./control.js";
import { eraseDisk, removeErasedFile, unknownDisk } from "./disk/erase-disk.js";
import { storageError } from "./errors.js";
import type { StorageDaemon } from "./storaged.js";

/** Volumes that a refusal names. */
const SHOWN_MAX = 5;

export interface PoolDeletion {
  /** With its volumes, deleted ones that could be brought back among them, and what its catalogue does not know. */
  readonly force: boolean;
  /** Disks that are not there will not come back; they stay as they are. */
  readonly lost: boolean;
}

/** Deletes a pool, or goes on with that. Throws POOL_IN_USE, VOLUME_IN_USE, CATALOGUE_OLD and DISK_MISSING before anything is changed. */
export async function deletePool(daemon: StorageDaemon, name: string, asked: PoolDeletion): Promise<void> {
  const pool = daemon.catalogue.pools.get(name);
  if (pool === undefined) {
    throw storageError("POOL_NOT_FOUND", `there is no pool ${name}`, { field: "name" });
  }
  if (!pool.deleting) await refuseHeld(daemon, pool, asked);
  const unknown = new Map(pool.disks.map(({ path }) => [path, unknownDisk(path)]));
  const away = [...unknown].filter(([, why]) => why !== "");
  if (away.length > 0 && !asked.lost) {
    const what = away.map(([path, why]) => `${path}: ${why}`).join("; ");
    throw storageError("DISK_MISSING", `pool ${name} cannot be erased (${what})`, {
      field: "name",
      remedy: "bring back what is missing, or give it up as lost: --lost",
    });
  }
  const disks = pool.disks.filter(({ path }) => unknown.get(path) === "");
  await daemon.catalogue.putPool({ ...pool, disks, deleting: true });
  try {
    await finishDeletion(daemon, name);
  } catch (thrown) {
    // Tried again like a pool that cannot be opened.
    await daemon.tryOpenPool(name);
    throw thrown;
  }
}

/** Goes on with the deletion of a pool that is marked. Throws DISK_MISSING and DISK_DAMAGED: then it is tried again later. */
export async function finishDeletion(daemon: StorageDaemon, name: string): Promise<void> {
  const { catalogue } = daemon;
  const { id, disks } = catalogue.pools.get(name) as PoolEntry;
  await daemon.closePool(name, "it is being deleted");
  for (const volume of volumesOf(daemon, name)) {
    await catalogue.deleteVolume(volume.name);
    daemon.damaged.delete(volume.id);
  }
  // Before the disks: from then on what is encrypted there is of use to nobody, whatever keeps them from being erased.
  daemon.keys.forget(name);
  for (const { path } of disks) await eraseDisk(path, id);
  rmSync(join(daemon.dir, "maps", id), { recursive: true, force: true });
  await catalogue.deletePool(name);
  daemon.forgetPool(name);
  for (const { path } of disks) removeErasedFile(path);
}

async function refuseHeld(
  daemon: StorageDaemon,
  { name }: PoolEntry,
  { force }: PoolDeletion,
): Promise<void> {
  const refusal = daemon.refusals.get(name);
  if (refusal?.code === "CATALOGUE_OLD" && !force) {
    throw storageError("CATALOGUE_OLD", refusal.message, {
      field: "name",
      remedy: "put the newest catalogue back, or delete the pool with all that its disks hold: --force",
    });
  }
  const volumes = volumesOf(daemon, name);
  for (const volume of volumes) if (volume.deletedAtMs === 0) await refuseInUse(daemon, volume, "delete");
  if (volumes.length === 0 || force) return;
  const shown = volumes
    .slice(0, SHOWN_MAX)
    .map((each) =>
      each.deletedAtMs === 0 ? each.name : `${each.deletedName} (deleted, can be brought back)`,
    );
  const more = volumes.length > shown.length ? ` and ${volumes.length - shown.length} more` : "";
  throw storageError("POOL_IN_USE", `pool ${name} holds volumes: ${shown.join(", ")}${more}`, {
    field: "name",
    remedy: "delete them for good first (--undo 0), or all at once with the pool: --force",
  });
}

function volumesOf(daemon: StorageDaemon, pool: string): VolumeEntry[] {
  return [...daemon.catalogue.volumes.values()].filter((volume) => volume.pool === pool);
}
