// A volume's map as it was at a moment: the last keyframe before it, and the log's records from there on, a segment at a
// time. Invariant: what comes out is exactly what had been written when the log's clock said `timeMs`, or an error.
// Thread: the pool's worker. Hot: no.
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { RECORD_MARK, RECORD_UNMAP, SEGMENT_BLOCKS, SEGMENT_SIZE } from "../log/format.js";
import type { LogRecord, RecordCursor } from "../log/record-reader.js";
import { readRecords, replayRange } from "../log/recovery.js";
import type { Segment, SegmentTable } from "../log/segment-table.js";
import type { BlockMap } from "../volume/block-map.js";
import type { Volume } from "../volume/volume.js";

export interface RewindProgress {
  readonly done: boolean;
  /** Bytes of log looked through, of so many. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export class Rewind {
  readonly map: BlockMap;
  readonly timeMs: number;
  readonly #volume: Volume;
  readonly #segments: { segment: Segment; limit: number }[];
  readonly #count: number;
  /** Records above it are not of this stretch. */
  readonly #last: number;
  #sequence: number;
  #done: boolean;

  /** Throws TIME_NOT_KEPT. Nothing is staged in the volume, and nothing is cleaned or freed until it is over. */
  constructor(volume: Volume, table: SegmentTable, timeMs: number) {
    const { keyframes, earliestMs } = volume.history;
    const at = keyframes.findLastIndex((keyframe) => keyframe.timeMs <= timeMs);
    const from = keyframes[at];
    if (from === undefined) {
      throw storageError("TIME_NOT_KEPT", `${volume.name} is not kept as it was then`, {
        field: "to",
        remedy:
          earliestMs === undefined
            ? "it has no rewind window: plinth volume set --rewind"
            : `the earliest moment is ${new Date(earliestMs).toISOString()}`,
      });
    }
    volume.settle();
    this.timeMs = timeMs;
    this.#volume = volume;
    this.#sequence = from.root.sequence;
    this.#last = keyframes[at + 1]?.root.sequence ?? volume.writer.sequence;
    this.#segments = replayRange(table.logOf(volume.id), this.#sequence);
    this.#count = this.#segments.length;
    this.#done = this.#sequence >= this.#last;
    this.map = from.root.map.freeze();
    this.map.grow(volume.sizeBytes / BLOCK_SIZE);
  }

  /** Takes up one segment. Throws VOLUME_DAMAGED when a record is missing. */
  step(): RewindProgress {
    const next = this.#done ? undefined : this.#segments.shift();
    if (next !== undefined) this.#takeUp(next.segment, next.limit);
    else if (!this.#done) this.#missing();
    return {
      done: this.#done,
      doneBytes: (this.#count - (this.#done ? 0 : this.#segments.length)) * SEGMENT_SIZE,
      totalBytes: this.#count * SEGMENT_SIZE,
    };
  }

  #takeUp(segment: Segment, limit: number): void {
    for (const record of readRecords(segment)) {
      const { sequence } = record;
      if (record.volume !== this.#volume.id || sequence >= limit || sequence <= this.#sequence) continue;
      if (sequence !== this.#sequence + 1) this.#missing();
      if (record.kind === RECORD_MARK && record.offset > this.timeMs) {
        this.#done = true;
        return;
      }
      this.#sequence = sequence;
      applyRecord(this.map, segment, record, this.#volume.sizeBytes);
      if (sequence < this.#last) continue;
      this.#done = true;
      return;
    }
  }

  #missing(): never {
    throw storageError(
      "VOLUME_DAMAGED",
      `record ${this.#sequence + 1} of ${this.#volume.name} cannot be read: it can only be rewound to before or after`,
      { field: "to" },
    );
  }

  /** Lets go of the map, unless whoever took it keeps it. */
  release(): void {
    this.map.release();
  }
}

/** Takes what a record says into a map; what lies beyond the volume's end is left out. */
export function applyRecord(
  map: BlockMap,
  segment: Segment,
  record: LogRecord | RecordCursor,
  sizeBytes: number,
): void {
  if (record.kind === RECORD_MARK) return;
  const block = record.offset / BLOCK_SIZE;
  const count = Math.min(record.length / BLOCK_SIZE, Math.max(0, sizeBytes / BLOCK_SIZE - block));
  const location = segment.index * SEGMENT_BLOCKS + record.dataBlock;
  if (record.kind === RECORD_UNMAP) map.unmap(block, count);
  else for (let i = 0; i < count; i++) map.set(block + i, location + i, record.sum(i));
}
