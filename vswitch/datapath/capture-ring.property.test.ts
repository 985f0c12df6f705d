import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PacketPool } from "../../base/packet/index.js";
import { Flow } from "../flow/index.js";
import { CAPTURED_HIT, CaptureRingReader, CaptureRingWriter, createCaptureMemory } from "./capture-ring.js";

const RING = 1 << 18;

const flow = new Flow({
  tableId: 3,
  priority: 77,
  cookie: 0xfedcba9876543210n,
  match: [],
  key: { value: new Int32Array(0), mask: new Int32Array(0) },
  flags: 0,
  idleTimeoutSeconds: 0,
  hardTimeoutSeconds: 0,
  instructions: [],
  program: { meterId: 0, apply: null, clear: false, write: [], metadata: null, gotoTable: -1, clauses: null },
  slot: 0,
  nowMs: 0,
});

describe("the capture ring", () => {
  it("gives back what went in, in order, refuses what has no room, and loses nothing that it took", () => {
    const step = fc.oneof(
      fc.record({ write: fc.integer({ min: 14, max: 9000 }), snap: fc.integer({ min: 1, max: 9000 }) }),
      fc.record({ read: fc.integer({ min: 1, max: 60 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const pool = new PacketPool({ slots: 2 });
        const memory = createCaptureMemory(RING);
        const [writer, reader] = [new CaptureRingWriter(memory), new CaptureRingReader(memory)];
        const model: { readonly n: number; readonly size: number; readonly kept: number }[] = [];
        let n = 0;
        const takeOne = (): boolean => {
          const record = reader.next();
          const expected = model.shift();
          if (record === undefined) {
            expect(expected).toBeUndefined();
            return false;
          }
          expect(record).toMatchObject({
            what: CAPTURED_HIT,
            port: 0xfffffffe,
            wallMs: 1.5e12 + (expected?.n ?? -1),
            originalLength: expected?.size,
            reason: 4,
            tableId: 3,
            flow: { cookie: 0xfedcba9876543210n, priority: 77 },
          });
          expect(record.data.byteLength).toBe(expected?.kept);
          expect(record.data.every((byte) => byte === (expected?.n ?? -1) % 256)).toBe(true);
          reader.release();
          return true;
        };
        for (const one of steps) {
          if ("read" in one) {
            for (let i = 0; i < one.read && takeOne(); i++);
            continue;
          }
          const packet = pool.allocateFrom(new Uint8Array(one.write).fill(n % 256));
          const took = writer.write(CAPTURED_HIT, 0xfffffffe, pool, packet, one.snap, 1.5e12 + n, 4, 3, flow);
          writer.publish();
          pool.free(packet);
          if (took) model.push({ n, size: one.write, kept: Math.min(one.write, one.snap) });
          // Half of an empty ring is always room enough.
          else expect(model.reduce((sum, { kept }) => sum + kept + 64, 0)).toBeGreaterThan(RING / 2);
          n++;
        }
        while (takeOne());
        expect(model).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it("createCaptureMemory() refuses a size that is none", () => {
    for (const size of [0, 1, 3 << 17, 1 << 27])
      expect(() => createCaptureMemory(size)).toThrow(`a ring of ${size} bytes`);
  });
});
