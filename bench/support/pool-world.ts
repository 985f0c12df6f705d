// A pool on one file, as its daemon keeps it, in this process: written to, with snapshots, opened again as after a crash.
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from "node:fs";
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

/** Writes between two looks at what else is to be done. */
const BATCH = 32;

export interface PoolWorldOptions {
  readonly diskBytes: number;
  readonly volumeBytes: number;
  /** Payload is thrown away: such a pool can be written to and opened, but nothing of it can be read or cleaned. */
  readonly synthetic: boolean;
}

/** A pool as its daemon keeps it, on one disk, with one volume. */
export class PoolWorld {
  pool: Pool | undefined;
  readonly #maps: DirectoryMapFiles;
  readonly #path: string;
  readonly #state: string;
  readonly #synthetic: boolean;
  readonly #random = new Random(1);
  /** Of the volume, from its start on: what is written to. */
  spanBytes: number;
  /** From one place that is written to to the next; 0: side by side. */
  strideBytes = 0;
  #spec: VolumeSpec;
  #epoch = 0;

  /** Made anew in `dir`; without options the one that another process left there, which may have been killed. */
  constructor(dir: string, options?: PoolWorldOptions) {
    this.#path = join(dir, "disk");
    this.#state = join(dir, "state.json");
    this.#maps = new DirectoryMapFiles(join(dir, "maps"));
    if (options === undefined) {
      const state = JSON.parse(readFileSync(this.#state, "utf8")) as State;
      this.#spec = state.spec;
      this.#epoch = state.epoch;
      this.#synthetic = state.synthetic;
      this.spanBytes = this.#spec.sizeBytes;
      return;
    }
    const { diskBytes, volumeBytes, synthetic } = options;
    this.#synthetic = synthetic;
    this.spanBytes = volumeBytes;
    const fd = openSync(this.#path, "w");
    ftruncateSync(fd, Math.ceil(diskBytes / SEGMENT_SIZE) * SEGMENT_SIZE);
    closeSync(fd);
    const identity = { poolId: "p", poolName: "p", diskId: "d", diskIndex: 0, diskCount: 1 };
    const file = openDiskFile(this.#path);
    formatDisk(file, identity);
    file.close();
    this.#spec = newSpec(volumeBytes);
  }

  open(): void {
    const file = openDiskFile(this.#path);
    const disk = openDisk(this.#synthetic ? withoutPayload(file) : file, "p", 0);
    const isFirst = this.#epoch === 0;
    this.#epoch++;
    this.#keep();
    const specs = isFirst ? [] : [{ ...this.#spec, epoch: this.#epoch }];
    const opening = { epoch: this.#epoch, clean: false, nextVolumeId: this.#spec.id + 1 };
    this.pool = new Pool([disk], this.#maps, specs, opening, { wallClock: () => 1e12 });
    if (isFirst) this.pool.createVolume(this.#spec);
    for (const damage of this.pool.damaged.values()) throw new Error(damage);
  }

  /** Records that the last opening replayed. */
  get replayed(): number {
    const { writer, checkpointSequence } = (this.pool as Pool).volume(1);
    return writer.sequence - checkpointSequence;
  }

  /** Pages of 2 MiB that the volume's map has. */
  get pages(): number {
    const { map } = (this.pool as Pool).volume(1).head;
    let count = 0;
    for (let index = 0; index < map.pageCount; index++) if (map.page(index) !== null) count++;
    return count;
  }

  report(): string {
    const { table } = this.pool as Pool;
    const { readCount, uncountedCount } = table.pages;
    const pages = `${this.pages} pages of the map, ${readCount} read, ${uncountedCount} left to count`;
    return `${this.replayed} records replayed, ${table.usedCount} segments, ${pages}`;
  }

  /** Writes pieces of `writeBytes` at random places of the first `spanBytes`, with the housekeeping that is due. */
  write(totalBytes: number, writeBytes: number, onProgress: (doneBytes: number) => void = () => {}): void {
    for (let done = 0; done < totalBytes; done += BATCH * writeBytes) {
      this.writeBatch(writeBytes, Math.min(BATCH, (totalBytes - done) / writeBytes));
      if ((done / writeBytes) % (256 * BATCH) === 0) onProgress(done);
    }
  }

  /** As many writes as a client has under way at once; then what housekeeping is due. */
  writeBatch(writeBytes: number, count = BATCH): void {
    const pool = this.pool as Pool;
    const volume = pool.volume(1);
    const stride = this.strideBytes || writeBytes;
    const places = Math.floor(this.spanBytes / stride);
    for (let i = 0; i < count; i++) {
      const offset = this.#random.below(places) * stride;
      let result = volume.stageWrite(buffer, 0, offset, writeBytes);
      for (; result === 11; result = volume.stageWrite(buffer, 0, offset, writeBytes)) this.#housekeep(pool);
      if (result !== 0) throw new Error(`a write failed with errno ${result}`);
    }
    if (volume.commit() !== 0) throw new Error("a commit failed");
    this.#housekeep(pool);
  }

  /** Housekeeping until nothing is due at `nowMs`; false when nothing was. */
  rest(nowMs: number): boolean {
    const pool = this.pool as Pool;
    let isBusy = false;
    while (this.#housekeep(pool, nowMs) !== "idle") isBusy = true;
    return isBusy;
  }

  flush(): void {
    const volume = (this.pool as Pool).volume(1);
    if (volume.flush() !== 0) throw new Error("the flush failed");
    // A record that says that the rest was durable: payload that was thrown away must not be looked for.
    if (!this.#synthetic) return;
    if (volume.mark(1e12) !== 0 || volume.flush() !== 0) throw new Error("the mark failed");
  }

  /** Makes a snapshot, as the daemon does, but for its catalogue. */
  snapshot(name: string): void {
    const made = (this.pool as Pool).createSnapshot(1, name);
    this.#spec = { ...this.#spec, snapshots: [...this.#spec.snapshots, { name, ...made }] };
    this.#keep();
  }

  /** Housekeeping until a checkpoint was made of everything. */
  checkpoint(): void {
    const pool = this.pool as Pool;
    const record = pool.housekeeper.checkpointNow(pool.volume(1));
    if (record === undefined) return;
    this.#record(record);
    pool.housekeeper.checkpointRecorded(true);
  }

  #keep(): void {
    const state: State = { spec: this.#spec, epoch: this.#epoch, synthetic: this.#synthetic };
    writeFileSync(this.#state, JSON.stringify(state));
  }

  close(): void {
    this.pool?.close();
    this.pool = undefined;
  }

  #housekeep(pool: Pool, nowMs = performance.now()): "busy" | "idle" {
    const outcome = pool.housekeeper.housekeep(nowMs);
    if (typeof outcome !== "object") return outcome;
    this.#record(outcome);
    pool.housekeeper.checkpointRecorded(true);
    return "busy";
  }

  #record(record: CheckpointRecord): void {
    const mapFile = record.files[""] ?? this.#spec.mapFile;
    const snapshots = this.#spec.snapshots.map((each) => ({
      ...each,
      mapFile: record.files[each.name] ?? each.mapFile,
    }));
    this.#spec = { ...this.#spec, mapFile, snapshots, checkpointSequence: record.sequence };
    this.#keep();
  }
}

/** What a daemon's catalogue would say. */
interface State {
  readonly spec: VolumeSpec;
  readonly epoch: number;
  readonly synthetic: boolean;
}

function newSpec(sizeBytes: number): VolumeSpec {
  const history = { rewindMs: 0, keyframes: [], clockMs: 0, deletedAtMs: 0, compression: "none" as const };
  const placed = { copies: 1, diskClass: "", keyId: "", reserve: false, originVolume: 0, snapshots: [] };
  return {
    id: 1,
    name: "v",
    sizeBytes,
    epoch: 1,
    mapFile: "",
    checkpointSequence: 0,
    durableSequence: 0,
    ...placed,
    ...history,
  };
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
    isInPlace: () => file.isInPlace(),
    availableBytes: () => file.availableBytes(),
    close: () => file.close(),
  };
}
