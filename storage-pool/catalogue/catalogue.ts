// The catalogue: pools, disks, volumes, snapshots, exports and the checkpoints that maps are read from.
// Protobuf values in a Store, each change one transaction that is on the medium when it resolves; never in the data
// path. Keys: format · pool/NAME · volume/NAMESPACE/NAME · durable/VOLUME-ID · export/SOCKET ·
// scrub/POOL. Invariant: memory shows exactly what the store holds. Thread: main. Hot: no.
import { defineRecord } from "../../base/schema/index.js";
import type { Operation, Store } from "../../base/store/index.js";
import { storageError } from "../errors.js";
import type { KeyframeSpec, SnapshotSpec, VolumeSpec } from "../pool/open-pool.js";
import { encodeScrub, parseScrub, type ScrubEntry } from "./scrub-entry.js";

/**
 * Version 1 named a pool's disks by their paths alone, version 2 knew no deleted volumes and no keyframes, version 3 no
 * encrypted volumes; all are read, and written anew as 4.
 */
export const CATALOGUE_FORMAT = 4;

export interface PoolEntry {
  name: string;
  id: string;
  /** Raised before each opening. */
  epoch: number;
  disks: readonly DiskEntry[];
  /** The disks that the pool was made with carry their superblocks. */
  formatted: boolean;
  /** Every volume was checkpointed when the pool was last closed. */
  clean: boolean;
  /** Percent of the usable space from which users are warned; 0: the default. */
  warningPercent: number;
  criticalPercent: number;
  /** It goes, with all that is in it, and is not opened any more: a deletion that a crash interrupts goes on. */
  deleting: boolean;
  /** Who makes it anew when it is gone, as they said: "StoragePool default"; "" when nobody did. */
  owner: string;
}

export interface DiskEntry {
  /** Place within the pool; never given to another disk. */
  index: number;
  path: string;
  /** It was away or failed, and what it holds may be old. */
  suspect: boolean;
  draining: boolean;
  /** Segments that it holds; 0 when that was never known. */
  slotCount: number;
  /** Carries its superblock. */
  formatted: boolean;
  /** What kind of disk it is, in the user's words; "" when nobody said. */
  diskClass: string;
  /** As its superblock has it: another one at its path is not it. "" when that was never noted. */
  diskId: string;
  /** The opening of the pool that its stamp is known to tell of: a copy of it that tells of less is older. 0: not noted. */
  usedEpoch: number;
}

interface PoolRecord extends Omit<PoolEntry, "disks"> {
  /** Only in version 1. */
  paths: string[];
  disks: DiskEntry[];
}

export interface VolumeEntry extends Omit<VolumeSpec, "snapshots" | "durableSequence" | "compression"> {
  readonly pool: string;
  readonly snapshots: readonly SnapshotEntry[];
  readonly schedules: readonly ScheduleEntry[];
  /** Requests and bytes each second; 0: no limit. */
  readonly iopsLimit: number;
  readonly bytesLimit: number;
  /** How long it may go beyond; 0: the default. */
  readonly burstMs: number;
  /** The name that a deleted volume had; "" for others. */
  readonly deletedName: string;
  /** When a deleted volume goes for good, ms since 1970. */
  readonly purgeAtMs: number;
  /** Who makes it anew when it is gone: "Volume shop/data"; "" when nobody said. */
  readonly owner: string;
  /** How its cold blocks are packed; "": not at all. */
  readonly compression: string;
}

export interface SnapshotEntry extends SnapshotSpec {
  readonly createdAtMs: number;
  /** The schedule that made it; "" when somebody asked for it. */
  readonly schedule: string;
}

/** Snapshots that are made by the clock. */
export interface ScheduleEntry {
  readonly name: string;
  /** Five fields, UTC. */
  readonly cron: string;
  /** How many of its snapshots are kept. */
  readonly keep: number;
  /** When it last made one, ms since 1970; when it was set up before the first. */
  readonly lastMs: number;
}

export interface ExportEntry {
  readonly socket: string;
  readonly volume: string;
  readonly hasUid: boolean;
  readonly uid: number;
  readonly readOnly: boolean;
  /** A vhost-user-blk device; else NBD. */
  readonly vhostUserBlk: boolean;
  /** Who uses it, for people; "" when nobody said. */
  readonly owner: string;
  /** Of vhost-user-blk: guest memory is taken that its front-end could truncate under us. */
  readonly unsealedMemory: boolean;
}

/** A transaction has a bounded number of operations. */
const OPERATIONS_MAX = 1000;

interface FormatEntry {
  formatVersion: number;
  nextVolumeId: number;
}

const formatRecord = defineRecord<FormatEntry>("CatalogueFormat", {
  formatVersion: { number: 1, type: "uint32" },
  nextVolumeId: { number: 2, type: "uint32" },
});

const diskRecord = defineRecord<DiskEntry>("DiskEntry", {
  index: { number: 1, type: "uint32" },
  path: { number: 2, type: "string" },
  suspect: { number: 3, type: "bool" },
  draining: { number: 4, type: "bool" },
  slotCount: { number: 5, type: "uint32" },
  formatted: { number: 6, type: "bool" },
  diskClass: { number: 7, type: "string" },
  diskId: { number: 8, type: "string" },
  usedEpoch: { number: 9, type: "uint32" },
});

const poolRecord = defineRecord<PoolRecord>("PoolEntry", {
  name: { number: 1, type: "string" },
  id: { number: 2, type: "string" },
  epoch: { number: 3, type: "uint32" },
  paths: { number: 4, type: "string", repeated: true },
  formatted: { number: 5, type: "bool" },
  disks: { number: 6, type: diskRecord, repeated: true },
  clean: { number: 7, type: "bool" },
  warningPercent: { number: 8, type: "uint32" },
  criticalPercent: { number: 9, type: "uint32" },
  deleting: { number: 10, type: "bool" },
  owner: { number: 11, type: "string" },
});

const snapshotRecord = defineRecord<SnapshotEntry>("SnapshotEntry", {
  name: { number: 1, type: "string" },
  sequence: { number: 2, type: "uint64" },
  sizeBytes: { number: 3, type: "uint64" },
  mapFile: { number: 4, type: "string" },
  createdAtMs: { number: 5, type: "uint64" },
  schedule: { number: 6, type: "string" },
});

const keyframeRecord = defineRecord<KeyframeSpec>("KeyframeEntry", {
  name: { number: 1, type: "string" },
  sequence: { number: 2, type: "uint64" },
  sizeBytes: { number: 3, type: "uint64" },
  mapFile: { number: 4, type: "string" },
  timeMs: { number: 5, type: "uint64" },
});

const scheduleRecord = defineRecord<ScheduleEntry>("ScheduleEntry", {
  name: { number: 1, type: "string" },
  cron: { number: 2, type: "string" },
  keep: { number: 3, type: "uint32" },
  lastMs: { number: 4, type: "uint64" },
});

const volumeRecord = defineRecord<VolumeEntry>("VolumeEntry", {
  id: { number: 1, type: "uint32" },
  name: { number: 2, type: "string" },
  pool: { number: 3, type: "string" },
  sizeBytes: { number: 4, type: "uint64" },
  copies: { number: 5, type: "uint32" },
  epoch: { number: 6, type: "uint32" },
  mapFile: { number: 7, type: "string" },
  checkpointSequence: { number: 8, type: "uint64" },
  originVolume: { number: 9, type: "uint32" },
  snapshots: { number: 10, type: snapshotRecord, repeated: true },
  diskClass: { number: 11, type: "string" },
  rewindMs: { number: 12, type: "uint64" },
  keyframes: { number: 13, type: keyframeRecord, repeated: true },
  clockMs: { number: 14, type: "uint64" },
  deletedAtMs: { number: 15, type: "uint64" },
  deletedName: { number: 16, type: "string" },
  purgeAtMs: { number: 17, type: "uint64" },
  schedules: { number: 18, type: scheduleRecord, repeated: true },
  keyId: { number: 19, type: "string" },
  iopsLimit: { number: 20, type: "uint64" },
  bytesLimit: { number: 21, type: "uint64" },
  burstMs: { number: 22, type: "uint64" },
  owner: { number: 23, type: "string" },
  endLost: { number: 24, type: "bool" },
  compression: { number: 25, type: "string" },
});

const exportRecord = defineRecord<ExportEntry>("ExportEntry", {
  socket: { number: 1, type: "string" },
  volume: { number: 2, type: "string" },
  hasUid: { number: 3, type: "bool" },
  uid: { number: 4, type: "uint32" },
  readOnly: { number: 5, type: "bool" },
  vhostUserBlk: { number: 6, type: "bool" },
  owner: { number: 7, type: "string" },
  unsealedMemory: { number: 8, type: "bool" },
});

/** Apart from the volume, for it changes every second. */
interface DurableRecord {
  sequence: number;
}

const durableRecord = defineRecord<DurableRecord>("DurableEntry", {
  sequence: { number: 1, type: "uint64" },
});

export class Catalogue {
  readonly pools = new Map<string, PoolEntry>();
  readonly volumes = new Map<string, VolumeEntry>();
  readonly exports = new Map<string, ExportEntry>();
  /** By pool; missing until the first round of the clock. */
  readonly scrubs = new Map<string, ScrubEntry>();
  readonly #durable = new Map<number, number>();
  readonly #store: Store;
  #format: FormatEntry = { formatVersion: CATALOGUE_FORMAT, nextVolumeId: 1 };

  private constructor(store: Store) {
    this.#store = store;
  }

  /** Reads everything. Throws CATALOGUE_FORMAT when a newer program wrote it; then nothing was changed. */
  static async open(store: Store, { readOnly = false } = {}): Promise<Catalogue> {
    const catalogue = new Catalogue(store);
    const { entries } = await store.list({ prefix: "" });
    const format = entries.find((entry) => entry.key === "format");
    if (format !== undefined) catalogue.#format = formatRecord.parse(format.value);
    if (catalogue.#format.formatVersion > CATALOGUE_FORMAT) {
      throw storageError("CATALOGUE_FORMAT", `the catalogue has format ${catalogue.#format.formatVersion}`, {
        remedy: "use the Plinth that wrote it",
      });
    }
    for (const { key, value } of entries) catalogue.#load(key, value);
    const old = catalogue.#format.formatVersion < CATALOGUE_FORMAT;
    if (old && !readOnly) await catalogue.#upgrade();
    return catalogue;
  }

  /** Writes a pool. */
  async putPool(pool: PoolEntry): Promise<void> {
    await this.#transact([
      { type: "put", key: `pool/${pool.name}`, value: encodePool(pool) },
      this.#formatOperation(),
    ]);
    this.pools.set(pool.name, pool);
  }

  /** Forgets a pool that has no volumes, with its scrubs. */
  async deletePool(name: string): Promise<void> {
    await this.#transact([
      { type: "delete", key: `pool/${name}` },
      { type: "delete", key: `scrub/${name}` },
    ]);
    this.pools.delete(name);
    this.scrubs.delete(name);
  }

  /** Raises the epochs of a pool and all its volumes, before it is opened. */
  async raiseEpochs(name: string): Promise<PoolEntry> {
    const pool = { ...(this.pools.get(name) as PoolEntry) };
    pool.epoch++;
    pool.clean = false;
    const volumes = [...this.volumes.values()]
      .filter((volume) => volume.pool === name)
      .map((volume) => ({ ...volume, epoch: volume.epoch + 1 }));
    await this.putEpochs(pool, volumes);
    return pool;
  }

  /** Writes a pool and its volumes, the pool last; a crash in between may leave some as they were. */
  async putEpochs(pool: PoolEntry, volumes: readonly VolumeEntry[]): Promise<void> {
    const puts = volumes.map((volume) => putVolume(volume));
    for (let i = 0; i < puts.length; i += OPERATIONS_MAX)
      await this.#transact(puts.slice(i, i + OPERATIONS_MAX));
    for (const volume of volumes) this.volumes.set(volume.name, volume);
    await this.putPool(pool);
  }

  /** A number that no volume ever had; it is used up by the next putVolume. */
  get nextVolumeId(): number {
    return this.#format.nextVolumeId;
  }

  /**
   * Numbers up to this one are never given out again: before a worker has a volume that is not recorded yet, so that what
   * it writes is never of a volume that the catalogue could not know.
   */
  async useVolumeId(id: number): Promise<void> {
    if (id < this.#format.nextVolumeId) return;
    const format = { ...this.#format, nextVolumeId: id + 1 };
    await this.#transact([{ type: "put", key: "format", value: formatRecord.encode(format) }]);
    this.#format = format;
  }

  async putVolume(volume: VolumeEntry): Promise<void> {
    const format = { ...this.#format, nextVolumeId: Math.max(this.#format.nextVolumeId, volume.id + 1) };
    const operations: Operation[] = [putVolume(volume)];
    if (format.nextVolumeId !== this.#format.nextVolumeId) {
      operations.push({ type: "put", key: "format", value: formatRecord.encode(format) });
    }
    await this.#transact(operations);
    this.#format = format;
    this.volumes.set(volume.name, volume);
  }

  /** Several volumes that are there already, all or none. */
  async putVolumes(volumes: readonly VolumeEntry[]): Promise<void> {
    await this.#transact(volumes.map((volume) => putVolume(volume)));
    for (const volume of volumes) this.volumes.set(volume.name, volume);
  }

  /** Everything of the volume up to this record was on the medium; 0 when that was not noted. */
  durableOf(id: number): number {
    return this.#durable.get(id) ?? 0;
  }

  async putDurable(positions: readonly { volume: number; sequence: number }[]): Promise<void> {
    const known = new Set([...this.volumes.values()].map(({ id }) => id));
    const puts = positions
      .filter(({ volume }) => known.has(volume))
      .map(({ volume, sequence }) => {
        const value = durableRecord.encode({ sequence });
        return { type: "put", key: `durable/${volume}`, value } as const;
      });
    for (let i = 0; i < puts.length; i += OPERATIONS_MAX)
      await this.#transact(puts.slice(i, i + OPERATIONS_MAX));
    for (const { volume, sequence } of positions) if (known.has(volume)) this.#durable.set(volume, sequence);
  }

  /** The volumes of a pool have their checkpoints, behind which their logs hold marks at most. */
  async forgetDurable(pool: string): Promise<void> {
    const ids = [...this.volumes.values()].filter((volume) => volume.pool === pool).map(({ id }) => id);
    await this.putDurable(ids.map((volume) => ({ volume, sequence: 0 })));
  }

  /** Forgets a volume with its snapshots and exports. */
  async deleteVolume(name: string): Promise<void> {
    const id = this.volumes.get(name)?.id;
    const sockets = [...this.exports.values()]
      .filter((each) => each.volume === name)
      .map((each) => each.socket);
    await this.#transact([
      { type: "delete", key: `volume/${name}` },
      ...(id === undefined ? [] : [{ type: "delete", key: `durable/${id}` } as const]),
      ...sockets.map((socket): Operation => ({ type: "delete", key: `export/${socket}` })),
    ]);
    this.volumes.delete(name);
    if (id !== undefined) this.#durable.delete(id);
    for (const socket of sockets) this.exports.delete(socket);
  }

  /** A volume gets another name, and what is said of it changes; its exports go. */
  async renameVolume(name: string, volume: VolumeEntry): Promise<void> {
    const sockets = [...this.exports.values()]
      .filter((each) => each.volume === name)
      .map((each) => each.socket);
    await this.#transact([
      { type: "delete", key: `volume/${name}` },
      putVolume(volume),
      ...sockets.map((socket): Operation => ({ type: "delete", key: `export/${socket}` })),
    ]);
    this.volumes.delete(name);
    this.volumes.set(volume.name, volume);
    for (const socket of sockets) this.exports.delete(socket);
  }

  async putExport(entry: ExportEntry): Promise<void> {
    await this.#transact([{ type: "put", key: `export/${entry.socket}`, value: exportRecord.encode(entry) }]);
    this.exports.set(entry.socket, entry);
  }

  async deleteExport(socket: string): Promise<void> {
    await this.#transact([{ type: "delete", key: `export/${socket}` }]);
    this.exports.delete(socket);
  }

  async putScrub(entry: ScrubEntry): Promise<void> {
    await this.#transact([{ type: "put", key: `scrub/${entry.pool}`, value: encodeScrub(entry) }]);
    this.scrubs.set(entry.pool, entry);
  }

  volumeById(id: number): VolumeEntry | undefined {
    for (const volume of this.volumes.values()) if (volume.id === id) return volume;
    return undefined;
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #upgrade(): Promise<void> {
    this.#format = { ...this.#format, formatVersion: CATALOGUE_FORMAT };
    const puts = [...this.pools.values()].map(
      (pool): Operation => ({ type: "put", key: `pool/${pool.name}`, value: encodePool(pool) }),
    );
    await this.#transact([...puts, this.#formatOperation()]);
  }

  #formatOperation(): Operation {
    return { type: "put", key: "format", value: formatRecord.encode(this.#format) };
  }

  async #transact(operations: readonly Operation[]): Promise<void> {
    if (operations.length > 0) await this.#store.transact({ operations });
  }

  #load(key: string, value: Uint8Array): void {
    if (key.startsWith("pool/")) {
      const pool = parsePool(value);
      this.pools.set(pool.name, pool);
    } else if (key.startsWith("volume/")) {
      const volume = volumeRecord.parse(value);
      this.volumes.set(volume.name, volume);
    } else if (key.startsWith("durable/")) {
      this.#durable.set(Number(key.slice(8)), durableRecord.parse(value).sequence);
    } else if (key.startsWith("export/")) {
      const entry = exportRecord.parse(value);
      this.exports.set(entry.socket, entry);
    } else if (key.startsWith("scrub/")) {
      const entry = parseScrub(value);
      this.scrubs.set(entry.pool, entry);
    }
  }
}

function encodePool(pool: PoolEntry): Uint8Array {
  return poolRecord.encode({ ...pool, disks: [...pool.disks], paths: [] });
}

function parsePool(value: Uint8Array): PoolEntry {
  const { paths, disks, ...pool } = poolRecord.parse(value);
  return {
    ...pool,
    disks: disks.length > 0 ? disks : paths.map((path, index) => newDisk(path, index, true)),
  };
}

export function newDisk(path: string, index: number, formatted: boolean, diskClass = ""): DiskEntry {
  const fresh = { suspect: false, draining: false, slotCount: 0, diskId: "", usedEpoch: 0 };
  return { index, path, ...fresh, formatted, diskClass };
}

function putVolume(volume: VolumeEntry): Operation {
  return { type: "put", key: `volume/${volume.name}`, value: volumeRecord.encode(volume) };
}
