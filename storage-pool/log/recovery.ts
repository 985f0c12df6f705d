// Recovery of one volume's log: which records are part of it, where it ends, and whether anything is damaged.
//
//   segments in the order in which they were made; each counts only up to the first sequence of any later one, because
//   a later segment that starts lower was begun after a crash had cut the log there.
//   records:  … checkpoint │ ≤ highest durable position: must all be there │ above: the first bad one ends the log
//
// Source: the rule of storage.md. Invariant: what is applied is a prefix of what was written, without gaps, and holds
// everything up to the highest durable position, or the volume is reported as damaged. Thread: the pool's worker.
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import type { MapReader } from "../volume/map-reader.js";
import { bufferChecksum } from "./checksum.js";
import { INDEX_SIZE, RECORD_DATA, RECORD_SIZE, SEGMENT_BLOCKS } from "./format.js";
import { hasRecordMagic, LogRecord, RecordCursor } from "./record-reader.js";
import type { Segment } from "./segment-table.js";

export interface Replay {
  /** The last sequence of the log. */
  readonly sequence: number;
  readonly records: number;
  /** Records behind its end are there: they must not become part of it later. */
  readonly cut: boolean;
  /** What is wrong, for people; undefined when nothing is. */
  readonly damage: string | undefined;
}

/** `record` is good until the visitor returns. */
export type RecordVisitor = (segment: Segment, record: RecordCursor) => void;

/** Segments of `log` (oldest first) that can hold a record above `position`, with the sequence they end before. */
export function replayRange(
  log: readonly Segment[],
  position: number,
): { segment: Segment; limit: number }[] {
  const range: { segment: Segment; limit: number }[] = [];
  let limit = Number.MAX_SAFE_INTEGER;
  for (let i = log.length - 1; i >= 0; i--) {
    const segment = log[i] as Segment;
    if (limit > position + 1 && limit > segment.firstSequence) range.push({ segment, limit });
    limit = Math.min(limit, segment.firstSequence);
  }
  return range.reverse();
}

export interface ReplayVisitor {
  /** A record that may be applied later, while there are more to look at. */
  foresee(record: RecordCursor): void;
  /** All were foreseen. */
  foreseen(): void;
  apply: RecordVisitor;
}

/** Applies every record above `position` in order, and says where the log ends. `durable` is known to be on the medium. */
export function replayLog(
  volume: number,
  log: readonly Segment[],
  position: number,
  durable: number,
  reader: MapReader,
  visitor: ReplayVisitor,
): Replay {
  const range = replayRange(log, position);
  const walk = new RecordWalk();
  const { record } = walk;
  // Only the whole tail tells what was durable. It is read twice instead of kept: its length has no bound when
  // checkpoints fail.
  let found = 0;
  let highestDurable = Math.max(durable, position);
  for (const { segment, limit } of range) {
    walk.begin(segment);
    while (walk.next()) {
      if (record.volume !== volume || record.sequence >= limit) continue;
      highestDurable = Math.max(highestDurable, record.durable);
      segment.lastSequence = Math.max(segment.lastSequence, record.sequence);
      if (record.sequence <= position) continue;
      visitor.foresee(record);
      found++;
    }
  }
  visitor.foreseen();
  const payload = new PayloadCheck(reader);
  let sequence = position;
  let ended = false;
  for (let i = 0; i < range.length && !ended; i++) {
    const { segment, limit } = range[i] as { segment: Segment; limit: number };
    walk.begin(segment);
    while (!ended && walk.next()) {
      if (record.volume !== volume || record.sequence >= limit || record.sequence <= position) continue;
      ended =
        record.sequence !== sequence + 1 ||
        (record.sequence > highestDurable && !payload.isGood(segment, record));
      if (ended) continue;
      visitor.apply(segment, record);
      sequence++;
    }
  }
  const gone = found === sequence - position;
  const what = gone ? `its log ends after record ${sequence}` : `record ${sequence + 1} of its log is bad`;
  const damage =
    sequence < highestDurable ? `${what}, though everything up to ${highestDurable} was durable` : undefined;
  return { sequence, records: sequence - position, cut: found > sequence - position, damage };
}

/** All valid records of a segment in the order of their places; a bad one is skipped, so that later ones are seen. */
export function readRecords(segment: Segment): LogRecord[] {
  return readIndex(segment).records;
}

/** Goes through the valid records of a segment's copies, in the order of their places; a bad one is skipped. */
class RecordWalk {
  readonly record = new RecordCursor();
  /** The index area that the record was read from. */
  area = merged;
  /** One per copy; a segment seldom has more than two. */
  readonly #areas: DataBuffer[] = [];
  #count = 0;
  #at = 0;
  #serial = 0;

  begin(segment: Segment): void {
    this.#serial = segment.serial;
    this.#count = segment.disks.length;
    this.#at = 0;
    for (let i = 0; i < this.#count; i++) {
      const area = this.#areas[i] ?? new DataBuffer(INDEX_SIZE);
      this.#areas[i] = area;
      const disk = segment.disks[i] as Segment["disks"][number];
      if (disk.read(segment.slots[i] as number, area, 0, INDEX_SIZE, 0) !== 0) area.bytes.fill(0);
    }
  }

  /** False at the end. */
  next(): boolean {
    for (; this.#at + RECORD_SIZE <= INDEX_SIZE; this.#at += 8) {
      for (let i = 0; i < this.#count; i++) {
        const area = this.#areas[i] as DataBuffer;
        if (!hasRecordMagic(area.view, this.#at)) continue;
        if (!this.record.read(area.bytes, area.view, this.#at, this.#serial)) continue;
        this.area = area;
        this.#at += this.record.size;
        return true;
      }
    }
    return false;
  }
}

const merged = new DataBuffer(INDEX_SIZE);
const indexWalk = new RecordWalk();

/** The records, and an index area made of what is valid on any copy; that is valid until the next call. */
export function readIndex(segment: Segment): { records: LogRecord[]; index: DataBuffer } {
  const records: LogRecord[] = [];
  const { record } = indexWalk;
  merged.bytes.fill(0);
  indexWalk.begin(segment);
  while (indexWalk.next()) {
    records.push(new LogRecord(record));
    merged.bytes.set(indexWalk.area.bytes.subarray(record.at, record.at + record.size), record.at);
  }
  return { records, index: merged };
}

/** Payload read at once: records follow one another, and so do their blocks. */
const WINDOW_BLOCKS = 64;

/** What of one copy of a segment is in memory. */
interface Window {
  buffer: DataBuffer;
  at: number;
  count: number;
}

/** Says of records whether their payload is whole. */
class PayloadCheck {
  readonly #reader: MapReader;
  /** One per copy. */
  readonly #windows: Window[] = [];
  #segment: Segment | undefined;

  constructor(reader: MapReader) {
    this.#reader = reader;
  }

  /** Whether the payload is whole on some copy; copies that differ are put right. */
  isGood(segment: Segment, record: RecordCursor): boolean {
    if (record.kind !== RECORD_DATA) return true;
    if (segment !== this.#segment) this.#forget(segment);
    let whole = true;
    for (let copy = 0; copy < segment.disks.length && whole; copy++)
      whole = this.#isWhole(segment, copy, record);
    return whole || this.#repair(segment, record);
  }

  #isWhole(segment: Segment, copy: number, record: RecordCursor): boolean {
    const { dataBlock, blockCount } = record;
    const window = this.#see(segment, copy, dataBlock, blockCount);
    if (window === undefined) return false;
    for (let i = 0; i < blockCount; i++) {
      const at = (dataBlock - window.at + i) * BLOCK_SIZE;
      if (bufferChecksum(window.buffer, at, BLOCK_SIZE) !== record.sum(i)) return false;
    }
    return true;
  }

  #see(segment: Segment, copy: number, block: number, count: number): Window | undefined {
    const known = this.#windows[copy];
    if (known !== undefined && block >= known.at && block + count <= known.at + known.count) return known;
    const window = known ?? { buffer: new DataBuffer(WINDOW_BLOCKS * BLOCK_SIZE), at: 0, count: 0 };
    this.#windows[copy] = window;
    const most = Math.max(count, Math.min(WINDOW_BLOCKS, SEGMENT_BLOCKS - block));
    if (most * BLOCK_SIZE > window.buffer.bytes.byteLength) window.buffer = new DataBuffer(most * BLOCK_SIZE);
    window.at = block;
    const disk = segment.disks[copy] as Segment["disks"][number];
    const slot = segment.slots[copy] as number;
    const read = (blocks: number) =>
      disk.read(slot, window.buffer, 0, blocks * BLOCK_SIZE, block * BLOCK_SIZE) === 0;
    // What cannot be read may be behind the record.
    window.count = read(most) ? most : read(count) ? count : 0;
    return window.count === 0 ? undefined : window;
  }

  #repair(segment: Segment, record: RecordCursor): boolean {
    const scratch = new DataBuffer(BLOCK_SIZE);
    this.#forget(segment);
    for (let i = 0; i < record.blockCount; i++) {
      const offset = (record.dataBlock + i) * BLOCK_SIZE;
      if (!this.#reader.repair(segment, offset, record.sum(i), scratch, 0)) return false;
    }
    return true;
  }

  #forget(segment: Segment): void {
    this.#segment = segment;
    for (const window of this.#windows) window.count = 0;
  }
}
