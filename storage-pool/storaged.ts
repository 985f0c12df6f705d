// storaged: pools, volumes and their exports as one daemon. The catalogue lives here, the data in the worker.
//
//   start: lock ─► catalogue ─► worker ─► pools (epochs raised first) ─► nbd.sock ─► exports ─► control.sock
//
// Invariants: the catalogue is changed before anything relies on the change; while an operation changes a volume's
// entry the worker makes no checkpoint of its pool; operations run one after the other. Thread: main.
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { makeDirectory } from "../base/directory/index.js";
import { describeError, PlinthError } from "../base/errors/index.js";
import { type ControlServer, createControlServer } from "../base/jsonrpc/index.js";
import { type FileLock, lockFile } from "../base/linux/index.js";
import type { Logger } from "../base/log/index.js";
import { type MetricsServer, openMetricsServer, parseMetricsEndpoint } from "../base/metrics/index.js";
import { openLevelStore } from "../base/store/index.js";
import {
  Catalogue,
  type DiskEntry,
  type ExportEntry,
  newDisk,
  type PoolEntry,
} from "./catalogue/catalogue.js";
import { CheckpointRecords } from "./checkpoint-records.js";
import { Clockwork } from "./clockwork.js";
import { controlMethods } from "./control.js";
import { DiskReturns } from "./disk-returns.js";
import { storageError } from "./errors.js";
import type { Forecast } from "./forecast.js";
import { DaemonKeys } from "./keys/daemon-keys.js";
import { MAP_MEMORY_BYTES, MAP_MEMORY_BYTES_MIN } from "./limits.js";
import { sendLimits } from "./limits-control.js";
import { formatMetrics } from "./metrics/metrics.js";
import { type NbdEndpoint, NbdEndpoints } from "./nbd-endpoints.js";
import type { RewindProgress } from "./pool/rewind.js";
import { finishDeletion } from "./pool-deletion.js";
import { acceptCatalogue, openOnTarget, outdateCopies } from "./pool-opening.js";
import { Scrubs } from "./scrub-control.js";
import { TargetHandle } from "./target/target-handle.js";
import { purgeVolume } from "./trash-control.js";
import { refuseUnserved, type Unserved } from "./unserved.js";

export interface StoragedOptions {
  /** Holds catalogue/, maps/, nbd.sock, control.sock and storaged.lock; made when missing. */
  readonly dir: string;
  /** Directories, files or block devices of the pool `default`, which is made on the first start. */
  readonly disks: readonly string[];
  /** The disk of the pool `default` when none is named and there is no such pool; without it none is made. */
  readonly firstDisk?: string | undefined;
  /** Where clients come besides DIR/nbd.sock. */
  readonly endpoints?: readonly NbdEndpoint[];
  /** Where metrics are served over HTTP: HOST:PORT or unix:PATH; nowhere when absent. */
  readonly metrics?: string | undefined;
  /** Memory for the pages of maps, of each pool; MAP_MEMORY_BYTES when absent. */
  readonly mapMemoryBytes?: number | undefined;
  /** What was not written for so long is packed, in volumes that are compressed; ten minutes when absent. */
  readonly packAfterMs?: number | undefined;
  readonly log: Logger;
}

export interface Storaged {
  /** Everything answered is durable, every socket and the lock gone when it resolves. */
  close(): Promise<void>;
  /** Resolves when `shutdown` was asked for on the control socket. */
  readonly closed: Promise<void>;
  /** Lets clients come there, too; what is offered should exist. Returns URIs. Throws as NbdEndpoints.open. */
  serve(endpoint: NbdEndpoint): Promise<readonly string[]>;
}

const DEFAULT_POOL = "default";

/** Starts the daemon. Throws ALREADY_RUNNING and PARAMETER_INVALID before anything is touched, and DISK_…, POOL_… and store errors. */
export async function startStoraged(options: StoragedOptions): Promise<Storaged> {
  if ((options.mapMemoryBytes ?? MAP_MEMORY_BYTES) < MAP_MEMORY_BYTES_MIN) {
    const message = `memory for maps is ${MAP_MEMORY_BYTES_MIN} bytes at least, not ${options.mapMemoryBytes}`;
    throw storageError("PARAMETER_INVALID", message, { field: "mapMemory" });
  }
  makeDirectory(options.dir, 0o700);
  const lock = lockFile(join(options.dir, "storaged.lock"));
  const daemon = new StorageDaemon(options, lock);
  try {
    await daemon.start();
  } catch (thrown) {
    await daemon.close();
    throw thrown;
  }
  return daemon;
}

export class StorageDaemon implements Storaged {
  readonly closed: Promise<void>;
  readonly #options: StoragedOptions;
  readonly #lock: FileLock;
  #catalogue: Catalogue | undefined;
  #target: TargetHandle | undefined;
  #control: ControlServer | undefined;
  #metrics: MetricsServer | undefined;
  #endpoints: NbdEndpoints | undefined;
  /** Volume id → why it was not served when its pool was opened. */
  readonly damaged = new Map<number, Unserved>();
  /** Pool name → why it is not open. */
  readonly unavailable = new Map<string, string>();
  /** Pool name → how opening it failed last. */
  readonly refusals = new Map<string, PlinthError>();
  readonly #openPools = new Set<string>();
  #clockwork: Clockwork | undefined;
  #scrubs: Scrubs | undefined;
  readonly diskReturns: DiskReturns;
  /** Volume name → how far the look-up of a moment is. */
  readonly rewinds = new Map<string, RewindProgress>();
  readonly keys: DaemonKeys;
  #operations: Promise<unknown> = Promise.resolve();
  readonly #checkpoints: CheckpointRecords;
  #shutdown: () => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: StoragedOptions, lock: FileLock) {
    this.#options = options;
    this.#lock = lock;
    this.#checkpoints = new CheckpointRecords(this, options.log);
    this.keys = new DaemonKeys(this, join(options.dir, "keys"));
    this.diskReturns = new DiskReturns(this, options.log);
    this.closed = new Promise((resolved) => {
      this.#shutdown = resolved;
    });
  }

  /** Holds catalogue/, maps/ and keys/. */
  get dir(): string {
    return this.#options.dir;
  }

  get catalogue(): Catalogue {
    return this.#catalogue as Catalogue;
  }

  async serve(endpoint: NbdEndpoint): Promise<readonly string[]> {
    this.#endpoints ??= new NbdEndpoints(this.target, this.#options.dir, this.#options.log);
    const uris = await this.#endpoints.open(endpoint);
    this.#options.log.info({ uris }, "serving");
    return uris;
  }

  get scrubs(): Scrubs {
    this.#scrubs ??= new Scrubs(this, this.#options.log);
    return this.#scrubs;
  }

  get target(): TargetHandle {
    return this.#target as TargetHandle;
  }

  async start(): Promise<void> {
    const { dir, log } = this.#options;
    const disks = this.#options.disks.map((path) => resolve(path));
    const onRemark = (remark: string) =>
      log.warn({ remark }, "the files of the catalogue are not quite whole");
    this.#catalogue = await Catalogue.open(await openLevelStore(join(dir, "catalogue"), { onRemark }));
    this.#checkDisks(disks);
    this.#target = new TargetHandle({
      onCheckpoint: (pool, record) => {
        void this.#checkpoints.record(pool, record);
      },
      onDurable: (positions) => {
        void this.#checkpoints.note(positions);
      },
      onLost: (volume, range) =>
        log.error(
          { volume, ...range },
          "a block has no copy with its checksum: reads of it fail until it is written",
        ),
      onSuspect: (pool, disk, suspect) => {
        const path = this.catalogue.pools.get(pool)?.disks.find((each) => each.index === disk)?.path;
        if (suspect) log.error({ pool, disk: path }, "a disk failed: nothing new is put there");
        else log.info({ pool, disk: path }, "all copies on the disk are right again");
        void this.exclusive(() => this.changeDisk(pool, disk, { suspect })).catch((thrown: unknown) =>
          log.error({ err: thrown, pool, disk: path }, "the state of a disk could not be recorded"),
        );
      },
      onPurge: (_pool, id) => {
        const entry = this.catalogue.volumeById(id);
        if (entry === undefined || entry.deletedAtMs === 0) return;
        log.warn({ volume: entry.deletedName }, "room is short: a deleted volume goes before its time");
        void this.exclusive(() => purgeVolume(this, entry.name)).catch((thrown: unknown) =>
          log.error({ err: thrown, volume: entry.deletedName }, "a deleted volume could not be purged"),
        );
      },
      onHistory: (volume, why) =>
        log.warn({ volume, why }, "the volume cannot be rewound as far back as it should"),
      onDied: (error) => {
        log.fatal({ err: error }, "the storage worker died");
        setImmediate(() => {
          throw error;
        });
      },
    });
    const { plainReason } = await this.target.ask("io", undefined);
    log.info({ io: plainReason === "" ? "io_uring" : "plain", reason: plainReason }, "storage worker is up");
    for (const pool of [...this.catalogue.pools.values()]) await this.tryOpenPool(pool.name);
    const { firstDisk } = this.#options;
    const first = disks.length === 0 && firstDisk !== undefined ? [resolve(firstDisk)] : disks;
    if (first.length > 0 && !this.catalogue.pools.has(DEFAULT_POOL))
      await this.createPool(DEFAULT_POOL, first);
    // Named apart from the sockets of single volumes, none of which may take its place.
    const place = { kind: "unix", path: join(dir, "nbd.sock") } as const;
    await this.target.ask("listen", { name: "shared", place, readOnly: false });
    await this.#restoreExports();
    for (const endpoint of this.#options.endpoints ?? []) await this.serve(endpoint);
    this.#clockwork = new Clockwork(this, log);
    const where = this.#options.metrics;
    if (where !== undefined)
      this.#metrics = await openMetricsServer(parseMetricsEndpoint(where), () => formatMetrics(this), log);
    this.#control = await createControlServer(join(dir, "control.sock"), controlMethods(this), {
      name: "storaged",
      shutdown: () => this.#shutdown(),
      onInternalError: (thrown, method) => log.error({ err: thrown, method }, "internal error"),
    });
  }

  /** Runs `operation` after all before it have ended. */
  exclusive<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#operations.then(operation, operation);
    this.#operations = result.catch(() => undefined);
    return result;
  }

  /** Runs `change` while no checkpoint of the pool is being made or recorded. */
  async held<T>(pool: string, change: () => Promise<T>): Promise<T> {
    await this.target.ask("hold", { pool });
    try {
      // Whatever the worker handed over before it answered is in this chain.
      await this.#checkpoints.settled;
      return await change();
    } finally {
      await this.target.ask("release", { pool });
    }
  }

  /** Since the last checkpoint of a volume, or since the start. */
  checkpointAgeSeconds(volume: number): number {
    return this.#checkpoints.ageSeconds(volume);
  }

  /** Percent and age of what pools hold. */
  forecastOf(pool: string, leftBytes: number): Forecast | undefined {
    return this.#clockwork?.forecastOf(pool, leftBytes);
  }

  /** Makes a pool on empty disks. The same name with the same disks is no error. */
  async createPool(name: string, disks: readonly string[], diskClass = ""): Promise<void> {
    const known = this.catalogue.pools.get(name);
    if (known?.deleting) refuseUnserved(this, name, "name");
    if (known !== undefined) {
      if (sameDisks(pathsOf(known), disks)) return;
      throw storageError("POOL_EXISTS", `pool ${name} has the disks ${pathsOf(known).join(", ")}`, {
        field: "disks",
      });
    }
    const entries = disks.map((path, index) => newDisk(path, index, true, diskClass));
    const fresh = {
      epoch: 0,
      formatted: false,
      clean: true,
      warningPercent: 0,
      criticalPercent: 0,
      deleting: false,
      owner: "",
    };
    const pool: PoolEntry = { name, id: randomUUID(), disks: entries, ...fresh };
    // Known before the first disk carries its id: a crash in between is finished by the next start.
    await this.catalogue.putPool(pool);
    try {
      await this.#format(pool);
    } catch (thrown) {
      await this.catalogue.deletePool(name);
      throw thrown;
    }
    await this.#openPool(name);
    this.#options.log.info({ pool: name, disks }, "made the pool");
  }

  /** Lets clients come at the socket of one export. */
  async openExport(entry: ExportEntry): Promise<void> {
    const { socket, volume, readOnly, vhostUserBlk, unsealedMemory } = entry;
    const owner = entry.hasUid ? entry.uid : undefined;
    if (vhostUserBlk) {
      await this.target.ask("listenBlk", { path: socket, volume, uid: owner, readOnly, unsealedMemory });
      return;
    }
    const place = { kind: "unix", path: socket, uid: owner } as const;
    await this.target.ask("listen", { name: socket, place, exports: [volume], readOnly });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#metrics?.close();
    await this.#control?.close();
    await this.#clockwork?.close();
    await this.#operations;
    await this.#endpoints?.close();
    try {
      if (this.#target !== undefined) {
        await this.#lastCheckpoints();
        // A copy that somebody made while we were at work is older than what is left behind now.
        for (const name of this.#openPools) await outdateCopies(this, name);
        await this.#target.close();
        for (const name of this.#openPools) {
          const pool = this.catalogue.pools.get(name);
          // The log of a damaged volume may have a tail.
          const whole = [...this.catalogue.volumes.values()].every(
            (volume) => volume.pool !== name || !this.damaged.has(volume.id),
          );
          if (pool === undefined || !whole) continue;
          await this.#checkpoints.settled;
          await this.catalogue.forgetDurable(name);
          await this.catalogue.putPool({ ...pool, clean: true });
        }
      }
    } catch (thrown) {
      // The log is complete without it; the next start replays a little more.
      this.#options.log.warn({ err: thrown }, "the last checkpoint was not made");
      await this.#target?.close();
    }
    await this.#checkpoints.settled;
    await this.#catalogue?.close();
    this.#lock.close();
  }

  async #lastCheckpoints(): Promise<void> {
    for (const pool of this.#openPools) {
      await this.target.ask("hold", { pool });
      await this.#checkpoints.settled;
      for (const { id, pool: home } of [...this.catalogue.volumes.values()]) {
        if (home !== pool || this.damaged.has(id)) continue;
        const record = await this.target.ask("checkpointNow", { pool, id });
        if (record !== undefined) await this.#checkpoints.record(pool, record);
      }
    }
  }

  async #format(pool: PoolEntry): Promise<void> {
    await this.target.ask("formatPool", { name: pool.name, poolId: pool.id, disks: pathsOf(pool) });
    await this.catalogue.putPool({ ...pool, formatted: true });
  }

  /** A pool that cannot be opened, or erased, must not keep the others from their work. */
  async tryOpenPool(name: string): Promise<void> {
    const pool = this.catalogue.pools.get(name);
    if (pool === undefined) return;
    try {
      if (pool.deleting) {
        await finishDeletion(this, name);
        return;
      }
      if (!pool.formatted) await this.#format(pool);
      await this.#openPool(name);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      const why = pool.deleting ? `it is being deleted: ${describeError(thrown)}` : describeError(thrown);
      if (this.unavailable.get(name) !== why)
        this.#options.log.error({ pool: name, why }, "the pool is not served");
      this.unavailable.set(name, why);
      this.refusals.set(name, thrown);
      return;
    }
    this.refusals.delete(name);
    if (!this.unavailable.delete(name)) return;
    this.#options.log.info({ pool: name }, "the pool is served again");
    await this.#restoreExports();
  }

  /** The worker lets go of a pool; what it handed over before is recorded. `why` it is not served from now on. */
  async closePool(name: string, why: string, reopened = false): Promise<void> {
    this.unavailable.set(name, why);
    if (this.#openPools.delete(name)) await this.target.ask("closePool", { pool: name, reopened });
    await this.#checkpoints.settled;
  }

  /** Its entry in the catalogue is gone. */
  forgetPool(name: string): void {
    this.unavailable.delete(name);
    this.refusals.delete(name);
    this.scrubs.forget(name);
    this.#clockwork?.forget(name);
    this.#options.log.info({ pool: name }, "the pool is deleted");
  }

  /** Opens a pool by a catalogue that is older than its disks. Throws PARAMETER_INVALID when it is not. */
  async acceptCatalogue(name: string): Promise<void> {
    await acceptCatalogue(this, name, this.refusals.get(name));
    this.#options.log.warn({ pool: name }, "an older catalogue is taken: what it does not know is given up");
    await this.tryOpenPool(name);
  }

  async #openPool(name: string): Promise<void> {
    const { disks, volumes, damaged, found } = await openOnTarget(this, name, this.#options);
    this.#openPools.add(name);
    await this.#unlock(name);
    for (const disk of disks) {
      if (!disk.formatted) await this.addDisk(name, disk.path);
      else await this.#noteDisk(name, disk, found[disk.index]);
    }
    for (const volume of volumes) {
      const unserved = damaged[volume.id];
      this.damaged.delete(volume.id);
      if (unserved === undefined) continue;
      this.damaged.set(volume.id, unserved);
      this.#options.log.error({ volume: volume.name, ...unserved }, "the volume is not served");
    }
    await sendLimits(this, volumes);
  }

  /** What its superblock and stamp say, where that was not noted yet. */
  async #noteDisk(pool: string, known: DiskEntry, found: Partial<DiskEntry> | undefined): Promise<void> {
    const { slotCount, diskId, usedEpoch } = { ...known, ...found };
    if (slotCount === known.slotCount && diskId === known.diskId && usedEpoch === known.usedEpoch) return;
    await this.changeDisk(pool, known.index, { slotCount, diskId, usedEpoch });
  }

  async #unlock(pool: string): Promise<void> {
    await this.keys.open(pool);
    const { locked } = this.keys.of(pool);
    if (locked === "") return;
    this.#options.log.error({ pool, why: locked }, "encrypted volumes of the pool cannot be used");
  }

  /** Changes what the catalogue says of a disk. */
  async changeDisk(pool: string, index: number, change: Partial<DiskEntry>): Promise<void> {
    const entry = this.catalogue.pools.get(pool);
    if (entry === undefined) return;
    const disks = entry.disks.map((disk) => (disk.index === index ? { ...disk, ...change } : disk));
    await this.catalogue.putPool({ ...entry, disks });
  }

  /** Takes an empty disk into a pool; one that is being taken already is finished. */
  async addDisk(pool: string, path: string, diskClass = ""): Promise<void> {
    const entry = this.catalogue.pools.get(pool) as PoolEntry;
    const known = entry.disks.find((disk) => disk.path === path);
    if (known?.formatted) return;
    const index = known?.index ?? Math.max(...entry.disks.map((disk) => disk.index)) + 1;
    // Which it will be stands in the catalogue first: one that a crash left formatted is known by it.
    const disk = known ?? { ...newDisk(path, index, false, diskClass), diskId: randomUUID() };
    if (known === undefined) await this.catalogue.putPool({ ...entry, disks: [...entry.disks, disk] });
    try {
      await outdateCopies(this, pool);
      const slotCount = await this.target.ask("addDisk", {
        pool,
        poolId: entry.id,
        path,
        index,
        diskId: disk.diskId,
        usedEpoch: 0,
        diskClass: disk.diskClass,
      });
      await this.changeDisk(pool, index, { slotCount, formatted: true });
    } catch (thrown) {
      const now = this.catalogue.pools.get(pool) as PoolEntry;
      await this.catalogue.putPool({ ...now, disks: entry.disks });
      throw thrown;
    }
  }

  async #restoreExports(): Promise<void> {
    for (const entry of this.catalogue.exports.values()) {
      const { socket, volume } = entry;
      try {
        await this.openExport(entry);
      } catch (thrown) {
        // Its directory may be gone with its VM; whoever needs it opens it again.
        this.#options.log.warn({ socket, volume, why: describeError(thrown) }, "an export is not back");
      }
    }
  }

  #checkDisks(disks: readonly string[]): void {
    const known = this.catalogue.pools.get(DEFAULT_POOL);
    // Those that the pool was made with: disks come and go later by other ways.
    if (known === undefined || disks.length === 0 || disks.every((path) => pathsOf(known).includes(path)))
      return;
    const paths = pathsOf(known).join(", ");
    throw new PlinthError("POOL_EXISTS", `the pool ${DEFAULT_POOL} has the disks ${paths}`, {
      field: "--disk",
      remedy: "name these disks, or none",
    });
  }
}

function pathsOf(pool: PoolEntry): string[] {
  return pool.disks.map((disk) => disk.path);
}

function sameDisks(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((path, i) => path === b[i]);
}
