import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseEthernet, parseVlan } from "../../base/wire/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, output, Rig } from "../testing/rig.js";
import { MacTable, type VlanConfig } from "./index.js";

const A = "52:54:00:00:00:0a";
const B = "52:54:00:00:00:0b";
const NORMAL = 0xfffffffa;
const access = (tag: number): VlanConfig => ({ mode: "access", tag, trunks: [] });
const trunk = (...trunks: number[]): VlanConfig => ({ mode: "trunk", tag: 0, trunks });

function normalRig(...vlans: readonly VlanConfig[]): Rig {
  const rig = new Rig(vlans.length, { vlans });
  rig.flow({ priority: 0, instructions: [apply(output(NORMAL))] });
  return rig;
}

/** The VID of a frame, or 0 without a tag. */
function vidOf(frame: Uint8Array | undefined): number {
  const { etherType, payload } = parseEthernet(frame as Uint8Array);
  return etherType === 0x8100 ? parseVlan(payload).vid : 0;
}

describe("NORMAL", () => {
  it("floods the unknown, learns, forgets with age, and never sends back", () => {
    const rig = normalRig(access(1), access(1), access(1));
    expect(rig.where(1, plainFrame(A, B))).toEqual([2, 3]);
    expect(rig.where(2, plainFrame(B, A))).toEqual([1]);
    expect(rig.where(1, plainFrame(A, B))).toEqual([2]);
    expect(rig.where(2, plainFrame(A, B))).toEqual([]);
    rig.send(1, plainFrame(A, B));
    rig.nowMs += 301_000;
    expect(rig.where(1, plainFrame(A, B))).toEqual([2, 3]);
  });

  it("keeps VLANs apart on access ports and drops tagged frames there", () => {
    const rig = normalRig(access(10), access(10), access(20), trunk());
    const out = rig.send(1, plainFrame(A, "ff:ff:ff:ff:ff:ff"));
    expect([...out.keys()]).toEqual([2, 4]);
    expect(vidOf(out.get(2)?.[0])).toBe(0);
    expect(vidOf(out.get(4)?.[0])).toBe(10);
    expect(rig.where(1, plainFrame(A, B, 20))).toEqual([]);
    expect(rig.datapath.counters()["drop_vlan_not_allowed"]).toBe(1);
    expect(rig.pool.available).toBe(256);
  });

  it("takes the tag off and keeps priority and VLAN where they belong", () => {
    const rig = normalRig(
      trunk(10, 30),
      access(10),
      { mode: "native-untagged", tag: 10, trunks: [10, 30] },
      { mode: "native-tagged", tag: 10, trunks: [30] },
    );
    const tenth = rig.send(1, plainFrame(A, B, 10, 5));
    expect([...tenth].map(([port, [frame]]) => [port, vidOf(frame)])).toEqual([
      [2, 0],
      [3, 0],
      [4, 10],
    ]);
    expect(tenth.get(4)?.[0]).toEqual(plainFrame(A, B, 10, 5));
    expect(rig.where(1, plainFrame(A, B, 30))).toEqual([3, 4]);
    expect(rig.where(1, plainFrame(A, B, 40))).toEqual([]);
    expect(rig.where(1, plainFrame(A, B))).toEqual([]);
    expect(vidOf(rig.send(4, plainFrame("52:54:00:00:00:0c", "52:54:00:00:00:0d")).get(1)?.[0])).toBe(10);
    // A priority tag names no VLAN; its priority survives.
    expect(rig.send(2, plainFrame(B, "52:54:00:00:00:0e", 0, 6)).get(1)?.[0]).toEqual(
      plainFrame(B, "52:54:00:00:00:0e", 10, 6),
    );
  });

  it("never forwards frames for the bridge group address", () => {
    const rig = normalRig(access(1), access(1));
    expect(rig.where(1, plainFrame(A, "01:80:c2:00:00:02"))).toEqual([]);
  });

  it("follows a station that moves, and forgets those of a port that goes", () => {
    const rig = normalRig(access(1), access(1), access(1));
    rig.send(1, plainFrame(A, B));
    rig.send(3, plainFrame(A, B));
    expect(rig.where(2, plainFrame(B, A))).toEqual([3]);
    rig.bridge.removePort(rig.bridge.slots[2]!);
    expect(rig.where(2, plainFrame(B, A))).toEqual([1]);
  });
});

describe("MacTable", () => {
  it("agrees with a map while nothing had to give way", () => {
    const station = fc.record({ low: fc.nat(5), vlan: fc.nat(2), port: fc.integer({ min: 1, max: 4 }) });
    fc.assert(
      fc.property(fc.array(station, { maxLength: 60 }), (stations) => {
        const table = new MacTable(1024);
        const model = new Map<string, number>();
        stations.forEach(({ low, vlan, port }, nowMs) => {
          table.learn(0x52540000, low, vlan, port, nowMs);
          model.set(`${low}/${vlan}`, port);
        });
        for (let low = 0; low < 6; low++) {
          for (let vlan = 0; vlan < 3; vlan++) {
            expect(table.find(0x52540000, low, vlan, 100)).toBe(model.get(`${low}/${vlan}`) ?? -1);
          }
        }
        expect(table.entries(100).length).toBe(model.size);
      }),
    );
  });

  it("is bounded: an address flood leaves its size as it is", () => {
    const table = new MacTable(64);
    for (let n = 0; n < 10_000; n++) table.learn(n, n & 0xffff, 1, 1, n);
    expect(table.entries(10_000).length).toBeLessThanOrEqual(64);
  });
});
