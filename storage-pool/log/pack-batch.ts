// One packed segment of a volume in the making: groups are gathered in memory, then written all at once, then the maps are changed.
//
//   add … add ─► write: slot and numbers are taken, payload, then records ─► apply, a few groups at a time ─► empty
//
// Between adding and applying anything may happen to the volumes: a block is given its new place only where a map still has
// the old one, and that is in the segment that it was read from. Until it is applied the segment counts as being moved, so
// that nobody frees it. Thread: the pool's worker. Hot: no.
import { DataBuffer } from "../disk/data-buffer.js";
import { ENOSPC, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "./checksum.js";
import {
  DATA_BLOCKS,
  encodeGroup,
  GROUP_BLOCKS,
  GROUP_FIRST_BLOCK,
  GROUP_SIZE,
  INDEX_BLOCKS,
  INDEX_SIZE,
  NUMBER_GROUPS,
  NUMBERS_MAX,
  RECORD_SIZE,
  SEGMENT_BLOCKS,
} from "./format.js";
import type { Relocation, SegmentKind } from "./relocation.js";
import type { Segment, SegmentTable } from "./segment-table.js";

const GROUPS_MAX = NUMBER_GROUPS * NUMBERS_MAX;
/** Payload written in one step: what a disk takes into its cache in a millisecond. */
const STEP_BLOCKS = 256;
/** Groups whose blocks get their new place in one step. */
const STEP_GROUPS = 4;

/** One group that was packed. */
export interface PackedGroup {
  /** The first of its blocks in the volume; a multiple of GROUP_BLOCKS. */
  readonly block: number;
  /** Bit i: block i is to be stored there. */
  readonly stored: number;
  readonly bytes: Uint8Array;
  /** Where each block lies now, and its checksum; of those that are to be stored. */
  readonly locations: Float64Array;
  readonly sums: Uint32Array;
}

export class PackBatch {
  /** Blocks that are to be stored. */
  storedBlocks = 0;
  readonly #table: SegmentTable;
  readonly #relocation: Relocation;
  /** Of the segment that it becomes. */
  #kind: SegmentKind = { copies: 1, diskClass: "" };
  #volume = 0;
  /** The oldest segment that something was read from. */
  oldestSerial = Number.POSITIVE_INFINITY;
  readonly #data = new DataBuffer(DATA_BLOCKS * BLOCK_SIZE);
  readonly #dataSums = new Uint32Array(DATA_BLOCKS);
  #dataBlocks = 0;
  /** By group. */
  #groupCount = 0;
  readonly #blocks = new Float64Array(GROUPS_MAX);
  readonly #stored = new Uint32Array(GROUPS_MAX);
  readonly #sizes = new Uint32Array(GROUPS_MAX);
  readonly #dataAt = new Uint32Array(GROUPS_MAX);
  /** By group and block: where it lies, in which segment that is, and its checksum. */
  readonly #from = new Float64Array(GROUPS_MAX * GROUP_BLOCKS);
  readonly #serials = new Float64Array(GROUPS_MAX * GROUP_BLOCKS);
  readonly #sums = new Uint32Array(GROUPS_MAX * GROUP_BLOCKS);
  /** Being written, or written and being applied. */
  #segment: Segment | undefined;
  #writtenBlocks = 0;
  #isWritten = false;
  #applied = 0;

  constructor(table: SegmentTable, relocation: Relocation) {
    this.#table = table;
    this.#relocation = relocation;
  }

  /** What is added from now on is of this volume. */
  start(volume: number, kind: SegmentKind): void {
    this.clear();
    this.#volume = volume;
    this.#kind = kind;
  }

  /** It is being written or applied: nothing is to be added. */
  get isUnderWay(): boolean {
    return this.#segment !== undefined;
  }

  /** False when it does not fit: then nothing was added. */
  add({ block, stored, bytes, locations, sums }: PackedGroup): boolean {
    const count = Math.ceil(bytes.byteLength / BLOCK_SIZE);
    if (this.#groupCount === GROUPS_MAX || this.#dataBlocks + count > DATA_BLOCKS) return false;
    const n = this.#groupCount++;
    const at = this.#dataBlocks * BLOCK_SIZE;
    this.#data.bytes.set(bytes, at);
    this.#data.bytes.fill(0, at + bytes.byteLength, at + count * BLOCK_SIZE);
    for (let i = 0; i < count; i++) {
      this.#dataSums[this.#dataBlocks + i] = bufferChecksum(this.#data, at + i * BLOCK_SIZE, BLOCK_SIZE);
    }
    this.#blocks[n] = block;
    this.#stored[n] = stored;
    this.#sizes[n] = bytes.byteLength;
    this.#dataAt[n] = this.#dataBlocks;
    this.#dataBlocks += count;
    for (let i = 0; i < GROUP_BLOCKS; i++) {
      const isStored = ((stored >>> i) & 1) === 1;
      const location = locations[i] as number;
      const each = n * GROUP_BLOCKS + i;
      this.#from[each] = isStored ? location : 0;
      this.#sums[each] = isStored ? (sums[i] as number) : 0;
      if (!isStored) continue;
      const { serial } = this.#table.holder(location);
      this.#serials[each] = serial;
      this.oldestSerial = Math.min(this.oldestSerial, serial);
      this.storedBlocks++;
    }
    return true;
  }

  /** Blocks that are still where they were read. */
  wantedBlocks(): number {
    let wanted = 0;
    for (let each = 0; each < this.#groupCount * GROUP_BLOCKS; each++) if (this.#isThere(each)) wanted++;
    return wanted;
  }

  /** Forgets what was added. */
  clear(): void {
    this.storedBlocks = 0;
    this.oldestSerial = Number.POSITIVE_INFINITY;
    this.#dataBlocks = 0;
    this.#groupCount = 0;
    this.#segment = undefined;
    this.#writtenBlocks = 0;
    this.#isWritten = false;
    this.#applied = 0;
  }

  /** Takes a slot and numbers for what was added; OK or an errno. */
  begin(): number {
    const { copies, diskClass } = this.#kind;
    const count = Math.ceil(this.#groupCount / NUMBER_GROUPS);
    const { storedBlocks } = this;
    const kept = Math.max(1, copies);
    const made = this.#table.allocatePacked(this.#volume, count, storedBlocks, kept, diskClass);
    if (typeof made === "number") return made;
    made.moving = true;
    this.#segment = made;
    return OK;
  }

  /** A little of writing and applying it. "done": it is empty again. An errno: everything is as before begin(). */
  step(): "more" | "done" | number {
    const segment = this.#segment as Segment;
    if (this.#isWritten) return this.#apply(segment);
    const result = this.#write(segment);
    if (result === OK) return "more";
    this.#segment = undefined;
    this.#writtenBlocks = 0;
    this.#table.free(segment);
    return result;
  }

  #write(segment: Segment): number {
    if (this.#writtenBlocks < this.#dataBlocks) {
      const from = this.#writtenBlocks;
      const count = Math.min(STEP_BLOCKS, this.#dataBlocks - from);
      this.#writtenBlocks += count;
      return writeCopies(
        segment,
        this.#data,
        from * BLOCK_SIZE,
        count * BLOCK_SIZE,
        (INDEX_BLOCKS + from) * BLOCK_SIZE,
      );
    }
    const index = new DataBuffer(INDEX_SIZE);
    const result = writeCopies(segment, index, 0, this.#encode(segment, index), 0);
    if (result !== OK) return result;
    this.#relocation.packedWrites.unsynced.push(segment);
    segment.sealed = true;
    this.#isWritten = true;
    return OK;
  }

  /** The records; their size in all. */
  #encode(segment: Segment, index: DataBuffer): number {
    let at = 0;
    for (let n = 0; n < this.#groupCount; n++) {
      const size = this.#sizes[n] as number;
      const dataAt = this.#dataAt[n] as number;
      const packed = Math.ceil(size / BLOCK_SIZE);
      const word = (at + RECORD_SIZE) >>> 2;
      for (let i = 0; i < packed; i++) index.words[word + i] = this.#dataSums[dataAt + i] as number;
      for (let i = 0; i < GROUP_BLOCKS; i++) {
        index.words[word + packed + i] = this.#sums[n * GROUP_BLOCKS + i] as number;
      }
      at += encodeGroup(
        index,
        at,
        locationOf(segment, n),
        this.#stored[n] as number,
        size,
        ((this.#blocks[n] as number) / GROUP_BLOCKS) * GROUP_SIZE,
        INDEX_BLOCKS + dataAt,
        segment.serial,
      );
    }
    return at;
  }

  #apply(segment: Segment): "more" | "done" {
    if (this.#table.pages.isFull) return "more";
    const end = Math.min(this.#groupCount, this.#applied + STEP_GROUPS);
    this.#relocation.begin();
    for (; this.#applied < end; this.#applied++) {
      const n = this.#applied;
      const location = locationOf(segment, n);
      for (let i = 0; i < GROUP_BLOCKS; i++) {
        const each = n * GROUP_BLOCKS + i;
        if (!this.#isThere(each)) continue;
        this.#relocation.redirect((this.#blocks[n] as number) + i, this.#from[each] as number, location + i);
      }
    }
    this.#relocation.end();
    if (end < this.#groupCount) return "more";
    segment.moving = false;
    this.clear();
    return "done";
  }

  /** Something names the block where it was read, and it is the same one still. */
  #isThere(each: number): boolean {
    const from = this.#from[each] as number;
    if (from === 0) return false;
    return this.#table.at(from >>> 10)?.serial === this.#serials[each] && this.#table.countOf(from) > 0;
  }
}

/** Of the first block of the `n`-th group of a segment. */
function locationOf({ numbers }: Segment, n: number): number {
  const number = numbers[Math.floor(n / NUMBER_GROUPS)] as number;
  return number * SEGMENT_BLOCKS + GROUP_FIRST_BLOCK + (n % NUMBER_GROUPS) * GROUP_BLOCKS;
}

/** Every copy has to take it: there is nothing that could not wait. */
function writeCopies(
  { disks, slots }: Segment,
  source: DataBuffer,
  at: number,
  length: number,
  offset: number,
): number {
  if (disks.length === 0) return ENOSPC;
  for (let i = 0; i < disks.length; i++) {
    const disk = disks[i] as Segment["disks"][number];
    const result = disk.online ? disk.write(slots[i] as number, source, at, length, offset) : ENOSPC;
    if (result !== OK) return result;
  }
  return OK;
}
