import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../base/bytes/index.js";
import {
  type Action,
  type Instruction,
  OFPG_ANY,
  OFPP_ANY,
  OFPTT_ALL,
  type OxmEntry,
} from "../../base/openflow/index.js";
import { TRUNK_ALL } from "../learn/index.js";
import { ct, mark, masquerade, nat } from "../testing/ct-actions.js";
import { icmpFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, goto, output, Rig } from "../testing/rig.js";

const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;
const CLIENTS = ["10.0.0.1", "10.0.0.2"] as const;
const SERVER = "10.1.0.1";
/** What clients are seen as where their addresses are translated. */
const OUTSIDE = "10.2.0.1";

/** In place of a pause: all connections are forgotten, or few more may be begun. */
const FLUSH = -1;
const LIMIT = -2;

const first = fc.constantFrom<readonly Action[]>(
  [ct(false, 1, 1)],
  [ct(false, 1, 1, nat())],
  [{ type: "load", destination: { field: "reg0", offset: 0, bits: 32 }, value: 7n }, ct(false, 1, 1)],
  [{ type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 2, 2, 2, 2, 2) }, ct(false, 1, 1, nat())],
  [output(3), ct(false, 1, 1)],
  [ct(true, 1, 1)],
  [ct(true, 1, 1, masquerade)],
  [ct(false, 1, 1), output(3)],
  [ct(false, 1, 1), ct(false, 2, 1)],
  [{ type: "load", destination: { field: "in_port", offset: 0, bits: 16 }, value: 3n }, ct(false, 1, 1)],
  [{ type: "dec_nw_ttl" }, ct(false, 1, 1, nat()), { type: "dec_nw_ttl" }],
  [{ ...ct(false, 0, 1), zone: { field: "vlan_tci", offset: 0, bits: 16 } } as Action],
  [
    {
      type: "move",
      source: { field: "ipv4_src", offset: 0, bits: 16 },
      destination: { field: "reg1", offset: 0, bits: 16 },
    },
    ct(false, 1, 1),
  ],
);
const behind = fc.constantFrom<readonly Action[]>(
  [],
  [output(1)],
  [output(2)],
  [output(1), output(2)],
  [ct(true, 1, undefined), output(2)],
  [ct(true, 1, undefined, masquerade), output(2)],
  [ct(true, 1, undefined, mark(1)), output(2)],
  [ct(true, 1, undefined, mark(2)), output(1)],
  [ct(true, 2, undefined), output(2)],
  [ct(false, 2, 2)],
  [ct(false, 1, 2, nat())],
  [{ type: "ct_clear" }, ct(false, 2, 2)],
  [{ type: "dec_nw_ttl" }, output(2)],
  [{ type: "set_field", field: "eth_src", value: Uint8Array.of(2, 0, 0, 0, 0, 9) }, ct(true, 2, 2)],
  [
    {
      type: "move",
      source: { field: "ct_mark", offset: 0, bits: 32 },
      destination: { field: "reg0", offset: 0, bits: 32 },
    },
    ct(false, 2, 2),
  ],
  [{ type: "resubmit", port: 0xfffffff8, tableId: 2, withCt: false }],
  [{ type: "resubmit", port: 0xfffffff8, tableId: 2, withCt: true }],
);
const IP = field("eth_type", 0x800);
const seen = fc.constantFrom<readonly OxmEntry[]>(
  [IP],
  [IP, field("ct_state", 0x21, 0x21)],
  [IP, field("ct_state", 0x22, 0x22)],
  [IP, field("ct_state", 0x2a, 0x2a)],
  [IP, field("ct_state", 0x30, 0x30)],
  [IP, field("ct_state", 0x62, 0x62)],
  [IP, field("ct_mark", 1)],
  [IP, field("ct_mark", 0)],
  [IP, field("ct_zone", 2)],
  [IP, field("in_port", 1)],
  [IP, field("in_port", 2)],
  [IP, field("reg0", 7)],
  [IP, field("ipv4_dst", 0x0a000001)],
);
/** Fields of IPv6 in place of those of IPv4. */
const wide = (match: readonly OxmEntry[]): readonly OxmEntry[] =>
  match.map((one) => {
    if (one === IP) return field("eth_type", 0x86dd);
    return one.field === "ipv4_dst" ? field("ipv6_dst", (0xfd00n << 112n) | 1n) : one;
  });
const flow = fc.record({
  tableId: fc.integer({ min: 1, max: 2 }),
  priority: fc.integer({ min: 1, max: 4 }),
  match: fc.tuple(seen, fc.boolean()).map(([match, isWide]) => (isWide ? wide(match) : match)),
  actions: behind,
  next: fc.boolean(),
});

const frame = fc
  .record({
    client: fc.nat(1),
    toServer: fc.boolean(),
    outside: fc.boolean(),
    kind: fc.constantFrom("tcp", "tcp", "tcp", "udp", "icmp"),
    flags: fc.constantFrom(SYN, SYN | ACK, ACK, ACK, ACK, ACK, ACK | PSH, FIN | ACK, RST | ACK, 0),
    ahead: fc.constantFrom(0, 0, 0, 1, 10, 100_000),
    size: fc.constantFrom(0, 0, 5, 6, 33),
    spoilt: fc.constantFrom(0, 0, 0, 0, 0, 0, 24, 40, 57),
    tag: fc.constantFrom(0, 0, 0, 0x2005, 0x2006),
    isWide: fc.constantFrom(false, false, true),
  })
  .map(({ client, toServer, outside, kind, flags, ahead, size, spoilt, tag, isWide }) => {
    const [server, seenAs] = isWide ? ["fd01::1", "fd02::1"] : [SERVER, OUTSIDE];
    const address = isWide ? `fd00::${client + 1}` : CLIENTS[client]!;
    const ports = { tcp: [40_000 + client, 80], udp: [50_000, 53], icmp: [0, 0] }[kind] as [number, number];
    const ends = toServer
      ? { source: address, destination: server, sourcePort: ports[0], destinationPort: ports[1] }
      : {
          source: server,
          destination: outside ? seenAs : address,
          sourcePort: ports[1],
          destinationPort: ports[0],
        };
    const payload = new Uint8Array(size);
    const bytes =
      kind === "tcp"
        ? tcpFrame(ends, flags, payload, {
            sequence: (toServer ? 1000 : 5000) + (flags === SYN || flags === (SYN | ACK) ? 0 : 1) + ahead,
            acknowledgment: (flags & ACK) === 0 ? 0 : toServer ? 5001 : 1001,
            window: 1000,
          })
        : kind === "udp"
          ? udpFrame(ends, payload)
          : icmpFrame(ends, (isWide ? [129, 128] : [0, 8])[toServer ? 1 : 0]!, 0x00070001, payload);
    if (spoilt > 0) bytes[spoilt] = (bytes[spoilt] ?? 0) ^ 0x40;
    return { port: toServer ? 1 : 2, bytes: tag > 0 ? tagged(bytes, 0x8100, tag) : bytes };
  });

const isOfIpv4 = (actions: readonly Action[]): boolean =>
  actions.some(
    (one) =>
      (one.type === "move" && one.source.field === "ipv4_src") ||
      (one.type === "ct" && one.actions.some((inner) => inner === masquerade)),
  );

function counts(rig: Rig): unknown {
  const filter = { tableId: OFPTT_ALL, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
  return rig.bridge.tables
    .flowStats({ ...filter, match: [] }, rig.nowMs)
    .map(({ tableId, priority, packetCount, byteCount }) => [tableId, priority, packetCount, byteCount]);
}

describe("packets of connections that are known", () => {
  it("fare as if nothing were known of them, and move their connections as far", () => {
    let known = 0;
    let later = 0;
    fc.assert(
      fc.property(
        first,
        fc.array(flow, { maxLength: 6 }),
        fc.array(fc.array(fc.nat(5), { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 6 }),
        fc.array(frame, { minLength: 6, maxLength: 6 }),
        fc.array(fc.constantFrom(0, 0, 0, 1, 1000, 31_000, FLUSH, LIMIT), { minLength: 8, maxLength: 8 }),
        (start, flows, bursts, frames, pauses) => {
          const cached = new Rig(3, { slots: 64 });
          const fresh = new Rig(3, { slots: 64 });
          for (const rig of [cached, fresh]) {
            const rest = [apply(ct(true, 1, undefined), output(2))];
            for (const match of [[IP], wide([IP])]) {
              // What is done to addresses of IPv4 is refused for others.
              const takes = match[0] === IP || !isOfIpv4(start);
              const instructions = [apply(...(takes ? start : [ct(false, 1, 1)]))];
              rig.bridge.change(flowMod({ match, instructions }), rig.nowMs);
              rig.bridge.change(flowMod({ tableId: 1, priority: 0, match, instructions: rest }), rig.nowMs);
            }
          }
          for (const { tableId, priority, match, actions, next } of flows) {
            const instructions: Instruction[] = [apply(...actions)];
            if (next && tableId < 2) instructions.push(goto(tableId + 1));
            for (const rig of [cached, fresh]) {
              try {
                rig.bridge.change(flowMod({ tableId, priority, match, instructions }), rig.nowMs);
              } catch {}
            }
          }
          for (const [n, burst] of Array.from({ length: 6 }, () => bursts)
            .flat()
            .entries()) {
            for (const index of burst) fresh.ports[frames[index]!.port - 1]!.inject(frames[index]!.bytes);
            for (const index of burst) cached.ports[frames[index]!.port - 1]!.inject(frames[index]!.bytes);
            const pause = pauses[n % pauses.length]!;
            for (const rig of [cached, fresh]) {
              const { conntrack } = rig.datapath;
              rig.nowMs += Math.max(0, pause);
              if (pause === FLUSH) conntrack.flush({}, rig.nowMs);
              if (pause === LIMIT) conntrack.configure({ limits: [{ zone: 1, limit: 1 + (n % 3) }] });
            }
            const text = (rig: Rig): string =>
              JSON.stringify([...rig.send(1)].map(([port, sent]) => [port, sent.map(toHex)]));
            fresh.bridge.tables.invalidate();
            expect(text(cached)).toBe(text(fresh));
            expect(cached.datapath.conntrack.connections(cached.nowMs)).toEqual(
              fresh.datapath.conntrack.connections(fresh.nowMs),
            );
          }
          expect(Array.from(cached.bridge.pipeline.dropCounters.packets)).toEqual(
            Array.from(fresh.bridge.pipeline.dropCounters.packets),
          );
          expect(cached.pool.available).toBe(64);
          expect(cached.bridge.tables.tableStats().slice(0, 3)).toEqual(
            fresh.bridge.tables.tableStats().slice(0, 3),
          );
          expect(counts(cached)).toEqual(counts(fresh));
          known += cached.bridge.bursts.trackedHits;
          later += cached.bridge.bursts.later.hits;
        },
      ),
      { numRuns: 60 },
    );
    expect(known).toBeGreaterThan(200);
    expect(later).toBeGreaterThan(100);
  });

  it("are tracked in the zone that each of them says, however many fare alike", () => {
    const rig = new Rig(3, { slots: 64 });
    const tracking = { ...ct(true, 0, 1), zone: { field: "vlan_tci", offset: 0, bits: 16 } } as Action;
    rig.bridge.change(flowMod({ match: [IP], instructions: [apply(tracking)] }), rig.nowMs);
    for (const [tci, port] of [
      [0x1005, 2],
      [0x1006, 3],
    ] as const) {
      const match = [IP, field("ct_zone", tci)];
      rig.bridge.change(flowMod({ tableId: 1, match, instructions: [apply(output(port))] }), rig.nowMs);
    }
    const ends = { source: CLIENTS[0], destination: SERVER };
    for (let n = 0; n < 120; n++) {
      const isFirst = (n & 1) === 0;
      const sent = rig.send(
        1,
        tagged(udpFrame({ ...ends, sourcePort: 1000 + (n % 7) }), 0x8100, isFirst ? 5 : 6),
      );
      expect([sent.get(2)?.length ?? 0, sent.get(3)?.length ?? 0]).toEqual(isFirst ? [1, 0] : [0, 1]);
    }
    expect(rig.bridge.bursts.trackedHits).toBeGreaterThan(20);
    const zones = new Set(rig.datapath.conntrack.connections(rig.nowMs).map((one) => one.zone));
    expect(zones).toEqual(new Set([0x1005, 0x1006]));
  });

  it("leave by the queue that was chosen before they were tracked", () => {
    const rig = new Rig(3, { slots: 64 });
    const qos = { type: "linux-htb", queues: [{ queueId: 0 }, { queueId: 1, dscp: 10 }] } as const;
    rig.bridge.setPort(rig.bridge.slots[1]!, { vlan: TRUNK_ALL, qos }, rig.nowMs);
    const chosen = apply({ type: "set_queue", queueId: 1 }, ct(true, 1, 1));
    rig.bridge.change(flowMod({ match: [IP], instructions: [chosen] }), rig.nowMs);
    rig.bridge.change(flowMod({ tableId: 1, match: [IP], instructions: [apply(output(2))] }), rig.nowMs);
    const ends = { source: CLIENTS[0], destination: SERVER };
    const marks: (number | undefined)[] = [];
    for (let n = 0; n < 120; n++) {
      const sent = rig.send(1, udpFrame({ ...ends, sourcePort: 1000 + (n % 9) }));
      marks.push(...(sent.get(2) ?? []).map((bytes) => bytes[15]));
      rig.nowMs += 10;
    }
    expect(marks).toEqual(new Array(120).fill(10 << 2));
  });
});
