import { describe, expect, it } from "vitest";
import { MemoryPort } from "../../base/packet/index.js";
import { plainFrame, tcpFrame } from "../testing/frames.js";
import { apply, field, goto, match, output, Rig } from "../testing/rig.js";
import {
  CAPTURED_DROP,
  CAPTURED_HIT,
  CAPTURED_IN,
  CAPTURED_OUT,
  CaptureRingReader,
  createCaptureMemory,
} from "./capture-ring.js";
import type { CaptureSpec } from "./capture-tap.js";

const plain = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const tcp = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000 }, 16);
const ANY = {
  tableId: 255,
  outPort: 0xffffffff,
  outGroup: 0xffffffff,
  cookie: 0n,
  cookieMask: 0n,
  match: [],
};

/** Starts a capture; returns what reads it. */
function capture(rig: Rig, id: number, spec: Partial<CaptureSpec>) {
  const ring = createCaptureMemory(1 << 18);
  rig.bridge.captures.start(id, {
    point: { at: "ports", direction: "both" },
    ports: undefined,
    match: [],
    snapLength: 65_536,
    rate: Number.POSITIVE_INFINITY,
    ...spec,
    ring,
  });
  const reader = new CaptureRingReader(ring);
  return () => {
    const records = [];
    for (let next = reader.next(); next !== undefined; next = reader.next())
      records.push({ ...next, data: Uint8Array.from(next.data) });
    reader.release();
    return records;
  };
}

describe("captures", () => {
  it("take what passes the ports, as it is there, in each direction, until they are stopped", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply({ type: "push_vlan", etherType: 0x8100 }, output(2), output(3))] });
    const all = capture(rig, 1, {});
    const out3 = capture(rig, 2, { ports: ["p3"], point: { at: "ports", direction: "out" } });
    const in3 = capture(rig, 3, { ports: ["p3"], point: { at: "ports", direction: "in" } });
    const out = rig.send(1, plain);
    const seen = all();
    expect(seen.map(({ what, port }) => [what, port])).toEqual([
      [CAPTURED_IN, 1],
      [CAPTURED_OUT, 2],
      [CAPTURED_OUT, 3],
    ]);
    expect(seen[0]?.data).toEqual(plain);
    expect(seen[1]?.data).toEqual(out.get(2)?.[0]);
    expect(seen[1]?.originalLength).toBe(plain.byteLength + 4);
    expect(out3().map(({ port }) => port)).toEqual([3]);
    expect(in3()).toEqual([]);
    expect(rig.bridge.captures.stop(1)).toEqual([
      { port: 1, matched: 1, lost: 0, limited: 0 },
      { port: 2, matched: 1, lost: 0, limited: 0 },
      { port: 3, matched: 1, lost: 0, limited: 0 },
    ]);
    rig.send(1, plain);
    expect(all()).toEqual([]);
    for (const id of [2, 3]) rig.bridge.captures.stop(id);
    expect(rig.bridge.slots.every(({ tapIn, tapOut }) => tapIn === null && tapOut === null)).toBe(true);
    expect(rig.pool.available).toBe(256);
  });

  it("leave out what does not match, and keep no more of a frame than asked for", () => {
    const rig = new Rig(2);
    const records = capture(rig, 1, { match: match(field("eth_type", 0x800)), snapLength: 20 });
    rig.send(1, plain, tcp, plain);
    const seen = records();
    expect(seen.length).toBe(1);
    expect(seen[0]?.data).toEqual(tcp.slice(0, 20));
    expect(seen[0]?.originalLength).toBe(tcp.byteLength);
  });

  it("look at ports that come later", () => {
    const rig = new Rig(1);
    const records = capture(rig, 1, { ports: ["late"] });
    const port = new MemoryPort({ name: "late", pool: rig.pool });
    rig.bridge.addPort({ port, ofport: 9, mac: Uint8Array.of(2, 0, 0, 0, 0, 9), mtu: 1500, nowMs: 1 });
    port.inject(plain);
    rig.datapath.breathe(rig.nowMs);
    expect(records().map(({ port }) => port)).toEqual([9]);
  });

  it("take packets as they meet flows, with what earlier tables made of them", () => {
    const rig = new Rig(2);
    const mark = { type: "load", destination: { field: "reg0", offset: 0, bits: 8 }, value: 5n } as const;
    rig.flow({ instructions: [apply({ type: "push_vlan", etherType: 0x8100 }, mark), goto(3)] });
    rig.flow({ tableId: 3, cookie: 0xaan, priority: 9, instructions: [apply(output(2))] });
    rig.flow({ tableId: 3, cookie: 0xbbn, match: match(field("in_port", 2)) });
    const hits = capture(rig, 1, {
      point: { at: "flows", flows: { ...ANY, tableId: 3, cookie: 0xaan, cookieMask: 0xffn } },
      match: match(field("reg0", 5)),
    });
    const fromTwo = capture(rig, 2, { point: { at: "flows", flows: ANY }, ports: ["p2"] });
    rig.send(1, plain);
    const seen = hits();
    expect(seen).toMatchObject([
      { what: CAPTURED_HIT, port: 1, tableId: 3, flow: { cookie: 0xaan, priority: 9 } },
    ]);
    expect(seen[0]?.data.byteLength).toBe(plain.byteLength + 4);
    expect(fromTwo()).toEqual([]);
    rig.send(2, plain);
    expect(hits()).toEqual([]);
    expect(fromTwo().map(({ tableId, flow }) => [tableId, flow?.cookie])).toEqual([
      [0, 0n],
      [3, 0xbbn],
    ]);
    // What is cached is met all the same, and so is what is changed meanwhile.
    rig.send(1, plain);
    rig.flow({ tableId: 3, cookie: 0xabn, priority: 10, instructions: [apply(output(2))] });
    rig.flow({ tableId: 3, cookie: 0x1aan, priority: 11, instructions: [apply(output(2))] });
    rig.send(1, plain);
    expect(hits().map(({ flow }) => flow?.cookie)).toEqual([0xaan, 0x1aan]);
  });

  it("take packets as they are dropped, with the reason and the last flow, also before any table", () => {
    const rig = new Rig(2);
    rig.flow({ cookie: 7n, priority: 3, match: match(field("eth_type", 0x800)), instructions: [goto(4)] });
    const any = capture(rig, 1, { point: { at: "drops", reasons: [] } });
    const misses = capture(rig, 2, { point: { at: "drops", reasons: ["table-miss"] } });
    rig.flow({ tableId: 4, cookie: 8n, match: match(field("in_port", 2)) });
    rig.send(1, tcp);
    expect(misses()).toMatchObject([
      { what: CAPTURED_DROP, port: 1, reason: 0, tableId: 4, flow: { cookie: 7n, priority: 3 }, data: tcp },
    ]);
    rig.send(2, tcp);
    expect(misses()).toEqual([]);
    const slot = rig.bridge.slot(2)!;
    slot.config = 4; // OFPPC_NO_RECV
    slot.update();
    rig.send(2, plain);
    expect(any().map(({ reason, port, tableId }) => [reason, port, tableId])).toEqual([
      [0, 1, 4],
      [1, 2, 4],
      [9, 2, -1],
    ]);
  });

  it("hold to a rate, and count what is over it and what has no room", () => {
    const rig = new Rig(2);
    rig.flow({ instructions: [apply(output(2))] });
    const point = { at: "ports", direction: "in" } as const;
    const records = capture(rig, 1, { point, rate: 30 });
    rig.send(1, ...Array.from({ length: 50 }, () => plain));
    const [count] = rig.bridge.captures.stop(1);
    expect(count?.matched).toBe(50);
    expect(records().length + (count?.limited ?? 0)).toBe(50);
    expect(count?.limited).toBeGreaterThan(0);
    const large = new Uint8Array(9000);
    large.set(plain);
    const unread = capture(rig, 2, { point });
    for (let i = 0; i < 40; i++) rig.send(1, large);
    const [full] = rig.bridge.captures.stop(2);
    expect(full).toMatchObject({ matched: 40, limited: 0 });
    expect(full?.lost).toBeGreaterThan(0);
    expect(unread().length + (full?.lost ?? 0)).toBe(40);
  });

  it("are bounded in number", () => {
    const rig = new Rig(1);
    for (let id = 1; id <= 8; id++) capture(rig, id, {});
    expect(() => capture(rig, 9, {})).toThrow("at most 8 captures");
    rig.bridge.captures.stop(3);
    expect(() => capture(rig, 1, {})).toThrow("there is a capture 1");
    capture(rig, 9, {});
  });
});
