// storaged: pools, volumes and their exports as one daemon. The catalogue lives here, the data in the worker.
//
//   start: lock ─► catalogue ─► worker ─► pools (epochs raised first) ─► exports ─► nbd.sock ─► control.sock
//
// Invariants: the catalogue is changed before anything relies on the change; while an operation changes a volume's
// entry the worker makes no checkpoint of its pool; operations run one after the other. Thread: main.
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { describeError, PlinthError } from "../base/errors/index.js";
import { type ControlServer, createControlServer } from "../base/jsonrpc/index.js";
import { type FileLock, lockFile } from "../base/linux/index.js";
import type { Logger } from "../base/log/index.js";
import { openLevelStore } from "../base/store/index.js";
import { Catalogue, type ExportEntry, type PoolEntry, type VolumeEntry } from "./catalogue/catalogue.js";
import { controlMethods } from "./control.js";
import { isDiskPresent } from "./disk/disk-file.js";
import { storageError } from "./errors.js";
import { type NbdEndpoint, NbdEndpoints } from "./nbd-endpoints.js";
import type { CheckpointRecord } from "./pool/checkpoint.js";
import type { VolumeSpec } from "./pool/open-pool.js";
import type { Listening } from "./target/target.js";
import { TargetHandle } from "./target/target-handle.js";

export interface StoragedOptions {
  /** Holds catalogue/, maps/, nbd.sock, control.sock and storaged.lock; made when missing. */
  readonly dir: string;
  /** Directories, files or block devices of the pool `default`, which is made on the first start. */
  readonly disks: readonly string[];
  /** Where clients come besides DIR/nbd.sock. */
  readonly endpoints?: readonly NbdEndpoint[];
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

/** Starts the daemon. Throws ALREADY_RUNNING before anything is touched, and DISK_…, POOL_… and store errors. */
export async function startStoraged(options: StoragedOptions): Promise<Storaged> {
  mkdirSync(options.dir, { recursive: true, mode: 0o700 });
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
  #endpoints: NbdEndpoints | undefined;
  /** Volume name → what is wrong with it. */
  readonly damaged = new Map<string, string>();
  readonly #openPools = new Set<string>();
  #operations: Promise<unknown> = Promise.resolve();
  #checkpoints: Promise<void> = Promise.resolve();
  #shutdown: () => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: StoragedOptions, lock: FileLock) {
    this.#options = options;
    this.#lock = lock;
    this.closed = new Promise((resolved) => {
      this.#shutdown = resolved;
    });
  }

  get catalogue(): Catalogue {
    return this.#catalogue as Catalogue;
  }

  async serve(endpoint: NbdEndpoint): Promise<readonly string[]> {
    this.#endpoints ??= new NbdEndpoints(this.target, this.#options.dir);
    const uris = await this.#endpoints.open(endpoint);
    this.#options.log.info({ uris }, "serving");
    return uris;
  }

  get target(): TargetHandle {
    return this.#target as TargetHandle;
  }

  async start(): Promise<void> {
    const { dir, log } = this.#options;
    const disks = this.#options.disks.map((path) => resolve(path));
    this.#catalogue = await Catalogue.open(await openLevelStore(join(dir, "catalogue")));
    this.#checkDisks(disks);
    this.#target = new TargetHandle({
      onCheckpoint: (pool, record) => {
        this.#checkpoints = this.#checkpoints.then(() => this.#record(pool, record));
      },
      onLost: (volume, range) =>
        log.error(
          { volume, ...range },
          "a block has no copy with its checksum: reads of it fail until it is written",
        ),
      onDied: (error) => {
        log.fatal({ err: error }, "the storage worker died");
        setImmediate(() => {
          throw error;
        });
      },
    });
    const { plainReason } = await this.target.ask("io", undefined);
    log.info({ io: plainReason === "" ? "io_uring" : "plain", reason: plainReason }, "storage worker is up");
    for (const pool of [...this.catalogue.pools.values()]) {
      if (!pool.formatted) await this.#format(pool);
      await this.#openPool(pool.name);
    }
    if (disks.length > 0 && !this.catalogue.pools.has(DEFAULT_POOL))
      await this.createPool(DEFAULT_POOL, disks);
    await this.#restoreExports();
    const shared = join(dir, "nbd.sock");
    await this.target.ask("listen", {
      name: shared,
      place: { kind: "unix", path: shared },
      readOnly: false,
    });
    for (const endpoint of this.#options.endpoints ?? []) await this.serve(endpoint);
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
      await this.#checkpoints;
      return await change();
    } finally {
      await this.target.ask("release", { pool });
    }
  }

  /** Makes a pool on empty disks. The same name with the same disks is no error. */
  async createPool(name: string, disks: readonly string[]): Promise<void> {
    const known = this.catalogue.pools.get(name);
    if (known !== undefined) {
      if (sameDisks(known.disks, disks)) return;
      throw storageError("POOL_EXISTS", `pool ${name} has the disks ${known.disks.join(", ")}`, {
        field: "disks",
      });
    }
    const pool: PoolEntry = { name, id: randomUUID(), epoch: 0, disks: [...disks], formatted: false };
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

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#control?.close();
    await this.#operations;
    await this.#endpoints?.close();
    try {
      if (this.#target !== undefined) {
        await this.#lastCheckpoints();
        await this.#target.close();
      }
    } catch (thrown) {
      // The log is complete without it; the next start replays a little more.
      this.#options.log.warn({ err: thrown }, "the last checkpoint was not made");
      await this.#target?.close();
    }
    await this.#checkpoints;
    await this.#catalogue?.close();
    this.#lock.close();
  }

  async #lastCheckpoints(): Promise<void> {
    for (const pool of this.#openPools) {
      await this.target.ask("hold", { pool });
      await this.#checkpoints;
      for (const { id, name, pool: home } of [...this.catalogue.volumes.values()]) {
        if (home !== pool || this.damaged.has(name)) continue;
        const record = await this.target.ask("checkpointNow", { pool, id });
        if (record !== undefined) await this.#record(pool, record);
      }
    }
  }

  async #record(pool: string, record: CheckpointRecord): Promise<void> {
    let recorded = false;
    try {
      const volume = this.catalogue.volumeById(record.volume);
      if (volume !== undefined) {
        await this.catalogue.putVolume({
          ...volume,
          mapFile: record.files[""] ?? volume.mapFile,
          checkpointSequence: record.sequence,
          snapshots: volume.snapshots.map((each) => ({
            ...each,
            mapFile: record.files[each.name] ?? each.mapFile,
          })),
        });
        recorded = true;
      }
    } catch (thrown) {
      this.#options.log.error({ err: thrown, pool }, "a checkpoint could not be recorded");
    }
    await this.target.ask("checkpointRecorded", { pool, recorded }).catch(() => undefined);
  }

  async #format(pool: PoolEntry): Promise<void> {
    await this.target.ask("formatPool", { name: pool.name, poolId: pool.id, disks: pool.disks });
    await this.catalogue.putPool({ ...pool, formatted: true });
  }

  async #openPool(name: string): Promise<void> {
    requireDisks(name, this.catalogue.pools.get(name)?.disks ?? []);
    const pool = await this.catalogue.raiseEpochs(name);
    const volumes = [...this.catalogue.volumes.values()].filter((volume) => volume.pool === name);
    const damaged = await this.target.ask("openPool", {
      name,
      poolId: pool.id,
      epoch: pool.epoch,
      disks: pool.disks,
      mapDirectory: join(this.#options.dir, "maps", pool.id),
      volumes: volumes.map(specOf),
    });
    this.#openPools.add(name);
    for (const volume of volumes) {
      const damage = damaged[volume.id];
      if (damage === undefined) continue;
      this.damaged.set(volume.name, damage);
      this.#options.log.error({ volume: volume.name, damage }, "the volume is damaged and not served");
    }
  }

  async #restoreExports(): Promise<void> {
    for (const entry of this.catalogue.exports.values()) {
      const { socket, volume } = entry;
      try {
        await this.target.ask("listen", exportListening(entry));
      } catch (thrown) {
        // Its directory may be gone with its VM; whoever needs it opens it again.
        this.#options.log.warn({ socket, volume, why: describeError(thrown) }, "an export is not back");
      }
    }
  }

  #checkDisks(disks: readonly string[]): void {
    const known = this.catalogue.pools.get(DEFAULT_POOL);
    if (known === undefined || disks.length === 0 || sameDisks(known.disks, disks)) return;
    throw new PlinthError("POOL_EXISTS", `the pool ${DEFAULT_POOL} has the disks ${known.disks.join(", ")}`, {
      field: "--disk",
      remedy: "name these disks, or none",
    });
  }
}

/** A socket of one export, as the worker is asked for it. */
export function exportListening({ socket: path, volume, readOnly, hasUid, uid }: ExportEntry): Listening {
  const place = { kind: "unix", path, uid: hasUid ? uid : undefined } as const;
  return { name: path, place, exports: [volume], readOnly };
}

/** What the worker needs of an entry. */
export function specOf(entry: VolumeEntry): VolumeSpec {
  const { id, name, sizeBytes, copies, epoch, mapFile, checkpointSequence, originVolume, snapshots } = entry;
  return { id, name, sizeBytes, copies, epoch, mapFile, checkpointSequence, originVolume, snapshots };
}

/** Throws DISK_MISSING, before anything is changed or made where a disk should be. */
function requireDisks(pool: string, disks: readonly string[]): void {
  const missing = disks.filter((path) => !isDiskPresent(path));
  if (missing.length === 0) return;
  const where = `${missing.join(", ")}: not there, or the file system on it is not mounted`;
  throw storageError("DISK_MISSING", `pool ${pool} needs ${where}`, {
    field: "disks",
    remedy: "mount or attach what is missing, then start again",
  });
}

function sameDisks(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((path, i) => path === b[i]);
}
