// A pool at work: its disks, its segments, its volumes and what can be done with them.
// Everything is synchronous; what the catalogue has to know is returned, and called "recorded" by the caller afterwards.
// Invariant: a change that the catalogue must know first (deleting) or after (creating) is undone or orphaned by a crash
// in between, never half there. Thread: the pool's worker.
import { assert } from "../../base/assert/index.js";
import type { Disk } from "../disk/disk.js";
import { OK, storageError } from "../errors.js";
import { BLOCK_SIZE, ROOTS_MAX, SNAPSHOTS_PER_VOLUME_MAX } from "../limits.js";
import { Staging } from "../log/log-writer.js";
import type { MapFiles } from "../log/map-files.js";
import { MapFileJob, type MapStore } from "../log/map-store.js";
import type { SegmentTable } from "../log/segment-table.js";
import { BlockMap } from "../volume/block-map.js";
import { LostBlocks, type LostRange } from "../volume/lost-blocks.js";
import type { MapReader } from "../volume/map-reader.js";
import { usageOf, type VolumeUsage } from "../volume/usage.js";
import { Root, Volume } from "../volume/volume.js";
import { Housekeeper } from "./housekeeper.js";
import { type JobReport, JobRunner } from "./job.js";
import { openPool, type VolumeSpec } from "./open-pool.js";
import { type DiskUsage, PoolDisks } from "./pool-disks.js";
import { ProveJob } from "./prove.js";
import { ScrubJob } from "./scrub.js";
import { beginSync, type SyncRound } from "./sync-round.js";

export interface PoolUsage {
  readonly sizeBytes: number;
  /** Whole segments in use, all copies. */
  readonly allocatedBytes: number;
  readonly freeBytes: number;
  readonly repairedBlocks: number;
  readonly lostBlocks: number;
  readonly disks: readonly DiskUsage[];
  /** Segments with fewer copies than they shall have. */
  readonly degradedSegments: number;
  readonly jobs: readonly JobReport[];
}

export interface PoolHooks {
  /** Syncs the pool beside other work; without it checkpoints wait for the disks. */
  readonly syncAside?: (onSynced: () => void) => void;
  /** Milliseconds since 1970; default: the system's. */
  readonly wallClock?: () => number;
  /** A disk failed, or one that was suspect is trusted again. */
  readonly onFailed?: (disk: number) => void;
  readonly onTrusted?: (disk: number) => void;
  /** A block of `volume` was found unreadable, for the first time. */
  readonly onLost?: (volume: string, range: LostRange) => void;
}

export interface NewMap {
  readonly mapFile: string;
  readonly sequence: number;
  readonly sizeBytes: number;
}

export interface Reverted extends NewMap {
  /** Map files of snapshots that had none. */
  readonly snapshotFiles: Readonly<Record<string, string>>;
}

export class Pool {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly volumes = new Map<number, Volume>();
  readonly damaged: Map<number, string>;
  readonly #store: MapStore;
  readonly #epoch: number;
  readonly #staging = new Staging();
  /** Checkpoints, cleaning and freeing; the worker gives it time. */
  readonly housekeeper: Housekeeper;
  readonly jobs: JobRunner;
  readonly disks: PoolDisks;
  readonly #usages = new WeakMap<Volume, { usage: VolumeUsage; generation: number; untilMs: number }>();
  readonly #lost = new LostBlocks();
  readonly #hooks: PoolHooks;
  #nameCounter = 0;
  /** Heads that a revert will put in place. */
  readonly #prepared = new Map<number, readonly Root[]>();

  /** Opens the pool from its disks, map files and what the catalogue knows (see openPool). Throws DISK_… errors. */
  constructor(
    disks: readonly Disk[],
    files: MapFiles,
    specs: readonly VolumeSpec[],
    epoch: number,
    hooks: PoolHooks = {},
    clean = false,
  ) {
    this.#hooks = hooks;
    this.#epoch = epoch;
    const opened = openPool(disks, files, specs, epoch, clean);
    this.table = opened.table;
    this.#store = opened.store;
    this.reader = opened.reader;
    this.reader.onLost = (map, block) => this.#noteLost(map, block);
    this.damaged = new Map(opened.damaged);
    if (opened.damaged.size === 0) opened.store.removeUnknown();
    const { table, reader, volumes, damaged } = this;
    const syncAside =
      hooks.syncAside ??
      ((onSynced: () => void) => {
        this.sync();
        onSynced();
      });
    this.jobs = new JobRunner(() => performance.now());
    this.disks = new PoolDisks({
      table,
      reader,
      volumes,
      jobs: this.jobs,
      syncAside,
      sealAll: () => this.#sealAll(),
      onTrusted: (disk) => hooks.onTrusted?.(disk.index),
    });
    this.housekeeper = new Housekeeper({
      table,
      reader,
      volumes,
      damaged,
      store: opened.store,
      staging: this.#staging,
      sync: () => this.sync(),
      syncAside,
      wallClock: hooks.wallClock ?? Date.now,
      jobs: this.jobs,
      disks: this.disks,
      onFailed: (disk) => hooks.onFailed?.(disk.index),
      nameOf: (volume, root) => this.#fileName(volume.id, root.name),
    });
    for (const { spec, head, snapshots, sequence, cut } of opened.volumes) {
      const { writer } = this.#addVolume(spec, head, snapshots, sequence);
      // A segment that begins here ends what older ones may still hold.
      if (cut && (writer.stageMark((hooks.wallClock ?? Date.now)()) !== OK || writer.commit() !== OK)) {
        this.volumes.delete(spec.id);
        this.damaged.set(spec.id, "its log cannot be written");
      }
    }
    if (opened.volumes.some(({ cut }) => cut)) this.sync();
    this.housekeeper.freeDead();
    this.disks.resync();
    this.disks.rebuild();
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
    return this.#addVolume(spec, new Root("", map, [], spec.sizeBytes, 0), new Map(), 0);
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
    for (const root of volume.roots()) this.#forget(root);
    this.volumes.delete(id);
    this.jobs.cancel((job) => job.kind === "prove" && job.subject === volume.name);
    this.housekeeper.freeDead();
  }

  /** A snapshot of one volume. */
  createSnapshot(id: number, name: string): NewMap {
    return this.createSnapshots([id], name)[0] as NewMap;
  }

  /**
   * Everything committed so far, of several volumes at one moment, frozen under a name, on the medium: a position in each
   * log, whatever the volumes' sizes. The catalogue records them or calls deleteSnapshot for each; the next checkpoints
   * write the maps. All or none.
   */
  createSnapshots(ids: readonly number[], name: string): NewMap[] {
    const volumes = ids.map((id) => this.volume(id));
    this.#checkRoots(volumes.length);
    for (const volume of volumes) {
      if (volume.snapshots.size < SNAPSHOTS_PER_VOLUME_MAX) continue;
      throw storageError("LIMIT_REACHED", `a volume has at most ${SNAPSHOTS_PER_VOLUME_MAX} snapshots`);
    }
    for (const volume of volumes) volume.settle();
    for (const volume of volumes) this.#mustFlush(volume);
    return volumes.map((volume) => {
      const { sizeBytes, head, writer } = volume;
      volume.snapshots.set(name, new Root(name, head.map.freeze(), [], sizeBytes, writer.sequence));
      volume.generation++;
      return { mapFile: "", sequence: writer.sequence, sizeBytes };
    });
  }

  /** The catalogue has forgotten the snapshot already. */
  deleteSnapshot(id: number, name: string): void {
    const volume = this.volumes.get(id);
    const root = volume?.snapshots.get(name);
    if (volume === undefined || root === undefined) return;
    this.housekeeper.abandonCheckpointOf(volume);
    volume.snapshots.delete(name);
    this.#forget(root);
    volume.generation++;
    this.housekeeper.freeDead();
  }

  /**
   * Writes the map that the head will have, and those of snapshots that were only positions in the log before it;
   * `finishRevert` puts them in place once the catalogue names them.
   */
  prepareRevert(id: number, snapshot: string): Reverted {
    const volume = this.volume(id);
    const from = this.#snapshot(volume, snapshot);
    this.housekeeper.abandonCheckpointOf(volume);
    this.#mustFlush(volume);
    const { sequence } = volume.writer;
    const recent: Root[] = [];
    for (const root of volume.snapshots.values()) {
      if (root.files.length > 0) continue;
      recent.push(this.#writeRoot(id, root.name, root.map.freeze(), root.sizeBytes, root.sequence));
    }
    const map = from.map.freeze();
    map.grow(volume.sizeBytes / BLOCK_SIZE);
    const head = this.#writeRoot(id, "", map, volume.sizeBytes, sequence);
    this.#prepared.set(id, [head, ...recent]);
    return {
      mapFile: fileOf(head),
      sequence,
      sizeBytes: volume.sizeBytes,
      snapshotFiles: Object.fromEntries(recent.map((root) => [root.name, fileOf(root)])),
    };
  }

  finishRevert(id: number, recorded: boolean): void {
    const volume = this.volume(id);
    const prepared = this.#prepared.get(id);
    if (prepared === undefined) return;
    this.#prepared.delete(id);
    if (!recorded) {
      for (const root of prepared) this.#forget(root);
      return;
    }
    const { head } = volume;
    assert(volume.writer.sequence === prepared[0]?.sequence, "a volume is not written while it is reverted");
    for (const root of prepared) {
      const target = root.name === "" ? head : (volume.snapshots.get(root.name) as Root);
      target.release();
      const before = target.files;
      target.map = root.map;
      target.durable = root.durable;
      target.files = root.files;
      target.dirty = false;
      target.sequence = root.sequence;
      this.#store.release(before);
    }
    volume.checkpointSequence = head.sequence;
    volume.generation++;
    this.housekeeper.freeDead();
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
    return { mapFile: fileOf(root), sequence: 0, sizeBytes: spec.sizeBytes };
  }

  /**
   * Exact when it was counted. Counting walks the maps when there are snapshots or clones, so that an answer is kept
   * while nothing changed, and for fifty times as long as counting took.
   */
  usageOf(id: number): VolumeUsage {
    const volume = this.volume(id);
    let generation = this.volumes.size;
    for (const each of this.volumes.values()) generation += each.generation + each.checkpointSequence;
    const startMs = performance.now();
    const known = this.#usages.get(volume);
    if (known !== undefined && (known.generation === generation || startMs < known.untilMs))
      return known.usage;
    const usage = usageOf(volume, this.table);
    const endMs = performance.now();
    this.#usages.set(volume, { usage, generation, untilMs: endMs + 50 * (endMs - startMs) });
    return usage;
  }

  /** What was found unreadable in a volume and its snapshots since the pool was opened. */
  lostRangesOf(id: number): LostRange[] {
    return this.volume(id)
      .roots()
      .flatMap((root) => this.#lost.rangesOf(root.map, root.name));
  }

  #noteLost(map: BlockMap, block: number): void {
    if (!this.#lost.note(map, block)) return;
    for (const volume of this.volumes.values()) {
      const root = volume.roots().find((each) => each.map === map);
      if (root === undefined) continue;
      const range = { offsetBytes: block * BLOCK_SIZE, lengthBytes: BLOCK_SIZE };
      this.#hooks.onLost?.(volume.name, root.name === "" ? range : { snapshot: root.name, ...range });
      return;
    }
  }

  usage(): PoolUsage {
    const disks = this.disks.usage();
    let degradedSegments = 0;
    this.table.visit((segment) => {
      if (segment.disks.filter((disk) => disk.online).length < segment.copies) degradedSegments++;
    });
    const there = disks.filter((disk) => disk.state === "online" || disk.state === "draining");
    return {
      sizeBytes: there.reduce((sum, disk) => sum + disk.sizeBytes, 0),
      allocatedBytes: this.table.allocatedBytes,
      freeBytes: disks.reduce((sum, disk) => sum + disk.freeBytes, 0),
      repairedBlocks: this.reader.repairedBlocks,
      lostBlocks: this.reader.lostBlocks,
      disks,
      degradedSegments,
      jobs: this.jobs.reports(),
    };
  }

  /** Reads every copy of everything, in the background; the job's number. */
  scrub(): number {
    return this.jobs.start(new ScrubJob("scrub", "all disks", this));
  }

  /** Holds a volume with its snapshots against its maps, in the background; the job's number. */
  prove(id: number): number {
    return this.jobs.start(new ProveJob(this.volume(id), this.table));
  }

  /** Makes everything committed so far durable: one fdatasync per disk that was written to. */
  sync(): void {
    const round = this.beginSync();
    round.finish(round.disks.map((disk) => disk.file.sync()));
  }

  /** The same in two halves, for a sync that runs beside other work. Only one at a time. */
  beginSync(): SyncRound {
    const logs = [...this.volumes.values()].map((volume) => volume.writer);
    return beginSync(this.table.disks, [...logs, ...this.housekeeper.writers]);
  }

  close(): void {
    for (const disk of this.table.disks) disk.file.close();
  }

  #sealAll(): void {
    for (const { writer } of this.volumes.values()) {
      writer.settle();
      writer.seal();
    }
    for (const writer of this.housekeeper.writers) writer.seal();
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
      log: { table: this.table, staging: this.#staging, gate: this.housekeeper },
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
    let job: MapFileJob | undefined;
    try {
      const file = this.#fileName(volume, name);
      job = new MapFileJob(this.#store, map, { name: file, volume, sequence, sizeBytes });
      while (!job.step());
      job.commit();
      return new Root(name, map, job.files, sizeBytes, sequence);
    } catch (cause) {
      job?.abort();
      map.release();
      throw storageError(
        "POOL_FULL",
        `the map of the volume cannot be written: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  #forget(root: Root): void {
    root.release();
    this.#store.release(root.files);
    root.files = [];
  }

  #fileName(volume: number, root: string): string {
    this.#nameCounter++;
    return `${volume}-${root === "" ? "head" : "snapshot"}-${this.#epoch}-${this.#nameCounter}.map`;
  }

  #checkRoots(more = 1): void {
    let roots = more - 1;
    for (const volume of this.volumes.values()) roots += 1 + volume.snapshots.size;
    if (roots < ROOTS_MAX) return;
    throw storageError("LIMIT_REACHED", `a pool has at most ${ROOTS_MAX} volumes and snapshots`);
  }
}

function fileOf(root: Root): string {
  return root.files[0]?.name ?? "";
}
