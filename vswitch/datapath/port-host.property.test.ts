import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { closeFile, drainEventfd } from "../../base/linux/index.js";
import { Batch, MemoryPort, PacketPool, sharedPoolSize, TX_DROPPED } from "../../base/packet/index.js";
import { createPortLane, createWorkerLane, LANE_PACKETS, RemotePort, SlotBank } from "../port/index.js";
import { plainFrame, udpFrame } from "../testing/frames.js";
import { field, flowMod } from "../testing/rig.js";
import { SHARE, Workers } from "../testing/worker-rig.js";
import { PortHost } from "./port-host.js";
import { replaceWorker } from "./served-elsewhere.js";

const PORTS = 4;
const OFPP_NORMAL = 0xfffffffa;

/** From station `from` of port `port` to station `to`, with a number in it. */
function frameOf(port: number, to: number, number: number): Uint8Array {
  const frame = plainFrame(
    `02:00:00:00:01:0${port}`,
    to === 0 ? "ff:ff:ff:ff:ff:ff" : `02:00:00:00:01:0${to}`,
  );
  const numbered = new Uint8Array(64);
  numbered.set(frame);
  new DataView(numbered.buffer).setUint32(60, number);
  return numbered;
}

const burst = fc.record({
  frames: fc.array(fc.tuple(fc.integer({ min: 1, max: PORTS }), fc.nat(PORTS)), { maxLength: 40 }),
  order: fc.boolean(),
});

describe("ports of other workers", () => {
  it("forward as those of the worker itself: the same frames in the same order, counted exactly, no packet lost", () => {
    fc.assert(
      fc.property(fc.array(burst, { minLength: 1, maxLength: 8 }), (bursts) => {
        const results = [0, 1, 2].map((hosts) => run(hosts, bursts));
        expect(results[1]).toEqual(results[0]);
        expect(results[2]).toEqual(results[0]);
      }),
      { numRuns: 12 },
    );
  });
});

function run(hosts: number, bursts: readonly { frames: [number, number][]; order: boolean }[]): unknown {
  const workers = new Workers(hosts, PORTS);
  try {
    const bridge = workers.datapath.bridge("br0");
    const normal = { type: "output", port: OFPP_NORMAL, maxLength: 0 } as const;
    bridge.change(flowMod({ instructions: [{ type: "apply_actions", actions: [normal] }] }), 0);
    const total = SHARE * (hosts + 1);
    let number = 0;
    // Every station is known, so that it does not matter which of two ports is looked at first.
    for (const [i, port] of workers.ports.entries()) {
      port.inject(frameOf(i + 1, 0, number++));
      workers.breathe(true);
    }
    /** By port that it left, and port that it came in by: what is to keep its order. */
    const left: Record<string, number[]> = {};
    for (const { frames, order } of bursts) {
      for (const [port, to] of frames) workers.ports[port - 1]!.inject(frameOf(port, to, number++));
      workers.breathe(order);
      for (const [i, port] of workers.ports.entries())
        for (const frame of port.takeSent()) {
          const key = `${frame[11]}-${i + 1}`;
          left[key] ??= [];
          left[key].push(new DataView(frame.buffer, frame.byteOffset).getUint32(60));
        }
    }
    workers.breathe(true);
    expect(workers.packets).toBe(total);
    const [flow] = bridge.tables.flowStats(
      { tableId: 0xff, outPort: 0xffffffff, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n, match: [] },
      0,
    );
    const counters = bridge.slots.map(({ port }) => [...port.stats]);
    return { left, counters, packets: flow?.packetCount, macs: bridge.forwarding.macs.stats };
  } finally {
    workers.close();
  }
}

describe("RemotePort", () => {
  it("drops and counts what its ring has no room for, and gives back what nobody took", () => {
    const workers = new Workers(1, PORTS);
    try {
      const lane = createPortLane();
      workers.lanes.push(lane);
      const [bank] = workers.banks as [SlotBank];
      const remote = new RemotePort({ name: "late", lane, bank });
      const lentBefore = bank.lent;
      const batch = new Batch();
      let sent = 0;
      // One packet that somebody else holds too leaves as a copy.
      const kept = workers.pool.allocateFrom(Uint8Array.of(...new Array(60).fill(7)));
      workers.pool.retain(kept);
      batch.push(kept);
      remote.tx(batch);
      expect(workers.pool.isShared(kept)).toBe(false);
      workers.pool.free(kept);
      for (sent = 1; sent < LANE_PACKETS + 10; sent++) {
        const packet = workers.pool.allocate();
        if (packet < 0) break;
        batch.push(packet);
        remote.tx(batch);
      }
      expect(bank.lent).toBe(lentBefore + Math.min(sent, LANE_PACKETS));
      expect(remote.stats[TX_DROPPED]).toBe(Math.max(0, sent - LANE_PACKETS));
      for (let isMore = true; isMore; ) {
        isMore = remote.reclaim(batch);
        batch.freeAll(workers.pool);
      }
      expect(bank.lent).toBe(lentBefore);
      expect(workers.packets).toBe(2 * SHARE);
    } finally {
      workers.close();
    }
  });

  it("says of its link what the port says, and wakes who sleeps", () => {
    const workers = new Workers(1, PORTS);
    try {
      const [slot] = workers.datapath.bridge("br0").slots;
      const remote = slot!.port as RemotePort;
      const [port] = workers.ports as [MemoryPort];
      expect(remote.linkUp).toBe(true);
      expect(remote.beginSleep()).toBe(true);
      port.inject(frameOf(1, 2, 0));
      workers.hosts[0]!.breathe(1000);
      expect(drainEventfd(remote.wakeFd)).toBe(true);
      remote.endSleep();
      expect(remote.beginSleep()).toBe(false);
      remote.endSleep();
      workers.breathe(true);
      // Who is awake is not rung for.
      port.inject(frameOf(1, 2, 0));
      workers.hosts[0]!.breathe(1000);
      expect(drainEventfd(remote.wakeFd)).toBe(false);
      workers.breathe(true);
      expect(remote.beginSleep()).toBe(true);
      port.linkUp = false;
      workers.hosts[0]!.tick(2000);
      expect(drainEventfd(remote.wakeFd)).toBe(true);
      expect(remote.linkUp).toBe(false);
    } finally {
      workers.close();
    }
  });
});

describe("a port worker that ends", () => {
  const ends = { source: "10.0.0.1", destination: "10.0.0.2" };

  it("takes no packets with it, wherever what it and others have for each other lies", () => {
    const turn = fc.record({ who: fc.constantFrom(0, 1, 2, "judge", "peers"), count: fc.nat(20) });
    let crossed = 0;
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 30 }), fc.nat(2), (turns, lost) => {
        const workers = new Workers(3, 6);
        try {
          const { hosts, banks, datapath, ports } = workers;
          const bridge = datapath.bridge("br0");
          // Each sends by the next one's.
          for (let from = 1; from <= 6; from++) {
            const to = { type: "output", port: (from % 6) + 1, maxLength: 0 } as const;
            const instructions = [{ type: "apply_actions", actions: [to] }] as const;
            bridge.change(flowMod({ match: [field("in_port", from)], instructions }), workers.nowMs);
          }
          workers.nowMs += 20;
          const send = (by = ports): void => {
            for (const port of by) port.inject(udpFrame(ends));
          };
          for (let n = 0; n < 3; n++) {
            send();
            workers.breathe(true);
          }
          for (const { who, count } of turns) {
            if (typeof who === "number") hosts[who]!.breathe(workers.nowMs);
            else if (who === "judge") datapath.breathe(workers.nowMs);
            else for (let n = 0; n < count; n++) send();
          }
          crossed += hosts.reduce((sum, { fast }) => sum + fast.frames, 0);
          // It is not there any more, as it was.
          for (const [place, host] of hosts.entries()) if (place !== lost) host.part(lost);
          const lane = createWorkerLane(1024);
          workers.workerLanes.push(lane);
          const slots = bridge.slots.filter((_, n) => n % 3 === lost);
          const lanes = slots.map(({ port: { name } }) => ({ bridge: "br0", name, lane: createPortLane(3) }));
          workers.lanes.push(...lanes.map((one) => one.lane));
          const modules = { datapath, banks, watch: () => undefined, unwatch: () => undefined };
          replaceWorker(
            modules,
            { worker: lost, lane, ports: lanes, inlets: [] },
            (_, name) => slots.find((slot) => slot.port.name === name)!,
          );
          const pool = workers.renew(lost);
          const next = new PortHost({
            ...{ pool, lane, place: lost, homeward: workers.homeward, share: SHARE, largeShare: 0 },
          });
          next.balance();
          hosts[lost] = next;
          for (const one of lanes) next.add(new MemoryPort({ name: one.name, pool }), one.lane);
          for (const [place, host] of hosts.entries())
            for (const one of lanes) if (place !== lost) host.meet(lost, lane, one.lane);
          send(ports.filter((_, n) => n % 3 !== lost));
          workers.breathe(true);
          const { holder } = workers.pool;
          expect(workers.packets).toBe(SHARE * 4);
          // A few of them the workers owe each other.
          const lent = banks.reduce((sum, bank) => sum + bank.lent, 0);
          expect(holder.filter((one) => one > 0)).toHaveLength(lent);
        } finally {
          workers.close();
        }
      }),
      { numRuns: 100 },
    );
    expect(crossed).toBeGreaterThan(100);
  });
});

describe("PortHost and SlotBank", () => {
  const SLOTS = 64;
  const LARGE = 32;
  const lend = () => {
    const shared = new SharedArrayBuffer(sharedPoolSize(2 * SLOTS, 2 * LARGE));
    const sizes = { slots: 2 * SLOTS, largeSlots: 2 * LARGE, shared };
    const pool = new PacketPool({ ...sizes, isFull: true });
    const share = { share: SLOTS, largeShare: LARGE };
    const lane = createWorkerLane(256);
    const bank = new SlotBank({ pool, lane, ...share });
    const worker = (by: typeof lane) => {
      const own = new PacketPool({ ...sizes, arena: pool.bytes });
      return { own, host: new PortHost({ pool: own, lane: by, ...share }) };
    };
    return { pool, lane, bank, worker };
  };

  it("have packets for the first port before the first breath", () => {
    const { lane, worker } = lend();
    const { own, host } = worker(lane);
    host.balance();
    expect([own.available, own.availableLarge]).toEqual([SLOTS, LARGE]);
    closeFile(lane.doorbell);
  });

  it("take everything back from a worker that has ended, wherever it had it, and lend as much to the next", () => {
    const { pool, lane, bank, worker } = lend();
    const { own, host } = worker(lane);
    host.balance();
    // Held twice, in a port's hands, or free: the thread is gone in the middle of it.
    const held = own.allocate();
    own.retain(held);
    for (let i = 0; i < 10; i++) own.allocateLarge();
    const next = createWorkerLane(256);
    bank.startAnew(next);
    expect([bank.lent, bank.lentLarge]).toEqual([SLOTS, LARGE]);
    expect([pool.available, pool.availableLarge]).toEqual([SLOTS, LARGE]);
    const after = worker(next);
    after.host.balance();
    const all = Array.from({ length: SLOTS }, () => [pool.allocate(), after.own.allocate()]).flat();
    expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 2 * SLOTS }, (_, packet) => packet));
    expect([pool.allocate(), after.own.allocate()]).toEqual([-1, -1]);
    for (const { doorbell } of [lane, next]) closeFile(doorbell);
  });
});
