// Scrubbing: reads every copy of every segment, checks each record and each block that is alive, and puts bad copies
// right from good ones; then the maps of all volumes, if that is asked for (MapScrub). What has no good copy left is named, by
// its place and in the volumes that have it.
// May be held to a rate, and begin where an earlier one was.
// Thread: the pool's worker. Hot: no (one copy per step).
import { DataBuffer } from "../disk/data-buffer.js";
import type { Disk } from "../disk/disk.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import { SEGMENT_SIZE } from "../log/format.js";
import { type LogRecord, parseRecord } from "../log/record-reader.js";
import { readIndex } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { MapReader } from "../volume/map-reader.js";
import type { Volume } from "../volume/volume.js";
import { find, type Job, type JobProgress, newProgress } from "./job.js";
import { LostSearch } from "./lost-search.js";
import type { MapScrub } from "./map-scrub.js";
import { isWanted, visitLocations } from "./payload-places.js";

export interface ScrubOptions {
  /** Which segments are looked at; all when absent. */
  readonly wanted?: (segment: Segment) => boolean;
  /** Disks of which nothing is left unseen when it ends. */
  readonly whole?: readonly Disk[];
  /** Called when all were looked at. */
  readonly onDone?: () => void;
  /** Read each second at most; 0 or absent: no limit. */
  readonly bytesPerSecond?: number;
  /** Everything else goes first. */
  readonly yields?: boolean;
  /** What is looked at after the segments. */
  readonly maps?: (progress: JobProgress) => MapScrub;
}

/** A rate is kept on the average of so long a time. */
const RATE_SPAN_MS = 1000;

export class ScrubJob implements Job {
  readonly kind: string;
  readonly subject: string;
  readonly progress: JobProgress = newProgress();
  readonly #table: SegmentTable;
  readonly #reader: MapReader;
  readonly #onDone: (() => void) | undefined;
  #whole: readonly Disk[];
  /** Cells of free slots are looked at: the disk among #whole, and the next slot. */
  #tidied = 0;
  #nextCell = 0;
  #begun = false;
  readonly yields: boolean;
  #bytesPerSecond: number;
  #notBeforeMs = 0;
  #scratch: DataBuffer | undefined;
  readonly #queue: Segment[] = [];
  #copy = 0;
  #maps: MapScrub | undefined;
  readonly #lost: LostSearch;

  constructor(
    kind: string,
    subject: string,
    modules: {
      readonly table: SegmentTable;
      readonly reader: MapReader;
      readonly volumes: ReadonlyMap<number, Volume>;
    },
    { wanted = () => true, whole = [], onDone, bytesPerSecond = 0, yields = false, maps }: ScrubOptions = {},
  ) {
    this.kind = kind;
    this.subject = subject;
    this.#table = modules.table;
    this.#reader = modules.reader;
    this.#lost = new LostSearch({ ...modules, onLost: (map, block) => modules.reader.onLost?.(map, block) });
    this.#onDone = onDone;
    this.#whole = whole;
    this.#bytesPerSecond = bytesPerSecond;
    this.yields = yields;
    modules.table.visit((segment) => {
      if (segment.disks.length > 0 && wanted(segment)) this.#queue.push(segment);
    });
    for (const segment of this.#queue) this.progress.totalBytes += segment.disks.length * SEGMENT_SIZE;
    this.#queue.reverse();
    this.#maps = maps?.(this.progress);
    this.progress.totalBytes += this.#maps?.totalBytes ?? 0;
  }

  join(other: Job): void {
    if (other instanceof ScrubJob) this.#bytesPerSecond = other.#bytesPerSecond;
    this.#notBeforeMs = 0;
  }

  step(nowMs: number): "more" | "wait" | "done" {
    if (this.#bytesPerSecond > 0 && nowMs < this.#notBeforeMs) return "wait";
    if (!this.#begun) for (const { faults } of this.#whole) faults.beginLook();
    this.#begun = true;
    const segment = this.#queue.at(-1);
    if (segment === undefined) {
      const bytes = this.#maps?.step();
      if (bytes !== undefined) {
        this.progress.doneBytes += bytes;
        this.#pace(nowMs, bytes);
        return "more";
      }
      if (this.#lost.step()) return "more";
      if (this.#tidy()) return "more";
      for (const disk of this.#whole) if (disk.online) disk.endLook();
      this.#onDone?.();
      return "done";
    }
    this.progress.nextSegment = segment.index;
    // One that is written to is whole, too, between requests: records are there once their blocks are.
    const gone = this.#table.at(segment.index) !== segment;
    if (!gone && this.#copy < segment.disks.length) {
      this.#check(segment, this.#copy);
      this.#pace(nowMs, SEGMENT_SIZE);
    }
    this.#copy++;
    this.progress.doneBytes += SEGMENT_SIZE;
    if (gone || this.#copy >= segment.disks.length) {
      this.progress.doneBytes += Math.max(0, segment.disks.length - this.#copy) * SEGMENT_SIZE;
      this.#queue.pop();
      this.#copy = 0;
    }
    return "more";
  }

  cancel(): void {
    this.#queue.length = 0;
    this.#whole = [];
    this.#maps = undefined;
  }

  /** So much was read: more when the rate allows it. */
  #pace(nowMs: number, bytes: number): void {
    if (this.#bytesPerSecond === 0) return;
    const fromMs = Math.max(this.#notBeforeMs, nowMs - RATE_SPAN_MS);
    this.#notBeforeMs = fromMs + (bytes / this.#bytesPerSecond) * 1000;
  }

  get #buffer(): DataBuffer {
    this.#scratch ??= new DataBuffer(SEGMENT_SIZE);
    return this.#scratch;
  }

  #check(segment: Segment, copy: number): void {
    const disk = segment.disks[copy] as Segment["disks"][number];
    const slot = segment.slots[copy] as number;
    if (!disk.online) return;
    const buffer = this.#buffer;
    if (!segment.moving) this.#checkCell(segment, disk, slot);
    const { records, index } = readIndex(segment);
    const failed = disk.read(slot, buffer, 0, SEGMENT_SIZE, 0) !== 0;
    if (failed) buffer.bytes.fill(0);
    for (const record of records) {
      const { at } = record;
      if (!failed && parseRecord(buffer.bytes, at, segment.serial)?.sequence !== record.sequence) {
        if (disk.write(slot, index, at, record.size, at) === 0) this.#mended(disk, slot, at);
      }
      for (let i = 0; i < record.checksums.length; i++) {
        const block = record.dataBlock + i;
        const sum = record.checksums[i] as number;
        if (bufferChecksum(buffer, block * BLOCK_SIZE, BLOCK_SIZE) === sum) continue;
        // What no map names may still have to be replayed.
        this.#repair(segment, record, i, disk.file.path, isWanted(this.#table, segment, record, i));
      }
    }
  }

  /** Some cells of free slots, which the next opening would take for segments; false when all were looked at. */
  #tidy(): boolean {
    const disk = this.#whole[this.#tidied];
    if (disk === undefined) return false;
    this.#nextCell = disk.online
      ? disk.clearStrayCells(this.#nextCell, (slot) => this.#mended(disk, slot, 0))
      : -1;
    if (this.#nextCell >= 0) return true;
    this.#nextCell = 0;
    this.#tidied++;
    return true;
  }

  /** What the next opening would find the segment by. */
  #checkCell(segment: Segment, disk: Disk, slot: number): void {
    const found = disk.readCell(slot);
    if (found !== "unreadable" && found?.serial === segment.serial) return;
    if (disk.writeCell(slot, segment.header(segment.places, segment.revision)) === 0)
      this.#mended(disk, slot, 0);
  }

  #mended(disk: Disk, slot: number, offset: number): void {
    this.progress.repairedBlocks++;
    disk.faults.note(slot, Math.floor(offset / BLOCK_SIZE), true);
  }

  #repair(segment: Segment, record: LogRecord, i: number, path: string, wanted: boolean): void {
    const block = record.dataBlock + i;
    const offset = block * BLOCK_SIZE;
    if (this.#reader.repair(segment, offset, record.sum(i), this.#buffer, offset, wanted)) {
      this.progress.repairedBlocks++;
      return;
    }
    if (!wanted) return;
    this.progress.lostBlocks++;
    visitLocations(segment, record, i, (location) => this.#lost.add(location));
    find(this.progress, `block ${block} of segment ${segment.index} has no good copy (looked at ${path})`);
  }
}
