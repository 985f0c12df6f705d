import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { addressOf, loadCrc32c } from "../../base/linux/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { bufferChecksum, checksum } from "./checksum.js";

const SIZE = 40 * 1024;

afterEach(() => void vi.unstubAllEnvs());

describe("bufferChecksum()", () => {
  it("is the crc32c of RFC 3720 over any range, whichever library made it", () => {
    const buffer = new DataBuffer(SIZE);
    const native = loadCrc32c();
    fc.assert(
      fc.property(fc.integer(), fc.nat(SIZE), fc.nat(SIZE), (seed, one, other) => {
        for (let i = 0; i < SIZE; i++) buffer.bytes[i] = Math.imul(i + 1, seed | 1) >>> 11;
        const at = Math.min(one, other);
        const length = Math.abs(one - other);
        const expected = checksum(buffer.bytes, at, length);
        expect(bufferChecksum(buffer, at, length)).toBe(expected);
        if (native !== undefined) expect(native(buffer.address + at, length)).toBe(expected);
      }),
    );
    buffer.bytes.fill(0, 0, 32);
    // B.4: 32 bytes of zeroes, and of ones.
    expect(bufferChecksum(buffer, 0, 32)).toBe(0x8a91_36aa);
    buffer.bytes.fill(0xff, 0, 32);
    expect(bufferChecksum(buffer, 0, 32)).toBe(0x62a8_ab43);
  });

  it("refuses a range that leaves the buffer", () => {
    const buffer = new DataBuffer(SIZE);
    if (loadCrc32c() === undefined) return;
    expect(() => bufferChecksum(buffer, SIZE - 8, 16)).toThrow("inside its buffer");
  });
});

describe("loadCrc32c()", () => {
  it("finds nothing when it is switched off", () => {
    vi.stubEnv("PLINTH_ISAL", "0");
    expect(loadCrc32c()).toBeUndefined();
  });

  it("has one value for a range, chosen by length or not", () => {
    const functions = [loadCrc32c(), loadCrc32c(new Set())];
    if (functions.includes(undefined)) return;
    const buffer = new DataBuffer(SIZE);
    // Where one gives way to the other, and where either has loops for the rest.
    const edges = [64, 256, 768, 1024, 3072, 4096, 8192, 16 * 1024].map((edge) =>
      fc.integer({ min: edge - 17, max: edge + 17 }),
    );
    fc.assert(
      fc.property(fc.integer(), fc.nat(300), fc.oneof(...edges, fc.nat(SIZE - 300)), (seed, at, length) => {
        for (let i = 0; i < SIZE; i++) buffer.bytes[i] = Math.imul(i + 1, seed | 1) >>> 11;
        const expected = checksum(buffer.bytes, at, length);
        for (const crc32c of functions) expect(crc32c?.(buffer.address + at, length)).toBe(expected);
      }),
      { numRuns: 300 },
    );
  });

  it("reads exactly what it is told", () => {
    const crc32c = loadCrc32c();
    const bytes = new Uint8Array(new ArrayBuffer(64)).fill(7);
    if (crc32c === undefined) return;
    const before = crc32c(addressOf(bytes) + 8, 16);
    bytes[7] = 1;
    bytes[24] = 1;
    expect(crc32c(addressOf(bytes) + 8, 16)).toBe(before);
    bytes[23] = 1;
    expect(crc32c(addressOf(bytes) + 8, 16)).not.toBe(before);
  });
});
