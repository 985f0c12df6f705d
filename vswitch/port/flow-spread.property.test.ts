import fc from "fast-check";
import { expect, test } from "vitest";
import { concatBytes } from "../../base/bytes/index.js";
import { udpFrame } from "../testing/frames.js";
import { flowHash } from "./flow-spread.js";

const hashOf = (frame: Uint8Array): number => flowHash(frame, 0, frame.byteLength);
const address = fc.tuple(fc.nat(255), fc.nat(255)).map(([a, b]) => `10.${a}.${b}.1`);
const flow = fc.record({
  source: address,
  destination: address,
  sourcePort: fc.nat(0xffff),
  destinationPort: fc.nat(0xffff),
});

test("a flow has one hash, whatever its frames carry and however they are tagged", () => {
  const payload = fc.uint8Array({ maxLength: 100 });
  const tag = (frame: Uint8Array, type: number, id: number): Uint8Array =>
    concatBytes([
      frame.subarray(0, 12),
      Uint8Array.of(type >> 8, type & 255, id >> 8, id & 255),
      frame.subarray(12),
    ]);
  fc.assert(
    fc.property(flow, payload, payload, fc.nat(0xffff), (addresses, one, two, id) => {
      const frame = udpFrame(addresses, two);
      const hash = hashOf(udpFrame(addresses, one));
      expect(hash).toBeGreaterThanOrEqual(0);
      for (const other of [frame, tag(frame, 0x8100, id), tag(tag(frame, 0x8100, id), 0x88a8, id)]) {
        expect(hashOf(other)).toBe(hash);
      }
    }),
  );
});

test("flows spread evenly over any number of queues", () => {
  for (const queues of [2, 3, 4, 8]) {
    const counts = new Array<number>(queues).fill(0);
    for (let i = 0; i < 4000; i++) {
      const frame = udpFrame(
        { source: "10.0.0.1", destination: `10.0.${i % 7}.2`, sourcePort: 1000 + i, destinationPort: 53 },
        new Uint8Array(8),
      );
      counts[hashOf(frame) % queues]!++;
    }
    for (const count of counts) {
      expect(count).toBeGreaterThan((4000 / queues) * 0.7);
      expect(count).toBeLessThan((4000 / queues) * 1.3);
    }
  }
});

test("no byte outside the frame is looked at", () => {
  const frame = fc.oneof(
    fc.uint8Array({ minLength: 14, maxLength: 80 }),
    fc
      .tuple(fc.constantFrom(0x0800, 0x86dd, 0x8100, 0x88a8), fc.uint8Array({ minLength: 14, maxLength: 80 }))
      .map(([type, bytes]) => {
        bytes.set([type >> 8, type & 255], 12);
        return bytes;
      }),
  );
  fc.assert(
    fc.property(frame, fc.uint8Array({ minLength: 60, maxLength: 60 }), (bytes, around) => {
      const other = concatBytes([around, bytes, around]);
      expect(flowHash(other, around.byteLength, bytes.byteLength)).toBe(hashOf(bytes));
    }),
    { numRuns: 2000 },
  );
});
