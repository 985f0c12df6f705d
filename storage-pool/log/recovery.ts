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
import { checksum, hasRecordMagic, INDEX_SIZE, type LogRecord, parseRecord, RECORD_DATA } from "./format.js";
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

interface Found {
  readonly segment: Segment;
  readonly record: LogRecord;
}

export type RecordVisitor = (segment: Segment, record: LogRecord) => void;

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

/** Applies every record above `position` in order, and says where the log ends. `durable` is known to be on the medium. */
export function replayLog(
  volume: number,
  log: readonly Segment[],
  position: number,
  durable: number,
  reader: MapReader,
  apply: RecordVisitor,
): Replay {
  const found: Found[] = [];
  let highestDurable = Math.max(durable, position);
  for (const { segment, limit } of replayRange(log, position)) {
    for (const record of readRecords(segment)) {
      if (record.volume !== volume || record.sequence >= limit) continue;
      highestDurable = Math.max(highestDurable, record.durable);
      segment.lastSequence = Math.max(segment.lastSequence, record.sequence);
      if (record.sequence > position) found.push({ segment, record });
    }
  }
  let sequence = position;
  for (const { segment, record } of found) {
    if (record.sequence !== sequence + 1) break;
    if (record.sequence > highestDurable && !payloadGood(segment, record, reader)) break;
    apply(segment, record);
    sequence++;
  }
  const damage =
    sequence < highestDurable
      ? `record ${sequence + 1} of its log is bad, though everything up to ${highestDurable} was durable`
      : undefined;
  return { sequence, records: sequence - position, cut: found.length > sequence - position, damage };
}

/** All valid records of a segment in the order of their places; a bad one is skipped, so that later ones are seen. */
export function readRecords(segment: Segment): LogRecord[] {
  return readIndex(segment).records;
}

/** One per copy that is read at a time; a segment seldom has more than two. */
const scratches: DataBuffer[] = [];
const merged = new DataBuffer(INDEX_SIZE);

/** The records, and an index area made of what is valid on any copy; that is valid until the next call. */
export function readIndex(segment: Segment): { records: LogRecord[]; index: DataBuffer } {
  const areas = segment.disks.map((disk, i) => {
    const area = scratches[i] ?? new DataBuffer(INDEX_SIZE);
    scratches[i] = area;
    if (disk.read(segment.slots[i] as number, area, 0, INDEX_SIZE, 0) !== 0) area.bytes.fill(0);
    return area;
  });
  const index = merged;
  index.bytes.fill(0);
  const records: LogRecord[] = [];
  for (let at = 0; at < INDEX_SIZE; ) {
    let record: LogRecord | undefined;
    for (const area of areas) {
      if (record !== undefined) break;
      if (!hasRecordMagic(area.view, at)) continue;
      record = parseRecord(area.bytes, at, segment.serial);
      if (record !== undefined) index.bytes.set(area.bytes.subarray(at, at + record.size), at);
    }
    if (record === undefined) {
      at += 8;
      continue;
    }
    records.push(record);
    at += record.size;
  }
  return { records, index };
}

/** Whether the payload is whole on some copy; copies that differ are put right. */
function payloadGood(segment: Segment, record: LogRecord, reader: MapReader): boolean {
  if (record.kind !== RECORD_DATA) return true;
  const scratch = new DataBuffer(record.length);
  for (let copy = 0; copy < segment.disks.length; copy++) {
    const offset = record.dataBlock * BLOCK_SIZE;
    const disk = segment.disks[copy] as Segment["disks"][number];
    const result = disk.read(segment.slots[copy] as number, scratch, 0, record.length, offset);
    const whole = result === 0 && allMatch(scratch.bytes, record.checksums);
    if (whole && copy === 0 && segment.disks.length === 1) return true;
    if (whole) continue;
    for (let i = 0; i < record.checksums.length; i++) {
      const at = i * BLOCK_SIZE;
      if (!reader.repair(segment, offset + at, record.checksums[i] as number, scratch, at)) return false;
    }
    return true;
  }
  return true;
}

function allMatch(bytes: Uint8Array, checksums: Uint32Array): boolean {
  for (let i = 0; i < checksums.length; i++) {
    if (checksum(bytes, i * BLOCK_SIZE, BLOCK_SIZE) !== checksums[i]) return false;
  }
  return true;
}
