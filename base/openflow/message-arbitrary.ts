// Arbitrary canonical OpenFlow messages for property tests (fast-check); not exported from the folder's door.

import fc from "fast-check";
import type { Action, Bucket, Instruction, Match, MeterBand, OxmEntry } from "./actions.js";
import { OFPP_CONTROLLER, OFPP_MAX } from "./constants.js";
import { onesMask } from "./match-wire.js";
import type { OpenFlowMessage, PortDescription } from "./messages.js";
import type { FlowStats, MultipartReplyBody, MultipartRequestBody } from "./multipart.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, type OxmField, type OxmFieldName } from "./oxm-fields.js";

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const blob = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
/** Experimenter bodies fill whole 8-byte words together with the 8 bytes before them. */
const words = fc.uint8Array({ maxLength: 24 }).map((data) => data.slice(0, data.length - (data.length % 8)));
const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom("a", "b", "-", "0", " "), maxLength });
const port = fc.oneof(fc.integer({ min: 1, max: OFPP_MAX }), fc.constant(OFPP_CONTROLLER));
const outPort = fc.oneof(port, fc.integer({ min: 0xfffffff8, max: 0xfffffffe }));

// --- Matches

function clip(field: OxmField, value: Uint8Array): Uint8Array {
  const ones = onesMask(field);
  const out = value.map((byte, i) => byte & (ones[i] as number));
  if (field.name === "vlan_vid" && (out[0] as number) + (out[1] as number) > 0)
    out[0] = (out[0] as number) | 0x10;
  return out;
}

const fieldValue = (field: OxmField): fc.Arbitrary<Uint8Array> =>
  bytes(field.size).map((raw) => clip(field, raw));

function entryOf(field: OxmField): fc.Arbitrary<OxmEntry> {
  const exact = fieldValue(field).map((value) => ({ field: field.name, value }));
  if (!field.maskable) return exact;
  const ones = onesMask(field);
  const masked = fc
    .tuple(bytes(field.size), bytes(field.size))
    .map(([value, raw]) => {
      const mask = raw.map((byte, i) => byte & (ones[i] as number));
      return { field: field.name, value: value.map((byte, i) => byte & (mask[i] as number)), mask };
    })
    .filter(({ mask }) => mask.some((byte) => byte !== 0) && mask.some((byte, i) => byte !== ones[i]));
  return fc.oneof(exact, masked);
}

const FREE_FIELDS = Object.values(OXM_FIELDS).filter((field) => field.prerequisite === "none");
const fixed = (field: OxmFieldName, ...value: number[]): OxmEntry => ({
  field,
  value: Uint8Array.from(value),
});
const TCP_PREFIX = [fixed("eth_type", 8, 0), fixed("ip_proto", 6)];
const ND_PREFIX = [fixed("eth_type", 0x86, 0xdd), fixed("ip_proto", 58), fixed("icmpv6_type", 135)];
const ARP_PREFIX = [fixed("eth_type", 8, 6)];

const someOf = (fields: readonly OxmField[]): fc.Arbitrary<OxmEntry[]> =>
  fc
    .subarray([...fields], { maxLength: Math.min(6, fields.length) })
    .chain((chosen) => fc.tuple(...chosen.map(entryOf)));
const withPrerequisite = (...names: string[]): readonly OxmField[] =>
  Object.values(OXM_FIELDS).filter((field) => names.includes(field.prerequisite));

export const matchArbitrary: fc.Arbitrary<Match> = fc.oneof(
  someOf(FREE_FIELDS),
  someOf(withPrerequisite("ipv4", "tcp")).map((entries) => [...TCP_PREFIX, ...entries]),
  someOf(withPrerequisite("ipv6", "nd", "nd_solicit")).map((entries) => [...ND_PREFIX, ...entries]),
  someOf(withPrerequisite("arp")).map((entries) => [...ARP_PREFIX, ...entries]),
);

// --- Actions

const WRITABLE = Object.values(OXM_FIELDS).filter((field) => field.writable);
const SHORT_WRITABLE = WRITABLE.filter((field) => field.oxmClass !== OFPXMC_EXPERIMENTER);
const of = <T extends string>(...types: T[]): fc.Arbitrary<T> => fc.constantFrom(...types);

const range = (fields: readonly OxmField[], maxBits = 64) =>
  fc
    .constantFrom(...fields)
    .chain((field) =>
      fc
        .integer({ min: 1, max: Math.min(field.bits, maxBits) })
        .chain((bits) =>
          fc
            .integer({ min: 0, max: Math.min(field.bits - bits, 63) })
            .map((offset) => ({ field: field.name, offset, bits })),
        ),
    );

const load = (fields: readonly OxmField[]): fc.Arbitrary<Action> =>
  fc.tuple(range(fields), u64).map(([destination, value]) => ({
    type: "load",
    destination,
    value: BigInt.asUintN(destination.bits, value),
  }));

const move: fc.Arbitrary<Action> = range(SHORT_WRITABLE).chain((destination) =>
  fc
    .constantFrom(...Object.values(OXM_FIELDS).filter((field) => field.bits >= destination.bits))
    .map((field) => ({
      type: "move",
      destination,
      source: { field: field.name, offset: 0, bits: destination.bits },
    })),
);

const setField: fc.Arbitrary<Action> = fc
  .constantFrom(...WRITABLE)
  .chain((field) => fieldValue(field).map((value) => ({ type: "set_field", field: field.name, value })));

const maskedSet: fc.Arbitrary<Action> = fc
  .constantFrom(OXM_FIELDS.reg0, OXM_FIELDS.ct_mark, OXM_FIELDS.eth_dst)
  .chain(entryOf)
  .map((entry) => ({ type: "set_field", ...entry }));

const nat: fc.Arbitrary<Action> = fc
  .tuple(of("source", "destination"), fc.boolean(), of("auto", "hash", "random"), fc.constantFrom(4, 16), u16)
  .chain(([direction, persistent, selection, size, portMin]) =>
    bytes(size).map((addressMin) => ({
      type: "nat" as const,
      direction,
      persistent,
      selection,
      addressMin,
      addressMax: new Uint8Array(size).fill(0xff),
      portMin,
      portMax: 0xffff,
    })),
  );

const ct: fc.Arbitrary<Action> = fc
  .record({
    force: fc.boolean(),
    zone: fc.oneof(u16, fc.constant({ field: "reg3" as const, offset: 16, bits: 16 })),
    alg: fc.constantFrom(0, 21),
    tableId: fc.option(fc.integer({ min: 0, max: 0xfe }), { nil: undefined }),
    actions: fc.array(fc.oneof(nat, load([OXM_FIELDS.ct_mark])), { maxLength: 3 }),
  })
  .map(({ tableId, ...rest }) => ({
    type: "ct",
    commit: true,
    ...rest,
    ...(tableId === undefined ? {} : { tableId }),
  }));

const plainAction: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ type: of("output"), port: outPort, maxLength: u16 }),
  fc.record({ type: of("group"), groupId: fc.integer({ min: 0, max: 0xffffff00 }) }),
  fc.record({ type: of("set_queue"), queueId: u32 }),
  fc.record({ type: of("push_vlan"), etherType: fc.constantFrom(0x8100, 0x88a8) }),
  fc.record({ type: of("push_mpls"), etherType: fc.constantFrom(0x8847, 0x8848) }),
  fc.record({ type: of("push_pbb"), etherType: fc.constant(0x88e7) }),
  fc.record({ type: of("pop_mpls"), etherType: u16 }),
  fc.record({ type: of("pop_vlan", "pop_pbb", "copy_ttl_out", "copy_ttl_in", "dec_mpls_ttl", "dec_nw_ttl") }),
  fc.record({ type: of("set_mpls_ttl", "set_nw_ttl"), ttl: u8 }),
  fc.record({ type: of("experimenter"), experimenter: fc.constant(0x00aabbcc), data: words }),
);

const resubmitPort = fc.oneof(fc.integer({ min: 1, max: 0xfeff }), fc.constant(0xfffffff8));

export const actionArbitrary: fc.Arbitrary<Action> = fc.oneof(
  plainAction,
  setField,
  maskedSet,
  load(SHORT_WRITABLE),
  move,
  ct,
  fc.record({ type: of("resubmit"), port: resubmitPort, tableId: u8, withCt: fc.boolean() }),
  fc.record({ type: of("ct_clear") }),
  fc.record({ type: of("controller"), maxLength: u16, controllerId: u16, reason: of("no_match", "action") }),
);

const actions = fc.array(actionArbitrary, { maxLength: 5 });

export const instructionsArbitrary: fc.Arbitrary<Instruction[]> = fc.uniqueArray(
  fc.oneof<fc.Arbitrary<Instruction>[]>(
    fc.record({ type: of("goto_table"), tableId: fc.integer({ min: 0, max: 0xfe }) }),
    fc.record({ type: of("write_metadata"), metadata: u64, mask: u64 }),
    fc.record({ type: of("write_actions", "apply_actions"), actions }),
    fc.record({ type: of("clear_actions") }),
    fc.record({ type: of("meter"), meterId: fc.integer({ min: 1, max: 0xffff0000 }) }),
    fc.record({ type: of("experimenter"), experimenter: u32, data: words }),
  ),
  { selector: (instruction) => instruction.type, maxLength: 4 },
);

const buckets: fc.Arbitrary<Bucket[]> = fc.array(
  fc.record({ weight: u16, watchPort: u32, watchGroup: u32, actions }),
  { maxLength: 3 },
);
const groupType = of("all", "select", "indirect", "ff");
const groupId = fc.integer({ min: 0, max: 0xffffff00 });

const bands: fc.Arbitrary<MeterBand[]> = fc.array(
  fc.oneof<fc.Arbitrary<MeterBand>[]>(
    fc.record({ type: of("drop"), rate: u32, burstSize: u32 }),
    fc.record({ type: of("dscp_remark"), rate: u32, burstSize: u32, precedenceLevel: u8 }),
    fc.record({ type: of("experimenter"), rate: u32, burstSize: u32, experimenter: u32, data: words }),
  ),
  { maxLength: 3 },
);

const portDescription: fc.Arbitrary<PortDescription> = fc.record({
  port: u32,
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
    outPort: u32,
    outGroup: u32,
    cookie: u64,
    cookieMask: u64,
    match: matchArbitrary,
  }),
  fc.record({ kind: kind("port_stats"), port: u32 }),
  fc.record({ kind: kind("queue"), port: u32, queueId: u32 }),
  fc.record({ kind: kind("group"), groupId: u32 }),
  fc.record({ kind: kind("meter", "meter_config"), meterId: u32 }),
  fc.record({ kind: kind("table_features"), tables: fc.array(features, { maxLength: 2 }) }),
  fc.record({ kind: kind("experimenter"), experimenter: u32, expType: u32, data: blob(40) }),
);

const portStats = fc.record({
  port: u32,
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
      fc.record({ port: u32, queueId: u32, txBytes: u64, txPackets: u64, txErrors: u64, ...duration }),
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
    outPort: u32,
    outGroup: u32,
    flags: fc.integer({ min: 0, max: 31 }),
    match: matchArbitrary,
    instructions: instructionsArbitrary,
  }),
  fc.record({
    type: of("group_mod"),
    xid,
    command: of("add", "modify", "delete"),
    groupType,
    groupId,
    buckets,
  }),
  fc.record({
    type: of("port_mod"),
    xid,
    port: u32,
    macAddress: bytes(6),
    config: u32,
    mask: u32,
    advertise: u32,
  }),
  fc.record({
    type: of("meter_mod"),
    xid,
    command: of("add", "modify", "delete"),
    flags: fc.integer({ min: 0, max: 15 }),
    meterId: u32,
    bands,
  }),
  fc.record({ type: of("packet_out"), xid, bufferId: u32, inPort: port, actions, data: blob(100) }),
  fc.record({ type: of("multipart_request"), xid, flags: u16, body: requestBody }),
  fc.record({ type: of("multipart_reply"), xid, flags: u16, body: replyBodyArbitrary }),
  fc.record({ type: of("queue_get_config_request"), xid, port: u32 }),
  fc.record({
    type: of("queue_get_config_reply"),
    xid,
    port: u32,
    queues: few(fc.record({ queueId: u32, port: u32, properties: few(queueProperty) })),
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
