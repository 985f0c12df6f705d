// What marks frames anew: set_field of DSCP and PCP, and meters that lower the drop precedence of what is above a rate.
import { describe, expect, it } from "vitest";
import {
  type Action,
  type MeterBand,
  OFPMF_BURST,
  OFPMF_KBPS,
  OFPMF_PKTPS,
} from "../../base/openflow/index.js";
import { checksum } from "../../base/wire/index.js";
import { tagged, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";

const V4 = { source: "10.0.0.1", destination: "10.0.0.2" };
const V6 = { source: "fd00::1", destination: "fd00::2" };
const SECONDS = 20;
const METER = 1;

/** The frame with this type of service, or traffic class. */
function withTraffic(frame: Uint8Array, traffic: number): Uint8Array {
  const after = frame.slice();
  if (after[14] !== 0x45) {
    after[14] = 0x60 | (traffic >>> 4);
    after[15] = ((traffic & 15) << 4) | ((after[15] as number) & 15);
    return after;
  }
  after[15] = traffic;
  after.set([0, 0], 24);
  const sum = checksum(after, 14, 20);
  after.set([sum >>> 8, sum & 255], 24);
  return after;
}

const trafficOf = (frame: Uint8Array): number =>
  frame[14] === 0x45
    ? (frame[15] as number)
    : (((frame[14] as number) << 4) | ((frame[15] as number) >>> 4)) & 255;

function meterRig(flags: number, ...bands: readonly MeterBand[]): Rig {
  const rig = new Rig(2);
  rig.bridge.change({ type: "meter_mod", xid: 1, command: "add", flags, meterId: METER, bands }, rig.nowMs);
  rig.flow({ instructions: [{ type: "meter", meterId: METER }, apply(output(2))] });
  return rig;
}

/** Sends so many frames every millisecond for a while, and gives what left. */
function stream(rig: Rig, frame: Uint8Array, perMs: number): Uint8Array[] {
  const left: Uint8Array[] = [];
  for (let ms = 0; ms < SECONDS * 1000; ms++) {
    rig.nowMs += 1;
    left.push(...(rig.send(1, ...Array.from({ length: perMs }, () => frame)).get(2) ?? []));
  }
  return left;
}

function near(measured: number, wanted: number): void {
  expect(measured / wanted).toBeGreaterThan(0.98);
  expect(measured / wanted).toBeLessThan(1.02);
}

describe("set_field", () => {
  it("of ip_dscp keeps ECN, and the checksum of IPv4 right", () => {
    for (const ends of [V4, V6]) {
      const rig = new Rig(2);
      const type = ends === V4 ? 0x0800 : 0x86dd;
      rig.flow({
        match: match(field("eth_type", type)),
        instructions: [apply(set("ip_dscp", 46), output(2))],
      });
      const frame = udpFrame(ends);
      for (const ecn of [0, 1, 2, 3])
        expect(rig.send(1, withTraffic(frame, (10 << 2) | ecn)).get(2)).toEqual([
          withTraffic(frame, (46 << 2) | ecn),
        ]);
    }
  });

  it("of vlan_pcp keeps the VLAN, and what is behind the tag", () => {
    const rig = new Rig(2);
    rig.flow({
      match: match(field("vlan_vid", 0x1000, 0x1000)),
      instructions: [apply(set("vlan_pcp", 5), output(2))],
    });
    const frame = udpFrame(V4);
    expect(rig.send(1, tagged(frame, 0x8100, 0x6123)).get(2)).toEqual([tagged(frame, 0x8100, 0xa123)]);
  });
});

describe("a meter's dscp_remark", () => {
  it("raises the drop precedence of assured forwarding above its rate, at most to 3, and leaves others alone", () => {
    for (const ends of [V4, V6]) {
      const frame = udpFrame(ends);
      // AF11 10, AF12 12, AF13 14; AF41 34, AF43 38; EF 46 and CS1 8 have no precedence.
      for (const [before, levels, after] of [
        [10, 1, 12],
        [10, 2, 14],
        [12, 2, 14],
        [34, 9, 38],
        [14, 1, 14],
        [46, 1, 46],
        [8, 1, 8],
        [0, 1, 0],
      ] as const) {
        const rig = meterRig(OFPMF_PKTPS | OFPMF_BURST, {
          type: "dscp_remark",
          rate: 1,
          burstSize: 1,
          precedenceLevel: levels,
        });
        const [first, second] = rig
          .send(1, withTraffic(frame, (before << 2) | 1), withTraffic(frame, (before << 2) | 1))
          .get(2) as Uint8Array[];
        expect(first).toEqual(withTraffic(frame, (before << 2) | 1));
        expect(second).toEqual(withTraffic(frame, (after << 2) | 1));
      }
    }
  });

  it("marks what is above its rate, to within 2 %, and loses nothing", () => {
    const frame = withTraffic(udpFrame(V4, new Uint8Array(1208)), 10 << 2);
    expect(frame).toHaveLength(1250);
    // 10 000 bits each, 20 Mbit/s come, 5 are meant.
    const rig = meterRig(OFPMF_KBPS | OFPMF_BURST, {
      type: "dscp_remark",
      rate: 5000,
      burstSize: 100,
      precedenceLevel: 1,
    });
    const left = stream(rig, frame, 2).map(trafficOf);
    expect(left).toHaveLength(SECONDS * 2000);
    near(left.filter((traffic) => traffic === 10 << 2).length * 10_000, SECONDS * 5e6);
    expect(left.filter((traffic) => traffic === 12 << 2).length).toBe(
      left.filter((traffic) => traffic !== 10 << 2).length,
    );
  });

  it("is as exact as a band that drops", () => {
    const frame = udpFrame(V4, new Uint8Array(1208));
    const kbps = meterRig(OFPMF_KBPS | OFPMF_BURST, { type: "drop", rate: 5000, burstSize: 100 });
    near(stream(kbps, frame, 2).length * 10_000, SECONDS * 5e6);
    const pktps = meterRig(OFPMF_PKTPS | OFPMF_BURST, { type: "drop", rate: 700, burstSize: 10 });
    near(stream(pktps, frame, 2).length, SECONDS * 700);
  });
});

function set(name: "ip_dscp" | "vlan_pcp", value: number): Action {
  return { type: "set_field", field: name, value: Uint8Array.of(value) };
}
