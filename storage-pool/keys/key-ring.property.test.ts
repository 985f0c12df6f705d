import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import {
  encodeKeyRing,
  KEY_RING_FORMAT,
  newKeyRing,
  parseKeyRing,
  parsePoolKey,
  unwrapKey,
  wrapKey,
} from "./key-ring.js";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

// Source: RFC 3394, 4.6 (256 bits of key data with a 256-bit KEK).
test("wrapping is that of RFC 3394", () => {
  const kek = Buffer.from("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "hex");
  const data = Buffer.from("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F", "hex");
  const wrapped = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21";
  expect(Buffer.from(wrapKey(kek, data)).toString("hex").toUpperCase()).toBe(wrapped);
  expect(unwrapKey(kek, Buffer.from(wrapped, "hex"))).toEqual(data);
});

test("a wrapped key opens with its pool key only, and not when a bit of it flipped", () => {
  fc.assert(
    fc.property(bytes(32), bytes(32), bytes(64), fc.nat(72 * 8 - 1), (one, other, key, bit) => {
      const wrapped = wrapKey(one, key);
      expect(unwrapKey(one, wrapped)).toEqual(Buffer.from(key));
      if (!Buffer.from(one).equals(Buffer.from(other))) expect(unwrapKey(other, wrapped)).toBeUndefined();
      const flipped = Uint8Array.from(wrapped);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(unwrapKey(one, flipped)).toBeUndefined();
    }),
    { numRuns: 50 },
  );
});

test("any bytes are a key ring or refused by name", () => {
  const whole = encodeKeyRing({
    ...newKeyRing("p", { kind: "file", path: "/k" }, new Uint8Array(0), new Uint8Array(32)),
    keys: [{ id: "a", wrapped: wrapKey(new Uint8Array(32), new Uint8Array(64)) }],
  });
  expect(parseKeyRing(whole, "ring").keys.map(({ id }) => id)).toEqual(["a"]);
  const spoiled = fc
    .tuple(fc.nat(whole.byteLength - 1), fc.nat(255))
    .map(([at, byte]) => Uint8Array.from(whole, (each, i) => (i === at ? byte : each)));
  const cut = fc.nat(whole.byteLength).map((length) => whole.subarray(0, length));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), spoiled, cut), (given) => {
      try {
        parseKeyRing(given, "ring");
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
        expect(["KEY_RING_DAMAGED", "DISK_FORMAT"]).toContain((thrown as PlinthError).code);
      }
    }),
    { numRuns: 300 },
  );
});

test("a ring of a newer format is refused", () => {
  const ring = newKeyRing("p", { kind: "file", path: "/k" }, new Uint8Array(0), new Uint8Array(32));
  const newer = encodeKeyRing({ ...ring, formatVersion: KEY_RING_FORMAT + 1 });
  expect(() => parseKeyRing(newer, "ring")).toThrow(/format 2, known is 1/);
});

test("a pool key is 32 bytes or 64 hexadecimal digits", () => {
  fc.assert(
    fc.property(bytes(32), (key) => {
      expect(parsePoolKey(key)).toEqual(key);
      expect(parsePoolKey(Buffer.from(`${Buffer.from(key).toString("hex")}\n`))).toEqual(Buffer.from(key));
      expect(parsePoolKey(key.subarray(1))).toBeUndefined();
    }),
  );
});
