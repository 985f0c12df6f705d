// The disks of an open pool: taking more, emptying one, letting one go, and the work that follows when one fails.
//
//   open ──drain──► draining ──(job: everything moved)──► empty ──remove──► gone
//   failed or missing ──(job: copies made on others)──► remove
//         └──back──► online, suspect ──(job: every copy on it looked through)──► online
//   detached (not at its path any more) ── as draining, until it is at its path again
//
// Thread: the pool's worker. Hot: no.
import { type Disk, wipeDisk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE, DISKS_MAX } from "../limits.js";
import { INDEX_SIZE, SEGMENT_SIZE } from "../log/format.js";
import type { SpaceGate } from "../log/log-writer.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Volume } from "../volume/volume.js";
import { planBalance } from "./balance.js";
import type { Holder } from "./capacity.js";
import type { JobRunner } from "./job.js";
import { BalanceJob, isDegraded, isOnDraining, MoveJob } from "./mover.js";
import { ScrubJob } from "./scrub.js";
import { takeBack } from "./taking-back.js";

export interface DiskUsage {
  readonly index: number;
  readonly path: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly failed: boolean;
  /** What was found wrong on it though it is used; "" when nothing is known. */
  readonly damage: string;
  /** Blocks found bad there since the pool was opened, put right or not. */
  readonly badBlocks: number;
  /** What kind of disk it is, in the user's words; "" when nobody said. */
  readonly class: string;
  readonly state: "online" | "draining" | "failed" | "missing" | "detached";
  /** Segments that have a copy there. */
  readonly segments: number;
}

/** Copies that are moved in one go for the sake of balance. */
const BALANCE_BATCH = 8;

export interface PoolDisksOptions {
  readonly table: SegmentTable;
  readonly gate: SpaceGate;
  /** Blocks that could be stored beyond what is stored and promised, with only these disks to put them on. */
  readonly leftOn: (disks: readonly Disk[], copies: number, diskClass: string) => number;
  readonly reader: MapReader;
  readonly jobs: JobRunner;
  readonly volumes: ReadonlyMap<number, Volume>;
  /** Volumes that are not served, with the reason: what they lack may be on a disk that is missing. */
  readonly damaged: ReadonlyMap<number, string>;
  /** Nothing more goes into segments that are open. */
  readonly sealAll: () => void;
  /** Everything committed is made durable, or its writer is broken; says whether one is. */
  readonly syncAll: () => boolean;
  readonly syncAside: (onSynced: () => void) => void;
  /** Copies that were old are right again. */
  readonly onTrusted: (disk: Disk) => void;
}

export class PoolDisks {
  readonly #options: PoolDisksOptions;
  #failedCount = 0;

  constructor(options: PoolDisksOptions) {
    this.#options = options;
  }

  add(disk: Disk): void {
    const { disks } = this.#options.table;
    if (disks.length >= DISKS_MAX)
      throw storageError("LIMIT_REACHED", `a pool has at most ${DISKS_MAX} disks`);
    disks.push(disk);
    this.rebuild();
    this.#emptyAll();
  }

  /** The pool counts as opened anew, as opening `epoch`; the disks on whose medium that is. */
  stamp(epoch: number): number[] {
    const { disks } = this.#options.table;
    for (const disk of disks) if (disk.online) disk.stamp(epoch);
    this.#options.syncAll();
    return disks.filter(({ online, lastEpoch }) => online && lastEpoch === epoch).map(({ index }) => index);
  }

  disk(index: number): Disk {
    const disk = this.#options.table.disks.find((each) => each.index === index);
    if (disk === undefined) throw storageError("DISK_NOT_FOUND", `the pool has no disk ${index}`);
    return disk;
  }

  /**
   * Whether the disk may be drained: what is stored and promised has to fit on the others. Throws DISK_MISSING or
   * POOL_FULL.
   */
  checkDrain(index: number): void {
    const disk = this.#drainable(index);
    const { table, volumes, leftOn } = this.#options;
    const others = table.disks.filter((each) => each.open && each !== disk);
    let missing = 0;
    for (const { copies, diskClass } of volumes.values()) {
      if (!disk.isOfClass(diskClass)) continue;
      if (others.filter((each) => each.isOfClass(diskClass)).length < copies) {
        const ofClass = diskClass === "" ? "" : ` of class ${diskClass}`;
        throw storageError(
          "POOL_FULL",
          `volumes with ${copies} copies need ${copies} disks${ofClass} besides ${disk.file.path}`,
          { remedy: "add a disk first" },
        );
      }
      const left = leftOn(others, copies, diskClass);
      if (left < 0) missing = Math.max(missing, -left * copies * BLOCK_SIZE);
    }
    if (missing === 0) return;
    throw storageError(
      "POOL_FULL",
      `${missing} bytes of what ${disk.file.path} holds or keeps for overwriting find no room on the other disks`,
      { remedy: "add a disk first, or delete volumes or snapshots" },
    );
  }

  /**
   * Nothing new goes to the disk, and what it holds moves away, as far as there is room; the number of the job that moves
   * it.
   */
  drain(index: number): number {
    const disk = this.#drainable(index);
    disk.draining = true;
    return this.#empty(disk);
  }

  /** As the pool is opened: the disk was being drained. One that is not there is drained when it is back. */
  resumeDrain(index: number): void {
    const disk = this.disk(index);
    disk.draining = true;
    if (disk.online) this.#empty(disk);
  }

  /** There is another disk: maybe there is room now for what disks that are drained still hold. */
  #emptyAll(): void {
    for (const disk of this.#options.table.disks) if (disk.draining && disk.online) this.#empty(disk);
  }

  #empty(disk: Disk): number {
    this.#options.sealAll();
    return this.#options.jobs.start(
      new MoveJob(
        "drain",
        disk.file.path,
        this.#options,
        (segment) => isOnDraining(segment) && on(segment, disk),
      ),
    );
  }

  /** Copies to move so that more segments of a kind can be made; undefined when there are enough or nothing helps. */
  balance(copies: number, diskClass: string, enough: number): BalanceJob | undefined {
    const { table } = this.#options;
    if (table.freeCount(copies, diskClass) >= enough) return undefined;
    const plan = planBalance(table, copies, diskClass, enough, BALANCE_BATCH);
    if (plan.size === 0) return undefined;
    return new BalanceJob("free slots", this.#options, plan);
  }

  #drainable(index: number): Disk {
    const disk = this.disk(index);
    if (!disk.online) {
      throw storageError(
        "DISK_MISSING",
        `${disk.file.path} cannot be read: a rebuild makes its copies anew`,
        {
          remedy: "remove it when the rebuild is done",
        },
      );
    }
    const others = this.#options.table.disks.filter((each) => each.open && each !== disk);
    if (others.length === 0) {
      throw storageError("POOL_FULL", `there is no other disk to move ${disk.file.path} to`, {
        remedy: "add a disk first",
      });
    }
    return disk;
  }

  /** Why a disk that is back cannot be used before the pool is opened anew: something needs it that is not served; "" when it can. */
  needsOpening(index: number): string {
    const away = this.disk(index);
    const { table, damaged, sealAll, syncAll } = this.#options;
    sealAll();
    if (syncAll()) return "a volume whose only copy failed is to be read anew";
    if (damaged.size > 0) return `volumes not served: ${damaged.size}`;
    let wanted = 0;
    table.visit((segment) => {
      const others = segment.disks.filter((disk) => disk !== away);
      if (others.length === 0 && (segment.liveBlocks > 0 || !table.isKnown(segment))) wanted++;
    });
    return wanted === 0 ? "" : `segments on no other disk: ${wanted}`;
  }

  /**
   * A disk that was missing or failed is used again: `back` is what stands at its path now, of this pool and this place,
   * and `needsOpening` was "". In opening `epoch`. Throws DISK_DAMAGED, and then nothing has changed.
   */
  takeBack(back: Disk, epoch: number): void {
    const away = this.disk(back.index);
    const { table, jobs } = this.#options;
    takeBack(table, away, back, epoch);
    jobs.cancel((job) => job.kind === "resync" && job.subject === back.file.path);
    this.#resync(back);
    this.rebuild();
    this.#emptyAll();
  }

  /**
   * Looks whether disks are where they were opened: of those that are not nothing is expected any more. Returns changed
   * ones. Of the others it is seen whether they are whole where nobody reads.
   */
  watchPlaces(): Disk[] {
    const changed: Disk[] = [];
    const needed = this.#neededBytes();
    for (const disk of this.#options.table.disks) {
      // What is old on a disk that was away need not be whole.
      if (disk.online) disk.inspect(disk.suspect ? 0 : (needed.get(disk) ?? 0));
    }
    for (const disk of this.#options.table.disks) {
      if (!disk.online || disk.file.isInPlace() !== disk.detached) continue;
      disk.detached = !disk.detached;
      changed.push(disk);
      if (!disk.detached) {
        this.#options.jobs.cancel((job) => job.kind === "rescue" && job.subject === disk.file.path);
        this.rebuild();
        continue;
      }
      this.#options.sealAll();
      this.#options.jobs.start(
        new MoveJob("rescue", disk.file.path, this.#options, (segment) => on(segment, disk)),
      );
    }
    return changed;
  }

  /** How far the files of disks reach at least, by what is stored on them. */
  #neededBytes(): Map<Disk, number> {
    const needed = new Map<Disk, number>();
    this.#options.table.visit(({ liveBlocks, disks, slots }) => {
      // The first block is behind the records.
      for (let i = 0; i < disks.length && liveBlocks > 0; i++) {
        const disk = disks[i] as Disk;
        const end = disk.position(slots[i] as number) + INDEX_SIZE + liveBlocks * BLOCK_SIZE;
        needed.set(disk, Math.max(needed.get(disk) ?? 0, end));
      }
    });
    return needed;
  }

  /** The disk is used again. */
  undrain(index: number): void {
    const disk = this.disk(index);
    disk.draining = false;
    this.#options.jobs.cancel((job) => job.kind === "drain" && job.subject === disk.file.path);
  }

  /** Whether a disk may go: an empty one, or one that is lost for good. Throws DISK_IN_USE. */
  checkRemove(index: number, lost: boolean): void {
    const disk = this.disk(index);
    const held = this.#segmentsOn(disk);
    if (disk.online && (!(disk.draining || disk.detached) || held > 0)) {
      const why = held > 0 ? `still holds ${held} segment${held === 1 ? "" : "s"}` : "is in use";
      throw storageError("DISK_IN_USE", `${disk.file.path} ${why}`, {
        remedy: "drain it first",
      });
    }
    if (!disk.online && held > 0 && !lost) {
      throw storageError("DISK_IN_USE", `${held} segments have no other copy than on ${disk.file.path}`, {
        remedy: "bring it back, or give it up as lost",
      });
    }
    if (disk.missing && !lost) this.#refuseWanted(disk);
  }

  /** Nobody can look at what a missing disk holds: whatever is wanted and found nowhere may be there. */
  #refuseWanted(disk: Disk): void {
    const { table, damaged } = this.#options;
    let wanted = 0;
    table.visit((segment) => {
      if (segment.disks.length === 0 && (segment.liveBlocks > 0 || !table.isKnown(segment))) wanted++;
    });
    if (wanted === 0 && damaged.size === 0) return;
    const what = wanted > 0 ? `${wanted} segments that no other disk has` : "what damaged volumes lack";
    throw storageError("DISK_IN_USE", `${what} may be on ${disk.file.path}`, {
      remedy: "bring it back, or give it up as lost",
    });
  }

  /** The catalogue has forgotten the disk, after `checkRemove`: so does the pool, and the disk itself if it can. */
  remove(index: number): void {
    const disk = this.disk(index);
    const { table } = this.#options;
    if (disk.online) wipeDisk(disk);
    table.disks.splice(table.disks.indexOf(disk), 1);
    table.visit((segment) => {
      const places = segment.places.filter((place) => place.disk !== disk);
      segment.disks = places.map((place) => place.disk);
      segment.slots = places.map((place) => place.slot);
    });
    disk.file.close();
  }

  /** Copies that are missing are made anew, if there are disks for them; the job's number, 0 when there is nothing to do. */
  rebuild(): number {
    const { table, jobs } = this.#options;
    let degraded = false;
    table.visit((segment) => {
      degraded ||= isDegraded(segment, table);
    });
    if (!degraded) return 0;
    this.#options.sealAll();
    return jobs.start(
      new MoveJob("rebuild", "copies", this.#options, (segment) => isDegraded(segment, table)),
    );
  }

  /** Copies on disks that were away are looked through. */
  resync(): void {
    for (const disk of this.#options.table.disks) if (disk.suspect && disk.online) this.#resync(disk);
  }

  #resync(disk: Disk): void {
    const done = () => {
      // One that failed or went meanwhile is as suspect as before.
      if (!disk.online) return;
      disk.suspect = false;
      this.#options.onTrusted(disk);
    };
    this.#options.jobs.start(
      new ScrubJob("resync", disk.file.path, this.#options, {
        wanted: (segment) => on(segment, disk),
        whole: [disk],
        onDone: done,
      }),
    );
  }

  /** Called now and then: a disk that failed since is made up for. Returns disks that failed since the last call. */
  watch(): Disk[] {
    const failed = this.#options.table.disks.filter((disk) => disk.failed);
    if (failed.length === this.#failedCount) return [];
    this.#failedCount = failed.length;
    this.rebuild();
    return failed.filter((disk) => !disk.suspect);
  }

  usage(): DiskUsage[] {
    const counts = new Map<Disk, number>();
    this.#options.table.visit((segment) => {
      for (const disk of segment.disks) counts.set(disk, (counts.get(disk) ?? 0) + 1);
    });
    return this.#options.table.disks.map((disk) => ({
      index: disk.index,
      path: disk.file.path,
      sizeBytes: disk.slotCount * SEGMENT_SIZE,
      freeBytes: disk.open ? freeBytesOf(disk) : 0,
      failed: disk.failed,
      damage: disk.online ? disk.faults.text : "",
      badBlocks: disk.faults.foundCount,
      class: disk.diskClass,
      state: stateOf(disk),
      segments: counts.get(disk) ?? 0,
    }));
  }

  /** The disks that take more, with as many slots as the file systems below have room for. */
  holders(): Holder[] {
    const open = this.#options.table.disks.filter((disk) => disk.open);
    return open.map(({ slotCount, freeSlots, unpunchedCount, diskClass, file }) => {
      const sharers = open.filter(
        (other) => other.file === file || (file.filesystem ?? Number.NaN) === other.file.filesystem,
      );
      const more = Math.floor(file.availableBytes() / sharers.length / SEGMENT_SIZE);
      return { slotCount: Math.min(slotCount, slotCount - freeSlots + unpunchedCount + more), diskClass };
    });
  }

  #segmentsOn(disk: Disk): number {
    let count = 0;
    this.#options.table.visit((segment) => {
      if (!on(segment, disk)) return;
      // A lost disk counts only for what nobody else has.
      if (disk.online || !segment.places.some((place) => place.disk.online)) count++;
    });
    return count;
  }
}

/** Free slots that still have their space need none of the file system below. */
function freeBytesOf({ freeSlots, unpunchedCount, file }: Disk): number {
  return Math.min(freeSlots * SEGMENT_SIZE, file.availableBytes() + unpunchedCount * SEGMENT_SIZE);
}

function stateOf(disk: Disk): DiskUsage["state"] {
  if (disk.missing) return "missing";
  if (disk.failed) return "failed";
  if (disk.detached) return "detached";
  return disk.draining ? "draining" : "online";
}

function on(segment: Segment, disk: Disk): boolean {
  return segment.disks.includes(disk);
}
