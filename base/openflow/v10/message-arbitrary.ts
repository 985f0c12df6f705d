// Arbitrary canonical OpenFlow 1.0 messages for property tests (fast-check); not exported from the folder's door.

import fc from "fast-check";
import type { Action, Instruction, Match } from "../actions.js";
import { OFPFF_RESET_COUNTS, OFPG_ANY, OFPP_ANY } from "../constants.js";
import type { Continuation } from "../continuation.js";
import {
  actions as actions13,
  bytes,
  matchArbitrary,
  monitorFlags,
  of,
  u8,
  u16,
  u32,
  u64,
} from "../flow-arbitrary.js";
import type { FlowModCommand, OpenFlowMessage, PortDescription } from "../messages.js";
import type { FlowStats, MultipartReplyBody, MultipartRequestBody } from "../multipart.js";
import { Reader } from "../wire.js";
import { readMatch10 } from "./match-wire.js";
import { bigEndian, widenPort } from "./numbers.js";

const blob = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom("a", "b", "-", "0"), maxLength });
const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { maxLength: 3 });
const port = fc.oneof(
  fc.integer({ min: 1, max: 0xfeff }),
  fc.constantFrom(0xfffffffb, 0xfffffffd, 0xfffffffe),
);

/** What struct ofp_match can say: whatever it says in arbitrary bytes that often look like IP or ARP. */
const match10: fc.Arbitrary<Match> = fc
  .record({
    raw: bytes(40),
    dlType: fc.constantFrom(0x0800, 0x0806, 0x86dd, 0x9000),
    proto: fc.constantFrom(1, 6, 17, 132, 50),
  })
  .map(({ raw, dlType, proto }) => {
    const struct = raw.slice();
    struct.set(bigEndian(dlType, 2), 22);
    struct[25] = proto;
    return readMatch10(new Reader(struct, 0, 40, "OFPBRC_BAD_LEN"));
  });

const NOT_IN_NXM: ReadonlySet<string> = new Set([
  "vlan_vid",
  "vlan_pcp",
  "in_phy_port",
  // Read as in_port and ip_dscp.
  "nxm_in_port",
  "ip_tos",
]);

/** What NXM can say: vlan_tci instead of its parts, ports of 16 bits. */
const matchNxm: fc.Arbitrary<Match> = matchArbitrary.map((match) =>
  match
    .filter(({ field }) => !NOT_IN_NXM.has(field))
    .map((entry) => {
      const clipped = bigEndian(widenPort(((entry.value[2] ?? 0) << 8) | (entry.value[3] ?? 0)), 4);
      return entry.field === "in_port" ? { ...entry, value: clipped } : entry;
    }),
);

const action: fc.Arbitrary<readonly Action[]> = fc.oneof(
  fc.record({ type: of("output"), port, maxLength: u16 }).map((one) => [one]),
  fc.integer({ min: 0, max: 0xfff }).map((vid): Action[] => [
    {
      type: "load",
      destination: { field: "vlan_tci", offset: 0, bits: 13 },
      value: BigInt(0x1000 | vid),
    },
  ]),
  fc
    .integer({ min: 0, max: 7 })
    .map((pcp): Action[] => [
      { type: "load", destination: { field: "vlan_tci", offset: 12, bits: 4 }, value: BigInt(pcp * 2 + 1) },
    ]),
  fc.constantFrom<Action[][]>(
    [{ type: "pop_vlan" }],
    [{ type: "dec_nw_ttl" }],
    [{ type: "dec_mpls_ttl" }],
    [{ type: "push_mpls", etherType: 0x8847 }],
    [{ type: "pop_mpls", etherType: 0x0800 }],
    [{ type: "set_mpls_ttl", ttl: 7 }],
    [{ type: "group", groupId: 9 }],
    [{ type: "resubmit", port: 5, tableId: 6, withCt: false }],
    [{ type: "load", destination: { field: "reg0", offset: 3, bits: 5 }, value: 17n }],
  ),
  fc.record({ type: of("set_field"), field: of("eth_src", "eth_dst"), value: bytes(6) }).map((one) => [one]),
  fc
    .record({ type: of("set_field"), field: of("ipv4_src", "ipv4_dst"), value: bytes(4) })
    .map((one) => [one]),
  fc.record({ type: of("set_field"), field: of("tcp_src", "tcp_dst"), value: bytes(2) }).map((one) => [one]),
  fc
    .integer({ min: 0, max: 63 })
    .map((dscp): Action[] => [{ type: "set_field", field: "ip_dscp", value: Uint8Array.of(dscp) }]),
  fc.record({ port, queueId: u32 }).map(({ port: to, queueId }): Action[] => [
    { type: "set_queue", queueId },
    { type: "output", port: to, maxLength: 0 },
    { type: "set_queue", queueId: 0 },
  ]),
);
/** As deep as actions of a flow go: what a connection is given, in ct, in clone. */
const nested: fc.Arbitrary<Action[]> = fc
  .record({ zone: u16, mark: u32, rest: action })
  .map(({ zone, mark, rest }): Action[] => [
    {
      type: "clone",
      actions: [
        {
          type: "ct",
          commit: true,
          force: false,
          zone,
          alg: 0,
          actions: [
            { type: "load", destination: { field: "ct_mark", offset: 0, bits: 32 }, value: BigInt(mark) },
          ],
        },
        ...rest,
      ],
    },
  ]);
const actions = fc
  .array(fc.oneof({ weight: 9, arbitrary: action }, { weight: 1, arbitrary: nested }), { maxLength: 4 })
  .map((list) => list.flat());
const instructions: fc.Arbitrary<FlowStats["instructions"]> = actions.map((list) =>
  list.length === 0 ? [] : [{ type: "apply_actions", actions: list }],
);

const speed = fc.integer({ min: 0, max: 0x7f });
const description: fc.Arbitrary<PortDescription> = fc.record({
  port,
  macAddress: bytes(6),
  name: text(15),
  config: u32,
  state: fc.constantFrom(0, 1),
  current: speed.map((bits) => bits | (1 << 11)),
  advertised: speed.map((bits) => bits | (1 << 15)),
  supported: speed,
  peer: speed,
  currentSpeedKbps: fc.constant(0),
  maxSpeedKbps: fc.constant(0),
});

const flowMod: fc.Arbitrary<OpenFlowMessage> = fc
  .record({
    xid: u32,
    command: of<FlowModCommand>("add", "modify", "modify_strict", "delete", "delete_strict"),
    tableId: fc.integer({ min: 0, max: 254 }),
    cookie: u64,
    idleTimeoutSeconds: u16,
    hardTimeoutSeconds: u16,
    priority: u16,
    bufferId: u32,
    outPort: port,
    flags: fc.integer({ min: 0, max: 3 }),
    // A cookie to compare with stands in the NXM match.
    matching: fc.oneof(
      fc.record({ match: match10, cookieMask: fc.constant(0n) }),
      fc.record({ match: matchNxm, cookieMask: u64 }),
    ),
    instructions,
  })
  .map(({ matching, ...mod }) => {
    const isAdd = mod.command === "add";
    return {
      ...mod,
      type: "flow_mod",
      match: matching.match,
      cookieMask: isAdd ? 0n : matching.cookieMask,
      outGroup: OFPG_ANY,
      flags: isAdd ? mod.flags | OFPFF_RESET_COUNTS : mod.flags,
      openflow10: true,
    };
  });

const times = {
  tableId: u8,
  durationSeconds: u32,
  durationNanoseconds: u32,
  priority: u16,
  idleTimeoutSeconds: u16,
  hardTimeoutSeconds: u16,
  flags: fc.constant(0),
  cookie: u64,
  packetCount: u64,
  byteCount: u64,
  instructions,
};
const none = fc.constant(0n);
const filter = { tableId: u8, outPort: port, outGroup: fc.constant(OFPG_ANY) };
const kind = <T extends string>(...kinds: T[]): fc.Arbitrary<T> => fc.constantFrom(...kinds);

const update = {
  tableId: u8,
  priority: u16,
  idleTimeoutSeconds: u16,
  hardTimeoutSeconds: u16,
  cookie: u64,
};

const requestBody: fc.Arbitrary<MultipartRequestBody> = fc.oneof<fc.Arbitrary<MultipartRequestBody>[]>(
  fc.record({ kind: kind("desc", "table", "port_desc") }),
  fc.record({ kind: kind("flow", "aggregate"), ...filter, cookie: none, cookieMask: none, match: match10 }),
  fc
    .record({ kind: kind("flow", "aggregate"), ...filter, cookie: u64, cookieMask: u64, match: matchNxm })
    .map((body) => ({
      ...body,
      cookie: body.cookieMask === 0n ? 0n : body.cookie,
      encoding: "nxm" as const,
    })),
  fc.record({
    kind: kind("flow_monitor"),
    monitors: few(
      fc.record({
        monitorId: u32,
        flags: monitorFlags,
        outPort: port,
        tableId: u8,
        match: matchNxm,
      }),
    ),
  }),
  fc.record({ kind: kind("port_stats"), port }),
  fc.record({ kind: kind("queue"), port: fc.oneof(port, fc.constant(OFPP_ANY)), queueId: u32 }),
);
const counts = { packetCount: u64, byteCount: u64, flowCount: u32 };
const replyBody: fc.Arbitrary<MultipartReplyBody> = fc.oneof<fc.Arbitrary<MultipartReplyBody>[]>(
  fc.record({ kind: kind("flow"), flows: few(fc.record({ ...times, match: match10 })) }),
  fc.record({
    kind: kind("flow"),
    flows: few(fc.record({ ...times, match: matchNxm })),
    encoding: of("nxm"),
  }),
  fc.record({
    kind: kind("flow_monitor"),
    updates: few(
      fc.oneof(
        fc.record({ event: of("added", "modified"), ...update, match: matchNxm, instructions }),
        fc.record({
          event: of("deleted"),
          reason: of("idle_timeout", "delete"),
          ...update,
          match: matchNxm,
          instructions,
        }),
        fc.record({ event: of("abbreviated"), xid: u32 }),
      ),
    ),
  }),
  fc.record({ kind: kind("aggregate"), ...counts }),
  fc.record({ kind: kind("aggregate"), ...counts, encoding: of("nxm") }),
  fc.record({
    kind: kind("table"),
    tables: few(
      fc.record({
        tableId: u8,
        activeCount: u32,
        lookupCount: u64,
        matchedCount: u64,
        openflow10: fc.oneof(
          fc.record({ name: text(31), maxEntries: u32 }),
          fc.record({ name: text(31), maxEntries: u32, wildcards: u32.filter((bits) => bits !== 0x3fffff) }),
        ),
      }),
    ),
  }),
  fc.record({ kind: kind("port_desc"), ports: few(description) }),
);

const xid = u32;
const packetIn = {
  type: of("packet_in"),
  xid,
  bufferId: u32,
  totalLength: u16,
  reason: of("no_match", "action", "invalid_ttl"),
  tableId: u8,
  cookie: u64,
  match: matchNxm,
};

const continuation: fc.Arbitrary<Continuation> = fc.record({
  bridge: bytes(16),
  stack: few(fc.uint8Array({ minLength: 1, maxLength: 16 })),
  frames: few(
    fc.record({
      tableId: u8,
      cookie: u64,
      actions: actions13,
      instructions: fc.constantFrom<Instruction[][]>(
        [],
        [{ type: "goto_table", tableId: 3 }],
        [{ type: "clear_actions" }, { type: "write_metadata", metadata: 1n, mask: 3n }],
      ),
    }),
  ),
  actionSet: actions13,
});

/** Nicira's messages that both versions write alike. */
export const niciraArbitrary: fc.Arbitrary<OpenFlowMessage> = fc.oneof<fc.Arbitrary<OpenFlowMessage>[]>(
  fc.record({
    type: of("nicira_role_request", "nicira_role_reply"),
    xid,
    role: of("equal", "master", "slave"),
  }),
  fc.record({ type: of("set_flow_format"), xid, format: of("openflow10", "nxm") }),
  fc.record({ type: of("flow_mod_table_id"), xid, isEnabled: fc.boolean() }),
  fc.record({ type: of("set_packet_in_format"), xid, format: of("standard", "nxm", "nxm2") }),
  fc.record({ type: of("set_controller_id"), xid, controllerId: u16 }),
  fc.record({ type: of("flow_age"), xid }),
  fc.record({
    type: of("resume"),
    xid,
    data: fc.uint8Array({ minLength: 1, maxLength: 60 }),
    tableId: packetIn.tableId,
    cookie: packetIn.cookie,
    reason: packetIn.reason,
    match: packetIn.match,
    continuation,
  }),
  fc.record({ type: of("flow_monitor_cancel"), xid, monitorId: u32 }),
  fc.record({ type: of("flow_monitor_paused", "flow_monitor_resumed"), xid }),
  fc.record({
    type: of("set_async_properties"),
    xid,
    changes: few(
      fc.record({
        message: of("packetIn", "portStatus", "flowRemoved"),
        asSlave: fc.boolean(),
        mask: u32,
      }),
    ),
  }),
  fc.record({ ...packetIn, data: blob(60), encoding: of("nxm") }),
  fc
    .record({ ...packetIn, data: fc.uint8Array({ minLength: 1, maxLength: 60 }), encoding: of("nxm2") })
    .map((message) => ({ ...message, totalLength: Math.max(1, message.totalLength) })),
  fc
    .record({ ...packetIn, data: fc.constant(Uint8Array.of(1)), encoding: of("nxm2"), userdata: blob(9) })
    .map((message) => ({ ...message, totalLength: 1 })),
  fc.record({
    type: of("flow_removed"),
    xid,
    cookie: u64,
    priority: u16,
    reason: of("idle_timeout", "hard_timeout", "delete"),
    tableId: fc.integer({ min: 0, max: 254 }),
    durationSeconds: u32,
    durationNanoseconds: u32,
    idleTimeoutSeconds: u16,
    hardTimeoutSeconds: u16,
    packetCount: u64,
    byteCount: u64,
    match: matchNxm,
    encoding: of("nxm"),
  }),
);

export const message10Arbitrary: fc.Arbitrary<OpenFlowMessage> = fc.oneof<fc.Arbitrary<OpenFlowMessage>[]>(
  flowMod,
  flowMod,
  niciraArbitrary,
  fc.record({ type: of("error"), xid, errorType: fc.integer({ min: 0, max: 5 }), code: u16, data: blob(80) }),
  fc.record({ type: of("echo_request", "echo_reply"), xid, data: blob(80) }),
  fc.record({
    type: of("features_request", "get_config_request", "barrier_request", "barrier_reply"),
    xid,
  }),
  fc.record({
    type: of("features_reply"),
    xid,
    datapathId: u64,
    bufferCount: u32,
    tableCount: u8,
    auxiliaryId: fc.constant(0),
    capabilities: u32,
    openflow10: fc.record({ actions: u32, ports: few(description) }),
  }),
  fc.record({ type: of("get_config_reply", "set_config"), xid, flags: u16, missSendLength: u16 }),
  fc
    .record({
      xid,
      bufferId: u32,
      totalLength: u16,
      reason: of("no_match", "action"),
      inPort: port,
      data: blob(80),
    })
    .map(({ inPort, ...rest }) => ({
      ...rest,
      type: "packet_in",
      tableId: 0,
      cookie: 0xffffffffffffffffn,
      match: [{ field: "in_port", value: bigEndian(inPort, 4) }],
    })),
  fc
    .record({
      type: of("packet_out"),
      xid,
      bufferId: u32,
      inPort: fc.constantFrom(1, 0xfffffffe, OFPP_ANY),
      actions,
    })
    .map((message) => ({ ...message, data: new Uint8Array(message.bufferId === 0xffffffff ? 60 : 0) })),
  fc.record({ type: of("port_status"), xid, reason: of("add", "delete", "modify"), description }),
  fc.record({
    type: of("port_mod"),
    xid,
    port,
    macAddress: bytes(6),
    config: u32,
    mask: u32,
    advertise: speed,
  }),
  fc.record({ type: of("multipart_request"), xid, flags: u16, body: requestBody }),
  fc.record({ type: of("multipart_reply"), xid, flags: u16, body: replyBody }),
  fc.record({ type: of("queue_get_config_request"), xid, port }),
  fc
    .record({
      xid,
      port,
      queues: few(
        fc.record({ queueId: u32, properties: few(fc.record({ type: of("min_rate"), rate: u16 })) }),
      ),
    })
    .map((reply) => ({
      ...reply,
      type: "queue_get_config_reply",
      queues: reply.queues.map((queue) => ({ ...queue, port: reply.port })),
    })),
);
