import { describe, expect, it } from "vitest";
import {
  type Action,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPPC_NO_FWD,
  OFPPC_NO_RECV,
  type PacketOut,
} from "../../base/openflow/index.js";
import { MemoryPort } from "../../base/packet/index.js";
import { plainFrame, tcpFrame } from "../testing/frames.js";
import { apply, field, goto, match, output, Rig, write } from "../testing/rig.js";

const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
const toController: Action = { type: "output", port: OFPP_CONTROLLER, maxLength: 20 };

function packetOut(inPort: number, ...actions: readonly Action[]): PacketOut {
  return { type: "packet_out", xid: 1, bufferId: 0xffffffff, inPort, actions, data: frame };
}

describe("Bridge", () => {
  it("hands packets to the controller: as a table miss, as an action, with pipeline fields", () => {
    const rig = new Rig(2);
    rig.flow({ priority: 0, cookie: 9n, instructions: [apply(toController)] });
    rig.send(1, frame);
    expect(rig.events).toMatchObject([
      {
        type: "packet_in",
        reason: "no_match",
        cookie: 9n,
        tableId: 0,
        totalLength: frame.byteLength,
        maxLength: 20,
        data: frame,
      },
    ]);
    rig.flow({
      match: match(field("in_port", 2)),
      instructions: [
        apply({ type: "load", destination: { field: "reg3", offset: 0, bits: 8 }, value: 5n }, toController),
      ],
    });
    rig.events = [];
    rig.send(2, frame);
    expect(rig.events).toMatchObject([{ reason: "action", match: [field("in_port", 2), field("reg3", 5)] }]);
  });

  it("names no flow to the controller where none sent the packet: packet-outs, buckets and action sets", () => {
    const rig = new Rig(2);
    const NONE = 0xffffffffffffffffn;
    const group = { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [toController] };
    rig.bridge.change(
      { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: 7, buckets: [group] },
      rig.nowMs,
    );
    const told = (run: () => void): unknown => {
      rig.events = [];
      run();
      return rig.events.map((event) =>
        event.type === "packet_in" ? [event.reason, event.tableId, event.cookie] : event.type,
      );
    };
    const sent = (...actions: Action[]): unknown =>
      told(() => {
        rig.bridge.change(packetOut(1, ...actions), rig.nowMs);
        rig.datapath.deliver();
      });
    expect(sent(toController)).toEqual([["action", 0, NONE]]);
    expect(sent({ type: "group", groupId: 7 })).toEqual([["action", 0, NONE]]);
    rig.flow({ tableId: 3, cookie: 3n, instructions: [apply(toController)] });
    rig.flow({ tableId: 4, cookie: 4n, instructions: [write(toController)] });
    const resubmit = (tableId: number): Action => ({
      type: "resubmit",
      port: OFPP_IN_PORT,
      tableId,
      withCt: false,
    });
    expect(sent(resubmit(3))).toEqual([["action", 3, 3n]]);
    expect(sent(resubmit(4))).toEqual([["action", 0, NONE]]);
    rig.flow({ cookie: 1n, instructions: [write(toController)] });
    expect(told(() => rig.send(1, frame))).toEqual([["action", 0, NONE]]);
    rig.flow({ cookie: 1n, instructions: [apply({ type: "group", groupId: 7 }, toController)] });
    expect(told(() => rig.send(1, frame))).toEqual([
      ["action", 0, NONE],
      ["action", 0, 1n],
    ]);
    const userdata = Uint8Array.of(1, 2, 3);
    const asked = {
      type: "controller",
      maxLength: 9,
      reason: "no_match",
      controllerId: 4,
      userdata,
    } as const;
    rig.flow({ cookie: 2n, instructions: [apply(asked)] });
    rig.events = [];
    rig.send(1, frame);
    expect(rig.events).toMatchObject([{ reason: "no_match", cookie: 2n, controllerId: 4, userdata }]);
    rig.flow({ cookie: 3n, instructions: [apply({ ...asked, reason: "packet_out" })] });
    rig.events = [];
    rig.send(1, frame);
    expect(rig.events).toMatchObject([{ reason: "packet_out", cookie: 3n, controllerId: 4, userdata }]);
  });

  it("tells of packets that no flow matches while somebody wants it, from every way through the tables", () => {
    const rig = new Rig(2);
    const told = (): unknown[] => {
      rig.events = [];
      rig.send(1, tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 2), frame);
      return rig.events.map((event) =>
        event.type === "packet_in" ? [event.reason, event.miss, event.tableId, event.cookie] : event.type,
      );
    };
    const miss = (tableId: number): unknown => ["no_match", "table", tableId, 0n];
    expect([told(), told()]).toEqual([[], []]);
    rig.bridge.tellMisses(true);
    expect([told(), told()]).toEqual([
      [miss(0), miss(0)],
      [miss(0), miss(0)],
    ]);
    expect(rig.datapath.counters()["drop_table_miss"]).toBe(4);
    rig.flow({ priority: 5, instructions: [write(output(2)), goto(4)] });
    expect(told()).toEqual([miss(4), miss(4)]);
    expect(rig.ports[1]?.takeSent()).toEqual([]);
    rig.flow({ priority: 0, tableId: 4, cookie: 3n, instructions: [apply(toController)] });
    expect(told()).toEqual([
      ["no_match", "flow", 4, 3n],
      ["no_match", "flow", 4, 3n],
    ]);
    rig.bridge.tellMisses(false);
    rig.flow({ command: "delete", tableId: 255 });
    expect(told()).toEqual([]);
    expect(rig.pool.available).toBe(256);
  });

  it("looks at so many tags of a frame as it is told, and at all that were pushed", () => {
    const rig = new Rig(3);
    const tcp = [field("eth_type", 0x0800), field("ip_proto", 6)];
    rig.flow({ priority: 9, match: match(...tcp), instructions: [apply(output(2))] });
    rig.flow({ priority: 8, match: match(field("eth_type", 0x8100)), instructions: [apply(output(3))] });
    const plain = tcpFrame({ source: "10.0.0.1", destination: "10.0.0.2" }, 2);
    const tag = (inner: Uint8Array): Uint8Array =>
      Uint8Array.from([...inner.slice(0, 12), 0x81, 0, 0, 5, ...inner.slice(12)]);
    const where = (): number[] => [plain, tag(plain), tag(tag(plain))].flatMap((one) => rig.where(1, one));
    expect(where()).toEqual([2, 2, 2]);
    rig.bridge.setBridge({ macTableEntries: 8, macAgeingMs: 1000, tagsRead: 1 });
    expect(where()).toEqual([2, 2, 3]);
    rig.flow({ tableId: 1, match: match(...tcp), instructions: [apply(output(2))] });
    const push: Action = { type: "push_vlan", etherType: 0x8100 };
    rig.flow({ priority: 9, match: match(...tcp), instructions: [apply(push, push), goto(1)] });
    expect(where()).toEqual([2, 2, 3]);
  });

  it("limits packet-ins per port, so that one port cannot starve another", () => {
    const rig = new Rig(2, { slots: 1024 });
    rig.flow({ instructions: [apply(toController)] });
    rig.send(1, ...Array.from({ length: 500 }, () => frame));
    const flood = rig.events.length;
    expect(flood).toBeLessThan(500);
    expect(rig.datapath.counters()["drop_packet_in_limit"]).toBe(500 - flood);
    rig.send(2, frame);
    expect(rig.events.length).toBe(flood + 1);
  });

  it("sends packet-outs to ports, through the tables and to all", () => {
    const rig = new Rig(3);
    const out = (message: PacketOut): number[] => {
      rig.bridge.change(message, rig.nowMs);
      return rig.ports.flatMap((port, index) => (port.takeSent().length > 0 ? [index + 1] : []));
    };
    expect(out(packetOut(OFPP_CONTROLLER, output(2)))).toEqual([2]);
    expect(out(packetOut(1, output(0xfffffffb)))).toEqual([2, 3]);
    expect(out(packetOut(1, output(0xfffffff8)))).toEqual([1]);
    rig.flow({ match: match(field("in_port", 2)), instructions: [apply(output(3))] });
    expect(out(packetOut(2, output(0xfffffff9)))).toEqual([3]);
    expect(() => rig.bridge.change({ ...packetOut(1, output(2)), data: new Uint8Array(5) }, 0)).toThrow(
      "OFPBRC_BAD_PACKET",
    );
    expect(rig.pool.available).toBe(256);
  });

  it("obeys port-mod and tells of ports that come, go and change", () => {
    const rig = new Rig(2);
    rig.flow({ instructions: [apply(output(0xfffffffc))] });
    const mod = (port: number, config: number, advertise = 0) =>
      rig.bridge.change(
        {
          type: "port_mod",
          xid: 1,
          port,
          macAddress: Uint8Array.of(2, 0, 0, 0, 0, port),
          config,
          mask: OFPPC_NO_FWD | OFPPC_NO_RECV,
          advertise,
        },
        rig.nowMs,
      );
    mod(2, OFPPC_NO_FWD);
    expect(rig.where(1, frame)).toEqual([]);
    mod(2, 0);
    expect(rig.where(1, frame)).toEqual([2]);
    mod(1, OFPPC_NO_RECV);
    expect(rig.where(1, frame)).toEqual([]);
    expect(() => mod(9, 0)).toThrow("OFPPMFC_BAD_PORT");
    expect(() => mod(1, 0, 1 << 16)).toThrow("OFPPMFC_BAD_ADVERTISE");
    expect(rig.where(1, frame), "the refused one changed nothing").toEqual([]);
    mod(1, OFPPC_NO_RECV, 0xffff);
    expect(rig.where(1, frame)).toEqual([]);
    rig.events = [];
    (rig.ports[1] as MemoryPort).linkUp = false;
    rig.nowMs += 10;
    rig.send(1);
    rig.bridge.removePort(rig.bridge.slots[1]!);
    rig.datapath.deliver();
    expect(rig.events).toMatchObject([
      { type: "port_status", reason: "modify", description: { port: 2, name: "p2" } },
      { type: "port_status", reason: "delete" },
    ]);
    const port = new MemoryPort({ name: "p1", pool: rig.pool });
    const options = { port, mac: new Uint8Array(6), mtu: 1500, nowMs: 0 };
    expect(() => rig.bridge.addPort({ ...options, ofport: 5 })).toThrow("p1");
    expect(() => rig.bridge.addPort({ ...options, ofport: 70_000 })).toThrow("no port number");
  });

  it("fails over to the next live bucket when a port goes down", () => {
    const rig = new Rig(3);
    const bucket = (port: number) => ({
      weight: 0,
      watchPort: port,
      watchGroup: 0xffffffff,
      actions: [output(port)],
    });
    rig.bridge.change(
      {
        type: "group_mod",
        xid: 1,
        command: "add",
        groupType: "ff",
        groupId: 1,
        buckets: [bucket(2), bucket(3)],
      },
      0,
    );
    rig.flow({ instructions: [apply({ type: "group", groupId: 1 })] });
    expect(rig.where(1, frame)).toEqual([2]);
    (rig.ports[1] as MemoryPort).linkUp = false;
    rig.nowMs += 10;
    expect(rig.where(1, frame)).toEqual([3]);
  });

  it("counts why a packet went nowhere", () => {
    const rig = new Rig(2);
    rig.send(1, frame);
    rig.flow({ instructions: [] });
    rig.send(1, frame);
    rig.flow({ instructions: [apply(output(1), output(77))] });
    rig.send(1, frame);
    const { drop_table_miss, drop_no_output, drop_output_to_input, drop_bad_port } = rig.datapath.counters();
    expect([drop_table_miss, drop_no_output, drop_output_to_input, drop_bad_port]).toEqual([1, 1, 1, 1]);
  });
});
