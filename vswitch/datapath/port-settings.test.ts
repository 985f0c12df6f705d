import { describe, expect, it } from "vitest";
import { type Action, OFPP_FLOOD, OFPPC_NO_FLOOD } from "../../base/openflow/index.js";
import { plainFrame, udpFrame } from "../testing/frames.js";
import { apply, output, Rig } from "../testing/rig.js";
import type { PortSettings } from "./index.js";
import { SPEED_KBPS } from "./port-slot.js";

const A = "52:54:00:00:00:0a";
const ALL = "ff:ff:ff:ff:ff:ff";
const NORMAL = 0xfffffffa;
const TRUNK: PortSettings["vlan"] = { mode: "trunk", tag: 0, trunks: [] };

function rigWith(...actions: readonly number[]): Rig {
  const rig = new Rig(3);
  rig.flow({ priority: 0, instructions: [apply(...actions.map(output))] });
  return rig;
}

function configure(rig: Rig, port: number, settings: Partial<PortSettings>): void {
  rig.bridge.setPort(rig.bridge.slots[port - 1]!, { vlan: TRUNK, ...settings }, rig.nowMs);
}

/** The type of service, or traffic class, of an untagged IP frame. */
function trafficOf(frame: Uint8Array): number {
  const word = ((frame[14] as number) << 8) | (frame[15] as number);
  return (word >>> 12 === 4 ? word : word >>> 4) & 255;
}

describe("port settings", () => {
  it("let nothing pass between protected ports, however it is sent", () => {
    for (const actions of [[NORMAL], [OFPP_FLOOD], [2, 3]]) {
      const rig = rigWith(...actions);
      configure(rig, 1, { isProtected: true });
      configure(rig, 2, { isProtected: true });
      expect(rig.where(1, plainFrame(A, ALL))).toEqual([3]);
      expect(rig.where(3, plainFrame(A, ALL))).toContain(2);
    }
  });

  it("keep a port out of flooding, not out of what is sent to it", () => {
    const rig = rigWith(NORMAL);
    const slot = rig.bridge.slots[1]!;
    slot.config = OFPPC_NO_FLOOD;
    slot.update();
    expect(rig.where(1, plainFrame(A, "52:54:00:00:00:0b"))).toEqual([3]);
    rig.send(2, plainFrame("52:54:00:00:00:0b", ALL));
    expect(rig.where(1, plainFrame(A, "52:54:00:00:00:0b"))).toEqual([2]);
  });

  it("police what comes in, and count it as dropped", () => {
    const rig = rigWith(2);
    const frame = plainFrame(A, ALL);
    // 8 kbit hold 16 frames of 60 bytes; 8 kbit/s give one every 60 ms.
    configure(rig, 1, { policing: { rateKbps: 8, burstKb: 8, rateKpkts: 0, burstKpkts: 0 } });
    const burst = rig.send(1, ...Array.from({ length: 20 }, () => frame));
    expect(burst.get(2)?.length).toBe(16);
    expect(rig.datapath.counters()["drop_policed"]).toBe(4);
    expect(rig.bridge.slots[0]!.portStats(rig.nowMs).rxDropped).toBe(4n);
    rig.nowMs += 60;
    expect(rig.send(1, frame, frame).get(2)?.length).toBe(1);
    // The same settings again do not fill the bucket; none lift the limit.
    configure(rig, 1, { policing: { rateKbps: 8, burstKb: 8, rateKpkts: 0, burstKpkts: 0 } });
    expect(rig.where(1, frame)).toEqual([]);
    configure(rig, 1, {});
    expect(rig.where(1, frame)).toEqual([2]);
    expect(rig.pool.available).toBe(256);
  });

  it("drop and count what is longer than the MTU, a tag aside", () => {
    const rig = rigWith(2);
    configure(rig, 2, { mtu: 46 });
    expect(rig.where(1, plainFrame(A, ALL))).toEqual([2]);
    expect(rig.where(1, plainFrame(A, ALL, 5))).toEqual([2]);
    const long = new Uint8Array(61);
    long.set(plainFrame(A, ALL));
    expect(rig.where(1, long)).toEqual([]);
    expect(rig.datapath.counters()["drop_too_long"]).toBe(1);
    expect(rig.bridge.slots[1]!.portStats(rig.nowMs).txDropped).toBe(1n);
  });

  it("hold up what leaves by a queue beyond its rate, and let it leave in its time", () => {
    const rig = new Rig(2);
    const queues = [{ queueId: 0 }, { queueId: 3, maxRateBps: 1e6 }];
    configure(rig, 2, { qos: { type: "linux-htb", queues } });
    rig.flow({ instructions: [apply({ type: "set_queue", queueId: 3 }, output(2))] });
    const frame = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(1208));
    const sent: number[] = [];
    for (let n = 0; n < 20; n++) sent.push(rig.send(1, frame).get(2)?.length ?? 0);
    expect(sent.reduce((a, b) => a + b)).toBeLessThan(4);
    expect(rig.datapath.sleepMs).toBeGreaterThan(1);
    // 10 000 bits each: one in 10 ms.
    for (let n = 0; n < 100; n++) {
      rig.nowMs += 1;
      sent.push(rig.send(1).get(2)?.length ?? 0);
    }
    const left = sent.slice(20).reduce((a, b) => a + b);
    expect(left).toBeGreaterThanOrEqual(9);
    expect(left).toBeLessThanOrEqual(11);
    const waiting = 256 - rig.pool.available;
    expect(waiting).toBeGreaterThan(0);
    expect(rig.datapath.counters()["drop_queue_full"]).toBe(0);
    rig.bridge.setPort(rig.bridge.slots[1]!, { vlan: TRUNK }, rig.nowMs);
    expect(rig.datapath.counters()["drop_queue_full"]).toBe(waiting);
    expect(rig.datapath.sleepMs).toBe(Number.POSITIVE_INFINITY);
    expect(rig.pool.available).toBe(256);
  });

  it("count what still waits in the queues of a port that goes", () => {
    const rig = new Rig(2);
    configure(rig, 2, { qos: { type: "linux-htb", queues: [{ queueId: 0, maxRateBps: 1e6 }] } });
    rig.flow({ instructions: [apply(output(2))] });
    const frame = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(1208));
    const left = rig.send(1, ...Array.from({ length: 20 }, () => frame)).get(2)?.length ?? 0;
    const slot = rig.bridge.slots[1]!;
    expect(left).toBeLessThan(20);
    rig.bridge.removePort(slot);
    expect(rig.datapath.counters()["drop_bad_port"]).toBe(20 - left);
    expect(rig.pool.available).toBe(256);
  });

  it("mark what leaves by a queue with a DSCP, and only that: no other output of the frame, and no mirror", () => {
    const rig = new Rig(4);
    const queues = [{ queueId: 0 }, { queueId: 3, dscp: 46 }];
    configure(rig, 2, { qos: { type: "linux-htb", queues } });
    const mirror = {
      selectAll: false,
      selectSourcePorts: [],
      selectDestinationPorts: ["p2"],
      selectVlans: [],
    };
    const absent = { outputVlan: undefined, snapLength: undefined };
    rig.bridge.setBridge({
      ...{ macTableEntries: 1024, macAgeingMs: 300_000 },
      mirrors: [{ name: "m", ...mirror, ...absent, outputPort: "p4" }],
    });
    const queue: Action = { type: "set_queue", queueId: 3 };
    rig.flow({
      instructions: [apply(output(3), queue, output(2), output(3), { type: "pop_queue" }, output(2))],
    });
    for (const ends of [
      { source: "10.0.0.1", destination: "10.0.0.2" },
      { source: "fd00::1", destination: "fd00::2" },
    ]) {
      const frame = udpFrame(ends);
      // Twice: the second time the caches know the way.
      for (let n = 0; n < 2; n++) {
        const sent = rig.send(1, frame);
        expect(sent.get(3)).toEqual([frame, frame]);
        expect(sent.get(4)).toEqual([frame]);
        const [marked, plain] = sent.get(2) as [Uint8Array, Uint8Array];
        expect(trafficOf(marked)).toBe(46 << 2);
        expect(plain).toEqual(frame);
      }
    }
    expect(rig.pool.available).toBe(256);
    expect(rig.bridge.slots.map(({ takesRuns }) => takesRuns)).toEqual([true, false, true, true]);
  });

  it("mark what no queue takes where queue 0 has a DSCP, also what has waited, and as it is when it leaves", () => {
    const rig = new Rig(3);
    const mark = (dscp: number): void =>
      configure(rig, 2, { qos: { type: "linux-htb", maxRateBps: 1e6, queues: [{ queueId: 0, dscp }] } });
    mark(10);
    rig.flow({ instructions: [apply(output(2), output(3))] });
    const frame = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, new Uint8Array(1208));
    const first = rig.send(1, ...Array.from({ length: 20 }, () => frame));
    const left = first.get(2)?.map(trafficOf) ?? [];
    expect(first.get(3)?.map(trafficOf)).toEqual(Array.from({ length: 20 }, () => 0));
    expect(left).toEqual(left.map(() => 10 << 2));
    expect(left.length).toBeGreaterThan(0);
    expect(left.length).toBeLessThan(20);
    mark(63);
    const later: number[] = [];
    for (let n = 0; n < 500; n++) {
      rig.nowMs += 1;
      later.push(...(rig.send(1).get(2) ?? []).map(trafficOf));
    }
    expect(later).toEqual(Array.from({ length: 20 - left.length }, () => 63 << 2));
    expect(rig.pool.available).toBe(256);
  });

  it("drop and count what is to be marked when there is no room for a copy of it", () => {
    const rig = new Rig(2, { slots: 64 });
    configure(rig, 2, { qos: { type: "linux-htb", queues: [{ queueId: 0, dscp: 46 }] } });
    rig.flow({ instructions: [apply(output(2))] });
    const frame = udpFrame({ source: "10.0.0.1", destination: "10.0.0.2" });
    const taken: number[] = [];
    // All but the one that the frame comes in by.
    while (rig.pool.available > 1) taken.push(rig.pool.allocate());
    expect(rig.where(1, frame)).toEqual([]);
    expect(rig.datapath.counters()["drop_no_buffer"]).toBe(1);
    for (const packet of taken) rig.pool.free(packet);
    expect(rig.send(1, frame).get(2)?.map(trafficOf)).toEqual([46 << 2]);
    expect(rig.pool.available).toBe(64);
  });

  it("count what leaves by each queue, and by the first what no queue takes", () => {
    const rig = new Rig(2);
    configure(rig, 2, {
      qos: { type: "linux-htb", queues: [{ queueId: 0 }, { queueId: 3, minRateBps: 1e9, maxRateBps: 2e10 }] },
    });
    const queue = (queueId: number): Action => ({ type: "set_queue", queueId });
    rig.flow({ instructions: [apply(queue(3), output(2), queue(9), output(2))] });
    rig.send(1, plainFrame(A, ALL));
    rig.flow({ instructions: [apply(output(2))] });
    rig.send(1, plainFrame(A, ALL));
    const { queues } = rig.bridge.slots[1]!;
    rig.nowMs += 1500;
    expect(queues?.stats(2, rig.nowMs)).toEqual([
      {
        port: 2,
        queueId: 0,
        txPackets: 2n,
        txBytes: 120n,
        txErrors: 0n,
        durationSeconds: 1,
        durationNanoseconds: 5e8,
      },
      {
        port: 2,
        queueId: 3,
        txPackets: 1n,
        txBytes: 60n,
        txErrors: 0n,
        durationSeconds: 1,
        durationNanoseconds: 5e8,
      },
    ]);
    // 10 % of the port's 10 Gbit/s, and no more than all of it.
    expect(queues?.descriptions(2, SPEED_KBPS)[1]?.properties).toEqual([
      { type: "min_rate", rate: 100 },
      { type: "max_rate", rate: 1000 },
    ]);
    configure(rig, 2, { qos: { type: "linux-htb", queues: [{ queueId: 3 }] } });
    expect(rig.bridge.slots[1]!.queues?.stats(2, rig.nowMs)).toMatchObject([{ queueId: 3, txPackets: 1n }]);
    configure(rig, 2, {});
    expect(rig.bridge.slots[1]!.queues).toBeUndefined();
  });

  it("leave learned stations alone unless the VLANs change", () => {
    const rig = rigWith(NORMAL);
    rig.send(1, plainFrame(A, ALL));
    configure(rig, 1, { isProtected: true });
    expect(rig.where(2, plainFrame("52:54:00:00:00:0b", A))).toEqual([1]);
    configure(rig, 1, { vlan: { mode: "trunk", tag: 0, trunks: [0] } });
    expect(rig.where(2, plainFrame("52:54:00:00:00:0b", A))).toEqual([1, 3]);
  });
});
