// Matches and single OXM fields as bytes, with the checks that the specification demands of a match.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.3; Nicira headers per ovs-fields(7).
// Invariant: a parsed match has no field twice, prerequisites met in order, no value bit outside its mask, and no
// mask of all ones or all zeros (the first is dropped, the second drops the field).

import type { Match, OxmEntry } from "./actions.js";
import {
  CT_STATE_DNAT,
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_SNAT,
  CT_STATE_TRK,
  OFP11_VERSION,
  OFP13_VERSION,
  OFP15_VERSION,
  OFPVID_PRESENT,
} from "./constants.js";
import type { OfpErrorName } from "./error-codes.js";
import {
  fieldByHeader,
  OFPXMC_EXPERIMENTER,
  OFPXMC_OPENFLOW_BASIC,
  OXM_FIELDS,
  type OxmField,
  type OxmFieldName,
  type OxmPrerequisite,
} from "./oxm-fields.js";
import { readMatch11, writeMatch11 } from "./v11/match-wire.js";
import type { Reader, Writer } from "./wire.js";

const OFPMT_OXM = 1;
const HAS_MASK = 0x100;
/** Before 1.3 these have only Nicira's header. */
const SINCE_13: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>(["tunnel_id"]);
const OFPHTN_ETHERTYPE = 1;
/** The field has 6 of its 8 bits (RFC 8300, 2.2). */
const NSH_TTL_MAX = 63;
const CT_STATE_KNOWN =
  CT_STATE_NEW | CT_STATE_EST | CT_STATE_REL | CT_STATE_RPL | CT_STATE_SNAT | CT_STATE_DNAT;

/** Which error each kind of fault in an OXM means; differs between a match and a set-field. */
export interface OxmErrors {
  readonly unknown: OfpErrorName;
  readonly size: OfpErrorName;
  readonly value: OfpErrorName;
  readonly mask: OfpErrorName;
}

const MATCH_ERRORS: OxmErrors = {
  unknown: "OFPBMC_BAD_FIELD",
  size: "OFPBMC_BAD_LEN",
  value: "OFPBMC_BAD_VALUE",
  mask: "OFPBMC_BAD_MASK",
};

const SET_ERRORS: OxmErrors = {
  unknown: "OFPBAC_BAD_SET_TYPE",
  size: "OFPBAC_BAD_SET_LEN",
  value: "OFPBAC_BAD_SET_ARGUMENT",
  mask: "OFPBAC_BAD_SET_TYPE",
};

// --- Headers

export interface OxmHeader {
  readonly field: OxmField;
  readonly hasMask: boolean;
  /** Bytes of the value, and as many of the mask. */
  readonly size: number;
}

/**
 * Reads a 4-byte (or, for an experimenter class, 8-byte) header. The size is checked against the field's, and whether it
 * may have a mask, unless it `mayBeMasked` until that is looked at later.
 */
export function readOxmHeader(
  reader: Reader,
  errors: OxmErrors = SET_ERRORS,
  mayBeMasked = false,
): OxmHeader {
  const at = reader.offset;
  const header = reader.u32("oxm.header");
  const oxmClass = header >>> 16;
  const number = (header >>> 9) & 0x7f;
  const hasMask = (header & HAS_MASK) !== 0;
  let payloadSize = header & 0xff;
  let experimenter = 0;
  if (oxmClass === OFPXMC_EXPERIMENTER) {
    experimenter = reader.u32("oxm.experimenter");
    if (payloadSize < 4) throw reader.fail(errors.size, "oxm.length", "shorter than its experimenter id", at);
    payloadSize -= 4;
  }
  const field = fieldByHeader(oxmClass, number, experimenter);
  if (field === undefined) {
    throw reader.fail(errors.unknown, "oxm.header", `unknown field 0x${header.toString(16)}`, at);
  }
  if (hasMask && !field.maskable && !mayBeMasked)
    throw reader.fail(errors.mask, field.name, "may not be masked", at);
  const size = hasMask ? payloadSize / 2 : payloadSize;
  const isAllowed = field.isVariable ? Number.isInteger(size) && size <= field.size : size === field.size;
  if (!isAllowed) throw reader.fail(errors.size, field.name, `${size} bytes instead of ${field.size}`, at);
  return { field, hasMask, size };
}

/** `size` is that of the value. */
export function writeOxmHeader(writer: Writer, field: OxmField, hasMask: boolean, size = field.size): void {
  const [oxmClass, number] = headerIn(writer.version, field);
  const isExperimenter = oxmClass === OFPXMC_EXPERIMENTER;
  writer.u16(oxmClass).u8((number << 1) | (hasMask ? 1 : 0));
  writer.u8(size * (hasMask ? 2 : 1) + (isExperimenter ? 4 : 0));
  if (isExperimenter) writer.u32(field.experimenter);
}

function headerIn(version: number, field: OxmField): readonly [oxmClass: number, number: number] {
  const [alias] = field.aliases;
  if (version < OFP13_VERSION && SINCE_13.has(field.name) && alias !== undefined) return alias;
  if (version >= OFP15_VERSION && field.number15 !== undefined)
    return [OFPXMC_OPENFLOW_BASIC, field.number15];
  return [field.oxmClass, field.number];
}

// --- One field with its value

/** The value of a set-field action: never masked, only of a writable field. */
export function readSetField(reader: Reader): { field: OxmFieldName; value: Uint8Array } {
  const at = reader.offset;
  const { field, hasMask, size } = readOxmHeader(reader, SET_ERRORS);
  if (hasMask) throw reader.fail("OFPBAC_BAD_SET_TYPE", field.name, "a set-field may not be masked", at);
  if (!field.writable) throw reader.fail("OFPBAC_BAD_SET_TYPE", field.name, "may not be set", at);
  const value = reader.copy(size, field.name);
  checkValue(reader, field, value, undefined, SET_ERRORS, at);
  return { field: field.name, value };
}

/** Any field with value and mask, e.g. of NXAST_REG_LOAD2; the mask is all ones where the wire has none. */
export function readMaskedField(reader: Reader): { field: OxmField; value: Uint8Array; mask: Uint8Array } {
  const at = reader.offset;
  const { field, hasMask, size } = readOxmHeader(reader, SET_ERRORS);
  if (!field.writable) throw reader.fail("OFPBAC_BAD_SET_TYPE", field.name, "may not be set", at);
  const value = reader.copy(size, field.name);
  const mask = hasMask ? reader.copy(size, field.name) : onesMask(field, size);
  if (hasMask && value.some((byte, i) => (byte & ~(mask[i] as number)) !== 0))
    throw reader.fail("OFPBMC_BAD_WILDCARDS", field.name, "has value bits outside its mask", at);
  if (!fits(field, value) || !fits(field, mask)) {
    throw reader.fail("OFPBAC_BAD_SET_ARGUMENT", field.name, `has more than ${field.bits} bits`, at);
  }
  return { field, value, mask };
}

export function writeOxm(writer: Writer, entry: OxmEntry): void {
  const field = OXM_FIELDS[entry.field];
  const size = entry.value.byteLength;
  const fitsField = field.isVariable ? size <= field.size : size === field.size;
  if (!fitsField || (entry.mask && entry.mask.byteLength !== size)) {
    throw new RangeError(`${entry.field} takes ${field.size} bytes, not ${entry.value.byteLength}`);
  }
  writeOxmHeader(writer, field, entry.mask !== undefined, size);
  writer.put(entry.value);
  if (entry.mask !== undefined) writer.put(entry.mask);
}

/** The same with Nicira's header where the field has one, as Open vSwitch writes it inside its own actions. */
export function writeNiciraOxm(writer: Writer, entry: OxmEntry): void {
  const [alias] = OXM_FIELDS[entry.field].aliases;
  if (alias === undefined) {
    writeOxm(writer, entry);
    return;
  }
  const { value, mask } = entry;
  writer.u16(alias[0]).u8((alias[1] << 1) | (mask === undefined ? 0 : 1));
  writer.u8(value.byteLength + (mask?.byteLength ?? 0)).put(value);
  if (mask !== undefined) writer.put(mask);
}

/** A mask with a 1 for each significant bit. */
export function onesMask(field: OxmField, size = field.size): Uint8Array {
  const mask = new Uint8Array(size).fill(0xff);
  if (field.isVariable) return mask;
  const unused = field.size * 8 - field.bits;
  for (let i = 0; i < unused >> 3; i++) mask[i] = 0;
  if (unused % 8 !== 0) mask[unused >> 3] = 0xff >> (unused % 8);
  return mask;
}

function fits(field: OxmField, value: Uint8Array): boolean {
  if (field.isVariable) return true;
  const unused = field.size * 8 - field.bits;
  for (let i = 0; i < unused >> 3; i++) if (value[i] !== 0) return false;
  return unused % 8 === 0 || (value[unused >> 3] as number) >> (8 - (unused % 8)) === 0;
}

function checkValue(
  reader: Reader,
  field: OxmField,
  value: Uint8Array,
  mask: Uint8Array | undefined,
  errors: OxmErrors,
  at: number,
): void {
  if (!fits(field, value))
    throw reader.fail(errors.value, field.name, `has more than ${field.bits} bits`, at);
  if (field.name === "nsh_ttl" && (value[0] as number) > NSH_TTL_MAX)
    throw reader.fail(errors.value, field.name, `is above ${NSH_TTL_MAX}`, at);
  // A reader with checks of its own decides itself what it makes of such a match.
  if (field.name !== "vlan_vid" || mask !== undefined || (reader.checks && errors === MATCH_ERRORS)) return;
  const vid = ((value[0] as number) << 8) | (value[1] as number);
  if (vid !== 0 && (vid & OFPVID_PRESENT) === 0) {
    throw reader.fail(errors.value, field.name, `VID ${vid} without OFPVID_PRESENT`, at);
  }
}

// --- Matches

/** Reads an ofp_match with its padding; a loose one tells of a packet, with fields of any sort. */
export function readMatch(reader: Reader, isLoose = false): Match {
  // Switches that speak 1.1 may answer with matches of later versions, which tell more.
  if (reader.version === OFP11_VERSION && !startsWithOxm(reader)) return readMatch11(reader);
  const at = reader.offset;
  if (reader.left < 4) throw reader.fail("OFPBMC_BAD_LEN", "match", `${reader.left} bytes`, at);
  const type = reader.u16("match.type");
  const length = reader.u16("match.length");
  if (type !== OFPMT_OXM) throw reader.fail("OFPBMC_BAD_TYPE", "match.type", `${type} is not OXM`, at);
  if (length < 4) throw reader.fail("OFPBMC_BAD_LEN", "match.length", `${length} is less than 4`, at);
  if (length - 4 > reader.left) {
    throw reader.fail(
      "OFPBMC_BAD_LEN",
      "match.length",
      `${length} exceeds the ${reader.left + 4} bytes left`,
      at,
    );
  }
  const entries = reader.within(length - 4, "match", "OFPBMC_BAD_LEN");
  const padding = (8 - (length % 8)) % 8;
  if (padding > reader.left) throw reader.fail("OFPBMC_BAD_LEN", "match.padding", `${reader.left} bytes`, at);
  const match = readOxms(entries, isLoose);
  reader.skip(padding, "match.padding");
  return match;
}

function startsWithOxm(reader: Reader): boolean {
  const at = reader.offset;
  const isOxm = reader.left >= 4 && reader.u16("match.type") === OFPMT_OXM;
  reader.offset = at;
  return isOxm;
}

/** Reads OXM entries to the reader's end, without the ofp_match frame. */
function readOxms(reader: Reader, isLoose: boolean): Match {
  const match: OxmEntry[] = [];
  const seen: OxmFieldName[] = [];
  while (reader.left > 0) {
    const at = reader.offset;
    if (isLoose && skipUnknown(reader)) continue;
    const entry = readMatchEntry(reader);
    if (seen.includes(entry.field)) throw reader.fail("OFPBMC_DUP_FIELD", entry.field, "occurs twice", at);
    if (!isLoose && !prerequisiteHolds(OXM_FIELDS[entry.field].prerequisite, match)) {
      throw reader.fail("OFPBMC_BAD_PREREQ", entry.field, "its prerequisites are not matched before it", at);
    }
    // A mask of zeros is as good as no entry (7.2.3.5).
    if (!constrains(entry)) continue;
    seen.push(entry.field);
    match.push(entry);
  }
  return match;
}

/** Moves over an entry of a field that is not known. */
export function skipUnknown(reader: Reader): boolean {
  const at = reader.offset;
  const header = reader.u32("oxm.header");
  const size = header & 0xff;
  const isForeign = header >>> 16 === OFPXMC_EXPERIMENTER && size >= 4 && reader.left >= 4;
  const experimenter = isForeign ? reader.u32("oxm.experimenter") : 0;
  const isKnown = fieldByHeader(header >>> 16, (header >>> 9) & 0x7f, experimenter) !== undefined;
  reader.offset = at;
  if (isKnown) return false;
  reader.skip(4 + size, "oxm.value");
  return true;
}

/** Whether any packet can fail to match the entry. */
export function constrains({ mask }: OxmEntry): boolean {
  return mask === undefined || mask.byteLength === 0 || mask.some((byte) => byte !== 0);
}

/** One field of a match, without its prerequisites. */
export function readMatchEntry(reader: Reader): OxmEntry {
  const at = reader.offset;
  const { field, hasMask, size } = readOxmHeader(reader, MATCH_ERRORS, true);
  const value = reader.copy(size, field.name);
  const mask = hasMask ? reader.copy(size, field.name) : undefined;
  for (let i = 0; mask !== undefined && i < size; i++) {
    if (((value[i] as number) & ~(mask[i] as number)) !== 0) {
      throw reader.fail("OFPBMC_BAD_WILDCARDS", field.name, "has value bits outside its mask", at);
    }
  }
  if (mask !== undefined && !field.maskable)
    throw reader.fail("OFPBMC_BAD_MASK", field.name, "may not be masked", at);
  checkValue(reader, field, value, mask, MATCH_ERRORS, at);
  if (mask === undefined) return checked(reader, { field: field.name, value }, at);
  if (!fits(field, mask)) clip(field, mask);
  // That an option is there at all.
  if (size === 0) return { field: field.name, value, mask };
  const ones = onesMask(field, size);
  const isExact = mask.every((byte, i) => byte === ones[i]);
  return checked(reader, { field: field.name, value, ...(isExact ? {} : { mask }) }, at);
}

/** Throws WireError where whoever reads refuses more than the codec. */
export function checked(reader: Reader, entry: OxmEntry, at: number): OxmEntry {
  const fault = reader.checks?.matchEntry(entry);
  if (fault !== undefined) throw reader.fail(fault, entry.field, "is refused", at);
  return entry;
}

/** A field of which the value says which bits count. */
export function readSelectedField(reader: Reader): OxmEntry {
  const { field, size } = readOxmHeader(reader, MATCH_ERRORS);
  return { field: field.name, value: reader.copy(size, field.name) };
}

/** Mask bits above the field's width mean nothing: controllers send 0xffff for the 13 bits of a VLAN id. */
function clip(field: OxmField, mask: Uint8Array): void {
  const ones = onesMask(field);
  for (let i = 0; i < mask.length; i++) mask[i] = (mask[i] as number) & (ones[i] as number);
}

export function writeMatch(writer: Writer, match: Match): void {
  if (writer.version === OFP11_VERSION) {
    writeMatch11(writer, match);
    return;
  }
  const start = writer.size;
  writer.u16(OFPMT_OXM).u16(0);
  for (const entry of match) writeOxm(writer, entry);
  writer.setLength(start + 2, start);
  writer.align8(start);
}

// --- Prerequisites (7.2.3.6)

const IP_PROTOCOL: Partial<Record<OxmPrerequisite, number>> = {
  tcp: 6,
  udp: 17,
  sctp: 132,
  icmpv4: 1,
  icmpv6: 58,
  nd: 58,
  nd_solicit: 58,
  nd_advert: 58,
};

/** Whether `match` pins the packet to what `prerequisite` asks for. */
export function prerequisiteHolds(prerequisite: OxmPrerequisite, match: Match): boolean {
  if (prerequisite === "none") return true;
  if (prerequisite === "in_port") return match.some((entry) => entry.field === "in_port");
  if (prerequisite === "vlan_vid") return hasVlan(match);
  if (prerequisite === "ct") return hasConnection(match);
  const etherType = exact(match, "eth_type") ?? packetEtherType(match);
  if (!etherTypeFits(prerequisite, etherType)) return false;
  if (prerequisite === "ct_ipv4" || prerequisite === "ct_ipv6") return hasConnection(match);
  const protocol = IP_PROTOCOL[prerequisite];
  if (protocol !== undefined && exact(match, "ip_proto") !== protocol) return false;
  const type = exact(match, "icmpv6_type");
  if (prerequisite === "nd") return type === 135 || type === 136;
  if (prerequisite === "nd_solicit") return type === 135;
  if (prerequisite === "nd_advert") return type === 136;
  return true;
}

function etherTypeFits(prerequisite: OxmPrerequisite, etherType: number | undefined): boolean {
  switch (prerequisite) {
    case "arp":
      return etherType === 0x0806 || etherType === 0x8035;
    case "mpls":
      return etherType === 0x8847 || etherType === 0x8848;
    case "pbb":
      return etherType === 0x88e7;
    case "nsh":
      return etherType === 0x894f;
    case "ipv4":
    case "icmpv4":
    case "ct_ipv4":
      return etherType === 0x0800;
    case "ipv6":
    case "icmpv6":
    case "nd":
    case "nd_solicit":
    case "nd_advert":
    case "ct_ipv6":
      return etherType === 0x86dd;
    default:
      return etherType === 0x0800 || etherType === 0x86dd;
  }
}

/** A packet that begins behind the Ethernet header has its EtherType as its type; of what begins otherwise it is 0. */
function packetEtherType(match: Match): number | undefined {
  const type = exact(match, "packet_type");
  if (type === undefined || type === 0) return undefined;
  return type >>> 16 === OFPHTN_ETHERTYPE ? type & 0xffff : 0;
}

/** VLAN_TCI with CFI set, or VLAN_VID with the PRESENT bit matched as set. */
function hasVlan(match: Match): boolean {
  return match.some(
    (entry) =>
      (entry.field === "vlan_vid" || entry.field === "vlan_tci") &&
      ((entry.value[0] as number) & 0x10) !== 0 &&
      (entry.mask === undefined || ((entry.mask[0] as number) & 0x10) !== 0),
  );
}

/** A bit of ct_state is set that only a known connection has, or the packet is tracked and not invalid. */
function hasConnection(match: Match): boolean {
  const entry = match.find((other) => other.field === "ct_state");
  if (entry === undefined) return false;
  const value = entry.value[3] as number;
  const mask = entry.mask === undefined ? 0xff : (entry.mask[3] as number);
  if ((value & CT_STATE_KNOWN) !== 0) return true;
  return (value & CT_STATE_TRK) !== 0 && (mask & CT_STATE_INV) !== 0 && (value & CT_STATE_INV) === 0;
}

/** The value of a field of at most 4 bytes that is matched exactly. */
function exact(match: Match, name: OxmFieldName): number | undefined {
  const entry = match.find((other) => other.field === name);
  if (entry === undefined || entry.mask !== undefined) return undefined;
  return entry.value.reduce((number, byte) => number * 256 + byte, 0);
}
