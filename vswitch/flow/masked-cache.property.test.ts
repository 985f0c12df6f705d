import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import {
  type Action,
  type Instruction,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_NORMAL,
  OFPTT_ALL,
  type OxmEntry,
} from "../../base/openflow/index.js";
import { icmpFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, goto, output, Rig } from "../testing/rig.js";

const IP = field("eth_type", 0x800);
const TCP = field("ip_proto", 6);
const entry = fc.constantFrom<readonly OxmEntry[]>(
  [],
  [field("in_port", 1)],
  [IP, field("ipv4_dst", 0x0a010000, 0xffff0000)],
  [IP, field("ipv4_dst", 0x0a010100, 0xffffff00)],
  [IP, field("ipv4_dst", 0x0a010101)],
  [IP, field("ipv4_src", 0x0a000002)],
  [IP, field("ipv4_src", 0x0a000000, 0xfffffffe)],
  [IP, TCP, field("tcp_dst", 80)],
  [IP, TCP, field("tcp_src", 1024, 0xfffe)],
  [IP, TCP, field("tcp_flags", 2, 2)],
  [IP, field("nw_ttl", 1)],
  [IP, field("ip_dscp", 10)],
  [field("vlan_vid", 0x1000, 0x1000)],
  [field("vlan_vid", 0x1005)],
  [field("vlan_vid", 0)],
  [IP, field("ipv4_dst", 0x0a090909)],
  [field("reg0", 7)],
  [field("eth_dst", 0x020202020202)],
);
const action = fc.constantFrom<Action>(
  output(2),
  output(3),
  output(1),
  output(OFPP_NORMAL),
  { type: "dec_nw_ttl" },
  { type: "set_nw_ttl", ttl: 1 },
  { type: "push_vlan", etherType: 0x8100 },
  { type: "pop_vlan" },
  { type: "push_mpls", etherType: 0x8847 },
  { type: "set_field", field: "ipv4_dst", value: Uint8Array.of(10, 9, 9, 9) },
  { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 2, 2, 2, 2, 2) },
  { type: "load", destination: { field: "reg0", offset: 0, bits: 32 }, value: 7n },
  { type: "load", destination: { field: "ipv4_src", offset: 0, bits: 8 }, value: 2n },
  {
    type: "move",
    source: { field: "ipv4_src", offset: 0, bits: 8 },
    destination: { field: "reg0", offset: 0, bits: 8 },
  },
  { type: "resubmit", port: 0xfffffff8, tableId: 2, withCt: false },
);
const IP6 = field("eth_type", 0x86dd);
const NETWORK6 = 0xfd01n << 112n;
const entry6 = fc.constantFrom<readonly OxmEntry[]>(
  [],
  [field("in_port", 1)],
  [IP6, field("ipv6_dst", NETWORK6, 0xffffn << 112n)],
  [IP6, field("ipv6_dst", NETWORK6 | 0x10001n)],
  [IP6, field("ipv6_src", 2n, 3n)],
  [IP6, TCP, field("tcp_dst", 80)],
  [IP6, TCP, field("tcp_src", 1024, 0xfffe)],
  [IP6, TCP, field("tcp_flags", 2, 2)],
  [IP6, field("ip_proto", 58), field("icmpv6_type", 128)],
  [IP6, field("ip_proto", 58), field("icmpv6_type", 135), field("ipv6_nd_target", 2n)],
  [IP6, field("nw_ttl", 1)],
  [IP6, field("ip_dscp", 10)],
  [IP6, field("ipv6_flabel", 5)],
  [IP6, field("ipv6_exthdr", 32, 32)],
  [IP, field("ipv4_dst", 0x0a010000, 0xffff0000)],
  [field("vlan_vid", 0x1005)],
  [field("vlan_vid", 0)],
  [field("reg0", 7)],
  [field("eth_dst", 0x020202020202)],
);
const action6 = fc.oneof(
  action,
  fc.constantFrom<Action>(
    { type: "set_field", field: "ipv6_dst", value: Uint8Array.from({ length: 16 }, (_, i) => 16 - i) },
    { type: "set_field", field: "ipv6_flabel", value: Uint8Array.of(0, 0, 0, 5) },
    { type: "load", destination: { field: "ipv6_src", offset: 0, bits: 8 }, value: 2n },
  ),
);
const flowOf = (matches: typeof entry, actions: typeof action) =>
  fc.record({
    tableId: fc.integer({ min: 0, max: 2 }),
    priority: fc.integer({ min: 1, max: 4 }),
    match: matches,
    actions: fc.array(actions, { maxLength: 3 }),
    next: fc.boolean(),
  });
const flow = flowOf(entry, action);
const flow6 = flowOf(entry6, action6);
const frame = fc
  .record({
    port: fc.constantFrom(1, 1, 2),
    source: fc.integer({ min: 1, max: 4 }),
    network: fc.constantFrom("10.1.1.1", "10.1.1.2", "10.1.2.1", "10.2.0.1"),
    sourcePort: fc.integer({ min: 1024, max: 1030 }),
    destinationPort: fc.constantFrom(80, 443),
    flags: fc.constantFrom(2, 16, 24),
    kind: fc.constantFrom("tcp", "tcp", "udp", "icmp"),
    ttl: fc.constantFrom(64, 64, 2, 1),
    tos: fc.constantFrom(0, 40),
    tag: fc.constantFrom(0, 0, 0x0005, 0x2006),
  })
  .map(({ port, source, network, sourcePort, destinationPort, flags, kind, ttl, tos, tag }) => {
    const ends = { source: `10.0.0.${source}`, destination: network, sourcePort, destinationPort };
    const plain =
      kind === "tcp"
        ? tcpFrame(ends, flags)
        : kind === "udp"
          ? udpFrame(ends)
          : icmpFrame(ends, 8, sourcePort);
    const bytes = plain.with(22, ttl).with(15, tos);
    return { port, bytes: tag === 0 ? bytes : tagged(bytes, 0x8100, tag) };
  });

const frame6 = fc
  .record({
    port: fc.constantFrom(1, 1, 2),
    source: fc.integer({ min: 1, max: 4 }),
    network: fc.constantFrom("fd01::1:1", "fd01::1:2", "fd02::1"),
    sourcePort: fc.integer({ min: 1024, max: 1030 }),
    destinationPort: fc.constantFrom(80, 443),
    flags: fc.constantFrom(2, 16, 24),
    kind: fc.constantFrom("tcp", "tcp", "udp", "echo", "neighbour", "options", "fragment", "four"),
    ttl: fc.constantFrom(64, 64, 2, 1),
    first: fc.constantFrom(0x60, 0x60, 0x62, 0x40),
    label: fc.constantFrom(0, 0, 5),
    tags: fc.array(fc.constantFrom(0x0005, 0x2006), { maxLength: 2 }),
  })
  .map(({ port, source, network, sourcePort, destinationPort, flags, kind, ttl, first, label, tags }) => {
    const ends = { source: `fd00::${source}`, destination: network, sourcePort, destinationPort };
    if (kind === "four") return { port, bytes: udpFrame({ source: "10.0.0.1", destination: "10.1.1.1" }) };
    const plain =
      kind === "tcp"
        ? tcpFrame(ends, flags)
        : kind === "udp"
          ? udpFrame(ends)
          : kind === "echo" || kind === "neighbour"
            ? icmpFrame(ends, kind === "echo" ? 128 : 135, 0, new Uint8Array(16).fill(0).with(15, 2))
            : udpFrame(ends, new Uint8Array(24));
    let bytes: Uint8Array = plain.with(14, first).with(17, label).with(21, ttl);
    // What follows is read as such a header, of eight bytes.
    if (kind === "options" || kind === "fragment")
      bytes = bytes
        .with(20, kind === "options" ? 0 : 44)
        .with(54, 17)
        .with(55, 0);
    for (const tci of tags) bytes = tagged(bytes, 0x8100, tci);
    return { port, bytes };
  });

function counts(rig: Rig): unknown {
  const filter = { tableId: OFPTT_ALL, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
  return rig.bridge.tables
    .flowStats({ ...filter, match: [] }, rig.nowMs)
    .map(({ tableId, priority, packetCount, byteCount }) => [tableId, priority, packetCount, byteCount]);
}

describe("frames that are known by less than their keys", () => {
  it.each([
    { protocol: "IPv4", flow, frame, frontsMin: 20 },
    { protocol: "IPv6", flow: flow6, frame: frame6, frontsMin: 0 },
  ])("fare as if nothing were known of them: $protocol", (one) => {
    let masked = 0;
    let fronts = 0;
    fc.assert(
      fc.property(
        fc.array(one.flow, { maxLength: 10 }),
        fc.array(fc.array(one.frame, { minLength: 1, maxLength: 8 }), { minLength: 2, maxLength: 8 }),
        (flows, bursts) => {
          const cached = new Rig(3, { slots: 64 });
          const fresh = new Rig(3, { slots: 64 });
          for (const rig of [cached, fresh]) {
            rig.bridge.forwarding.macs.addStatic(0x52540000, 0x000b, 0, 3);
            rig.flow({ priority: 0, instructions: [apply(output(2))] });
            for (const { tableId, priority, match, actions, next } of flows) {
              const instructions: Instruction[] = [apply(...actions)];
              if (next && tableId < 2) instructions.push(goto(tableId + 1));
              try {
                rig.bridge.change(flowMod({ tableId, priority, match, instructions }), rig.nowMs);
              } catch {}
            }
          }
          for (const burst of bursts) {
            for (const { port, bytes } of burst) cached.ports[port - 1]!.inject(bytes);
            const sent = cached.send(1);
            // One after the other, and nothing is known of any; port by port, as the others go.
            const expected = new Map<number, Uint8Array[]>();
            for (const { port, bytes } of burst.toSorted((a, b) => a.port - b.port)) {
              fresh.bridge.tables.invalidate();
              for (const [to, frames] of fresh.send(port, bytes))
                expected.set(to, [...(expected.get(to) ?? []), ...frames]);
            }
            for (const port of [1, 2, 3])
              expect((sent.get(port) ?? []).map(toHex)).toEqual((expected.get(port) ?? []).map(toHex));
          }
          expect(Array.from(cached.bridge.pipeline.dropCounters.packets)).toEqual(
            Array.from(fresh.bridge.pipeline.dropCounters.packets),
          );
          expect(cached.pool.available).toBe(64);
          expect(counts(cached)).toEqual(counts(fresh));
          expect(cached.bridge.tables.tableStats().slice(0, 3)).toEqual(
            fresh.bridge.tables.tableStats().slice(0, 3),
          );
          masked += cached.bridge.bursts.masked.hits;
          fronts += cached.bridge.bursts.fronts.hits;
        },
      ),
      { numRuns: 60 },
    );
    expect(masked).toBeGreaterThan(50);
    expect(fronts).toBeGreaterThanOrEqual(one.frontsMin);
  });
});
