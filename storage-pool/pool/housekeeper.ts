// Housekeeping of a pool: checkpoints when they are due, space back from what died, room for writers who wait for it.
//
//   a little at a time, between requests:
//     checkpoint (when due) ─► catalogue ─► free dead segments
//     move live blocks out of mostly dead segments, as fast as clients' writes ask for (clean-pacer.ts) ─► checkpoint
//
// Invariant: a segment is freed only when no map, live or on the medium, names a block of it and no log needs its
// records. Writers are told that the pool is full only after cleaning has won nothing. Thread: the pool's worker.
import { assert } from "../../base/assert/index.js";
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import { CHECKPOINT_IDLE_MS, CLEAN_LIVE_PERCENT_URGENT, RESERVE_SEGMENTS } from "../limits.js";
import { CleanPacer } from "../log/clean-pacer.js";
import { CLEAN_STEP_BLOCKS, Cleaner } from "../log/cleaner.js";
import { Defragmenter } from "../log/defragmenter.js";
import { DATA_BLOCKS, SEGMENT_LOG } from "../log/format.js";
import type { Staging } from "../log/log-writer.js";
import type { MapStore } from "../log/map-store.js";
import { Packer, type Packing } from "../log/packer.js";
import type { Relocation } from "../log/relocation.js";
import type { Segment } from "../log/segment-table.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Root, Volume } from "../volume/volume.js";
import { Balancing } from "./balancing.js";
import { Checkpoint, type CheckpointRecord } from "./checkpoint.js";
import { cleanSituation } from "./clean-situation.js";
import { CutMarks } from "./cut-marks.js";
import type { Demand } from "./demand.js";
import { DurableNotes, type DurablePosition } from "./durable-notes.js";
import { HistoryKeeper } from "./history-keeper.js";
import type { JobRunner } from "./job.js";
import { PageKeeper, type PageKeeperOptions } from "./page-keeper.js";
import type { PoolDisks } from "./pool-disks.js";
import { longestTail } from "./replay-cost.js";
import type { Room } from "./room.js";
import { SpaceReturn } from "./space-return.js";
import { Sparing } from "./sparing.js";

/** Share of the pool that released blocks take before a checkpoint is made although clients are busy; bounded. */
const RELEASED_SHARE = 1 / 8;
/** As many as so much of what should be free, when less is: what waits for a checkpoint is room that the cleaner lacks. */
const RELEASED_SHORT = 3 / 8;
const RELEASED_BLOCKS_MIN = 16 * DATA_BLOCKS;
const RELEASED_BLOCKS_MAX = 256 * DATA_BLOCKS;
/** Steps of the cleaner in one breath, in which many requests may have earned it more than one. */
const CLEAN_STEPS_MAX = 4;
/** How often disks are looked at for failures. */
const WATCH_MS = 1000;
/** Without a request for so long clients count as idle. */
const CLIENT_IDLE_MS = 100;

type SyncState = "due" | "under way" | "done" | "failed";

export interface HousekeeperOptions extends PageKeeperOptions {
  readonly reader: MapReader;
  readonly volumes: ReadonlyMap<number, Volume>;
  readonly damaged: ReadonlyMap<number, string>;
  readonly store: MapStore;
  readonly staging: Staging;
  readonly relocation: Relocation;
  readonly packing: Packing;
  /** Makes everything committed durable, or breaks the writers whose disks failed. */
  readonly sync: () => void;
  /** The same beside other work: `onSynced` is called at once or later. */
  readonly syncAside: (onSynced: () => void) => void;
  readonly jobs: JobRunner;
  readonly disks: PoolDisks;
  readonly room: Room;
  /** Who waits for room. */
  readonly demand: Demand;
  /** How far logs are on the medium, for the catalogue. */
  readonly onDurable: (positions: readonly DurablePosition[]) => void;
  /** Room is short: a deleted volume is to go for good. */
  readonly onPurge: (volume: number) => void;
  /** Room was short: some of what was kept for rewinding a volume is given up. */
  readonly onHistoryShort: (volume: Volume) => void;
  /** What was kept for rewinding a volume is given up. */
  readonly onHistoryLost: (volume: Volume, why: string) => void;
  /** A disk was given up. */
  readonly onFailed: (disk: Disk) => void;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  /** A name for a map file that was never used. */
  readonly nameOf: (volume: Volume, root: Root) => string;
}

export class Housekeeper {
  readonly #options: HousekeeperOptions;
  readonly #cleaner: Cleaner;
  readonly #defragmenter: Defragmenter;
  readonly #packer: Packer;
  readonly #history: HistoryKeeper;
  readonly #sparing: Sparing;
  readonly #pacer = new CleanPacer();
  /** Logs that lack the mark which begins their part since the pool was opened. */
  readonly cutMarks = new CutMarks();
  /** Segments up to this serial were there when the pool was opened. */
  readonly #oldSerial: number;
  #checkpoint: Checkpoint | undefined;
  /** How far the disks are with what the checkpoint under way needs. */
  #sync: SyncState = "due";
  #recording = false;
  readonly #pages: PageKeeper;
  readonly #balancing: Balancing;
  readonly #spaceReturn: SpaceReturn;
  readonly #notes: DurableNotes;
  /** Everything else was tried: whatever wins a single block. */
  #thorough = false;
  /** The last checkpoint freed what it could: cleaning comes before the next one, which writers could make due for ever. */
  #cleanFirst = false;
  /** The cleaner found no room for what it moved: not again before something is freed. */
  #cleanFailed = false;
  #lastChangeMs = 0;
  #lastGeneration = 0;
  #failedUntilMs = 0;
  #watchedMs = 0;
  #lastReads = 0;
  #lastReadMs = Number.NEGATIVE_INFINITY;
  #holds = 0;

  constructor(options: HousekeeperOptions) {
    this.#options = options;
    this.#oldSerial = options.table.lastSerial;
    this.#cleaner = new Cleaner(options);
    this.#defragmenter = new Defragmenter(options);
    this.#packer = new Packer(options);
    const { onHistoryLost: onLost, onHistoryShort: onShort } = options;
    this.#history = new HistoryKeeper({ ...options, onLost, onShort });
    this.#sparing = new Sparing(options, this.#history);
    this.#pages = new PageKeeper(options);
    this.#notes = new DurableNotes(options);
    this.#balancing = new Balancing(options.disks);
    this.#spaceReturn = new SpaceReturn(options);
  }

  /** Writers wait for the checkpoint under way: too many pages of maps have changed. */
  get holdsWriters(): boolean {
    return this.#options.table.pages.isFull;
  }

  /** Writers wait for room: housekeeping comes first. */
  get urgent(): boolean {
    return this.#options.demand.urgent;
  }

  /** Blocks are being moved, a few with each breath. */
  get cleaning(): boolean {
    return this.#cleaner.active;
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
    if (this.#holds > 0) return "idle";
    this.#notes.tell(nowMs);
    this.#pacer.update(cleanSituation(nowMs, this.#cleaner, this.#options));
    const counting = this.#pages.step(this.urgent);
    if (counting === "counted") this.freeDead();
    if (this.#recording || this.#sync === "under way") {
      // The disks or the catalogue are at work; blocks that move meanwhile are of the next checkpoint.
      const outcome =
        this.#checkpoint !== undefined && !this.#recording ? this.#stepCheckpoint(nowMs) : "idle";
      if (outcome !== "idle" || this.urgent || this.#cleanStep() === "idle") return outcome;
      return "busy";
    }
    if (nowMs < this.#failedUntilMs && !this.urgent) return "idle";
    if (this.#checkpoint !== undefined) return this.#stepCheckpoint(nowMs);
    const { volumes } = this.#options;
    const due =
      this.#pages.dueForCheckpoint(volumes.values()) ??
      (this.#cleanFirst ? undefined : this.#dueForCheckpoint(nowMs));
    if (due !== undefined) {
      due.settle();
      this.#checkpoint = this.#newCheckpoint(due);
      return "busy";
    }
    this.cutMarks.retry(volumes, this.#options.wallClock);
    if (counting !== "idle") return "busy";
    if (this.urgent) return this.#makeRoom(nowMs);
    if (this.#balancing.active) return this.#stepBalance();
    this.#cleanFirst = false;
    // Before the cleaner, which would move the same blocks once more.
    const isRoomy = this.#pacer.isIdle && !this.#pacer.isShort;
    if (isRoomy && this.#defragmenter.step(this.#pacer.lowSegments) === "busy") return "busy";
    if (this.#cleanStep() === "busy") return "busy";
    if (this.#pacer.isIdle && this.#packer.step(nowMs) === "busy") return "busy";
    this.#notes.mark(nowMs, this.#lastChangeMs);
    if (this.#history.follow()) return "busy";
    if (this.#spaceReturn.step(nowMs - this.#lastChangeMs)) return "busy";
    return this.#work(nowMs);
  }

  /** Background jobs, and what a disk that failed makes necessary. */
  #work(nowMs: number): "busy" | "idle" {
    if (nowMs - this.#watchedMs >= WATCH_MS) {
      this.#watchedMs = nowMs;
      for (const disk of this.#options.disks.watch()) this.#options.onFailed(disk);
      this.#options.room.forget();
      // A file system below may have room again.
      this.#options.demand.retry();
    }
    if (nowMs - this.#lastChangeMs >= CHECKPOINT_IDLE_MS && this.#options.room.recountSome()) return "busy";
    if (!this.#options.jobs.active) return "idle";
    const { readCount } = this.#options.reader;
    if (readCount !== this.#lastReads) this.#lastReadMs = nowMs;
    this.#lastReads = readCount;
    const busy = nowMs - Math.max(this.#lastReadMs, this.#lastChangeMs) < CLIENT_IDLE_MS;
    return this.#options.jobs.step(nowMs, busy);
  }

  /** No checkpoint begins until `release` was called as often: the caller is about to change what the catalogue says. */
  hold(): void {
    this.#holds++;
    this.#pages.end();
  }

  release(): void {
    assert(this.#holds > 0, "a hold is released once");
    this.#holds--;
    if (this.#holds === 0 && this.#checkpoint !== undefined) this.#pages.resume();
  }

  /** The catalogue's answer to the last record. */
  checkpointRecorded(recorded: boolean): void {
    const checkpoint = this.#checkpoint;
    this.#recording = false;
    this.#checkpoint = undefined;
    this.#sync = "due";
    this.#pages.end();
    if (checkpoint === undefined) return;
    if (recorded) checkpoint.commit();
    else {
      checkpoint.abort();
      this.#options.relocation.touched.add(checkpoint.volume);
    }
    this.freeDead();
    this.#cleaner.checkpointed();
    this.#cleanFirst = true;
  }

  /** A checkpoint of one volume in one go, for an orderly end; undefined when nothing changed. */
  checkpointNow(volume: Volume): CheckpointRecord | undefined {
    assert(!this.#recording, "one checkpoint at a time");
    if (this.#checkpoint !== undefined) this.#abort(this.#checkpoint);
    volume.settle();
    if (!volume.isDirty) return undefined;
    const checkpoint = this.#newCheckpoint(volume);
    this.#checkpoint = checkpoint;
    while (!checkpoint.step());
    this.#options.sync();
    if (this.#isBroken(volume)) {
      this.#abort(checkpoint);
      throw storageError("VOLUME_DAMAGED", `${volume.name} cannot be flushed`);
    }
    this.#recording = true;
    return checkpoint.record;
  }

  /** What a checkpoint of the volume would name may not be on any medium. */
  #isBroken(volume: Volume): boolean {
    return volume.writer.broken || this.#options.relocation.broken;
  }

  #newCheckpoint(volume: Volume): Checkpoint {
    const { store, nameOf } = this.#options;
    this.#sync = "due";
    this.#options.relocation.touched.delete(volume);
    this.#pages.begin();
    return new Checkpoint(volume, store, (root) => nameOf(volume, root));
  }

  #stepCheckpoint(nowMs: number): CheckpointRecord | "busy" | "idle" {
    const checkpoint = this.#checkpoint as Checkpoint;
    try {
      while (this.#sync === "due" && !checkpoint.step()) {
        if (!this.#pages.isAheadOf(checkpoint.share)) return "busy";
      }
    } catch {
      this.#sync = "failed";
    }
    if (this.#sync === "due") {
      this.#sync = "under way";
      this.#options.syncAside(() => {
        if (this.#checkpoint === checkpoint)
          this.#sync = this.#isBroken(checkpoint.volume) ? "failed" : "done";
      });
    }
    switch (this.#sync as SyncState) {
      case "done":
        this.#recording = true;
        return checkpoint.record;
      case "failed":
        // The daemon's own file system is full, or a disk failed: the checkpoint before stays good. Later again.
        this.#abort(checkpoint);
        this.#failedUntilMs = nowMs + 1000;
        this.#giveUp();
        return "idle";
      default:
        return "idle";
    }
  }

  #dueForCheckpoint(nowMs: number): Volume | undefined {
    let generation = 0;
    for (const volume of this.#options.volumes.values()) generation += volume.generation;
    if (generation !== this.#lastGeneration) {
      this.#lastGeneration = generation;
      this.#lastChangeMs = nowMs;
    }
    const quiet = nowMs - this.#lastChangeMs >= CHECKPOINT_IDLE_MS;
    const { touched } = this.#options.relocation;
    const longest = longestTail(this.#options.volumes.values());
    if (longest !== undefined) return longest;
    for (const volume of this.#options.volumes.values()) {
      const dirty = volume.isDirty;
      // Segments with nothing but marks and trims go with a checkpoint only.
      const behind = this.urgent && volume.writer.sequence > volume.checkpointSequence;
      if (!dirty && !behind) continue;
      if (this.urgent) return volume;
      if (volume.releasedBlocks >= this.#releasedDue) return volume;
      if (this.#emptiedEnough() && (touched.has(volume) || volume.releasedBlocks > 0)) return volume;
      const isWaiting = () => volume.releasedBlocks > 0 || volume.isPastDirty || touched.has(volume);
      if (quiet && isWaiting()) return volume;
    }
    return undefined;
  }

  /** Segments that the cleaner emptied wait for a checkpoint: a batch of them, or room is needed now. */
  #emptiedEnough(): boolean {
    const { waitingCount } = this.#cleaner;
    if (waitingCount >= this.#pacer.batchSegments) return true;
    return waitingCount > 0 && this.#freeCount() <= RESERVE_SEGMENTS + 1;
  }

  get #releasedDue(): number {
    if (this.#pacer.isShort) return this.#pacer.lowSegments * DATA_BLOCKS * RELEASED_SHORT;
    const share = this.#options.table.slotCount * DATA_BLOCKS * RELEASED_SHARE;
    return Math.min(Math.max(share, RELEASED_BLOCKS_MIN), RELEASED_BLOCKS_MAX);
  }

  /** Moves a few blocks if it is worth while and clients have earned it. */
  #cleanStep(): "busy" | "idle" {
    const cleaner = this.#cleaner;
    if (!cleaner.active) {
      const percent = this.#pacer.livePercent;
      const victim = percent === 0 || this.#cleanFailed ? undefined : this.#victim(percent);
      if (victim === undefined) return "idle";
      if (this.#pacer.take(CLEAN_STEP_BLOCKS) === 0) return "idle";
      cleaner.begin(victim);
      return "busy";
    }
    for (let steps = 0; steps < CLEAN_STEPS_MAX && cleaner.active; steps++) {
      const most = this.#pacer.take(CLEAN_STEP_BLOCKS);
      if (most === 0) return steps === 0 ? "idle" : "busy";
      // Without room for what is left: the next checkpoint makes some.
      if (typeof cleaner.step(most) === "number") this.#cleanFailed = true;
    }
    return "busy";
  }

  /** Writers wait: all that can be won, a victim at a time, each batch freed by its checkpoint. */
  #makeRoom(nowMs: number): "busy" | "idle" {
    const cleaner = this.#cleaner;
    if (this.#packer.isUnderWay && this.#packer.step(nowMs) === "busy") return "busy";
    if (this.#balancing.active) return this.#stepBalance();
    if (cleaner.active) {
      if (typeof cleaner.step(CLEAN_STEP_BLOCKS) === "number") this.#cleanFailed = true;
      return "busy";
    }
    if (this.#balancing.begin(this.#options.demand.wanted)) return "busy";
    const room = cleaner.waitingCount === 0 || this.#freeCount() > 1;
    if (room && !this.#cleanFailed) {
      const victim = this.#victim(this.#thorough ? 100 : CLEAN_LIVE_PERCENT_URGENT);
      if (victim !== undefined) {
        cleaner.begin(victim);
        this.#cleanFirst = true;
        return "busy";
      }
    }
    const wasFirst = this.#cleanFirst;
    this.#cleanFirst = false;
    const { touched } = this.#options.relocation;
    const hopeful = [...this.#options.volumes.values()].some(
      (volume) => volume.isDirty && (volume.releasedBlocks > 0 || touched.has(volume)),
    );
    if (hopeful && wasFirst) return "busy";
    return this.#spare(nowMs);
  }

  /** The best segment to empty, of those that there is room to empty and that help whoever waits. */
  #victim(livePercent: number): Segment | undefined {
    this.#history.pin();
    const { table, demand } = this.#options;
    const diskClass = (this.urgent ? demand.wanted?.diskClass : undefined) ?? "";
    return this.#cleaner.victim(livePercent, (segment) => {
      if (diskClass !== "" && !segment.disks.some((disk) => disk.isOfClass(diskClass))) return false;
      const copies = Math.max(1, segment.copies);
      return table.freeCount(copies, segment.diskClass) >= this.#cleaner.segmentsFor(segment);
    });
  }

  /** Free segments of the kind that is waited for. */
  #freeCount(): number {
    const { table, demand } = this.#options;
    const { copies, diskClass } = demand.wanted ?? { copies: 1, diskClass: "" };
    return table.freeCount(copies, diskClass);
  }

  #stepBalance(): "busy" | "idle" {
    const outcome = this.#balancing.step();
    if (outcome === "done") {
      this.#options.demand.meet();
      this.#options.room.forget();
    }
    return outcome === "wait" ? "idle" : "busy";
  }

  /** Cleaning wins nothing more and somebody waits. */
  #spare(nowMs: number): "busy" | "idle" {
    // What a job has half moved takes room that comes back.
    const { jobs } = this.#options;
    if (jobs.holding) return jobs.step(nowMs, false);
    const outcome = this.#sparing.spare(nowMs);
    if (outcome === "nothing" && !this.#thorough) {
      this.#thorough = true;
      // What the cleaner had no room for then it may have room for now.
      this.#cleanFailed = false;
      return "busy";
    }
    // Fewer promises are room to grow, and no free segments: who waits for these waits on.
    const isEnd = outcome === "nothing" || (outcome === "retry" && this.#options.demand.wanted === undefined);
    if (isEnd) this.#giveUp();
    return outcome === "again" || outcome === "retry" ? "busy" : "idle";
  }

  /** Nothing more can be won now; whoever asks later finds everything open again. */
  #giveUp(): void {
    this.#thorough = false;
    this.#cleanFailed = false;
    this.#balancing.reset();
    this.#sparing.end();
    this.#options.demand.giveUp();
  }

  /** Frees every segment that nothing needs any more. */
  freeDead(): void {
    const dead: Segment[] = [];
    const { table, damaged, volumes } = this.#options;
    this.#history.pin();
    table.visit((segment) => {
      if (!segment.sealed || segment.moving || segment.pinned || segment.liveBlocks > 0) return;
      // What the maps of a damaged volume name is not known, nor what was not counted yet.
      if ((damaged.size > 0 && segment.serial <= this.#oldSerial) || !table.isKnown(segment)) return;
      const volume = volumes.get(segment.volume);
      const replayed = segment.kind !== SEGMENT_LOG || volume === undefined;
      if (replayed || segment.lastSequence <= volume.checkpointSequence) dead.push(segment);
    });
    for (const segment of dead) table.free(segment);
    this.#options.room.forget();
    this.#options.demand.renew();
    if (dead.length === 0) return;
    this.#cleanFailed = false;
    this.#balancing.reset();
    this.#options.demand.meet();
    if (!this.urgent) this.#thorough = false;
  }

  /** Maps of `volume` are not on the medium as they should be: a checkpoint comes even if nothing is written. */
  wantCheckpointOf(volume: Volume): void {
    this.#options.relocation.touched.add(volume);
  }

  /** A checkpoint of `volume` that is being written is given up. */
  abandonCheckpointOf(volume: Volume): void {
    if (this.#checkpoint?.volume !== volume) return;
    if (this.#recording) {
      throw storageError("VOLUME_IN_USE", `a checkpoint of ${volume.name} is being recorded`, {
        remedy: "try again",
      });
    }
    this.#abort(this.#checkpoint);
  }

  #abort(checkpoint: Checkpoint): void {
    checkpoint.abort();
    this.#checkpoint = undefined;
    this.#sync = "due";
    this.#pages.end();
    // What was moved before it began waits for the next one.
    if (this.#options.volumes.has(checkpoint.volume.id))
      this.#options.relocation.touched.add(checkpoint.volume);
  }
}
