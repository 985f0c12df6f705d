import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Batch, PacketPool } from "../../base/packet/index.js";
import { icmpFrame, plainFrame, tcpFrame, udpFrame } from "../testing/frames.js";
import { BurstKeys, ROW_SHIFT, ROW_WORDS } from "./burst-keys.js";
import { Headers, K_PIPELINE, KEY_WORDS } from "./key.js";

const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
const SEEDS = [
  tcpFrame(ends, 2),
  udpFrame(ends),
  icmpFrame(ends, 8, 0x00010001),
  tcpFrame({ source: "fd00::1", destination: "fd00::2" }, 16),
  plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02", 5, 3),
];

/** A frame with an 802.1Q or 802.1ad tag more. */
function tagged(frame: Uint8Array, type: number, tci: number): Uint8Array {
  const tag = Uint8Array.of(type >>> 8, type & 255, tci >>> 8, tci & 255);
  return Uint8Array.from([...frame.subarray(0, 12), ...tag, ...frame.subarray(12)]);
}

const tag = fc.tuple(fc.constantFrom(0x8100, 0x88a8), fc.nat(0xffff));
const frame = fc
  .record({
    seed: fc.constantFrom(...SEEDS),
    tags: fc.array(tag, { maxLength: 2 }),
    changes: fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 3 }),
    cut: fc.nat(70),
  })
  .map(({ seed, tags, changes, cut }) => {
    const bytes = tags.reduce<Uint8Array>(
      (inner, [type, tci]) => tagged(inner, type, tci),
      Uint8Array.from(seed),
    );
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    return bytes.subarray(0, Math.max(14, bytes.length - (cut > 60 ? cut - 60 : 0)));
  });

describe("BurstKeys", () => {
  const pool = new PacketPool({ slots: 64 });
  const keys = new BurstKeys();
  const headers = new Headers();

  it("gives plain frames the words of the whole key, which is zero elsewhere, and equal rows equal hashes", () => {
    let rows = 0;
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 8 }), fc.nat(70), (frames, inPort) => {
        const batch = new Batch();
        for (const one of [...frames, ...frames]) batch.push(pool.allocateFrom(one));
        keys.read(pool, batch, inPort);
        frames.forEach((_, i) => {
          expect(keys.plain[i + frames.length]).toBe(keys.plain[i]);
          if (keys.plain[i] === 0) return;
          rows++;
          const key = new Int32Array(KEY_WORDS);
          key[0] = inPort;
          headers.parse(pool, batch.packets[i] as number, key);
          const expected = new Int32Array(K_PIPELINE);
          ROW_WORDS.forEach((word, n) => {
            expected[word] = keys.rows[(i << ROW_SHIFT) + n] as number;
          });
          expect(key.slice(0, K_PIPELINE)).toEqual(expected);
          expect(keys.hashes[i + frames.length]).toBe(keys.hashes[i]);
        });
        batch.freeAll(pool);
      }),
      { numRuns: 2000 },
    );
    expect(rows).toBeGreaterThan(1000);
  });

  it("calls ordinary TCP, UDP and ICMP plain, with or without a tag", () => {
    const batch = new Batch();
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(one));
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(tagged(one, 0x8100, 7)));
    keys.read(pool, batch, 1);
    expect([...keys.plain.subarray(0, 6)]).toEqual([1, 1, 1, 1, 1, 1]);
    batch.freeAll(pool);
  });
});
