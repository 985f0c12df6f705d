// The Nicira actions as bytes: load, move, resubmit, ct, nat, ct_clear, controller.
// Source: ovs-actions(7) for meaning; the layouts are those that Open vSwitch prints and accepts (checked against
// ovs-ofctl in nicira-wire.test.ts). A reader here starts behind the experimenter id.

import type { Action, BitRange, CtAction, NatAction, NiciraAction, SetFieldAction } from "./actions.js";
import { OFPP_IN_PORT, OFPP_MAX, OFPTT_ALL } from "./constants.js";
import { onesMask, readMaskedField, readOxmHeader, writeOxm, writeOxmHeader } from "./match-wire.js";
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, type OxmField } from "./oxm-fields.js";
import { nameOf, Reader, type Writer } from "./wire.js";

const NXAST_RESUBMIT = 1;
const NXAST_SET_TUNNEL = 2;
const NXAST_REG_MOVE = 6;
const NXAST_REG_LOAD = 7;
const NXAST_SET_TUNNEL64 = 9;
const NXAST_RESUBMIT_TABLE = 14;
const NXAST_CONTROLLER = 20;
const NXAST_REG_LOAD2 = 33;
const NXAST_CT = 35;
const NXAST_NAT = 36;
const NXAST_CT_CLEAR = 43;
const NXAST_RESUBMIT_TABLE_CT = 44;

const NX_CT_F_COMMIT = 1;
const NX_CT_F_FORCE = 2;
const NX_CT_RECIRC_NONE = 0xff;

const NX_NAT_F_SRC = 1;
const NX_NAT_F_DST = 2;
const NX_NAT_F_PERSISTENT = 4;
const NX_NAT_F_HASH = 8;
const NX_NAT_F_RANDOM = 16;
const NX_NAT_RANGE_IPV4_MIN = 1;
const NX_NAT_RANGE_IPV4_MAX = 2;
const NX_NAT_RANGE_IPV6_MIN = 4;
const NX_NAT_RANGE_IPV6_MAX = 8;
const NX_NAT_RANGE_PORT_MIN = 16;
const NX_NAT_RANGE_PORT_MAX = 32;

/** Reasons of packet-ins, shared with packet_in messages. */
export const OFPR = { no_match: 0, action: 1, invalid_ttl: 2 } as const;

type ReadNested = (reader: Reader) => readonly Action[];
type WriteNested = (writer: Writer, actions: readonly Action[]) => void;

/** Reads one Nicira action to the body's end; `readNested` reads the actions inside ct. */
export function readNiciraAction(body: Reader, readNested: ReadNested): Action {
  const at = body.offset;
  const subtype = body.u16("action.subtype");
  switch (subtype) {
    case NXAST_RESUBMIT:
    case NXAST_RESUBMIT_TABLE:
    case NXAST_RESUBMIT_TABLE_CT:
      return readResubmit(body, subtype);
    case NXAST_SET_TUNNEL:
      body.skip(2);
      return setTunnel(BigInt(body.u32("set_tunnel.tun_id")));
    case NXAST_SET_TUNNEL64:
      body.skip(6);
      return setTunnel(body.u64("set_tunnel.tun_id"));
    case NXAST_REG_MOVE:
      return readMove(body);
    case NXAST_REG_LOAD:
      return readLoad(body);
    case NXAST_REG_LOAD2:
      return readLoad2(body);
    case NXAST_CONTROLLER:
      return readController(body);
    case NXAST_CT:
      return readCt(body, readNested);
    case NXAST_NAT:
      return readNat(body);
    case NXAST_CT_CLEAR:
      body.skip(body.left);
      return { type: "ct_clear" };
    default:
      throw body.fail("OFPBAC_BAD_EXP_TYPE", "action.subtype", `unknown Nicira action ${subtype}`, at);
  }
}

/** Whether the action is a Nicira extension on the wire. */
export function isNiciraAction(action: Action): action is NiciraAction | SetFieldAction {
  switch (action.type) {
    case "load":
    case "move":
    case "resubmit":
    case "ct":
    case "nat":
    case "ct_clear":
    case "controller":
      return true;
    case "set_field":
      return action.mask !== undefined;
    default:
      return false;
  }
}

/** Writes the action from its subtype on; the caller has written the header before and pads after. */
export function writeNiciraAction(
  writer: Writer,
  action: NiciraAction | SetFieldAction,
  writeNested: WriteNested,
): void {
  switch (action.type) {
    case "load":
      writer.u16(NXAST_REG_LOAD).u16(packRange(action.destination));
      writeOxmHeader(writer, OXM_FIELDS[action.destination.field], false);
      writer.u64(action.value);
      return;
    case "move":
      writer.u16(NXAST_REG_MOVE).u16(action.source.bits);
      writer.u16(action.source.offset).u16(action.destination.offset);
      writeOxmHeader(writer, OXM_FIELDS[action.source.field], false);
      writeOxmHeader(writer, OXM_FIELDS[action.destination.field], false);
      return;
    case "set_field":
      writer.u16(NXAST_REG_LOAD2).zero(6);
      writeOxm(writer, action);
      return;
    case "resubmit":
      writer.u16(action.withCt ? NXAST_RESUBMIT_TABLE_CT : NXAST_RESUBMIT_TABLE);
      writer
        .u16(action.port & 0xffff)
        .u8(action.tableId)
        .zero(3);
      return;
    case "controller":
      writer.u16(NXAST_CONTROLLER).u16(action.maxLength).u16(action.controllerId);
      writer.u8(OFPR[action.reason]).zero(1);
      return;
    case "ct":
      writeCt(writer, action, writeNested);
      return;
    case "nat":
      writeNat(writer, action);
      return;
    case "ct_clear":
      writer.u16(NXAST_CT_CLEAR);
  }
}

function setTunnel(id: bigint): SetFieldAction {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, id);
  return { type: "set_field", field: "tunnel_id", value };
}

// --- Ranges of bits

function packRange(range: BitRange): number {
  return (range.offset << 6) | (range.bits - 1);
}

function rangeOf(body: Reader, field: OxmField, offset: number, bits: number, name: string): BitRange {
  if (bits < 1 || offset + bits > field.bits) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", name, `bits ${offset}..${offset + bits - 1} exceed ${field.name}`);
  }
  return { field: field.name, offset, bits };
}

/** The field of an OXM header inside an action: without mask. */
function readFieldHeader(body: Reader, name: string): OxmField {
  const { field, hasMask } = readOxmHeader(body);
  if (hasMask) throw body.fail("OFPBAC_BAD_SET_TYPE", name, "the header of a field says that it is masked");
  return field;
}

function requireWritable(body: Reader, field: OxmField, name: string): void {
  if (!field.writable) throw body.fail("OFPBAC_BAD_SET_TYPE", name, `${field.name} may not be set`);
}

// --- Loads and moves

function readLoad(body: Reader): Action {
  const packed = body.u16("load.ofs_nbits");
  const field = readFieldHeader(body, "load.dst");
  if (field.oxmClass === OFPXMC_EXPERIMENTER) {
    throw body.fail("OFPBAC_BAD_SET_TYPE", "load.dst", `${field.name} has no 4-byte header`);
  }
  requireWritable(body, field, "load.dst");
  const value = body.u64("load.value");
  const destination = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "load.ofs_nbits");
  if (value >> BigInt(destination.bits) !== 0n) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "load.value", `does not fit ${destination.bits} bits`);
  }
  return { type: "load", destination, value };
}

function readLoad2(body: Reader): Action {
  body.skip(6);
  const { field, value, mask } = readMaskedField(body);
  body.skip(body.left);
  const action = { type: "set_field", field: field.name, value } as const;
  const ones = onesMask(field);
  return mask.every((byte, i) => byte === ones[i]) ? action : { ...action, mask };
}

function readMove(body: Reader): Action {
  const bits = body.u16("move.n_bits");
  const sourceOffset = body.u16("move.src_ofs");
  const destinationOffset = body.u16("move.dst_ofs");
  const from = readFieldHeader(body, "move.src");
  const to = readFieldHeader(body, "move.dst");
  requireWritable(body, to, "move.dst");
  body.skip(body.left);
  return {
    type: "move",
    source: rangeOf(body, from, sourceOffset, bits, "move.src_ofs"),
    destination: rangeOf(body, to, destinationOffset, bits, "move.dst_ofs"),
  };
}

// --- Resubmit and controller

/** OpenFlow 1.0 port numbers have 16 bits; its reserved ones map to the top of our 32. */
function widenPort(port: number): number {
  return port >= 0xff00 ? (0xffff0000 | port) >>> 0 : port;
}

function readResubmit(body: Reader, subtype: number): Action {
  const port = widenPort(body.u16("resubmit.in_port"));
  if (port > OFPP_MAX && port < OFPP_IN_PORT) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "resubmit.in_port", `0x${port.toString(16)} is no port`);
  }
  if (subtype === NXAST_RESUBMIT) {
    body.skip(4);
    return { type: "resubmit", port, tableId: OFPTT_ALL, withCt: false };
  }
  const tableId = body.u8("resubmit.table");
  body.skip(3);
  return { type: "resubmit", port, tableId, withCt: subtype === NXAST_RESUBMIT_TABLE_CT };
}

function readController(body: Reader): Action {
  const maxLength = body.u16("controller.max_len");
  const controllerId = body.u16("controller.controller_id");
  const reason = nameOf(OFPR, body.u8("controller.reason"));
  body.skip(1);
  if (reason === undefined) throw body.fail("OFPBAC_BAD_ARGUMENT", "controller.reason", "unknown reason");
  return { type: "controller", maxLength, controllerId, reason };
}

// --- Connection tracking

function readCt(body: Reader, readNested: ReadNested): Action {
  const flags = body.u16("ct.flags");
  const zoneSource = body.u32("ct.zone_src");
  const zoneValue = body.u16("ct.zone");
  const table = body.u8("ct.recirc_table");
  body.skip(3);
  const alg = body.u16("ct.alg");
  const commit = (flags & NX_CT_F_COMMIT) !== 0;
  const force = (flags & NX_CT_F_FORCE) !== 0;
  if (flags > 3 || (force && !commit))
    throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.flags", `0x${flags.toString(16)}`);
  const zone = zoneSource === 0 ? zoneValue : readZoneRange(body, zoneSource, zoneValue);
  const actions = readNested(body.within(body.left, "ct.actions"));
  for (const action of actions) checkInsideCt(body, action, commit);
  const action: CtAction = { type: "ct", commit, force, zone, alg, actions };
  return table === NX_CT_RECIRC_NONE ? action : { ...action, tableId: table };
}

function readZoneRange(body: Reader, header: number, packed: number): BitRange {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, header);
  const field = readFieldHeader(new Reader(bytes, 0, 4, "OFPBAC_BAD_SET_LEN"), "ct.zone_src");
  const range = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "ct.zone_src");
  if (range.bits !== 16)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.zone_src", `${range.bits} bits instead of 16`);
  return range;
}

/** Only nat, and changes of ct_mark and ct_label, may stand inside ct, and the latter only where it commits. */
function checkInsideCt(body: Reader, action: Action, commit: boolean): void {
  if (action.type === "nat") return;
  const target =
    action.type === "load" || action.type === "move"
      ? action.destination.field
      : action.type === "set_field"
        ? action.field
        : undefined;
  if (target === undefined || (target !== "ct_mark" && target !== "ct_label")) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.actions", `${action.type} may not stand inside ct`);
  }
  if (!commit) throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.actions", `${action.type} needs commit`);
}

function writeCt(writer: Writer, action: CtAction, writeNested: WriteNested): void {
  writer.u16(NXAST_CT).u16((action.commit ? NX_CT_F_COMMIT : 0) | (action.force ? NX_CT_F_FORCE : 0));
  if (typeof action.zone === "number") {
    writer.u32(0).u16(action.zone);
  } else {
    writeOxmHeader(writer, OXM_FIELDS[action.zone.field], false);
    writer.u16(packRange(action.zone));
  }
  writer
    .u8(action.tableId ?? NX_CT_RECIRC_NONE)
    .zero(3)
    .u16(action.alg);
  writeNested(writer, action.actions);
}

// --- NAT

function readNat(body: Reader): Action {
  body.skip(2);
  const flags = body.u16("nat.flags");
  const present = body.u16("nat.range_present");
  if (flags > 31 || (flags & 3) === 3 || (flags & 24) === 24) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "nat.flags", `0x${flags.toString(16)}`);
  }
  const isExisting = (flags & (NX_NAT_F_SRC | NX_NAT_F_DST)) === 0;
  const bad = badRange(present);
  if (bad !== undefined || (isExisting && (flags !== 0 || present !== 0))) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "nat.range_present", bad ?? "a range without src or dst");
  }
  const action: NatAction = {
    type: "nat",
    direction: isExisting ? "existing" : (flags & NX_NAT_F_SRC) !== 0 ? "source" : "destination",
    persistent: (flags & NX_NAT_F_PERSISTENT) !== 0,
    selection: (flags & NX_NAT_F_HASH) !== 0 ? "hash" : (flags & NX_NAT_F_RANDOM) !== 0 ? "random" : "auto",
    ...readNatRange(body, present),
  };
  checkNatRange(body, action);
  body.skip(body.left);
  return action;
}

function badRange(present: number): string | undefined {
  const has = (bit: number): boolean => (present & bit) !== 0;
  if (present > 63) return `unknown bits in 0x${present.toString(16)}`;
  if (has(NX_NAT_RANGE_IPV4_MIN) && has(NX_NAT_RANGE_IPV6_MIN)) return "both IPv4 and IPv6";
  if (has(NX_NAT_RANGE_IPV4_MAX) && !has(NX_NAT_RANGE_IPV4_MIN)) return "an end without a beginning";
  if (has(NX_NAT_RANGE_IPV6_MAX) && !has(NX_NAT_RANGE_IPV6_MIN)) return "an end without a beginning";
  if (has(NX_NAT_RANGE_PORT_MAX) && !has(NX_NAT_RANGE_PORT_MIN)) return "an end without a beginning";
  return undefined;
}

function readNatRange(body: Reader, present: number): Partial<NatAction> {
  const range: { -readonly [K in keyof NatAction]?: NatAction[K] } = {};
  if (present & NX_NAT_RANGE_IPV4_MIN) range.addressMin = body.copy(4, "nat.ipv4_min");
  if (present & NX_NAT_RANGE_IPV4_MAX) range.addressMax = body.copy(4, "nat.ipv4_max");
  if (present & NX_NAT_RANGE_IPV6_MIN) range.addressMin = body.copy(16, "nat.ipv6_min");
  if (present & NX_NAT_RANGE_IPV6_MAX) range.addressMax = body.copy(16, "nat.ipv6_max");
  if (present & NX_NAT_RANGE_PORT_MIN) range.portMin = body.u16("nat.proto_min");
  if (present & NX_NAT_RANGE_PORT_MAX) range.portMax = body.u16("nat.proto_max");
  return range;
}

function checkNatRange(body: Reader, action: NatAction): void {
  const { addressMin, addressMax, portMin, portMax } = action;
  if (addressMin && addressMax && Buffer.compare(addressMin, addressMax) > 0) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "nat.range", "its last address comes before its first");
  }
  if (portMin !== undefined && portMax !== undefined && portMin > portMax) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "nat.range", "its last port comes before its first");
  }
}

function writeNat(writer: Writer, action: NatAction): void {
  const { addressMin, addressMax, portMin, portMax } = action;
  let flags = action.persistent ? NX_NAT_F_PERSISTENT : 0;
  if (action.direction !== "existing") flags |= action.direction === "source" ? NX_NAT_F_SRC : NX_NAT_F_DST;
  if (action.selection !== "auto") flags |= action.selection === "hash" ? NX_NAT_F_HASH : NX_NAT_F_RANDOM;
  const isIpv6 = addressMin?.byteLength === 16;
  let present = 0;
  if (addressMin) present |= isIpv6 ? NX_NAT_RANGE_IPV6_MIN : NX_NAT_RANGE_IPV4_MIN;
  if (addressMax) present |= isIpv6 ? NX_NAT_RANGE_IPV6_MAX : NX_NAT_RANGE_IPV4_MAX;
  if (portMin !== undefined) present |= NX_NAT_RANGE_PORT_MIN;
  if (portMax !== undefined) present |= NX_NAT_RANGE_PORT_MAX;
  writer.u16(NXAST_NAT).zero(2).u16(flags).u16(present);
  if (addressMin) writer.put(addressMin);
  if (addressMax) writer.put(addressMax);
  if (portMin !== undefined) writer.u16(portMin);
  if (portMax !== undefined) writer.u16(portMax);
}
