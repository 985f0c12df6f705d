// The on-disk format: everything that is ever written to a pool's disks, and its encoding.
//
//  disk (a file, a block device, or DIRECTORY/segments)
//  ┌────────────┬───────────────────────────┬─ … ─┬──────────┬──────────┬─
//  │ superblock │ header cells, 512 B each  │     │ slot 0   │ slot 1   │ …          slot = SEGMENT_SIZE = 4 MiB
//  │ 4 KiB      │ one per slot (protobuf)   │     │          │          │
//  └────────────┴───────────────────────────┴─ … ─┴──────────┴──────────┴─
//  0            4096                         slotsAt (multiple of 4 MiB)
//
//  superblock, header cell:  "PLsb"|"PLsg" · u32 crc32c of what follows · u32 record length · record (protobuf)
//  stamp, at 2048 within the superblock's 4 KiB, a sector of its own: "PLst" and as above; written at each opening, so
//  that a catalogue is known to be older than the disk. Programs before it wrote none.
//  doubt, 16 random bytes at 3584 likewise: written when what stands at the disk's path may be a copy of it, to be told by.
//
//  slot of a packed segment: the same, but what its records say (below); `index` is the first of up to 8 segment numbers.
//
//  slot:  index area (18 blocks)                             data area (1006 blocks)
//  ┌────────────────────────────────────────────────┬──────────────────────────────────────────┐
//  │ record 0 │ record 1 │ record 2 │ …             │ 4 KiB │ 4 KiB │ 4 KiB │ …                │
//  └────────────────────────────────────────────────┴──────────────────────────────────────────┘
//  Records and payload both only grow to the right. Payload is written before its record. All cells stand together
//  at the disk's head so that a start reads them in one sweep; a cell is one sector, hence written whole or not.
//
//  record (little endian), 64 B + 4 B per block of payload, padded to 8 B:
//   0 u32 magic "PLr1"           the version of this layout is part of the magic
//   4 u32 checksum               crc32c of bytes 8 to the record's end
//   8 u32 volume
//  12 u32 epoch                  raised each time the volume is opened
//  16 u64 sequence               1, 2, 3 … without gaps within a volume
//  24 u64 durable position       every sequence up to this one was on the medium when this record was made
//  32 u64 offset                 bytes into the volume, multiple of 4096
//  40 u64 length                 bytes, multiple of 4096
//  48 u32 kind                   1 data, 2 unmap (the range reads as zeros, no payload), 3 mark (offset is a time, ms
//                                since 1970; every later record was written then or after; no length, no payload)
//  52 u32 data block             first payload block, counted from the start of the slot
//  56 u64 serial                 of the segment: what an earlier life of the slot left behind never passes
//  64 u32 × n                    crc32c of each payload block
//
//  record of a group (kind 4), in packed segments only: 16 neighbouring blocks of a volume that take less room together.
//  volume 0; as above but for
//  12 u32 location               of the group's first block, as maps have it: one of the segment's numbers × 1024 + 32 + 16 g
//  16 u64 stored                 bit i: block i of the group is there; the others were packed as zeros, and no map names them
//  24 u64 size                   of the raw deflate stream (RFC 1951) that its payload begins with, at most 48 KiB; it holds
//                                65536 bytes. What the payload's last block has behind it is zero
//  32 u64 offset, 40 u64 length  of the group: a multiple of 65536, and 65536
//  64 u32 × n, u32 × 16          crc32c of each payload block, as it is on the disk; then of each block of the volume, 0 where
//                                none is stored
//  A location of the group names block i as `location + i`; where its payload lies only the record says. So a packed segment
//  has a number for every 992 blocks: those from the top of what there is downwards, where no other segment has one.
//
//  Why records stand apart from payload: both are appended by one write per batch, a 4 KiB read reads 4 KiB at a
//  4 KiB boundary, recovery reads 72 KiB per 4 MiB, and a 4 KiB write costs 72 bytes of overhead, not 4096.
//  Where the checksums live: on disk in the records and in checkpoints, in memory in the map (4 of its 8 bytes).
//
//  map file (the map of a head or of a snapshot), in the daemon's directory; header and trailer sealed like a cell:
//   4 KiB "PLmp" header (MapHeader) │ own pages, 4 KiB each │ table, 20 B per page of the map │ "PLmt" trailer (MapTrailer)
//   page: 512 × u32 location, 512 × u32 crc32c of the block
//   location = segment index × 1024 + block within the slot; 0 = nothing stored, reads as zeros; 0xffffffff = was stored,
//   but the page that said where is damaged.
//   table entry: u32 page index · u32 file (0: this one, n: the trailer's files[n − 1]) · u32 page within that file ·
//                u32 crc32c of the page · u32 blocks stored in it. So a file holds only the pages that no earlier file has,
//                and a start knows how much each map holds without reading a page.
//
// Encrypted volumes: a payload block is AES-256-XTS of what the volume holds there, one data unit per block, its tweak the
// number of the block in the volume (offset / 4096, little endian, 16 bytes). Checksums are of the ciphertext. Records,
// maps and headers are not encrypted. Which volumes are, and with which key, the catalogue says; keys: keys/key-ring.ts.
//
// Versioned by FORMAT_VERSION: a reader refuses what it does not know. Version 1 had no marks, no revisions of segment
// headers, and map files with all their pages (indexes and sums in the trailer); version 2 no encrypted volumes; version
// 3 table entries of 16 B, without the blocks stored; version 4 no packed segments. All are read, and become 5: disks when
// they are opened, maps (of which, before version 4, a start reads every page until then) when next written.
// Invariant: all encoders are here and nowhere else. Thread: any. Hot: yes (encodeRecord).

import { defineRecord, type RecordType } from "../../base/schema/index.js";
import type { DataBuffer } from "../disk/data-buffer.js";
import { storageError } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum, checksum } from "./checksum.js";

export const FORMAT_VERSION = 5;
/** Read, too. */
export const FORMAT_OLDEST = 1;
export const SEGMENT_SIZE = 4 * 1024 * 1024;
export const SEGMENT_BLOCKS = SEGMENT_SIZE / BLOCK_SIZE;
/** Enough records for one per block of payload: 1006 × 72 bytes. */
export const INDEX_BLOCKS = 18;
export const INDEX_SIZE = INDEX_BLOCKS * BLOCK_SIZE;
export const DATA_BLOCKS = SEGMENT_BLOCKS - INDEX_BLOCKS;
export const CELL_SIZE = 512;
export const CELLS_AT = BLOCK_SIZE;
export const STAMP_AT = 2048;
export const DOUBT_AT = 3584;
export const DOUBT_SIZE = 16;
export const RECORD_SIZE = 64;
/** Where a record says of which segment it is. */
export const RECORD_SERIAL = 56;
export const RECORD_DATA = 1;
export const RECORD_UNMAP = 2;
export const RECORD_MARK = 3;
export const RECORD_GROUP = 4;
/** Blocks of a volume that are packed together, and as bytes. */
export const GROUP_BLOCKS = 16;
export const GROUP_SIZE = GROUP_BLOCKS * BLOCK_SIZE;
/** Blocks that a packed group takes at most. */
export const GROUP_PACKED_MAX = 12;
/** Groups that one number of a packed segment names, the first of them as block GROUP_FIRST_BLOCK. */
export const GROUP_FIRST_BLOCK = 32;
export const NUMBER_GROUPS = (SEGMENT_BLOCKS - GROUP_FIRST_BLOCK) / GROUP_BLOCKS;
/** Numbers of a packed segment, at most. */
export const NUMBERS_MAX = 8;
export const TABLE_ENTRY_SIZE = 20;
/** Of versions 2 and 3. */
export const TABLE_ENTRY_SIZE_OLD = 16;
/** Locations of the next one would look like LOCATION_LOST. */
export const SEGMENT_INDEX_MAX = 2 ** 22 - 2;
/** Numbers of packed segments are never lower. */
export const PACKED_NUMBER_MIN = 2 ** 21;
/** A block of which the map does not say any more where it is. */
export const LOCATION_LOST = 0xffff_ffff;
export const PAGE_ENTRIES = 512;
export const PAGE_SIZE = PAGE_ENTRIES * 8;

const MAGIC_SUPERBLOCK = 0x6273_4c50;
const MAGIC_CELL = 0x6773_4c50;
const MAGIC_STAMP = 0x7473_4c50;
const MAGIC_MAP = 0x706d_4c50;
const MAGIC_TRAILER = 0x746d_4c50;
export const MAGIC_RECORD = 0x3172_4c50;
const ENVELOPE_SIZE = 12;
const U32 = 0x1_0000_0000;

/** Identity and geometry of one disk; written once. */
export interface Superblock {
  formatVersion: number;
  poolId: string;
  poolName: string;
  diskId: string;
  /** Place of the disk within the pool, from 0. */
  diskIndex: number;
  diskCount: number;
  segmentSizeBytes: number;
  blockSizeBytes: number;
  slotCount: number;
}

/** Which opening of the pool used the disk last. */
export interface DiskStamp {
  epoch: number;
}

export const SEGMENT_LOG = 1;
export const SEGMENT_MOVED = 2;
export const SEGMENT_PACKED = 3;

/** What a slot holds; an empty cell means that the slot is free. */
export interface SegmentHeader {
  formatVersion: number;
  /** Unique for ever within the pool, rising. */
  serial: number;
  /** The segment's number, which locations name; shared by all copies. */
  index: number;
  /**
   * SEGMENT_LOG: records of `volume` in sequence. SEGMENT_MOVED: payload put together by the cleaner. SEGMENT_PACKED: groups
   * of blocks of `volume` and its clones, packed.
   */
  kind: number;
  volume: number;
  epoch: number;
  /** Sequence of the first record that may stand here. */
  firstSequence: number;
  /** Disk index and slot of each copy, in pairs. */
  places: number[];
  /** Rises when copies move: of two cells with one serial the higher one holds. */
  revision: number;
  /** Copies that there shall be. */
  copies: number;
  /** The class of disks that it is kept on; "" when any will do. */
  diskClass: string;
  /** Of SEGMENT_PACKED: all numbers that locations name it by, `index` first; else none. */
  numbers: number[];
  /** Of SEGMENT_PACKED: blocks of volumes that were put there. */
  storedBlocks: number;
}

/** What a map file says about itself. */
export interface MapHeader {
  formatVersion: number;
  volume: number;
  /** The map holds every record up to this one. */
  sequence: number;
  sizeBytes: number;
  /** Pages in this file. */
  pageCount: number;
  /** Pages of the map; 0 in version 1. */
  entryCount: number;
  /**
   * The volume's epoch when it was written: records above `sequence` in segments of an earlier one were cut off the log
   * by then. 0 where that was not noted, and for maps of new volumes.
   */
  epoch: number;
}

export interface MapTrailer {
  /** Only in version 1: index of each page. */
  pageIndexes: number[];
  /** Only in version 1: crc32c of each page. */
  checksums: number[];
  /** Segments that were there, all that locations name among them: index and serial, in pairs. */
  segments: number[];
  /** Other map files that hold pages of this map. */
  files: string[];
  /** crc32c of the table. */
  tableChecksum: number;
}

export const superblockRecord: RecordType<Superblock> = defineRecord<Superblock>("Superblock", {
  formatVersion: { number: 1, type: "uint32" },
  poolId: { number: 2, type: "string" },
  poolName: { number: 3, type: "string" },
  diskId: { number: 4, type: "string" },
  diskIndex: { number: 5, type: "uint32" },
  diskCount: { number: 6, type: "uint32" },
  segmentSizeBytes: { number: 7, type: "uint32" },
  blockSizeBytes: { number: 8, type: "uint32" },
  slotCount: { number: 9, type: "uint32" },
});

const stampRecord: RecordType<DiskStamp> = defineRecord<DiskStamp>("DiskStamp", {
  epoch: { number: 1, type: "uint32" },
});

export const segmentHeaderRecord: RecordType<SegmentHeader> = defineRecord<SegmentHeader>("SegmentHeader", {
  formatVersion: { number: 1, type: "uint32" },
  serial: { number: 2, type: "uint64" },
  index: { number: 3, type: "uint32" },
  kind: { number: 4, type: "uint32" },
  volume: { number: 5, type: "uint32" },
  epoch: { number: 6, type: "uint32" },
  firstSequence: { number: 7, type: "uint64" },
  places: { number: 8, type: "uint32", repeated: true },
  revision: { number: 9, type: "uint32" },
  copies: { number: 10, type: "uint32" },
  diskClass: { number: 11, type: "string" },
  numbers: { number: 12, type: "uint32", repeated: true },
  storedBlocks: { number: 13, type: "uint32" },
});

export const mapHeaderRecord: RecordType<MapHeader> = defineRecord<MapHeader>("MapHeader", {
  formatVersion: { number: 1, type: "uint32" },
  volume: { number: 2, type: "uint32" },
  sequence: { number: 3, type: "uint64" },
  sizeBytes: { number: 4, type: "uint64" },
  pageCount: { number: 5, type: "uint32" },
  entryCount: { number: 6, type: "uint32" },
  epoch: { number: 7, type: "uint32" },
});

export const mapTrailerRecord: RecordType<MapTrailer> = defineRecord<MapTrailer>("MapTrailer", {
  pageIndexes: { number: 1, type: "uint32", repeated: true },
  checksums: { number: 2, type: "uint32", repeated: true },
  segments: { number: 3, type: "uint64", repeated: true },
  files: { number: 4, type: "string", repeated: true },
  tableChecksum: { number: 5, type: "uint32" },
});

/** Byte position of slot 0 on a disk with `slotCount` slots. */
export function slotsAt(slotCount: number): number {
  return Math.ceil((CELLS_AT + slotCount * CELL_SIZE) / SEGMENT_SIZE) * SEGMENT_SIZE;
}

/** How many slots fit into `sizeBytes`. */
export function slotCountOf(sizeBytes: number): number {
  let count = Math.max(0, Math.floor(sizeBytes / SEGMENT_SIZE) - 1);
  while (count > 0 && slotsAt(count) + count * SEGMENT_SIZE > sizeBytes) count--;
  return count;
}

/** Bytes of a record with `blockCount` payload blocks. */
export function recordSize(blockCount: number): number {
  return (RECORD_SIZE + blockCount * 4 + 7) & ~7;
}

/**
 * Completes the record at `at`, a multiple of 8, whose block checksums already stand at `at + RECORD_SIZE`. Numbers are
 * below 2⁵³. Returns the record's size.
 */
export function encodeRecord(
  buffer: DataBuffer,
  at: number,
  volume: number,
  epoch: number,
  sequence: number,
  durable: number,
  offset: number,
  length: number,
  kind: number,
  dataBlock: number,
  serial: number,
  blockCount: number,
): number {
  const size = recordSize(blockCount);
  const { words } = buffer;
  const word = at >>> 2;
  words[word] = MAGIC_RECORD;
  words[word + 2] = volume;
  words[word + 3] = epoch;
  words[word + 4] = sequence >>> 0;
  words[word + 5] = (sequence / U32) >>> 0;
  words[word + 6] = durable >>> 0;
  words[word + 7] = (durable / U32) >>> 0;
  words[word + 8] = offset >>> 0;
  words[word + 9] = (offset / U32) >>> 0;
  words[word + 10] = length >>> 0;
  words[word + 11] = (length / U32) >>> 0;
  words[word + 12] = kind;
  words[word + 13] = dataBlock;
  words[word + 14] = serial >>> 0;
  words[word + 15] = (serial / U32) >>> 0;
  if ((blockCount & 1) === 1) words[word + (size >>> 2) - 1] = 0;
  words[word + 1] = bufferChecksum(buffer, at + 8, size - 8);
  return size;
}

/**
 * Completes the record of a group at `at`, a multiple of 8, whose checksums already stand at `at + RECORD_SIZE`: those of
 * the packed blocks, then GROUP_BLOCKS of its blocks. `size`: of the stream, in bytes. Returns the record's size.
 */
export function encodeGroup(
  buffer: DataBuffer,
  at: number,
  location: number,
  stored: number,
  size: number,
  offset: number,
  dataBlock: number,
  serial: number,
): number {
  const sums = Math.ceil(size / BLOCK_SIZE) + GROUP_BLOCKS;
  return encodeRecord(
    buffer,
    at,
    0,
    location,
    stored,
    size,
    offset,
    GROUP_SIZE,
    RECORD_GROUP,
    dataBlock,
    serial,
    sums,
  );
}

/** A superblock as its 4 KiB on the disk. */
export function encodeSuperblock(superblock: Superblock): Uint8Array {
  return seal(MAGIC_SUPERBLOCK, superblockRecord.encode(superblock), BLOCK_SIZE);
}

/** Undefined when nothing of ours is there (an empty disk). Throws DISK_FORMAT and DISK_DAMAGED. */
export function parseSuperblock(bytes: Uint8Array, path: string): Superblock | undefined {
  if (bytes.every((byte) => byte === 0)) return undefined;
  const opened = unseal(MAGIC_SUPERBLOCK, bytes);
  if (opened === "foreign") {
    throw storageError("DISK_FOREIGN", `${path} holds data that is not Plinth's`, {
      remedy: "give an empty file, directory or device",
    });
  }
  if (opened === "damaged") throw storageError("DISK_DAMAGED", `the superblock of ${path} is damaged`);
  const superblock = superblockRecord.parse(opened);
  const known =
    isKnownVersion(superblock.formatVersion) &&
    superblock.segmentSizeBytes === SEGMENT_SIZE &&
    superblock.blockSizeBytes === BLOCK_SIZE;
  if (!known) {
    throw storageError(
      "DISK_FORMAT",
      `${path} has format ${superblock.formatVersion}; this Plinth reads ${FORMAT_OLDEST} to ${FORMAT_VERSION}`,
      { remedy: "use the Plinth that wrote it" },
    );
  }
  return superblock;
}

export function encodeStamp(stamp: DiskStamp): Uint8Array {
  return seal(MAGIC_STAMP, stampRecord.encode(stamp), CELL_SIZE);
}

/** From the superblock's 4 KiB; undefined when none was written, or not whole. */
export function parseStamp(bytes: Uint8Array): DiskStamp | undefined {
  const opened = unseal(MAGIC_STAMP, bytes.subarray(STAMP_AT, STAMP_AT + CELL_SIZE));
  return typeof opened === "string" ? undefined : stampRecord.parse(opened);
}

export function encodeCell(header: SegmentHeader): Uint8Array {
  return seal(MAGIC_CELL, segmentHeaderRecord.encode(header), CELL_SIZE);
}

/** Undefined for a free slot, and for a cell that was never written whole (its segment holds nothing durable). */
export function parseCell(bytes: Uint8Array): SegmentHeader | undefined {
  const opened = unseal(MAGIC_CELL, bytes);
  if (typeof opened === "string") return undefined;
  const header = segmentHeaderRecord.parse(opened);
  if (!isKnownVersion(header.formatVersion)) {
    throw storageError(
      "DISK_FORMAT",
      `a segment has format ${header.formatVersion}, known is ${FORMAT_VERSION}`,
    );
  }
  return header;
}

function isKnownVersion(version: number): boolean {
  return version >= FORMAT_OLDEST && version <= FORMAT_VERSION;
}

/** The first block of a map file. */
export function encodeMapHeader(header: MapHeader): Uint8Array {
  return seal(MAGIC_MAP, mapHeaderRecord.encode(header), BLOCK_SIZE);
}

/** Undefined when the bytes are no whole and valid header. Throws DISK_FORMAT. */
export function parseMapHeader(bytes: Uint8Array): MapHeader | undefined {
  const opened = unseal(MAGIC_MAP, bytes);
  if (typeof opened === "string") return undefined;
  const header = mapHeaderRecord.parse(opened);
  if (!isKnownVersion(header.formatVersion)) {
    throw storageError("DISK_FORMAT", `a map has format ${header.formatVersion}, known is ${FORMAT_VERSION}`);
  }
  return header;
}

export function encodeMapTrailer(trailer: MapTrailer): Uint8Array {
  const record = mapTrailerRecord.encode(trailer);
  return seal(MAGIC_TRAILER, record, record.byteLength + ENVELOPE_SIZE);
}

export function parseMapTrailer(bytes: Uint8Array): MapTrailer | undefined {
  const opened = unseal(MAGIC_TRAILER, bytes);
  return typeof opened === "string" ? undefined : mapTrailerRecord.parse(opened);
}

function seal(magic: number, record: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  if (record.byteLength + ENVELOPE_SIZE > size)
    throw new RangeError(`a record of ${record.byteLength} bytes`);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(8, record.byteLength, true);
  bytes.set(record, ENVELOPE_SIZE);
  view.setUint32(4, checksum(bytes, 8, record.byteLength + 4), true);
  return bytes;
}

function unseal(magic: number, bytes: Uint8Array): Uint8Array | "foreign" | "damaged" {
  if (bytes.byteLength < ENVELOPE_SIZE) return "foreign";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== magic) return "foreign";
  const length = view.getUint32(8, true);
  if (length > bytes.byteLength - ENVELOPE_SIZE) return "damaged";
  if (view.getUint32(4, true) !== checksum(bytes, 8, length + 4)) return "damaged";
  return bytes.slice(ENVELOPE_SIZE, ENVELOPE_SIZE + length);
}

/** Beyond 2⁵³ the result is not exact, and then no valid number of ours either. */
export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * U32 + view.getUint32(at, true);
}
