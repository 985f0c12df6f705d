// Whatever is done to a volume that is compressed, it holds what was written, and so do its snapshots and clones; the
// codec gives back what it took, and takes any bytes.
import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { auditCounts } from "../pool/count-audit.js";
import { MAP_MEMORY, type VolumeSpec } from "../pool/open-pool.js";
import { MemoryPool } from "../testing/memory-pool.js";
import type { Root, Volume } from "../volume/volume.js";
import {
  encodeGroup,
  GROUP_BLOCKS,
  GROUP_FIRST_BLOCK,
  GROUP_PACKED_MAX,
  GROUP_SIZE,
  INDEX_SIZE,
  RECORD_SIZE,
} from "./format.js";
import { packGroup, unpackGroup } from "./group-codec.js";
import { parseRecord } from "./record-reader.js";

const MIB = 1024 * 1024;
const BLOCKS = 1600;
const buffer = new DataBuffer(BLOCKS * BLOCK_SIZE);

test("packGroup() and unpackGroup() give back what they took, or refuse it", () => {
  const source = new DataBuffer(GROUP_SIZE);
  const target = new DataBuffer(2 * GROUP_SIZE);
  const noise = fc.uint8Array({ minLength: GROUP_SIZE, maxLength: GROUP_SIZE });
  const text = fc.array(fc.constantFrom("some ", "words ", "again", "\n"), { minLength: 1, maxLength: 64 });
  const content = fc.oneof(
    { weight: 1, arbitrary: noise },
    { weight: 4, arbitrary: text.map((words) => Buffer.alloc(GROUP_SIZE, words.join(""))) },
  );
  fc.assert(
    fc.property(content, fc.nat(GROUP_SIZE - 1), fc.nat(255), (bytes, at, byte) => {
      source.bytes.set(bytes);
      source.bytes[at] = byte;
      const packed = packGroup(source, 0);
      if (packed === undefined) return;
      expect(packed.byteLength).toBeLessThanOrEqual(GROUP_PACKED_MAX * BLOCK_SIZE);
      const stream = new DataBuffer(GROUP_SIZE);
      stream.bytes.set(packed);
      expect(unpackGroup(stream, 0, packed.byteLength, target, GROUP_SIZE)).toBe(true);
      expect(target.bytes.subarray(GROUP_SIZE).equals(source.bytes)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test("unpackGroup() takes any bytes, and writes no further than a group", () => {
  const source = new DataBuffer(GROUP_SIZE);
  const target = new DataBuffer(3 * GROUP_SIZE);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 4096 }), (bytes) => {
      source.bytes.set(bytes);
      target.bytes.fill(7);
      unpackGroup(source, 0, bytes.byteLength, target, GROUP_SIZE);
      expect(target.bytes.subarray(0, GROUP_SIZE).every((byte) => byte === 7)).toBe(true);
      expect(target.bytes.subarray(2 * GROUP_SIZE).every((byte) => byte === 7)).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test("the record of a group says what was put into it; with any bit flipped it is none", () => {
  const index = new DataBuffer(INDEX_SIZE);
  const number = fc.integer({ min: 2 ** 21, max: 2 ** 22 - 2 });
  const group = fc.record({
    number,
    place: fc.nat(61),
    stored: fc.integer({ min: 1, max: 0xffff }),
    size: fc.integer({ min: 1, max: GROUP_PACKED_MAX * BLOCK_SIZE }),
    block: fc.nat(2 ** 26),
    dataBlock: fc.integer({ min: 18, max: 1000 }),
    sums: fc.array(fc.nat(0xffff_ffff), { minLength: 28, maxLength: 28 }),
    flip: fc.nat(10_000),
  });
  fc.assert(
    fc.property(group, ({ number, place, stored, size, block, dataBlock, sums, flip }) => {
      const location = number * 1024 + GROUP_FIRST_BLOCK + place * GROUP_BLOCKS;
      const blocks = Math.ceil(size / BLOCK_SIZE);
      for (let i = 0; i < blocks + GROUP_BLOCKS; i++) index.words[RECORD_SIZE / 4 + i] = sums[i] as number;
      const length = encodeGroup(index, 0, location, stored, size, block * GROUP_SIZE, dataBlock, 77);
      const record = parseRecord(index.bytes, 0, 77);
      expect(record?.group).toEqual({
        location,
        stored,
        size,
        sums: Uint32Array.from(sums.slice(blocks, blocks + GROUP_BLOCKS)),
      });
      expect(record).toMatchObject({ offset: block * GROUP_SIZE, dataBlock, size: length, volume: 0 });
      expect([...(record?.checksums ?? [])]).toEqual(sums.slice(0, blocks));
      const at = flip % length;
      index.bytes[at] = (index.bytes[at] as number) ^ (1 << (flip % 8));
      expect(parseRecord(index.bytes, 0, 77)).toBeUndefined();
      index.bytes.fill(0, 0, length);
    }),
    { numRuns: 200 },
  );
});

interface Twin {
  readonly head: Uint32Array;
  readonly snapshots: Map<string, Uint32Array>;
}

/** Writes runs of blocks, each with its own number. Every seventh number is that of noise. */
function write(volume: Volume, twin: Twin, first: number, count: number, tag: number): void {
  const end = Math.min(BLOCKS, first + count);
  for (let block = first; block < end; block++) {
    const at = (block - first) * BLOCK_SIZE;
    const words = new Uint32Array(buffer.bytes.buffer, at, BLOCK_SIZE / 4);
    words.fill(tag + block);
    if (tag % 7 === 0) for (let i = 1; i < words.length; i++) words[i] = Math.imul(tag + i, 0x9e37_79b1);
    twin.head[block] = tag + block;
  }
  expect(volume.stageWrite(buffer, 0, first * BLOCK_SIZE, (end - first) * BLOCK_SIZE)).toBe(0);
  expect(volume.commit()).toBe(0);
}

function expectHeld(volume: Volume, content: Uint32Array, root: Root = volume.head): void {
  expect(volume.read(buffer, 0, 0, BLOCKS * BLOCK_SIZE, true, root)).toBe(0);
  const words = new Uint32Array(buffer.bytes.buffer, 0, (BLOCKS * BLOCK_SIZE) / 4);
  const wrong = content.findIndex((tag, block) => words[block * 1024] !== tag);
  expect(wrong, `block ${wrong} of ${volume.name}@${root.name}`).toBe(-1);
}

const action = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant("write" as const), fc.nat(BLOCKS - 1), fc.nat(600)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("touch" as const), fc.nat(BLOCKS - 1), fc.nat(3)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("trim" as const), fc.nat(BLOCKS - 1), fc.nat(300)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant("settle" as const), fc.nat(1), fc.nat(1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("snapshot" as const), fc.nat(2), fc.nat(1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("restart" as const), fc.nat(1), fc.nat(1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("housekeep" as const), fc.nat(60), fc.nat(1)) },
);

test("a volume that is compressed holds what was written to it", { timeout: 120_000 }, () => {
  let mostPacked = 0;
  fc.assert(
    fc.property(fc.array(action, { minLength: 4, maxLength: 24 }), (actions) => {
      const memory = new MemoryPool(1, 128 * MIB, MAP_MEMORY, { coldMs: 2000, leastBlocks: 920 });
      memory.createVolume(1, BLOCKS * BLOCK_SIZE);
      memory.setCompression(1, "deflate");
      const twin: Twin = { head: new Uint32Array(BLOCKS), snapshots: new Map() };
      write(memory.pool.volume(1), twin, 0, 1500, 1 << 20);
      let nowMs = 0;
      for (const [n, [what, first, second]] of actions.entries()) {
        const volume = memory.pool.volume(1);
        if (what === "write") write(volume, twin, first, 1 + second, (n + 2) << 16);
        else if (what === "touch") write(volume, twin, first, 1 + second, (n + 1000) << 16);
        else if (what === "trim") {
          const end = Math.min(BLOCKS, first + 1 + second);
          expect(volume.stageUnmap(first * BLOCK_SIZE, (end - first) * BLOCK_SIZE)).toBe(0);
          expect(volume.commit()).toBe(0);
          twin.head.fill(0, first, end);
        } else if (what === "settle") {
          volume.writer.seal();
          memory.settle();
        } else if (what === "housekeep") {
          for (let i = 0; i < first; i++) {
            nowMs += 700;
            const outcome = memory.pool.housekeeper.housekeep(1e9 + nowMs);
            if (typeof outcome === "object") memory.record(outcome);
          }
        } else if (what === "restart") {
          expect(volume.flush()).toBe(0);
          memory.reopen();
        } else snapshot(memory, twin, `s${first}`);
        mostPacked = Math.max(mostPacked, memory.pool.table.packedGain);
      }
      const volume = memory.pool.volume(1);
      expectHeld(volume, twin.head);
      for (const [name, content] of twin.snapshots) {
        expectHeld(volume, content, volume.snapshots.get(name) as Root);
      }
      expect(auditCounts(memory.pool.volumes.values(), memory.pool.table)).toEqual([]);
    }),
    { numRuns: 40, endOnFailure: true },
  );
  // Else nothing was tried.
  expect(mostPacked).toBeGreaterThan(0);
});

/** Makes the snapshot, or deletes the one of that name. */
function snapshot(memory: MemoryPool, twin: Twin, name: string): void {
  if (!twin.snapshots.delete(name)) {
    memory.createSnapshot(1, name);
    twin.snapshots.set(name, twin.head.slice());
    return;
  }
  const spec = memory.specs.get(1) as VolumeSpec;
  memory.specs.set(1, { ...spec, snapshots: spec.snapshots.filter((each) => each.name !== name) });
  memory.pool.deleteSnapshot(1, name);
}
