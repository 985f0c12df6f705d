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
  DATA_BLOCKS,
  FORMAT_VERSION,
  PACKED_NUMBER_MIN,
  SEGMENT_BLOCKS,
  SEGMENT_INDEX_MAX,
  SEGMENT_LOG,
  SEGMENT_PACKED,
  SEGMENT_SIZE,
  type SegmentHeader,
} from "./format.js";

export class Segment {
  /** Changes only while a pool is opened. */
  index: number;
  /** All numbers that locations name it by: `index`, and further ones of a packed segment. */
  numbers: readonly number[];
  /** Blocks that were packed into it; 0 for others. */
  readonly storedBlocks: number;
  /** Where its groups lie, once somebody read one (packed-reader.ts). */
  groups: Uint32Array | undefined = undefined;
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
    this.numbers = header.kind === SEGMENT_PACKED ? header.numbers : [header.index];
    this.storedBlocks = header.storedBlocks;
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

  get isPacked(): boolean {
    return this.kind === SEGMENT_PACKED;
  }

  /** Blocks that can be named in it, at most. */
  get capacityBlocks(): number {
    return this.isPacked ? this.storedBlocks : DATA_BLOCKS;
  }

  /** What its cells say when it stands at `places`. */
  header(places: readonly Place[], revision: number): SegmentHeader {
    const { serial, index, kind, volume, epoch, firstSequence, copies, diskClass, storedBlocks } = this;
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
      numbers: this.isPacked ? [...this.numbers] : [], // cold
      storedBlocks,
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
   * Every number from here on is one of a packed segment, or none; so is that of LOCATION_LOST. Falls as packed ones are
   * made: a reader tells by one comparison what it cannot just read.
   */
  packedFrom = SEGMENT_INDEX_MAX + 1;
  /** By how far their numbers are below the highest; each stands at all of its numbers. */
  readonly #packed: (Segment | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  /**
   * Pages that name a block, by location, which is segment index × 1024 + block. Not in the segments: a map page is copied
   * with 512 locations all over the pool, and a count that was not 0 needs no look at its segment.
   */
  readonly #counts = new Array<Uint16Array | undefined>(
    Math.ceil((SEGMENT_INDEX_MAX + 1) / COUNTED_SEGMENTS),
  ).fill(undefined);
  #nextSerial = 1;
  usedCount = 0;
  /** Blocks of all segments that something counted names. */
  liveBlocks = 0;
  /** Of these, what packed segments hold beyond what their slots would hold otherwise: what packing has won. */
  packedGain = 0;
  /** Pages of maps in memory. */
  readonly pages = new PageCache(this);
  /** Segments up to this serial were there when the pool was opened. */
  #oldSerial = 0;

  constructor(disks: readonly Disk[]) {
    this.disks = [...disks]; // cold
  }

  /** Segment by any of its numbers; undefined when there is none. */
  at(index: number): Segment | undefined {
    return index < this.packedFrom ? this.#segments[index] : this.#packed[SEGMENT_INDEX_MAX - index];
  }

  /** The segment of a location that is known to be counted, and not to be in a packed one. */
  of(location: number): Segment {
    return this.#segments[location >>> 10] as Segment;
  }

  /** The segment of any location that is known to be counted. */
  holder(location: number): Segment {
    return this.at(location >>> 10) as Segment;
  }

  /** The location is in a packed segment, or it is LOCATION_LOST. */
  isPackedOrLost(location: number): boolean {
    return location >>> 10 >= this.packedFrom;
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
      if (++this.holder(location).liveBlocks > DATA_BLOCKS) this.packedGain++;
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
      if (this.holder(location).liveBlocks-- > DATA_BLOCKS) this.packedGain--;
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
    const found = this.#findDisks(copies, diskClass);
    if (typeof found === "number") return found;
    const index = this.#freeIndexes.pop() ?? this.#segments.length;
    if (index >= this.packedFrom) return 28;
    const made = this.#make({ kind, volume, epoch, firstSequence, copies, diskClass, index }, found);
    return made ?? this.allocate(kind, volume, epoch, firstSequence, copies, diskClass);
  }

  /** The same for a packed segment of `storedBlocks` blocks that needs `count` numbers. */
  allocatePacked(
    volume: number,
    count: number,
    storedBlocks: number,
    copies: number,
    diskClass: string,
  ): Segment | number {
    const found = this.#findDisks(copies, diskClass);
    if (typeof found === "number") return found;
    const numbers: number[] = [];
    while (numbers.length < count) {
      const number = this.#freeNumbers.pop() ?? this.packedFrom - 1;
      if (number < Math.max(PACKED_NUMBER_MIN, this.#segments.length)) break;
      this.packedFrom = Math.min(this.packedFrom, number);
      numbers.push(number);
    }
    if (numbers.length < count) {
      this.#freeNumbers.push(...numbers);
      return 28;
    }
    const what = { kind: SEGMENT_PACKED, volume, epoch: 0, firstSequence: 0, copies, diskClass };
    const index = numbers[0] as number;
    const made = this.#make({ ...what, index, numbers, storedBlocks }, found);
    return made ?? this.allocatePacked(volume, count, storedBlocks, copies, diskClass);
  }

  /** Disks for a new segment: the emptiest first; or an errno. */
  #findDisks(copies: number, diskClass: string): Disk[] | number {
    const open = this.disks.filter((disk) => disk.open && disk.isOfClass(diskClass));
    if (open.length === 0) return 5;
    const wanted = Math.min(copies, open.length);
    const disks = open
      .filter((disk) => disk.freeSlots > 0)
      .sort((a, b) => b.freeSlots / b.slotCount - a.freeSlots / a.slotCount || a.index - b.index)
      .slice(0, wanted);
    return disks.length < wanted ? 28 : disks;
  }

  /** Undefined: a disk failed, and others are to be found. */
  #make(what: NewSegment, disks: readonly Disk[]): Segment | number | undefined {
    const slots = disks.map((disk) => disk.takeSlot());
    const header: SegmentHeader = {
      formatVersion: FORMAT_VERSION,
      serial: this.#nextSerial++,
      places: disks.flatMap((disk, i) => [disk.index, slots[i] as number]),
      revision: 0,
      numbers: [],
      storedBlocks: 0,
      ...what,
    };
    const segment = new Segment(header, disks, slots);
    for (let i = 0; i < disks.length; i++) {
      const disk = disks[i] as Disk;
      const result = disk.writeCell(slots[i] as number, header);
      if (result === 0) continue;
      if (disks.length > 1 && result !== 28) disk.failed = true;
      this.#giveBack(segment);
      return disk.failed ? undefined : result;
    }
    this.#put(segment);
    return segment;
  }

  /** Forgets a segment without references and gives its space back. */
  free(segment: Segment): void {
    assert(segment.liveBlocks === 0, "a segment with live blocks is never freed");
    for (const number of segment.numbers) this.#store(number, undefined); // cold: 1 per segment
    this.usedCount--;
    this.#giveBack(segment);
  }

  #giveBack(segment: Segment): void {
    for (const [i, disk] of segment.disks.entries()) disk.freeSlot(segment.slots[i] as number); // cold: 1 per segment
    const free = segment.index < this.packedFrom ? this.#freeIndexes : this.#freeNumbers;
    for (const number of segment.numbers) free.push(number); // cold: 1 per segment
  }

  #put(segment: Segment): void {
    this.usedCount++;
    for (let i = 0; i < segment.numbers.length; i++) {
      const number = segment.numbers[i] as number;
      this.#store(number, segment);
      this.#counts[Math.floor(number / COUNTED_SEGMENTS)] ??= new Uint16Array(COUNTED_BLOCKS);
    }
  }

  #store(number: number, segment: Segment | undefined): void {
    if (number < this.packedFrom) this.#segments[number] = segment;
    else this.#packed[SEGMENT_INDEX_MAX - number] = segment;
  }

  /** Takes over what was found on the disks at start. Every segment is sealed: writing goes on in a new one. */
  adopt(segments: readonly Segment[]): void {
    this.packedFrom = packedFromOf(segments);
    for (let n = 0; n < segments.length; n++) {
      const segment = segments[n] as Segment;
      const isNew = segment.numbers.every((number) => this.at(number) === undefined);
      assert(isNew, "segment numbers are unique");
      this.#put(segment);
      segment.sealed = true;
      for (const [i, disk] of segment.disks.entries()) disk.markUsed(segment.slots[i] as number); // cold
    }
    for (let i = 1; i < this.#segments.length; i++) {
      if (this.#segments[i] === undefined) this.#freeIndexes.push(i);
    }
    for (let number = SEGMENT_INDEX_MAX; number >= this.packedFrom; number--) {
      if (this.at(number) === undefined) this.#freeNumbers.push(number);
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
    this.visitPacked(visit);
  }

  /** The same for packed ones only. */
  visitPacked(visit: (segment: Segment) => void): void {
    for (let i = this.#packed.length - 1; i >= 0; i--) {
      const segment = this.#packed[i];
      if (segment !== undefined && segment.index === SEGMENT_INDEX_MAX - i) visit(segment);
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
      if (segment.sealed) dead += Math.max(0, SEGMENT_BLOCKS - segment.liveBlocks);
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

/** What is said of a segment that is made. */
type NewSegment = Pick<
  SegmentHeader,
  "kind" | "volume" | "epoch" | "firstSequence" | "copies" | "diskClass" | "index"
> &
  Partial<Pick<SegmentHeader, "numbers" | "storedBlocks">>;

/**
 * The lowest number of a packed segment. Of one that no disk has any more maps tell the numbers only: those behind
 * everything that is there, where such numbers are, are its.
 */
function packedFromOf(segments: readonly Segment[]): number {
  let highest = 0;
  for (let i = 0; i < segments.length; i++) {
    const { isPacked, disks, index } = segments[i] as Segment;
    if (!isPacked && disks.length > 0) highest = Math.max(highest, index);
  }
  let lowest = SEGMENT_INDEX_MAX + 1;
  for (let i = 0; i < segments.length; i++) {
    const { isPacked, numbers, index } = segments[i] as Segment;
    const isLost = index > highest && index >= PACKED_NUMBER_MIN;
    if (isPacked || isLost) lowest = numbers.reduce((least, number) => Math.min(least, number), lowest);
  }
  return lowest;
}
