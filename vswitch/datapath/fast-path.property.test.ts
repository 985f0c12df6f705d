import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Action,
  type FlowMod,
  OFPFF_SEND_FLOW_REM,
  OFPP_CONTROLLER,
  OFPP_NORMAL,
  OFPPC_NO_FWD,
  OFPPC_NO_RECV,
} from "../../base/openflow/index.js";
import { icmpFrame, tagged, tcpFrame, udpFrame } from "../testing/frames.js";
import { apply, field, flowMod, goto, output } from "../testing/rig.js";
import { SHARE, Workers } from "../testing/worker-rig.js";
import type { BridgeChange } from "./bridge.js";

const RUNS = process.env["PLINTH_NIGHTLY"] === undefined ? 60 : 2000;
const PORTS = 4;
const ALL = { tableId: 0xff, outPort: 0xffffffff, outGroup: 0xffffffff, cookie: 0n, cookieMask: 0n } as const;
const DROP_MACS: Action = { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 2, 2, 2, 2, 2) };

const SET_VLAN: Action = { type: "set_field", field: "vlan_vid", value: Uint8Array.of(0x10, 7) };
const SET_PCP: Action = { type: "set_field", field: "vlan_pcp", value: Uint8Array.of(3) };

const actions = fc.constantFrom<readonly Action[]>(
  [],
  [output(1)],
  [output(2)],
  [output(3)],
  [output(4)],
  [{ type: "dec_nw_ttl" }, output(3)],
  [DROP_MACS, { type: "dec_nw_ttl" }, output(1)],
  [DROP_MACS, output(4)],
  [output(1), output(3)],
  [output(OFPP_NORMAL)],
  [output(OFPP_NORMAL)],
  [{ type: "push_vlan", etherType: 0x8100 }, output(2)],
  [{ type: "push_vlan", etherType: 0x88a8 }, SET_VLAN, DROP_MACS, output(3)],
  [{ type: "pop_vlan" }, { type: "dec_nw_ttl" }, output(1)],
  [{ type: "pop_vlan" }, { type: "push_vlan", etherType: 0x8100 }, SET_VLAN, output(4)],
  [SET_VLAN, SET_PCP, output(3)],
  [{ type: "output", port: OFPP_CONTROLLER, maxLength: 20 }],
);
const IP = field("eth_type", 0x0800);
const match = fc.constantFrom(
  [],
  [field("in_port", 1)],
  [field("in_port", 3)],
  [IP],
  [IP, field("ip_proto", 17)],
  [IP, field("ip_proto", 17), field("udp_src", 1000, 0xfffe)],
  [IP, field("ip_proto", 6), field("tcp_dst", 80)],
  [IP, field("ip_proto", 1), field("icmpv4_type", 8)],
  [IP, field("ipv4_dst", 0x0a000002)],
  [IP, field("ip_dscp", 0)],
  [field("eth_src", 0x52540000000an)],
  [field("vlan_vid", 0x1005)],
  [field("vlan_vid", 0x1000, 0x1000)],
  [field("vlan_vid", 0x1000, 0x1000), IP, field("ip_proto", 1), field("icmpv4_code", 1)],
  [field("vlan_vid", 0x1000, 0x1000), field("vlan_pcp", 2), IP, field("ipv4_src", 0x0a000001)],
  [field("vlan_vid", 0x1005), IP, field("ip_proto", 6), field("tcp_flags", 8, 8)],
);
const flow = fc
  .record({
    tableId: fc.nat(1),
    priority: fc.nat(3),
    match,
    actions,
    next: fc.boolean(),
    tells: fc.boolean(),
  })
  .map(({ tableId, priority, match: entries, actions: list, next, tells }) =>
    flowMod({
      ...{ tableId, priority, match: entries, flags: tells ? OFPFF_SEND_FLOW_REM : 0 },
      instructions: [apply(...list), ...(next && tableId === 0 ? [goto(1)] : [])],
    }),
  );
const removal = fc
  .tuple(match, fc.constantFrom<FlowMod["command"]>("delete", "delete_strict", "modify"))
  .map(([entries, command]) =>
    flowMod({ command, match: entries, tableId: command === "modify" ? 0 : 0xff }),
  );
const portChange = fc
  .tuple(fc.integer({ min: 1, max: PORTS }), fc.constantFrom(0, OFPPC_NO_FWD, OFPPC_NO_RECV))
  .map(([port, config]): BridgeChange => {
    const macAddress = Uint8Array.of(2, 0, 0, 0, 0, port);
    return { type: "port_mod", xid: 1, port, macAddress, config, mask: 0x65, advertise: 0 };
  });

const END = { source: "10.0.0.1", destination: "10.0.0.2" };
/** By kind: frames of one kind are to keep their order. */
const KINDS: readonly ((payload: Uint8Array, port: number) => Uint8Array)[] = [
  // To a station, from that of the port; from one that is now here, now there; and to nobody.
  (payload, port) => addressed(1, port, payload),
  (payload, port) => addressed(2, port, payload),
  (payload) => addressed(3, 9, payload),
  (payload, port) => addressed(9, port, payload),
  (payload, port) => addressed(8, port, payload),
  ...[1000, 1001, 1002].map(
    (sourcePort) => (payload: Uint8Array) => udpFrame({ ...END, sourcePort }, payload),
  ),
  (payload) => tcpFrame(END, 16, payload),
  (payload) => tcpFrame({ ...END, destination: "10.0.0.9" }, 24, payload),
  (payload) => udpFrame({ ...END, destination: "10.0.0.9" }, payload).with(22, 1),
  (payload) => tagged(udpFrame(END, payload), 0x8100, 5),
  (payload) => tagged(udpFrame(END, payload), 0x88a8, 0x5006),
  (payload) => tagged(tcpFrame({ ...END, source: "10.0.0.7" }, 24, payload), 0x8100, 0x5005),
  (payload) => tagged(concat(icmpFrame(END, 8, 1), payload), 0x8100, 6),
  (payload) => tagged(tagged(udpFrame(END, payload), 0x8100, 5), 0x88a8, 5),
  (payload, port) => tagged(addressed(1, port, payload), 0x8100, 5),
  (payload) => concat(icmpFrame(END, 8, 1), payload),
  (payload) => udpFrame({ source: "fd00::1", destination: "fd00::2" }, payload),
];
const burst = fc.record({
  port: fc.integer({ min: 1, max: PORTS }),
  kinds: fc.array(fc.nat(KINDS.length - 1), { minLength: 1, maxLength: 30 }),
  /** So many times. */
  rounds: fc.integer({ min: 1, max: 6 }),
  /** Who has a turn while the frames come: a worker, the one that judges, or the peer, who sends some. */
  turns: fc.array(fc.constantFrom(0, 1, 2, "judge", "peer", "peer"), { maxLength: 60 }),
  order: fc.boolean(),
});
type Burst = typeof burst extends fc.Arbitrary<infer B> ? B : never;
const step = fc.oneof(
  { weight: 3, arbitrary: burst },
  { weight: 2, arbitrary: flow },
  { weight: 1, arbitrary: removal },
  { weight: 1, arbitrary: portChange },
);

function addressed(to: number, from: number, payload: Uint8Array): Uint8Array {
  const frame = udpFrame(END, payload);
  frame.set([2, 0, 0, 0, 1, to, 2, 0, 0, 0, 1, from]);
  return frame;
}

/** With the port, its kind and a number at the end. */
function frameOf(port: number, kind: number, number: number): Uint8Array {
  const payload = new Uint8Array(30);
  payload.set([port, kind], 22);
  new DataView(payload.buffer).setUint32(26, number);
  return KINDS[kind]!(payload, port);
}

function concat(frame: Uint8Array, payload: Uint8Array): Uint8Array {
  const whole = new Uint8Array(frame.length + payload.length);
  whole.set(frame);
  whole.set(payload, frame.length);
  return whole;
}

describe("the fast path of port workers", () => {
  it("forwards, changes, drops, orders and counts as one worker does, whatever the tables are", () => {
    const fast = [0, 0, 0, 0];
    fc.assert(
      fc.property(
        fc.array(flow, { maxLength: 6 }),
        fc.array(step, { minLength: 1, maxLength: 20 }),
        (flows, steps) => {
          const results = [0, 1, 2, 3].map((hosts) => run(hosts, flows, steps));
          expect(results[1]!.seen).toEqual(results[0]!.seen);
          expect(results[2]!.seen).toEqual(results[0]!.seen);
          expect(results[3]!.seen).toEqual(results[0]!.seen);
          expect(results[0]!.fast).toBe(0);
          for (const [hosts, one] of results.entries()) fast[hosts] = fast[hosts]! + one.fast;
        },
      ),
      { numRuns: RUNS },
    );
    for (const count of fast.slice(1)) expect(count).toBeGreaterThan(100);
  }, 3_600_000);
});

function run(
  hosts: number,
  flows: readonly FlowMod[],
  steps: readonly (Burst | BridgeChange)[],
): { seen: unknown; fast: number } {
  const workers = new Workers(hosts, PORTS);
  try {
    const bridge = workers.datapath.bridge("br0");
    for (const mod of flows) bridge.change(mod, workers.nowMs);
    /** By kind, and ports that it came in and left by. */
    const left: Record<string, number[]> = {};
    let number = 0;
    for (const one of steps) {
      workers.nowMs += 20;
      if ("type" in one) bridge.change(one, workers.nowMs);
      else
        for (let round = 0; round < one.rounds; round++) {
          const frames = one.kinds.map((kind) => frameOf(one.port, kind, number++));
          const port = workers.ports[one.port - 1]!;
          for (const turn of one.turns)
            if (typeof turn === "number") workers.hosts[turn]?.breathe(workers.nowMs);
            else if (turn === "judge") workers.datapath.breathe(workers.nowMs);
            else for (const frame of frames.splice(0, 3)) port.inject(frame);
          for (const frame of frames) port.inject(frame);
          workers.breathe(one.order);
          for (const [i, { sent }] of workers.ports.entries())
            for (const frame of sent.splice(0)) {
              const end = frame.subarray(-8);
              const key = `${end[1]}: ${end[0]}-${i + 1}`;
              left[key] ??= [];
              left[key].push(new DataView(frame.buffer, frame.byteOffset + frame.length - 4).getUint32(0));
              // What is done to it is the same.
              left[key].push(...frame.subarray(0, 24));
            }
        }
    }
    workers.nowMs += 1000;
    bridge.publishing.fold();
    const stats = bridge.tables.flowStats({ ...ALL, match: [] }, workers.nowMs);
    const drops = bridge.pipeline.dropCounters.report().map(({ reason, packets }) => [reason, packets]);
    const counters = bridge.slots.map(({ port }) => [...port.stats]);
    const { current, learned, expired, evicted, moved } = bridge.forwarding.macs.stats;
    const stations = { current, learned, expired, evicted, moved };
    const gone = workers.events.filter(({ type }) => type === "flow_removed");
    expect(workers.packets).toBe(SHARE * (hosts + 1));
    return {
      seen: { left, stats, drops, counters, gone, stations, tables: bridge.tables.tableStats().slice(0, 2) },
      fast: workers.hosts.reduce((sum, { fast }) => sum + fast.frames, 0),
    };
  } finally {
    workers.close();
  }
}
