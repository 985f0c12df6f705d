import { describe, expect, it } from "vitest";
import {
  type Action,
  OFPC_FRAG_DROP,
  OFPC_FRAG_NORMAL,
  OFPC_FRAG_NX_MATCH,
  OFPC_FRAG_REASM,
} from "../../base/openflow/index.js";
import { cut, join } from "../testing/fragments.js";
import { type Ends, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";

const A: Required<Ends> = {
  source: "10.0.0.1",
  destination: "10.0.0.2",
  sourcePort: 4000,
  destinationPort: 80,
};
const A6: Required<Ends> = { ...A, source: "fd00::1", destination: "fd00::2" };
const PAYLOAD = Uint8Array.from({ length: 3500 }, (_, i) => (i * 7) & 0xff);
const AT = [1400, 2800];

/** UDP to port 80 leaves by port 2, anything else by 3. */
function rigWith(mode: number): Rig {
  const rig = new Rig(3);
  rig.bridge.handleFragments(mode);
  for (const type of [0x0800, 0x86dd]) {
    const udp = match(field("eth_type", type), field("ip_proto", 17), field("udp_dst", 80));
    rig.flow({ priority: 2, match: udp, instructions: [apply(output(2))] });
  }
  rig.flow({ priority: 1, instructions: [apply(output(3))] });
  return rig;
}

const counts = (out: Map<number, Uint8Array[]>): number[] => [2, 3].map((port) => out.get(port)?.length ?? 0);
const drops = (rig: Rig): Record<string, number> =>
  Object.fromEntries(
    rig.bridge.pipeline.dropCounters.report().map(({ reason, packets }) => [reason, packets]),
  );
const tagged = (frame: Uint8Array, vid: number): Uint8Array =>
  Uint8Array.from([...frame.slice(0, 12), 0x81, 0, vid >> 8, vid & 0xff, ...frame.slice(12)]);

describe.each([A, A6])("fragments of $source", (ends) => {
  const whole = udpFrame(ends, PAYLOAD);

  it("show no transport header to the tables normally, the first one does to NX_MATCH", () => {
    expect(counts(rigWith(OFPC_FRAG_NORMAL).send(1, ...cut(whole, AT)))).toEqual([0, 3]);
    expect(counts(rigWith(OFPC_FRAG_NX_MATCH).send(1, ...cut(whole, AT)))).toEqual([1, 2]);
  });

  it("are dropped and counted when the switch is told so, and nothing else is", () => {
    const rig = rigWith(OFPC_FRAG_DROP);
    expect(counts(rig.send(1, ...cut(whole, AT), whole))).toEqual([1, 0]);
    expect(drops(rig)).toEqual({ fragment: 3 });
    expect(rig.pool.available).toBe(256);
  });

  it("are put together for the tables in any order, and cut as they were on the way out", () => {
    const pieces = cut(whole, AT);
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 0, 2],
    ]) {
      const rig = rigWith(OFPC_FRAG_REASM);
      const out = rig.send(1, ...order.map((n) => pieces[n] as Uint8Array));
      expect(counts(out)).toEqual([3, 0]);
      expect(out.get(2)).toEqual(pieces);
      expect(rig.pool.available).toBe(256);
      expect(drops(rig)).toEqual({});
    }
  });

  it("that were put together are matched and rewritten as one datagram", () => {
    const rig = rigWith(OFPC_FRAG_REASM);
    const type = ends === A ? 0x0800 : 0x86dd;
    rig.flow({
      priority: 3,
      match: match(field("eth_type", type), field("ip_proto", 17), field("udp_dst", 80)),
      instructions: [apply({ type: "set_field", ...field("udp_dst", 81) }, output(2))],
    });
    const out = rig.send(1, ...cut(whole, AT)).get(2) ?? [];
    expect(join(out)).toEqual(
      udpFrame({ ...ends, destinationPort: 81 }, PAYLOAD).slice(ends === A ? 34 : 54),
    );
  });

  it("reach the controller as one datagram", () => {
    const rig = rigWith(OFPC_FRAG_REASM);
    rig.flow({ priority: 3, instructions: [apply(output(0xfffffffd))] });
    rig.send(1, ...cut(whole, AT));
    const [event] = rig.events;
    expect(rig.events).toHaveLength(1);
    if (event?.type !== "packet_in") throw new Error("no packet-in");
    const l3 = 14;
    const expected = whole.slice();
    if (ends === A) for (const at of [18, 19, 24, 25]) expected[at] = event.data[at] as number;
    expect(event.data.slice(l3)).toEqual(expected.slice(l3));
  });

  it("of other ports, VLANs and datagrams are kept apart", () => {
    const rig = rigWith(OFPC_FRAG_REASM);
    const [a, b, c] = cut(whole, AT) as [Uint8Array, Uint8Array, Uint8Array];
    expect(counts(rig.send(1, a, b))).toEqual([0, 0]);
    expect(counts(rig.send(2, c))).toEqual([0, 0]);
    expect(counts(rig.send(1, tagged(c, 5)))).toEqual([0, 0]);
    expect(counts(rig.send(1, cut(whole, AT, 8)[2] as Uint8Array))).toEqual([0, 0]);
    expect(counts(rig.send(1, c))).toEqual([3, 0]);
    const inVlan = rig.send(1, ...cut(whole, AT).map((piece) => tagged(piece, 5)));
    expect(inVlan.get(2)).toEqual([tagged(a, 5), tagged(b, 5), tagged(c, 5)]);
  });

  it("that never become whole are dropped and counted in the end", () => {
    const rig = rigWith(OFPC_FRAG_REASM);
    rig.send(1, ...cut(whole, AT).slice(0, 2));
    expect(rig.pool.available).toBe(254);
    rig.nowMs += 16_000;
    rig.datapath.tick(rig.nowMs);
    expect(rig.pool.available).toBe(256);
    expect(drops(rig)).toEqual({ reassembly: 2 });
    rig.send(1, ...cut(whole, AT).slice(0, 2));
    rig.bridge.handleFragments(OFPC_FRAG_NORMAL);
    expect(rig.pool.available).toBe(256);
    expect(drops(rig)).toEqual({ reassembly: 4 });
  });

  it("that overlap, or make a datagram too long for a packet, are dropped and counted", () => {
    const rig = rigWith(OFPC_FRAG_REASM);
    const [a] = cut(whole, AT) as [Uint8Array];
    const [, overlapping] = cut(whole, [1392, 2800]) as [Uint8Array, Uint8Array];
    expect(counts(rig.send(1, a, overlapping))).toEqual([0, 0]);
    expect(drops(rig)).toEqual({ reassembly: 2 });
    const long = cut(udpFrame(ends, new Uint8Array(9400)), [1400, 2800, 4200, 5600, 7000, 8400], 9);
    expect(counts(rig.send(1, ...long))).toEqual([0, 0]);
    expect(drops(rig)).toEqual({ reassembly: 2, "too-long": 7 });
    expect(rig.pool.available).toBe(256);
  });

  it("of which the first is rewritten have a right checksum in every mode", () => {
    for (const mode of [OFPC_FRAG_NORMAL, OFPC_FRAG_NX_MATCH, OFPC_FRAG_REASM]) {
      const rig = rigWith(mode);
      const name = ends === A ? "ipv4_src" : "ipv6_src";
      const to = ends === A ? "10.9.9.9" : "fd00::9";
      const value = udpFrame({ ...ends, source: to }, PAYLOAD).slice(
        ends === A ? 26 : 22,
        ends === A ? 30 : 38,
      );
      rig.flow({
        priority: 3,
        match: match(field("eth_type", ends === A ? 0x0800 : 0x86dd)),
        instructions: [apply({ type: "set_field", field: name, value }, output(2))],
      });
      const out = rig.send(1, ...cut(whole, AT)).get(2) ?? [];
      expect(join(out)).toEqual(udpFrame({ ...ends, source: to }, PAYLOAD).slice(ends === A ? 34 : 54));
    }
  });
});

it("IPv4 options that are not to be copied stay in the first fragment, and headers are sound", () => {
  const frame = udpFrame(A, PAYLOAD);
  // Timestamp (68, not copied) and router alert (148, copied).
  const options = [68, 4, 5, 0, 148, 4, 0, 0];
  const long = Uint8Array.from([...frame.slice(0, 34), ...options, ...frame.slice(34)]);
  const view = new DataView(long.buffer);
  view.setUint8(14, 0x47);
  view.setUint16(16, long.byteLength - 14);
  const pieces = [0, 1400, 2800].map((start, i, all) => {
    const end = all[i + 1] ?? long.byteLength - 42;
    const piece = Uint8Array.from([...long.slice(0, 42), ...long.slice(42 + start, 42 + end)]);
    const header = new DataView(piece.buffer);
    header.setUint16(16, piece.byteLength - 14);
    header.setUint16(20, (start >> 3) | (i < 2 ? 0x2000 : 0));
    header.setUint16(24, 0);
    header.setUint16(24, sumOf(piece, 28));
    return piece;
  });
  const rig = rigWith(OFPC_FRAG_REASM);
  const out = rig.send(1, ...pieces).get(2) ?? [];
  expect(out).toHaveLength(3);
  expect(out.map((piece) => [...piece.slice(34, 42)])).toEqual([
    options,
    [1, 1, 1, 1, 148, 4, 0, 0],
    [1, 1, 1, 1, 148, 4, 0, 0],
  ]);
  for (const piece of out) expect(sumOf(piece, 28)).toBe(0);
});

function sumOf(frame: Uint8Array, size: number): number {
  let sum = 0;
  for (let i = 0; i < size; i += 2) sum += ((frame[14 + i] as number) << 8) | (frame[15 + i] as number);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

it.each([
  ["IPv4", A],
  ["IPv6", A6],
])("a port is set in a first fragment of %s, though no flow sees it there", (_, ends) => {
  const rig = new Rig(3);
  const set: Action = { type: "set_field", ...field("udp_dst", 53) };
  for (const type of [0x0800, 0x86dd]) {
    const udp = match(field("eth_type", type), field("ip_proto", 17));
    rig.flow({ match: udp, instructions: [apply(set), { type: "goto_table", tableId: 1 }] });
  }
  // Later fragments of IPv6 have another protocol.
  rig.flow({ priority: 1, instructions: [{ type: "goto_table", tableId: 1 }] });
  rig.flow({ tableId: 1, priority: 1, instructions: [apply(output(2))] });
  const hit = match(field("eth_type", 0x0800), field("ip_proto", 17), field("udp_dst", 53));
  rig.flow({ tableId: 1, priority: 2, match: hit, instructions: [apply(output(3))] });
  const sent = rig.send(1, ...cut(udpFrame(ends, PAYLOAD), AT)).get(2) ?? [];
  const whole = udpFrame({ ...ends, destinationPort: 53 }, PAYLOAD);
  expect(join(sent)).toEqual(whole.slice(ends === A ? 34 : 54));
});
