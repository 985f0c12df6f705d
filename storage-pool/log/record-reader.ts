// Reading the records of an index area, as format.ts lays them out: nothing that stands there is trusted, not even where it
// says that it is. Invariant: what is taken is inside its slot and its volume, and has the checksum that it says.
// Thread: any. Hot: no (replay).
import { BLOCK_SIZE } from "../limits.js";
import { checksum } from "./checksum.js";
import {
  DATA_BLOCKS,
  GROUP_BLOCKS,
  GROUP_FIRST_BLOCK,
  GROUP_PACKED_MAX,
  GROUP_SIZE,
  getUint64,
  INDEX_BLOCKS,
  INDEX_SIZE,
  MAGIC_RECORD,
  PACKED_NUMBER_MIN,
  RECORD_DATA,
  RECORD_GROUP,
  RECORD_MARK,
  RECORD_SERIAL,
  RECORD_SIZE,
  RECORD_UNMAP,
  recordSize,
  SEGMENT_BLOCKS,
  SEGMENT_INDEX_MAX,
} from "./format.js";

const U32 = 0x1_0000_0000;

/** Whether a record of any kind seems to begin at `at`: cheaper than parsing. */
export function hasRecordMagic(view: DataView, at: number): boolean {
  return view.getUint32(at, true) === MAGIC_RECORD;
}

/**
 * What the records of an index area say of places, without their checksums being looked at: for who asks the maps
 * whether it is so. Numbers are inside the slot. `block` is of the volume.
 */
export function visitRecordPlaces(
  view: DataView,
  serial: number,
  visit: (kind: number, block: number, dataBlock: number, blockCount: number) => void,
): void {
  for (let at = 0; at + RECORD_SIZE <= INDEX_SIZE; ) {
    if (!hasRecordMagic(view, at) || getUint64(view, at + RECORD_SERIAL) !== serial) {
      at += 8;
      continue;
    }
    const kind = view.getUint32(at + 48, true);
    const count = kind === RECORD_DATA ? Math.floor(getUint64(view, at + 40) / BLOCK_SIZE) : 0;
    const dataBlock = view.getUint32(at + 52, true);
    const block = Math.floor(getUint64(view, at + 32) / BLOCK_SIZE);
    const possible = count <= DATA_BLOCKS && dataBlock + count <= SEGMENT_BLOCKS && block + count <= U32;
    if (possible) visit(kind, block, dataBlock, count);
    at += possible ? recordSize(count) : 8;
  }
}

/** One record of an index area at a time, without an object for each: a log that is replayed has hundreds of thousands. */
export class RecordCursor {
  volume = 0;
  epoch = 0;
  sequence = 0;
  durable = 0;
  offset = 0;
  length = 0;
  kind = 0;
  dataBlock = 0;
  /** Blocks of payload. */
  blockCount = 0;
  /** Bytes that the record takes in the index area, and where it stands there. */
  size = 0;
  at = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** Takes the record at `at`; false when no whole and valid one of segment `serial` is there. `view` covers `index`. */
  read(index: Uint8Array, view: DataView, at: number, serial: number): boolean {
    if (at + RECORD_SIZE > index.byteLength) return false;
    if (view.getUint32(at, true) !== MAGIC_RECORD || getUint64(view, at + RECORD_SERIAL) !== serial)
      return false;
    const kind = view.getUint32(at + 48, true);
    const offset = getUint64(view, at + 32);
    const length = getUint64(view, at + 40);
    const dataBlock = view.getUint32(at + 52, true);
    if (!Number.isSafeInteger(offset + length)) return false;
    const isMark = kind === RECORD_MARK;
    if (!isMark && (length === 0 || length % BLOCK_SIZE !== 0 || offset % BLOCK_SIZE !== 0)) return false;
    const isGroup = kind === RECORD_GROUP;
    if (!isMark && kind !== RECORD_DATA && kind !== RECORD_UNMAP && !isGroup) return false;
    if (isGroup && !isPossibleGroup(view, at)) return false;
    const payload = kind === RECORD_DATA ? length : isGroup ? getUint64(view, at + 24) : 0;
    const blockCount = Math.ceil(payload / BLOCK_SIZE);
    if (blockCount > DATA_BLOCKS) return false;
    if (blockCount > 0 && (dataBlock < INDEX_BLOCKS || dataBlock + blockCount > SEGMENT_BLOCKS)) return false;
    const size = recordSize(isGroup ? blockCount + GROUP_BLOCKS : blockCount);
    if (at + size > index.byteLength) return false;
    if (view.getUint32(at + 4, true) !== checksum(index, at + 8, size - 8)) return false;
    this.volume = view.getUint32(at + 8, true);
    this.epoch = view.getUint32(at + 12, true);
    this.sequence = getUint64(view, at + 16);
    this.durable = getUint64(view, at + 24);
    this.offset = offset;
    this.length = length;
    this.kind = kind;
    this.dataBlock = dataBlock;
    this.blockCount = blockCount;
    this.size = size;
    this.at = at;
    this.#view = view;
    return true;
  }

  /** The crc32c of the `i`-th payload block, for as long as the index area is as it was. */
  sum(i: number): number {
    return this.#view.getUint32(this.at + RECORD_SIZE + i * 4, true);
  }
}

/** Whether what the record of a group says of it can be. */
function isPossibleGroup(view: DataView, at: number): boolean {
  const location = view.getUint32(at + 12, true);
  const place = location & (SEGMENT_BLOCKS - 1);
  const number = location >>> 10;
  if (place < GROUP_FIRST_BLOCK || place % GROUP_BLOCKS !== 0) return false;
  if (number < PACKED_NUMBER_MIN || number > SEGMENT_INDEX_MAX) return false;
  const stored = getUint64(view, at + 16);
  const size = getUint64(view, at + 24);
  return (
    view.getUint32(at + 8, true) === 0 &&
    stored > 0 &&
    stored < 2 ** GROUP_BLOCKS &&
    size > 0 &&
    size <= GROUP_PACKED_MAX * BLOCK_SIZE &&
    getUint64(view, at + 32) % GROUP_SIZE === 0 &&
    getUint64(view, at + 40) === GROUP_SIZE
  );
}

/** What the record of a group says beside where its payload lies. */
export interface GroupPlaces {
  /** Of its first block. */
  readonly location: number;
  /** Bit i: block i is stored there. */
  readonly stored: number;
  /** Of the packed stream, in bytes. */
  readonly size: number;
  /** crc32c of its GROUP_BLOCKS blocks. */
  readonly sums: Uint32Array;
}

/** A record that stays what it is. */
export class LogRecord {
  readonly volume: number;
  readonly epoch: number;
  readonly sequence: number;
  readonly durable: number;
  readonly offset: number;
  readonly length: number;
  readonly kind: number;
  readonly dataBlock: number;
  /** Of the blocks of payload, as they are on the disk. */
  readonly checksums: Uint32Array;
  /** Of the record of a group. */
  readonly group: GroupPlaces | undefined;
  /** Bytes that the record takes in the index area, and where it stands there. */
  readonly size: number;
  readonly at: number;

  constructor(from: RecordCursor) {
    this.volume = from.volume;
    this.epoch = from.epoch;
    this.sequence = from.sequence;
    this.durable = from.durable;
    this.offset = from.offset;
    this.length = from.length;
    this.kind = from.kind;
    this.dataBlock = from.dataBlock;
    this.checksums = new Uint32Array(from.blockCount);
    for (let i = 0; i < from.blockCount; i++) this.checksums[i] = from.sum(i);
    this.group = from.kind === RECORD_GROUP ? groupOf(from) : undefined;
    this.size = from.size;
    this.at = from.at;
  }

  sum(i: number): number {
    return this.checksums[i] as number;
  }
}

function groupOf(from: RecordCursor): GroupPlaces {
  const sums = new Uint32Array(GROUP_BLOCKS);
  for (let i = 0; i < GROUP_BLOCKS; i++) sums[i] = from.sum(from.blockCount + i);
  return { location: from.epoch, stored: from.sequence, size: from.durable, sums };
}

const cursor = new RecordCursor();

/** The record at `at` of an index area, or undefined when no whole and valid one of segment `serial` is there. */
export function parseRecord(index: Uint8Array, at: number, serial: number): LogRecord | undefined {
  const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
  return cursor.read(index, view, at, serial) ? new LogRecord(cursor) : undefined;
}
