import { describe, expect, it } from "vitest";
import { PacketPool } from "../../base/packet/index.js";
import { checksum, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from "../../base/wire/index.js";
import { cut } from "../testing/fragments.js";
import { plainFrame, tagged, udpFrame } from "../testing/frames.js";
import { withDscp } from "./dscp-mark.js";

const V4 = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" });
const V6 = udpFrame({ source: "fd00::1", destination: "fd00::2" });
const EF = 46;
const ETHERNET = 14;

/** The frame after it was given the DSCP, in a pool where nobody else holds it. */
function marked(frame: Uint8Array, dscp: number): Uint8Array {
  const pool = new PacketPool({ slots: 2, largeSlots: 2 });
  const packet = withDscp(pool, pool.allocateFrom(frame), dscp);
  const after = pool.frame(packet);
  pool.free(packet);
  expect(pool.available + pool.availableLarge).toBe(4);
  return after;
}

/** The frame with these bytes instead, by place. */
function changed(frame: Uint8Array, bytes: Readonly<Record<number, number>>): Uint8Array {
  const after = frame.slice();
  for (const [at, byte] of Object.entries(bytes)) after[Number(at)] = byte;
  return after;
}

function places(before: Uint8Array, after: Uint8Array): number[] {
  expect(after).toHaveLength(before.length);
  return [...before.keys()].filter((at) => before[at] !== after[at]);
}

const headerSum = (frame: Uint8Array, at: number): number =>
  checksum(frame, at, 4 * ((frame[at] as number) & 15));

describe("withDscp", () => {
  it("writes the DSCP of IPv4, keeps ECN, and repairs the checksum", () => {
    const congested = marked(V4, 0);
    congested[ETHERNET + 1] = 0x28 | 3;
    congested.set([0, 0], ETHERNET + 10);
    const sum = headerSum(congested, ETHERNET);
    congested.set([sum >>> 8, sum & 255], ETHERNET + 10);
    const after = marked(congested, EF);
    expect(after[ETHERNET + 1]).toBe((EF << 2) | 3);
    expect(headerSum(after, ETHERNET)).toBe(0);
    for (const at of places(congested, after)) expect([15, 24, 25]).toContain(at);
  });

  it("writes the DSCP of IPv6, keeps ECN and the flow label", () => {
    const before = changed(V6, { [ETHERNET]: 0x6a, [ETHERNET + 1]: 0x9b, [ETHERNET + 2]: 0xcd });
    const after = marked(before, EF);
    // Version 6, traffic class (46 << 2) | 1, flow label b cd …
    expect([...after.subarray(ETHERNET, ETHERNET + 3)]).toEqual([0x6b, 0x9b, 0xcd]);
    expect(places(before, after)).toEqual([ETHERNET]);
    expect([...marked(before, 0).subarray(ETHERNET, ETHERNET + 3)]).toEqual([0x60, 0x1b, 0xcd]);
  });

  it("looks behind up to eight tags of both kinds, and no further", () => {
    for (const frame of [V4, V6]) {
      let deep = frame;
      for (let tags = 1; tags <= 9; tags++) {
        deep = tagged(deep, tags % 2 === 0 ? 0x88a8 : 0x8100, 0x6000 + tags);
        const after = marked(deep, EF);
        expect(after).toEqual(
          tags === 9
            ? deep
            : Uint8Array.from([...deep.subarray(0, 4 * tags + 12), ...marked(frame, EF).subarray(12)]),
        );
      }
    }
  });

  it("marks every fragment, the later ones too", () => {
    for (const frame of [
      udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(2000)),
      udpFrame({ source: "fd00::1", destination: "fd00::2" }, new Uint8Array(2000)),
    ]) {
      const isIpv4 = frame[ETHERNET] === 0x45;
      const pieces = cut(frame, [600, 1200]);
      expect(pieces.length).toBeGreaterThan(2);
      for (const piece of pieces) {
        const after = marked(piece, EF);
        const at = ETHERNET;
        const traffic = isIpv4
          ? after[at + 1]
          : (((after[at] as number) << 4) | ((after[at + 1] as number) >>> 4)) & 255;
        expect(traffic).toBe(EF << 2);
        if (isIpv4) expect(headerSum(after, at)).toBe(0);
        expect(after.subarray(at + 40)).toEqual(piece.subarray(at + 40));
      }
    }
  });

  it("leaves alone what is no IP, and what ends before its header does", () => {
    const labelled = changed(V4, { 12: 0x88, 13: 0x47 });
    for (const frame of [plainFrame("52:54:00:00:00:0a", "52:54:00:00:00:0b", 5), labelled])
      expect(marked(frame, EF)).toEqual(frame);
    for (const frame of [V4, V6, tagged(V4, 0x8100, 5), tagged(V6, 0x88a8, 5)])
      for (let size = 0; size < frame.length; size++) {
        const short = frame.subarray(0, size);
        expect(marked(short, EF)).toEqual(short);
      }
  });

  it("leaves alone headers that lie about version and lengths", () => {
    const total = V4.length - ETHERNET;
    for (const frame of [
      changed(V4, { [ETHERNET]: 0x65 }),
      changed(V4, { [ETHERNET]: 0x44 }),
      changed(V4, { [ETHERNET]: 0x4f }),
      changed(V4, { [ETHERNET + 3]: 19 }),
      changed(V4, { [ETHERNET + 3]: total + 1 }),
      changed(V4, { [ETHERNET + 2]: 0xff }),
      changed(V6, { [ETHERNET]: 0x40 }),
      changed(V6, { [ETHERNET + 5]: V6.length - ETHERNET - 40 + 1 }),
      changed(V6, { [ETHERNET + 4]: 0xff }),
      changed(V4, { 12: ETHERTYPE_IPV6 >>> 8, 13: ETHERTYPE_IPV6 & 255 }),
      changed(V6, { 12: ETHERTYPE_IPV4 >>> 8, 13: ETHERTYPE_IPV4 & 255 }),
    ])
      expect(marked(frame, EF)).toEqual(frame);
  });

  it("marks a copy of what others hold, and needs none for what has the DSCP already", () => {
    const pool = new PacketPool({ slots: 2 });
    const packet = pool.allocateFrom(V4);
    pool.retain(packet);
    const copy = withDscp(pool, packet, EF);
    expect(copy).not.toBe(packet);
    expect(pool.frame(packet)).toEqual(V4);
    expect(pool.frame(copy)).toEqual(marked(V4, EF));
    expect(pool.isShared(packet)).toBe(false);
    pool.retain(copy);
    expect(withDscp(pool, copy, EF)).toBe(copy);
    expect(pool.isShared(copy)).toBe(true);
    // Nothing is left for a copy: the reference is given back all the same.
    expect(withDscp(pool, copy, 0)).toBe(-1);
    expect(pool.isShared(copy)).toBe(false);
    pool.free(copy);
    pool.free(packet);
    expect(pool.available).toBe(2);
  });
});
