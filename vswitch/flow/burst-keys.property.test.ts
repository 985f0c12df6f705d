import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Batch, PacketPool } from "../../base/packet/index.js";
import { icmpFrame, plainFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { burstKeysOf, ROW_SHIFT, ROW_WORDS } from "./burst-keys.js";
import { Headers, K_IP, K_TYPE_TCI, KEY_WORDS, L3_IPV4 } from "./key.js";

const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
const SEEDS = [
  tcpFrame(ends, 2),
  udpFrame(ends),
  icmpFrame(ends, 8, 0x00010001),
  tcpFrame({ source: "fd00::1", destination: "fd00::2" }, 16),
  plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02", 5, 3),
];

const tag = fc.tuple(fc.constantFrom(0x8100, 0x88a8), fc.nat(0xffff));
const change = fc.tuple(fc.nat(60), fc.nat(255));
const frame = fc
  .record({
    seed: fc.constantFrom(...SEEDS),
    tags: fc.array(tag, { maxLength: 2 }),
    changes: fc.array(change, { maxLength: 2 }),
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
  const keys = burstKeysOf(pool);
  const headers = new Headers();

  function keyOf(packet: number, inPort: number): string {
    const key = new Int32Array(KEY_WORDS);
    key[0] = inPort;
    headers.parse(pool, packet, key);
    return key.join();
  }

  function readBatch({ packets, length }: Batch, inPort: number): void {
    const starts = packets.map((packet) => pool.offset[packet]!);
    const lengths = packets.map((packet) => pool.length[packet]!);
    keys.read(starts, lengths, length, inPort);
  }

  function rowOf(i: number): string {
    return keys.rows.slice(i << ROW_SHIFT, (i << ROW_SHIFT) + ROW_WORDS).join();
  }

  it("gives equal rows and hashes to frames with equal keys, and other rows to others", () => {
    let equal = 0;
    let different = 0;
    fc.assert(
      fc.property(frame, fc.array(change, { maxLength: 2 }), fc.nat(70), (bytes, changes, inPort) => {
        const other = Uint8Array.from(bytes);
        for (const [at, value] of changes) if (at < other.length) other[at] = value;
        const batch = new Batch();
        for (const one of [bytes, other]) batch.push(pool.allocateFrom(one));
        readBatch(batch, inPort);
        if (keys.plain[0] === 1 && keys.plain[1] === 1) {
          const same =
            keyOf(batch.packets[0] as number, inPort) === keyOf(batch.packets[1] as number, inPort);
          // The type of the tag, 802.1Q or 802.1ad, is no part of the key but of the row.
          const tags = [bytes, other].map((one) => ((one[12] as number) << 8) | (one[13] as number));
          expect(rowOf(0) === rowOf(1)).toBe(same && tags[0] === tags[1]);
          if (rowOf(0) === rowOf(1)) expect(keys.hashes[1]).toBe(keys.hashes[0]);
          if (same) equal++;
          else different++;
        }
        batch.freeAll(pool);
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(equal, different)).toBeGreaterThan(200);
  });

  it("never reads a row from what the pipeline sees as anything but plain IPv4", () => {
    fc.assert(
      fc.property(frame, (bytes) => {
        const batch = new Batch();
        batch.push(pool.allocateFrom(bytes));
        readBatch(batch, 1);
        if (keys.plain[0] === 1) {
          const key = new Int32Array(KEY_WORDS);
          headers.parse(pool, batch.packets[0] as number, key);
          expect([(key[K_TYPE_TCI] as number) >>> 16, headers.l3Kind, (key[K_IP] as number) & 255]).toEqual([
            0x0800,
            L3_IPV4,
            0,
          ]);
          expect(headers.l4).toBeGreaterThan(0);
        }
        batch.freeAll(pool);
      }),
      { numRuns: 2000 },
    );
  });

  it("calls ordinary TCP, UDP and ICMP plain, with or without a tag", () => {
    const batch = new Batch();
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(one));
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(tagged(one, 0x8100, 7)));
    readBatch(batch, 1);
    expect([...keys.plain.subarray(0, 6)]).toEqual([1, 1, 1, 1, 1, 1]);
    batch.freeAll(pool);
  });
});
