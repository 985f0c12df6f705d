// A pool on disks in memory, for tests: can be closed and opened again, as after a restart.
import type { DataBuffer } from "../disk/data-buffer.js";
import { type Disk, formatDisk, missingDisk, openDisk } from "../disk/disk.js";
import { MemoryDiskFile } from "../disk/memory-disk-file.js";
import type { MapFiles } from "../log/map-files.js";
import { PACKING, type Packing } from "../log/packer.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { DurablePosition } from "../pool/durable-notes.js";
import { recordedKeyframes } from "../pool/keyframes.js";
import { MAP_MEMORY, type MapMemory, type VolumeSpec } from "../pool/open-pool.js";
import { Pool } from "../pool/pool.js";
import type { Compression } from "../volume/compression.js";
import type { Volume } from "../volume/volume.js";

const MIB = 1024 * 1024;
/** Of housekeeping, until a pool must have come to rest. */
const STEPS_MAX = 100_000;

class MemoryMapFiles implements MapFiles {
  readonly files = new Map<string, Uint8Array>();

  create(name: string) {
    const parts: Uint8Array[] = [];
    return {
      append: (bytes: Uint8Array) => void parts.push(Uint8Array.from(bytes)),
      finish: () => void this.files.set(name, new Uint8Array(Buffer.concat(parts))),
      abort: () => {},
    };
  }

  open(name: string) {
    const bytes = this.files.get(name);
    if (bytes === undefined) return undefined;
    return { read: (at: number, length: number) => bytes.slice(at, at + length), close: () => {} };
  }

  remove(name: string): void {
    this.files.delete(name);
  }

  list(): string[] {
    return [...this.files.keys()];
  }
}

/** A disk in memory that can fail. */
export class FaultyDiskFile extends MemoryDiskFile {
  writeError = 0;
  syncError = 0;
  readError = 0;
  /** What reads that do not wait get. */
  tryError = 0;

  override read(target: DataBuffer, at: number, length: number, offset: number, wait = true): number {
    if (!wait && this.tryError !== 0) return this.tryError;
    return this.readError || super.read(target, at, length, offset);
  }

  override write(source: DataBuffer, at: number, length: number, offset: number): number {
    return this.writeError || super.write(source, at, length, offset);
  }

  override sync(): number {
    return this.syncError || super.sync();
  }
}

export class MemoryPool {
  readonly files = new MemoryMapFiles();
  readonly disks: FaultyDiskFile[];
  /** Places of disks that the next opening does not find, and of those whose content may be old. */
  readonly missing = new Set<number>();
  readonly suspect = new Set<number>();
  readonly removed = new Set<number>();
  clean = false;
  nextVolumeId = 1;
  readonly specs = new Map<number, VolumeSpec>();
  pool: Pool;
  readonly #mapMemory: MapMemory;
  readonly #packing: Packing;
  epoch = 0;
  #nowMs = 0;

  constructor(diskCount: number, diskBytes = 64 * MIB, mapMemory = MAP_MEMORY, packing = PACKING) {
    this.#mapMemory = mapMemory;
    this.#packing = packing;
    this.disks = Array.from({ length: diskCount }, (_, i) => makeDisk(i, diskCount, diskBytes));
    this.pool = this.reopen();
  }

  /** As after a crash: only disks, map files and what was recorded remain. */
  reopen(): Pool {
    const disks: Disk[] = [];
    for (const [i, file] of this.disks.entries()) {
      if (this.removed.has(i)) continue;
      const disk = openDisk(file, "p", i);
      const opened = this.missing.has(i) ? missingDisk(file.path, disk.superblock) : disk;
      if (this.missing.has(i)) this.suspect.add(i);
      opened.suspect = this.suspect.has(i);
      disks.push(opened);
    }
    this.epoch++;
    const specs = [...this.specs.values()].map((spec) => ({ ...spec, epoch: this.epoch }));
    const hooks = {
      mapMemory: this.#mapMemory,
      packing: this.#packing,
      onDurable: (positions: readonly DurablePosition[]) => {
        for (const { volume, sequence: durableSequence } of positions) {
          const spec = this.specs.get(volume);
          if (spec !== undefined) this.specs.set(volume, { ...spec, durableSequence });
        }
      },
      onFailed: (index: number) => void this.suspect.add(index),
      onTrusted: (index: number) => void this.suspect.delete(index),
    };
    const nextVolumeId = this.nextVolumeId;
    const opening = { epoch: this.epoch, clean: this.clean, nextVolumeId };
    this.pool = new Pool(disks, this.files, specs, opening, hooks);
    this.clean = false;
    return this.pool;
  }

  /** As the daemon ends: every volume has its checkpoint. */
  close(): void {
    for (const id of this.specs.keys()) {
      const volume = this.pool.volumes.get(id);
      const record = volume === undefined ? undefined : this.pool.housekeeper.checkpointNow(volume);
      if (record !== undefined) this.record(record);
    }
    for (const [id, spec] of this.specs) this.specs.set(id, { ...spec, durableSequence: 0 });
    this.clean = true;
  }

  /** One more disk for the open pool. */
  addDisk(diskBytes = 64 * MIB): void {
    const index = this.disks.length;
    this.disks.push(makeDisk(index, index + 1, diskBytes));
    this.pool.disks.add(openDisk(this.disks[index] as FaultyDiskFile, "p", index));
  }

  /** A disk that was missing or failed is there again; why the pool would have to be opened anew for it, "" when it is used. */
  comeBack(index: number): string {
    const why = this.pool.disks.needsOpening(index);
    if (why !== "") return why;
    this.suspect.add(index);
    this.missing.delete(index);
    this.pool.disks.takeBack(openDisk(this.disks[index] as FaultyDiskFile, "p", index), this.epoch);
    return "";
  }

  createVolume(id: number, sizeBytes: number, copies = 1, keyId = "", diskClass = ""): Volume {
    const fixed = {
      mapFile: "",
      checkpointSequence: 0,
      durableSequence: 0,
      originVolume: 0,
      snapshots: [],
      diskClass,
      keyId,
      rewindMs: 0,
      keyframes: [],
      clockMs: 0,
      deletedAtMs: 0,
      compression: "none" as const,
    };
    const spec: VolumeSpec = { id, name: `v${id}`, sizeBytes, copies, epoch: this.epoch, ...fixed };
    this.specs.set(id, spec);
    this.nextVolumeId = Math.max(this.nextVolumeId, id + 1);
    return this.pool.createVolume(spec);
  }

  /** As `plinth volume set --compression`. */
  setCompression(id: number, compression: Compression): void {
    this.specs.set(id, { ...(this.specs.get(id) as VolumeSpec), compression });
    this.pool.volume(id).compression = compression;
  }

  /** Makes a snapshot as the daemon does. */
  createSnapshot(id: number, name: string): void {
    const made = this.pool.createSnapshot(id, name);
    const spec = this.specs.get(id) as VolumeSpec;
    this.specs.set(id, { ...spec, snapshots: [...spec.snapshots, { name, ...made }] });
  }

  /** Housekeeping until nothing is due. */
  settle(): void {
    let steps = 0;
    for (let quiet = 0; quiet < 3 || this.pool.jobs.active; ) {
      if (++steps > STEPS_MAX)
        throw new Error(`the pool never rests: ${JSON.stringify(this.pool.jobs.reports())}`);
      this.#nowMs += 1000;
      const outcome = this.pool.housekeeper.housekeep(this.#nowMs);
      quiet = outcome === "idle" ? quiet + 1 : 0;
      if (typeof outcome === "object") this.record(outcome);
    }
  }

  record(record: CheckpointRecord): void {
    const spec = this.specs.get(record.volume) as VolumeSpec;
    this.specs.set(record.volume, {
      ...spec,
      mapFile: record.files[""] ?? spec.mapFile,
      checkpointSequence: record.sequence,
      clockMs: record.clockMs,
      keyframes: recordedKeyframes(spec, record),
      snapshots: spec.snapshots.map((each) => ({
        ...each,
        mapFile: record.files[each.name] ?? each.mapFile,
      })),
    });
    this.pool.housekeeper.checkpointRecorded(true);
  }
}

function makeDisk(index: number, diskCount: number, sizeBytes: number): FaultyDiskFile {
  const file = new FaultyDiskFile(`disk${index}`, sizeBytes);
  formatDisk(file, { poolId: "p", poolName: "p", diskId: `d${index}`, diskIndex: index, diskCount });
  return file;
}
