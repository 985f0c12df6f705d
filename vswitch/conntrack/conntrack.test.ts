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
  formatIpv4Address,
  ipv4Bytes,
  parseEthernet,
  parseIcmp,
  parseIpv4,
  parseIpv4Address,
  parseTcp,
  parseUdp,
} from "../../base/wire/index.js";
import { ACK, EST, FIN, INVALID, NEW, REPLY, RST, SYN } from "../testing/conversation.js";
import { icmpFrame, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { TrackRig, trackAction } from "../testing/track-rig.js";
import { PICKUP_GRACE_MS } from "./index.js";

const IP = field("eth_type", 0x0800);

const A = { source: "10.0.0.1", destination: "10.0.0.2" };
const forward = { ...A, sourcePort: 40000, destinationPort: 80 };
const back = { source: "10.0.0.2", destination: "10.0.0.1", sourcePort: 80, destinationPort: 40000 };

describe("Conntrack", () => {
  it("follows a TCP connection from SYN to its end and lets it be opened anew", () => {
    const rig = new TrackRig();
    expect(rig.state(1, tcpFrame(forward, SYN))).toBe(NEW);
    expect(rig.state(1, tcpFrame(forward, SYN))).toBe(NEW);
    expect(rig.state(2, tcpFrame(back, SYN | ACK))).toBe(REPLY);
    expect(rig.state(1, tcpFrame(forward, ACK))).toBe(EST);
    rig.nowMs += 3_600_000;
    expect(rig.state(2, tcpFrame(back, ACK))).toBe(REPLY);
    expect(rig.state(1, tcpFrame(forward, FIN | ACK))).toBe(EST);
    expect(rig.state(2, tcpFrame(back, FIN | ACK))).toBe(REPLY);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_time_wait");
    expect(rig.state(1, tcpFrame(forward, ACK))).toBe(EST);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_close");
    expect(rig.state(1, tcpFrame(forward, SYN))).toBe(NEW);
    expect(rig.state(2, tcpFrame(back, RST | ACK))).toBe(REPLY);
    rig.nowMs += 31_000;
    rig.datapath.tick(rig.nowMs);
    expect(rig.datapath.conntrack.size).toBe(0);
  });

  it("calls impossible packets invalid: flags, a SYN-ACK or RST out of nowhere, fragments, strange ICMP", () => {
    const rig = new TrackRig();
    for (const flags of [0, SYN | FIN, SYN | RST, SYN | ACK, RST, RST | ACK, FIN])
      expect(rig.state(1, tcpFrame(forward, flags))).toBe(INVALID);
    expect(rig.state(1, icmpFrame(A, 0, 0x00010001))).toBe(INVALID);
    expect(rig.state(1, icmpFrame(A, 99, 1))).toBe(INVALID);
    const fragment = udpFrame(A);
    fragment[20] = 0x20;
    expect(rig.state(1, fragment)).toBe(INVALID);
    expect(rig.datapath.conntrack.size).toBe(0);
  });

  it("tracks UDP and ICMP echo in both directions, and keeps zones apart", () => {
    const rig = new TrackRig();
    expect(rig.state(1, udpFrame(forward))).toBe(NEW);
    expect(rig.state(2, udpFrame(back))).toBe(REPLY);
    expect(rig.state(1, udpFrame(forward))).toBe(EST);
    expect(rig.state(1, icmpFrame(A, 8, 0x00070001))).toBe(NEW);
    expect(rig.state(2, icmpFrame({ source: A.destination, destination: A.source }, 0, 0x00070001))).toBe(
      REPLY,
    );
    expect(rig.state(2, icmpFrame({ source: A.destination, destination: A.source }, 0, 0x00080001))).toBe(
      INVALID,
    );
    rig.flow({ match: match(IP), instructions: [apply(trackAction({ zone: 6, tableId: 1 }))] });
    expect(rig.state(2, udpFrame(back))).toBe(NEW);
    rig.nowMs += 61_000;
    rig.datapath.tick(rig.nowMs);
    expect(rig.datapath.conntrack.size).toBe(0);
  });

  it("relates an ICMP error to the connection it speaks of", () => {
    const rig = new TrackRig();
    const sent = udpFrame(forward);
    rig.state(1, sent);
    const error = icmpFrame({ source: "10.0.0.9", destination: A.source }, 3, 0, sent.subarray(14, 14 + 28));
    expect(rig.state(2, error)).toBe(CT_STATE_TRK | CT_STATE_REL | CT_STATE_RPL);
    const foreign = udpFrame({ ...forward, sourcePort: 1 });
    expect(
      rig.state(2, icmpFrame({ source: "10.0.0.9", destination: A.source }, 3, 0, foreign.subarray(14, 42))),
    ).toBe(INVALID);
  });

  it("takes an ICMP error only on its way to the sender of what it quotes", () => {
    const rig = new TrackRig();
    const sent = udpFrame(forward);
    rig.state(1, sent);
    for (const destination of [A.destination, "10.0.0.77"]) {
      const error = icmpFrame({ source: A.source, destination }, 3, 0, sent.subarray(14, 42));
      expect(rig.state(2, error)).toBe(INVALID);
    }
  });

  it("picks established TCP up in the middle: the opener as new, for a while the other side as a reply", () => {
    const rig = new TrackRig();
    expect(rig.state(2, tcpFrame(back, ACK))).toBe(NEW);
    expect(rig.state(1, tcpFrame(forward, ACK))).toBe(NEW);
    expect(rig.state(2, tcpFrame(back, ACK))).toBe(REPLY);
    expect(rig.datapath.conntrack.connections(rig.nowMs)[0]?.state).toBe("tcp_established");

    const restarted = new Rig(2);
    restarted.flow({ match: match(IP), instructions: [apply(trackAction({ tableId: 1 }))] });
    restarted.flow({
      tableId: 1,
      match: match(IP, field("ct_state", EST | CT_STATE_RPL, 0xff)),
      instructions: [apply(output(1))],
    });
    expect(restarted.where(2, tcpFrame(back, ACK))).toEqual([1]);
    expect(restarted.where(2, tcpFrame({ ...back, sourcePort: 50000 }, ACK))).toEqual([]);
    expect(restarted.where(2, tcpFrame(back, SYN))).toEqual([]);
    expect(restarted.where(2, udpFrame(back))).toEqual([]);
    expect(restarted.datapath.conntrack.size).toBe(0);
    restarted.nowMs += PICKUP_GRACE_MS;
    expect(restarted.where(2, tcpFrame(back, ACK))).toEqual([]);
  });

  it("keeps a mark per connection and shows it to both directions", () => {
    const rig = new Rig(2);
    const setMark = trackAction({
      commit: true,
      zone: 1,
      actions: [{ type: "load", destination: { field: "ct_mark", offset: 31, bits: 1 }, value: 1n }],
    });
    rig.flow({ match: match(IP), instructions: [apply(setMark)] });
    rig.flow({
      priority: 200,
      match: match(IP, field("in_port", 2)),
      instructions: [apply(trackAction({ zone: 1, tableId: 1 }))],
    });
    rig.flow({
      tableId: 1,
      match: match(IP, field("ct_mark", 0x80000000, 0x80000000)),
      instructions: [apply(output(1))],
    });
    expect(rig.where(2, udpFrame(back))).toEqual([]);
    rig.send(1, udpFrame(forward));
    expect(rig.where(2, udpFrame(back))).toEqual([1]);
    expect(rig.datapath.conntrack.connections(0)[0]?.mark).toBe(0x80000000);
  });
});

const nat = (
  direction: "source" | "destination",
  address: string,
  portMin?: number,
  portMax?: number,
): CtAction["actions"] => [
  {
    type: "nat",
    direction,
    persistent: false,
    selection: "auto",
    addressMin: ipv4Bytes(parseIpv4Address(address)),
    ...(portMin === undefined ? {} : { portMin }),
    ...(portMax === undefined ? {} : { portMax }),
  },
];
const existing: CtAction["actions"] = [
  { type: "nat", direction: "existing", persistent: false, selection: "auto" },
];

/** Port 1 is inside, port 2 outside; new connections from inside are translated, answers are translated back. */
function natRig(actions: CtAction["actions"]): Rig {
  const rig = new Rig(2);
  rig.flow({
    match: match(IP, field("in_port", 1)),
    instructions: [apply(trackAction({ commit: true, actions }), output(2))],
  });
  rig.flow({
    match: match(IP, field("in_port", 2)),
    instructions: [apply(trackAction({ actions: existing, tableId: 1 }))],
  });
  rig.flow({
    tableId: 1,
    match: match(IP, field("ct_state", CT_STATE_EST, CT_STATE_EST)),
    instructions: [apply(output(1))],
  });
  rig.flow({
    tableId: 1,
    match: match(IP, field("ct_state", CT_STATE_REL, CT_STATE_REL)),
    instructions: [apply(output(1))],
  });
  return rig;
}

/** Addresses and ports of a frame; every checksum is verified on the way. */
function endsOf(frame: Uint8Array | undefined): string {
  const ip = parseIpv4(parseEthernet(frame as Uint8Array).payload);
  const pair = { source: ip.source, destination: ip.destination };
  const l4 = ip.protocol === 6 ? parseTcp(ip.payload, pair) : parseUdp(ip.payload, pair);
  const [a, b] = [formatIpv4Address(ip.source), formatIpv4Address(ip.destination)];
  return `${a}:${l4.sourcePort} > ${b}:${l4.destinationPort}`;
}

describe("Conntrack with nat", () => {
  it("translates sources and back, and gives clients with the same port different ones", () => {
    const rig = natRig(nat("source", "192.0.2.1"));
    expect(endsOf(rig.send(1, tcpFrame(forward, SYN)).get(2)?.[0])).toBe("192.0.2.1:40000 > 10.0.0.2:80");
    const other = endsOf(rig.send(1, tcpFrame({ ...forward, source: "10.0.0.7" }, SYN)).get(2)?.[0]);
    const port = Number(/:(\d+) >/.exec(other)?.[1]);
    expect(port).not.toBe(40000);
    const answer = { source: "10.0.0.2", destination: "192.0.2.1", sourcePort: 80 };
    expect(endsOf(rig.send(2, tcpFrame({ ...answer, destinationPort: 40000 }, SYN | ACK)).get(1)?.[0])).toBe(
      "10.0.0.2:80 > 10.0.0.1:40000",
    );
    expect(endsOf(rig.send(2, tcpFrame({ ...answer, destinationPort: port }, SYN | ACK)).get(1)?.[0])).toBe(
      "10.0.0.2:80 > 10.0.0.7:40000",
    );
    expect(endsOf(rig.send(1, tcpFrame(forward, ACK)).get(2)?.[0])).toBe("192.0.2.1:40000 > 10.0.0.2:80");
  });

  it("translates destinations and ports", () => {
    const rig = natRig(nat("destination", "10.0.0.50", 8080));
    expect(endsOf(rig.send(1, udpFrame(forward)).get(2)?.[0])).toBe("10.0.0.1:40000 > 10.0.0.50:8080");
    const answer = { source: "10.0.0.50", destination: "10.0.0.1", sourcePort: 8080, destinationPort: 40000 };
    expect(endsOf(rig.send(2, udpFrame(answer)).get(1)?.[0])).toBe("10.0.0.2:80 > 10.0.0.1:40000");
    expect(rig.pool.available).toBe(256);
  });

  it("drops and counts when the range has no free port", () => {
    const rig = natRig(nat("source", "192.0.2.1", 1000, 1001));
    for (const source of ["10.0.0.1", "10.0.0.3"])
      expect(rig.where(1, udpFrame({ ...forward, source }))).toEqual([2]);
    expect(rig.where(1, udpFrame({ ...forward, source: "10.0.0.4" }))).toEqual([]);
    expect(rig.datapath.counters()["drop_nat_exhausted"]).toBe(1);
  });

  it("translates ICMP identifiers, and what an ICMP error quotes", () => {
    const rig = natRig(nat("source", "192.0.2.1"));
    const sent = rig.send(1, tcpFrame(forward, SYN)).get(2)?.[0] as Uint8Array;
    const error = icmpFrame(
      { source: "198.51.100.1", destination: "192.0.2.1" },
      11,
      0,
      sent.subarray(14, 14 + 28),
    );
    const back = parseIpv4(parseEthernet(rig.send(2, error).get(1)?.[0] as Uint8Array).payload);
    expect(formatIpv4Address(back.destination)).toBe("10.0.0.1");
    expect(formatIpv4Address(back.source)).toBe("198.51.100.1");
    const quoted = parseIcmp(back.payload).payload;
    expect(quoted.subarray(0, 20)).toEqual(tcpFrame(forward, SYN).subarray(14, 34));
    expect(quoted.subarray(20, 24)).toEqual(tcpFrame(forward, SYN).subarray(34, 38));
    for (const source of ["10.0.0.1", "10.0.0.3"]) {
      const echo = rig.send(1, icmpFrame({ ...A, source }, 8, 0x00070001)).get(2)?.[0] as Uint8Array;
      const { rest } = parseIcmp(parseIpv4(parseEthernet(echo).payload).payload);
      const reply = rig
        .send(2, icmpFrame({ source: "10.0.0.2", destination: "192.0.2.1" }, 0, rest))
        .get(1)?.[0];
      const ip = parseIpv4(parseEthernet(reply as Uint8Array).payload);
      expect([formatIpv4Address(ip.destination), parseIcmp(ip.payload).rest]).toEqual([source, 0x00070001]);
    }
  });

  it("translates what an ICMP error quotes of a packet whose destination is translated", () => {
    const rig = natRig(nat("destination", "10.0.0.50", 8080));
    const frame = udpFrame(forward);
    const sent = rig.send(1, frame).get(2)?.[0] as Uint8Array;
    const ends = { source: "10.0.0.50", destination: "10.0.0.1" };
    // Addresses of the server and what it quotes are those that the client knows.
    const told = rig.send(2, icmpFrame(ends, 3, 0, sent.slice(14))).get(1)?.[0] as Uint8Array;
    const back = parseIpv4(parseEthernet(told).payload);
    expect([formatIpv4Address(back.source), formatIpv4Address(back.destination)]).toEqual([
      "10.0.0.2",
      "10.0.0.1",
    ]);
    expect(parseIcmp(back.payload).payload).toEqual(frame.slice(14));
    // The client tells of the server's answer.
    const answer = { source: "10.0.0.50", destination: "10.0.0.1", sourcePort: 8080, destinationPort: 40000 };
    const seen = rig.send(2, udpFrame(answer)).get(1)?.[0] as Uint8Array;
    const refused = icmpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 3, 0, seen.slice(14));
    const there = parseIpv4(parseEthernet(rig.send(1, refused).get(2)?.[0] as Uint8Array).payload);
    expect(formatIpv4Address(there.destination)).toBe("10.0.0.50");
    expect(parseIcmp(there.payload).payload).toEqual(udpFrame(answer).slice(14));
  });

  it("says in ct_state what was done to the packet: the answer to a new source gets a new destination", () => {
    const rig = natRig(nat("source", "192.0.2.1"));
    rig.flow({
      tableId: 1,
      priority: 500,
      match: match(
        IP,
        field("ct_state", CT_STATE_DNAT | CT_STATE_RPL, CT_STATE_SNAT | CT_STATE_DNAT | CT_STATE_RPL),
      ),
      instructions: [apply(output(1), output(1))],
    });
    rig.send(1, udpFrame(forward));
    const answer = { source: "10.0.0.2", destination: "192.0.2.1", sourcePort: 80, destinationPort: 40000 };
    expect(rig.send(2, udpFrame(answer)).get(1)?.length).toBe(2);
  });
});
