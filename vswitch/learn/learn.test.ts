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

  it("floods VLANs that are to be flooded, learns nothing there, and forgets what it had learned", () => {
    const rig = normalRig(trunk(), trunk(), trunk());
    const configure = (...floodVlans: number[]): void =>
      rig.bridge.setBridge({ macTableEntries: 1024, macAgeingMs: 300_000, floodVlans });
    const meet = (vid: number): number[] => {
      rig.send(2, plainFrame(B, A, vid));
      return rig.where(1, plainFrame(A, B, vid));
    };
    configure();
    expect([meet(7), meet(8)]).toEqual([[2], [2]]);
    configure(7);
    expect(rig.bridge.forwarding.macs.entries(rig.nowMs).map(({ vlan }) => vlan)).toEqual([8, 8]);
    expect(rig.where(1, plainFrame(A, B, 7))).toEqual([2, 3]);
    expect([meet(7), meet(8)]).toEqual([[2, 3], [2]]);
    configure();
    expect(rig.where(1, plainFrame(A, B, 7))).toEqual([2, 3]);
    expect(meet(7)).toEqual([2]);
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

  it("is bounded: a flood of addresses costs the port that makes it, and no other", () => {
    const table = new MacTable(64);
    for (let n = 0; n < 30; n++) table.learn(1000 + n, n, 1, 2, n);
    for (let n = 0; n < 10_000; n++) table.learn(n, n & 0xffff, 1, 1, 100 + n);
    const entries = table.entries(10_000);
    expect(entries.length).toBe(64);
    expect(entries.filter(({ port }) => port === 2).length).toBe(30);
    expect(table.find(9_999, 9_999, 1, 10_100)).toBe(1);
    expect(table.find(0, 0, 1, 10_100)).toBe(-1);
    expect(table.stats).toMatchObject({
      current: 64,
      maximum: 64,
      learned: 10_030,
      evicted: 9966,
      statics: 0,
    });
  });

  it("keeps static stations where they are, whoever else sends with their address", () => {
    const table = new MacTable(2);
    expect(table.addStatic(1, 1, 5, 7)).toBe(true);
    table.learn(1, 1, 5, 8, 10);
    expect(table.find(1, 1, 5, 1e9)).toBe(7);
    for (let n = 0; n < 10; n++) table.learn(2, n, 5, 3, n);
    table.flush();
    table.expire(1e9);
    expect(table.entries(1e9)).toMatchObject([{ vlan: 5, port: 7, isStatic: true }]);
    expect(table.addStatic(1, 2, 5, 7)).toBe(true);
    expect(table.addStatic(1, 3, 5, 7)).toBe(false);
    table.learn(9, 9, 5, 1, 0);
    expect(table.stats).toMatchObject({ current: 2, statics: 2, moved: 0, evicted: 9 });
    expect(table.heldInPlace).toBe(1);
    expect(table.removeStatic(1, 1, 5)).toBe(true);
    expect(table.removeStatic(1, 1, 5)).toBe(false);
    expect(table.find(1, 1, 5, 0)).toBe(-1);
  });

  it("counts what expires and moves, and shrinks to a smaller size", () => {
    const table = new MacTable(8);
    for (let n = 0; n < 6; n++) table.learn(3, n, 0, n % 2, n);
    table.learn(3, 5, 0, 0, 6);
    table.resize(4);
    expect(table.stats).toMatchObject({ current: 4, maximum: 4, moved: 1, evicted: 2 });
    table.expire(300_005);
    expect(table.stats).toMatchObject({ current: 1, expired: 3 });
    expect(table.entries(300_005)).toMatchObject([{ port: 0xfffffffe, ageMs: 299_999 }]);
  });

  it("agrees with a naive table: size, fairness, order and counters", () => {
    const step = fc.record({
      kind: fc.constantFrom("learn", "learn", "learn", "static", "remove", "expire", "flush"),
      low: fc.nat(11),
      port: fc.integer({ min: 1, max: 3 }),
      waitMs: fc.oneof(fc.nat(100), fc.constant(1000)),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 9 }), (steps, size) => {
        const table = new MacTable(size);
        table.ageingMs = 5000;
        const naive = new NaiveMacTable(size, 5000);
        let nowMs = 0;
        for (const { kind, low, port, waitMs } of steps) {
          nowMs += waitMs;
          if (kind === "learn") {
            table.learn(7, low, 1, port, nowMs);
            naive.learn(low, port, nowMs);
          } else if (kind === "static") {
            expect(table.addStatic(7, low, 1, port)).toBe(naive.addStatic(low, port));
          } else if (kind === "remove") {
            expect(table.removeStatic(7, low, 1)).toBe(naive.removeStatic(low));
          } else if (kind === "expire") {
            table.expire(nowMs);
            naive.expire(nowMs);
          } else {
            table.flush(port);
            naive.flush(port);
          }
          expect(table.stats.current).toBe(naive.stations.length);
          expect(table.stats.evicted).toBe(naive.evicted);
        }
        for (let low = 0; low < 12; low++) expect(table.find(7, low, 1, nowMs)).toBe(naive.find(low, nowMs));
        expect(table.entries(nowMs).map(({ mac }) => mac[5])).toEqual(naive.inOrder(nowMs));
      }),
    );
  });
});

interface Station {
  readonly low: number;
  port: number;
  /** Infinity when static. */
  seenMs: number;
}

const isStatic = ({ seenMs }: Station): boolean => seenMs === Number.POSITIVE_INFINITY;

/** The rules of the MAC table as a list that is searched; the least recently seen stations come first. */
class NaiveMacTable {
  stations: Station[] = [];
  evicted = 0;
  readonly #size: number;
  readonly #ageingMs: number;

  constructor(size: number, ageingMs: number) {
    this.#size = size;
    this.#ageingMs = ageingMs;
  }

  learn(low: number, port: number, seenMs: number): void {
    const found = this.stations.find((one) => one.low === low);
    if (found?.seenMs === Number.POSITIVE_INFINITY) return;
    if (found?.port === port && seenMs - found.seenMs < 1000) return;
    if (found !== undefined) this.remove(low);
    if (found !== undefined || this.#makeRoom()) this.stations.push({ low, port, seenMs });
  }

  addStatic(low: number, port: number): boolean {
    if (this.stations.some((one) => one.low === low && isStatic(one) && one.port === port)) return true;
    this.remove(low);
    if (!this.#makeRoom()) return false;
    this.stations.push({ low, port, seenMs: Number.POSITIVE_INFINITY });
    return true;
  }

  removeStatic(low: number): boolean {
    return this.stations.some((one) => one.low === low && isStatic(one)) && this.remove(low);
  }

  remove(low: number): boolean {
    const before = this.stations.length;
    this.stations = this.stations.filter((one) => one.low !== low);
    return this.stations.length < before;
  }

  expire(nowMs: number): void {
    this.stations = this.stations.filter(({ seenMs }) => nowMs - seenMs <= this.#ageingMs);
  }

  flush(port: number): void {
    this.stations = this.stations.filter(
      (one) => one.port !== port || one.seenMs === Number.POSITIVE_INFINITY,
    );
  }

  inOrder(nowMs: number): number[] {
    return this.stations.filter(({ seenMs }) => nowMs - seenMs <= this.#ageingMs).map(({ low }) => low);
  }

  find(low: number, nowMs: number): number {
    const found = this.stations.find((one) => one.low === low);
    return found === undefined || nowMs - found.seenMs > this.#ageingMs ? -1 : found.port;
  }

  #makeRoom(): boolean {
    if (this.stations.length < this.#size) return true;
    const learned = this.stations.filter(({ seenMs }) => seenMs !== Number.POSITIVE_INFINITY);
    const count = (port: number): number => learned.filter((one) => one.port === port).length;
    const [victim] = learned.toSorted((a, b) => count(b.port) - count(a.port) || a.port - b.port);
    if (victim === undefined) return false;
    this.remove(victim.low);
    this.evicted++;
    return true;
  }
}
