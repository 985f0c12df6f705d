import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { createBlockCipher } from "./block-cipher.js";
import { NodeBlockCipher } from "./node-block-cipher.js";
import { SnapshotDevice } from "./snapshot-device.js";

const MIB = 1024 * 1024;
const KEY = Uint8Array.from({ length: 64 }, (_, i) => i + 1);

test("both ciphers are the same, at any block and place, and undo themselves", () => {
  const direct = createBlockCipher(KEY);
  const node = new NodeBlockCipher(KEY);
  const source = new DataBuffer(4 * BLOCK_SIZE);
  const [a, b] = [new DataBuffer(4 * BLOCK_SIZE), new DataBuffer(4 * BLOCK_SIZE)];
  for (let i = 0; i < source.bytes.length; i++) source.bytes[i] = (i * 31 + (i >> 8)) & 255;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 5 }), fc.constantFrom(1, 2, 3), (block, count) => {
      direct.encrypt(source, BLOCK_SIZE, a, 0, block, count);
      node.encrypt(source, BLOCK_SIZE, b, 0, block, count);
      const end = count * BLOCK_SIZE;
      expect(a.bytes.subarray(0, end).equals(b.bytes.subarray(0, end))).toBe(true);
      direct.decrypt(a, 0, block, count);
      node.decrypt(b, 0, block, count);
      const plain = source.bytes.subarray(BLOCK_SIZE, BLOCK_SIZE + end);
      expect(a.bytes.subarray(0, end).equals(plain)).toBe(true);
      expect(b.bytes.subarray(0, end).equals(plain)).toBe(true);
    }),
    { numRuns: 50 },
  );
  direct.close();
});

// Source: IEEE 1619-2007, annex B, vector 10; a longer data unit begins with the same bytes.
test("both ciphers are AES-256-XTS as IEEE 1619 has it", () => {
  const digits =
    "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592";
  const source = new DataBuffer(BLOCK_SIZE);
  for (let i = 0; i < BLOCK_SIZE; i++) source.bytes[i] = i & 255;
  const key = Buffer.from(digits, "hex");
  for (const cipher of [createBlockCipher(key), new NodeBlockCipher(key)]) {
    const target = new DataBuffer(BLOCK_SIZE);
    cipher.encrypt(source, 0, target, 0, 0xff, 1);
    expect(target.bytes.subarray(0, 32).toString("hex")).toBe(
      "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
    );
  }
});

test("an encrypted volume holds no plaintext on its disks or in its maps, and reads as it was written", () => {
  const memory = new MemoryPool(2, 128 * MIB);
  const volume = memory.createVolume(1, 16 * MIB, 2, "k");
  const buffer = new DataBuffer(4 * MIB);
  const marker = Buffer.from("this must not be found anywhere!");
  buffer.bytes.fill(9, 0, BLOCK_SIZE);
  expect(volume.stageWrite(buffer, 0, 0, BLOCK_SIZE)).toBe(5);
  expect(volume.read(buffer, 0, 0, BLOCK_SIZE)).toBe(5);
  memory.pool.keys.unlock("k", KEY);
  // Whole blocks, a part of one, more than is encrypted at a time, zeros that are kept.
  const write = (offset: number, length: number) => {
    for (let at = 0; at < length; at += 32) marker.copy(buffer.bytes, at);
    expect(volume.stageWrite(buffer, 0, offset, length)).toBe(0);
    expect(volume.commit()).toBe(0);
  };
  write(0, 8 * BLOCK_SIZE);
  write(3 * MIB + 512, 1024);
  write(4 * MIB, 300 * BLOCK_SIZE);
  expect(volume.stageZeroes(12 * MIB, 100 * BLOCK_SIZE)).toBe(0);
  expect(volume.flush()).toBe(0);
  memory.createSnapshot(1, "s");
  write(0, BLOCK_SIZE);
  // The cleaner moves what is left of a segment that is mostly dead.
  for (let i = 0; i < 6; i++) write(4 * MIB, 290 * BLOCK_SIZE);
  memory.settle();
  const digest = () => {
    const target = new DataBuffer(16 * MIB);
    const open = memory.pool.volume(1);
    expect(open.read(target, 0, 0, 16 * MIB)).toBe(0);
    return createHash("sha256").update(target.bytes).digest("hex");
  };
  const tickets = [0, 1, 2].map((block) =>
    volume.prepareRead(buffer, block * BLOCK_SIZE, 4 * MIB + block * BLOCK_SIZE, BLOCK_SIZE),
  );
  buffer.bytes.fill(0);
  expect(tickets.map((ticket) => volume.finishRead(ticket))).toEqual([0, 0, 0]);
  for (let at = 0; at < 3 * BLOCK_SIZE; at += 32) {
    expect(buffer.bytes.subarray(at, at + 32).equals(marker)).toBe(true);
  }
  const before = digest();
  expect(volume.flush()).toBe(0);
  memory.reopen();
  expect(memory.pool.volume(1).locked).toBe(true);
  expect(memory.pool.volume(1).read(buffer, 0, 0, BLOCK_SIZE)).toBe(5);
  // What lies there is proven and cleaned without the key.
  memory.pool.prove(1);
  memory.settle();
  expect(memory.pool.jobs.reports().find((job) => job.kind === "prove")).toMatchObject({ lostBlocks: 0 });
  const wrong = new MemoryPool(1);
  wrong.pool.keys.unlock("other", KEY);
  expect(wrong.createVolume(1, MIB, 1, "k").locked).toBe(true);
  memory.pool.keys.unlock("k", KEY);
  expect(digest()).toBe(before);
  const snapshot = new SnapshotDevice(
    memory.pool.volume(1),
    memory.pool.snapshotOf(memory.pool.volume(1), "s"),
  );
  expect(snapshot.read(buffer, 0, 3 * MIB + 512, 1024)).toBe(0);
  expect(buffer.bytes.subarray(0, 32).equals(marker)).toBe(true);
  const target = new DataBuffer(2 * MIB);
  for (const disk of memory.disks) {
    for (let at = 0; at < disk.sizeBytes; at += MIB) {
      disk.read(target, 0, Math.min(2 * MIB, disk.sizeBytes - at), at);
      expect(target.bytes.includes(marker)).toBe(false);
    }
  }
  for (const bytes of memory.files.files.values()) expect(Buffer.from(bytes).includes(marker)).toBe(false);
});

test("equal blocks at different places differ on the medium, at one place in a clone they are shared", () => {
  const cipher = new NodeBlockCipher(KEY);
  const source = new DataBuffer(2 * BLOCK_SIZE);
  source.bytes.fill(7);
  const target = new DataBuffer(2 * BLOCK_SIZE);
  cipher.encrypt(source, 0, target, 0, 5, 2);
  const [first, second] = [target.bytes.subarray(0, BLOCK_SIZE), target.bytes.subarray(BLOCK_SIZE)];
  expect(first.equals(second)).toBe(false);
  expect(new Set([...first]).size).toBeGreaterThan(200);
});
