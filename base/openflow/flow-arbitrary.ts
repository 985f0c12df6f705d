// Arbitrary canonical matches, actions, instructions, buckets and bands for property tests (fast-check); not exported
// from the folder's door.

import fc from "fast-check";
import type { Action, Bucket, Instruction, LearnSpec, Match, MeterBand, OxmEntry } from "./actions.js";
import { OFPP_CONTROLLER, OFPP_MAX } from "./constants.js";
import type { FlowMonitorFlags } from "./flow-monitor.js";
import { onesMask } from "./match-wire.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, type OxmField, type OxmFieldName } from "./oxm-fields.js";

export const u8 = fc.integer({ min: 0, max: 0xff });
export const u16 = fc.integer({ min: 0, max: 0xffff });
// All ones often means something else.
export const u32 = fc.oneof(
  { weight: 19, arbitrary: fc.integer({ min: 0, max: 0xffffffff }) },
  { weight: 1, arbitrary: fc.constant(0xffffffff) },
);
export const u64 = fc.oneof(
  { weight: 19, arbitrary: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }) },
  { weight: 1, arbitrary: fc.constant(0xffffffffffffffffn) },
);
export const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
/** Experimenter bodies fill whole 8-byte words together with the 8 bytes before them. */
export const words = fc
  .uint8Array({ maxLength: 24 })
  .map((data) => data.slice(0, data.length - (data.length % 8)));
export const port = fc.oneof(fc.integer({ min: 1, max: 0xfeff }), fc.constant(OFPP_CONTROLLER));
/** What can stand where a port may be named that need not be there. */
export const anyPort = fc.oneof(
  fc.integer({ min: 0, max: 0xfeff }),
  fc.integer({ min: OFPP_MAX, max: 0xffffffff }),
);
const outPort = fc.oneof(port, fc.integer({ min: 0xfffffff8, max: 0xfffffffe }));

// --- Matches

function clip(field: OxmField, value: Uint8Array): Uint8Array {
  const ones = onesMask(field);
  const out = value.map((byte, i) => byte & (ones[i] as number));
  if (field.name === "nsh_ttl") out[0] = (out[0] as number) & 63;
  if (field.name === "vlan_vid" && (out[0] as number) + (out[1] as number) > 0)
    out[0] = (out[0] as number) | 0x10;
  return out;
}

const fieldValue = (field: OxmField): fc.Arbitrary<Uint8Array> =>
  field.isVariable
    ? fc.uint8Array({ minLength: 1, maxLength: VARIABLE_SIZE_MAX })
    : bytes(field.size).map((raw) => clip(field, raw));

/** Options of tunnels are many and long: enough to see that they are carried. */
const VARIABLE_SIZE_MAX = 8;
const isUsual = ({ name, isVariable }: OxmField): boolean => !isVariable || /^tun_metadata[0-2]$/.test(name);

function variableEntry(field: OxmFieldName): fc.Arbitrary<OxmEntry> {
  return fc
    .array(fc.tuple(fc.nat(255), fc.nat(255)), { minLength: 1, maxLength: VARIABLE_SIZE_MAX })
    .filter((pairs) => pairs.some(([, mask]) => mask !== 0) && pairs.some(([, mask]) => mask !== 255))
    .map((pairs) => ({
      field,
      value: Uint8Array.from(pairs, ([value, mask]) => value & mask),
      mask: Uint8Array.from(pairs, ([, mask]) => mask),
    }));
}

function entryOf(field: OxmField): fc.Arbitrary<OxmEntry> {
  if (field.isVariable)
    return fc.oneof(
      fieldValue(field).map((value) => ({ field: field.name, value })),
      variableEntry(field.name),
    );
  const exact = fieldValue(field).map((value) => ({ field: field.name, value }));
  // A single bit has no mask between none and all.
  if (!field.maskable || field.bits === 1) return exact;
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

const FIELDS = Object.values(OXM_FIELDS).filter(isUsual);
const FREE_FIELDS = FIELDS.filter((field) => field.prerequisite === "none");
const fixed = (field: OxmFieldName, ...value: number[]): OxmEntry => ({
  field,
  value: Uint8Array.from(value),
});
const TCP_PREFIX = [fixed("eth_type", 8, 0), fixed("ip_proto", 6)];
const ND_PREFIX = [fixed("eth_type", 0x86, 0xdd), fixed("ip_proto", 58), fixed("icmpv6_type", 135)];
const CT_PREFIX = [fixed("eth_type", 8, 0), fixed("ct_state", 0, 0, 0, 0x22)];
const CT6_PREFIX = [fixed("eth_type", 0x86, 0xdd), fixed("ct_state", 0, 0, 0, 0x21)];
const NSH_PREFIX = [fixed("eth_type", 0x89, 0x4f)];
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
  someOf(withPrerequisite("nsh")).map((entries) => [...NSH_PREFIX, ...entries]),
  someOf(withPrerequisite("ct", "ct_ipv4")).map((entries) => [...CT_PREFIX, ...entries]),
  someOf(withPrerequisite("ct", "ct_ipv6")).map((entries) => [...CT6_PREFIX, ...entries]),
);

// --- Actions

const WRITABLE = FIELDS.filter((field) => field.writable);
const SHORT_WRITABLE = WRITABLE.filter((field) => field.oxmClass !== OFPXMC_EXPERIMENTER);
/** Loads of options are written as masked fields. */
const LOADABLE = SHORT_WRITABLE.filter((field) => !field.isVariable);
export const of = <T extends string>(...types: T[]): fc.Arbitrary<T> => fc.constantFrom(...types);

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

const hashedFields = of(
  "eth_src",
  "symmetric_l4",
  "symmetric_l3l4",
  "symmetric_l3l4+udp",
  "nw_src",
  "nw_dst",
);
const oneBit = range(SHORT_WRITABLE, 1);
const portRange = range(SHORT_WRITABLE).filter(({ bits }) => bits >= 16);
const port16 = fc.integer({ min: 1, max: 0xfeff });

const learnSpec: fc.Arbitrary<LearnSpec> = fc.oneof(
  fc.tuple(of("match", "load"), range(SHORT_WRITABLE), u64).map(([kind, destination, value]) => ({
    kind,
    destination,
    source: BigInt.asUintN(destination.bits, value),
  })),
  fc.tuple(of("match", "load"), range(SHORT_WRITABLE)).map(([kind, destination]) => ({
    kind,
    destination,
    source: { field: "xxreg3" as const, offset: 1, bits: destination.bits },
  })),
  range(SHORT_WRITABLE).map((source) => ({ kind: "output" as const, source })),
);

const learn: fc.Arbitrary<Action> = fc
  .record({
    type: of("learn"),
    idleTimeoutSeconds: u16,
    hardTimeoutSeconds: u16,
    priority: u16,
    cookie: u64,
    tableId: fc.integer({ min: 0, max: 0xfe }),
    finIdleTimeoutSeconds: u16,
    finHardTimeoutSeconds: u16,
    sendFlowRemoved: fc.boolean(),
    deleteLearned: fc.boolean(),
    limit: fc.oneof(fc.constant(0), u32),
    specs: fc.array(learnSpec, { maxLength: 4 }),
    result: fc.option(oneBit, { nil: undefined }),
  })
  .map(({ result, ...rest }) => (result === undefined ? rest : { ...rest, result }));

const controller: fc.Arbitrary<Action> = fc
  .record({
    userdata: fc.option(fc.uint8Array({ minLength: 1, maxLength: 20 }), { nil: undefined }),
    pause: fc.option(fc.constant(true as const), { nil: undefined }),
    meterId: fc.option(fc.integer({ min: 1, max: 0xffffffff }), { nil: undefined }),
    maxLength: u16,
    controllerId: u16,
    reason: of("no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"),
  })
  .map(({ userdata, pause, meterId, ...rest }) => ({
    type: "controller",
    ...rest,
    ...(userdata === undefined ? {} : { userdata }),
    ...(pause === undefined ? {} : { pause }),
    ...(meterId === undefined ? {} : { meterId }),
  }));

const bundle: fc.Arbitrary<Action> = fc
  .record({
    type: of("bundle"),
    fields: hashedFields,
    basis: u16,
    algorithm: of("active_backup", "hrw"),
    members: fc.array(port16, { maxLength: 5 }),
    destination: fc.option(portRange, { nil: undefined }),
  })
  .map(({ destination, ...rest }) => (destination === undefined ? rest : { ...rest, destination }));

const leaf: fc.Arbitrary<Action> = fc.oneof(
  plainAction,
  setField,
  maskedSet,
  load(LOADABLE),
  move,
  ct,
  learn,
  controller,
  bundle,
  fc.record({ type: of("resubmit"), port: resubmitPort, tableId: u8, withCt: fc.boolean() }),
  fc.record({ type: of("ct_clear", "exit", "pop_queue") }),
  range(Object.values(OXM_FIELDS)).chain((source) =>
    u16.map((maxLength) => ({ type: "output_reg" as const, source, maxLength })),
  ),
  fc.record({ type: of("output_trunc"), port: port16, maxLength: fc.integer({ min: 14, max: 0xffffffff }) }),
  fc.record({ type: of("note"), data: fc.constantFrom(6, 14, 22).chain(bytes) }),
  range(Object.values(OXM_FIELDS)).map((one) => ({ type: "push" as const, range: one })),
  range(SHORT_WRITABLE).map((one) => ({ type: "pop" as const, range: one })),
  fc.record({ type: of("dec_ttl_ids"), controllerIds: fc.array(u16, { maxLength: 5 }) }),
  fc.record({
    type: of("multipath"),
    fields: hashedFields,
    basis: u16,
    algorithm: of("modulo_n", "hash_threshold", "hrw", "iter_hash"),
    linkMax: u16,
    argument: u32,
    destination: portRange,
  }),
  fc.record({ type: of("fin_timeout"), idleTimeoutSeconds: u16, hardTimeoutSeconds: u16 }),
  fc.tuple(u32, fc.integer({ min: 2, max: 64 }), u8).map(([id, clauseCount, n]) => ({
    type: "conjunction" as const,
    id,
    clauseCount,
    clause: n % clauseCount,
  })),
  fc.record({ type: of("check_pkt_larger"), sizeBytes: u16, destination: oneBit }),
);

export const actionArbitrary: fc.Arbitrary<Action> = fc.oneof(
  { weight: 9, arbitrary: leaf },
  { weight: 1, arbitrary: fc.record({ type: of("clone"), actions: fc.array(leaf, { maxLength: 3 }) }) },
);

export const actions = fc.array(actionArbitrary, { maxLength: 5 });

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

export const buckets: fc.Arbitrary<Bucket[]> = fc.array(
  fc.record({ weight: u16, watchPort: anyPort, watchGroup: u32, actions }),
  { maxLength: 3 },
);
export const groupType = of("all", "select", "indirect", "ff");
export const groupId = fc.integer({ min: 0, max: 0xffffff00 });

export const bands: fc.Arbitrary<MeterBand[]> = fc.array(
  fc.oneof<fc.Arbitrary<MeterBand>[]>(
    fc.record({ type: of("drop"), rate: u32, burstSize: u32 }),
    fc.record({ type: of("dscp_remark"), rate: u32, burstSize: u32, precedenceLevel: u8 }),
    fc.record({ type: of("experimenter"), rate: u32, burstSize: u32, experimenter: u32, data: words }),
  ),
  { maxLength: 3 },
);

// --- Flow monitors

export const monitorFlags: fc.Arbitrary<FlowMonitorFlags> = fc.record({
  initial: fc.boolean(),
  add: fc.boolean(),
  delete: fc.boolean(),
  modify: fc.boolean(),
  actions: fc.boolean(),
  own: fc.boolean(),
});
