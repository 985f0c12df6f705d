import { describe, expect, it } from "vitest";
import {
  CT_STATE_DNAT,
  CT_STATE_EST,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_SNAT,
  CT_STATE_TRK,
  type CtAction,
} from "../../base/openflow/index.js";
import {
  formatIpv6Address,
  ipv4Bytes,
  parseEthernet,
  parseIcmpv6,
  parseIpv4Address,
  parseIpv6,
  parseIpv6Address,
  parseTcp,
} from "../../base/wire/index.js";
import { A, A6, ACK, EST, FIN, INVALID, NEW, REPLY, RST, SYN, turn } from "../testing/conversation.js";
import { type Ends, icmpFrame, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { TrackRig, trackAction } from "../testing/track-rig.js";

const segment = (
  ends: Ends,
  flags: number,
  sequence: number,
  acknowledgment: number,
  size = 0,
  window = 1000,
): Uint8Array => tcpFrame(ends, flags, new Uint8Array(size), { sequence, acknowledgment, window });

/** An established connection: the opener's next number is 101, the other end's 501. */
function handshake(rig: TrackRig, ends: Required<Ends> = A): void {
  rig.state(1, segment(ends, SYN, 100, 0));
  rig.state(2, segment(turn(ends), SYN | ACK, 500, 101));
  rig.state(1, segment(ends, ACK, 101, 501));
}

describe("Conntrack on TCP", () => {
  it("calls segments invalid that lie outside the windows of their connection, and resets that miss", () => {
    const rig = new TrackRig();
    handshake(rig);
    expect(rig.state(1, segment(A, ACK, 101, 501, 900))).toBe(EST);
    expect(rig.state(1, segment(A, ACK, 50_000, 501, 10))).toBe(INVALID);
    expect(rig.state(2, segment(turn(A), ACK, 501, 900_000))).toBe(INVALID);
    expect(rig.state(2, segment(turn(A), RST, 700, 0))).toBe(INVALID);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_established");
    expect(rig.state(2, segment(turn(A), RST, 501, 0))).toBe(REPLY);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_close");
  });

  it("follows sequence numbers over their end and scaled windows", () => {
    const rig = new TrackRig();
    const scale = Uint8Array.of(1, 3, 3, 8);
    const top = 0xffffff00;
    rig.state(1, tcpFrame(A, SYN, new Uint8Array(0), { sequence: top, window: 1000, options: scale }));
    const answer = { sequence: 500, acknowledgment: top + 1, window: 1000, options: scale };
    rig.state(2, tcpFrame(turn(A), SYN | ACK, new Uint8Array(0), answer));
    rig.state(1, segment(A, ACK, top + 1, 501));
    rig.state(2, segment(turn(A), ACK, 501, top + 1));
    for (let sent = 0, next = top + 1; sent < 4; sent++) {
      expect(rig.state(1, segment(A, ACK, next >>> 0, 501, 1400))).toBe(EST);
      next = (next + 1400) >>> 0;
    }
    // 256 000 bytes fit, 400 000 do not.
    expect(rig.state(1, segment(A, ACK, 150_000, 501, 1400))).toBe(EST);
    expect(rig.state(1, segment(A, ACK, 400_000, 501, 1400))).toBe(INVALID);
  });

  it("refuses no sequence number where that is switched off, nor of a connection that it picked up", () => {
    const rig = new TrackRig();
    rig.datapath.conntrack.configure({ checkSequence: false });
    handshake(rig);
    expect(rig.state(1, segment(A, ACK, 50_000_000, 501, 10))).toBe(EST);
    rig.datapath.conntrack.configure({ checkSequence: true });
    rig.datapath.conntrack.flush({}, rig.nowMs);
    expect(rig.state(1, segment(A, ACK, 1000, 2000, 10))).toBe(NEW);
    expect(rig.state(2, segment(turn(A), ACK, 5_000_000, 1010, 10))).toBe(REPLY);
    expect(rig.state(2, segment(turn(A), ACK, 9_000_000, 1010, 10))).toBe(REPLY);
    expect(rig.state(1, segment(A, ACK, 20_000, 9_000_010, 10))).toBe(EST);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_established");
  });

  it("takes a second attempt to open with another number, and lets its answer in", () => {
    const rig = new TrackRig();
    expect(rig.state(1, segment(A, SYN, 100, 0))).toBe(NEW);
    expect(rig.state(1, segment(A, SYN, 3_000_000_000, 0))).toBe(NEW);
    expect(rig.state(2, segment(turn(A), SYN | ACK, 500, 3_000_000_001))).toBe(REPLY);
    expect(rig.state(1, segment(A, ACK, 3_000_000_001, 501, 10))).toBe(EST);
    expect(rig.datapath.conntrack.size).toBe(1);
  });

  it("closes with both FINs and lets the ports be used again", () => {
    const rig = new TrackRig();
    handshake(rig);
    expect(rig.state(1, segment(A, FIN | ACK, 101, 501))).toBe(EST);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_fin_wait");
    expect(rig.state(2, segment(turn(A), FIN | ACK, 501, 102))).toBe(REPLY);
    expect(rig.state(1, segment(A, ACK, 102, 502))).toBe(EST);
    expect(rig.state(1, segment(A, SYN, 9000, 0))).toBe(NEW);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_syn_sent");
  });
});

describe("Conntrack on checksums", () => {
  it("calls packets invalid whose checksums are wrong, except where there is none", () => {
    const at: readonly [frame: Uint8Array, checksum: number][] = [
      [tcpFrame(A, SYN), 14 + 20 + 16],
      [udpFrame(A), 14 + 20 + 6],
      [icmpFrame(A, 8, 0x00010001), 14 + 20 + 2],
      [udpFrame(A), 14 + 10],
      [tcpFrame(A6, SYN), 14 + 40 + 16],
      [udpFrame(A6), 14 + 40 + 6],
      [icmpFrame(A6, 128, 0x00010001), 14 + 40 + 2],
    ];
    const rig = new TrackRig();
    for (const [frame, checksum] of at) {
      const broken = frame.slice();
      broken[checksum] = (broken[checksum] as number) ^ 1;
      expect(rig.state(1, broken)).toBe(INVALID);
      expect(rig.state(1, frame)).toBe(NEW);
      rig.datapath.conntrack.flush({}, rig.nowMs);
    }
    const none = udpFrame(A);
    none.fill(0, 40, 42);
    expect(rig.state(1, none)).toBe(NEW);
    const none6 = udpFrame(A6);
    none6.fill(0, 60, 62);
    expect(rig.state(1, none6)).toBe(INVALID);
  });
});

describe("Conntrack on IPv6", () => {
  it("tracks TCP, UDP, echo and ICMPv6 errors, and no neighbour discovery", () => {
    const rig = new TrackRig();
    handshake(rig, A6);
    expect(rig.state(1, udpFrame(A6))).toBe(NEW);
    expect(rig.state(2, udpFrame(turn(A6)))).toBe(REPLY);
    expect(rig.state(1, icmpFrame(A6, 128, 0x00070001))).toBe(NEW);
    expect(rig.state(2, icmpFrame(turn(A6), 129, 0x00070001))).toBe(REPLY);
    const quoted = udpFrame(A6).subarray(14);
    const router = { source: "fd00::9", destination: A6.source };
    expect(rig.state(2, icmpFrame(router, 1, 0, quoted))).toBe(CT_STATE_TRK | CT_STATE_REL | CT_STATE_RPL);
    expect(rig.state(2, icmpFrame({ ...router, destination: "fd00::77" }, 1, 0, quoted))).toBe(INVALID);
    for (const type of [130, 133, 134, 135, 136, 137])
      expect(rig.state(1, icmpFrame(A6, type, 0))).toBe(INVALID);
    expect(rig.datapath.conntrack.connections(rig.nowMs).map((one) => one.original.source)).toEqual(
      Array(3).fill("fd00::1"),
    );
  });
});

describe("ct fields", () => {
  it("tell mark, label and the first packet's tuple to both directions", () => {
    const label = { field: "ct_label", offset: 64, bits: 64 } as const;
    const actions: CtAction["actions"] = [
      { type: "load", destination: { field: "ct_mark", offset: 0, bits: 32 }, value: 7n },
      { type: "load", destination: label, value: 0x1234n },
      {
        type: "move",
        source: { field: "in_port", offset: 0, bits: 32 },
        destination: { ...label, offset: 0, bits: 32 },
      },
    ];
    for (const ends of [A, A6]) {
      const rig = new TrackRig({}, { actions });
      rig.state(1, udpFrame(ends));
      const found = rig.found(2, udpFrame(turn(ends)));
      expect(rig.value(found, "ct_mark")).toBe(7n);
      expect(rig.value(found, "ct_label")).toBe((0x1234n << 64n) | 1n);
      expect(rig.value(found, "ct_zone")).toBe(5n);
      expect(rig.value(found, "ct_nw_proto")).toBe(17n);
      expect([rig.value(found, "ct_tp_src"), rig.value(found, "ct_tp_dst")]).toEqual([40000n, 80n]);
      const source = found.find((one) => one.field === (ends === A ? "ct_nw_src" : "ct_ipv6_src"))?.value;
      expect(source).toEqual(
        ends === A ? ipv4Bytes(parseIpv4Address(A.source)) : parseIpv6Address(A6.source),
      );
      expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.label).toBe("12340000000000000001");
    }
  });

  it("choose tables: a flow may match the tuple of the first packet", () => {
    const rig = new TrackRig();
    const entries = [field("eth_type", 0x0800), field("ct_state", REPLY, REPLY), field("ct_tp_dst", 80)];
    rig.flow({ tableId: 1, priority: 300, match: match(...entries), instructions: [apply(output(1))] });
    rig.state(1, udpFrame(A));
    expect(rig.where(2, udpFrame(turn(A)))).toEqual([1]);
  });
});

describe("zones", () => {
  it("drop and count what exceeds their limit, and take from the 16 bits of a register", () => {
    const rig = new TrackRig();
    rig.datapath.conntrack.configure({ defaultLimit: 100, limits: [{ zone: 5, limit: 2 }] });
    for (const sourcePort of [1, 2, 3, 4]) rig.send(1, udpFrame({ ...A, sourcePort }));
    expect(rig.datapath.conntrack.size).toBe(2);
    expect(rig.datapath.counters()["drop_conntrack_zone_limit"]).toBe(2);
    expect(rig.datapath.conntrack.status().limits).toEqual([{ zone: 5, limit: 2, count: 2 }]);
    expect(rig.datapath.conntrack.status([6]).limits).toEqual([{ zone: 6, limit: 100, count: 0 }]);
    rig.datapath.conntrack.configure({ deleteLimits: [5] });
    rig.send(1, udpFrame({ ...A, sourcePort: 3 }));
    expect(rig.datapath.conntrack.size).toBe(3);
  });

  it("have time-outs of their own", () => {
    const rig = new TrackRig();
    rig.datapath.conntrack.configure({ timeouts: [{ zone: 5, timeouts: { udp_first: 5 } }] });
    rig.state(1, udpFrame(A));
    rig.nowMs += 4_900;
    expect(rig.datapath.conntrack.connections(rig.nowMs)).toHaveLength(1);
    rig.nowMs += 200;
    expect(rig.datapath.conntrack.connections(rig.nowMs)).toHaveLength(0);
    rig.datapath.conntrack.configure({ timeouts: [] });
    rig.state(1, udpFrame({ ...A, sourcePort: 7 }));
    rig.nowMs += 59_000;
    expect(rig.datapath.conntrack.connections(rig.nowMs)).toHaveLength(1);
  });

  it("are flushed by themselves, and connections by their tuples", () => {
    const rig = new TrackRig();
    for (const sourcePort of [1, 2, 3]) rig.state(1, udpFrame({ ...A, sourcePort }));
    const { conntrack } = rig.datapath;
    expect(conntrack.flush({ zone: 6 }, rig.nowMs)).toBe(0);
    expect(conntrack.flush({ original: { source: A.source, sourcePort: 2 } }, rig.nowMs)).toBe(1);
    expect(conntrack.flush({ reply: { destinationPort: 3, protocol: 17 } }, rig.nowMs)).toBe(1);
    expect(conntrack.flush({ original: { source: "10.0.0.9" } }, rig.nowMs)).toBe(0);
    expect(conntrack.flush({ zone: 5 }, rig.nowMs)).toBe(1);
    expect(conntrack.size).toBe(0);
  });
});

const nat = (
  direction: "source" | "destination" | "existing",
  address?: string,
  portMin?: number,
): CtAction["actions"] => [
  {
    type: "nat",
    direction,
    persistent: false,
    selection: "auto",
    ...(address === undefined
      ? {}
      : {
          addressMin: address.includes(":")
            ? parseIpv6Address(address)
            : ipv4Bytes(parseIpv4Address(address)),
        }),
    ...(portMin === undefined ? {} : { portMin }),
  },
];

/** Addresses and ports of an IPv6 TCP frame; its checksum is verified on the way. */
function ends6(frame: Uint8Array | undefined): string {
  const ip = parseIpv6(parseEthernet(frame as Uint8Array).payload);
  const tcp = parseTcp(ip.payload, { source: ip.source, destination: ip.destination });
  return `[${formatIpv6Address(ip.source)}]:${tcp.sourcePort} > [${formatIpv6Address(ip.destination)}]:${tcp.destinationPort}`;
}

describe("Conntrack with nat on IPv6", () => {
  const ip = field("eth_type", 0x86dd);
  function rigOf(actions: CtAction["actions"]): Rig {
    const rig = new Rig(2);
    rig.flow({
      match: match(ip, field("in_port", 1)),
      instructions: [apply(trackAction({ commit: true, actions }), output(2))],
    });
    rig.flow({
      match: match(ip, field("in_port", 2)),
      instructions: [apply(trackAction({ actions: nat("existing"), tableId: 1 }))],
    });
    rig.flow({
      tableId: 1,
      match: match(field("ct_state", CT_STATE_RPL, CT_STATE_RPL)),
      instructions: [apply(output(1))],
    });
    return rig;
  }

  it("translates sources and what an error quotes, with right checksums", () => {
    const rig = rigOf(nat("source", "fd01::1"));
    const sent = rig.send(1, tcpFrame(A6, SYN)).get(2)?.[0] as Uint8Array;
    expect(ends6(sent)).toBe("[fd01::1]:40000 > [fd00::2]:80");
    const answer = { ...turn(A6), destination: "fd01::1" };
    expect(ends6(rig.send(2, tcpFrame(answer, SYN | ACK)).get(1)?.[0])).toBe(
      "[fd00::2]:80 > [fd00::1]:40000",
    );
    const error = icmpFrame({ source: "fd00::9", destination: "fd01::1" }, 1, 0, sent.slice(14));
    const back = parseIpv6(parseEthernet(rig.send(2, error).get(1)?.[0] as Uint8Array).payload);
    expect([formatIpv6Address(back.source), formatIpv6Address(back.destination)]).toEqual([
      "fd00::9",
      "fd00::1",
    ]);
    // The quoted segment was sent whole, so its checksum must be right again too.
    expect(parseIcmpv6(back.payload, back).payload).toEqual(tcpFrame(A6, SYN).slice(14));
  });

  it("translates destinations and ports", () => {
    const rig = rigOf(nat("destination", "fd00::50", 8080));
    expect(ends6(rig.send(1, tcpFrame(A6, SYN)).get(2)?.[0])).toBe("[fd00::1]:40000 > [fd00::50]:8080");
    const answer = { ...turn(A6), source: "fd00::50", sourcePort: 8080 };
    expect(ends6(rig.send(2, tcpFrame(answer, SYN | ACK)).get(1)?.[0])).toBe(
      "[fd00::2]:80 > [fd00::1]:40000",
    );
  });
});

describe("a client and its server behind one address", () => {
  it("reach each other: the destination translated in one zone, the source in another", () => {
    const rig = new Rig(2);
    const ip = field("eth_type", 0x0800);
    const virtual = { ...A, destination: "192.0.2.1" };
    const go = (zone: number, tableId: number, actions: CtAction["actions"]) =>
      apply(trackAction({ commit: true, zone, tableId, actions }));
    rig.flow({
      match: match(ip, field("in_port", 1)),
      instructions: [go(1, 1, nat("destination", "10.0.0.2"))],
    });
    rig.flow({ tableId: 1, match: match(ip), instructions: [go(2, 2, nat("source", "192.0.2.1"))] });
    rig.flow({ tableId: 2, instructions: [apply(output(2))] });
    const back = (zone: number, tableId: number) =>
      apply(trackAction({ zone, tableId, actions: nat("existing") }));
    rig.flow({ match: match(ip, field("in_port", 2)), instructions: [back(2, 11)] });
    rig.flow({ tableId: 11, match: match(ip), instructions: [back(1, 12)] });
    rig.flow({
      tableId: 12,
      match: match(field("ct_state", CT_STATE_EST, CT_STATE_EST)),
      instructions: [apply(output(1))],
    });
    const there = rig.send(1, udpFrame(virtual)).get(2)?.[0] as Uint8Array;
    expect([...there.slice(26, 34)]).toEqual([192, 0, 2, 1, 10, 0, 0, 2]);
    const answer = udpFrame({ ...turn(A), destination: "192.0.2.1" });
    const home = rig.send(2, answer).get(1)?.[0] as Uint8Array;
    expect([...home.slice(26, 34)]).toEqual([192, 0, 2, 1, 10, 0, 0, 1]);
  });
});

describe("ct(nat)", () => {
  it("knows a packet that the same zone has translated already, and translates it once", () => {
    const rig = new Rig(2);
    const ip = field("eth_type", 0x0800);
    const translated = trackAction({ commit: true, tableId: 1, actions: nat("source", "192.0.2.1") });
    rig.flow({ match: match(ip), instructions: [apply(translated)] });
    rig.flow({
      tableId: 1,
      priority: 400,
      match: match(ip, field("ct_state", CT_STATE_SNAT, CT_STATE_SNAT)),
      instructions: [apply(trackAction({ tableId: 2, actions: nat("existing") }))],
    });
    rig.flow({
      tableId: 2,
      match: match(field("ct_state", NEW | CT_STATE_SNAT, NEW | CT_STATE_SNAT | CT_STATE_DNAT)),
      instructions: [apply(output(2))],
    });
    const sent = rig.send(1, udpFrame(A)).get(2)?.[0] as Uint8Array;
    expect([...sent.slice(26, 34)]).toEqual([192, 0, 2, 1, 10, 0, 0, 2]);
    expect(rig.datapath.conntrack.size).toBe(1);
  });
});

describe("ct(commit,force)", () => {
  it("turns a connection round that runs the other way", () => {
    const rig = new Rig(2);
    const ip = field("eth_type", 0x0800);
    rig.flow({ match: match(ip), instructions: [apply(trackAction({ commit: true }))] });
    rig.flow({
      priority: 200,
      match: match(ip, field("in_port", 2)),
      instructions: [apply(trackAction({ commit: true, force: true }))],
    });
    rig.send(1, udpFrame(A));
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.original.source).toBe(A.source);
    rig.send(2, udpFrame(turn(A)));
    expect(rig.datapath.conntrack.connections(rig.nowMs).map((one) => one.original.source)).toEqual([
      A.destination,
    ]);
  });
});

describe("a SYN flood from one port", () => {
  it("takes no other port's connection, established or opening", () => {
    const rig = new TrackRig();
    const kept = Array.from({ length: 40 }, (_, n) => ({ ...A, source: "10.9.9.9", sourcePort: 1000 + n }));
    for (const ends of kept.slice(0, 20)) handshake(rig, ends);
    for (const ends of kept.slice(20)) rig.state(1, segment(ends, SYN, 100, 0));
    const ip = field("eth_type", 0x0800);
    rig.flow({
      priority: 300,
      match: match(ip, field("in_port", 2)),
      instructions: [apply(trackAction({ commit: true }))],
    });
    for (let n = 0; n < 5000; n++) {
      const source = `172.16.${n >>> 8}.${n & 255}`;
      rig.send(2, segment({ ...A, source, sourcePort: 1 + n }, SYN, n, 0));
    }
    expect(rig.datapath.conntrack.size).toBe(1024);
    const alive = new Set(
      rig.datapath.conntrack.connections(rig.nowMs).map((one) => one.original.sourcePort),
    );
    for (const { sourcePort } of kept) expect(alive.has(sourcePort)).toBe(true);
    expect(rig.state(1, segment({ ...A, source: "10.9.9.9", sourcePort: 3000 }, SYN, 1, 0))).toBe(NEW);
    const newcomer = { original: { source: "10.9.9.9", sourcePort: 3000 } };
    expect(rig.datapath.conntrack.connections(rig.nowMs, newcomer)).toHaveLength(1);
  });
});
