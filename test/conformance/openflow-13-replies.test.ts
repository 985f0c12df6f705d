// Replies and unasked messages of OpenFlow 1.3 byte by byte, as test suites for switches look at them: every field of
// every multipart, counters that follow frames, and why flows go. Nothing of ours encodes what is sent or reads what comes.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  action,
  applyActions,
  type Bytes,
  band,
  bucket,
  cat,
  flowMod,
  gotoTable,
  groupMod,
  ipv4,
  match,
  message,
  meterInstruction,
  meterMod,
  multipart,
  output,
  oxm,
  packetOut,
  pad,
  u16,
  u32,
  u64,
  writeActions,
} from "../support/openflow-bytes.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { RawOpenFlow, told } from "../support/raw-openflow.js";

const FRAME = Uint8Array.from([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, ...pad(46)]);
const ANY = 0xffffffff;
const SEND_FLOW_REM = 1;
const inPort = (port: number): Bytes => oxm(0, u32(port));

let directory: string;
let ovs: OpenFlowSwitch;
let peer: RawOpenFlow;

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-13-");
  ovs = await OpenFlowSwitch.open(directory);
  peer = new RawOpenFlow(join(directory, "br0.mgmt"), 4);
  // From here on it is told what a controller is told.
  expect(await peer.ask(message(9, cat(u16(0), u16(0xffff))))).toEqual([]);
});

afterEach(async () => {
  peer.close();
  await ovs.close();
  rmSync(directory, { recursive: true, force: true });
});

const hex = (bytes: Uint8Array | readonly number[]): string =>
  Buffer.from(Uint8Array.from(bytes)).toString("hex");

/** The bodies of all parts of the reply, one after the other. */
async function stats(type: number, body: Bytes = []): Promise<Buffer> {
  const parts = await peer.ask(multipart(type, body));
  expect(parts.map(told).filter((one) => one !== "type 19")).toEqual([]);
  for (const [i, part] of parts.entries()) {
    expect(part.readUInt16BE(8), "multipart type").toBe(type);
    expect(part.readUInt32BE(4), "xid").toBe(0x1234);
    expect(part.readUInt16BE(10), "REPLY_MORE on all but the last").toBe(i < parts.length - 1 ? 1 : 0);
  }
  return Buffer.concat(parts.map((part) => part.subarray(16)));
}

async function accepted(...messages: Bytes[]): Promise<void> {
  expect((await peer.ask(...messages)).map(told)).toEqual([]);
}

const flowFilter = (table: number, outPort = ANY, outGroup = ANY, cookie = 0n, mask = 0n): Bytes =>
  cat([table, 0, 0, 0], u32(outPort), u32(outGroup), pad(4), u64(cookie), u64(mask), match());

/** A flow-mod with timeouts and a cookie. */
function timedFlow(cookie: bigint, idle: number, hard: number, rest: Parameters<typeof flowMod>[0]): Bytes {
  const bytes = [...flowMod(rest)];
  bytes.splice(8, 8, ...u64(cookie));
  bytes.splice(26, 4, ...u16(idle), ...u16(hard));
  return bytes;
}

describe("the switch describes itself", () => {
  it("in the features reply: no buffers, one connection, and what it can do", async () => {
    const [reply] = await peer.ask(message(5, []));
    expect(reply?.length).toBe(32);
    expect(reply?.subarray(8, 16).toString("hex")).toBe("0000020000000001");
    expect(reply?.readUInt32BE(16), "n_buffers").toBe(0);
    expect(reply?.[20], "n_tables").toBe(254);
    expect(reply?.[21], "auxiliary_id").toBe(0);
    // FLOW, TABLE, PORT, GROUP statistics, IP_REASM, QUEUE statistics; never PORT_BLOCKED.
    expect(reply?.readUInt32BE(24), "capabilities").toBe(0x6f);
    expect(reply?.readUInt32BE(28), "reserved").toBe(0);
  });

  it("in description, ports, group and meter features", async () => {
    expect((await stats(0)).length).toBe(1056);
    const ports = await stats(13);
    expect([0, 64, 128].map((at) => ports.readUInt32BE(at))).toEqual([1, 2, 0xfffffffe]);
    expect(ports.subarray(8, 14).toString("hex")).toBe("020000000001");
    expect(ports.subarray(16, 20).toString()).toBe("vm1\0");
    const groups = await stats(8);
    expect(groups.length).toBe(40);
    expect(groups.readUInt32BE(0), "all four types").toBe(0xf);
    expect(groups.readUInt32BE(4), "weight, liveness, chaining and its checks").toBe(0xf);
    // Types 0, 11, 12, 15 to 27: every action of 1.3.
    for (let type = 0; type < 4; type++) expect(groups.readUInt32BE(24 + 4 * type)).toBe(0x0fff9801);
    const meters = await stats(11);
    expect(meters.length).toBe(16);
    expect(meters.readUInt32BE(4), "drop and DSCP remark").toBe(0b110);
    expect(meters.readUInt32BE(8), "KBPS, PKTPS, BURST, STATS").toBe(0xf);
  });

  it("in table features of every table, with every property and no way back", async () => {
    const bytes = await stats(12);
    let tables = 0;
    for (let at = 0; at < bytes.length; at += bytes.readUInt16BE(at)) {
      expect(bytes[at + 2]).toBe(tables);
      const end = at + bytes.readUInt16BE(at);
      const types: number[] = [];
      for (let property = at + 64; property < end; ) {
        const [type, length] = [bytes.readUInt16BE(property), bytes.readUInt16BE(property + 2)];
        types.push(type);
        if (type === 2)
          for (const next of bytes.subarray(property + 4, property + length))
            expect(next).toBeGreaterThan(tables);
        property += length + ((8 - (length % 8)) % 8);
      }
      expect(types).toEqual(expect.arrayContaining([0, 2, 4, 6, 8, 10, 12, 14]));
      tables++;
    }
    expect(tables).toBe(254);
  });

  it("in its configuration, with what it was told", async () => {
    await accepted(message(9, cat(u16(1), u16(0x99))));
    expect((await peer.ask(message(7, [])))[0]?.subarray(8).toString("hex")).toBe("00010099");
    await accepted(message(9, cat(u16(0), u16(0x80))));
  });
});

describe("statistics follow what happens", () => {
  it("of flows, in every field, and sums by cookie, port and group", async () => {
    const instructions = [applyActions(output(2)), writeActions(output(1)), gotoTable(7)];
    const flow = timedFlow(0xabcn, 100, 200, {
      table: 3,
      priority: 0x1111,
      flags: SEND_FLOW_REM,
      match: match(inPort(1)),
      instructions,
    });
    await accepted(flow, flowMod({ instructions: [gotoTable(3)] }), groupMod(0, 0, 5));
    await accepted(flowMod({ table: 9, instructions: [applyActions(action(22, u32(5)))] }));
    ovs.inject("vm1", FRAME);
    ovs.inject("vm1", FRAME);
    const one = await stats(1, flowFilter(3));
    expect(one.readUInt16BE(0)).toBe(one.length);
    expect(one[2], "table_id").toBe(3);
    expect(one.readUInt32BE(8), "nanoseconds").toBeLessThan(1_000_000_000);
    expect(one.subarray(12, 20).toString("hex"), "priority, time-outs, flags").toBe("1111006400c80001");
    expect(one.subarray(24, 48).toString("hex"), "cookie and counts").toBe(
      hex(cat(u64(0xabcn), u64(2n), u64(120n))),
    );
    expect(one.subarray(48).toString("hex"), "match and instructions").toBe(
      hex(cat(match(inPort(1)), ...instructions)),
    );
    const sum = async (...filter: Parameters<typeof flowFilter>): Promise<string> =>
      (await stats(2, flowFilter(...filter))).toString("hex");
    const of = (packets: bigint, flows: number): string =>
      hex(cat(u64(packets), u64(packets * 60n), u32(flows), pad(4)));
    expect(await sum(255)).toBe(of(4n, 3));
    expect(await sum(3)).toBe(of(2n, 1));
    expect(await sum(255, ANY, ANY, 0xa00n, 0xf00n)).toBe(of(2n, 1));
    expect(await sum(255, 2)).toBe(of(2n, 1));
    expect(await sum(255, 1), "an output in write-actions counts").toBe(of(2n, 1));
    expect(await sum(255, ANY, 5)).toBe(of(0n, 1));
    expect(await sum(77)).toBe(of(0n, 0));
    const tables = await stats(3);
    expect(tables.length).toBe(254 * 24);
    const table = (id: number): string => tables.subarray(24 * id, 24 * id + 24).toString("hex");
    expect(table(3)).toBe(hex(cat([3, 0, 0, 0], u32(1), u64(2n), u64(2n))));
    expect(table(7), "looked up, and missed").toBe(hex(cat([7, 0, 0, 0], u32(0), u64(2n), u64(0n))));
  });

  it("of ports: packets and bytes each way, and how long", async () => {
    await accepted(flowMod({ instructions: [applyActions(output(2))] }));
    for (let i = 0; i < 3; i++) ovs.inject("vm1", FRAME);
    const both = await stats(4, cat(u32(ANY), pad(4)));
    expect(both.length).toBe(3 * 112);
    const counters = (at: number): bigint[] =>
      Array.from({ length: 4 }, (_, i) => both.readBigUInt64BE(at + 8 + 8 * i));
    expect(counters(0), "rx and tx packets, rx and tx bytes of vm1").toEqual([3n, 0n, 180n, 0n]);
    expect(counters(112)).toEqual([0n, 3n, 0n, 180n]);
    expect(both.readUInt32BE(108), "nanoseconds").toBeLessThan(1_000_000_000);
    expect((await stats(4, cat(u32(2), pad(4)))).length).toBe(112);
    expect((await stats(4, cat(u32(0xfffffffe), pad(4)))).readUInt32BE(0), "the local port").toBe(0xfffffffe);
  });

  it("of groups and their buckets, and descriptions that say what was said", async () => {
    const buckets = [bucket([output(2)]), bucket([output(1), output(2)])];
    await accepted(
      groupMod(0, 0, 7, ...buckets),
      flowMod({ instructions: [applyActions(action(22, u32(7)))] }),
    );
    ovs.inject("vm1", FRAME);
    const group = await stats(6, cat(u32(7), pad(4)));
    expect(group.readUInt16BE(0)).toBe(group.length);
    expect(group.length, "two buckets").toBe(40 + 2 * 16);
    expect(group.subarray(4, 12).toString("hex"), "number and references").toBe(hex(cat(u32(7), u32(1))));
    expect(group.subarray(16, 32).toString("hex")).toBe(hex(cat(u64(1n), u64(60n))));
    expect(group.subarray(40).toString("hex")).toBe(hex(cat(u64(1n), u64(60n), u64(1n), u64(60n))));
    const [length, description] = [8 + buckets.flat().length, await stats(7)];
    expect(description.toString("hex")).toBe(hex(cat(u16(length), [0, 0], u32(7), ...buckets)));
    expect((await stats(6, cat(u32(0xfffffffc), pad(4)))).length).toBe(group.length);
    expect((await stats(6, cat(u32(99), pad(4)))).length, "no such group").toBe(0);
  });

  it("of meters and their bands, before anything else is done to a packet", async () => {
    const bands = [band(1, 1, 0)];
    await accepted(meterMod(0, 0b1010, 4, ...bands));
    await accepted(flowMod({ instructions: [meterInstruction(4), applyActions(output(2))] }));
    for (let i = 0; i < 3; i++) ovs.inject("vm1", FRAME);
    expect(ovs.takeSent("vm2"), "one packet a second").toHaveLength(1);
    const meter = await stats(9, cat(u32(4), pad(4)));
    expect(meter.subarray(0, 6).toString("hex"), "number and length").toBe(hex(cat(u32(4), u16(56))));
    expect(meter.subarray(12, 32).toString("hex"), "flows, packets, bytes").toBe(
      hex(cat(u32(1), u64(3n), u64(180n))),
    );
    expect(meter.subarray(40).toString("hex"), "what the band dropped").toBe(hex(cat(u64(2n), u64(120n))));
    const config = await stats(10, cat(u32(ANY), pad(4)));
    expect(config.toString("hex")).toBe(hex(cat(u16(24), u16(0b1010), u32(4), ...bands)));
    // The flow counted what the meter dropped: it matched.
    expect((await stats(2, flowFilter(255))).readBigUInt64BE(0)).toBe(3n);
  });
});

describe("what nobody asked for", () => {
  const removed = async (): Promise<string> => {
    const bytes = await peer.next(11);
    expect(bytes.readUInt32BE(24), "nanoseconds").toBeLessThan(1_000_000_000);
    return [
      bytes[18],
      bytes[19],
      bytes.readBigUInt64BE(8),
      bytes.readUInt16BE(16),
      bytes.readUInt32BE(28),
      bytes.readBigUInt64BE(32),
      bytes.readBigUInt64BE(40),
    ].join(" ");
  };

  it("flow-removed says why: deleted, its group gone, its meter gone; and not of flows that did not ask", async () => {
    await accepted(groupMod(0, 0, 5), meterMod(0, 1, 6, band(1, 1000)));
    const fields = (n: number): Bytes => match(inPort(n), ipv4);
    const flow = (cookie: bigint, n: number, flags: number, ...instructions: Bytes[]): Bytes =>
      timedFlow(cookie, 30, 60, { table: 2, priority: n, flags, match: fields(n), instructions });
    await accepted(
      flow(1n, 1, SEND_FLOW_REM),
      flow(2n, 2, SEND_FLOW_REM, applyActions(action(22, u32(5)))),
      flow(3n, 3, SEND_FLOW_REM, meterInstruction(6)),
      flow(4n, 4, 0),
    );
    const rest = `${(30 << 16) | 60} 0 0`;
    peer.send(groupMod(2, 0, 5));
    expect(await removed(), "OFPRR_GROUP_DELETE").toBe(`3 2 2 2 ${rest}`);
    peer.send(meterMod(2, 0, 6));
    expect(await removed(), "OFPRR_DELETE").toBe(`2 2 3 3 ${rest}`);
    peer.send(flowMod({ command: 3, table: 255 }));
    expect(await removed()).toBe(`2 2 1 1 ${rest}`);
    expect(await peer.ask(), "nothing of the fourth").toEqual([]);
  });

  it("a packet-in is whole, and says by which flow, table and port", async () => {
    const miss = timedFlow(0x77n, 0, 0, {
      priority: 0,
      instructions: [applyActions(output(0xfffffffd, 20))],
    });
    await accepted(miss);
    ovs.inject("vm2", FRAME);
    const packetIn = await peer.next(10);
    expect(packetIn.subarray(8).toString("hex")).toBe(
      hex(cat(u32(ANY), u16(60), [0, 0], u64(0x77n), match(inPort(2)), pad(2), [...FRAME])),
    );
    await accepted(
      timedFlow(0x78n, 0, 0, {
        table: 1,
        priority: 5,
        instructions: [applyActions(output(0xfffffffd, 0xffff))],
      }),
    );
    await accepted(flowMod({ priority: 9, instructions: [gotoTable(1)] }));
    ovs.inject("vm1", FRAME);
    const second = await peer.next(10);
    expect(second.subarray(14, 24).toString("hex"), "reason action, table 1, its cookie").toBe(
      hex(cat([1, 1], u64(0x78n))),
    );
    peer.send(packetOut([output(0xfffffff9)], { inPort: 2 }));
    expect((await peer.next(10)).subarray(24, 40).toString("hex"), "through the tables as from port 2").toBe(
      hex(match(inPort(2))),
    );
  });

  it("a port that is told to be down, or to send no packet-ins, says so once", async () => {
    const portMod = (config: number, mask: number): Bytes =>
      message(16, cat(u32(1), pad(4), [2, 0, 0, 0, 0, 1], pad(2), u32(config), u32(mask), u32(0), pad(4)));
    await accepted(flowMod({ instructions: [applyActions(output(0xfffffffc))] }));
    peer.send(portMod(1, 1));
    const status = await peer.next(12);
    expect(status[8], "OFPPR_MODIFY").toBe(2);
    expect(status.readUInt32BE(16)).toBe(1);
    expect(status.readUInt32BE(16 + 32), "config: PORT_DOWN").toBe(1);
    ovs.inject("vm2", FRAME);
    expect(ovs.takeSent("vm1")).toEqual([]);
    await accepted(portMod(1, 1), portMod(0, 0));
    peer.send(portMod(1 << 6, (1 << 6) | 1));
    expect((await peer.next(12)).readUInt32BE(16 + 32), "NO_PACKET_IN").toBe(1 << 6);
    const toController = [applyActions(output(0xfffffffd))];
    await accepted(flowMod({ priority: 0, instructions: toController }), flowMod({ command: 4 }));
    ovs.inject("vm1", FRAME);
    expect(await peer.ask(), "no packet-in of a table miss from that port (7.2.1)").toEqual([]);
    await accepted(flowMod({ priority: 7, instructions: toController }));
    ovs.inject("vm1", FRAME);
    expect(
      (await peer.ask()).map((answer) => answer[1]),
      "a flow that asks for one gets it",
    ).toEqual([10]);
  });

  it("a port that gets another address stays, and is known by it", async () => {
    const mac = Uint8Array.of(2, 0, 0, 0, 0, 0x99);
    const vlan = { mode: "trunk", tag: 0, trunks: [] } as const;
    ovs.methods.setPort({ bridge: "br0", name: "vm1", vlan, shown: { mac, mtu: 1400 } });
    ovs.inject("vm2", FRAME);
    const status = await peer.next(12);
    expect([status[8], status.readUInt32BE(16)], "OFPPR_MODIFY of port 1").toEqual([2, 1]);
    expect(hex(status.subarray(24, 30))).toBe(hex(mac));
    const portMod = (address: Uint8Array): Bytes =>
      message(16, cat(u32(1), pad(4), [...address], pad(2), u32(1), u32(1), u32(0), pad(4)));
    expect((await peer.ask(portMod(Uint8Array.of(2, 0, 0, 0, 0, 1)))).map(told), "BAD_HW_ADDR").toEqual([
      "7:1",
    ]);
    peer.send(portMod(mac));
    expect((await peer.next(12)).readUInt32BE(16 + 32)).toBe(1);
  });
});

describe("roles", () => {
  it("are told with the generation, and an old one is refused", async () => {
    const request = (role: number, generation: bigint): Bytes =>
      message(24, cat(u32(role), pad(4), u64(generation)));
    const reply = async (role: number, generation: bigint): Promise<string> => {
      const [answer] = await peer.ask(request(role, generation));
      return answer === undefined || answer[1] !== 25
        ? told(answer as Buffer)
        : answer.subarray(8).toString("hex");
    };
    const of = (role: number, generation: bigint): string => hex(cat(u32(role), pad(4), u64(generation)));
    expect(await reply(0, 0n), "nothing changed, no election yet").toBe(of(1, 0xffffffffffffffffn));
    expect(await reply(2, 5n)).toBe(of(2, 5n));
    expect(await reply(3, 4n), "STALE").toBe("11:0");
    expect(await reply(3, 6n)).toBe(of(3, 6n));
    expect((await peer.ask(flowMod())).map(told), "IS_SLAVE").toEqual(["1:10"]);
    expect((await peer.ask(flowMod({ command: 9 }))).map(told), "whatever is wrong with it").toEqual([
      "1:10",
    ]);
    expect((await stats(2, flowFilter(255))).length, "a slave may read").toBe(24);
    expect(await reply(1, 0n), "equal needs no generation").toBe(of(1, 6n));
    expect(await reply(9, 7n), "BAD_ROLE").toBe("11:2");
  });
});
