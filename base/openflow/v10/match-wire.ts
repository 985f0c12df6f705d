// The fixed-size match of OpenFlow 1.0 (struct ofp_match) and the OXM match that means the same.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.3. Fields whose prerequisites are not matched mean nothing and are
// left out, as Open vSwitch does.

import type { Match, OxmEntry } from "../actions.js";
import type { OxmFieldName } from "../oxm-fields.js";
import type { Reader, Writer } from "../wire.js";
import { bigEndian, narrowPort, numberOf, widenPort } from "./numbers.js";

import {
  OFPFW_DL_DST,
  OFPFW_DL_SRC,
  OFPFW_DL_TYPE,
  OFPFW_DL_VLAN,
  OFPFW_DL_VLAN_PCP,
  OFPFW_IN_PORT,
  OFPFW_NW_DST_SHIFT,
  OFPFW_NW_PROTO,
  OFPFW_NW_SRC_SHIFT,
  OFPFW_NW_TOS,
  OFPFW_TP_DST,
  OFPFW_TP_SRC,
  OFPFW_WHOLE_ADDRESSES,
} from "./wildcards.js";

const ADDRESS_WILDCARDED = 32;

const OFP_VLAN_NONE = 0xffff;
const VLAN_PRESENT = 0x1000;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_RARP = 0x8035;

/** The fields of struct ofp_match. */
interface Match10 {
  wildcards: number;
  inPort: number;
  dlSrc: Uint8Array;
  dlDst: Uint8Array;
  dlVlan: number;
  dlVlanPcp: number;
  dlType: number;
  nwTos: number;
  nwProto: number;
  nwSrc: number;
  nwDst: number;
  tpSrc: number;
  tpDst: number;
}

export function readMatch10(reader: Reader): Match {
  const wildcards = reader.u32("match.wildcards");
  const inPort = reader.u16("match.in_port");
  const dlSrc = reader.copy(6, "match.dl_src");
  const dlDst = reader.copy(6, "match.dl_dst");
  const dlVlan = reader.u16("match.dl_vlan");
  const dlVlanPcp = reader.u8("match.dl_vlan_pcp");
  reader.skip(1);
  const dlType = reader.u16("match.dl_type");
  const nwTos = reader.u8("match.nw_tos");
  const nwProto = reader.u8("match.nw_proto");
  reader.skip(2);
  const nwSrc = reader.u32("match.nw_src");
  const nwDst = reader.u32("match.nw_dst");
  const tpSrc = reader.u16("match.tp_src");
  const tpDst = reader.u16("match.tp_dst");
  return entriesOf({
    wildcards,
    inPort,
    dlSrc,
    dlDst,
    dlVlan,
    dlVlanPcp,
    dlType,
    nwTos,
    nwProto,
    nwSrc,
    nwDst,
    tpSrc,
    tpDst,
  });
}

function entriesOf(match: Match10): Match {
  const entries: OxmEntry[] = [];
  const has = (bit: number): boolean => (match.wildcards & bit) === 0;
  const put = (field: OxmFieldName, value: Uint8Array): void => void entries.push({ field, value });
  if (has(OFPFW_IN_PORT)) put("in_port", bigEndian(widenPort(match.inPort), 4));
  if (has(OFPFW_DL_DST)) put("eth_dst", match.dlDst);
  if (has(OFPFW_DL_SRC)) put("eth_src", match.dlSrc);
  if (has(OFPFW_DL_TYPE)) put("eth_type", bigEndian(match.dlType, 2));
  entries.push(...vlanEntries(match));
  if (!has(OFPFW_DL_TYPE)) return entries;
  if (match.dlType === ETHERTYPE_IPV4) entries.push(...ipEntries(match));
  if (match.dlType === ETHERTYPE_ARP || match.dlType === ETHERTYPE_RARP) entries.push(...arpEntries(match));
  return entries;
}

function vlanEntries({ wildcards, dlVlan, dlVlanPcp }: Match10): OxmEntry[] {
  const entries: OxmEntry[] = [];
  const present = bigEndian(VLAN_PRESENT, 2);
  const pcp: OxmEntry = { field: "vlan_pcp", value: bigEndian(dlVlanPcp & 7, 1) };
  if ((wildcards & OFPFW_DL_VLAN) === 0) {
    const isNone = dlVlan === OFP_VLAN_NONE;
    entries.push({
      field: "vlan_vid",
      value: bigEndian(isNone ? 0 : VLAN_PRESENT | (dlVlan & 0xfff), 2),
    });
    if ((wildcards & OFPFW_DL_VLAN_PCP) === 0 && !isNone) entries.push(pcp);
  } else if ((wildcards & OFPFW_DL_VLAN_PCP) === 0) {
    entries.push({ field: "vlan_vid", value: present, mask: present }, pcp);
  }
  return entries;
}

function ipEntries(match: Match10): OxmEntry[] {
  const { wildcards, nwProto } = match;
  const has = (bit: number): boolean => (wildcards & bit) === 0;
  const entries: OxmEntry[] = [];
  if (has(OFPFW_NW_TOS)) entries.push({ field: "ip_dscp", value: bigEndian(match.nwTos >> 2, 1) });
  if (has(OFPFW_NW_PROTO)) entries.push({ field: "ip_proto", value: bigEndian(nwProto, 1) });
  entries.push(...address("ipv4_src", match.nwSrc, wildcards >> OFPFW_NW_SRC_SHIFT));
  entries.push(...address("ipv4_dst", match.nwDst, wildcards >> OFPFW_NW_DST_SHIFT));
  const fields = has(OFPFW_NW_PROTO) ? TP_FIELDS[nwProto] : undefined;
  if (fields === undefined) return entries;
  const [source, destination, size] = fields;
  const clip = size === 1 ? 0xff : 0xffff;
  if (has(OFPFW_TP_SRC)) entries.push({ field: source, value: bigEndian(match.tpSrc & clip, size) });
  if (has(OFPFW_TP_DST)) entries.push({ field: destination, value: bigEndian(match.tpDst & clip, size) });
  return entries;
}

const TP_FIELDS: Readonly<Record<number, readonly [OxmFieldName, OxmFieldName, size: number]>> = {
  1: ["icmpv4_type", "icmpv4_code", 1],
  6: ["tcp_src", "tcp_dst", 2],
  17: ["udp_src", "udp_dst", 2],
  132: ["sctp_src", "sctp_dst", 2],
};

function arpEntries({ wildcards, nwProto, nwSrc, nwDst }: Match10): OxmEntry[] {
  const operation: OxmEntry[] =
    (wildcards & OFPFW_NW_PROTO) === 0 ? [{ field: "arp_op", value: bigEndian(nwProto, 2) }] : [];
  return [
    ...operation,
    ...address("arp_spa", nwSrc, wildcards >> OFPFW_NW_SRC_SHIFT),
    ...address("arp_tpa", nwDst, wildcards >> OFPFW_NW_DST_SHIFT),
  ];
}

/** `wildcards` counts the low bits that do not matter, in its low 6 bits; 32 and more = none matters. */
function address(field: OxmFieldName, value: number, wildcards: number): OxmEntry[] {
  const ignored = wildcards & 0x3f;
  if (ignored >= ADDRESS_WILDCARDED) return [];
  if (ignored === 0) return [{ field, value: bigEndian(value, 4) }];
  const mask = (0xffffffff << ignored) >>> 0;
  return [{ field, value: bigEndian((value & mask) >>> 0, 4), mask: bigEndian(mask, 4) }];
}

// --- The other way

/** Whether struct ofp_match can say all of `match`. */
export function fitsMatch10(match: Match): boolean {
  return compose(match).isWhole;
}

/** What struct ofp_match cannot say is left out: it then matches more. */
export function writeMatch10(writer: Writer, match: Match): void {
  const { fields } = compose(match);
  writer
    .u32(fields.wildcards >>> 0)
    .u16(fields.inPort)
    .put(fields.dlSrc)
    .put(fields.dlDst);
  writer.u16(fields.dlVlan).u8(fields.dlVlanPcp).zero(1).u16(fields.dlType);
  writer.u8(fields.nwTos).u8(fields.nwProto).zero(2).u32(fields.nwSrc).u32(fields.nwDst);
  writer.u16(fields.tpSrc).u16(fields.tpDst);
}

function compose(match: Match): { readonly fields: Match10; readonly isWhole: boolean } {
  const fields: Match10 = {
    wildcards: OFPFW_WHOLE_ADDRESSES,
    inPort: 0,
    dlSrc: new Uint8Array(6),
    dlDst: new Uint8Array(6),
    dlVlan: 0,
    dlVlanPcp: 0,
    dlType: 0,
    nwTos: 0,
    nwProto: 0,
    nwSrc: 0,
    nwDst: 0,
    tpSrc: 0,
    tpDst: 0,
  };
  const has = (field: OxmFieldName): boolean => match.some((entry) => entry.field === field);
  let isWhole = true;
  for (const entry of match) if (!setField(fields, entry, has)) isWhole = false;
  return { fields, isWhole };
}

/** False when the entry cannot be said. */
function setField(fields: Match10, entry: OxmEntry, has: (field: OxmFieldName) => boolean): boolean {
  const { field, value, mask } = entry;
  const clear = (bits: number): true => {
    fields.wildcards &= ~bits;
    return true;
  };
  if (field === "ipv4_src" || field === "arp_spa")
    return setAddress(fields, "nwSrc", OFPFW_NW_SRC_SHIFT, entry);
  if (field === "ipv4_dst" || field === "arp_tpa")
    return setAddress(fields, "nwDst", OFPFW_NW_DST_SHIFT, entry);
  if (field === "vlan_vid") return setVlan(fields, entry, has("vlan_pcp"));
  if (mask !== undefined) return false;
  const number = numberOf(value);
  switch (field) {
    case "in_port":
      fields.inPort = narrowPort(number);
      return clear(OFPFW_IN_PORT);
    case "eth_src":
      fields.dlSrc = value;
      return clear(OFPFW_DL_SRC);
    case "eth_dst":
      fields.dlDst = value;
      return clear(OFPFW_DL_DST);
    case "eth_type":
      fields.dlType = number;
      return clear(OFPFW_DL_TYPE);
    case "vlan_pcp":
      fields.dlVlanPcp = number;
      return clear(OFPFW_DL_VLAN_PCP);
    default:
      return setUpper(fields, field, number, clear);
  }
}

function setUpper(
  fields: Match10,
  field: OxmFieldName,
  number: number,
  clear: (bits: number) => true,
): boolean {
  const isIpv4 = fields.dlType === ETHERTYPE_IPV4;
  if (field === "ip_dscp" && isIpv4) {
    fields.nwTos = number << 2;
    return clear(OFPFW_NW_TOS);
  }
  if ((field === "ip_proto" && isIpv4) || (field === "arp_op" && number <= 0xff)) {
    fields.nwProto = number;
    return clear(OFPFW_NW_PROTO);
  }
  const [source, destination] = (isIpv4 && TP_FIELDS[fields.nwProto]) || [];
  if (field === source) {
    fields.tpSrc = number;
    return clear(OFPFW_TP_SRC);
  }
  if (field === destination) {
    fields.tpDst = number;
    return clear(OFPFW_TP_DST);
  }
  return false;
}

function setVlan(fields: Match10, { value, mask }: OxmEntry, hasPcp: boolean): boolean {
  const vid = numberOf(value);
  if (mask !== undefined) return hasPcp && vid === VLAN_PRESENT && numberOf(mask) === VLAN_PRESENT;
  fields.dlVlan = (vid & VLAN_PRESENT) === 0 ? OFP_VLAN_NONE : vid & 0xfff;
  fields.wildcards &= ~OFPFW_DL_VLAN;
  return true;
}

/** Only masks whose ones are all at the top can be said. */
function setAddress(
  fields: Match10,
  name: "nwSrc" | "nwDst",
  shift: number,
  { value, mask }: OxmEntry,
): boolean {
  const bits = mask === undefined ? 0xffffffff : numberOf(mask);
  const ignored = bits === 0 ? ADDRESS_WILDCARDED : 31 - Math.clz32(bits & -bits);
  if ((0xffffffff << ignored) >>> 0 !== bits) return false;
  fields[name] = numberOf(value);
  fields.wildcards = (fields.wildcards & ~(0x3f << shift)) | (ignored << shift);
  return true;
}
