// The order in which Open vSwitch's clients write the fields of a match: prerequisites always come before what needs
// them, and equal matches become equal bytes.
import type { Match, OxmEntry } from "./actions.js";
import { OXM_FIELDS, type OxmFieldName } from "./oxm-fields.js";

const ORDER: readonly OxmFieldName[] = [
  "packet_type",
  "dp_hash",
  "recirc_id",
  "conj_id",
  "in_port",
  "nxm_in_port",
  "in_phy_port",
  "actset_output",
  "eth_src",
  "eth_dst",
  "eth_type",
  "vlan_tci",
  "vlan_vid",
  "vlan_pcp",
  "mpls_tc",
  "mpls_bos",
  "mpls_ttl",
  "mpls_label",
  "pbb_isid",
  "arp_op",
  "arp_spa",
  "arp_tpa",
  "arp_sha",
  "arp_tha",
  "ipv4_src",
  "ipv4_dst",
  "ipv6_src",
  "ipv6_dst",
  "ip_frag",
  "ip_tos",
  "ip_dscp",
  "ip_ecn",
  "nw_ttl",
  "ipv6_flabel",
  "ipv6_exthdr",
  "ip_proto",
  "tcp_src",
  "tcp_dst",
  "tcp_flags",
  "udp_src",
  "udp_dst",
  "sctp_src",
  "sctp_dst",
  "icmpv4_type",
  "icmpv4_code",
  "icmpv6_type",
  "icmpv6_code",
  "nd_reserved",
  "ipv6_nd_target",
  "nd_options_type",
  "ipv6_nd_sll",
  "ipv6_nd_tll",
  "tunnel_id",
  "tun_flags",
  "tun_src",
  "tun_dst",
  "tun_ipv6_src",
  "tun_ipv6_dst",
  "tun_gbp_id",
  "tun_gbp_flags",
  ...Array.from({ length: 64 }, (_, n) => `tun_metadata${n}` as OxmFieldName),
  "tun_erspan_ver",
  "tun_erspan_idx",
  "tun_erspan_dir",
  "tun_erspan_hwid",
  "tun_gtpu_flags",
  "tun_gtpu_msgtype",
  "nsh_flags",
  "nsh_ttl",
  "nsh_mdtype",
  "nsh_np",
  "nsh_spi",
  "nsh_si",
  "nsh_c1",
  "nsh_c2",
  "nsh_c3",
  "nsh_c4",
  ...registers("reg", 16),
  ...registers("xreg", 8),
  ...registers("xxreg", 4),
  "pkt_mark",
  "ct_state",
  "ct_zone",
  "ct_mark",
  "ct_label",
  "ct_nw_src",
  "ct_nw_dst",
  "ct_ipv6_src",
  "ct_ipv6_dst",
  "ct_nw_proto",
  "ct_tp_src",
  "ct_tp_dst",
  "metadata",
];
const RANKS = new Map(ORDER.map((name, rank) => [name, rank]));

function registers(prefix: "reg" | "xreg" | "xxreg", count: number): OxmFieldName[] {
  return Array.from({ length: count }, (_, n) => `${prefix}${n}` as OxmFieldName);
}

/** The same match in the order of the wire, with wide registers as the 32-bit ones that they consist of. */
export function inWireOrder(match: Match): Match {
  return match
    .flatMap(asRegisters)
    .sort((a, b) => (RANKS.get(a.field) as number) - (RANKS.get(b.field) as number));
}

function asRegisters(entry: OxmEntry): OxmEntry[] {
  const wide = /^x(x?)reg(\d)$/.exec(entry.field);
  if (wide === null) return [entry];
  const count = OXM_FIELDS[entry.field].size / 4;
  const { value, mask } = entry;
  return Array.from({ length: count }, (_, i) => {
    const field = `reg${Number(wide[2]) * count + i}` as OxmFieldName;
    const part = { field, value: value.slice(4 * i, 4 * i + 4) };
    return mask === undefined ? part : { ...part, mask: mask.slice(4 * i, 4 * i + 4) };
  }).flatMap(withoutEmptyMask);
}

function withoutEmptyMask(entry: OxmEntry): OxmEntry[] {
  const { mask } = entry;
  if (mask === undefined) return [entry];
  if (mask.every((byte) => byte === 0)) return [];
  return mask.every((byte) => byte === 0xff) ? [{ field: entry.field, value: entry.value }] : [entry];
}
