// Random flow tables, the groups and meters that they use, and frames to send through them, for property tests.
import fc from "fast-check";
import { PlinthError } from "../../base/errors/index.js";
import {
  type Action,
  type FlowMod,
  type Instruction,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_FLOOD,
  OFPP_IN_PORT,
  OFPP_NORMAL,
  OFPTT_ALL,
  type OxmEntry,
} from "../../base/openflow/index.js";
import type { BridgeChange } from "../datapath/index.js";
import { icmpFrame, plainFrame, tagged, tcpFrame, udpFrame } from "./frames.js";
import { apply, field, flowMod, goto, output, type Rig, write } from "./rig.js";

const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
function withTtl(frame: Uint8Array, ttl: number): Uint8Array {
  return frame.with(22, ttl);
}

export const FRAMES: readonly Uint8Array[] = [
  tcpFrame(ends, 2),
  tcpFrame({ ...ends, destinationPort: 443 }, 16),
  tcpFrame({ ...ends, sourcePort: 40001 }, 16),
  withTtl(tcpFrame({ ...ends, sourcePort: 40002 }, 16), 1),
  tcpFrame({ ...ends, source: "10.0.0.7" }, 24),
  udpFrame(ends),
  udpFrame({ ...ends, sourcePort: 40003 }),
  tagged(udpFrame(ends), 0x8100, 0x6005),
  tagged(udpFrame(ends), 0x88a8, 0x6005),
  icmpFrame(ends, 8, 0x00010001),
  plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02"),
  plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02", 5, 3),
];

const entry = fc.constantFrom<readonly OxmEntry[]>(
  [],
  [field("in_port", 1)],
  [field("eth_type", 0x0800)],
  [field("eth_type", 0x0800), field("ip_proto", 6)],
  [field("eth_type", 0x0800), field("ip_proto", 6), field("tcp_dst", 80)],
  [field("vlan_vid", 0x1000, 0x1000)],
  [field("reg0", 7)],
  [field("metadata", 1)],
  [field("ct_state", 0x21, 0x21)],
  [{ field: "tun_metadata0", value: Uint8Array.of(9) }],
  [{ field: "tun_metadata1", value: Uint8Array.of(0), mask: Uint8Array.of(0) }],
);
const action = fc.constantFrom<Action>(
  output(2),
  output(3),
  output(1),
  output(OFPP_IN_PORT),
  output(OFPP_NORMAL),
  output(OFPP_FLOOD),
  { type: "push_vlan", etherType: 0x8100 },
  { type: "pop_vlan" },
  { type: "dec_nw_ttl" },
  { type: "set_nw_ttl", ttl: 1 },
  { type: "load", destination: { field: "in_port", offset: 0, bits: 16 }, value: 3n },
  { type: "set_field", field: "ipv4_dst", value: Uint8Array.of(10, 9, 9, 9) },
  { type: "load", destination: { field: "reg0", offset: 0, bits: 32 }, value: 7n },
  {
    type: "move",
    source: { field: "reg0", offset: 0, bits: 16 },
    destination: { field: "reg1", offset: 16, bits: 16 },
  },
  { type: "set_field", field: "eth_dst", value: Uint8Array.of(2, 2, 2, 2, 2, 2) },
  { type: "resubmit", port: 0xfffffff8, tableId: 2, withCt: false },
  { type: "ct", commit: true, force: false, zone: 1, alg: 0, actions: [] },
  { type: "ct", commit: false, force: false, zone: 1, tableId: 2, alg: 0, actions: [] },
);
const niciraAction = fc.constantFrom<Action>(
  { type: "push", range: { field: "eth_src", offset: 0, bits: 48 } },
  { type: "push", range: { field: "reg0", offset: 0, bits: 32 } },
  { type: "pop", range: { field: "reg0", offset: 0, bits: 32 } },
  { type: "pop", range: { field: "eth_dst", offset: 0, bits: 48 } },
  { type: "output_reg", source: { field: "reg0", offset: 0, bits: 16 }, maxLength: 0 },
  { type: "output_trunc", port: 2, maxLength: 20 },
  { type: "clone", actions: [{ type: "push_vlan", etherType: 0x8100 }, output(3), { type: "exit" }] },
  { type: "exit" },
  { type: "check_pkt_larger", sizeBytes: 60, destination: { field: "reg0", offset: 0, bits: 1 } },
  {
    type: "multipath",
    fields: "symmetric_l4",
    basis: 0,
    algorithm: "modulo_n",
    linkMax: 1,
    argument: 0,
    destination: { field: "metadata", offset: 0, bits: 16 },
  },
  {
    type: "bundle",
    fields: "eth_src",
    basis: 0,
    algorithm: "hrw",
    members: [2, 3],
    destination: { field: "reg0", offset: 0, bits: 16 },
  },
  {
    type: "learn",
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: 5,
    cookie: 1n,
    tableId: 2,
    finIdleTimeoutSeconds: 0,
    finHardTimeoutSeconds: 0,
    sendFlowRemoved: false,
    deleteLearned: true,
    limit: 0,
    specs: [
      {
        kind: "match",
        source: { field: "eth_src", offset: 0, bits: 48 },
        destination: { field: "eth_dst", offset: 0, bits: 48 },
      },
      { kind: "output", source: { field: "nxm_in_port", offset: 0, bits: 16 } },
    ],
  },
);
/** Tables know two options of tunnels; a third is not mapped. */
const optionAction = fc.constantFrom<Action>(
  { type: "set_field", field: "tun_metadata0", value: Uint8Array.of(9) },
  { type: "set_field", field: "tun_metadata7", value: Uint8Array.of(9) },
  {
    type: "move",
    source: { field: "ipv4_src", offset: 0, bits: 16 },
    destination: { field: "tun_metadata1", offset: 20, bits: 16 },
  },
  {
    type: "move",
    source: { field: "tun_metadata1", offset: 20, bits: 4 },
    destination: { field: "reg0", offset: 0, bits: 4 },
  },
  { type: "push", range: { field: "tun_metadata1", offset: 0, bits: 64 } },
  { type: "pop", range: { field: "tun_metadata0", offset: 0, bits: 32 } },
  { type: "delete_field", field: "tun_metadata0" },
  {
    type: "clone",
    actions: [
      { type: "delete_field", field: "tun_metadata0" },
      { type: "set_field", field: "tun_metadata1", value: Uint8Array.of(1) },
      { type: "resubmit", port: 0xfffffff8, tableId: 2, withCt: false },
    ],
  },
);
const groupAction = fc.constantFrom<Action>(
  { type: "group", groupId: 1 },
  { type: "group", groupId: 2 },
  { type: "group", groupId: 3 },
);
const actions = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: action },
    { weight: 2, arbitrary: niciraAction },
    { weight: 1, arbitrary: groupAction },
    { weight: 1, arbitrary: optionAction },
  ),
  {
    maxLength: 4,
  },
);
const drawnFlow = fc.record({
  tableId: fc.integer({ min: 0, max: 2 }),
  priority: fc.integer({ min: 1, max: 4 }),
  match: entry,
  applied: actions,
  written: actions,
  next: fc.boolean(),
  meterId: fc.constantFrom(0, 0, 0, 1, 2),
});

/** A flow of tables 0 to 2 with anything in it: some of them no switch takes. */
export const flow: fc.Arbitrary<FlowMod> = drawnFlow.map(
  ({ tableId, priority, match, applied, written, next, meterId }) => {
    const writable = written.filter(
      (one) =>
        one.type === "output" || one.type === "group" || one.type === "pop_vlan" || one.type === "set_field",
    );
    const instructions: Instruction[] = [apply(...applied), write(...writable)];
    if (meterId > 0) instructions.unshift({ type: "meter", meterId });
    if (next && tableId < 2) instructions.push(goto(tableId + 1));
    return flowMod({ tableId, priority, match, instructions });
  },
);

/** Adds it where the switch takes it. */
export function offer(rig: Rig, mod: BridgeChange): void {
  try {
    rig.bridge.change(mod, rig.nowMs);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
  }
}

/** Two options of tunnels, a select group, one for all, one with a group inside, a meter that drops and one that marks. */
export function addGroupsAndMeters(rig: Rig): void {
  const options = [0, 4, 1, 8].flatMap((number, i, all) =>
    i % 2 === 0 ? [0, 1, number, all[i + 1] as number, 0, number, 0, 0] : [],
  );
  rig.bridge.tables.options.change(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, ...options), () => true);
  const bucket = (weight: number, ...acts: Action[]) => ({
    weight,
    watchPort: OFPP_ANY,
    watchGroup: OFPG_ANY,
    actions: acts,
  });
  const ttl: Action = { type: "dec_nw_ttl" };
  const mac: Action = { type: "set_field", field: "eth_src", value: Uint8Array.of(2, 0, 0, 0, 0, 7) };
  const queue: Action = { type: "set_queue", queueId: 4 };
  const groups = [
    ["select", 1, [bucket(1, output(2)), bucket(2, ttl, mac, output(3)), bucket(1, output(1), output(2))]],
    ["all", 2, [bucket(0, mac, queue, output(2)), bucket(0, ttl, ttl, output(3))]],
    ["indirect", 3, [bucket(0, ttl, { type: "group", groupId: 1 }, output(3))]],
  ] as const;
  for (const [groupType, groupId, buckets] of groups)
    rig.bridge.change({ type: "group_mod", xid: 1, command: "add", groupType, groupId, buckets }, rig.nowMs);
  const bands = [
    { type: "drop", rate: 5, burstSize: 0 },
    { type: "dscp_remark", rate: 3, burstSize: 0, precedenceLevel: 1 },
  ] as const;
  bands.forEach((band, i) => {
    rig.bridge.change(
      { type: "meter_mod", xid: 1, command: "add", flags: 2, meterId: i + 1, bands: [band] },
      rig.nowMs,
    );
  });
}

/** What every flow has counted. */
export function counts(rig: Rig): unknown {
  const filter = { tableId: OFPTT_ALL, outPort: OFPP_ANY, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
  return rig.bridge.tables
    .flowStats({ ...filter, match: [] }, rig.nowMs)
    .map(({ tableId, priority, match, packetCount, byteCount }) => [
      tableId,
      priority,
      match,
      packetCount,
      byteCount,
    ]);
}
