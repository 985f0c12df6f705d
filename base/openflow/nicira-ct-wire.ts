// The Nicira actions of connection tracking as bytes: ct with its nested actions, and nat inside it.
// Source: ovs-actions(7) for meaning; layouts as Open vSwitch prints and accepts them. A reader starts behind the
// subtype.

import type { Action, BitRange, CtAction, NatAction } from "./actions.js";
import { packRange, rangeOf, readShortHeader, writeFieldHeader } from "./bit-range-wire.js";
import { Reader, type Writer } from "./wire.js";

export const NXAST_CT = 35;
export const NXAST_NAT = 36;

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
const NX_NAT_RANGE_ALL = 63;

export type ReadNested = (reader: Reader) => readonly Action[];
export type WriteNested = (writer: Writer, actions: readonly Action[]) => void;

export function readCt(body: Reader, readNested: ReadNested): Action {
  const flags = body.u16("ct.flags");
  const zoneSource = body.u32("ct.zone_src");
  const zoneValue = body.u16("ct.zone");
  const table = body.u8("ct.recirc_table");
  body.skip(3);
  const alg = body.u16("ct.alg");
  const commit = (flags & NX_CT_F_COMMIT) !== 0;
  const force = (flags & NX_CT_F_FORCE) !== 0;
  // Other flags have no meaning yet, as in Open vSwitch.
  if (force && !commit) throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.flags", `0x${flags.toString(16)}`);
  const zone = zoneSource === 0 ? zoneValue : readZoneRange(body, zoneSource, zoneValue);
  const actions = readNested(body.within(body.left, "ct.actions"));
  for (const action of actions) checkInsideCt(body, action, commit);
  const action: CtAction = { type: "ct", commit, force, zone, alg, actions };
  return table === NX_CT_RECIRC_NONE ? action : { ...action, tableId: table };
}

function readZoneRange(body: Reader, header: number, packed: number): BitRange {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, header);
  const field = readShortHeader(new Reader(bytes, 0, 4, "OFPBAC_BAD_SET_LEN"), "ct.zone_src");
  const range = rangeOf(body, field, packed >> 6, (packed & 0x3f) + 1, "ct.zone_src");
  if (range.bits !== 16)
    throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.zone_src", `${range.bits} bits instead of 16`);
  return range;
}

/** Only nat, and changes of ct_mark and ct_label, may stand inside ct; what changes the connection only where it commits. */
function checkInsideCt(body: Reader, action: Action, commit: boolean): void {
  if (action.type === "nat" && (commit || action.direction === "existing")) return;
  const target =
    action.type === "load" || action.type === "move"
      ? action.destination.field
      : action.type === "set_field"
        ? action.field
        : undefined;
  if (action.type !== "nat" && target !== "ct_mark" && target !== "ct_label") {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.actions", `${action.type} may not stand inside ct`);
  }
  if (!commit) throw body.fail("OFPBAC_BAD_ARGUMENT", "ct.actions", `${action.type} needs commit`);
}

export function writeCt(writer: Writer, action: CtAction, writeNested: WriteNested): void {
  writer.u16(NXAST_CT).u16((action.commit ? NX_CT_F_COMMIT : 0) | (action.force ? NX_CT_F_FORCE : 0));
  if (typeof action.zone === "number") {
    writer.u32(0).u16(action.zone);
  } else {
    writeFieldHeader(writer, action.zone.field);
    writer.u16(packRange(action.zone));
  }
  writer
    .u8(action.tableId ?? NX_CT_RECIRC_NONE)
    .zero(3)
    .u16(action.alg);
  writeNested(writer, action.actions);
}

// --- NAT

export function readNat(body: Reader): Action {
  body.skip(2);
  const flags = body.u16("nat.flags");
  // Other bits have no meaning, as in Open vSwitch.
  const present = body.u16("nat.range_present") & NX_NAT_RANGE_ALL;
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
  if (portMin === 0 || (portMin !== undefined && portMax !== undefined && portMin > portMax)) {
    throw body.fail("OFPBAC_BAD_ARGUMENT", "nat.range", "its last port comes before its first, or that is 0");
  }
}

export function writeNat(writer: Writer, action: NatAction): void {
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
