import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../errors/index.js";
import * as wire from "./vhost-user-wire.js";

const u32 = fc.nat(0xffff_ffff);
const address = fc.nat(Number.MAX_SAFE_INTEGER);
const region = fc.record({
  guestAddress: address,
  sizeBytes: address,
  userAddress: address,
  fileOffset: address,
});
const u64 = fc.bigInt(0n, 2n ** 64n - 1n);
const withRequest = (requests: number[], payload: fc.Arbitrary<wire.VhostUserPayload>) =>
  fc.record({ request: fc.constantFrom(...requests), flags: fc.constantFrom(1, 9), payload });
const message = fc.oneof(
  withRequest([1, 2 + 1, 4, 7, 15, 17, 34, 36, 40], fc.constant({ kind: "none" as const })),
  withRequest([2, 12, 13, 14, 16, 19, 20, 39], fc.record({ kind: fc.constant("u64" as const), value: u64 })),
  withRequest([8, 10, 11, 18], fc.record({ kind: fc.constant("vringState" as const), index: u32, num: u32 })),
  withRequest(
    [9],
    fc.record({
      kind: fc.constant("vringAddress" as const),
      index: u32,
      flags: u32,
      descriptors: address,
      used: address,
      available: address,
      log: address,
    }),
  ),
  withRequest(
    [5],
    fc.record({
      kind: fc.constant("memoryTable" as const),
      regions: fc.array(region, { maxLength: wire.VHOST_USER_REGIONS_MAX }),
    }),
  ),
  withRequest([37, 38], fc.record({ kind: fc.constant("memoryRegion" as const), region })),
  withRequest([6], fc.record({ kind: fc.constant("log" as const), sizeBytes: address, offset: address })),
  withRequest(
    [31, 32],
    fc.record({
      kind: fc.constant("inflight" as const),
      inflight: fc.record({
        sizeBytes: address,
        fileOffset: address,
        queueCount: fc.nat(0xffff),
        queueSize: fc.nat(0xffff),
      }),
    }),
  ),
  withRequest(
    [24, 25],
    fc.record({
      kind: fc.constant("config" as const),
      offset: u32,
      flags: u32,
      bytes: fc.uint8Array({ maxLength: 256 }),
    }),
  ),
  withRequest(
    [22, 33, 99],
    fc.record({ kind: fc.constant("opaque" as const), bytes: fc.uint8Array({ maxLength: 200 }) }),
  ),
);

test("parse(encode(m)) = m for every message", () => {
  fc.assert(
    fc.property(message, (m) => {
      expect(wire.parseVhostUserMessage(wire.encodeVhostUserMessage(m))).toEqual(m);
    }),
  );
});

test("any bytes give a message or VHOST_USER_MALFORMED, nothing else", () => {
  const plausible = fc
    .tuple(fc.nat(40), fc.constantFrom(1, 5, 9, 2), fc.uint8Array({ maxLength: 300 }))
    .map(([request, flags, payload]) => {
      const bytes = new Uint8Array(12 + payload.byteLength);
      bytes.set(new Uint8Array(Uint32Array.of(request, flags, payload.byteLength).buffer));
      bytes.set(payload, 12);
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), plausible), (bytes) => {
      try {
        wire.parseVhostUserMessage(bytes);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
        expect((thrown as PlinthError).code).toBe("VHOST_USER_MALFORMED");
      }
    }),
    { numRuns: 2000 },
  );
});
