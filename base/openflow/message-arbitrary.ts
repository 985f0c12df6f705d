// Arbitrary canonical OpenFlow messages for property tests (fast-check); not exported from the folder's door.

import fc from "fast-check";
import {
  actions,
  anyPort,
  bands,
  buckets,
  bytes,
  groupId,
  groupType,
  instructionsArbitrary,
  matchArbitrary,
  monitorFlags,
  of,
  port,
  u8,
  u16,
  u32,
  u64,
  words,
} from "./flow-arbitrary.js";
import type { OpenFlowMessage, PortDescription } from "./messages.js";
import type { FlowStats, MultipartReplyBody, MultipartRequestBody } from "./multipart.js";
import type { OxmFieldName } from "./oxm-fields.js";

const blob = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom("a", "b", "-", "0", " "), maxLength });

const portDescription: fc.Arbitrary<PortDescription> = fc.record({
  port: anyPort,
  macAddress: bytes(6),
  name: text(15),
  config: u32,
  state: u32,
  current: u32,
  advertised: u32,
  supported: u32,
  peer: u32,
  currentSpeedKbps: u32,
  maxSpeedKbps: u32,
});

// --- Multipart

const duration = { durationSeconds: u32, durationNanoseconds: u32 };
const counts = { packetCount: u64, byteCount: u64 };
const kind = <T extends string>(...kinds: T[]): fc.Arbitrary<T> => fc.constantFrom(...kinds);

export const flowStatsArbitrary: fc.Arbitrary<FlowStats> = fc.record({
  tableId: u8,
  priority: u16,
  idleTimeoutSeconds: u16,
  hardTimeoutSeconds: u16,
  flags: u16,
  cookie: u64,
  ...duration,
  ...counts,
  match: matchArbitrary,
  instructions: instructionsArbitrary,
});

const features = fc.record({
  tableId: u8,
  name: text(31),
  metadataMatch: u64,
  metadataWrite: u64,
  config: u32,
  maxEntries: u32,
  properties: fc.array(
    fc.oneof(
      fc.record({
        type: of("instructions"),
        miss: fc.boolean(),
        instructions: fc.array(fc.record({ type: fc.integer({ min: 0, max: 100 }) })),
      }),
      fc.record({ type: of("next_tables"), miss: fc.boolean(), tables: fc.array(u8) }),
      fc.record({
        type: of("write_actions", "apply_actions"),
        miss: fc.boolean(),
        actions: fc.array(fc.record({ type: fc.integer({ min: 0, max: 100 }) })),
      }),
      fc.record({
        type: of("match", "wildcards"),
        miss: fc.constant(false as const),
        fields: fc.array(
          fc.record({ field: of<OxmFieldName>("eth_dst", "reg0", "tcp_flags"), maskable: fc.boolean() }),
        ),
      }),
    ),
    { maxLength: 4 },
  ),
});

const requestBody: fc.Arbitrary<MultipartRequestBody> = fc.oneof<fc.Arbitrary<MultipartRequestBody>[]>(
  fc.record({ kind: kind("desc", "table", "group_desc", "group_features", "meter_features", "port_desc") }),
  fc.record({
    kind: kind("flow", "aggregate"),
    tableId: u8,
    outPort: anyPort,
    outGroup: u32,
    cookie: u64,
    cookieMask: u64,
    match: matchArbitrary,
  }),
  fc.record({ kind: kind("port_stats"), port: anyPort }),
  fc.record({ kind: kind("queue"), port: anyPort, queueId: u32 }),
  fc.record({ kind: kind("group"), groupId: u32 }),
  fc.record({ kind: kind("meter", "meter_config"), meterId: u32 }),
  fc.record({ kind: kind("table_features"), tables: fc.array(features, { maxLength: 2 }) }),
  fc.record({
    kind: kind("flow_monitor"),
    monitors: fc.array(
      fc.record({
        monitorId: u32,
        flags: monitorFlags,
        outPort: anyPort,
        tableId: u8,
        match: matchArbitrary,
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({ kind: kind("experimenter"), experimenter: u32, expType: u32, data: blob(40) }),
);

const update = {
  tableId: u8,
  priority: u16,
  idleTimeoutSeconds: u16,
  hardTimeoutSeconds: u16,
  cookie: u64,
  match: matchArbitrary,
  instructions: instructionsArbitrary,
};

const portStats = fc.record({
  port: anyPort,
  rxPackets: u64,
  txPackets: u64,
  rxBytes: u64,
  txBytes: u64,
  rxDropped: u64,
  txDropped: u64,
  rxErrors: u64,
  txErrors: u64,
  rxFrameErrors: u64,
  rxOverErrors: u64,
  rxCrcErrors: u64,
  collisions: u64,
  ...duration,
});
const four = fc.tuple(u32, u32, u32, u32);
const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { maxLength: 3 });

export const replyBodyArbitrary: fc.Arbitrary<MultipartReplyBody> = fc.oneof<
  fc.Arbitrary<MultipartReplyBody>[]
>(
  fc.record({
    kind: kind("desc"),
    manufacturer: text(255),
    hardware: text(9),
    software: text(9),
    serialNumber: text(31),
    datapath: text(9),
  }),
  fc.record({ kind: kind("flow"), flows: few(flowStatsArbitrary) }),
  fc.record({ kind: kind("aggregate"), ...counts, flowCount: u32 }),
  fc.record({
    kind: kind("table"),
    tables: few(fc.record({ tableId: u8, activeCount: u32, lookupCount: u64, matchedCount: u64 })),
  }),
  fc.record({ kind: kind("port_stats"), ports: few(portStats) }),
  fc.record({
    kind: kind("queue"),
    queues: few(
      fc.record({ port: anyPort, queueId: u32, txBytes: u64, txPackets: u64, txErrors: u64, ...duration }),
    ),
  }),
  fc.record({
    kind: kind("group"),
    groups: few(
      fc.record({
        groupId: u32,
        referenceCount: u32,
        ...counts,
        ...duration,
        buckets: few(fc.record(counts)),
      }),
    ),
  }),
  fc.record({ kind: kind("group_desc"), groups: few(fc.record({ groupType, groupId: u32, buckets })) }),
  fc.record({ kind: kind("group_features"), types: u32, capabilities: u32, maxGroups: four, actions: four }),
  fc.record({
    kind: kind("meter"),
    meters: few(
      fc.record({
        meterId: u32,
        flowCount: u32,
        packetInCount: u64,
        byteInCount: u64,
        ...duration,
        bands: few(fc.record(counts)),
      }),
    ),
  }),
  fc.record({ kind: kind("meter_config"), meters: few(fc.record({ flags: u16, meterId: u32, bands })) }),
  fc.record({
    kind: kind("meter_features"),
    maxMeters: u32,
    bandTypes: u32,
    capabilities: u32,
    maxBands: u8,
    maxColor: u8,
  }),
  fc.record({ kind: kind("table_features"), tables: few(features) }),
  fc.record({ kind: kind("port_desc"), ports: few(portDescription) }),
  fc.record({
    kind: kind("flow_monitor"),
    updates: few(
      fc.oneof(
        fc.record({ event: of("added", "modified"), ...update }),
        fc.record({ event: of("deleted"), reason: of("idle_timeout", "group_delete"), ...update }),
        fc.record({ event: of("abbreviated"), xid: u32 }),
      ),
    ),
  }),
  fc.record({ kind: kind("experimenter"), experimenter: u32, expType: u32, data: blob(40) }),
);

// --- Messages

const xid = u32;
const reason = of("no_match", "action", "invalid_ttl");
const pair = fc.tuple(u32, u32);
const queueProperty = fc.oneof(
  fc.record({ type: of("min_rate", "max_rate"), rate: u16 }),
  fc.record({ type: of("experimenter"), experimenter: u32, data: words }),
);

export const messageArbitrary: fc.Arbitrary<OpenFlowMessage> = fc.oneof<fc.Arbitrary<OpenFlowMessage>[]>(
  fc.record({ type: of("hello"), xid, version: u8 }),
  fc.record({
    type: of("hello"),
    xid,
    version: u8,
    versions: fc.uniqueArray(u8, { minLength: 1 }).map((list) => list.sort((a, b) => a - b)),
  }),
  fc.record({
    type: of("error"),
    xid,
    errorType: fc.integer({ min: 0, max: 13 }),
    code: u16,
    data: blob(80),
  }),
  fc.record({ type: of("experimenter_error"), xid, expType: u16, experimenter: u32, data: blob(80) }),
  fc.record({ type: of("echo_request", "echo_reply"), xid, data: blob(80) }),
  fc.record({ type: of("experimenter"), xid, experimenter: u32, expType: u32, data: blob(80) }),
  fc.record({
    type: of("bundle_control"),
    xid,
    bundleId: u32,
    control: of("open_request", "open_reply", "close_request", "commit_reply", "discard_request"),
    flags: u16,
  }),
  fc.record({
    type: of("bundle_add"),
    xid,
    bundleId: u32,
    flags: u16,
    message: blob(40).map((body) => Uint8Array.of(4, 2, 0, 8 + body.length, 0, 0, 0, 0, ...body)),
  }),
  fc.record({
    type: of(
      "features_request",
      "get_config_request",
      "barrier_request",
      "barrier_reply",
      "get_async_request",
    ),
    xid,
  }),
  fc.record({
    type: of("features_reply"),
    xid,
    datapathId: u64,
    bufferCount: u32,
    tableCount: u8,
    auxiliaryId: u8,
    capabilities: u32,
  }),
  fc.record({ type: of("get_config_reply", "set_config"), xid, flags: u16, missSendLength: u16 }),
  fc.record({ type: of("table_mod"), xid, tableId: u8, config: u32 }),
  fc.record({
    type: of("flow_mod"),
    xid,
    command: of("add", "modify", "modify_strict", "delete", "delete_strict"),
    tableId: u8,
    cookie: u64,
    cookieMask: u64,
    idleTimeoutSeconds: u16,
    hardTimeoutSeconds: u16,
    priority: u16,
    bufferId: u32,
    outPort: anyPort,
    outGroup: u32,
    flags: fc.integer({ min: 0, max: 31 }),
    match: matchArbitrary,
    instructions: instructionsArbitrary,
  }),
  fc.record({
    type: of("group_mod"),
    xid,
    command: of("add", "modify", "delete", "add_or_mod"),
    groupType,
    groupId,
    buckets,
  }),
  fc.record({
    type: of("port_mod"),
    xid,
    port: anyPort,
    macAddress: bytes(6),
    config: u32,
    mask: u32,
    advertise: u32,
  }),
  fc.record({
    type: of("meter_mod"),
    xid,
    command: of("add", "modify"),
    // Not in kb/s and in packets/s.
    flags: fc.integer({ min: 0, max: 15 }).filter((flags) => (flags & 3) !== 3),
    meterId: u32,
    bands,
  }),
  fc.record({
    type: of("meter_mod"),
    xid,
    command: of("delete"),
    flags: fc.constant(0),
    meterId: u32,
    bands: fc.constant([]),
  }),
  fc.record({ type: of("packet_out"), xid, bufferId: u32, inPort: port, actions, data: blob(100) }),
  fc.record({ type: of("multipart_request"), xid, flags: u16, body: requestBody }),
  fc.record({ type: of("multipart_reply"), xid, flags: u16, body: replyBodyArbitrary }),
  fc.record({ type: of("queue_get_config_request"), xid, port: anyPort }),
  fc.record({
    type: of("queue_get_config_reply"),
    xid,
    port: anyPort,
    queues: few(fc.record({ queueId: u32, port: anyPort, properties: few(queueProperty) })),
  }),
  fc.record({
    type: of("role_request", "role_reply"),
    xid,
    role: of("nochange", "equal", "master", "slave"),
    generationId: u64,
  }),
  fc.record({
    type: of("get_async_reply", "set_async"),
    xid,
    packetIn: pair,
    portStatus: pair,
    flowRemoved: pair,
  }),
  fc.record({
    type: of("packet_in"),
    xid,
    bufferId: u32,
    totalLength: u16,
    reason,
    tableId: u8,
    cookie: u64,
    match: matchArbitrary,
    data: blob(100),
  }),
  fc.record({
    type: of("flow_removed"),
    xid,
    cookie: u64,
    priority: u16,
    reason: of("idle_timeout", "hard_timeout", "delete", "group_delete"),
    tableId: u8,
    idleTimeoutSeconds: u16,
    hardTimeoutSeconds: u16,
    ...duration,
    ...counts,
    match: matchArbitrary,
  }),
  fc.record({
    type: of("port_status"),
    xid,
    reason: of("add", "delete", "modify"),
    description: portDescription,
  }),
);
