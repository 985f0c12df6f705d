// Gives segments the copies they shall have: on disks that are there, away from disks that are drained.
//
//   a few segments: copied (verified) ─► disks synced ─► new header cells ─► disks synced ─► old cells cleared
//
// A segment keeps its number, so that no map changes. The cells carry a revision: after a crash in between the newer
// places hold, and what was half done is free. Invariant: until the new cells are on the medium the old places stay.
// Thread: the pool's worker. Hot: no (one segment per step).
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { EAGAIN } from "../errors.js";
import { BLOCK_SIZE, RESERVE_SEGMENTS } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { INDEX_SIZE, SEGMENT_SIZE } from "../log/format.js";
import type { SpaceGate } from "../log/log-writer.js";
import { readIndex } from "../log/recovery.js";
import type { Place, Segment, SegmentTable } from "../log/segment-table.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Relocation } from "./balance.js";
import { find, type Job, type JobProgress, newProgress } from "./job.js";
import { isWanted } from "./payload-places.js";

const BATCH = 16;
/** How often room for one segment is waited for, each time until no more is being made. */
const WAITS_MAX = 3;

export interface MoverOptions {
  readonly table: SegmentTable;
  readonly reader: MapReader;
  readonly gate: SpaceGate;
  /** Syncs the pool beside other work. */
  readonly syncAside: (onSynced: () => void) => void;
}

interface Move {
  readonly segment: Segment;
  readonly places: readonly Place[];
  readonly added: readonly Place[];
}

export class MoveJob implements Job {
  readonly kind: string;
  readonly subject: string;
  readonly progress: JobProgress = newProgress();
  readonly #options: MoverOptions;
  readonly #wanted: (segment: Segment) => boolean;
  #scratch: DataBuffer | undefined;
  #queue: Segment[] | undefined;
  #batch: Move[] = [];
  #phase: "copy" | "syncing" | "cells" | "syncing cells" | "apply" = "copy";
  #cancelled = false;

  /** `wanted` says which segments are not where they should be. */
  constructor(kind: string, subject: string, options: MoverOptions, wanted: (segment: Segment) => boolean) {
    this.kind = kind;
    this.subject = subject;
    this.#options = options;
    this.#wanted = wanted;
  }

  step(): "more" | "wait" | "done" {
    switch (this.#phase) {
      case "copy":
        return this.#copyNext();
      case "cells":
        this.#writeCells();
        return this.#sync("syncing cells", "apply");
      case "apply":
        this.#apply();
        this.#phase = "copy";
        return "more";
      default:
        return "wait";
    }
  }

  /** What was not written into cells yet is undone; what was is carried to its end. */
  cancel(): void {
    this.#cancelled = true;
    if (this.#phase === "syncing cells") return;
    for (const move of this.#batch) this.#undo(move);
    this.#batch = [];
  }

  get holding(): boolean {
    return this.#batch.length > 0;
  }

  get #buffer(): DataBuffer {
    this.#scratch ??= new DataBuffer(SEGMENT_SIZE);
    return this.#scratch;
  }

  #copyNext(): "more" | "wait" | "done" {
    this.#queue ??= this.#findAll();
    const segment = this.#queue.pop();
    if (segment !== undefined && this.#isWorth(segment)) {
      if (this.#copy(segment) !== EAGAIN) this.#waits = 0;
      else if (this.holding || ++this.#waits < WAITS_MAX) {
        this.#queue.push(segment);
        // What was moved frees where it was; and the cleaner frees more.
        return this.holding ? this.#sync("syncing", "cells") : "wait";
      }
    }
    if (this.#batch.length >= BATCH || (segment === undefined && this.#batch.length > 0)) {
      return this.#sync("syncing", "cells");
    }
    if (segment !== undefined) return "more";
    // What was written meanwhile counts, too; what could not be moved is not tried for ever.
    const left = this.#count();
    if (left > 0 && left < this.#leftBefore) {
      this.#leftBefore = left;
      this.#queue = undefined;
      return "more";
    }
    if (left > 0) find(this.progress, `${left} segments stay: there is no room or no disk for them`);
    return "done";
  }

  #leftBefore = Number.POSITIVE_INFINITY;
  #waits = 0;

  #isWorth(segment: Segment): boolean {
    return this.#options.table.at(segment.index) === segment && segment.sealed && this.#wanted(segment);
  }

  #findAll(): Segment[] {
    const found: Segment[] = [];
    this.#options.table.visit((segment) => {
      if (segment.sealed && !segment.moving && this.#wanted(segment)) found.push(segment);
    });
    this.progress.totalBytes = this.progress.doneBytes + found.length * SEGMENT_SIZE;
    return found.reverse();
  }

  #count(): number {
    let count = 0;
    this.#options.table.visit((segment) => {
      if (this.#wanted(segment)) count++;
    });
    return count;
  }

  /** The disks that get a copy, beside those that keep theirs. */
  protected choose(segment: Segment, kept: Place[]): Disk[] {
    kept.push(
      ...segment.places
        .filter(({ disk }) => disk.open && disk.isOfClass(segment.diskClass))
        .slice(0, segment.copies),
    );
    const chosen: Disk[] = [];
    while (kept.length + chosen.length < segment.copies) {
      const disk = this.#roomiest([...kept.map((place) => place.disk), ...chosen], segment.diskClass);
      if (disk === undefined) break;
      chosen.push(disk);
    }
    return chosen;
  }

  /** Whether slots on `disks` can be had: OK, EAGAIN while room is made, or ENOSPC. What writers need stays. */
  protected admit({ copies, diskClass }: Segment, disks: readonly Disk[]): number {
    const { table, gate } = this.#options;
    const after = table.freeCount(copies, diskClass, disks);
    if (after >= RESERVE_SEGMENTS || after === table.freeCount(copies, diskClass)) return 0;
    return gate.admit(1, copies, RESERVE_SEGMENTS, diskClass);
  }

  /** Copies, or undoes what cannot be; EAGAIN: nothing was done, room is being made. */
  #copy(segment: Segment): number {
    const kept: Place[] = [];
    const chosen = this.choose(segment, kept);
    const refused = chosen.length === 0 ? 0 : this.admit(segment, chosen);
    if (refused === EAGAIN) return refused;
    const added = refused === 0 ? chosen.map((disk) => ({ disk, slot: disk.takeSlot() })) : [];
    const draining = segment.places.filter(({ disk }) => disk.online && !disk.open);
    // Better a copy on a disk that is to go than one copy less.
    const missing = Math.max(0, segment.copies - kept.length - added.length);
    const places = [...kept, ...added, ...draining.slice(0, missing)];
    const move: Move = { segment, places, added };
    const useful =
      added.length > 0 || places.length < segment.places.filter(({ disk }) => disk.online).length;
    if (places.length === 0 || !useful || !this.#fill(segment, added)) {
      this.#undo(move);
      return 0;
    }
    segment.moving = true;
    this.#batch.push(move);
    return 0;
  }

  #roomiest(without: readonly Disk[], diskClass: string): Disk | undefined {
    return this.#options.table.disks
      .filter((disk) => disk.open && disk.isOfClass(diskClass) && disk.freeSlots > 0)
      .filter((disk) => !without.includes(disk))
      .sort((a, b) => b.freeSlots / b.slotCount - a.freeSlots / a.slotCount)[0];
  }

  /** Puts the segment's content, checked and made whole from all copies, into new places. */
  #fill(segment: Segment, added: readonly Place[]): boolean {
    if (added.length === 0) return true;
    const buffer = this.#buffer;
    const { records, index } = readIndex(segment);
    const source = segment.places.find(({ disk }) => disk.online);
    if (source === undefined) return false;
    buffer.bytes.fill(0);
    source.disk.read(source.slot, buffer, 0, SEGMENT_SIZE, 0);
    buffer.bytes.set(index.bytes, 0);
    let end = INDEX_SIZE;
    for (const record of records) {
      const { dataBlock, checksums } = record;
      end = Math.max(end, (dataBlock + checksums.length) * BLOCK_SIZE);
      for (let i = 0; i < checksums.length; i++) {
        const at = (dataBlock + i) * BLOCK_SIZE;
        const sum = checksums[i] as number;
        if (bufferChecksum(buffer, at, BLOCK_SIZE) === sum) continue;
        // What no map names may still have to be replayed.
        const wanted = isWanted(this.#options.table, segment, record, i);
        if (this.#options.reader.repair(segment, at, sum, buffer, at, wanted)) this.progress.repairedBlocks++;
        else if (wanted) this.progress.lostBlocks++;
      }
    }
    return added.every(({ disk, slot }) => {
      const result = disk.write(slot, buffer, 0, end, 0);
      if (result !== 0) find(this.progress, `${disk.file.path} took no copy (errno ${result})`);
      return result === 0;
    });
  }

  #sync(phase: "syncing" | "syncing cells", then: "cells" | "apply"): "more" | "wait" {
    this.#phase = phase;
    this.#options.syncAside(() => {
      this.#phase = then;
      if (this.#cancelled && then === "apply") this.#apply();
    });
    return (this.#phase as string) === then ? "more" : "wait";
  }

  #writeCells(): void {
    this.#batch = this.#batch.filter((move) => {
      const { segment, places, added } = move;
      if (!added.every(({ disk }) => disk.online)) {
        this.#undo(move);
        return false;
      }
      const header = segment.header(places, segment.revision + 1);
      if (places.every(({ disk, slot }) => disk.writeCell(slot, header) === 0 || !disk.online)) return true;
      find(this.progress, `a header cell of segment ${segment.index} could not be written`);
      // Some may have been: newer ones still say that the segment stays where it was.
      segment.revision += 2;
      const old = segment.header(segment.places, segment.revision);
      for (const { disk, slot } of segment.places) if (disk.online) disk.writeCell(slot, old);
      this.#undo(move);
      return false;
    });
  }

  #apply(): void {
    for (const move of this.#batch) {
      const { segment, places } = move;
      segment.moving = false;
      // A disk that failed meanwhile may not have the cell; the other places do.
      const good = places.filter(({ disk }) => disk.online);
      if (good.length === 0) continue;
      const gone = segment.places.filter(({ disk }) => !places.some((place) => place.disk === disk));
      segment.disks = good.map(({ disk }) => disk);
      segment.slots = good.map(({ slot }) => slot);
      segment.revision++;
      for (const { disk, slot } of gone) if (disk.online) disk.freeSlot(slot);
      this.progress.doneBytes += SEGMENT_SIZE;
    }
    this.#batch = [];
  }

  #undo({ segment, added }: Move): void {
    segment.moving = false;
    for (const { disk, slot } of added) disk.freeSlot(slot);
  }
}

/** Moves copies to where free slots are (balance.ts); what writers need may be used, for they get it back. */
export class BalanceJob extends MoveJob {
  readonly #plan: ReadonlyMap<Segment, Relocation>;

  constructor(subject: string, options: MoverOptions, plan: ReadonlyMap<Segment, Relocation>) {
    super("balance", subject, options, (segment) => {
      const from = plan.get(segment)?.from;
      return from !== undefined && segment.disks.includes(from);
    });
    this.#plan = plan;
  }

  protected override choose(segment: Segment, kept: Place[]): Disk[] {
    const { from, to } = this.#plan.get(segment) as Relocation;
    const possible = to.open && to.freeSlots > 0 && !segment.disks.includes(to);
    kept.push(...segment.places.filter(({ disk }) => disk !== from || !possible));
    return possible ? [to] : [];
  }

  protected override admit(): number {
    return 0;
  }
}

/** Whether a copy of the segment is on a disk that is to be emptied. */
export function isOnDraining(segment: Segment): boolean {
  return segment.disks.some((disk) => disk.draining && disk.online);
}

/** Whether the segment has fewer copies than it shall and than disks allow, or more. */
export function isDegraded(segment: Segment, table: SegmentTable): boolean {
  const held = segment.disks.filter((disk) => disk.online).length;
  // A move that a crash ended may have left one copy too many.
  if (held > segment.copies) return true;
  if (held === 0 || held === segment.copies) return false;
  return held < table.disks.filter((disk) => disk.open && disk.isOfClass(segment.diskClass)).length;
}
