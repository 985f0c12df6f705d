// The fixed-size match of OpenFlow 1.1 (struct ofp_match) and the OXM match that means the same.
// Source: OpenFlow Switch Specification 1.1.0, A.2.3. Fields whose prerequisites are not matched mean nothing and are
// left out, as Open vSwitch does.

import type { Match, OxmEntry } from "../actions.js";
import type { OxmFieldName } from "../oxm-fields.js";
import { bigEndian, numberOf } from "../v10/numbers.js";
import type { Reader, Writer } from "../wire.js";

const OFPMT_STANDARD = 0;
const MATCH_SIZE = 88;
const OFPFW_IN_PORT = 1 << 0;
const OFPFW_DL_VLAN = 1 << 1;
const OFPFW_DL_VLAN_PCP = 1 << 2;
const OFPFW_DL_TYPE = 1 << 3;
const OFPFW_NW_TOS = 1 << 4;
const OFPFW_NW_PROTO = 1 << 5;
const OFPFW_TP_SRC = 1 << 6;
const OFPFW_TP_DST = 1 << 7;
const OFPFW_MPLS_LABEL = 1 << 8;
const OFPFW_MPLS_TC = 1 << 9;
const OFPFW_ALL = 0x3ff;
const OFPVID_ANY = 0xfffe;
const OFPVID_NONE = 0xffff;
const VLAN_PRESENT = 0x1000;
const ARP_TYPES: readonly number[] = [0x0806, 0x8035];
const MPLS_TYPES: readonly number[] = [0x8847, 0x8848];
const ETHERTYPE_IPV4 = 0x0800;

type Address = {
  readonly value: Uint8Array /** Set where a bit does not matter. */;
  readonly mask: Uint8Array;
};

export function readMatch11(whole: Reader): Match {
  const at = whole.offset;
  const reader = whole.within(Math.min(whole.left, MATCH_SIZE), "match", "OFPBMC_BAD_LEN");
  const type = reader.u16("match.type");
  const length = reader.u16("match.length");
  if (type !== OFPMT_STANDARD) throw reader.fail("OFPBMC_BAD_TYPE", "match.type", `${type}`, at);
  if (length !== MATCH_SIZE) throw reader.fail("OFPBMC_BAD_LEN", "match.length", `${length}`, at);
  const inPort = reader.u32("match.in_port");
  const wildcards = reader.u32("match.wildcards");
  const has = (bit: number): boolean => (wildcards & bit) === 0;
  const [dlSrc, dlDst] = [readAddress(reader, 6), readAddress(reader, 6)];
  const [vlan, pcp] = [reader.u16("match.dl_vlan"), reader.u8("match.dl_vlan_pcp")];
  reader.skip(1);
  const dlType = reader.u16("match.dl_type");
  const [tos, protocol] = [reader.u8("match.nw_tos"), reader.u8("match.nw_proto")];
  const [nwSrc, nwDst] = [readAddress(reader, 4), readAddress(reader, 4)];
  const ports = [reader.u16("match.tp_src"), reader.u16("match.tp_dst")] as const;
  const [label, tc] = [reader.u32("match.mpls_label"), reader.u8("match.mpls_tc")];
  reader.skip(3);
  const metadata = readAddress(reader, 8);
  const entries: OxmEntry[] = [];
  if (has(OFPFW_IN_PORT)) {
    if (inPort >= 0xff00 && inPort < 0xffffff00)
      throw reader.fail("OFPBMC_BAD_VALUE", "match.in_port", `${inPort}`, at);
    entries.push({ field: "in_port", value: bigEndian(inPort, 4) });
  }
  entries.push(...masked("eth_src", dlSrc), ...masked("eth_dst", dlDst));
  if (has(OFPFW_DL_VLAN)) {
    const isTagged = vlan !== OFPVID_NONE;
    if (vlan > 0xfff && vlan < OFPVID_ANY)
      throw reader.fail("OFPBMC_BAD_VALUE", "match.dl_vlan", `${vlan}`, at);
    entries.push(vlanEntry(vlan));
    if (isTagged && has(OFPFW_DL_VLAN_PCP)) {
      if (pcp > 7) throw reader.fail("OFPBMC_BAD_VALUE", "match.dl_vlan_pcp", `${pcp}`, at);
      entries.push({ field: "vlan_pcp", value: Uint8Array.of(pcp) });
    }
  }
  if (has(OFPFW_DL_TYPE)) {
    entries.push({ field: "eth_type", value: bigEndian(dlType, 2) });
    entries.push(...upper());
  }
  entries.push(...masked("metadata", metadata));
  return entries;

  /** What lies behind the Ethernet header. */
  function upper(): OxmEntry[] {
    const isIpv4 = dlType === ETHERTYPE_IPV4;
    const found: OxmEntry[] = [];
    if (isIpv4 && has(OFPFW_NW_TOS)) {
      if ((tos & 3) !== 0) throw reader.fail("OFPBMC_BAD_VALUE", "match.nw_tos", `${tos}`, at);
      found.push({ field: "ip_dscp", value: Uint8Array.of(tos >> 2) });
    }
    if (isIpv4) {
      if (has(OFPFW_NW_PROTO)) found.push({ field: "ip_proto", value: Uint8Array.of(protocol) });
      found.push(...masked("ipv4_src", nwSrc), ...masked("ipv4_dst", nwDst));
      if (has(OFPFW_NW_PROTO)) found.push(...transport());
    } else if (ARP_TYPES.includes(dlType)) {
      if (has(OFPFW_NW_PROTO)) found.push({ field: "arp_op", value: bigEndian(protocol, 2) });
      found.push(...masked("arp_spa", nwSrc), ...masked("arp_tpa", nwDst));
    } else if (MPLS_TYPES.includes(dlType)) {
      if (has(OFPFW_MPLS_LABEL)) found.push({ field: "mpls_label", value: bigEndian(label & 0xfffff, 4) });
      if (has(OFPFW_MPLS_TC)) found.push({ field: "mpls_tc", value: Uint8Array.of(tc & 7) });
    }
    return found;
  }

  function transport(): OxmEntry[] {
    const fields = TP_FIELDS[protocol];
    if (fields === undefined) return [];
    const [source, destination, size] = fields;
    return (
      [
        [source, ports[0], OFPFW_TP_SRC],
        [destination, ports[1], OFPFW_TP_DST],
      ] as const
    ).flatMap(([field, port, bit]): OxmEntry[] => {
      if (!has(bit)) return [];
      if (size === 1 && port > 0xff) throw reader.fail("OFPBMC_BAD_FIELD", "match.tp_src", `${port}`, at);
      return [{ field, value: bigEndian(port, size) }];
    });
  }
}

const TP_FIELDS: Readonly<Record<number, readonly [OxmFieldName, OxmFieldName, size: number]>> = {
  1: ["icmpv4_type", "icmpv4_code", 1],
  6: ["tcp_src", "tcp_dst", 2],
  17: ["udp_src", "udp_dst", 2],
  132: ["sctp_src", "sctp_dst", 2],
};

function readAddress(reader: Reader, size: number): Address {
  return { value: reader.copy(size, "match.address"), mask: reader.copy(size, "match.address_mask") };
}

/** On the wire a mask has ones where nothing is compared. */
function masked(field: OxmFieldName, { value, mask }: Address): OxmEntry[] {
  const care = mask.map((byte) => ~byte & 0xff);
  if (care.every((byte) => byte === 0)) return [];
  const kept = value.map((byte, i) => byte & (care[i] as number));
  return [{ field, value: kept, ...(care.every((byte) => byte === 0xff) ? {} : { mask: care }) }];
}

function vlanEntry(vlan: number): OxmEntry {
  const present = bigEndian(VLAN_PRESENT, 2);
  if (vlan === OFPVID_ANY) return { field: "vlan_vid", value: present, mask: present };
  if (vlan === OFPVID_NONE) return { field: "vlan_tci", value: bigEndian(0, 2) };
  return { field: "vlan_vid", value: bigEndian(VLAN_PRESENT | vlan, 2) };
}

/** What struct ofp_match cannot say is left out: it then matches more. */
export function writeMatch11(writer: Writer, match: Match): void {
  const find = (field: OxmFieldName): OxmEntry | undefined => match.find((entry) => entry.field === field);
  const number = (...fields: OxmFieldName[]): number | undefined => {
    const entry = fields.map(find).find((one) => one !== undefined);
    return entry === undefined || entry.mask !== undefined ? undefined : numberOf(entry.value);
  };
  let wildcards = OFPFW_ALL;
  const taken = (bit: number, value: number | undefined): number => {
    if (value !== undefined) wildcards &= ~bit;
    return value ?? 0;
  };
  const tci = find("vlan_tci");
  // That there is no tag may be said of all of it.
  const isUntagged = tci !== undefined && tci.mask === undefined && numberOf(tci.value) === 0;
  const vid = find("vlan_vid") ?? (isUntagged ? tci : undefined);
  const inPort = taken(OFPFW_IN_PORT, number("in_port"));
  const vlan = taken(OFPFW_DL_VLAN, vid === undefined ? undefined : vlanNumber(vid));
  const pcp = taken(OFPFW_DL_VLAN_PCP, number("vlan_pcp"));
  const dlType = taken(OFPFW_DL_TYPE, number("eth_type"));
  const dscp = number("ip_dscp");
  const tos = taken(OFPFW_NW_TOS, dscp === undefined ? undefined : dscp << 2);
  const protocol = taken(OFPFW_NW_PROTO, number("ip_proto", "arp_op"));
  const source = taken(OFPFW_TP_SRC, number("tcp_src", "udp_src", "sctp_src", "icmpv4_type"));
  const destination = taken(OFPFW_TP_DST, number("tcp_dst", "udp_dst", "sctp_dst", "icmpv4_code"));
  const label = taken(OFPFW_MPLS_LABEL, number("mpls_label"));
  const tc = taken(OFPFW_MPLS_TC, number("mpls_tc"));
  writer.u16(OFPMT_STANDARD).u16(MATCH_SIZE).u32(inPort).u32(wildcards);
  writeAddress(writer, find("eth_src"), 6);
  writeAddress(writer, find("eth_dst"), 6);
  writer
    .u16(vlan)
    .u8(pcp)
    .zero(1)
    .u16(dlType)
    .u8(tos)
    .u8(protocol & 0xff);
  writeAddress(writer, find("ipv4_src") ?? find("arp_spa"), 4);
  writeAddress(writer, find("ipv4_dst") ?? find("arp_tpa"), 4);
  writer.u16(source).u16(destination).u32(label).u8(tc).zero(3);
  writeAddress(writer, find("metadata"), 8);
}

function vlanNumber({ value, mask }: OxmEntry): number {
  if (mask !== undefined) return OFPVID_ANY;
  const vid = numberOf(value);
  return (vid & VLAN_PRESENT) === 0 ? OFPVID_NONE : vid & 0xfff;
}

function writeAddress(writer: Writer, entry: OxmEntry | undefined, size: number): void {
  if (entry === undefined) {
    writer.zero(size).put(new Uint8Array(size).fill(0xff));
    return;
  }
  const { value, mask } = entry;
  writer.put(value).put(mask === undefined ? new Uint8Array(size) : mask.map((byte) => ~byte & 0xff));
}
