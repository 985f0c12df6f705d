// A pool on one file, as its daemon keeps it, that is written to and opened again as after a crash of the process.
import { closeSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../../base/random/index.js";
import { DataBuffer } from "../../storage-pool/disk/data-buffer.js";
import { formatDisk, openDisk } from "../../storage-pool/disk/disk.js";
import { type DiskFile, openDiskFile } from "../../storage-pool/disk/disk-file.js";
import { INDEX_SIZE, SEGMENT_SIZE, slotCountOf, slotsAt } from "../../storage-pool/log/format.js";
import { DirectoryMapFiles } from "../../storage-pool/log/map-files.js";
import type { CheckpointRecord } from "../../storage-pool/pool/checkpoint.js";
import type { VolumeSpec } from "../../storage-pool/pool/open-pool.js";
import { Pool } from "../../storage-pool/pool/pool.js";

const buffer = new DataBuffer(1024 * 1024);
for (let at = 0; at < buffer.bytes.byteLength; at += 4) buffer.view.setUint32(at, at + 1);

/** A pool as its daemon keeps it, on one disk, with one volume. */
export class RecoveryWorld {
  pool: Pool | undefined;
  readonly #maps: DirectoryMapFiles;
  readonly #path: string;
  readonly #synthetic: boolean;
  #spec: VolumeSpec;
  #epoch = 0;

  constructor(dir: string, diskBytes: number, volumeBytes: number, synthetic: boolean) {
    this.#path = join(dir, "disk");
    this.#synthetic = synthetic;
    const fd = openSync(this.#path, "w");
    ftruncateSync(fd, Math.ceil(diskBytes / SEGMENT_SIZE) * SEGMENT_SIZE);
    closeSync(fd);
    const identity = { poolId: "p", poolName: "p", diskId: "d", diskIndex: 0, diskCount: 1 };
    const file = openDiskFile(this.#path);
    formatDisk(file, identity);
    file.close();
    this.#maps = new DirectoryMapFiles(join(dir, "maps"));
    this.#spec = newSpec(volumeBytes);
  }

  open(): void {
    const file = openDiskFile(this.#path);
    const disk = openDisk(this.#synthetic ? withoutPayload(file) : file, "p", 0);
    const isFirst = this.#epoch === 0;
    this.#epoch++;
    const specs = isFirst ? [] : [{ ...this.#spec, epoch: this.#epoch }];
    const opening = { epoch: this.#epoch, clean: false, nextVolumeId: this.#spec.id + 1 };
    this.pool = new Pool([disk], this.#maps, specs, opening, { wallClock: () => 1e12 });
    if (isFirst) this.pool.createVolume(this.#spec);
    for (const damage of this.pool.damaged.values()) throw new Error(damage);
  }

  report(): string {
    const { head, writer, checkpointSequence } = (this.pool as Pool).volume(1);
    const replayed = writer.sequence - checkpointSequence;
    const { readCount, uncountedCount } = (this.pool as Pool).table.pages;
    const pages = `${readCount} pages of the map read, ${uncountedCount} left to count`;
    return `${replayed} records replayed, ${head.map.mappedBlocks} blocks mapped, ${pages}`;
  }

  write(totalBytes: number, writeBytes: number, synthetic: boolean): void {
    const pool = this.pool as Pool;
    const volume = pool.volume(1);
    const random = new Random(1);
    const places = volume.sizeBytes / writeBytes;
    let batch = 0;
    for (let done = 0; done < totalBytes; done += writeBytes) {
      let result = volume.stageWrite(buffer, 0, random.below(places) * writeBytes, writeBytes);
      for (; result === 11; result = volume.stageWrite(buffer, 0, 0, writeBytes)) this.#housekeep(pool);
      if (result !== 0) throw new Error(`a write failed with errno ${result}`);
      if (++batch % 32 !== 0) continue;
      if (volume.commit() !== 0) throw new Error("a commit failed");
      this.#housekeep(pool);
    }
    if (volume.flush() !== 0) throw new Error("the flush failed");
    // A record that says that the rest was durable: the payload before it need not be read.
    if (synthetic && (volume.mark(1e12) !== 0 || volume.flush() !== 0)) throw new Error("the mark failed");
  }

  #housekeep(pool: Pool): void {
    const outcome = pool.housekeeper.housekeep(performance.now());
    if (typeof outcome !== "object") return;
    this.#record(outcome);
    pool.housekeeper.checkpointRecorded(true);
  }

  #record(record: CheckpointRecord): void {
    const mapFile = record.files[""] ?? this.#spec.mapFile;
    this.#spec = { ...this.#spec, mapFile, checkpointSequence: record.sequence };
  }
}

function newSpec(sizeBytes: number): VolumeSpec {
  const history = { rewindMs: 0, keyframes: [], clockMs: 0, deletedAtMs: 0 };
  const placed = { copies: 1, diskClass: "", keyId: "", reserve: false, originVolume: 0, snapshots: [] };
  return { id: 1, name: "v", sizeBytes, epoch: 1, mapFile: "", checkpointSequence: 0, ...placed, ...history };
}

/** The same file, but payload is thrown away: records and cells are as they would be, in a fiftieth of the room. */
function withoutPayload(file: ReturnType<typeof openDiskFile>): DiskFile {
  const first = slotsAt(slotCountOf(file.sizeBytes));
  const isPayload = (offset: number) => offset >= first && (offset - first) % SEGMENT_SIZE >= INDEX_SIZE;
  return {
    path: file.path,
    sizeBytes: file.sizeBytes,
    sparse: file.sparse,
    descriptor: file.descriptor,
    read: (target, at, length, offset) => file.read(target, at, length, offset),
    write: (source, at, length, offset) => (isPayload(offset) ? 0 : file.write(source, at, length, offset)),
    sync: () => file.sync(),
    punch: (offset, length) => file.punch(offset, length),
    availableBytes: () => file.availableBytes(),
    close: () => file.close(),
  };
}
