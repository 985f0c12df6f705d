import fc from "fast-check";
import { expect, it } from "vitest";
import { PacketPool } from "../../base/packet/index.js";
import { addToSum, checksum, finishSum } from "../../base/wire/index.js";
import { FlowKey, Headers, KEY_WORDS } from "../flow/index.js";
import { withDscp } from "./dscp-mark.js";

const TAGS = 8;
/** Where a DSCP stands in an IP header, in bits. */
const DSCP_AT = { 4: 8, 6: 4 } as const;

const tag = fc
  .tuple(fc.constantFrom(0x8100, 0x88a8), fc.nat(0xffff))
  .map(([type, tci]) => [type >>> 8, type & 255, tci >>> 8, tci & 255]);

/** Headers that are sound, nearly so, or anything. */
const ipv4 = fc
  .record({
    first: fc.constantFrom(0x45, 0x45, 0x46, 0x4a, 0x44, 0x65),
    traffic: fc.nat(255),
    excess: fc.constantFrom(0, 0, 0, -3, 1, 2),
    rest: fc.uint8Array({ minLength: 16, maxLength: 70 }),
    isSummed: fc.boolean(),
  })
  .map(({ first, traffic, excess, rest, isSummed }) => {
    const total = Math.max(0, 4 + rest.length + excess);
    const bytes = Uint8Array.from([first, traffic, total >>> 8, total & 255, ...rest]);
    const size = 4 * (first & 15);
    if (isSummed && size >= 20 && size <= bytes.length) {
      bytes.set([0, 0], 10);
      const sum = checksum(bytes, 0, size);
      bytes.set([sum >>> 8, sum & 255], 10);
    }
    return [0x08, 0x00, ...bytes];
  });
const ipv6 = fc
  .record({
    word: fc.nat(0xfffffff),
    version: fc.constantFrom(6, 6, 6, 4, 0),
    excess: fc.constantFrom(0, 0, 0, -3, 1, 2),
    next: fc.constantFrom(6, 17, 44, 59, 0),
    rest: fc.uint8Array({ minLength: 33, maxLength: 90 }),
  })
  .map(({ word, version, excess, next, rest }) => {
    const length = Math.max(0, rest.length - 33 + excess);
    const first = [(version << 4) | (word >>> 24), (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
    return [0x86, 0xdd, ...first, length >>> 8, length & 255, next, ...rest];
  });
const frames = fc
  .record({
    macs: fc.uint8Array({ minLength: 12, maxLength: 12 }),
    tags: fc.array(tag, { maxLength: TAGS + 2 }),
    inner: fc.oneof(ipv4, ipv4, ipv6, ipv6, fc.uint8Array({ minLength: 2, maxLength: 60 })),
    lost: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(100)),
  })
  .map(({ macs, tags, inner, lost }) => {
    const frame = Uint8Array.from([...macs, ...tags.flat(), ...inner]);
    return frame.subarray(0, Math.max(14, frame.length - lost));
  });

const bitsOf = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
const bytesOf = (bits: string): Uint8Array =>
  Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2));

/** The frame with the six bits written as text, where the tables find an IP header; the checksum of IPv4 as it was. */
function rewritten(frame: Uint8Array, dscp: number): { frame: Uint8Array; l3: number; isIpv4: boolean } {
  const pool = new PacketPool({ slots: 1 });
  const packet = pool.allocateFrom(frame);
  const headers = new Headers();
  headers.tagsLimit = TAGS;
  headers.parse(pool, packet, new Int32Array(KEY_WORDS));
  const { l3Kind } = headers;
  if (l3Kind !== FlowKey.L3_IPV4 && l3Kind !== FlowKey.L3_IPV6) return { frame, l3: -1, isIpv4: false };
  const l3 = headers.l3 - (pool.offset[packet] as number);
  const bits = bitsOf(frame);
  const at = 8 * l3 + DSCP_AT[l3Kind];
  const text = bits.slice(0, at) + dscp.toString(2).padStart(6, "0") + bits.slice(at + 6);
  return { frame: bytesOf(text), l3, isIpv4: l3Kind === FlowKey.L3_IPV4 };
}

it("changes the six bits of what the tables take for IP, and keeps a good checksum good and a bad one as bad", () => {
  let reached = 0;
  fc.assert(
    fc.property(frames, fc.nat(63), fc.boolean(), (frame, dscp, isShared) => {
      const pool = new PacketPool({ slots: 2 });
      const packet = pool.allocateFrom(frame);
      if (isShared) pool.retain(packet);
      const marked = withDscp(pool, packet, dscp);
      const after = pool.frame(marked);
      const wanted = rewritten(frame, dscp);
      if (isShared) {
        expect(pool.frame(packet)).toEqual(frame);
        pool.free(packet);
      }
      pool.free(marked);
      expect(pool.available).toBe(2);
      if (wanted.l3 >= 0) reached++;
      if (wanted.isIpv4) {
        const { l3 } = wanted;
        const size = 4 * ((frame[l3] as number) & 15);
        const sumOf = (bytes: Uint8Array): number => finishSum(addToSum(bytes, l3, size, 0)) % 0xffff;
        expect(sumOf(after)).toBe(sumOf(frame));
        wanted.frame.set(after.subarray(l3 + 10, l3 + 12), l3 + 10);
      }
      expect(after).toEqual(wanted.frame);
    }),
    { numRuns: 500 },
  );
  expect(reached).toBeGreaterThan(50);
});
