// The target: pools and the NBD exports of their volumes, as one thing that a worker thread runs.
// All methods are called by the mailbox, in order, between breaths. Thread: the pool's worker.
import { existsSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import type { Epoll } from "../../base/linux/index.js";
import { BlkServer } from "../blk/blk-server.js";
import { foreignReason, formatDisk, openDisk, readSuperblock } from "../disk/disk.js";
import { openDiskFile } from "../disk/disk-file.js";
import { storageError } from "../errors.js";
import { DIFF_RANGES_MAX, MAP_MEMORY_BYTES } from "../limits.js";
import { DirectoryMapFiles } from "../log/map-files.js";
import { PACKING } from "../log/packer.js";
import { NbdServer } from "../nbd/nbd-server.js";
import { mapMemoryOf, type VolumeSpec } from "../pool/open-pool.js";
import { type NewMap, Pool } from "../pool/pool.js";
import type { PoolUsage } from "../pool/pool-usage.js";
import type { RewindProgress } from "../pool/rewind.js";
import { Turns } from "../qos/turns.js";
import type { VolumeLimits, VolumeShare } from "../qos/volume-share.js";
import { AwaitedReads } from "../volume/awaited-reads.js";
import { SnapshotDevice } from "../volume/snapshot-device.js";
import type { Volume } from "../volume/volume.js";
import type { DiskName } from "./disk-returns.js";
import { Exports } from "./exports.js";
import { openOrMissing } from "./pool-disk-files.js";
import { PoolSyncer } from "./syncer.js";
import type {
  BlkListening,
  ChangedRange,
  Listening,
  OpenedReport,
  PoolOpening,
  TargetHooks,
  UsageReport,
} from "./target-types.js";
import { reportUsage } from "./usage-report.js";

/** Before the sockets are closed. */
const LAST_BREATHS = 64;
/** Looking whether some housekeeping is due is a twelfth of what a small request costs; soon is early enough. */
const HOUSEKEEP_EVERY_MS = 0.25;
const HOUSEKEEP_SOON_MS = 1;
/** How long looking up a moment may keep others waiting at a time. */
const REWIND_STEP_MS = 5;

export class Target {
  readonly server: NbdServer;
  readonly blk: BlkServer;
  readonly #pools = new Map<string, Pool>();
  /** Until then no housekeeping is due, unless somebody waits for room. */
  #quietUntilMs = 0;
  readonly turns = new Turns();
  readonly #exports = new Exports(this.turns);
  readonly #syncer: PoolSyncer;
  readonly #awaited: AwaitedReads;
  readonly #hooks: TargetHooks;

  constructor(epoll: Epoll, hooks: TargetHooks) {
    this.#hooks = hooks;
    this.#syncer = new PoolSyncer(this.#pools, epoll);
    this.#awaited = new AwaitedReads(epoll, this.#syncer.plainReason === undefined);
    this.server = new NbdServer(epoll, this.#syncer, this.#awaited);
    this.blk = new BlkServer(epoll, this.server);
  }

  /** How the thread does its I/O, for the log. */
  get ioReason(): string | undefined {
    return this.#syncer.plainReason;
  }

  /** Opens a pool and recovers its volumes. Throws DISK_MISSING when no disk is there. */
  openPool(opening: PoolOpening): OpenedReport {
    if (opening.disks.every((disk) => disk.missing !== undefined)) {
      const reasons = opening.disks.map(({ path, missing = "" }) =>
        missing.startsWith(path) ? missing : `${path}: ${missing}`,
      );
      const what = reasons.join("; ");
      throw storageError("DISK_MISSING", `pool ${opening.name} has no disk (${what})`, {
        field: "disks",
        remedy: "mount or attach what is missing, then start again",
      });
    }
    const disks = opening.disks.map((disk) => openOrMissing(opening, disk));
    const maps = new DirectoryMapFiles(opening.mapDirectory);
    let pool: Pool;
    try {
      pool = new Pool(disks, maps, opening.volumes, opening, {
        mapMemory: mapMemoryOf(opening.mapMemoryBytes ?? MAP_MEMORY_BYTES),
        packing: { ...PACKING, coldMs: opening.packAfterMs ?? PACKING.coldMs },
        syncAside: (onSynced) => this.server.syncAside(onSynced),
        onLost: (volume, range) => this.#hooks.onLost(volume, range),
        onDurable: (positions) => this.#hooks.onDurable(positions),
        onFailed: (disk) => this.#hooks.onSuspect(opening.name, disk, true),
        onTrusted: (disk) => this.#hooks.onSuspect(opening.name, disk, false),
        onPurge: (volume) => this.#hooks.onPurge(opening.name, volume),
        onHistoryShort: (volume) => this.#hooks.onHistory(volume, "the pool was short of room"),
        onHistoryLost: (volume, why) => this.#hooks.onHistory(volume, why),
      });
    } catch (thrown) {
      for (const disk of disks) disk.file.close();
      throw thrown;
    }
    pool.reader.awaited = this.#awaited;
    this.#pools.set(opening.name, pool);
    this.#exports.refuse(opening.name, opening.volumes, pool.damaged);
    for (const volume of pool.volumes.values()) this.#serve(volume);
    for (const { index, draining } of opening.disks) if (draining) pool.disks.resumeDrain(index);
    return {
      damaged: Object.fromEntries(
        [...pool.damaged].map(([id, why]) => [
          id,
          { why, code: pool.damageCode(id), lacksEnd: pool.lacksEnd(id) },
        ]),
      ),
      found: Object.fromEntries(
        pool.table.disks
          .filter((disk) => !disk.missing)
          .map(({ index, slotCount, lastEpoch: usedEpoch, superblock: { diskId } }) => [
            index,
            { slotCount, diskId, usedEpoch },
          ]),
      ),
    };
  }

  /**
   * Lets go of a pool's disks, whatever is not on the medium yet, and ends the connections of its clients; when it is to be
   * `reopened` they wait instead for goOn(). No pool is no error.
   */
  closePool(name: string, reopened: boolean): void {
    const pool = this.#pools.get(name);
    if (pool === undefined) return;
    for (const volume of pool.volumes.values()) {
      if (!reopened) this.#exports.forget(volume.id);
      else
        for (const device of this.#exports.devicesOf(volume)) {
          this.server.park(device);
          this.blk.park(device);
        }
    }
    if (reopened) for (let breath = 0; breath < LAST_BREATHS && this.server.endBreath(); breath++);
    this.#drain();
    for (const volume of pool.volumes.values()) this.#unserve(volume.name, reopened);
    this.#exports.refuse(name, [], pool.damaged);
    this.#pools.delete(name);
    pool.close();
  }

  /** Clients that wait for a pool go on where their volume is served again; elsewhere their connections end. */
  goOn(): void {
    this.server.unpark();
    this.blk.unpark();
  }

  /** Formats an empty disk, or takes one that a crash left formatted for this place, and begins to use it. */
  addDisk(name: string, poolId: string, { path, index, diskId }: DiskName, diskClass: string): number {
    const pool = this.pool(name);
    if (pool.table.disks.some((disk) => disk.index === index)) return pool.disks.disk(index).slotCount;
    const file = openDiskFile(path);
    try {
      const found = readSuperblock(file);
      if (found === undefined || foreignReason(found, poolId, index, diskId) !== "") {
        const place = { diskIndex: index, diskCount: index + 1, diskId };
        formatDisk(file, { poolId, poolName: name, ...place }, true);
      }
      const disk = openDisk(file, poolId, index);
      disk.diskClass = diskClass;
      pool.disks.add(disk);
      return disk.slotCount;
    } catch (thrown) {
      file.close();
      throw thrown;
    }
  }

  get pools(): Iterable<Pool> {
    return this.#pools.values();
  }

  shareOf(volume: Volume): VolumeShare {
    return this.#exports.shareOf(volume);
  }

  pool(name: string): Pool {
    const pool = this.#pools.get(name);
    if (pool === undefined)
      throw storageError("POOL_NOT_FOUND", `there is no pool ${name}`, { field: "pool" });
    return pool;
  }

  poolUsage(name: string): PoolUsage {
    return this.pool(name).usage();
  }

  createVolume(pool: string, spec: VolumeSpec): void {
    this.#serve(this.pool(pool).createVolume(spec));
  }

  cloneVolume(pool: string, spec: VolumeSpec, origin: number, snapshot: string): NewMap {
    const made = this.pool(pool).cloneVolume(spec, origin, snapshot);
    this.#serve(this.pool(pool).volume(spec.id));
    return made;
  }

  /** From now on; clients need not connect anew. */
  setLimits(pool: string, id: number, limits: VolumeLimits): void {
    this.#exports.shareOf(this.pool(pool).volume(id)).setLimits(limits);
  }

  deleteVolume(pool: string, id: number, name: string): void {
    this.#unserve(name);
    this.#exports.forget(id);
    // Its key may go with it, which reads that are under way are decrypted by.
    this.#drainReads();
    this.pool(pool).deleteVolume(id);
  }

  /** Nobody finds the volume any more; it is kept under another name. */
  trashVolume(pool: string, id: number, to: string, deletedAtMs: number): void {
    const volume = this.pool(pool).volumes.get(id);
    if (volume === undefined) return;
    this.#unserve(volume.name);
    volume.settle();
    volume.name = to;
    volume.deletedAtMs = deletedAtMs;
  }

  /** The volume is back under a name. */
  untrashVolume(pool: string, id: number, name: string): void {
    const volume = this.pool(pool).volume(id);
    volume.name = name;
    volume.deletedAtMs = 0;
    this.#serve(volume);
  }

  /** Keys by their names: the volumes that have them are served from now on. */
  unlock(name: string, keys: Readonly<Record<string, Uint8Array>>): void {
    const pool = this.pool(name);
    const locked = [...pool.volumes.values()].filter((volume) => volume.locked);
    for (const [keyId, key] of Object.entries(keys)) pool.keys.unlock(keyId, key);
    for (const volume of locked) this.#serve(volume);
  }

  #serve(volume: Volume): void {
    if (volume.deletedAtMs === 0) this.#exports.serve(volume);
  }

  #unserve(name: string, parked = false): void {
    for (const device of this.#exports.unserve(name)) {
      if (parked) continue;
      this.server.disconnect(device);
      this.blk.disconnect(device);
    }
  }

  /** A step of looking up the moment that `beginRewind` was told. */
  stepRewind(pool: string, id: number): RewindProgress {
    const { reverts } = this.pool(pool);
    const until = performance.now() + REWIND_STEP_MS;
    for (;;) {
      const progress = reverts.stepRewind(id);
      if (progress.done || performance.now() >= until) return progress;
    }
  }

  /** What differs between a snapshot and another, or the volume as it is now (`to` ""). */
  diff(pool: string, id: number, from: string, to: string) {
    const volume = this.pool(pool).volume(id);
    const root = volume.snapshots.get(to);
    const device = root === undefined ? volume : new SnapshotDevice(volume, root);
    const ranges: ChangedRange[] = [];
    let offsetBytes = 0;
    let changedBytes = 0;
    let count = 0;
    device.changes(from, 0, device.sizeBytes, (lengthBytes, changed) => {
      if (changed) {
        changedBytes += lengthBytes;
        if (count++ < DIFF_RANGES_MAX) ranges.push({ offsetBytes, lengthBytes });
      }
      offsetBytes += lengthBytes;
      return true;
    });
    return { changedBytes, ranges, truncated: count > ranges.length };
  }

  growVolume(pool: string, id: number, sizeBytes: number): void {
    const volume = this.pool(pool).volume(id);
    volume.grow(sizeBytes);
    this.blk.resized(volume);
  }

  deleteSnapshot(pool: string, id: number, name: string): void {
    const device = this.#exports.dropSnapshot(this.pool(pool).volumes.get(id)?.name ?? "", name);
    if (device !== undefined) this.server.disconnect(device);
    this.pool(pool).deleteSnapshot(id, name);
  }

  usage(pool: string, id: number, exact = false): UsageReport {
    const volume = this.pool(pool).volume(id);
    const connections = this.server.connectionsOf(volume) + this.blk.connectionsOf(volume);
    return reportUsage(this.pool(pool), volume, connections, exact);
  }

  /** Listening already, with the socket in its place, is no error and disturbs nobody. Returns the port, if any. */
  listen({ name, place, exports, readOnly, tls = "refused" }: Listening): number {
    if (this.server.isListening(name)) {
      if (place.kind !== "unix" || existsSync(place.path)) return 0;
      this.server.unlisten(name);
    }
    const source =
      exports === undefined ? this.#exports.everything(readOnly) : this.#exports.chosen(exports, readOnly);
    return this.server.listen(name, place, source, tls);
  }

  /** As listen(), for a guest's vhost-user-blk device. */
  listenBlk({ path, volume, readOnly, ...options }: BlkListening): void {
    if (this.blk.isListening(path)) {
      if (existsSync(path)) return;
      this.blk.unlisten(path);
    }
    const source = this.#exports.chosen([volume], readOnly);
    this.blk.listen(path, () => source.open(""), options);
  }

  /** Whichever front listens at a path. */
  unlisten(name: string): void {
    this.server.unlisten(name);
    this.blk.unlisten(name);
  }

  /**
   * A little housekeeping, unless there was nothing to do a moment ago and nobody waits for room; how long the loop may
   * sleep when nothing arrives (ms).
   */
  housekeep(nowMs: number): number {
    const isPressing = this.server.hasStalled || this.blk.hasStalled;
    if (nowMs < this.#quietUntilMs && !isPressing) return HOUSEKEEP_SOON_MS;
    let sleepMs = 1000;
    let urgent = false;
    let cleaning = false;
    for (const [name, pool] of this.#pools) {
      const outcome = pool.housekeeper.housekeep(nowMs);
      if (outcome === "busy") sleepMs = 0;
      else if (outcome !== "idle") this.#hooks.onCheckpoint(name, outcome);
      urgent ||= pool.housekeeper.urgent || pool.housekeeper.holdsWriters;
      cleaning ||= pool.housekeeper.cleaning;
    }
    if (urgent) sleepMs = Math.min(sleepMs, 5);
    else if (this.server.hasStalled || this.blk.hasStalled) {
      // Room was made, or there is none to be had: either way writers get their answer now.
      this.server.retryStalled();
      this.blk.retryStalled();
      sleepMs = 0;
    }
    this.#quietUntilMs = sleepMs === 1000 && !cleaning ? nowMs + HOUSEKEEP_EVERY_MS : 0;
    return Math.min(sleepMs, 250);
  }

  /** Goes on where the limits of volumes allow it again; until when the loop may sleep for the others (ms). */
  retryThrottled(nowMs: number): number {
    return Math.min(this.server.retryThrottled(nowMs), this.blk.retryThrottled(nowMs));
  }

  checkpointRecorded(pool: string, recorded: boolean): void {
    this.pool(pool).housekeeper.checkpointRecorded(recorded);
  }

  /** Handles a descriptor that epoll reported. */
  onReady(fd: number, events: number, nowMs: number): void {
    if (this.#awaited.onReady(fd) || this.#syncer.onReady(fd) || this.server.onReady(fd, events, nowMs))
      return;
    this.blk.onReady(fd);
    this.server.otherClients = this.blk.connectionCount;
  }

  /** Commits and answers what came; true when there is more to do. Guests have a turn however much NBD has to do. */
  endBreath(): boolean {
    const more = this.server.endBreath();
    return this.blk.breath() || more;
  }

  /** False when something came meanwhile. */
  beginSleep(): boolean {
    return this.blk.beginSleep();
  }

  /** Waits for all reads and syncs that are under way, and answers them. */
  #drain(): void {
    this.#drainReads();
    this.#syncer.drain();
  }

  #drainReads(): void {
    this.#awaited.drain();
    this.server.sendReads();
  }

  /** Answers what has come, ends all connections, makes everything durable and lets go of the disks. */
  close(): void {
    // A guest could go on for ever.
    for (let breath = 0; breath < LAST_BREATHS && this.endBreath(); breath++);
    this.#drain();
    this.server.close();
    this.blk.close();
    this.#awaited.close();
    this.#syncer.close();
    for (const pool of this.#pools.values()) {
      for (const volume of pool.volumes.values()) volume.settle();
      pool.sync();
      pool.close();
    }
    this.#pools.clear();
  }
}

/** Pools that could not be opened must not take the worker with them. */
export function asPlinthError<T>(action: () => T): T {
  try {
    return action();
  } catch (thrown) {
    if (thrown instanceof PlinthError || !(thrown instanceof Error) || !("code" in thrown)) throw thrown;
    throw new PlinthError(String(thrown.code), thrown.message, { cause: thrown });
  }
}
