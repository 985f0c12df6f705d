import { describe, expect, it } from "vitest";
import { CT_STATE_EST, CT_STATE_REL, CT_STATE_RPL } from "../../base/openflow/index.js";
import { ACK, A as HTTP, A6 as HTTP6, NEW, natTo, SYN, turn } from "../testing/conversation.js";
import { type Ends, tcpFrame, udpFrame } from "../testing/frames.js";
import { answer, helperRig, openControl, say } from "../testing/helper-rig.js";
import { apply, field, match, output } from "../testing/rig.js";

const A: Required<Ends> = { ...HTTP, destinationPort: 21 };
const A6: Required<Ends> = { ...HTTP6, destinationPort: 21 };

describe("ct(alg=ftp)", () => {
  it("lets an active data connection in, once, with its parent's mark and tuple", () => {
    const rig = helperRig(A);
    openControl(rig, A);
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
    const rig = helperRig(ends);
    openControl(rig, ends);
    const data = { ...ends, sourcePort: 40001, destinationPort: 5120 };
    expect(rig.where(1, tcpFrame(data, SYN))).toEqual([]);
    expect(answer(rig, ends, text)).toEqual([1]);
    expect(rig.where(1, tcpFrame(data, SYN))).toEqual([2]);
    expect(rig.where(1, tcpFrame({ ...data, sourcePort: 40002 }, SYN))).toEqual([]);
  });

  it("takes EPRT over IPv6", () => {
    const rig = helperRig(A6);
    openControl(rig, A6);
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
      const rig = helperRig(A);
      openControl(rig, A);
      say(rig, A, text);
      expect(rig.datapath.conntrack.expectations.count).toBe(0);
    }
  });

  it("translates the passive data connections of a client whose source is translated", () => {
    const rig = helperRig(A, { nat: natTo("source", "192.0.2.1") });
    const seen = { ...A, source: "192.0.2.1" };
    openControl(rig, A, seen);
    expect(answer(rig, seen, "227 Entering Passive Mode (10,0,0,2,20,0).")).toEqual([1]);
    const data = { ...A, sourcePort: 40001, destinationPort: 5120 };
    const out = rig.send(1, tcpFrame(data, SYN)).get(2)?.[0] as Uint8Array;
    expect([...out.slice(26, 34)]).toEqual([192, 0, 2, 1, 10, 0, 0, 2]);
  });

  it("finds the server behind a translated destination by EPSV", () => {
    const rig = helperRig(A, { nat: natTo("destination", "10.0.0.50") });
    const seen = { ...A, destination: "10.0.0.50" };
    openControl(rig, A, seen);
    expect(answer(rig, seen, "229 Entering Extended Passive Mode (|||5120|)")).toEqual([1]);
    const data = { ...A, sourcePort: 40001, destinationPort: 5120 };
    const out = rig.send(1, tcpFrame(data, SYN)).get(2)?.[0] as Uint8Array;
    expect([...out.slice(26, 34)]).toEqual([10, 0, 0, 1, 10, 0, 0, 50]);
  });
});

describe("ct(alg=tftp)", () => {
  it("lets the server answer from a port of its own", () => {
    const ends = { ...A, destinationPort: 69 };
    const rig = helperRig(ends, { alg: 69 });
    const data = { ...turn(ends), sourcePort: 3333 };
    expect(rig.where(2, udpFrame(data))).toEqual([]);
    expect(rig.where(1, udpFrame(ends))).toEqual([2]);
    expect(rig.where(2, udpFrame(data))).toEqual([1]);
    expect(rig.where(1, udpFrame(turn(data)))).toEqual([2]);
  });
});

it("an announced connection is told as related in both directions", () => {
  const rig = helperRig(A);
  openControl(rig, A);
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
