// All segments of a pool: where their copies stand, which blocks are still referenced, and which can be freed.
//
//   open ──seal──► sealed ──every block unreferenced, every record below the checkpoint──► free (cell cleared, punched)
//
// A block's reference count is the number of distinct map pages that name it. Invariant: `liveBlocks` equals the
// number of blocks with a count above zero; a location names a segment in the table for as long as it is counted.
// Thread: the pool's worker. Hot: yes (reference, release).
import { assert } from "../../base/assert/index.js";
import type { Disk } from "../disk/disk.js";
import { FORMAT_VERSION, SEGMENT_BLOCKS, SEGMENT_LOG, type SegmentHeader } from "./format.js";

export class Segment {
  readonly index: number;
  readonly serial: number;
  readonly kind: number;
  readonly volume: number;
  readonly epoch: number;
  readonly firstSequence: number;
  /** Disks and slots of the copies, in the same order. */
  readonly disks: readonly Disk[];
  readonly slots: readonly number[];
  readonly references = new Uint16Array(SEGMENT_BLOCKS);
  liveBlocks = 0;
  /** Sequence of the last record; 0 while there is none. */
  lastSequence = 0;
  sealed = false;
  /** The cleaner moved everything away; what is left waits for the next checkpoint. */
  evacuated = false;

  constructor(header: SegmentHeader, disks: readonly Disk[], slots: readonly number[]) {
    this.index = header.index;
    this.serial = header.serial;
    this.kind = header.kind;
    this.volume = header.volume;
    this.epoch = header.epoch;
    this.firstSequence = header.firstSequence;
    this.disks = disks;
    this.slots = slots;
  }
}

export class SegmentTable {
  readonly disks: readonly Disk[];
  /** By index; index 0 stays empty, so that location 0 can mean "nothing". */
  readonly #segments: (Segment | undefined)[] = [undefined];
  readonly #freeIndexes: number[] = [];
  #nextSerial = 1;
  usedCount = 0;

  constructor(disks: readonly Disk[]) {
    this.disks = disks;
  }

  /** Segment by index; undefined when there is none. */
  at(index: number): Segment | undefined {
    return this.#segments[index];
  }

  /** The segment of a location that is known to be counted. */
  of(location: number): Segment {
    return this.#segments[location >>> 10] as Segment;
  }

  /** Counts one more page that names `location`. */
  reference(location: number): void {
    const segment = this.#segments[location >>> 10] as Segment;
    const block = location & (SEGMENT_BLOCKS - 1);
    const count = segment.references[block] as number;
    if (count === 0) segment.liveBlocks++;
    segment.references[block] = count + 1;
  }

  /** Counts one page less. */
  release(location: number): void {
    const segment = this.#segments[location >>> 10] as Segment;
    const block = location & (SEGMENT_BLOCKS - 1);
    const count = (segment.references[block] as number) - 1;
    segment.references[block] = count;
    if (count === 0) segment.liveBlocks--;
  }

  countOf(location: number): number {
    return this.of(location).references[location & (SEGMENT_BLOCKS - 1)] as number;
  }

  /** How many more segments with `copies` copies on distinct disks can be made. */
  freeCount(copies: number): number {
    if (copies === 1) return this.disks.reduce((sum, disk) => sum + disk.freeSlots, 0);
    let total = 0;
    let largest = 0;
    for (let i = 0; i < this.disks.length; i++) {
      const { freeSlots } = this.disks[i] as Disk;
      total += freeSlots;
      largest = Math.max(largest, freeSlots);
    }
    return Math.min(Math.floor(total / 2), total - largest);
  }

  /**
   * Makes a segment on the disks with the most free space. Returns it, or a positive errno: 28 when no slot is free.
   * Nothing is left behind on failure.
   */
  allocate(
    kind: number,
    volume: number,
    epoch: number,
    firstSequence: number,
    copies: number,
  ): Segment | number {
    const disks = [...this.disks]
      .filter((disk) => disk.freeSlots > 0 && !disk.failed)
      .sort((a, b) => b.freeSlots / b.slotCount - a.freeSlots / a.slotCount || a.index - b.index)
      .slice(0, copies);
    if (disks.length < copies) return 28;
    const slots = disks.map((disk) => disk.takeSlot());
    const index = this.#freeIndexes.pop() ?? this.#segments.length;
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
    };
    const segment = new Segment(header, disks, slots);
    for (let i = 0; i < disks.length; i++) {
      const result = (disks[i] as Disk).writeCell(slots[i] as number, header);
      if (result === 0) continue;
      this.#giveBack(segment);
      return result;
    }
    this.#segments[index] = segment;
    this.usedCount++;
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
    for (const [i, disk] of segment.disks.entries()) disk.freeSlot(segment.slots[i] as number); // cold
    this.#freeIndexes.push(segment.index);
  }

  /** Takes over what was found on the disks at start. Every segment is sealed: writing goes on in a new one. */
  adopt(segments: readonly Segment[]): void {
    for (let n = 0; n < segments.length; n++) {
      const segment = segments[n] as Segment;
      assert(this.#segments[segment.index] === undefined, "segment indexes are unique");
      this.#segments[segment.index] = segment;
      segment.sealed = true;
      for (const [i, disk] of segment.disks.entries()) disk.markUsed(segment.slots[i] as number); // cold
      this.usedCount++;
    }
    for (let i = 1; i < this.#segments.length; i++) {
      if (this.#segments[i] === undefined) this.#freeIndexes.push(i);
    }
  }

  /** Serials start above everything that was ever seen. */
  raiseSerial(serial: number): void {
    this.#nextSerial = Math.max(this.#nextSerial, serial + 1);
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

  /** Space in use on all disks. */
  get allocatedBytes(): number {
    return this.disks.reduce((sum, disk) => sum + (disk.slotCount - disk.freeSlots), 0) * 4 * 1024 * 1024;
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
