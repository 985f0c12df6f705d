// What a packet costs in the datapath, without a guest or a socket: a generator port feeds bursts, a sink port takes
// them. Run: node dist/vswitch/datapath/datapath.bench.js [seconds [part-of-a-name]]. Prints nanoseconds per packet and heap growth.
import {
  type Action,
  type Instruction,
  type Match,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_NORMAL,
} from "../../base/openflow/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { tcpFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { apply, field, flowMod, goto, output } from "../testing/rig.js";
import type { BridgeChange } from "./bridge.js";
import { Datapath } from "./index.js";

type FlowEntry = readonly [
  table: number,
  match: Match,
  instructions: readonly Instruction[],
  priority?: number,
];

const SECONDS = Number(process.argv[2] ?? 1);
const ONLY = process.argv[3] ?? "";

function measure(
  name: string,
  flows: readonly FlowEntry[],
  conversations: number,
  prepare: readonly BridgeChange[] = [],
): void {
  if (!name.includes(ONLY)) return;
  const pool = new PacketPool({ slots: 512 });
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const ends = name.includes("IPv6")
    ? { source: "fd00::", destination: "fd01::1" }
    : { source: "10.0.0.0", destination: "10.1.0.1" };
  const first = tcpFrame(ends, 16);
  const sink = new GeneratorPort("p2", pool, []);
  const mac = new Uint8Array(6);
  const source = new GeneratorPort("p1", pool, [first]);
  source.conversations = conversations;
  source.zipf = name.includes("Zipf");
  bridge.addPort({ port: source, ofport: 1, mac, mtu: 1500, nowMs: 0 });
  bridge.addPort({ port: sink, ofport: 2, mac, mtu: 1500, nowMs: 0 });
  for (const change of prepare) bridge.change(change, 0);
  for (const [tableId, match, instructions, priority = 1] of flows)
    bridge.change(flowMod({ tableId, match, instructions, priority }), 0);
  const run = (seconds: number): number => {
    const before = sink.taken;
    const cpu = process.cpuUsage();
    const start = performance.now();
    while (performance.now() - start < seconds * 1000) {
      for (let i = 0; i < 64; i++) datapath.breathe(Math.floor(start));
    }
    const { user, system } = process.cpuUsage(cpu);
    return ((user + system) * 1000) / (sink.taken - before);
  };
  run(0.5);
  const heap = process.memoryUsage().heapUsed;
  // The best of ten runs: other work on the machine only adds.
  const ns = Math.min(...Array.from({ length: 10 }, () => run(SECONDS / 10)));
  const grown = (process.memoryUsage().heapUsed - heap) / 1024;
  const { cache, masked } = bridge.bursts;
  const known = (hits: number) => `${((100 * hits) / Math.max(1, datapath.received)).toFixed(0)} %`;
  console.log(
    `${name.padEnd(44)} ${ns.toFixed(0).padStart(5)} ns/packet  heap ${grown.toFixed(0)} KiB, exact ${known(cache.hits)}, masked ${known(masked.hits)}`,
  );
}

const load: Action = { type: "load", destination: { field: "reg0", offset: 0, bits: 16 }, value: 5n };
const chain = Array.from({ length: 12 }, (_, n) => [n, [], [apply(load), goto(n + 1)]] as const);

measure("one flow, output", [[0, [], [apply(output(2))]]], 64);
measure("NORMAL", [[0, [], [apply(output(OFPP_NORMAL))]]], 64);
measure("13 tables, output", [...chain, [12, [], [apply(output(2))]]], 64);
measure("13 tables, 4 000 conversations", [...chain, [12, [], [apply(output(2))]]], 4000);
measure("IPv6, one flow, output", [[0, [], [apply(output(2))]]], 64);
measure("IPv6, 13 tables, 40 000 conversations", [...chain, [12, [], [apply(output(2))]]], 40_000);
measure("13 tables, 40 000 conversations", [...chain, [12, [], [apply(output(2))]]], 40_000);
const bucket = (actions: readonly Action[]) => ({
  weight: 1,
  watchPort: OFPP_ANY,
  watchGroup: OFPG_ANY,
  actions,
});
const ttl: Action = { type: "dec_nw_ttl" };
const from: Action = { type: "set_field", field: "eth_src", value: Uint8Array.of(2, 0, 0, 0, 0, 1) };
const to: Action = { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 0, 0, 0, 0, 2) };
measure("routed: eth_src, eth_dst, TTL, output", [[0, [], [apply(from, to, ttl, output(2))]]], 64);
measure("select group of 4, TTL and output", [[0, [], [apply({ type: "group", groupId: 1 })]]], 64, [
  {
    type: "group_mod",
    xid: 1,
    command: "add",
    groupType: "select",
    groupId: 1,
    buckets: Array.from({ length: 4 }, () => bucket([ttl, output(2)])),
  },
]);
measure("meter, output", [[0, [], [{ type: "meter", meterId: 1 }, apply(output(2))]]], 64, [
  {
    type: "meter_mod",
    xid: 1,
    command: "add",
    flags: 1,
    meterId: 1,
    bands: [{ type: "drop", rate: 4_000_000_000, burstSize: 0 }],
  },
]);
/** An access list of 10 000 rules: by destination, and some by port too. */
const acl = Array.from({ length: 10_000 }, (_, n): FlowEntry => {
  const destination = field("ipv4_dst", 0x0b000000 + n * 256, 0xffffff00);
  const protocol = n % 2 === 0 ? [] : [field("ip_proto", 6), field("tcp_dst", 1 + (n % 1000))];
  return [0, [field("eth_type", 0x800), destination, ...protocol], [apply(output(1))]];
});
const open: FlowEntry = [0, [field("eth_type", 0x800), field("ipv4_dst", 0x0a010001)], [apply(output(2))]];
const acl6 = Array.from({ length: 10_000 }, (_, n): FlowEntry => {
  const destination = field("ipv6_dst", (0xfd02n << 112n) | (BigInt(n) << 16n), ((1n << 112n) - 1n) << 16n);
  const protocol = n % 2 === 0 ? [] : [field("ip_proto", 6), field("tcp_dst", 1 + (n % 1000))];
  return [0, [field("eth_type", 0x86dd), destination, ...protocol], [apply(output(1))]];
});
const open6: FlowEntry = [
  0,
  [field("eth_type", 0x86dd), field("ipv6_dst", (0xfd01n << 112n) | 1n)],
  [apply(output(2))],
];
measure("IPv6, 100 000 in turn, 10 000 rules", [open6, ...acl6], 100_000);
measure("1 000 000 conversations in turn", [open], 1_000_000);
measure("1 000 000 conversations, Zipf", [open], 1_000_000);
measure("1 000 000 in turn, 10 000 rules", [open, ...acl], 1_000_000);
measure("1 000 000, Zipf, 10 000 rules", [open, ...acl], 1_000_000);
measure("100 000 in turn, 10 000 rules", [open, ...acl], 100_000);
/** Denials of four shapes for addresses that no frame has: by source and destination, prefixes and ports. */
const shapes = Array.from({ length: 10_000 }, (_, n): FlowEntry => {
  const network = 0x0b000000 + n * 256;
  const port = 1 + (n % 1000);
  const shape: Match[] = [
    [field("ipv4_src", network, 0xffffff00)],
    [field("ip_proto", 6), field("ipv4_src", network + 7), field("tcp_dst", port)],
    [field("ip_proto", 6), field("ipv4_dst", network, 0xffffff80), field("tcp_dst", port)],
    [
      field("ipv4_src", network + 128, 0xffffff80),
      field("ipv4_dst", 0xc0a80000 + (n & 255) * 256, 0xffffff00),
    ],
  ];
  return [0, [field("eth_type", 0x800), ...shape[n % 4]!], [], 100 + (n % 4)];
});
measure("100 000 in turn, 10 000 rules of four shapes", [open, ...shapes], 100_000);
const hosts = Array.from(
  { length: 10_000 },
  (_, n): FlowEntry => [0, [field("eth_type", 0x800), field("ipv4_src", 0x0a000000 + n)], [apply(output(2))]],
);
measure("10 000 addresses in turn, a flow each", hosts, 10_000);
