// Reads blocks that are packed: finds their group, reads and unpacks it, and checks the block that is wanted. Groups that were
// unpacked last are kept, so that who reads on does not unpack the same one sixteen times.
//
//   location ─► segment ─► group: where its payload lies (read from the segment's records once) ─► unpacked ─► block, checked
//                                     a block's checksum is wrong: payload block by block, from every copy, by its records
//
// Invariant: bytes are given only if their checksum is the one that was asked for. Thread: the pool's worker. Hot: no (what
// is hot is not packed).
import { DataBuffer } from "../disk/data-buffer.js";
import { EAGAIN, EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import {
  GROUP_BLOCKS,
  GROUP_FIRST_BLOCK,
  GROUP_PACKED_MAX,
  GROUP_SIZE,
  NUMBER_GROUPS,
  SEGMENT_BLOCKS,
} from "../log/format.js";
import { unpackGroup } from "../log/group-codec.js";
import type { LogRecord } from "../log/record-reader.js";
import { readRecords } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import { copyOf } from "./block-runs.js";

/** Groups that are kept unpacked: a megabyte. */
const KEPT_GROUPS = 16;

/** Looks for a good copy of a block of payload and puts it over bad ones; see MapReader. */
export type BlockRepair = (
  segment: Segment,
  offset: number,
  expected: number,
  target: DataBuffer,
  at: number,
  wanted: boolean,
) => boolean;

export class PackedReader {
  /** Groups that were unpacked. */
  unpackedCount = 0;
  readonly #table: SegmentTable;
  readonly #repair: BlockRepair;
  /** Made when the first group is read. */
  #buffers: { readonly packed: DataBuffer; readonly kept: DataBuffer } | undefined;
  /** Of each group that is kept: the location of its first block, and its segment's serial; 0: none. */
  readonly #locations = new Float64Array(KEPT_GROUPS);
  readonly #serials = new Float64Array(KEPT_GROUPS);
  readonly #uses = new Float64Array(KEPT_GROUPS);
  #now = 0;

  constructor(table: SegmentTable, repair: BlockRepair) {
    this.#table = table;
    this.#repair = repair;
  }

  /** The block at `location`, which has the checksum `expected`: 0, EIO when no good copy is left, or EAGAIN if `wait` is false. */
  read(location: number, expected: number, target: DataBuffer, at: number, wait: boolean): number {
    const segment = this.#table.at(location >>> 10);
    if (segment === undefined || !segment.isPacked) return EIO;
    const first = firstOf(location);
    let place = this.#find(segment, first);
    if (place < 0) {
      const loaded = this.#load(segment, first, wait);
      if (loaded === -EAGAIN) return EAGAIN;
      place = loaded;
    }
    if (place >= 0 && this.#take(place, location, expected, target, at)) return OK;
    place = this.#mend(segment, first);
    return place >= 0 && this.#take(place, location, expected, target, at) ? OK : EIO;
  }

  /** Unpacks the group of `location` as one copy has it into `target`, GROUP_SIZE bytes; false when it cannot be. */
  readCopy(segment: Segment, copy: number, location: number, target: DataBuffer): boolean {
    const where = segment.isPacked ? placeOf(segment, firstOf(location)) : 0;
    const disk = segment.disks[copy];
    if (where === 0 || disk === undefined) return false;
    const { packed } = this.#room();
    const length = Math.ceil(sizeIn(where) / BLOCK_SIZE) * BLOCK_SIZE;
    const offset = blockIn(where) * BLOCK_SIZE;
    if (disk.read(segment.slots[copy] as number, packed, 0, length, offset) !== OK) return false;
    return unpackGroup(packed, 0, sizeIn(where), target, 0);
  }

  /** The first block within the slot of what the group of `location` is packed in; 0 when no record says so. */
  payloadOf(segment: Segment, location: number): number {
    return blockIn(placeOf(segment, firstOf(location)));
  }

  /** Where the group is kept, or −1. */
  #find(segment: Segment, first: number): number {
    for (let i = 0; i < KEPT_GROUPS; i++) {
      if (this.#locations[i] === first && this.#serials[i] === segment.serial) return i;
    }
    return -1;
  }

  #take(place: number, location: number, expected: number, target: DataBuffer, at: number): boolean {
    this.#uses[place] = ++this.#now;
    const { kept } = this.#room();
    const from = place * GROUP_SIZE + (location % GROUP_BLOCKS) * BLOCK_SIZE;
    if (bufferChecksum(kept, from, BLOCK_SIZE) !== expected) return false;
    kept.bytes.copy(target.bytes, at, from, from + BLOCK_SIZE);
    return true;
  }

  /** Reads and unpacks a group: where it is kept now, −1, or −EAGAIN. */
  #load(segment: Segment, first: number, wait: boolean): number {
    const copy = copyOf(segment);
    const disk = segment.disks[copy];
    if (disk === undefined) return -1;
    const slot = segment.slots[copy] as number;
    if (segment.groups === undefined && !wait) {
      if (disk.read(slot, this.#room().kept, this.#makeRoom() * GROUP_SIZE, GROUP_SIZE, 0, false) === EAGAIN)
        return -EAGAIN;
    }
    const where = placeOf(segment, first);
    if (where === 0) return -1;
    const { packed } = this.#room();
    const length = Math.ceil(sizeIn(where) / BLOCK_SIZE) * BLOCK_SIZE;
    const result = disk.read(slot, packed, 0, length, blockIn(where) * BLOCK_SIZE, wait);
    if (result === EAGAIN && !wait) return -EAGAIN;
    return result === OK ? this.#keep(segment, first, sizeIn(where)) : -1;
  }

  /** The same from whatever copies are good, block by block; bad ones are put right. */
  #mend(segment: Segment, first: number): number {
    segment.groups = undefined;
    const record = recordOf(segment, first);
    if (record?.group === undefined) return -1;
    const { packed } = this.#room();
    let isWhole = true;
    for (let i = 0; i < record.checksums.length; i++) {
      const offset = (record.dataBlock + i) * BLOCK_SIZE;
      // Who asked counts what is lost, in blocks of the volume.
      isWhole = this.#repair(segment, offset, record.sum(i), packed, i * BLOCK_SIZE, false) && isWhole;
    }
    return isWhole ? this.#keep(segment, first, record.group.size) : -1;
  }

  #keep(segment: Segment, first: number, size: number): number {
    const { packed, kept } = this.#room();
    const place = this.#makeRoom();
    if (!unpackGroup(packed, 0, size, kept, place * GROUP_SIZE)) return -1;
    this.unpackedCount++;
    this.#locations[place] = first;
    this.#serials[place] = segment.serial;
    return place;
  }

  /** The place of the group that was not wanted for longest, for another. */
  #makeRoom(): number {
    let oldest = 0;
    for (let i = 1; i < KEPT_GROUPS; i++) {
      if ((this.#uses[i] as number) < (this.#uses[oldest] as number)) oldest = i;
    }
    this.#locations[oldest] = 0;
    return oldest;
  }

  #room(): { readonly packed: DataBuffer; readonly kept: DataBuffer } {
    this.#buffers ??= {
      packed: new DataBuffer(GROUP_PACKED_MAX * BLOCK_SIZE),
      kept: new DataBuffer(KEPT_GROUPS * GROUP_SIZE),
    };
    return this.#buffers;
  }
}

/** Location of the first block of a group. */
function firstOf(location: number): number {
  return location - (location % GROUP_BLOCKS);
}

/** Where the payload of a group lies: its first block within the slot, and bytes × 1024; 0: no record says so. */
function placeOf(segment: Segment, first: number): number {
  segment.groups ??= groupsOf(segment);
  return segment.groups[ordinalOf(segment, first)] ?? 0;
}

function groupsOf(segment: Segment): Uint32Array {
  const groups = new Uint32Array(segment.numbers.length * NUMBER_GROUPS);
  for (const { group, dataBlock } of readRecords(segment)) {
    if (group === undefined) continue;
    const ordinal = ordinalOf(segment, group.location);
    if (ordinal >= 0) groups[ordinal] = group.size * SEGMENT_BLOCKS + dataBlock;
  }
  return groups;
}

/** −1 when the location is none of the segment's. */
function ordinalOf({ numbers }: Segment, location: number): number {
  const number = numbers.indexOf(location >>> 10);
  const block = (location % SEGMENT_BLOCKS) - GROUP_FIRST_BLOCK;
  return number < 0 || block < 0 ? -1 : number * NUMBER_GROUPS + block / GROUP_BLOCKS;
}

function blockIn(where: number): number {
  return where % SEGMENT_BLOCKS;
}

function sizeIn(where: number): number {
  return Math.floor(where / SEGMENT_BLOCKS);
}

/** The record of the group whose first block is at `first`. */
function recordOf(segment: Segment, first: number): LogRecord | undefined {
  return readRecords(segment).find(({ group }) => group?.location === first);
}
