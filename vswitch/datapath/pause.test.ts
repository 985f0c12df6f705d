// controller(pause) and NXT_RESUME: a packet goes on where it was, with what the controller made of it.
import { describe, expect, it } from "vitest";
import {
  type Action,
  type Bucket,
  type Continuation,
  encodeMessage,
  type Instruction,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPM_CONTROLLER,
  OFPMF_PKTPS,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  parseMessage,
  type Resume,
} from "../../base/openflow/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, field, goto, output, Rig, write } from "../testing/rig.js";
import type { BridgeEvent } from "./events.js";

const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const pause: Action = {
  type: "controller",
  maxLength: 0xffff,
  controllerId: 0,
  reason: "action",
  pause: true,
};
const resubmit = (tableId: number): Action => ({
  type: "resubmit",
  port: OFPP_IN_PORT,
  tableId,
  withCt: false,
});
const load = (register: "reg0" | "reg1", value: number): Action => ({
  type: "load",
  destination: { field: register, offset: 0, bits: 32 },
  value: BigInt(value),
});
const bucket = (...actions: Action[]): Bucket => ({
  weight: 0,
  watchPort: OFPP_ANY,
  watchGroup: OFPG_ANY,
  actions,
});

type PacketInEvent = BridgeEvent & { type: "packet_in" };

function takePacketIn(rig: Rig): PacketInEvent {
  const event = rig.events.find((one): one is PacketInEvent => one.type === "packet_in");
  rig.events = [];
  expect(event?.continuation).toBeDefined();
  return event as PacketInEvent;
}

/** What a controller sends back, as the bytes that it gets and sends. */
function resumeOf(event: PacketInEvent, change: Partial<Resume> = {}): Resume {
  const { controllerId: _1, maxLength: _2, miss: _3, ...told } = event;
  const packetIn = parseMessage(encodeMessage({ ...told, xid: 0, encoding: "nxm2" }));
  if (packetIn.type !== "packet_in") throw new Error("no packet-in");
  const { data, tableId, cookie, reason, match, continuation } = packetIn;
  const resume = { type: "resume", xid: 1, data, tableId, cookie, reason, match } as const;
  const whole = { ...resume, continuation: continuation as Continuation, ...change };
  const back = parseMessage(encodeMessage(whole));
  if (back.type !== "resume") throw new Error("no resume");
  return back;
}

function resumed(rig: Rig, event: PacketInEvent, change: Partial<Resume> = {}): number[] {
  rig.bridge.change(resumeOf(event, change), rig.nowMs);
  rig.datapath.deliver();
  return [...rig.send(1).keys()];
}

describe("a paused packet", () => {
  it("goes on behind the pause, in every list and flow around it, with registers and stack", () => {
    const rig = new Rig(5);
    const cell = { field: "reg1", offset: 0, bits: 32 } as const;
    rig.flow({
      cookie: 5n,
      instructions: [
        apply(load("reg0", 7), load("reg1", 3), { type: "push", range: cell }, resubmit(1), output(5)),
        goto(9),
      ],
    });
    rig.flow({ tableId: 1, cookie: 6n, instructions: [apply(pause, output(2)), goto(2)] });
    rig.flow({
      tableId: 2,
      match: [field("reg0", 7)],
      instructions: [apply(load("reg1", 0), { type: "pop", range: cell }, output(3))],
    });
    rig.flow({ tableId: 9, match: [field("reg1", 3)], instructions: [apply(output(4))] });
    expect(rig.where(1, frame)).toEqual([]);
    const event = takePacketIn(rig);
    expect(event).toMatchObject({ tableId: 1, cookie: 6n, data: frame });
    expect(event.continuation?.frames.map(({ tableId, cookie }) => [tableId, cookie])).toEqual([
      [1, 6n],
      [0, 5n],
    ]);
    expect(resumed(rig, event)).toEqual([2, 3, 4, 5]);
    expect(rig.bridge.pipeline.dropCounters.report()).toEqual([]);
  });

  it("goes on as the controller changed it: other bytes, other registers, another port", () => {
    const rig = new Rig(4);
    rig.flow({ instructions: [apply(pause, resubmit(1))] });
    rig.flow({
      tableId: 1,
      match: [field("reg0", 9), field("in_port", 3)],
      instructions: [apply(output(2), output(1))],
    });
    rig.send(1, frame);
    const event = takePacketIn(rig);
    const other = plainFrame("52:54:00:00:00:09", "52:54:00:00:00:02");
    expect(resumed(rig, event)).toEqual([]);
    rig.bridge.change(
      resumeOf(event, { data: other, match: [field("in_port", 3), field("reg0", 9)] }),
      rig.nowMs,
    );
    expect(rig.send(1)).toEqual(
      new Map([
        [1, [other]],
        [2, [other]],
      ]),
    );
  });

  it("executes its action set at the end, and what write-actions add behind the pause", () => {
    const rig = new Rig(4);
    rig.flow({ instructions: [write(output(2)), goto(1)] });
    rig.flow({ tableId: 1, instructions: [apply(pause)] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig))).toEqual([2]);
    const metadata: Instruction = { type: "write_metadata", metadata: 0x55n, mask: 0xffn };
    rig.flow({ tableId: 1, instructions: [apply(pause), write(output(3)), metadata, goto(2)] });
    rig.flow({ tableId: 2, match: [field("metadata", 0x55)], instructions: [] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig))).toEqual([3]);
    rig.flow({ tableId: 1, instructions: [apply(pause), { type: "clear_actions" }] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig))).toEqual([]);
    rig.flow({ tableId: 1, instructions: [apply(pause), goto(3)] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig)), "no flow in table 3").toEqual([]);
  });

  it("may be in an action set, and pause again and again", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [write(pause)] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig))).toEqual([]);
    rig.flow({ instructions: [apply(pause, output(2), resubmit(1), output(3))] });
    rig.flow({ tableId: 1, instructions: [apply(pause, output(2))] });
    rig.send(1, frame);
    expect(resumed(rig, takePacketIn(rig))).toEqual([2]);
    expect(resumed(rig, takePacketIn(rig))).toEqual([2, 3]);
  });

  it("is only the copy where it is one: what is around a clone or a bucket goes on", () => {
    const rig = new Rig(5);
    // Not a set, of which only one output is executed.
    const list: Action = { type: "clone", actions: [pause, output(2)] };
    const base = { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: 1 } as const;
    rig.bridge.change({ ...base, buckets: [bucket(list), bucket(output(3))] }, rig.nowMs);
    rig.flow({ instructions: [apply({ type: "group", groupId: 1 }, output(4))] });
    expect(rig.where(1, frame)).toEqual([3, 4]);
    expect(resumed(rig, takePacketIn(rig))).toEqual([2]);
    rig.flow({
      instructions: [apply({ type: "clone", actions: [load("reg0", 1), pause, output(2)] }, output(5))],
    });
    expect(rig.where(1, frame)).toEqual([5]);
    expect(resumed(rig, takePacketIn(rig))).toEqual([2]);
  });

  it("may come from a packet-out", () => {
    const rig = new Rig(3);
    const out = { type: "packet_out", xid: 1, bufferId: OFP_NO_BUFFER, inPort: OFPP_CONTROLLER } as const;
    rig.bridge.change({ ...out, actions: [pause, output(2)], data: frame }, rig.nowMs);
    rig.datapath.deliver();
    expect(resumed(rig, takePacketIn(rig))).toEqual([2]);
  });

  it("is refused when it is not this bridge's, when it is no frame, and when it asks for what no flow may", () => {
    const rig = new Rig(3);
    rig.flow({ instructions: [apply(pause, output(2))] });
    rig.send(1, frame);
    const event = takePacketIn(rig);
    const continuation = event.continuation as Continuation;
    const [first] = continuation.frames;
    const codeOf = (change: Partial<Resume>): string => {
      try {
        rig.bridge.change({ ...resumeOf(event), ...change }, rig.nowMs);
        return "accepted";
      } catch (thrown) {
        return (thrown as { code: string }).code;
      }
    };
    const other = { ...continuation, bridge: new Uint8Array(16) };
    expect(codeOf({ continuation: other })).toBe("NXR_STALE");
    expect(codeOf({ data: new Uint8Array(3) })).toBe("OFPBRC_BAD_PACKET");
    expect(codeOf({ match: [field("in_port", 0xffffff10)] })).toBe("OFPBRC_BAD_PORT");
    const actions: Action[] = [{ type: "group", groupId: 77 }];
    const bad = { ...continuation, frames: [{ ...(first as Continuation["frames"][number]), actions }] };
    expect(codeOf({ continuation: bad })).toBe("OFPBAC_BAD_OUT_GROUP");
    const many = {
      ...continuation,
      frames: Array.from({ length: 65 }, () => first as Continuation["frames"][number]),
    };
    expect(codeOf({ continuation: many })).toBe("OFPBAC_TOO_MANY");
    const back = { ...(first as Continuation["frames"][number]), tableId: 5, instructions: [goto(3)] };
    expect(codeOf({ continuation: { ...continuation, frames: [back] } })).toBe("OFPBIC_BAD_TABLE_ID");
    expect(rig.pool.available).toBe(256);
    expect(codeOf({})).toBe("accepted");
  });
});

describe("meters of what controllers are told", () => {
  const meter = (rig: Rig, meterId: number): void =>
    rig.bridge.change(
      {
        type: "meter_mod",
        xid: 1,
        command: "add",
        flags: OFPMF_PKTPS,
        meterId,
        bands: [{ type: "drop", rate: 1, burstSize: 0 }],
      },
      rig.nowMs,
    );
  const packetIns = (rig: Rig): number => rig.events.filter(({ type }) => type === "packet_in").length;

  it("limit all packet-ins, or those of the actions that name them; a meter that is not there limits nothing", () => {
    const rig = new Rig(3);
    const metered: Action = { ...pause, meterId: 5 } as Action & { type: "controller" };
    const { pause: _, ...told } = metered as Action & { type: "controller" };
    rig.flow({ match: [field("in_port", 1)], instructions: [apply(output(OFPP_CONTROLLER), output(3))] });
    rig.flow({ match: [field("in_port", 2)], instructions: [apply(told, output(3))] });
    rig.send(1, frame, frame, frame);
    rig.send(2, frame, frame, frame);
    expect(packetIns(rig)).toBe(6);
    meter(rig, OFPM_CONTROLLER);
    rig.events = [];
    expect(rig.send(1, frame, frame, frame).get(3), "only the packet-ins are limited").toHaveLength(3);
    rig.send(2, frame, frame, frame);
    expect(packetIns(rig)).toBe(4);
    meter(rig, 5);
    rig.events = [];
    rig.send(2, frame, frame, frame);
    expect(packetIns(rig)).toBe(1);
    expect(rig.bridge.tables.meterStats(rig.nowMs)).toMatchObject([
      { meterId: OFPM_CONTROLLER, flowCount: 0, packetInCount: 3n, bands: [{ packetCount: 2n }] },
      { meterId: 5, flowCount: 0, packetInCount: 3n, bands: [{ packetCount: 2n }] },
    ]);
    expect(rig.bridge.pipeline.dropCounters.report().map(({ reason }) => reason)).toContain("meter");
  });
});
