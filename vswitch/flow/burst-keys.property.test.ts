import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Batch, PacketPool } from "../../base/packet/index.js";
import { icmpFrame, plainFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { burstKeysOf, ROW_FRONT, ROW_SHIFT, ROW_WHOLE, ROW_WIDE, ROW_WORDS } from "./burst-keys.js";
import { FrontMatches } from "./front-match.js";
import {
  Headers,
  K_ETH_DST,
  K_IN_PORT,
  K_IP,
  K_ND_RESERVED,
  K_TARGET,
  K_TCP_FLAGS,
  K_TYPE_TCI,
  K_V6,
  K_WIDE,
  KEY_WORDS,
  L3_IPV4,
  L3_IPV6,
} from "./key.js";

const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
const SEEDS = [
  tcpFrame(ends, 2),
  udpFrame(ends),
  icmpFrame(ends, 8, 0x00010001),
  tcpFrame({ source: "fd00::1", destination: "fd00::2" }, 16),
  plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02", 5, 3),
];
const ends6 = { source: "fd00::1", destination: "fd00::2" };
const SEEDS6 = [
  tcpFrame(ends6, 2),
  udpFrame(ends6),
  icmpFrame(ends6, 128, 1),
  icmpFrame(ends6, 135, 0, new Uint8Array(16)),
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
    keys.read(starts, lengths, length, inPort, null);
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

  it("calls wide only what the pipeline sees as plain IPv6, and then tells links apart as keys do", () => {
    const near = fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 2 });
    let wide = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...SEEDS6),
        fc.array(tag, { maxLength: 2 }),
        near,
        near,
        fc.nat(30),
        (seed, tags, first, second, cut) => {
          const whole = tags.reduce<Uint8Array>(
            (inner, [type, tci]) => tagged(inner, type, tci),
            Uint8Array.from(seed),
          );
          const batch = new Batch();
          const frames = [first, second].map((changes) => {
            const bytes = Uint8Array.from(whole);
            for (const [at, value] of changes) bytes[at] = value;
            return bytes.subarray(0, bytes.length - (cut > 20 ? cut - 20 : 0));
          });
          for (const bytes of frames) batch.push(pool.allocateFrom(bytes));
          readBatch(batch, 1);
          const found = [0, 1].map((i) => {
            const key = new Int32Array(KEY_WORDS);
            headers.parse(pool, batch.packets[i]!, key);
            if (keys.plain[i] === ROW_WIDE) {
              expect([headers.l3Kind, key[K_IP]! & 255, key[K_V6]! >>> 20]).toEqual([L3_IPV6, 0, 0]);
              expect(headers.tags).toBeLessThanOrEqual(1);
              expect(headers.l4).toBeGreaterThan(0);
              // All that neighbour discovery has is not there.
              expect([...key.slice(K_TARGET, K_ND_RESERVED + 2)]).toEqual([0, 0, 0, 0, 0, 0]);
              wide++;
            }
            return key;
          });
          if (keys.plain[0] === ROW_WIDE && keys.plain[1] === ROW_WIDE) {
            const links = found.map((key) => [
              ...key.slice(K_ETH_DST, K_TYPE_TCI),
              key[K_TYPE_TCI]! & 0xffff,
            ]);
            const types = frames.map((bytes) => (bytes[12]! << 8) | bytes[13]!);
            const isSame = links[0]!.join() === links[1]!.join() && types[0] === types[1];
            expect(keys.isSameLink(0, 1)).toBe(isSame);
          }
          batch.freeAll(pool);
        },
      ),
      { numRuns: 2000 },
    );
    expect(wide).toBeGreaterThan(1000);
  });

  it("knows a frame by a front match exactly when its key agrees with that of another in the bits asked for", () => {
    // Bytes of a frame that a key has: the whole row, and what is no part of it.
    const near = fc.array(fc.tuple(fc.integer({ min: 0, max: 48 }), fc.nat(255)), { maxLength: 2 });
    const bits = fc.array(fc.constantFrom(0, 0, -1, 0xff, 0xff00, 0x00f00000, 0x80000001 | 0), {
      minLength: K_WIDE,
      maxLength: K_WIDE,
    });
    const plainSeed = fc.constantFrom(...SEEDS.slice(0, 3));
    let agreed = 0;
    let differed = 0;
    const keyWords = (packet: number): Int32Array => {
      const key = new Int32Array(KEY_WORDS);
      headers.parse(pool, packet, key);
      key[K_IN_PORT] = 7;
      return key;
    };
    fc.assert(
      fc.property(plainSeed, near, near, bits, fc.nat(3), (seed, first, second, asked, other) => {
        const one = Uint8Array.from(seed);
        for (const [at, value] of first) if (at < one.length) one[at] = value;
        const two = Uint8Array.from(other === 0 ? SEEDS[first.length]! : one);
        for (const [at, value] of second) if (at < two.length) two[at] = value;
        const batch = new Batch();
        for (const bytes of [one, two]) batch.push(pool.allocateFrom(bytes));
        readBatch(batch, 7);
        const [a, b] = [keyWords(batch.packets[0]!), keyWords(batch.packets[1]!)];
        const tags =
          keys.plain.slice(0, 2).some((kind) => kind !== ROW_WHOLE) || (a[K_TYPE_TCI]! & 0xffff) !== 0;
        const mask = new Int32Array(KEY_WORDS);
        mask.set(asked);
        mask[K_IN_PORT] = -1;
        mask[K_TYPE_TCI] = 0xffff1000 | 0;
        mask[K_IP] = mask[K_IP]! | (0xff000000 | 0);
        mask[K_TCP_FLAGS] = mask[K_TCP_FLAGS]! & 0xfff;
        const fronts = new FrontMatches();
        fronts.offer(a, mask, 5, 1);
        const front = fronts.of(7, 1);
        if (!tags) {
          const same = a.every((word, i) => ((word ^ b[i]!) & mask[i]!) === 0);
          const starts = [...batch.packets.slice(0, 2)].map((packet) => pool.offset[packet]!);
          const lengths = [...batch.packets.slice(0, 2)].map((packet) => pool.length[packet]!);
          const hits = keys.read(Int32Array.from(starts), Int32Array.from(lengths), 2, 7, front);
          expect(front).not.toBeNull();
          expect(keys.plain[0]).toBe(ROW_FRONT);
          expect(keys.plain[1]).toBe(same ? ROW_FRONT : ROW_WHOLE);
          expect(hits).toBe(same ? 2 : 1);
          if (same) agreed++;
          else differed++;
        }
        batch.freeAll(pool);
      }),
      { numRuns: 3000 },
    );
    expect(Math.min(agreed, differed)).toBeGreaterThan(300);
  });

  it("calls ordinary TCP, UDP and ICMP plain or wide, with or without a tag", () => {
    const batch = new Batch();
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(one));
    for (const one of SEEDS.slice(0, 3)) batch.push(pool.allocateFrom(tagged(one, 0x8100, 7)));
    for (const one of SEEDS6.slice(0, 3)) batch.push(pool.allocateFrom(one));
    for (const one of SEEDS6.slice(0, 3)) batch.push(pool.allocateFrom(tagged(one, 0x88a8, 7)));
    batch.push(pool.allocateFrom(SEEDS6[3]!));
    readBatch(batch, 1);
    expect([...keys.plain.subarray(0, 13)]).toEqual([1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 0]);
    batch.freeAll(pool);
  });
});
