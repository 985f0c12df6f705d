// A pool on disks in memory, for tests: can be closed and opened again, as after a restart.
import { formatDisk, openDisk } from "../disk/disk.js";
import { MemoryDiskFile } from "../disk/memory-disk-file.js";
import type { MapFiles } from "../log/map-files.js";
import type { CheckpointRecord } from "../pool/checkpoint.js";
import type { VolumeSpec } from "../pool/open-pool.js";
import { Pool } from "../pool/pool.js";
import type { Volume } from "../volume/volume.js";

const MIB = 1024 * 1024;

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

export class MemoryPool {
  readonly files = new MemoryMapFiles();
  readonly disks: MemoryDiskFile[];
  readonly specs = new Map<number, VolumeSpec>();
  pool: Pool;
  #epoch = 0;
  #nowMs = 0;

  constructor(diskCount: number, diskBytes = 64 * MIB) {
    this.disks = Array.from({ length: diskCount }, (_, i) => {
      const file = new MemoryDiskFile(`disk${i}`, diskBytes);
      formatDisk(file, { poolId: "p", poolName: "p", diskId: `d${i}`, diskIndex: i, diskCount });
      return file;
    });
    this.pool = this.reopen();
  }

  /** As after a crash: only disks, map files and what was recorded remain. */
  reopen(): Pool {
    const disks = this.disks.map((file, i) => openDisk(file, "p", i));
    this.#epoch++;
    const specs = [...this.specs.values()].map((spec) => ({ ...spec, epoch: this.#epoch }));
    this.pool = new Pool(disks, this.files, specs, this.#epoch);
    return this.pool;
  }

  createVolume(id: number, sizeBytes: number, copies = 1): Volume {
    const fixed = { mapFile: "", checkpointSequence: 0, originVolume: 0, snapshots: [] };
    const spec: VolumeSpec = { id, name: `v${id}`, sizeBytes, copies, epoch: this.#epoch, ...fixed };
    this.specs.set(id, spec);
    return this.pool.createVolume(spec);
  }

  /** Makes a snapshot as the daemon does. */
  createSnapshot(id: number, name: string): void {
    const made = this.pool.createSnapshot(id, name);
    const spec = this.specs.get(id) as VolumeSpec;
    this.specs.set(id, { ...spec, snapshots: [...spec.snapshots, { name, ...made }] });
  }

  /** Housekeeping until nothing is due. */
  settle(): void {
    for (let quiet = 0; quiet < 3; ) {
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
      snapshots: spec.snapshots.map((each) => ({
        ...each,
        mapFile: record.files[each.name] ?? each.mapFile,
      })),
    });
    this.pool.housekeeper.checkpointRecorded(true);
  }
}
