// What a packet costs in the datapath, without a guest or a socket: a generator port feeds bursts, a sink port takes
// them. Run: node dist/vswitch/datapath/datapath.bench.js [seconds]. Prints nanoseconds per packet and heap growth.
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

const SECONDS = Number(process.argv[2] ?? 1);

function measure(
  name: string,
  flows: readonly (readonly [number, Match, readonly Instruction[]])[],
  conversations: number,
  prepare: readonly BridgeChange[] = [],
): void {
  const pool = new PacketPool({ slots: 512 });
  const datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  const frames = Array.from({ length: conversations }, (_, i) =>
    tcpFrame(
      {
        source: `10.0.${(i >> 8) & 255}.${i & 255}`,
        destination: "10.1.0.1",
        sourcePort: 1000 + (i % 50_000),
      },
      16,
    ),
  );
  const sink = new GeneratorPort("p2", pool, []);
  const mac = new Uint8Array(6);
  bridge.addPort({ port: new GeneratorPort("p1", pool, frames), ofport: 1, mac, mtu: 1500, nowMs: 0 });
  bridge.addPort({ port: sink, ofport: 2, mac, mtu: 1500, nowMs: 0 });
  for (const change of prepare) bridge.change(change, 0);
  for (const [tableId, match, instructions] of flows)
    bridge.change(flowMod({ tableId, match, instructions }), 0);
  const run = (seconds: number): number => {
    const before = sink.taken;
    const start = performance.now();
    while (performance.now() - start < seconds * 1000) {
      for (let i = 0; i < 64; i++) datapath.breathe(Math.floor(start));
    }
    return ((performance.now() - start) * 1e6) / (sink.taken - before);
  };
  run(0.5);
  const heap = process.memoryUsage().heapUsed;
  // The best of ten runs: other work on the machine only adds.
  const ns = Math.min(...Array.from({ length: 10 }, () => run(SECONDS / 10)));
  const grown = (process.memoryUsage().heapUsed - heap) / 1024;
  console.log(`${name.padEnd(44)} ${ns.toFixed(0).padStart(5)} ns/packet  heap ${grown.toFixed(0)} KiB`);
}

const ct: Action = { type: "ct", commit: true, force: false, zone: 1, alg: 0, actions: [] };
const ctTable: Action = { type: "ct", commit: false, force: false, zone: 1, tableId: 1, alg: 0, actions: [] };
const load: Action = { type: "load", destination: { field: "reg0", offset: 0, bits: 16 }, value: 5n };
const chain = Array.from({ length: 12 }, (_, n) => [n, [], [apply(load), goto(n + 1)]] as const);

measure("one flow, output", [[0, [], [apply(output(2))]]], 64);
measure("NORMAL", [[0, [], [apply(output(OFPP_NORMAL))]]], 64);
measure("13 tables, output", [...chain, [12, [], [apply(output(2))]]], 64);
measure("13 tables, 4 000 conversations", [...chain, [12, [], [apply(output(2))]]], 4000);
measure("13 tables, 40 000 conversations", [...chain, [12, [], [apply(output(2))]]], 40_000);
const bucket = (actions: readonly Action[]) => ({
  weight: 1,
  watchPort: OFPP_ANY,
  watchGroup: OFPG_ANY,
  actions,
});
const ttl: Action = { type: "dec_nw_ttl" };
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
measure(
  "ct, then established to output",
  [
    [0, [field("eth_type", 0x800)], [apply(ctTable)]],
    [1, [field("eth_type", 0x800), field("ct_state", 1, 1)], [apply(ct, output(2))]],
    [1, [field("ct_state", 2, 2)], [apply(output(2))]],
  ],
  64,
);
