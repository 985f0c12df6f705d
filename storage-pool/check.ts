// Looking at pools while no daemon runs: opens everything as a start would, changes nothing, and proves every volume. Of the
// catalogue a copy is opened, for LevelDB begins new files when it opens one. Thread: main.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeError, PlinthError } from "../base/errors/index.js";
import { lockFile } from "../base/linux/index.js";
import { openLevelStore } from "../base/store/index.js";
import { Catalogue, type PoolEntry } from "./catalogue/catalogue.js";
import { specOf } from "./catalogue/volume-spec.js";
import { type Disk, missingDisk, openDisk } from "./disk/disk.js";
import { type DiskFile, isDiskPresent, openDiskFile } from "./disk/disk-file.js";
import { storageError } from "./errors.js";
import { parseKeyRing } from "./keys/key-ring.js";
import { BLOCK_SIZE } from "./limits.js";
import { FORMAT_VERSION, SEGMENT_SIZE } from "./log/format.js";
import { DirectoryMapFiles, type MapFiles } from "./log/map-files.js";
import { auditCounts } from "./pool/count-audit.js";
import { Pool } from "./pool/pool.js";

/** Pages of maps that are read at a time. */
const COUNT_PAGES = 256;

export interface PoolCheck {
  readonly pool: string;
  /** Path → what is wrong with it; "" when nothing is. */
  readonly disks: Readonly<Record<string, string>>;
  readonly volumes: readonly VolumeCheck[];
  /** What the pool counts as in use and a count of all maps does not find so; empty when they agree. */
  readonly space: readonly string[];
  /** Space was counted: all volumes could be looked at. */
  readonly isCounted: boolean;
  /** Why the pool cannot be opened by this catalogue; "" when it can. */
  readonly catalogue: string;
  /** What is not as it should be in the files of the catalogue, and changes nothing. */
  readonly remarks: readonly string[];
}

export interface VolumeCheck {
  readonly name: string;
  /** Nothing can be said of it before a disk that is missing is back. */
  readonly waits: boolean;
  readonly provenBytes: number;
  /** Blocks and records that are not what they should be, all copies counted. */
  readonly badCount: number;
  readonly findings: readonly string[];
}

/** Told how far the check of a volume is. */
export type CheckProgress = (volume: string, doneBytes: number, totalBytes: number) => void;

/**
 * Checks all pools below a daemon's directory. Throws ALREADY_RUNNING while the daemon runs, STORAGE_NOT_FOUND when the
 * directory holds none, and CATALOGUE_FORMAT and DISK_FORMAT for what a newer program wrote.
 */
export async function checkPools(dir: string, onProgress: CheckProgress = () => {}): Promise<PoolCheck[]> {
  if (!existsSync(join(dir, "catalogue"))) {
    throw storageError("POOL_NOT_FOUND", `${dir} holds no storage pools`, { field: "--dir" });
  }
  const lock = lockFile(join(dir, "storaged.lock"));
  const copy = mkdtempSync(join(tmpdir(), "plinth-check-"));
  try {
    const [home, here] = [join(dir, "catalogue"), join(copy, "catalogue")];
    cpSync(home, here, { recursive: true });
    const remarks: string[] = [];
    const onRemark = (remark: string) => remarks.push(remark.replace(here, home));
    const catalogue = await openCopy(here, home, onRemark);
    try {
      return [...catalogue.pools.values()].map((pool) => ({
        ...checkPool(dir, catalogue, pool, onProgress),
        remarks,
      }));
    } finally {
      await catalogue.close();
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
    lock.close();
  }
}

/** Errors name the catalogue that was copied. */
async function openCopy(copy: string, home: string, onRemark: (remark: string) => void): Promise<Catalogue> {
  try {
    return await Catalogue.open(await openLevelStore(copy, { onRemark }), { readOnly: true });
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    const { code, message, field, remedy } = thrown;
    throw new PlinthError(code, message.replaceAll(copy, home), {
      ...(field === undefined ? {} : { field }),
      ...(remedy === undefined ? {} : { remedy: remedy.replaceAll(copy, home) }),
      cause: thrown,
    });
  }
}

function checkPool(
  dir: string,
  catalogue: Catalogue,
  pool: PoolEntry,
  onProgress: CheckProgress,
): Omit<PoolCheck, "remarks"> {
  const found: Record<string, string> = {};
  if (pool.deleting) {
    for (const { path } of pool.disks) found[path] = "is erased by the next start: the pool is being deleted";
    return { pool: pool.name, disks: found, volumes: [], space: [], isCounted: false, catalogue: "" };
  }
  const disks: Disk[] = [];
  for (const { path, index, suspect, slotCount, diskId, usedEpoch } of pool.disks) {
    try {
      if (!isDiskPresent(path)) throw new PlinthError("DISK_MISSING", "not there, or not mounted");
      disks.push(openDisk(readOnly(openDiskFile(path)), pool.id, index, diskId, usedEpoch));
      found[path] = suspect ? "was away or failed, and may hold old copies" : "";
    } catch (thrown) {
      if (thrown instanceof PlinthError && thrown.code === "DISK_FORMAT") throw thrown;
      found[path] = describeError(thrown);
      const place = { poolId: pool.id, poolName: pool.name, diskId: "", diskIndex: index, diskCount: 0 };
      const geometry = { segmentSizeBytes: SEGMENT_SIZE, blockSizeBytes: BLOCK_SIZE, slotCount };
      disks.push(missingDisk(path, { formatVersion: FORMAT_VERSION, ...place, ...geometry }));
    }
    (disks.at(-1) as Disk).suspect = suspect;
  }
  const entries = [...catalogue.volumes.values()].filter((volume) => volume.pool === pool.name);
  const files = readOnlyMaps(join(dir, "maps", pool.id));
  const keys = keyIds(dir, pool.id);
  // As a start would: in the next epochs.
  const specs = entries.map((entry) => ({
    ...specOf(entry, catalogue.durableOf(entry.id)),
    epoch: entry.epoch + 1,
  }));
  const { nextVolumeId } = catalogue;
  let opened: Pool;
  try {
    const opening = { epoch: pool.epoch + 1, clean: pool.clean, nextVolumeId };
    opened = new Pool(disks, files, specs, opening, { isLookedAt: true });
  } catch (thrown) {
    for (const disk of disks) disk.file.close();
    if (!(thrown instanceof PlinthError) || thrown.code !== "CATALOGUE_OLD") throw thrown;
    return {
      pool: pool.name,
      disks: found,
      volumes: [],
      space: [],
      isCounted: false,
      catalogue: describeError(thrown),
    };
  }
  try {
    // Proving asks what counts as in use.
    while (opened.table.pages.step(COUNT_PAGES));
    const volumes = entries.map(({ id, name, keyId }): VolumeCheck => {
      const damage = opened.damaged.get(id);
      const waits = damage !== undefined && opened.damageCode(id) === "DISK_MISSING";
      if (damage !== undefined) return { name, waits, provenBytes: 0, badCount: 1, findings: [damage] };
      const job = opened.newProof(id);
      const { progress } = job;
      while (job.step() !== "done") onProgress(name, progress.doneBytes, progress.totalBytes);
      const { doneBytes: provenBytes, lostBlocks: badCount, findings } = progress;
      if (keyId === "" || keys.has(keyId)) return { name, waits, provenBytes, badCount, findings };
      const keyless = "its key is not in the key ring of the pool: nobody can read it";
      return { name, waits, provenBytes, badCount: badCount + 1, findings: [...findings, keyless] };
    });
    // What volumes that are not served name counts as in use, as far as it is known.
    for (const { path, damage } of opened.disks.usage()) if (found[path] === "") found[path] = damage;
    const isCounted = opened.damaged.size === 0;
    const space = isCounted ? auditCounts(opened.volumes.values(), opened.table) : [];
    return { pool: pool.name, disks: found, volumes, space, isCounted, catalogue: "" };
  } finally {
    opened.close();
  }
}

/** Names of the keys in a pool's ring; none of them has to be unwrapped. */
function keyIds(dir: string, poolId: string): ReadonlySet<string> {
  const path = [join(dir, "keys", `${poolId}.ring`), join(dir, "keys", `${poolId}.ring.old`)].find(
    existsSync,
  );
  if (path === undefined) return new Set();
  try {
    return new Set(parseKeyRing(readFileSync(path), path).keys.map(({ id }) => id));
  } catch (thrown) {
    if (thrown instanceof PlinthError && thrown.code === "KEY_RING_DAMAGED") return new Set();
    throw thrown;
  }
}

/** A disk as it is: what opening a pool would tidy up stays. */
function readOnly(file: DiskFile): DiskFile {
  const nothing = () => 0;
  return {
    path: file.path,
    sizeBytes: file.sizeBytes,
    sparse: false,
    descriptor: -1,
    read: (target, at, length, offset) => file.read(target, at, length, offset),
    write: nothing,
    sync: nothing,
    punch: nothing,
    isInPlace: () => file.isInPlace(),
    lengthBytes: () => file.lengthBytes?.(),
    filesystem: file.filesystem,
    availableBytes: () => file.availableBytes(),
    close: () => file.close(),
  };
}

function readOnlyMaps(directory: string): MapFiles {
  const files = existsSync(directory) ? new DirectoryMapFiles(directory) : undefined;
  return {
    create: () => {
      throw new PlinthError("EPERM", "a check writes nothing");
    },
    open: (name) => files?.open(name),
    remove: () => {},
    list: () => [],
  };
}
