import { describe, expect, it } from "vitest";
import {
  CT_STATE_EST,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_TRK,
  type CtAction,
} from "../../base/openflow/index.js";
import { ipv4Bytes, parseIpv4Address, parseIpv6Address } from "../../base/wire/index.js";
import { type Ends, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";

const [SYN, ACK] = [2, 16] as const;
const NEW = CT_STATE_TRK | CT_STATE_NEW;
const A: Required<Ends> = {
  source: "10.0.0.1",
  destination: "10.0.0.2",
  sourcePort: 40000,
  destinationPort: 21,
};
const A6: Required<Ends> = { ...A, source: "fd00::1", destination: "fd00::2" };
const turn = (ends: Required<Ends>): Required<Ends> => ({
  source: ends.destination,
  destination: ends.source,
  sourcePort: ends.destinationPort,
  destinationPort: ends.sourcePort,
});
const line = (text: string): Uint8Array => new TextEncoder().encode(`${text}\r\n`);
const mark: CtAction["actions"] = [
  { type: "load", destination: { field: "ct_mark", offset: 0, bits: 32 }, value: 9n },
];

interface Options {
  readonly alg?: number;
  readonly nat?: CtAction["actions"];
}

/** Port 1 may open control connections to port 2; related ones are committed from either side, others are not let in. */
function rigOf(ends: Required<Ends>, { alg = 21, nat = [] }: Options = {}): Rig {
  const rig = new Rig(2);
  const ip = field("eth_type", ends.source.includes(":") ? 0x86dd : 0x0800);
  const protocol = field("ip_proto", alg === 21 ? 6 : 17);
  const existing: CtAction["actions"] =
    nat.length === 0 ? [] : [{ type: "nat", direction: "existing", persistent: false, selection: "auto" }];
  const both = (state: number, priority: number, actions: CtAction["actions"]): void => {
    for (const port of [1, 2])
      rig.flow({
        tableId: 1,
        priority,
        match: match(ip, field("in_port", port), field("ct_state", state, state)),
        instructions: [apply(trackAction({ commit: true, actions, tableId: 2 }))],
      });
  };
  rig.flow({
    match: match(ip, protocol),
    instructions: [apply(trackAction({ actions: existing, tableId: 1 }))],
  });
  rig.flow({
    tableId: 1,
    priority: 200,
    match: match(
      ip,
      protocol,
      field("in_port", 1),
      field("ct_state", NEW, NEW),
      field(alg === 21 ? "tcp_dst" : "udp_dst", alg),
    ),
    instructions: [apply(trackAction({ commit: true, alg, actions: [...nat, ...mark], tableId: 2 }))],
  });
  both(NEW | CT_STATE_REL, 300, existing);
  both(CT_STATE_EST, 100, existing);
  for (const port of [1, 2])
    rig.flow({ tableId: 2, match: match(field("in_port", port)), instructions: [apply(output(3 - port))] });
  // The grace after a start is over.
  rig.send(1, tcpFrame({ ...ends, destinationPort: 9 }, SYN));
  rig.nowMs += 1_000_000;
  return rig;
}

function open(rig: Rig, ends: Required<Ends>, seen: Required<Ends> = ends): void {
  const more = { sequence: 100, acknowledgment: 0 };
  expect(rig.where(1, tcpFrame(ends, SYN, new Uint8Array(0), more))).toEqual([2]);
  const answer = { sequence: 500, acknowledgment: 101 };
  expect(rig.where(2, tcpFrame(turn(seen), SYN | ACK, new Uint8Array(0), answer))).toEqual([1]);
  rig.send(1, tcpFrame(ends, ACK, new Uint8Array(0), { sequence: 101, acknowledgment: 501 }));
}

const say = (rig: Rig, ends: Required<Ends>, text: string): number[] =>
  rig.where(1, tcpFrame(ends, ACK, line(text), { sequence: 101, acknowledgment: 501 }));
const answer = (rig: Rig, seen: Required<Ends>, text: string): number[] =>
  rig.where(2, tcpFrame(turn(seen), ACK, line(text), { sequence: 501, acknowledgment: 101 }));

describe("ct(alg=ftp)", () => {
  it("lets an active data connection in, once, with its parent's mark and tuple", () => {
    const rig = rigOf(A);
    open(rig, A);
    const data = {
      source: A.destination,
      destination: A.source,
      sourcePort: 20,
      destinationPort: 5 * 256 + 1,
    };
    expect(rig.where(2, tcpFrame(data, SYN))).toEqual([]);
    expect(say(rig, A, "PORT 10,0,0,1,5,1")).toEqual([2]);
    const tell = { type: "controller", maxLength: 0xffff, controllerId: 0, reason: "action" } as const;
    rig.flow({
      tableId: 2,
      priority: 300,
      match: match(field("in_port", 2), field("ct_state", CT_STATE_REL, CT_STATE_REL)),
      instructions: [apply(tell, output(1))],
    });
    rig.events = [];
    expect(rig.where(2, tcpFrame(data, SYN))).toEqual([1]);
    const [event] = rig.events;
    if (event?.type !== "packet_in") throw new Error("no packet-in");
    const number = (name: string): number =>
      (event.match.find((one) => one.field === name)?.value ?? new Uint8Array(0)).reduce(
        (sum, byte) => sum * 256 + byte,
        0,
      );
    expect(number("ct_state")).toBe(NEW | CT_STATE_REL);
    expect([number("ct_mark"), number("ct_tp_src"), number("ct_tp_dst")]).toEqual([9, 40000, 21]);
    expect(
      rig.where(1, tcpFrame(turn(data), SYN | ACK, new Uint8Array(0), { sequence: 7, acknowledgment: 2 })),
    ).toEqual([2]);
    expect(rig.where(2, tcpFrame({ ...data, sourcePort: 21 }, SYN))).toEqual([]);
    expect(rig.datapath.conntrack.size).toBe(2);
  });

  it.each([
    ["PASV", A, "227 Entering Passive Mode (10,0,0,2,20,0)."],
    ["EPSV", A, "229 Entering Extended Passive Mode (|||5120|)"],
    ["EPSV over IPv6", A6, "229 Entering Extended Passive Mode (|||5120|)"],
  ] as const)("lets a passive data connection through: %s", (_name, ends, text) => {
    const rig = rigOf(ends);
    open(rig, ends);
    const data = { ...ends, sourcePort: 40001, destinationPort: 5120 };
    expect(rig.where(1, tcpFrame(data, SYN))).toEqual([]);
    expect(answer(rig, ends, text)).toEqual([1]);
    expect(rig.where(1, tcpFrame(data, SYN))).toEqual([2]);
    expect(rig.where(1, tcpFrame({ ...data, sourcePort: 40002 }, SYN))).toEqual([]);
  });

  it("takes EPRT over IPv6", () => {
    const rig = rigOf(A6);
    open(rig, A6);
    expect(say(rig, A6, "EPRT |2|fd00::1|5282|")).toEqual([2]);
    const data = { ...turn(A6), sourcePort: 20, destinationPort: 5282 };
    expect(rig.where(2, tcpFrame(data, SYN))).toEqual([1]);
  });

  it("believes nobody who names another's address, a port of a service, or nonsense", () => {
    for (const text of [
      "PORT 10,0,0,9,5,1",
      "PORT 10,0,0,1,0,22",
      "PORT 10,0,0,1,5",
      "PORT 300,0,0,1,5,1",
      "EPRT |1|10.0.0.9|5282|",
    ]) {
      const rig = rigOf(A);
      open(rig, A);
      say(rig, A, text);
      expect(rig.datapath.conntrack.expectations.count).toBe(0);
    }
  });

  const nat = (direction: "source" | "destination", address: string): CtAction["actions"] => [
    {
      type: "nat",
      direction,
      persistent: false,
      selection: "auto",
      addressMin: address.includes(":") ? parseIpv6Address(address) : ipv4Bytes(parseIpv4Address(address)),
    },
  ];

  it("translates the passive data connections of a client whose source is translated", () => {
    const rig = rigOf(A, { nat: nat("source", "192.0.2.1") });
    const seen = { ...A, source: "192.0.2.1" };
    open(rig, A, seen);
    expect(answer(rig, seen, "227 Entering Passive Mode (10,0,0,2,20,0).")).toEqual([1]);
    const data = { ...A, sourcePort: 40001, destinationPort: 5120 };
    const out = rig.send(1, tcpFrame(data, SYN)).get(2)?.[0] as Uint8Array;
    expect([...out.slice(26, 34)]).toEqual([192, 0, 2, 1, 10, 0, 0, 2]);
  });

  it("finds the server behind a translated destination by EPSV, and expects nothing where the text would have to change", () => {
    const rig = rigOf(A, { nat: nat("destination", "10.0.0.50") });
    const seen = { ...A, destination: "10.0.0.50" };
    open(rig, A, seen);
    expect(answer(rig, seen, "229 Entering Extended Passive Mode (|||5120|)")).toEqual([1]);
    const data = { ...A, sourcePort: 40001, destinationPort: 5120 };
    const out = rig.send(1, tcpFrame(data, SYN)).get(2)?.[0] as Uint8Array;
    expect([...out.slice(26, 34)]).toEqual([10, 0, 0, 1, 10, 0, 0, 50]);
    answer(rig, seen, "227 Entering Passive Mode (10,0,0,50,20,1).");
    const behind = rigOf(A, { nat: nat("source", "192.0.2.1") });
    open(behind, A, { ...A, source: "192.0.2.1" });
    say(behind, A, "PORT 10,0,0,1,5,1");
    for (const one of [rig, behind]) expect(one.datapath.conntrack.expectations.count).toBe(0);
  });
});

describe("ct(alg=tftp)", () => {
  it("lets the server answer from a port of its own", () => {
    const ends = { ...A, destinationPort: 69 };
    const rig = rigOf(ends, { alg: 69 });
    const data = { ...turn(ends), sourcePort: 3333 };
    expect(rig.where(2, udpFrame(data))).toEqual([]);
    expect(rig.where(1, udpFrame(ends))).toEqual([2]);
    expect(rig.where(2, udpFrame(data))).toEqual([1]);
    expect(rig.where(1, udpFrame(turn(data)))).toEqual([2]);
  });
});

it("an announced connection is told as related in both directions", () => {
  const rig = rigOf(A);
  open(rig, A);
  answer(rig, A, "227 Entering Passive Mode (10,0,0,2,20,0).");
  const data = { ...A, sourcePort: 40001, destinationPort: 5120 };
  rig.send(1, tcpFrame(data, SYN));
  const state = NEW | CT_STATE_REL;
  expect(state & CT_STATE_RPL).toBe(0);
  const related = CT_STATE_EST | CT_STATE_REL | CT_STATE_RPL;
  rig.flow({
    tableId: 2,
    priority: 500,
    match: match(field("in_port", 2), field("ct_state", related, related)),
    instructions: [apply(output(1), output(1))],
  });
  const back = { sequence: 9, acknowledgment: 2 };
  expect(rig.send(2, tcpFrame(turn(data), SYN | ACK, new Uint8Array(0), back)).get(1)).toHaveLength(2);
});
