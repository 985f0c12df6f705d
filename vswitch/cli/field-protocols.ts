// Which versions of OpenFlow can carry a match of a field, exact or in part. Pure. Source: ovs-fields(7), the lines
// "OpenFlow 1.0" and "OpenFlow 1.1" of each field.
import type { OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { P_ANY, P_NXM_OF11_UP, P_NXM_OXM, type ProtocolSet } from "./protocol-set.js";

const FROM_10: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...([
    "in_port",
    "nxm_in_port",
    "eth_src",
    "eth_dst",
    "eth_type",
    "vlan_vid",
    "vlan_pcp",
    "vlan_tci",
  ] as const),
  ...(["ipv4_src", "ipv4_dst", "ip_proto", "ip_dscp", "ip_tos", "tcp_src", "tcp_dst", "udp_src"] as const),
  ...(["udp_dst", "icmpv4_type", "icmpv4_code", "arp_op", "arp_spa", "arp_tpa"] as const),
]);
const FROM_11: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...(["ip_ecn", "mpls_label", "mpls_tc", "metadata", "sctp_src", "sctp_dst"] as const),
]);
/** 1.1 has masks for these. */
const MASKED_11: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...(["eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "metadata"] as const),
]);
/** 1.0 has prefixes for these. */
const PREFIXED_10: ReadonlySet<OxmFieldName> = new Set<OxmFieldName>([
  ...(["ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa"] as const),
]);

/** Of an entry that is compared with; one whose mask is empty is in every version. */
export function entryProtocols({ field, mask }: OxmEntry): ProtocolSet {
  if (mask === undefined) return exactProtocols(field);
  if (mask.byteLength > 0 && mask.every((byte) => byte === 0)) return P_ANY;
  if (PREFIXED_10.has(field) && isPrefix(mask)) return P_ANY;
  return MASKED_11.has(field) ? P_NXM_OF11_UP : P_NXM_OXM;
}

/** Of the whole field. */
export function exactProtocols(field: OxmFieldName): ProtocolSet {
  if (FROM_10.has(field)) return P_ANY;
  return FROM_11.has(field) ? P_NXM_OF11_UP : P_NXM_OXM;
}

function isPrefix(mask: Uint8Array): boolean {
  const bits = Array.from(mask, (byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(bits);
}
