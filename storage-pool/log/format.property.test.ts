import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import {
  DATA_BLOCKS,
  encodeCell,
  encodeMapHeader,
  encodeRecord,
  encodeSuperblock,
  FORMAT_VERSION,
  INDEX_BLOCKS,
  INDEX_SIZE,
  parseCell,
  parseMapHeader,
  parseMapTrailer,
  parseSuperblock,
  RECORD_DATA,
  RECORD_SIZE,
  recordSize,
  SEGMENT_SIZE,
  slotCountOf,
  slotsAt,
} from "./format.js";
import { parseRecord } from "./record-reader.js";

const safe = fc.maxSafeNat();
const u32 = fc.nat(0xffffffff);

test("the index area holds one record for each block of payload", () => {
  expect(DATA_BLOCKS * recordSize(1)).toBeLessThanOrEqual(INDEX_SIZE);
});

test("slots fit into the disk, behind their cells", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), (sizeBytes) => {
      const count = slotCountOf(sizeBytes);
      if (count > 0) expect(slotsAt(count) + count * SEGMENT_SIZE).toBeLessThanOrEqual(sizeBytes);
      expect(slotsAt(count)).toBeGreaterThanOrEqual(4096 + count * 512);
    }),
  );
});

test("a record is read back as it was written, and not under another serial, nor with any bit flipped", () => {
  fc.assert(
    fc.property(
      fc.record({ volume: u32, epoch: u32, sequence: safe, durable: safe, block: fc.nat(1e9), serial: safe }),
      fc.array(u32, { minLength: 1, maxLength: 40 }),
      fc.nat(5),
      fc.nat(),
      ({ volume, epoch, sequence, durable, block, serial }, sums, place, flip) => {
        const buffer = new DataBuffer(4096);
        const at = place * 8;
        for (const [i, sum] of sums.entries()) buffer.view.setUint32(at + RECORD_SIZE + i * 4, sum, true);
        const length = sums.length * 4096;
        const { bytes } = buffer;
        const size = encodeRecord(
          buffer,
          at,
          volume,
          epoch,
          sequence,
          durable,
          block * 4096,
          length,
          RECORD_DATA,
          INDEX_BLOCKS,
          serial,
          sums.length,
        );
        expect(size).toBe(recordSize(sums.length));
        const back = parseRecord(bytes, at, serial);
        expect(back).toMatchObject({ volume, epoch, sequence, durable, offset: block * 4096, length, size });
        expect([...(back?.checksums ?? [])]).toEqual(sums);
        expect(parseRecord(bytes, at, serial + 1)).toBeUndefined();
        bytes[at + (flip % size)] = (bytes[at + (flip % size)] as number) ^ (1 << (flip % 8));
        expect(parseRecord(bytes, at, serial)).toBeUndefined();
      },
    ),
  );
});

test("arbitrary bytes are no record, cell or map, and raise nothing but PlinthError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, at) => {
      expect(parseRecord(bytes, at, 1)).toBeUndefined();
      expect(parseCell(bytes)).toBeUndefined();
      expect(parseMapHeader(bytes)).toBeUndefined();
      expect(parseMapTrailer(bytes)).toBeUndefined();
      try {
        expect(parseSuperblock(bytes, "disk")).toBeUndefined();
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
      }
    }),
  );
});

test("a reader refuses a format that it does not know", () => {
  const newer = FORMAT_VERSION + 1;
  const superblock = {
    formatVersion: newer,
    poolId: "p",
    poolName: "p",
    diskId: "d",
    diskIndex: 0,
    diskCount: 1,
    segmentSizeBytes: SEGMENT_SIZE,
    blockSizeBytes: 4096,
    slotCount: 10,
  };
  const refusal = expect.objectContaining({ code: "DISK_FORMAT" });
  expect(() => parseSuperblock(encodeSuperblock(superblock), "disk")).toThrowError(refusal);
  const cell = {
    formatVersion: newer,
    serial: 1,
    index: 1,
    kind: 1,
    volume: 1,
    epoch: 1,
    firstSequence: 1,
    places: [0, 0],
    revision: 0,
    copies: 1,
    diskClass: "",
    numbers: [],
    storedBlocks: 0,
  };
  expect(() => parseCell(encodeCell(cell))).toThrowError(refusal);
  const map = {
    formatVersion: newer,
    volume: 1,
    sequence: 1,
    sizeBytes: 4096,
    pageCount: 0,
    entryCount: 0,
    epoch: 0,
  };
  expect(() => parseMapHeader(encodeMapHeader(map))).toThrowError(refusal);
  expect(
    parseSuperblock(encodeSuperblock({ ...superblock, formatVersion: FORMAT_VERSION }), "disk")?.poolId,
  ).toBe("p");
});
