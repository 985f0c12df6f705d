// A pool at work: its disks, its segments, its volumes, and the housekeeping that keeps space coming back.
//
//   housekeeping, one small step at a time between requests:
//     checkpoint (when due) ─► catalogue ─► free dead segments ─► move live blocks out of mostly dead ones ─► again
//
// Everything is synchronous; the catalogue answers through `checkpointRecorded`. Invariant: a segment is freed only when
// no map, live or on the medium, names a block of it and no log needs its records. Thread: the pool's worker.
import { assert } from "../../base/assert/index.js";
import type { Disk } from "../disk/disk.js";
import { EAGAIN, EIO, ENOSPC, OK, storageError } from "../errors.js";
import {
  BLOCK_SIZE,
  CHECKPOINT_IDLE_MS,
  CHECKPOINT_LOG_BYTES,
  CLEAN_LIVE_PERCENT,
  CLEAN_LIVE_PERCENT_URGENT,
  RESERVE_SEGMENTS,
  ROOTS_MAX,
  SNAPSHOTS_PER_VOLUME_MAX,
} from "../limits.js";
import { Cleaner } from "../log/cleaner.js";
import { DATA_BLOCKS, SEGMENT_LOG, SEGMENT_SIZE } from "../log/format.js";
import { type SpaceGate, Staging } from "../log/log-writer.js";
import { MapFileJob, type MapFiles } from "../log/map-files.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "../volume/block-map.js";
import type { MapReader } from "../volume/map-reader.js";
import { usageOf, type VolumeUsage } from "../volume/usage.js";
import { Root, Volume } from "../volume/volume.js";
import { Checkpoint, type CheckpointRecord } from "./checkpoint.js";
import { openPool, type VolumeSpec } from "./open-pool.js";

/** Released blocks that make a checkpoint worth while although clients are busy. */
const RELEASED_BLOCKS_DUE = 16 * DATA_BLOCKS;

export interface PoolUsage {
  readonly sizeBytes: number;
  /** Whole segments in use, all copies. */
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly disks: readonly { path: string; sizeBytes: number; freeBytes: number; failed: boolean }[];
}

export interface SyncRound {
  /** To be synced by the caller. */
  readonly disks: readonly Disk[];
  /** `result`: 0 when all were. Returns what writers are told. */
  finish(result: number): number;
}

export interface NewMap {
  readonly mapFile: string;
  readonly sequence: number;
  readonly sizeBytes: number;
}

export class Pool implements SpaceGate {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes = new Map<number, Volume>();
  readonly damaged: ReadonlyMap<number, string>;
  readonly #files: MapFiles;
  readonly #epoch: number;
  readonly #staging = new Staging();
  readonly #cleaner: Cleaner;
  #checkpoint: Checkpoint | undefined;
  #recording = false;
  #urgent = false;
  /** Dead blocks when cleaning last ended without winning anything; −1 while it may still help. */
  #exhaustedAt = -1;
  #cleanAgain = true;
  #nameCounter = 0;
  #lastChangeMs = 0;
  #lastGeneration = 0;
  #failedUntilMs = 0;
  #holds = 0;
  #cleanedSince = false;
  /** Heads that a revert will put in place. */
  readonly #prepared = new Map<number, Root>();

  /** Opens the pool from its disks, map files and what the catalogue knows (see openPool). Throws DISK_… errors. */
  constructor(disks: readonly Disk[], files: MapFiles, specs: readonly VolumeSpec[], epoch: number) {
    this.#files = files;
    this.#epoch = epoch;
    const opened = openPool(disks, files, specs, epoch);
    this.table = opened.table;
    this.reader = opened.reader;
    this.damaged = opened.damaged;
    for (const { spec, head, snapshots, sequence } of opened.volumes)
      this.#addVolume(spec, head, snapshots, sequence);
    const named = new Set(
      specs.flatMap((spec) => [spec.mapFile, ...spec.snapshots.map((each) => each.mapFile)]),
    );
    if (opened.damaged.size === 0) {
      for (const file of files.list()) if (!named.has(file)) files.remove(file);
    }
    this.#cleaner = new Cleaner({
      table: this.table,
      staging: this.#staging,
      gate: this,
      reader: this.reader,
      volumes: this.volumes,
    });
    this.#freeDead();
  }

  /** The open volume, or VOLUME_NOT_FOUND or VOLUME_DAMAGED. */
  volume(id: number): Volume {
    const volume = this.volumes.get(id);
    if (volume !== undefined) return volume;
    const damage = this.damaged.get(id);
    if (damage !== undefined) throw storageError("VOLUME_DAMAGED", damage);
    throw storageError("VOLUME_NOT_FOUND", `the pool has no volume ${id}`);
  }

  createVolume(spec: VolumeSpec): Volume {
    this.#checkRoots();
    if (spec.copies > this.table.disks.length) {
      throw storageError("PARAMETER_INVALID", `${spec.copies} copies need as many disks`, {
        field: "copies",
      });
    }
    const map = new BlockMap(this.table, spec.sizeBytes / BLOCK_SIZE);
    return this.#addVolume(spec, new Root("", map, "", spec.sizeBytes, 0), new Map(), 0);
  }

  /** The catalogue has forgotten the volume already. */
  deleteVolume(id: number): void {
    const volume = this.volumes.get(id);
    if (volume === undefined) return;
    this.#abandonCheckpointOf(volume);
    volume.commit();
    volume.writer.seal();
    for (const root of volume.roots()) {
      root.release();
      if (root.file !== "") this.#files.remove(root.file);
    }
    this.volumes.delete(id);
    this.#freeDead();
  }

  /** Everything committed so far, frozen under a name, on the medium. The catalogue records it or calls deleteSnapshot. */
  createSnapshot(id: number, name: string): NewMap {
    const volume = this.volume(id);
    this.#checkRoots();
    if (volume.snapshots.size >= SNAPSHOTS_PER_VOLUME_MAX) {
      throw storageError("LIMIT_REACHED", `a volume has at most ${SNAPSHOTS_PER_VOLUME_MAX} snapshots`);
    }
    this.#mustFlush(volume);
    const sequence = volume.writer.sequence;
    const root = this.#writeRoot(volume.id, name, volume.head.map.freeze(), volume.sizeBytes, sequence);
    volume.snapshots.set(name, root);
    return { mapFile: root.file, sequence, sizeBytes: root.sizeBytes };
  }

  /** The catalogue has forgotten the snapshot already. */
  deleteSnapshot(id: number, name: string): void {
    const volume = this.volumes.get(id);
    const root = volume?.snapshots.get(name);
    if (volume === undefined || root === undefined) return;
    this.#abandonCheckpointOf(volume);
    volume.snapshots.delete(name);
    root.release();
    this.#files.remove(root.file);
    volume.generation++;
    this.#freeDead();
  }

  /** Writes the map that `target`'s head will have; `finishRevert` puts it in place once the catalogue names it. */
  prepareRevert(id: number, snapshot: string): NewMap {
    const volume = this.volume(id);
    const from = this.#snapshot(volume, snapshot);
    this.#abandonCheckpointOf(volume);
    this.#mustFlush(volume);
    const map = from.map.freeze();
    map.grow(volume.sizeBytes / BLOCK_SIZE);
    const root = this.#writeRoot(id, "", map, volume.sizeBytes, volume.writer.sequence);
    this.#prepared.set(id, root);
    return { mapFile: root.file, sequence: root.sequence, sizeBytes: root.sizeBytes };
  }

  finishRevert(id: number, recorded: boolean): void {
    const volume = this.volume(id);
    const root = this.#prepared.get(id);
    if (root === undefined) return;
    this.#prepared.delete(id);
    const { head } = volume;
    if (!recorded) {
      root.release();
      this.#files.remove(root.file);
      return;
    }
    assert(volume.writer.sequence === root.sequence, "a volume is not written while it is reverted");
    head.map.release();
    head.durable?.release();
    if (head.file !== "") this.#files.remove(head.file);
    head.map = root.map;
    head.durable = root.durable;
    head.file = root.file;
    head.dirty = false;
    head.sequence = root.sequence;
    volume.checkpointSequence = root.sequence;
    volume.generation++;
    this.#freeDead();
  }

  /** A new volume that starts as a snapshot of another; `spec` lacks only the map. */
  cloneVolume(spec: VolumeSpec, originId: number, snapshot: string): NewMap {
    this.#checkRoots();
    const origin = this.volume(originId);
    const from = this.#snapshot(origin, snapshot);
    // The cleaner may have moved blocks of the snapshot just now.
    this.#mustFlush(origin);
    const map = from.map.freeze();
    map.grow(spec.sizeBytes / BLOCK_SIZE);
    const root = this.#writeRoot(spec.id, "", map, spec.sizeBytes, 0);
    const volume = this.#addVolume(spec, root, new Map(), 0);
    volume.related = true;
    origin.related = true;
    return { mapFile: root.file, sequence: 0, sizeBytes: spec.sizeBytes };
  }

  usageOf(id: number): VolumeUsage {
    return usageOf(this.volume(id), this.table);
  }

  usage(): PoolUsage {
    const disks = this.table.disks.map((disk) => ({
      path: disk.file.path,
      sizeBytes: disk.slotCount * SEGMENT_SIZE,
      freeBytes: disk.freeSlots * SEGMENT_SIZE,
      failed: disk.failed,
    }));
    return {
      sizeBytes: disks.reduce((sum, disk) => sum + disk.sizeBytes, 0),
      allocatedBytes: this.table.allocatedBytes,
      freeBytes: disks.reduce((sum, disk) => sum + disk.freeBytes, 0),
      repairedBlocks: this.reader.repairedBlocks,
      lostBlocks: this.reader.lostBlocks,
      disks,
    };
  }

  /** Makes everything committed so far durable: one fdatasync per disk that was written to. */
  sync(): number {
    let result: number = OK;
    for (const disk of this.table.disks) result = disk.sync() || result;
    if (result !== OK) return EIO;
    for (const volume of this.volumes.values()) volume.writer.durable = volume.writer.sequence;
    return OK;
  }

  /** The same in two halves, for a sync that runs beside other work. Only one at a time. */
  beginSync(): SyncRound {
    const positions = [...this.volumes.values()].map((volume) => ({
      volume,
      sequence: volume.writer.sequence,
    }));
    const disks = this.table.disks.filter((disk) => disk.dirty || disk.failed);
    const failed = disks.some((disk) => disk.failed);
    for (const disk of disks) {
      disk.dirty = false;
      disk.syncing = true;
    }
    return {
      disks,
      finish: (result) => {
        for (const disk of disks) {
          disk.syncing = false;
          if (result !== OK) disk.failed = true;
        }
        if (result !== OK || failed) return EIO;
        for (const { volume, sequence } of positions) {
          volume.writer.durable = Math.max(volume.writer.durable, sequence);
        }
        return OK;
      },
    };
  }

  admit(segments: number, copies: number, privileged: boolean): number {
    const free = this.table.freeCount(copies) - (privileged ? 0 : RESERVE_SEGMENTS);
    if (free >= segments) return OK;
    if (privileged || (this.#exhaustedAt >= 0 && this.table.deadBlocks() <= this.#exhaustedAt)) return ENOSPC;
    this.#exhaustedAt = -1;
    this.#urgent = true;
    return EAGAIN;
  }

  /** Writers wait for room: housekeeping comes first. */
  get urgent(): boolean {
    return this.#urgent;
  }

  /** A checkpoint waits for the catalogue. */
  get recording(): boolean {
    return this.#recording;
  }

  /**
   * Does a little of what is due. A record must be written to the catalogue, then `checkpointRecorded` called;
   * "busy": call again soon; "idle": nothing is due at `nowMs`.
   */
  housekeep(nowMs: number): CheckpointRecord | "busy" | "idle" {
    if (this.#recording || this.#holds > 0) return "idle";
    if (nowMs < this.#failedUntilMs && !this.#urgent) return "idle";
    if (this.#checkpoint !== undefined) return this.#stepCheckpoint(nowMs);
    // After a checkpoint cleaning comes first: writers could make the next one due for ever.
    const due = this.#cleanAgain ? undefined : this.#dueForCheckpoint(nowMs);
    if (due !== undefined) {
      due.settle();
      this.#checkpoint = this.#newCheckpoint(due);
      return "busy";
    }
    if (this.#cleanAgain || this.#urgent) return this.#clean();
    return "idle";
  }

  /** No checkpoint begins until `release` was called as often: the caller is about to change what the catalogue says. */
  hold(): void {
    this.#holds++;
  }

  release(): void {
    assert(this.#holds > 0, "a hold is released once");
    this.#holds--;
  }

  /** The catalogue's answer to the last record. */
  checkpointRecorded(recorded: boolean): void {
    const checkpoint = this.#checkpoint;
    this.#recording = false;
    this.#checkpoint = undefined;
    if (checkpoint === undefined) return;
    if (recorded) checkpoint.commit();
    else checkpoint.abort();
    this.#freeDead();
    this.#cleanAgain = true;
  }

  /** A checkpoint of one volume in one go, for an orderly end; undefined when nothing changed. */
  checkpointNow(id: number): CheckpointRecord | undefined {
    const volume = this.volume(id);
    assert(!this.#recording, "one checkpoint at a time");
    this.#checkpoint?.abort();
    this.#checkpoint = undefined;
    volume.settle();
    if (!volume.roots().some((root) => root.dirty)) return undefined;
    const checkpoint = this.#newCheckpoint(volume);
    this.#checkpoint = checkpoint;
    while (!checkpoint.step());
    this.#recording = true;
    return checkpoint.record;
  }

  close(): void {
    for (const disk of this.table.disks) disk.file.close();
  }

  #newCheckpoint(volume: Volume): Checkpoint {
    const modules = { files: this.#files, table: this.table, sync: () => this.sync() };
    return new Checkpoint(volume, modules, (root) => this.#fileName(volume.id, root.name));
  }

  #stepCheckpoint(nowMs: number): CheckpointRecord | "busy" | "idle" {
    const checkpoint = this.#checkpoint as Checkpoint;
    try {
      if (!checkpoint.step()) return "busy";
    } catch {
      // The daemon's own file system is full, or a disk failed: the checkpoint before stays good. Later again.
      checkpoint.abort();
      this.#checkpoint = undefined;
      this.#failedUntilMs = nowMs + 1000;
      this.#giveUp();
      return "idle";
    }
    this.#recording = true;
    return checkpoint.record;
  }

  #dueForCheckpoint(nowMs: number): Volume | undefined {
    let generation = 0;
    for (const volume of this.volumes.values()) generation += volume.generation;
    if (generation !== this.#lastGeneration) {
      this.#lastGeneration = generation;
      this.#lastChangeMs = nowMs;
    }
    const quiet = nowMs - this.#lastChangeMs >= CHECKPOINT_IDLE_MS;
    for (const volume of this.volumes.values()) {
      const dirty = volume.roots().some((root) => root.dirty);
      if (!dirty) continue;
      if (this.#urgent || volume.writer.writtenBytes >= CHECKPOINT_LOG_BYTES) return volume;
      if (volume.releasedBlocks >= RELEASED_BLOCKS_DUE) return volume;
      const waiting =
        volume.releasedBlocks > 0 || volume.roots().some((root) => root.dirty && root.name !== "");
      if (quiet && (waiting || this.#evacuatedFor(volume))) return volume;
    }
    return undefined;
  }

  /** The cleaner changed the volume's maps: the segments it emptied wait for this checkpoint. */
  #evacuatedFor(volume: Volume): boolean {
    return this.#cleanedSince && volume.head.dirty;
  }

  #clean(): "busy" | "idle" {
    const victim = this.#cleaner.victim(this.#urgent ? CLEAN_LIVE_PERCENT_URGENT : CLEAN_LIVE_PERCENT);
    const moved = victim !== undefined && this.#mayMove(victim) && this.#cleaner.evacuate(victim) === OK;
    if (moved) {
      this.#cleanedSince = true;
      // Room is short: one at a time, each freed by its own checkpoint.
      if (this.#urgent) this.#cleanAgain = false;
      return "busy";
    }
    this.#cleanAgain = false;
    const dirty = [...this.volumes.values()].some((volume) => volume.roots().some((root) => root.dirty));
    if (this.#urgent && !(dirty && this.#cleanedSince)) this.#giveUp();
    return "idle";
  }

  /** Moving out of the last free segment would leave nothing for the next one. */
  #mayMove(victim: Segment): boolean {
    return this.table.freeCount(Math.max(1, victim.disks.length)) >= 1;
  }

  /** Nothing more can be won now: writers are told that the pool is full until something changes. */
  #giveUp(): void {
    this.#urgent = false;
    this.#exhaustedAt = this.table.deadBlocks();
  }

  #freeDead(): void {
    const dead: Segment[] = [];
    this.table.forEach((segment) => {
      if (!segment.sealed || segment.liveBlocks > 0) return;
      if (this.damaged.has(segment.volume) && segment.kind === SEGMENT_LOG) return;
      const volume = this.volumes.get(segment.volume);
      const replayed = segment.kind !== SEGMENT_LOG || volume === undefined;
      if (replayed || segment.lastSequence <= volume.checkpointSequence) dead.push(segment);
    });
    for (const segment of dead) this.table.free(segment);
    if (dead.length === 0) return;
    this.#exhaustedAt = -1;
    this.#cleanedSince = false;
    if (this.table.freeCount(1) > RESERVE_SEGMENTS) this.#urgent = false;
  }

  #addVolume(spec: VolumeSpec, head: Root, snapshots: ReadonlyMap<string, Root>, sequence: number): Volume {
    const volume = new Volume({
      id: spec.id,
      name: spec.name,
      copies: spec.copies,
      epoch: spec.epoch,
      head,
      snapshots,
      sequence,
      log: { table: this.table, staging: this.#staging, gate: this },
      reader: this.reader,
      sync: () => this.sync(),
    });
    volume.checkpointSequence = spec.checkpointSequence;
    this.volumes.set(spec.id, volume);
    volume.related = spec.originVolume !== 0;
    const origin = this.volumes.get(spec.originVolume);
    if (origin !== undefined) origin.related = true;
    for (const other of this.volumes.values()) if (other.related) this.#relate(other);
    return volume;
  }

  /** Whoever shares pages with a clone counts its space the exact way. */
  #relate(clone: Volume): void {
    for (const other of this.volumes.values()) if (other.snapshots.size > 0) other.related = true;
    clone.related = true;
  }

  #snapshot(volume: Volume, name: string): Root {
    const root = volume.snapshots.get(name);
    if (root === undefined) {
      throw storageError("SNAPSHOT_NOT_FOUND", `volume ${volume.name} has no snapshot ${name}`);
    }
    return root;
  }

  #mustFlush(volume: Volume): void {
    const result = volume.flush();
    if (result !== OK)
      throw storageError("VOLUME_DAMAGED", `${volume.name} cannot be flushed (errno ${result})`);
  }

  #writeRoot(volume: number, name: string, map: BlockMap, sizeBytes: number, sequence: number): Root {
    const file = this.#fileName(volume, name);
    const job = new MapFileJob(this.#files, this.table, map, { name: file, volume, sequence, sizeBytes });
    try {
      while (!job.step());
    } catch (cause) {
      job.abort();
      map.release();
      throw storageError(
        "POOL_FULL",
        `the map of the volume cannot be written: ${(cause as Error).message}`,
        { cause },
      );
    }
    return new Root(name, map, file, sizeBytes, sequence);
  }

  #fileName(volume: number, root: string): string {
    this.#nameCounter++;
    return `${volume}-${root === "" ? "head" : "snapshot"}-${this.#epoch}-${this.#nameCounter}.map`;
  }

  #checkRoots(): void {
    let roots = 0;
    for (const volume of this.volumes.values()) roots += 1 + volume.snapshots.size;
    if (roots < ROOTS_MAX) return;
    throw storageError("LIMIT_REACHED", `a pool has at most ${ROOTS_MAX} volumes and snapshots`);
  }

  #abandonCheckpointOf(volume: Volume): void {
    if (this.#checkpoint?.volume !== volume) return;
    if (this.#recording) {
      throw storageError("VOLUME_IN_USE", `a checkpoint of ${volume.name} is being recorded`, {
        remedy: "try again",
      });
    }
    this.#checkpoint.abort();
    this.#checkpoint = undefined;
  }
}
