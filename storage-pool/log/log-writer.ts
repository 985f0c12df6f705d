// Appends records to the open segment of one log: stages a batch, writes its payload, then its records, then applies.
//
//   stageData / stageUnmap … ─► commit: payload ─► records ─► sequence rises, `apply` for each record
//
// Small payloads are gathered in the pool's staging buffer (one write per batch), large ones go straight from the
// caller's buffer. Invariants: nothing is applied before its record is in the page cache of every copy; a segment in
// which a write failed is sealed, so that no half-written record can ever be followed by a good one; the sequence has
// no gaps. Thread: the pool's worker. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { EIO, ENOSPC } from "../errors.js";
import { BLOCK_SIZE, COPIES_MAX, RESERVE_CLEANER, RESERVE_SEGMENTS } from "../limits.js";
import { bufferChecksum } from "./checksum.js";
import {
  DATA_BLOCKS,
  encodeRecord,
  INDEX_BLOCKS,
  INDEX_SIZE,
  RECORD_DATA,
  RECORD_MARK,
  RECORD_SIZE,
  RECORD_UNMAP,
  recordSize,
  SEGMENT_BLOCKS,
} from "./format.js";
import type { Segment, SegmentTable } from "./segment-table.js";

const STAGING_BLOCKS = 256;
/** From here on payload is written from where it stands. */
const DIRECT_BLOCKS = 16;
const PENDING_MAX = Math.floor(INDEX_SIZE / RECORD_SIZE);

/** Buffers shared by all logs of a pool; one log at a time has something staged. */
export class Staging {
  readonly data = new DataBuffer(STAGING_BLOCKS * BLOCK_SIZE);
  readonly index = new DataBuffer(INDEX_SIZE);
  readonly offsets = new Float64Array(PENDING_MAX);
  readonly blockCounts = new Uint32Array(PENDING_MAX);
  readonly kinds = new Uint8Array(PENDING_MAX);
  readonly dataBlocks = new Uint32Array(PENDING_MAX);
  readonly indexAt = new Uint32Array(PENDING_MAX);
  owner: LogWriter | undefined;
  /** Blocks that clients wrote, not the cleaner, since the pool was opened. */
  clientBlocks = 0;
}

/** Whoever gives out space: 0, EAGAIN (room is being made) or ENOSPC. */
export interface SpaceGate {
  /** Whether `segments` can be had and `kept` are free afterwards. */
  admit(segments: number, copies: number, kept: number, diskClass: string): number;
}

/** Takes a committed record into the maps. Its block checksums stand in `sums` from `at` on. */
export type RecordSink = (
  kind: number,
  offset: number,
  blockCount: number,
  location: number,
  sums: Uint32Array,
  at: number,
) => void;

export interface LogWriterOptions {
  readonly table: SegmentTable;
  readonly staging: Staging;
  readonly gate: SpaceGate;
  readonly kind: number;
  readonly volume: number;
  readonly epoch: number;
  readonly copies: number;
  /** Class of disks that its segments are put on; "": any. */
  readonly diskClass: string;
  /** Sequence of the last record that the log already has. */
  readonly sequence: number;
  /** May use all of the reserve: the cleaner. */
  readonly privileged: boolean;
  readonly apply: RecordSink;
}

export class LogWriter {
  /** The last committed sequence. */
  sequence: number;
  /** The highest sequence known to be on the medium. */
  durable: number;
  /** The highest durable position that a record says. */
  noted = 0;
  /** Bytes of payload and records written since the counter was last set. */
  writtenBytes = 0;
  segment: Segment | undefined;
  /** Segments written to since the last sync began. */
  unsynced: Segment[] = [];
  /** Something answered cannot be made durable any more: the disks that had it failed. */
  broken = false;
  readonly #options: LogWriterOptions;
  readonly #table: SegmentTable;
  readonly #staging: Staging;
  #nextBlock = SEGMENT_BLOCKS;
  #nextIndex = INDEX_SIZE;
  #pending = 0;
  #stagedFrom = 0;
  #stagedBlocks = 0;
  #indexFrom = 0;
  #error = 0;
  #sealNext = false;
  readonly #results = new Int32Array(COPIES_MAX);

  constructor(options: LogWriterOptions) {
    this.#options = options;
    this.#table = options.table;
    this.#staging = options.staging;
    this.sequence = options.sequence;
    this.durable = options.sequence;
  }

  /** Stages `blockCount` blocks for `offset`, both in whole blocks. 0, or an errno; EAGAIN and ENOSPC stage nothing. */
  stageData(source: DataBuffer, at: number, offset: number, blockCount: number): number {
    return this.#stageRecords(source, at, offset, blockCount, undefined, 0);
  }

  /** The same for blocks that are known to have the checksums `sums` from `sumAt` on. */
  stageChecked(
    source: DataBuffer,
    at: number,
    offset: number,
    blockCount: number,
    sums: Uint32Array,
    sumAt: number,
  ): number {
    return this.#stageRecords(source, at, offset, blockCount, sums, sumAt);
  }

  #stageRecords(
    source: DataBuffer,
    at: number,
    offset: number,
    blockCount: number,
    sums: Uint32Array | undefined,
    sumAt: number,
  ): number {
    if (this.#error !== 0) return this.#error;
    const refused = this.admit(blockCount, 1);
    if (refused !== 0) return refused;
    this.#own();
    let left = blockCount;
    while (left > 0 && this.#error === 0) {
      const count = this.#prepare(left);
      if (count === 0) break;
      this.#stageRecord(source, at, offset, count, sums, sumAt + blockCount - left);
      at += count * BLOCK_SIZE;
      offset += count * BLOCK_SIZE;
      left -= count;
    }
    return this.#error;
  }

  /** Whether `blockCount` blocks in at most `recordCount` records find room: 0, EAGAIN or ENOSPC. */
  admit(blockCount: number, recordCount: number): number {
    const room = Math.min(SEGMENT_BLOCKS - this.#nextBlock, this.#recordsRoom(blockCount));
    const records = INDEX_SIZE - this.#nextIndex - recordCount * RECORD_SIZE;
    if (blockCount <= room && (recordCount === 1 || records >= blockCount * 8)) return 0;
    const segments = Math.ceil(Math.max(blockCount - room, recordCount - 1) / DATA_BLOCKS);
    return this.#ask(segments, RESERVE_SEGMENTS);
  }

  /** Blocks that the open segment still takes, at least. */
  get spareBlocks(): number {
    const records = Math.floor((INDEX_SIZE - this.#nextIndex) / recordSize(1));
    return Math.min(SEGMENT_BLOCKS - this.#nextBlock, records);
  }

  #ask(segments: number, kept: number): number {
    const { gate, copies, privileged, diskClass } = this.#options;
    return gate.admit(segments, copies, privileged ? 0 : kept, diskClass);
  }

  /** Room for one record without payload. May use a part of the reserve: it is how space comes back. */
  #admitRecord(): number {
    return this.#nextIndex + RECORD_SIZE > INDEX_SIZE ? this.#ask(1, RESERVE_CLEANER) : 0;
  }

  /** Stages that a range reads as zeros. */
  stageUnmap(offset: number, length: number): number {
    if (this.#error !== 0) return this.#error;
    const refused = this.#admitRecord();
    if (refused !== 0) return refused;
    this.#own();
    if (!this.#ensureSegment(RECORD_SIZE, 0)) return this.#error;
    const staging = this.#staging;
    const n = this.#pending++;
    staging.kinds[n] = RECORD_UNMAP;
    staging.offsets[n] = offset;
    staging.blockCounts[n] = length / BLOCK_SIZE;
    staging.dataBlocks[n] = 0;
    this.#encode(n, offset, length, RECORD_UNMAP, 0, 0);
    return 0;
  }

  /** Stages a record that says no more than the time and what is durable. */
  stageMark(timeMs: number): number {
    if (this.#error !== 0) return this.#error;
    const refused = this.#admitRecord();
    if (refused !== 0) return refused;
    this.#own();
    if (!this.#ensureSegment(RECORD_SIZE, 0)) return this.#error;
    const staging = this.#staging;
    const n = this.#pending++;
    staging.kinds[n] = RECORD_MARK;
    staging.offsets[n] = timeMs;
    staging.blockCounts[n] = 0;
    staging.dataBlocks[n] = 0;
    this.#encode(n, timeMs, 0, RECORD_MARK, 0, 0);
    return 0;
  }

  /** Writes what is staged and applies it. Reports what went wrong since the last call, too. */
  commit(): number {
    if (this.#pending > 0) this.#write();
    const error = this.#error;
    this.#error = 0;
    return error;
  }

  /** As commit, but what went wrong stays to be reported. */
  settle(): void {
    if (this.#pending > 0) this.#write();
  }

  /** Nothing is staged. */
  get idle(): boolean {
    return this.#pending === 0;
  }

  /** Nothing more goes into the open segment. */
  seal(): void {
    if (this.segment !== undefined) this.segment.sealed = true;
    this.segment = undefined;
    this.#nextBlock = SEGMENT_BLOCKS;
    this.#nextIndex = INDEX_SIZE;
  }

  /** Blocks that one more record could take in the open segment's index area. */
  #recordsRoom(wanted: number): number {
    const bytes = INDEX_SIZE - this.#nextIndex - RECORD_SIZE;
    return bytes < 4 ? 0 : Math.min(wanted, (bytes & ~7) >>> 2);
  }

  #own(): void {
    const staging = this.#staging;
    if (staging.owner === this) return;
    if (staging.owner !== undefined) staging.owner.#write();
    staging.owner = this;
  }

  /** Makes sure that a record fits; returns how many of `wanted` blocks it may have (0: an error was noted). */
  #prepare(wanted: number): number {
    if (!this.#ensureSegment(recordSize(1), 1)) return 0;
    const count = Math.min(wanted, SEGMENT_BLOCKS - this.#nextBlock, this.#recordsRoom(wanted));
    if (count >= DIRECT_BLOCKS) return count;
    if (this.#stagedBlocks + count > STAGING_BLOCKS) this.#writeStagedData();
    return this.#error === 0 ? count : 0;
  }

  #ensureSegment(indexBytes: number, blocks: number): boolean {
    const fits = this.#nextIndex + indexBytes <= INDEX_SIZE && this.#nextBlock + blocks <= SEGMENT_BLOCKS;
    if (this.segment !== undefined && fits) return true;
    if (this.#pending > 0) this.#write();
    if (this.#error !== 0) return false;
    this.seal();
    const { kind, volume, epoch, copies, diskClass } = this.#options;
    const segment = this.#table.allocate(kind, volume, epoch, this.sequence + 1, copies, diskClass);
    if (typeof segment === "number") {
      this.#error = segment;
      return false;
    }
    this.segment = segment;
    this.unsynced.push(segment);
    this.#nextBlock = INDEX_BLOCKS;
    this.#nextIndex = 0;
    return true;
  }

  #stageRecord(
    source: DataBuffer,
    at: number,
    offset: number,
    count: number,
    sums: Uint32Array | undefined,
    sumAt: number,
  ): void {
    const staging = this.#staging;
    const n = this.#pending++;
    const dataBlock = this.#nextBlock;
    const indexAt = this.#nextIndex;
    staging.kinds[n] = RECORD_DATA;
    staging.offsets[n] = offset;
    staging.blockCounts[n] = count;
    staging.dataBlocks[n] = dataBlock;
    const sumWord = (indexAt + RECORD_SIZE) >>> 2;
    for (let i = 0; i < count; i++) {
      const sum =
        sums === undefined
          ? bufferChecksum(source, at + i * BLOCK_SIZE, BLOCK_SIZE)
          : (sums[sumAt + i] as number);
      staging.index.words[sumWord + i] = sum;
    }
    if (count >= DIRECT_BLOCKS) {
      this.#writeStagedData();
      if (this.#error === 0) this.#writeCopies(source, at, count * BLOCK_SIZE, dataBlock * BLOCK_SIZE);
    } else {
      if (this.#stagedBlocks === 0) this.#stagedFrom = dataBlock;
      const to = this.#stagedBlocks * BLOCK_SIZE;
      source.bytes.copy(staging.data.bytes, to, at, at + count * BLOCK_SIZE);
      this.#stagedBlocks += count;
    }
    this.#nextBlock += count;
    if (!this.#options.privileged) staging.clientBlocks += count;
    this.#encode(n, offset, count * BLOCK_SIZE, RECORD_DATA, dataBlock, count);
  }

  #encode(n: number, offset: number, length: number, kind: number, dataBlock: number, count: number): void {
    const { index, indexAt } = this.#staging;
    const segment = this.segment as Segment;
    if (n === 0) this.#indexFrom = this.#nextIndex;
    this.noted = this.durable;
    indexAt[n] = this.#nextIndex;
    this.#nextIndex += encodeRecord(
      index,
      this.#nextIndex,
      this.#options.volume,
      this.#options.epoch,
      this.sequence + n + 1,
      this.durable,
      offset,
      length,
      kind,
      dataBlock,
      segment.serial,
      count,
    );
  }

  #write(): void {
    assert(this.#staging.owner === this, "only the owner of the staging buffers has something pending");
    if (this.#pending === 0) return;
    this.#writeStagedData();
    if (this.#error === 0) {
      this.#writeCopies(
        this.#staging.index,
        this.#indexFrom,
        this.#nextIndex - this.#indexFrom,
        this.#indexFrom,
      );
    }
    if (this.#error !== 0) {
      this.#pending = 0;
      this.#stagedBlocks = 0;
      this.seal();
      return;
    }
    this.#apply();
    if (this.#sealNext) this.seal();
    this.#sealNext = false;
  }

  #apply(): void {
    const staging = this.#staging;
    const segment = this.segment as Segment;
    const count = this.#pending;
    this.#pending = 0;
    this.sequence += count;
    segment.lastSequence = this.sequence;
    const base = segment.index * SEGMENT_BLOCKS;
    for (let n = 0; n < count; n++) {
      this.#options.apply(
        staging.kinds[n] as number,
        staging.offsets[n] as number,
        staging.blockCounts[n] as number,
        base + (staging.dataBlocks[n] as number),
        staging.index.words,
        ((staging.indexAt[n] as number) + RECORD_SIZE) >>> 2,
      );
    }
  }

  #writeStagedData(): void {
    if (this.#stagedBlocks === 0) return;
    const length = this.#stagedBlocks * BLOCK_SIZE;
    this.#stagedBlocks = 0;
    this.#writeCopies(this.#staging.data, 0, length, this.#stagedFrom * BLOCK_SIZE);
  }

  /** A disk that fails while another has taken the bytes is given up, and the segment sealed: the next has all copies. */
  #writeCopies(source: DataBuffer, at: number, length: number, offset: number): void {
    const { disks, slots } = this.segment as Segment;
    this.writtenBytes += length;
    let taken = 0;
    let error = 0;
    for (let i = 0; i < disks.length; i++) {
      const disk = disks[i] as Segment["disks"][number];
      const result = disk.online ? disk.write(slots[i] as number, source, at, length, offset) : EIO;
      if (result === 0) taken++;
      else if (error !== ENOSPC) error = result;
      this.#results[i] = result;
    }
    if (error === 0) return;
    if (taken === 0 || error === ENOSPC) {
      if (this.#error === 0) this.#error = error;
      return;
    }
    for (let i = 0; i < disks.length; i++) {
      if (this.#results[i] !== 0) (disks[i] as Segment["disks"][number]).failed = true;
    }
    this.#sealNext = true;
  }
}
