import { describe, expect, it } from "vitest";
import { plainFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import type { MirrorConfig, VlanConfig } from "./index.js";

const A = "52:54:00:00:00:0a";
const B = "52:54:00:00:00:0b";
const ALL = "ff:ff:ff:ff:ff:ff";
const NORMAL = 0xfffffffa;
const access = (tag: number): VlanConfig => ({ mode: "access", tag, trunks: [] });
const TRUNK: VlanConfig = { mode: "trunk", tag: 0, trunks: [] };

function mirror(config: Partial<MirrorConfig>): MirrorConfig {
  return {
    name: "m",
    selectAll: false,
    selectSourcePorts: [],
    selectDestinationPorts: [],
    selectVlans: [],
    outputPort: undefined,
    outputVlan: undefined,
    snapLength: undefined,
    ...config,
  };
}

function mirrorRig(vlans: readonly VlanConfig[], ...mirrors: readonly MirrorConfig[]): Rig {
  return configured(new Rig(vlans.length, { vlans }), mirrors);
}

function configured(rig: Rig, mirrors: readonly MirrorConfig[]): Rig {
  rig.flow({ priority: 0, instructions: [apply(output(NORMAL))] });
  rig.bridge.setBridge({ macTableEntries: 1024, macAgeingMs: 300_000, mirrors });
  return rig;
}

describe("Mirrors", () => {
  it("copies what comes in and what leaves, once each, to a port that gets nothing else", () => {
    const one = mirror({ selectAll: true, outputPort: "p4" });
    const rig = mirrorRig([TRUNK, TRUNK, TRUNK, TRUNK], one);
    const frame = plainFrame(A, ALL);
    const out = rig.send(1, frame);
    expect([...out.keys()]).toEqual([2, 3, 4]);
    expect(out.get(4)).toEqual([frame]);
    expect(rig.bridge.forwarding.mirrors?.stats()).toEqual([{ name: "m", packets: 1, bytes: 60 }]);
    expect(rig.where(4, frame)).toEqual([]);
    expect(rig.datapath.counters()["drop_mirror_output"]).toBe(1);
    expect(rig.pool.available).toBe(256);
  });

  it("copies frames as they came in, and as they leave", () => {
    const into = mirror({ name: "in", selectSourcePorts: ["p1"], outputPort: "p3" });
    const from = mirror({ name: "out", selectDestinationPorts: ["p2"], outputPort: "p4" });
    const rig = mirrorRig([TRUNK, TRUNK, TRUNK, TRUNK], into, from);
    const changed = Uint8Array.of(2, 0, 0, 0, 0, 9);
    rig.flow({
      match: match(field("in_port", 1)),
      instructions: [apply({ type: "set_field", field: "eth_dst", value: changed }, output(2))],
    });
    const out = rig.send(1, plainFrame(A, B));
    expect(out.get(3)).toEqual([plainFrame(A, B)]);
    expect(out.get(2)).toEqual([plainFrame(A, "02:00:00:00:00:09")]);
    expect(out.get(4)).toEqual(out.get(2));
  });

  it("copies what a packet-out sends as from a port, but takes nothing from its output", () => {
    const into = mirror({ selectSourcePorts: ["p1"], outputPort: "p3" });
    const rig = mirrorRig([TRUNK, TRUNK, TRUNK], into);
    const data = plainFrame(A, B);
    const sent = (inPort: number): number[] => {
      const common = { type: "packet_out", xid: 1, bufferId: 0xffffffff, inPort, data } as const;
      rig.bridge.change({ ...common, actions: [output(NORMAL)] }, rig.nowMs);
      return rig.ports.flatMap((port, n) => (port.takeSent().length > 0 ? [n + 1] : []));
    };
    expect(sent(1)).toEqual([2, 3]);
    expect(sent(2)).toEqual([1]);
    expect(sent(3)).toEqual([]);
    expect(sent(77)).toEqual([]);
    expect(rig.datapath.counters()["drop_bad_port"]).toBe(1);
    // From the controller it comes by no port, and is trusted.
    expect(sent(0xfffffffd)).toEqual([1, 2]);
    expect(rig.pool.available).toBe(256);
  });

  it("counts the copies for which there is no room", () => {
    // What is cut is copied, and the frame itself has the only slot.
    const short = mirror({ selectAll: true, outputPort: "p3", snapLength: 20 });
    // To another VLAN the copy has a tag, too.
    const retagged = mirror({ selectSourcePorts: ["p1"], outputVlan: 9 });
    for (const one of [short, retagged]) {
      const rig = mirrorRig([TRUNK, TRUNK, TRUNK], one);
      const none = configured(new Rig(3, { slots: 1 }), [one]);
      rig.flow({ instructions: [apply(output(2))] });
      none.flow({ instructions: [apply(output(2))] });
      const frame = plainFrame(A, B);
      const copies = [...rig.send(1, frame).values()].flat().length - 1;
      expect(copies).toBeGreaterThan(0);
      expect(none.send(1, frame)).toEqual(new Map([[2, [frame]]]));
      expect(none.datapath.counters()["drop_no_buffer"]).toBe(copies);
      expect(rig.datapath.counters()["drop_no_buffer"]).toBe(0);
      expect(none.pool.available).toBe(1);
    }
  });

  it("gives two mirrors with the same output one copy", () => {
    const rig = mirrorRig(
      [TRUNK, TRUNK, TRUNK],
      mirror({ name: "a", selectSourcePorts: ["p1"], outputPort: "p3" }),
      mirror({ name: "b", selectDestinationPorts: ["p2"], outputPort: "p3" }),
    );
    expect(rig.send(1, plainFrame(A, B)).get(3)).toEqual([plainFrame(A, B)]);
    expect(rig.bridge.forwarding.mirrors?.stats().map(({ packets }) => packets)).toEqual([1, 0]);
  });

  it("selects by VLAN, also the one that an access port gives", () => {
    const one = mirror({ selectAll: true, selectVlans: [10], outputPort: "p3" });
    const rig = mirrorRig([access(10), TRUNK, TRUNK], one);
    expect(rig.send(1, plainFrame(A, B)).get(3)).toEqual([plainFrame(A, B, 10)]);
    expect(rig.send(2, plainFrame(B, ALL, 20)).get(3)).toBeUndefined();
  });

  it("sends to every port of an RSPAN VLAN, but neither in circles nor for control protocols", () => {
    const one = mirror({ selectSourcePorts: ["p1"], outputVlan: 99 });
    const rig = mirrorRig([access(10), access(99), TRUNK, access(20)], one);
    const out = rig.send(1, plainFrame(A, B, undefined));
    expect(out.get(2)).toEqual([plainFrame(A, B)]);
    expect(out.get(3)).toEqual([plainFrame(A, B, 99), plainFrame(A, B, 10)]);
    expect(out.get(4)).toBeUndefined();
    expect(rig.where(1, plainFrame(A, "01:80:c2:00:00:02"))).toEqual([]);
    const loop = mirrorRig([access(99), access(99)], mirror({ selectAll: true, outputVlan: 99 }));
    expect(loop.send(1, plainFrame(A, B)).get(2)).toEqual([plainFrame(A, B)]);
  });

  it("cuts copies off, and nothing but them", () => {
    const one = mirror({ selectAll: true, outputPort: "p3", snapLength: 20 });
    const rig = mirrorRig([TRUNK, TRUNK, TRUNK], one);
    const frame = plainFrame(A, B);
    const out = rig.send(1, frame);
    expect(out.get(2)).toEqual([frame]);
    expect(out.get(3)).toEqual([frame.subarray(0, 20)]);
    expect(rig.pool.available).toBe(256);
  });

  it("finds its ports when they come later, keeps counting when others change, and ends", () => {
    const one = mirror({ selectAll: true, outputPort: "p3" });
    const rig = mirrorRig([TRUNK, TRUNK, TRUNK], one);
    rig.send(1, plainFrame(A, B));
    rig.bridge.setBridge({
      macTableEntries: 1024,
      macAgeingMs: 300_000,
      mirrors: [mirror({ name: "n", outputPort: "p2" }), one],
    });
    expect(rig.bridge.forwarding.mirrors?.stats()).toMatchObject([
      { name: "n", packets: 0 },
      { name: "m", packets: 1 },
    ]);
    rig.bridge.removePort(rig.bridge.slots[2]!);
    expect(rig.where(1, plainFrame(A, B))).toEqual([]);
    rig.bridge.setBridge({ macTableEntries: 1024, macAgeingMs: 300_000 });
    expect(rig.where(1, plainFrame(A, B))).toEqual([2]);
  });
});
