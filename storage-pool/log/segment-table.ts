// All segments of a pool: where their copies stand, which blocks are still referenced, and which can be freed.
//
//   open ──seal──► sealed ──every block unreferenced, every record below the checkpoint──► free (cell cleared, punched)
//
// A block's reference count is the number of distinct map pages that name it and were counted, or fewer but not 0 while copies
// of pages are linked with their originals (page-cache.ts). Invariant:
// `liveBlocks` equals the number of blocks with a count above zero; a location names a segment in the table for as long as
// a page has it.
// Thread: the pool's worker. Hot: yes (reference, release).
import { assert } from "../../base/assert/index.js";
import type { Disk } from "../disk/disk.js";
import { PageCache } from "../volume/page-cache.js";
import {
  FORMAT_VERSION,
  SEGMENT_BLOCKS,
  SEGMENT_INDEX_MAX,
  SEGMENT_LOG,
  SEGMENT_SIZE,
  type SegmentHeader,
} from "./format.js";

export class Segment {
  /** Changes only while a pool is opened. */
  index: number;
  readonly serial: number;
  readonly kind: number;
  readonly volume: number;
  readonly epoch: number;
  readonly firstSequence: number;
  /** Disks and slots of the copies, in the same order. */
  disks: readonly Disk[];
  slots: readonly number[];
  /** Copies that there shall be. */
  readonly copies: number;
  /** Class of disks that its copies are kept on; "" when any will do. */
  readonly diskClass: string;
  /** Disk index and slot of each copy as the header cell that was found named them, in pairs. */
  readonly namedPlaces: readonly number[];
  /** Of the header cells; rises when copies move. */
  revision: number;
  liveBlocks = 0;
  /** Sequence of the last record; 0 while there is none. */
  lastSequence = 0;
  sealed = false;
  /** The cleaner moved everything away; what is left waits for the next checkpoint. */
  evacuated = false;
  /** A copy is being made somewhere else: the segment is not freed and not cleaned meanwhile. */
  moving = false;
  /** Rewinding needs its records and all its payload, dead or not: it is not freed and not cleaned. */
  pinned = false;
  /** Its header cells were damaged and are to be written anew. */
  revived = false;

  constructor(header: SegmentHeader, disks: readonly Disk[], slots: readonly number[]) {
    this.index = header.index;
    this.serial = header.serial;
    this.kind = header.kind;
    this.volume = header.volume;
    this.epoch = header.epoch;
    this.firstSequence = header.firstSequence;
    // Version 1 did not say how many copies there shall be.
    this.copies = header.copies === 0 ? header.places.length >>> 1 : header.copies;
    this.diskClass = header.diskClass;
    this.revision = header.revision;
    this.namedPlaces = header.places;
    this.disks = disks;
    this.slots = slots;
  }

  /** A copy can be read somewhere, as far as is known. */
  get readable(): boolean {
    for (let i = 0; i < this.disks.length; i++) if ((this.disks[i] as Disk).online) return true;
    return false;
  }

  /** What its cells say when it stands at `places`. */
  header(places: readonly Place[], revision: number): SegmentHeader {
    const { serial, index, kind, volume, epoch, firstSequence, copies, diskClass } = this;
    const pairs = places.flatMap(({ disk, slot }) => [disk.index, slot]);
    return {
      formatVersion: FORMAT_VERSION,
      serial,
      index,
      kind,
      volume,
      epoch,
      firstSequence,
      places: pairs,
      revision,
      copies,
      diskClass,
    };
  }

  /** Where the copies are. */
  get places(): Place[] {
    return this.disks.map((disk, i) => ({ disk, slot: this.slots[i] as number })); // cold
  }
}

/** Where one copy of a segment stands. */
export interface Place {
  readonly disk: Disk;
  readonly slot: number;
}

const NONE: readonly Disk[] = [];
/** Reference counts stand in runs for so many segments each: 2 MiB, which the system gives as it is used. */
const COUNTED_SEGMENTS = 1024;
const COUNTED_BLOCKS = COUNTED_SEGMENTS * SEGMENT_BLOCKS;

export class SegmentTable {
  readonly disks: Disk[];
  /** By index; index 0 stays empty, so that location 0 can mean "nothing". */
  readonly #segments: (Segment | undefined)[] = [undefined];
  readonly #freeIndexes: number[] = [];
  /**
   * Pages that name a block, by location, which is segment index × 1024 + block. Not in the segments: a map page is copied
   * with 512 locations all over the pool, and a count that was not 0 needs no look at its segment.
   */
  readonly #counts: Uint16Array[] = [];
  #nextSerial = 1;
  usedCount = 0;
  /** Blocks of all segments that something counted names. */
  liveBlocks = 0;
  /** Pages of maps in memory. */
  readonly pages = new PageCache(this);
  /** Segments up to this serial were there when the pool was opened. */
  #oldSerial = 0;

  constructor(disks: readonly Disk[]) {
    this.disks = [...disks]; // cold
  }

  /** Segment by index; undefined when there is none. */
  at(index: number): Segment | undefined {
    return this.#segments[index];
  }

  /** The segment of a location that is known to be counted. */
  of(location: number): Segment {
    return this.#segments[location >>> 10] as Segment;
  }

  /** Blocks that are named, at most. */
  get liveBlocksMost(): number {
    return this.liveBlocks + this.pages.uncountedBlocks;
  }

  /** The pages of all maps are counted. */
  get isCounted(): boolean {
    return this.pages.uncountedCount === 0;
  }

  /** Whether all that is named in the segment is counted: of what was there at the opening that is not known at once. */
  isKnown(segment: Segment): boolean {
    return segment.serial > this.#oldSerial || (this.isCounted && this.pages.lostCount === 0);
  }

  /** Counts one more page that names `location`. */
  reference(location: number): void {
    const counts = this.#counts[location >>> 20] as Uint16Array;
    const at = location & (COUNTED_BLOCKS - 1);
    const count = counts[at] as number;
    if (count === 0) {
      this.of(location).liveBlocks++;
      this.liveBlocks++;
    }
    counts[at] = count + 1;
  }

  /** Counts one page less. */
  release(location: number): void {
    const counts = this.#counts[location >>> 20] as Uint16Array;
    const at = location & (COUNTED_BLOCKS - 1);
    const count = (counts[at] as number) - 1;
    counts[at] = count;
    if (count === 0) {
      this.of(location).liveBlocks--;
      this.liveBlocks--;
    }
  }

  /** By how many pages it is named: exactly so after PageCache.settle, before that at least whether it is named. */
  countOf(location: number): number {
    return (this.#counts[location >>> 20] as Uint16Array)[location & (COUNTED_BLOCKS - 1)] as number;
  }

  /**
   * How many more segments with `copies` copies on distinct disks of a class can be made, after one more slot was taken on
   * each of `taken`; fewer copies where disks are away.
   */
  freeCount(copies: number, diskClass = "", taken: readonly Disk[] = NONE): number {
    let total = 0;
    let largest = 0;
    let count = 0;
    for (let i = 0; i < this.disks.length; i++) {
      const disk = this.disks[i] as Disk;
      if (!disk.open || !disk.isOfClass(diskClass)) continue;
      count++;
      const free = taken.includes(disk) ? disk.freeSlots - 1 : disk.freeSlots;
      total += free;
      largest = Math.max(largest, free);
    }
    if (copies === 1 || count < 2) return total;
    return Math.min(Math.floor(total / 2), total - largest);
  }

  /**
   * Makes a segment on the disks of a class ("": any) with the most free space. Returns it, or a positive errno: 28 when no slot is free, 5
   * when there is no disk. With fewer disks at work than copies wanted it has fewer, which a rebuild puts right. Nothing
   * is left behind on failure.
   */
  allocate(
    kind: number,
    volume: number,
    epoch: number,
    firstSequence: number,
    copies: number,
    diskClass = "",
  ): Segment | number {
    const open = this.disks.filter((disk) => disk.open && disk.isOfClass(diskClass));
    if (open.length === 0) return 5;
    const wanted = Math.min(copies, open.length);
    const disks = open
      .filter((disk) => disk.freeSlots > 0)
      .sort((a, b) => b.freeSlots / b.slotCount - a.freeSlots / a.slotCount || a.index - b.index)
      .slice(0, wanted);
    if (disks.length < wanted) return 28;
    const index = this.#freeIndexes.pop() ?? this.#segments.length;
    if (index > SEGMENT_INDEX_MAX) return 28;
    const slots = disks.map((disk) => disk.takeSlot());
    const header: SegmentHeader = {
      formatVersion: FORMAT_VERSION,
      serial: this.#nextSerial++,
      index,
      kind,
      volume,
      epoch,
      firstSequence,
      places: disks.flatMap((disk, i) => [disk.index, slots[i] as number]),
      revision: 0,
      copies,
      diskClass,
    };
    const segment = new Segment(header, disks, slots);
    for (let i = 0; i < disks.length; i++) {
      const disk = disks[i] as Disk;
      const result = disk.writeCell(slots[i] as number, header);
      if (result === 0) continue;
      if (disks.length > 1 && result !== 28) disk.failed = true;
      this.#giveBack(segment);
      return disk.failed ? this.allocate(kind, volume, epoch, firstSequence, copies, diskClass) : result;
    }
    this.#put(segment);
    return segment;
  }

  /** Forgets a segment without references and gives its space back. */
  free(segment: Segment): void {
    assert(segment.liveBlocks === 0, "a segment with live blocks is never freed");
    this.#segments[segment.index] = undefined;
    this.usedCount--;
    this.#giveBack(segment);
  }

  #giveBack(segment: Segment): void {
    for (const [i, disk] of segment.disks.entries()) disk.freeSlot(segment.slots[i] as number); // cold: 1 per segment
    this.#freeIndexes.push(segment.index);
  }

  #put(segment: Segment): void {
    this.#segments[segment.index] = segment;
    this.usedCount++;
    this.#counts[Math.floor(segment.index / COUNTED_SEGMENTS)] ??= new Uint16Array(COUNTED_BLOCKS);
  }

  /** Takes over what was found on the disks at start. Every segment is sealed: writing goes on in a new one. */
  adopt(segments: readonly Segment[]): void {
    for (let n = 0; n < segments.length; n++) {
      const segment = segments[n] as Segment;
      assert(this.#segments[segment.index] === undefined, "segment indexes are unique");
      this.#put(segment);
      segment.sealed = true;
      for (const [i, disk] of segment.disks.entries()) disk.markUsed(segment.slots[i] as number); // cold
    }
    for (let i = 1; i < this.#segments.length; i++) {
      if (this.#segments[i] === undefined) this.#freeIndexes.push(i);
    }
  }

  /** Serials start above everything that was ever seen. */
  raiseSerial(serial: number): void {
    this.#nextSerial = Math.max(this.#nextSerial, serial + 1);
  }

  /** The pool is open: what is made from now on is counted as it is written. */
  opened(): void {
    this.#oldSerial = this.lastSerial;
  }

  get lastSerial(): number {
    return this.#nextSerial - 1;
  }

  /** Calls `visit` for each segment, by index. */
  visit(visit: (segment: Segment) => void): void {
    for (let i = 1; i < this.#segments.length; i++) {
      const segment = this.#segments[i];
      if (segment !== undefined) visit(segment);
    }
  }

  /** Slots of all disks, free or not. */
  get slotCount(): number {
    let total = 0;
    for (let i = 0; i < this.disks.length; i++) total += (this.disks[i] as Disk).slotCount;
    return total;
  }

  /** Space in use on all disks that are there. */
  get allocatedBytes(): number {
    const used = this.disks.reduce(
      (sum, disk) => sum + (disk.missing ? 0 : disk.slotCount - disk.freeSlots),
      0,
    );
    return used * SEGMENT_SIZE;
  }

  /** Blocks in sealed segments that nothing names: what the cleaner could win. */
  deadBlocks(): number {
    let dead = 0;
    this.visit((segment) => {
      if (segment.sealed) dead += SEGMENT_BLOCKS - segment.liveBlocks;
    });
    return dead;
  }

  /** Log segments of a volume, oldest first. */
  logOf(volume: number): Segment[] {
    const found: Segment[] = [];
    this.visit((segment) => {
      if (segment.kind === SEGMENT_LOG && segment.volume === volume) found.push(segment);
    });
    return found.sort((a, b) => a.serial - b.serial);
  }
}
