import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Action, OFPP_NORMAL } from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import type { SwitchModel } from "../agent/index.js";
import { MAC_AGEING_MS, TRUNK_ALL } from "../learn/index.js";
import { numberedFrame, tagged, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import type { StreamPeer } from "../testing/stream-peer.js";
import { Workers } from "../testing/worker-rig.js";
import { WorkerThreads } from "../testing/worker-threads.js";
import type { DatapathHandle } from "./index.js";

const ALL = { tableId: 0xff, outPort: 0xffffffff, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n } as const;
const IP = field("eth_type", 0x0800);

/** Of a conversation, with a number in it. */
function frameOf(sourcePort: number, number: number): Uint8Array {
  const payload = new Uint8Array(22);
  new DataView(payload.buffer).setUint32(18, number);
  return udpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort }, payload);
}

function numbersOf(frames: readonly Uint8Array[]): number[] {
  return frames.map(({ buffer, byteOffset, length }) =>
    new DataView(buffer, byteOffset + length - 4).getUint32(0),
  );
}

describe("FastPath", () => {
  /** One worker whose first port's frames go to its third, each conversation by a verdict of its own. */
  function workers(): {
    rig: Workers;
    send: (sourcePort: number) => void;
    worker: () => void;
    judge: () => void;
    came: () => number[];
  } {
    const rig = new Workers(1, 3);
    const [host] = rig.hosts;
    const bridge = rig.datapath.bridge("br0");
    for (const port of [1000, 1001]) {
      const match = [IP, field("ip_proto", 17), field("udp_src", port)];
      bridge.change(flowMod({ match, instructions: [apply(output(3))] }), rig.nowMs);
    }
    rig.nowMs += 20;
    let number = 0;
    return {
      rig,
      send: (sourcePort) => rig.ports[0]!.inject(frameOf(sourcePort, number++)),
      worker: () => void host!.breathe(rig.nowMs),
      judge: () => void rig.datapath.breathe(rig.nowMs),
      came: () => numbersOf(rig.ports[2]!.sent),
    };
  }

  it("sends nothing before what the other thread has judged and nobody has sent yet", () => {
    const { rig, send, worker, judge, came } = workers();
    // The second one is known, and the verdict published; it lies in the ring of the port that it leaves by.
    for (let n = 0; n < 2; n++) {
      send(1000);
      worker();
      judge();
    }
    judge();
    expect(came()).toEqual([0]);
    send(1000);
    worker();
    expect(rig.hosts[0]!.fast.frames).toBe(1);
    expect(came()).toEqual([0, 1, 2]);
    rig.close();
  });

  it("takes nothing in while frames are on their way behind which others would be finished at once", () => {
    const { rig, send, worker, judge, came } = workers();
    for (let n = 0; n < 2; n++) {
      send(1000);
      rig.breathe(true);
    }
    send(1000);
    rig.breathe(true);
    expect(rig.hosts[0]!.fast.frames).toBe(1);
    // The other conversation becomes known while a frame of it is on its way.
    for (let n = 0; n < 2; n++) {
      send(1001);
      worker();
      judge();
    }
    send(1001);
    send(1000);
    worker();
    expect(rig.hosts[0]!.fast.frames).toBe(1);
    send(1000);
    worker();
    expect(rig.hosts[0]!.fast.frames).toBe(1);
    rig.breathe(true);
    expect(came()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(rig.hosts[0]!.fast.frames).toBe(2);
    rig.close();
  });

  it("counts what it has finished for flows, tables and drops, asked or not", () => {
    const { rig, send } = workers();
    const bridge = rig.datapath.bridge("br0");
    /** By priority. */
    const count = (wanted: number): bigint => {
      const flows = bridge.tables.flowStats({ ...ALL, match: [] }, rig.nowMs);
      return flows.reduce((sum, flow) => (flow.priority === wanted ? sum + flow.packetCount : sum), 0n);
    };
    for (let n = 0; n < 6; n++) {
      send(1000);
      rig.breathe(true);
    }
    expect(rig.hosts[0]!.fast.frames).toBe(4);
    bridge.publishing.fold();
    expect(count(100)).toBe(6n);
    send(1000);
    rig.breathe(true);
    // A change takes back what is published.
    bridge.change(flowMod({ priority: 200, match: [IP], instructions: [] }), rig.nowMs);
    expect([count(100), count(200)]).toEqual([7n, 0n]);
    rig.nowMs += 20;
    for (let n = 0; n < 5; n++) {
      send(1000);
      rig.breathe(true);
    }
    bridge.publishing.fold();
    expect(bridge.pipeline.dropCounters.report()).toMatchObject([{ packets: 5, tableId: 0, priority: 200 }]);
    expect(bridge.tables.tableStats()[0]).toMatchObject({ lookupCount: 12n, matchedCount: 12n });
    rig.close();
  });
});

describe("what is published", () => {
  it("outlives changes of flows that none of it has to do with, and no other", () => {
    const rig = new Workers(2, 4);
    try {
      const bridge = rig.datapath.bridge("br0");
      const [host] = rig.hosts;
      const to = (udpSource: number, port: number) =>
        flowMod({
          match: [IP, field("ip_proto", 17), field("udp_src", udpSource)],
          instructions: [apply(output(port))],
        });
      const send = (count: number): number => {
        const before = host!.fast.frames;
        for (let n = 0; n < count; n++) rig.ports[0]!.inject(frameOf(1000, n));
        rig.breathe(true);
        return host!.fast.frames - before;
      };
      bridge.change(to(1000, 2), rig.nowMs);
      bridge.change(to(1001, 2), rig.nowMs);
      rig.nowMs += 20;
      send(1);
      send(1);
      expect(send(5)).toBe(5);
      // Comes, changes and goes: nobody has asked for it.
      bridge.change(to(2000, 3), rig.nowMs);
      expect(send(5)).toBe(5);
      bridge.change({ ...to(2000, 4), command: "modify_strict" }, rig.nowMs);
      bridge.change({ ...to(2000, 4), command: "delete_strict" }, rig.nowMs);
      bridge.change({ ...to(1001, 4), command: "delete_strict" }, rig.nowMs);
      expect(send(5)).toBe(5);
      expect(bridge.slots[0]!.published!.count).toBe(1);
      rig.ports[1]!.sent.length = 0;
      bridge.change({ ...to(1000, 4), command: "modify_strict" }, rig.nowMs);
      expect(bridge.slots[0]!.published!.count).toBe(0);
      expect(send(5)).toBe(0);
      expect([rig.ports[1]!.sent.length, rig.ports[3]!.sent.length]).toEqual([0, 5]);
      // The rule of before has counted what the worker has finished.
      const [flow] = bridge.tables.flowStats({ ...ALL, match: [] }, rig.nowMs);
      expect(flow?.packetCount).toBe(22n);
    } finally {
      rig.close();
    }
  });
});

describe("frames with a tag, or that get one", () => {
  const vid: Action = { type: "set_field", field: "vlan_vid", value: Uint8Array.of(0x10, 7) };
  const untagged = frameOf(1000, 0);
  const five = tagged(untagged, 0x8100, 0x5005);

  it.each<[string, readonly Action[], Uint8Array, Uint8Array]>([
    ["as they are", [], five, five],
    ["with another VLAN", [vid], five, tagged(untagged, 0x8100, 0x5007)],
    ["without it", [{ type: "pop_vlan" }], five, untagged],
    [
      "with another one",
      [{ type: "pop_vlan" }, { type: "push_vlan", etherType: 0x88a8 }, vid],
      five,
      tagged(untagged, 0x88a8, 7),
    ],
    [
      "with a new one",
      [{ type: "push_vlan", etherType: 0x8100 }, vid],
      untagged,
      tagged(untagged, 0x8100, 7),
    ],
  ])("are finished by port workers: %s", (_, actions, frame, wanted) => {
    const rig = new Workers(2, 2);
    try {
      const bridge = rig.datapath.bridge("br0");
      const inPort = field("in_port", 1);
      bridge.change(flowMod({ match: [inPort], instructions: [apply(...actions, output(2))] }), rig.nowMs);
      // The longest that the port takes: a tag more is always allowed.
      const mtu = untagged.length - 14;
      bridge.setPort(bridge.slot(2)!, { vlan: TRUNK_ALL, mtu }, rig.nowMs);
      rig.nowMs += 20;
      for (let n = 0; n < 6; n++) {
        rig.ports[0]!.inject(frame);
        rig.breathe(true);
      }
      expect(rig.hosts[0]!.fast.frames).toBe(4);
      expect(rig.ports[1]!.sent).toEqual(Array.from({ length: 6 }, () => wanted));
      bridge.publishing.fold();
      const [flow] = bridge.tables.flowStats({ ...ALL, match: [] }, rig.nowMs);
      expect(flow).toMatchObject({ packetCount: 6n, byteCount: BigInt(6 * frame.length) });
    } finally {
      rig.close();
    }
  });
});

describe("NORMAL", () => {
  /** From the station of the port to that of another one. */
  const frame = (from: number, to: number): Uint8Array => {
    const whole = frameOf(1000, 0);
    whole.set([2, 0, 0, 0, 1, to, 2, 0, 0, 0, 1, from]);
    return whole;
  };

  function stage() {
    const rig = new Workers(2, 4);
    const bridge = rig.datapath.bridge("br0");
    bridge.change(flowMod({ instructions: [apply(output(OFPP_NORMAL))] }), rig.nowMs);
    rig.nowMs += 20;
    const send = (port: number, from: number, to: number): void => {
      rig.ports[port - 1]!.inject(frame(from, to));
      rig.breathe(true);
    };
    const finished = (): number => rig.hosts.reduce((sum, { fast }) => sum + fast.frames, 0);
    const came = (): number[] => rig.ports.map(({ sent }) => sent.splice(0).length);
    /** Both have sent, and are known. */
    const talk = (): void => {
      for (let n = 0; n < 3; n++) {
        send(1, 1, 2);
        send(2, 2, 1);
      }
    };
    return { rig, bridge, send, finished, came, talk };
  }

  it("is finished by port workers between stations that are known, until one of them moves", () => {
    const { rig, bridge, send, finished, came, talk } = stage();
    try {
      talk();
      came();
      const before = finished();
      talk();
      expect([finished() - before, came()]).toEqual([6, [3, 3, 0, 0]]);
      // One that nobody of them has to do with comes, and goes.
      send(3, 3, 1);
      rig.nowMs += 20;
      talk();
      expect(finished() - before).toBe(12);
      bridge.forwarding.macs.flush(3);
      rig.nowMs += 20;
      talk();
      talk();
      came();
      const then = finished();
      // The second station is at another port now.
      send(4, 2, 1);
      send(1, 1, 2);
      expect([finished() - then, came()]).toEqual([0, [1, 0, 0, 1]]);
      bridge.publishing.fold();
      const [flow] = bridge.tables.flowStats({ ...ALL, match: [] }, rig.nowMs);
      expect(flow?.packetCount).toBe(33n);
    } finally {
      rig.close();
    }
  });

  it("keeps stations that are seen by port workers alone, and forgets those that are seen by nobody", () => {
    const { rig, bridge, send, finished, came, talk } = stage();
    try {
      talk();
      const before = finished();
      // Only the first one goes on to send.
      for (let n = 0; n < 4; n++) {
        rig.nowMs += MAC_AGEING_MS / 5;
        for (const host of rig.hosts) host.breathe(rig.nowMs);
        send(1, 1, 2);
        bridge.sweep(rig.nowMs);
      }
      expect(finished() - before).toBe(4);
      rig.nowMs += MAC_AGEING_MS / 5 + 2000;
      bridge.sweep(rig.nowMs);
      expect(bridge.forwarding.macs.stats).toMatchObject({ current: 1, expired: 1 });
      came();
      send(1, 1, 2);
      expect([finished() - before, came()]).toEqual([4, [0, 1, 1, 1]]);
    } finally {
      rig.close();
    }
  });

  it("is the first worker's where the frame leaves with another tag, or from a protected port to another", () => {
    const { rig, bridge, send, finished, came, talk } = stage();
    try {
      const access = { mode: "access", tag: 5, trunks: [] } as const;
      for (const n of [1, 2]) bridge.setPort(bridge.slot(n)!, { vlan: access }, rig.nowMs);
      rig.nowMs += 20;
      talk();
      came();
      const before = finished();
      talk();
      expect([finished() - before, came()]).toEqual([6, [3, 3, 0, 0]]);
      bridge.setPort(bridge.slot(2)!, { vlan: TRUNK_ALL }, rig.nowMs);
      bridge.forwarding.macs.addStatic(0x02000000, 0x0102, 5, 2);
      rig.nowMs += 20;
      for (let n = 0; n < 3; n++) send(1, 1, 2);
      expect(rig.ports[1]!.sent.map(({ length }) => length)).toEqual([68, 68, 68]);
      for (const n of [1, 2]) bridge.setPort(bridge.slot(n)!, { vlan: access, isProtected: true }, rig.nowMs);
      bridge.forwarding.macs.addStatic(0x02000000, 0x0102, 5, 2);
      rig.nowMs += 20;
      came();
      for (let n = 0; n < 3; n++) send(1, 1, 2);
      expect([finished() - before, came()]).toEqual([6, [0, 0, 0, 0]]);
    } finally {
      rig.close();
    }
  });
});

describe("workers that finish frames themselves", () => {
  const DEADLINE_MS = 60_000;
  let stage: WorkerThreads;
  let handle: DatapathHandle;
  let model: SwitchModel;
  let peers: readonly StreamPeer[];

  beforeAll(async () => {
    stage = await WorkerThreads.open([1, 2, 1, 2, 1, 1]);
    ({ handle, model, peers } = stage);
  });

  afterAll(() => stage.close());

  const finished = async (): Promise<number[]> =>
    (await handle.threads()).map(({ status }) => status.maskedHits);

  it("judge no frame by an older rule once the barrier is answered, and count every one", async () => {
    const ROUNDS = 30;
    const SURE = 8;
    const before = await finished();
    /** Ports 1 and 2 send, each to one of two: the first to its worker's, the other to its worker's and another's. */
    const race = async (from: number): Promise<number> => {
      const peer = peers[from - 1]!;
      let sent = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const to = from + 2 * (1 + (round % 2));
        await model.change([
          flowMod({ match: [field("in_port", from)], priority: from, instructions: [apply(output(to))] }),
        ]);
        await model.barrier();
        const frames = Array.from({ length: SURE }, (_, n) => numberedFrame(round * 1000 + n));
        for (const frame of frames) peer.send(frame);
        expect(await peers[to - 1]!.take(SURE)).toEqual(frames);
        sent += SURE;
        // The next change comes into the middle of others, which go wherever.
        for (let n = 0; n < 100; n++) peer.send(numberedFrame(round * 1000 + 500 + n));
        sent += 100;
        if (round % 3 !== 0) {
          await peers[to - 1]!.take(100);
          continue;
        }
        const other = from + 2 * (1 + ((round + 1) % 2));
        const wandering = [to, other].map((n) => peers[n - 1]!.frames);
        await model.change([
          flowMod({ match: [field("in_port", from)], priority: from, instructions: [apply(output(other))] }),
        ]);
        await waitFor(
          () => wandering[0]!.length + wandering[1]!.length >= 100,
          () => `${wandering[0]!.length} + ${wandering[1]!.length} frames`,
          DEADLINE_MS,
          1,
        );
        const came = wandering.map((frames_) =>
          frames_.splice(0).map((frame) => new DataView(frame.buffer).getUint32(60)),
        );
        // The first ones by the older rule, the others by the newer.
        expect(came.flat()).toEqual(Array.from({ length: 100 }, (_, n) => round * 1000 + 500 + n));
      }
      return sent;
    };
    const counts = await Promise.all([race(1), race(2)]);
    const flows = await model.flowStats({ ...ALL, match: [] });
    expect(flows.map(({ priority, packetCount }) => [priority, packetCount])).toEqual([
      [2, BigInt(counts[1]!)],
      [1, BigInt(counts[0]!)],
    ]);
    const [, one, two] = await finished();
    expect(one! - before[1]!).toBeGreaterThan(0);
    expect(two! - before[2]!).toBeGreaterThan(0);
  }, 120_000);
});
