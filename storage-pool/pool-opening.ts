// Opening a pool from the daemon: which disks are there, the epochs raised, then the worker.
// Invariant: what the worker is told is in the catalogue before, and taken back when the worker refuses before it changed
// anything. Thread: main.
import { join } from "node:path";
import { PlinthError } from "../base/errors/index.js";
import type { DiskEntry, PoolEntry, VolumeEntry } from "./catalogue/catalogue.js";
import { specOf } from "./catalogue/volume-spec.js";
import { storageError } from "./errors.js";
import type { FoundOnDisks } from "./pool/catalogue-age.js";
import type { StorageDaemon, StoragedOptions } from "./storaged.js";
import type { OpenedReport } from "./target/target-types.js";

export interface PoolOpened extends OpenedReport {
  readonly disks: readonly DiskEntry[];
  readonly volumes: readonly VolumeEntry[];
}

/** Opens one pool. Throws DISK_…, and CATALOGUE_OLD with FoundOnDisks as its context. */
export async function openOnTarget(
  daemon: StorageDaemon,
  name: string,
  {
    dir,
    log,
    mapMemoryBytes,
    packAfterMs,
  }: Pick<StoragedOptions, "dir" | "log" | "mapMemoryBytes" | "packAfterMs">,
): Promise<PoolOpened> {
  const { catalogue, target } = daemon;
  const { id: poolId, clean } = catalogue.pools.get(name) as PoolEntry;
  await noteFormatted(daemon, name);
  const formatted = (catalogue.pools.get(name) as PoolEntry).disks.filter((disk) => disk.formatted);
  const found = await target.ask("probeDisks", { poolId, disks: formatted });
  const missing = new Map(
    formatted.map((disk, i) => [disk.index, found[i]]).filter(([, why]) => why !== "") as [number, string][],
  );
  for (const { index, path } of formatted) {
    const why = missing.get(index);
    if (why === undefined || missing.size === formatted.length) continue;
    log.error({ pool: name, disk: path, why }, "a disk is missing: the pool goes on without it");
    // Before anything is written without it: it may be old when it comes back.
    await daemon.changeDisk(name, index, { suspect: true });
  }
  const known = catalogue.pools.get(name) as PoolEntry;
  const before = volumesOf(daemon, name);
  const opening = known.disks
    .filter((disk) => disk.formatted)
    .map((disk) => ({ ...disk, missing: missing.get(disk.index) }));
  const raised = missing.size === formatted.length ? known : await catalogue.raiseEpochs(name);
  const volumes = volumesOf(daemon, name);
  try {
    const report = await target.ask("openPool", {
      name,
      poolId,
      epoch: raised.epoch,
      nextVolumeId: catalogue.nextVolumeId,
      disks: opening,
      clean,
      mapDirectory: join(dir, "maps", poolId),
      mapMemoryBytes,
      packAfterMs,
      volumes: volumes.map((volume) => specOf(volume, catalogue.durableOf(volume.id))),
    });
    return { ...report, disks: known.disks, volumes };
  } catch (thrown) {
    // Nothing was written in these epochs. Raised with every try they would soon be as high as those on the disks.
    if (isOld(thrown)) await catalogue.putEpochs(known, before);
    throw thrown;
  }
}

/** A disk that came just before a crash may have been written to before the catalogue said that it carries its superblock. */
async function noteFormatted(daemon: StorageDaemon, name: string): Promise<void> {
  const { id: poolId, disks } = daemon.catalogue.pools.get(name) as PoolEntry;
  const coming = disks.filter(({ formatted, diskId }) => !formatted && diskId !== "");
  if (coming.length === 0) return;
  const found = await daemon.target.ask("probeDisks", { poolId, disks: coming });
  for (const [i, { index }] of coming.entries())
    if (found[i] === "") await daemon.changeDisk(name, index, { formatted: true });
}

/**
 * From now on the catalogue is taken for as new as the disks of a pool, which are those that `refusal` is of: what it does
 * not know is given up when the pool is opened next.
 */
export async function acceptCatalogue(
  { catalogue }: StorageDaemon,
  name: string,
  refusal: PlinthError | undefined,
): Promise<void> {
  if (!isOld(refusal)) {
    throw storageError("PARAMETER_INVALID", `the catalogue of pool ${name} is not older than its disks`, {
      field: "name",
    });
  }
  const { epoch, volumeId, epochs } = refusal.context as unknown as FoundOnDisks;
  const pool = catalogue.pools.get(name) as PoolEntry;
  const volumes = [...catalogue.volumes.values()]
    .filter((volume) => volume.pool === name)
    .map((volume) => ({ ...volume, epoch: Math.max(volume.epoch, epochs[volume.id] ?? 0) }));
  if (volumeId > 0) await catalogue.useVolumeId(volumeId);
  // Logs go on from where the disks are, not from where this catalogue saw them closed.
  await catalogue.putEpochs({ ...pool, epoch: Math.max(pool.epoch, epoch), clean: false }, volumes);
}

/**
 * Called between a change of the catalogue without which the disks would be read wrong and the first write that counts on
 * it: who comes with an earlier copy, of the catalogue or of a disk, is refused, as if the pool had been opened since.
 */
export async function outdateCopies({ catalogue, target }: StorageDaemon, name: string): Promise<void> {
  const pool = catalogue.pools.get(name) as PoolEntry;
  const epoch = pool.epoch + 1;
  await catalogue.putPool({ ...pool, epoch });
  const stamped = await target.ask("stampDisks", { pool: name, epoch });
  // Only now: a crash in between may have left the earlier stamp.
  const disks = pool.disks.map((disk) =>
    stamped.includes(disk.index) ? { ...disk, usedEpoch: epoch } : disk,
  );
  await catalogue.putPool({ ...pool, epoch, disks });
}

function isOld(thrown: unknown): thrown is PlinthError {
  return thrown instanceof PlinthError && thrown.code === "CATALOGUE_OLD";
}

function volumesOf(daemon: StorageDaemon, pool: string): VolumeEntry[] {
  return [...daemon.catalogue.volumes.values()].filter((volume) => volume.pool === pool);
}
