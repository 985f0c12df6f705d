import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { closeFile } from "../../base/linux/index.js";
import { Batch, PacketPool, SlotRing, sharedPoolSize } from "../../base/packet/index.js";
import { FarPort, leftBefore, stampOf } from "./far-port.js";
import { Neighbour } from "./neighbour.js";
import { Outlet } from "./outlet.js";
import { createHomeward, createPortLane, createWorkerLane, LANE_LOST, LANE_PACKETS } from "./port-lane.js";
import { holderAt } from "./slot-bank.js";

const WORKERS = 3;
const SHARE = 256;

/** Three port workers, the first of which serves a port that the others and the thread that judges send by. */
class Rig {
  readonly lane = createPortLane(WORKERS);
  readonly pools: PacketPool[];
  /** By worker, and by place. */
  readonly neighbours: Neighbour[][];
  readonly outward = new SlotRing(this.lane.outward);
  readonly outlet: Outlet;
  readonly far: FarPort[];
  readonly judge: PacketPool;
  readonly states: Int32Array[];

  constructor(share = SHARE) {
    const slots = share * (WORKERS + 1);
    const shared = new SharedArrayBuffer(sharedPoolSize(slots, 0));
    this.judge = new PacketPool({ slots, shared, isFull: true });
    const homeward = createHomeward(WORKERS, 1024);
    const places = Array.from({ length: WORKERS }, (_, place) => place);
    const lanes = places.map(() => createWorkerLane(8));
    for (const { doorbell } of lanes) closeFile(doorbell);
    this.states = lanes.map(({ state }) => new Int32Array(state));
    this.pools = places.map(() => new PacketPool({ slots, shared, arena: this.judge.bytes }));
    for (const [place, pool] of this.pools.entries())
      for (let i = 0; i < share; i++) {
        const packet = this.judge.cede(false);
        this.judge.holder[packet] = holderAt(place);
        pool.adopt(packet);
      }
    this.neighbours = places.map((own) =>
      places.map((place) => {
        const [pool, state] = [this.pools[own]!, this.states[own]!];
        return new Neighbour({ pool, own, place, homeward, state });
      }),
    );
    this.outlet = new Outlet(this.lane, this.neighbours[0]!.slice(1));
    this.far = [1, 2].map((own) => {
      const neighbour = this.neighbours[own]![0]!;
      return new FarPort({ pool: this.pools[own]!, lane: this.lane, own, neighbour });
    });
  }

  settle(): void {
    for (let round = 0; round < 2; round++)
      for (const [own, row] of this.neighbours.entries())
        for (const one of row) if (one.place !== own) one.settle();
  }

  close(): void {
    closeFile(this.lane.wakeFd);
  }
}

const step = fc.record({
  who: fc.constantFrom("judge", "far 1", "far 2", "look", "take", "take", "settle"),
  count: fc.integer({ min: 1, max: 20 }),
});

describe("Outlet", () => {
  it("lets nothing leave before what was put before it, be it by a worker or by the thread that judges", () => {
    let waited = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const rig = new Rig();
        try {
          /** By packet: when it was put, and by whom. */
          const put = new Map<number, { at: number; who: string }>();
          const left: { at: number; who: string }[] = [];
          const out = new Batch();
          const batch = new Batch();
          let at = 0;
          const take = (): boolean => {
            if (!rig.outlet.take(out)) return false;
            for (let i = 0; i < out.length; i++) {
              const packet = out.packets[i]!;
              left.push(put.get(packet)!);
              put.delete(packet);
              if (left.at(-1)!.who !== "judge") expect(rig.judge.holder[packet]).toBe(holderAt(0));
            }
            out.freeAll(rig.pools[0]!);
            return true;
          };
          for (const { who, count } of steps) {
            if (who === "look") rig.outlet.look(count);
            else if (who === "take") take();
            else if (who === "settle") rig.settle();
            else {
              const worker = who === "judge" ? -1 : Number(who.at(-1));
              const pool = worker < 0 ? rig.judge : rig.pools[worker]!;
              for (let i = 0; i < count; i++) {
                const packet = pool.allocate();
                if (packet < 0) break;
                put.set(packet, { at: at++, who });
                if (worker < 0) rig.outward.put(packet);
                else batch.push(packet);
              }
              if (worker < 0) rig.outward.publish();
              else if (batch.length > 0) rig.far[worker - 1]!.send(batch);
            }
          }
          while (put.size > 0) {
            if (!rig.outlet.look()) break;
            while (take()) waited++;
          }
          expect([put.size, rig.outlet.isEmpty]).toEqual([0, true]);
          for (const worker of ["far 1", "far 2"]) {
            const both = left.filter(({ who }) => who === "judge" || who === worker).map((one) => one.at);
            expect(both).toEqual([...both].sort((a, b) => a - b));
          }
          rig.settle();
          const free = [rig.judge, ...rig.pools].reduce((sum, { available }) => sum + available, 0);
          expect(free).toBe(SHARE * (WORKERS + 1));
        } finally {
          rig.close();
        }
      }),
      { numRuns: 300 },
    );
    expect(waited).toBeGreaterThan(0);
  });

  it("stays within what it was told to take of what the thread that judges has put", () => {
    const rig = new Rig();
    try {
      const out = new Batch();
      for (let i = 0; i < 10; i++) rig.outward.put(rig.judge.allocate());
      rig.outward.publish();
      expect(rig.outlet.look(3)).toBe(true);
      expect([rig.outlet.take(out), out.length]).toEqual([true, 3]);
      expect(rig.outlet.take(new Batch())).toBe(false);
      rig.outlet.freeAll(rig.pools[0]!);
      expect(rig.outlet.isEmpty).toBe(true);
    } finally {
      rig.close();
    }
  });
});

describe("FarPort", () => {
  it("drops and counts what its ring has no room for", () => {
    const rig = new Rig(LANE_PACKETS + 100);
    try {
      const [pool] = rig.pools.slice(1) as [PacketPool];
      const batch = new Batch();
      let sent = 0;
      while (pool.available > 0) {
        while (batch.room > 0 && pool.available > 0) batch.push(pool.allocate());
        sent += batch.length;
        rig.far[0]!.send(batch);
        if (sent > LANE_PACKETS + 200) break;
      }
      const lost = new Int32Array(rig.lane.state)[LANE_LOST]!;
      // One place is the stamp's.
      expect(sent - lost).toBe(LANE_PACKETS - 1);
      expect(pool.available).toBe(LANE_PACKETS + 100 - (sent - lost));
    } finally {
      rig.close();
    }
  });

  it("stamps what is counted on past what a stamp holds", () => {
    for (const shown of [0, 1, 2 ** 29, 2 ** 30 - 1, 2 ** 31 - 1, -(2 ** 31), -1])
      for (const behind of [0, 1, 1000]) {
        const stamp = stampOf(shown);
        expect(stamp).toBeLessThan(-1);
        expect(leftBefore(stamp, (shown - behind) | 0)).toBe(behind);
        expect(leftBefore(stamp, (shown + behind) | 0)).toBe(behind === 0 ? 0 : -behind);
      }
  });
});

describe("Neighbour", () => {
  it("gives back what came beyond what went, and keeps what it has of one that has ended", () => {
    const rig = new Rig();
    try {
      const batch = new Batch();
      const out = new Batch();
      const send = (): void => {
        for (let i = 0; i < 50; i++) batch.push(rig.pools[1]!.allocate());
        rig.far[0]!.send(batch);
      };
      const free = (): number[] => rig.pools.map(({ available }) => available);
      send();
      rig.outlet.look();
      while (rig.outlet.take(out)) out.freeAll(rig.pools[0]!);
      expect(free()).toEqual([SHARE + 50, SHARE - 50, SHARE]);
      rig.neighbours[0]![1]!.settle();
      rig.neighbours[1]![0]!.settle();
      expect(free()).toEqual([SHARE, SHARE, SHARE]);

      // The one that serves the port ends, with some taken and others not.
      send();
      rig.outlet.look();
      rig.outlet.take(out);
      send();
      rig.far[0]!.takeBack();
      rig.neighbours[1]![0]!.part();
      expect(rig.pools[1]!.available).toBe(SHARE - 50);
      expect([...rig.states[1]!.subarray(4, 6)]).toEqual([-50, 0]);
      const { holder } = rig.judge;
      expect(holder.filter((one) => one === holderAt(1))).toHaveLength(SHARE - 50);
      expect(holder.filter((one) => one === holderAt(0))).toHaveLength(SHARE + 50);
    } finally {
      rig.close();
    }
  });
});
