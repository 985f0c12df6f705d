// A pool at work: its disks, its segments, its volumes and what can be done with them.
// Everything is synchronous; what the catalogue has to know is returned, and called "recorded" by the caller afterwards.
// Invariant: a change that the catalogue must know first (deleting) or after (creating) is undone or orphaned by a crash
// in between, never half there. Thread: the pool's worker.
import type { Disk } from "../disk/disk.js";
import { OK, storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { Staging } from "../log/log-writer.js";
import type { MapFiles } from "../log/map-files.js";
import type { MapStore } from "../log/map-store.js";
import { PACKING } from "../log/packer.js";
import { Relocation } from "../log/relocation.js";
import type { SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "../volume/block-map.js";
import { Keyframe } from "../volume/history.js";
import type { LostRange } from "../volume/lost-blocks.js";
import type { MapReader } from "../volume/map-reader.js";
import type { VolumeUsage } from "../volume/usage.js";
import { Root, Volume } from "../volume/volume.js";
import { Demand } from "./demand.js";
import { Housekeeper } from "./housekeeper.js";
import { type JobProgress, JobRunner } from "./job.js";
import { LostReport } from "./lost-report.js";
import { MapScrub } from "./map-scrub.js";
import { type KeyframeSpec, MAP_MEMORY, type Opening, openPool, type VolumeSpec } from "./open-pool.js";
import { PoolDisks } from "./pool-disks.js";
import type { PoolHooks } from "./pool-hooks.js";
import { type PoolUsage, poolUsageOf } from "./pool-usage.js";
import { ProveJob } from "./prove.js";
import { type Reverted, Reverts } from "./reverts.js";
import { Room } from "./room.js";
import { fileOf, RootFiles } from "./root-files.js";
import { ScrubJob } from "./scrub.js";
import { checkRootCount, noteGone, Snapshots } from "./snapshots.js";
import { sealLogs } from "./sparing.js";
import { beginSync, type SyncRound } from "./sync-round.js";
import { VolumeKeys } from "./volume-keys.js";
import { VolumeUsages } from "./volume-usages.js";

export interface NewMap {
  readonly mapFile: string;
  readonly sequence: number;
  readonly sizeBytes: number;
}

export class Pool {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes = new Map<number, Volume>();
  readonly keys = new VolumeKeys(this.volumes);
  readonly damaged: Map<number, string>;
  readonly #store: MapStore;
  readonly #files: RootFiles;
  readonly #wallClock: () => number;
  readonly #staging = new Staging();
  /** Checkpoints, cleaning and freeing; the worker gives it time. */
  readonly housekeeper: Housekeeper;
  /** Blocks that got another place: by the cleaner, and where they were put in order. */
  readonly relocation: Relocation;
  readonly jobs: JobRunner;
  readonly disks: PoolDisks;
  readonly room: Room;
  readonly #demand: Demand;
  /** Putting volumes back to snapshots and moments. */
  readonly reverts: Reverts;
  readonly #snapshots: Snapshots;
  readonly #usages: VolumeUsages;
  readonly #lost: LostReport;
  /** Of those that are not served: what they lack may be on disks that are missing. */
  readonly #waiting: ReadonlyMap<number, boolean>;

  /** Opens the pool from its disks, map files and what the catalogue knows (see openPool). Throws as openPool. */
  constructor(
    disks: readonly Disk[],
    files: MapFiles,
    specs: readonly VolumeSpec[],
    opening: Opening,
    hooks: PoolHooks = {},
  ) {
    const { mapMemory = MAP_MEMORY } = hooks;
    const opened = openPool(disks, files, specs, opening, mapMemory);
    this.table = opened.table;
    this.#store = opened.store;
    this.#files = new RootFiles(opened.store, opening.epoch);
    const wallClock = hooks.wallClock ?? Date.now;
    this.#wallClock = wallClock;
    this.reader = opened.reader;
    this.#usages = new VolumeUsages(this.table, this.volumes);
    this.#lost = new LostReport(this.volumes, hooks.onLost);
    this.reader.onLost = (map, block) => this.#lost.note(map, block);
    this.damaged = new Map(opened.damaged);
    this.#waiting = opened.waiting;
    if (opened.damaged.size === 0) opened.store.removeUnknown();
    const { table, reader, volumes, damaged } = this;
    const syncNow = (onSynced: () => void) => {
      this.sync();
      onSynced();
    };
    const syncAside = hooks.syncAside ?? syncNow;
    this.jobs = new JobRunner(hooks.steadyClock ?? (() => performance.now()));
    this.#demand = new Demand(table);
    this.disks = new PoolDisks({
      table,
      gate: this.#demand,
      leftOn: (disks, copies, diskClass) => this.room.leftOn(disks, copies, diskClass),
      reader,
      volumes,
      damaged,
      jobs: this.jobs,
      syncAside,
      sealAll: () => sealLogs(this.volumes, this.relocation.writers),
      syncAll: () => {
        this.sync();
        const logs = [...this.volumes.values()].map((volume) => volume.writer);
        return this.relocation.broken || logs.some((writer) => writer.broken);
      },
      onTrusted: (disk) => hooks.onTrusted?.(disk.index),
    });
    this.room = new Room({
      table,
      volumes,
      settle: () => this.#staging.owner?.settle(),
      onWanted: () => this.#demand.want(),
    });
    this.relocation = new Relocation({ table, volumes, staging: this.#staging, gate: this.#demand });
    this.housekeeper = new Housekeeper({
      table,
      reader,
      volumes,
      damaged,
      store: opened.store,
      staging: this.#staging,
      relocation: this.relocation,
      sync: () => this.sync(),
      syncAside,
      wallClock,
      room: this.room,
      demand: this.#demand,
      jobs: this.jobs,
      disks: this.disks,
      onFailed: (disk) => hooks.onFailed?.(disk.index),
      onDurable: (positions) => hooks.onDurable?.(positions),
      onPurge: (volume) => hooks.onPurge?.(volume),
      onHistoryShort: (volume) => hooks.onHistoryShort?.(volume.name),
      onHistoryLost: (volume, why) => hooks.onHistoryLost?.(volume.name, why),
      nameOf: (volume, root) => this.#files.nameOf(volume.id, root.name),
      mapMemory,
      packing: hooks.packing ?? PACKING,
      onLostPages: () => this.#lost.notePages(),
    });
    this.reverts = new Reverts({
      table,
      files: this.#files,
      room: this.room,
      wallClock,
      abandonCheckpointOf: (volume) => this.housekeeper.abandonCheckpointOf(volume),
      flush: (volume) => this.#mustFlush(volume),
      freeDead: () => this.housekeeper.freeDead(),
    });
    this.#snapshots = new Snapshots({
      volumes,
      room: this.room,
      files: this.#files,
      abandonCheckpointOf: (volume) => this.housekeeper.abandonCheckpointOf(volume),
      flush: (volume) => this.#mustFlush(volume),
      freeDead: () => this.housekeeper.freeDead(),
    });
    for (const { spec, head, snapshots, keyframes, historyLost, clockMs, sequence } of opened.volumes) {
      const volume = this.#addVolume({ ...spec, clockMs }, head, snapshots, sequence);
      volume.history.keyframes.push(...keyframes);
      if (spec.keyframes.length > 0) volume.history.recorded(spec.keyframes);
      if (historyLost !== undefined) hooks.onHistoryLost?.(spec.name, historyLost);
      if (spec.rewindMs > 0 && keyframes.length === 0) volume.restartHistory(wallClock());
    }
    for (const volume of this.volumes.values()) {
      if (volume.snapshots.size > 0 || volume.related) volume.promises.shareAll(undefined, false);
    }
    // Room for the marks first.
    this.housekeeper.freeDead();
    const cut = hooks.isLookedAt ? [] : opened.volumes.filter((volume) => volume.cut);
    for (const { spec } of cut) this.#markCut(this.volume(spec.id));
    if (cut.length > 0) this.sync();
    this.housekeeper.freeDead();
    this.disks.resync();
    this.disks.rebuild();
  }

  /** Of a volume that waits for a disk: the end of its log may be there. */
  lacksEnd(id: number): boolean {
    return this.#waiting.get(id) === true;
  }

  /** What whoever asks for a volume that is not served gets. */
  damageCode(id: number): "DISK_MISSING" | "VOLUME_DAMAGED" {
    return this.#waiting.has(id) ? "DISK_MISSING" : "VOLUME_DAMAGED";
  }

  /** The open volume; else throws VOLUME_NOT_FOUND, VOLUME_DAMAGED, or DISK_MISSING when it only waits for a disk. */
  volume(id: number): Volume {
    const volume = this.volumes.get(id);
    if (volume !== undefined) return volume;
    const damage = this.damaged.get(id);
    if (damage !== undefined) throw storageError(this.damageCode(id), damage);
    throw storageError("VOLUME_NOT_FOUND", `the pool has no volume ${id}`);
  }

  createVolume(spec: VolumeSpec): Volume {
    checkRootCount(this.volumes.values());
    const disks = this.table.disks.filter((disk) => disk.isOfClass(spec.diskClass)).length;
    if (spec.copies > disks) {
      const which = spec.diskClass === "" ? "" : ` of class ${spec.diskClass}`;
      throw storageError("PARAMETER_INVALID", `${spec.copies} copies need as many disks${which}`, {
        field: "copies",
      });
    }
    const map = new BlockMap(this.table, spec.sizeBytes / BLOCK_SIZE);
    const volume = this.#addVolume(spec, new Root("", map, [], spec.sizeBytes, 0), new Map(), 0);
    for (const { name, timeMs } of spec.keyframes) {
      volume.history.keyframes.push(
        new Keyframe(new Root(name, map.freeze(), [], spec.sizeBytes, 0), timeMs),
      );
    }
    volume.history.recorded(spec.keyframes);
    return volume;
  }

  /** The catalogue has forgotten the volume already. */
  deleteVolume(id: number): void {
    const volume = this.volumes.get(id);
    if (volume === undefined) {
      this.damaged.delete(id);
      this.housekeeper.freeDead();
      return;
    }
    this.housekeeper.abandonCheckpointOf(volume);
    volume.commit();
    volume.writer.seal();
    this.reverts.endRewind(id);
    volume.promises.release();
    for (const root of volume.snapshots.values()) noteGone(this.volumes.values(), root);
    for (const root of volume.roots()) this.#files.forget(root);
    for (const root of volume.history.dropped) this.#files.forget(root);
    this.volumes.delete(id);
    this.keys.detach(volume);
    this.jobs.cancel((job) => job.kind === "prove" && job.subject === volume.name);
    this.housekeeper.freeDead();
  }

  /** A snapshot of one volume. */
  createSnapshot(id: number, name: string): NewMap {
    return this.createSnapshots([id], name)[0] as NewMap;
  }

  /** Snapshots of several volumes at one moment, all or none; see Snapshots. */
  createSnapshots(ids: readonly number[], name: string): NewMap[] {
    return this.#snapshots.create(
      ids.map((id) => this.volume(id)),
      name,
    );
  }

  /** The catalogue has forgotten the snapshot already. */
  deleteSnapshot(id: number, name: string): void {
    const volume = this.volumes.get(id);
    if (volume !== undefined) this.#snapshots.delete(volume, name);
  }

  /** Puts a volume back to a snapshot, or to the moment that was looked up (`snapshot` ""); see Reverts. */
  prepareRevert(id: number, snapshot: string): Reverted {
    const volume = this.volume(id);
    if (snapshot === "") return this.reverts.prepare(volume, this.reverts.rewound(id), undefined);
    const from = this.snapshotOf(volume, snapshot);
    return this.reverts.prepare(volume, from.map.freeze(), from);
  }

  finishRevert(id: number, recorded: boolean): void {
    this.reverts.finish(this.volume(id), recorded);
  }

  /**
   * How far back the volume can be rewound from now on (0: not at all); with a window for the first time, where it
   * starts, which the catalogue has to name.
   */
  setRewind(id: number, windowMs: number): KeyframeSpec[] {
    const volume = this.volume(id);
    const { history } = volume;
    this.housekeeper.abandonCheckpointOf(volume);
    history.nextLookMs = 0;
    history.windowMs = windowMs;
    volume.generation++;
    if (windowMs === 0) {
      for (const root of history.clear()) this.#files.forget(root);
      this.housekeeper.freeDead();
      return [];
    }
    if (history.keyframes.length > 0) return [];
    volume.settle();
    this.#mustFlush(volume);
    const { root, timeMs } = volume.addKeyframe(volume.head.map.freeze(), this.#wallClock());
    const { name, sequence, sizeBytes } = root;
    const made = { name, sequence, sizeBytes, timeMs, mapFile: "" };
    history.recorded([made]);
    return [made];
  }

  /**
   * A new volume that starts as a snapshot of another, or as that was at the moment looked up (`snapshot` ""); `spec`
   * lacks only the map.
   */
  cloneVolume(spec: VolumeSpec, originId: number, snapshot: string): NewMap {
    checkRootCount(this.volumes.values());
    const origin = this.volume(originId);
    const from = snapshot === "" ? undefined : this.snapshotOf(origin, snapshot);
    // The cleaner may have moved blocks of the snapshot just now.
    this.#mustFlush(origin);
    const map = from === undefined ? this.reverts.rewound(originId) : from.map.freeze();
    map.grow(spec.sizeBytes / BLOCK_SIZE);
    try {
      this.room.promise(map.mappedBlocks, spec, `to overwrite what ${spec.name} shares with ${origin.name}`);
    } catch (thrown) {
      map.release();
      throw thrown;
    }
    const root = this.#files.write(spec.id, "", map, spec.sizeBytes, 0);
    const volume = this.#addVolume(spec, root, new Map(), 0);
    volume.related = true;
    origin.related = true;
    volume.promises.shareAll(from, from !== undefined);
    origin.promises.forget(undefined);
    return { mapFile: fileOf(root), sequence: 0, sizeBytes: spec.sizeBytes };
  }

  /** Exact when it was counted; see VolumeUsages. */
  usageOf(id: number, exact = false): VolumeUsage {
    return this.#usages.of(this.volume(id), exact);
  }

  /** What was found unreadable in a volume and its snapshots since the pool was opened. */
  lostRangesOf(id: number): LostRange[] {
    return this.#lost.rangesOf(this.volume(id));
  }

  usage(): PoolUsage {
    const work = {
      writtenBytes: this.#staging.clientBlocks * BLOCK_SIZE,
      movedBytes: this.relocation.movedBlocks * BLOCK_SIZE,
    };
    return poolUsageOf(this, work, (volume) => this.usageOf(volume.id).exclusiveBytes);
  }

  /** Reads every copy of everything from a segment on, then all maps, in the background, at no more than a rate; the job's number. */
  scrub(bytesPerSecond = 0, nextSegment = 0): number {
    const { table, volumes, housekeeper } = this;
    const maps = (progress: JobProgress) =>
      new MapScrub(
        {
          table,
          volumes,
          store: this.#store,
          onMended: (volume) => housekeeper.wantCheckpointOf(volume),
          onLostPages: () => this.#lost.notePages(),
        },
        progress,
      );
    const wanted = ({ index }: { readonly index: number }) => index >= nextSegment;
    // One that goes on where an earlier one was has not seen what that one did.
    const whole = nextSegment === 0 ? [...table.disks] : [];
    const options = { wanted, whole, bytesPerSecond, yields: true, maps };
    return this.jobs.start(new ScrubJob("scrub", "all disks", this, options));
  }

  /** Holds a volume with its snapshots against its maps, in the background; the job's number. */
  prove(id: number): number {
    return this.jobs.start(this.newProof(id));
  }

  /** The same for who takes its steps himself. */
  newProof(id: number): ProveJob {
    const { table, volumes, reader } = this;
    const onLost = (map: BlockMap, block: number) => this.#lost.note(map, block);
    const modules = { table, volumes, onLost, packed: reader.packed };
    return new ProveJob(this.volume(id), modules, this.#store.files);
  }

  /** Makes everything committed so far durable: one fdatasync per disk that was written to. */
  sync(): void {
    const round = this.beginSync();
    round.finish(round.disks.map((disk) => disk.file.sync()));
  }

  /** The same in two halves, for a sync that runs beside other work. Only one at a time. */
  beginSync(): SyncRound {
    const logs = [...this.volumes.values()].map((volume) => volume.writer);
    const { writers, packedWrites } = this.relocation;
    return beginSync(this.table.disks, [...logs, ...writers, packedWrites]);
  }

  close(): void {
    this.keys.close();
    this.reader.close();
    this.#store.close();
    for (const disk of this.table.disks) disk.file.close();
  }

  /**
   * A segment that begins here ends what older ones may still hold behind the log's end. Without room for one now it is
   * made as soon as there is.
   */
  #markCut(volume: Volume): void {
    const result = this.housekeeper.cutMarks.make(volume, this.#wallClock);
    if (result === OK) return;
    this.volumes.delete(volume.id);
    this.damaged.set(volume.id, `its log cannot be written (errno ${result})`);
  }

  #addVolume(spec: VolumeSpec, head: Root, snapshots: ReadonlyMap<string, Root>, sequence: number): Volume {
    const volume = new Volume({
      id: spec.id,
      name: spec.name,
      copies: spec.copies,
      diskClass: spec.diskClass,
      keyId: spec.keyId,
      epoch: spec.epoch,
      head,
      snapshots,
      sequence,
      log: { table: this.table, staging: this.#staging, gate: this.#demand },
      reader: this.reader,
      sync: () => this.sync(),
      rewindMs: spec.rewindMs,
      clockMs: spec.clockMs,
      deletedAtMs: spec.deletedAtMs,
      compression: spec.compression,
      wallClock: this.#wallClock,
      room: this.room,
    });
    volume.checkpointSequence = spec.checkpointSequence;
    volume.notedSequence = spec.durableSequence;
    this.volumes.set(spec.id, volume);
    this.keys.attach(volume);
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

  /** Throws SNAPSHOT_NOT_FOUND. */
  snapshotOf(volume: Volume, name: string): Root {
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
}
