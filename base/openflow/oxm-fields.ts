// The registry of match fields: OpenFlow basic (OXM), ONF and Nicira (NXM) fields that the codec knows.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.3.7 and 7.2.3.8; ovs-fields(7) for Nicira numbers and names.
// Invariant: a field has one name here; its other wire headers (NXM_OF_*, NXM_NX_*) are aliases that parse to it.

export const OFPXMC_NXM_0 = 0x0000;
export const OFPXMC_NXM_1 = 0x0001;
export const OFPXMC_ERICSSON = 0x1000;
export const OFPXMC_OPENFLOW_BASIC = 0x8000;
export const OFPXMC_PACKET_REGS = 0x8001;
export const OFPXMC_EXPERIMENTER = 0xffff;

/** What must be matched beside a field before the field itself may be matched (7.2.3.6). */
export type OxmPrerequisite =
  | "none"
  | "in_port"
  | "vlan_vid"
  | "mpls"
  | "arp"
  | "ipv4"
  | "ipv6"
  | "ip"
  | "tcp"
  | "udp"
  | "sctp"
  | "icmpv4"
  | "icmpv6"
  | "nd"
  | "nd_solicit"
  | "nd_advert"
  | "pbb"
  /** A match of ct_state that implies a known connection; with it the EtherType of the addresses. */
  | "ct"
  | "ct_ipv4"
  | "ct_ipv6"
  | "nsh";

export interface OxmField {
  readonly name: OxmFieldName;
  /** The name that ovs-ofctl prints for it. */
  readonly ovsName: string;
  /** OXM class; OFPXMC_EXPERIMENTER goes with `experimenter`. */
  readonly oxmClass: number;
  /** 7-bit field number within the class. */
  readonly number: number;
  readonly experimenter: number;
  /** Significant bits: the low `bits` of the value's `size` bytes. */
  readonly bits: number;
  /** Bytes of the value on the wire; with `isVariable` the most that it can have. */
  readonly size: number;
  /** The value may be shorter, down to 1 byte. */
  readonly isVariable: boolean;
  readonly maskable: boolean;
  readonly prerequisite: OxmPrerequisite;
  /** Whether set-field, load and the destination of move accept it. */
  readonly writable: boolean;
  /** Other (class, number) headers of the same width that mean this field. */
  readonly aliases: readonly (readonly [oxmClass: number, number: number])[];
  /** The field's number among OpenFlow's own (OFPXMC_OPENFLOW_BASIC) from 1.5 on, which took it in. */
  readonly number15: number | undefined;
}

interface Row {
  readonly number15?: number;
  readonly ovs?: string;
  readonly header: readonly [oxmClass: number, number: number, experimenter?: number];
  readonly bits: number;
  /** Given where the value occupies more bytes than its bits need. */
  readonly size?: number;
  readonly variable?: true;
  readonly mask?: true;
  readonly pre?: OxmPrerequisite;
  readonly readOnly?: true;
  readonly nxm?: readonly (readonly [number, number])[];
}

const BASIC = OFPXMC_OPENFLOW_BASIC;
const NXM0 = OFPXMC_NXM_0;
const NXM1 = OFPXMC_NXM_1;
const EXP = OFPXMC_EXPERIMENTER;
const ONF = 0x4f4e4600;
const NX = 0x00002320;
const NSH = 0x005ad650;

const ROWS = {
  in_port: { header: [BASIC, 0], bits: 32, ovs: "in_port" },
  in_phy_port: { header: [BASIC, 1], bits: 32, pre: "in_port", readOnly: true },
  metadata: { header: [BASIC, 2], bits: 64, mask: true },
  eth_dst: { header: [BASIC, 3], bits: 48, mask: true, ovs: "dl_dst", nxm: [[NXM0, 1]] },
  eth_src: { header: [BASIC, 4], bits: 48, mask: true, ovs: "dl_src", nxm: [[NXM0, 2]] },
  eth_type: { header: [BASIC, 5], bits: 16, ovs: "dl_type", nxm: [[NXM0, 3]] },
  vlan_vid: { header: [BASIC, 6], bits: 13, mask: true },
  vlan_pcp: { header: [BASIC, 7], bits: 3, pre: "vlan_vid" },
  ip_dscp: { header: [BASIC, 8], bits: 6, pre: "ip" },
  ip_ecn: { header: [BASIC, 9], bits: 2, pre: "ip", ovs: "nw_ecn", nxm: [[NXM1, 28]] },
  ip_proto: { header: [BASIC, 10], bits: 8, pre: "ip", ovs: "nw_proto", nxm: [[NXM0, 6]] },
  ipv4_src: { header: [BASIC, 11], bits: 32, mask: true, pre: "ipv4", ovs: "nw_src", nxm: [[NXM0, 7]] },
  ipv4_dst: { header: [BASIC, 12], bits: 32, mask: true, pre: "ipv4", ovs: "nw_dst", nxm: [[NXM0, 8]] },
  tcp_src: { header: [BASIC, 13], bits: 16, mask: true, pre: "tcp", nxm: [[NXM0, 9]] },
  tcp_dst: { header: [BASIC, 14], bits: 16, mask: true, pre: "tcp", nxm: [[NXM0, 10]] },
  udp_src: { header: [BASIC, 15], bits: 16, mask: true, pre: "udp", nxm: [[NXM0, 11]] },
  udp_dst: { header: [BASIC, 16], bits: 16, mask: true, pre: "udp", nxm: [[NXM0, 12]] },
  sctp_src: { header: [BASIC, 17], bits: 16, mask: true, pre: "sctp" },
  sctp_dst: { header: [BASIC, 18], bits: 16, mask: true, pre: "sctp" },
  icmpv4_type: { header: [BASIC, 19], bits: 8, pre: "icmpv4", ovs: "icmp_type", nxm: [[NXM0, 13]] },
  icmpv4_code: { header: [BASIC, 20], bits: 8, pre: "icmpv4", ovs: "icmp_code", nxm: [[NXM0, 14]] },
  arp_op: { header: [BASIC, 21], bits: 16, pre: "arp", nxm: [[NXM0, 15]] },
  arp_spa: { header: [BASIC, 22], bits: 32, mask: true, pre: "arp", nxm: [[NXM0, 16]] },
  arp_tpa: { header: [BASIC, 23], bits: 32, mask: true, pre: "arp", nxm: [[NXM0, 17]] },
  arp_sha: { header: [BASIC, 24], bits: 48, mask: true, pre: "arp", nxm: [[NXM1, 17]] },
  arp_tha: { header: [BASIC, 25], bits: 48, mask: true, pre: "arp", nxm: [[NXM1, 18]] },
  ipv6_src: { header: [BASIC, 26], bits: 128, mask: true, pre: "ipv6", nxm: [[NXM1, 19]] },
  ipv6_dst: { header: [BASIC, 27], bits: 128, mask: true, pre: "ipv6", nxm: [[NXM1, 20]] },
  ipv6_flabel: {
    header: [BASIC, 28],
    bits: 20,
    size: 4,
    mask: true,
    pre: "ipv6",
    ovs: "ipv6_label",
    nxm: [[NXM1, 27]],
  },
  icmpv6_type: { header: [BASIC, 29], bits: 8, pre: "icmpv6", nxm: [[NXM1, 21]] },
  icmpv6_code: { header: [BASIC, 30], bits: 8, pre: "icmpv6", nxm: [[NXM1, 22]] },
  ipv6_nd_target: {
    header: [BASIC, 31],
    bits: 128,
    mask: true,
    pre: "nd",
    ovs: "nd_target",
    nxm: [[NXM1, 23]],
  },
  ipv6_nd_sll: {
    header: [BASIC, 32],
    bits: 48,
    mask: true,
    pre: "nd_solicit",
    ovs: "nd_sll",
    nxm: [[NXM1, 24]],
  },
  ipv6_nd_tll: {
    header: [BASIC, 33],
    bits: 48,
    mask: true,
    pre: "nd_advert",
    ovs: "nd_tll",
    nxm: [[NXM1, 25]],
  },
  mpls_label: { header: [BASIC, 34], bits: 20, size: 4, pre: "mpls" },
  mpls_tc: { header: [BASIC, 35], bits: 3, pre: "mpls" },
  mpls_bos: { header: [BASIC, 36], bits: 1, pre: "mpls" },
  pbb_isid: { header: [BASIC, 37], bits: 24, mask: true, pre: "pbb" },
  tunnel_id: { header: [BASIC, 38], bits: 64, mask: true, ovs: "tun_id", nxm: [[NXM1, 16]] },
  ipv6_exthdr: { header: [BASIC, 39], bits: 9, mask: true, pre: "ipv6", readOnly: true },
  // ONF extension fields: class OFPXMC_EXPERIMENTER, experimenter ONF.
  tcp_flags: {
    header: [EXP, 42, ONF],
    bits: 12,
    mask: true,
    pre: "tcp",
    readOnly: true,
    nxm: [[NXM1, 34]],
    number15: 42,
  },
  actset_output: { header: [EXP, 43, ONF], bits: 32, readOnly: true, number15: 43 },
  // OpenFlow 1.5; what Open vSwitch's clients send with an otherwise empty match.
  packet_type: { header: [BASIC, 44], bits: 32, readOnly: true },
  // Ericsson's fields of neighbour discovery.
  nd_reserved: { header: [OFPXMC_ERICSSON, 1], bits: 32, pre: "nd" },
  nd_options_type: { header: [OFPXMC_ERICSSON, 2], bits: 8, pre: "nd" },
  // Nicira fields.
  nxm_in_port: { header: [NXM0, 0], bits: 16, ovs: "in_port" },
  vlan_tci: { header: [NXM0, 4], bits: 16, mask: true },
  ip_tos: { header: [NXM0, 5], bits: 8, pre: "ip", ovs: "nw_tos" },
  reg0: { header: [NXM1, 0], bits: 32, mask: true },
  reg1: { header: [NXM1, 1], bits: 32, mask: true },
  reg2: { header: [NXM1, 2], bits: 32, mask: true },
  reg3: { header: [NXM1, 3], bits: 32, mask: true },
  reg4: { header: [NXM1, 4], bits: 32, mask: true },
  reg5: { header: [NXM1, 5], bits: 32, mask: true },
  reg6: { header: [NXM1, 6], bits: 32, mask: true },
  reg7: { header: [NXM1, 7], bits: 32, mask: true },
  reg8: { header: [NXM1, 8], bits: 32, mask: true },
  reg9: { header: [NXM1, 9], bits: 32, mask: true },
  reg10: { header: [NXM1, 10], bits: 32, mask: true },
  reg11: { header: [NXM1, 11], bits: 32, mask: true },
  reg12: { header: [NXM1, 12], bits: 32, mask: true },
  reg13: { header: [NXM1, 13], bits: 32, mask: true },
  reg14: { header: [NXM1, 14], bits: 32, mask: true },
  reg15: { header: [NXM1, 15], bits: 32, mask: true },
  ip_frag: { header: [NXM1, 26], bits: 2, mask: true, pre: "ip", readOnly: true },
  nw_ttl: { header: [NXM1, 29], bits: 8, pre: "ip" },
  mpls_ttl: { header: [NXM1, 30], bits: 8, pre: "mpls" },
  tun_src: { header: [NXM1, 31], bits: 32, mask: true },
  tun_dst: { header: [NXM1, 32], bits: 32, mask: true },
  tun_ipv6_src: { header: [NXM1, 109], bits: 128, mask: true },
  tun_ipv6_dst: { header: [NXM1, 110], bits: 128, mask: true },
  tun_flags: { header: [NXM1, 104], bits: 1, size: 2, mask: true },
  pkt_mark: { header: [NXM1, 33], bits: 32, mask: true },
  conj_id: { header: [NXM1, 37], bits: 32, readOnly: true },
  tun_gbp_id: { header: [NXM1, 38], bits: 16, mask: true },
  tun_gbp_flags: { header: [NXM1, 39], bits: 8, mask: true },
  ct_state: { header: [NXM1, 105], bits: 32, mask: true, readOnly: true },
  ct_zone: { header: [NXM1, 106], bits: 16, readOnly: true },
  ct_mark: { header: [NXM1, 107], bits: 32, mask: true },
  ct_label: { header: [NXM1, 108], bits: 128, mask: true },
  ct_nw_proto: { header: [NXM1, 119], bits: 8, pre: "ct", readOnly: true },
  ct_nw_src: { header: [NXM1, 120], bits: 32, mask: true, pre: "ct_ipv4", readOnly: true },
  ct_nw_dst: { header: [NXM1, 121], bits: 32, mask: true, pre: "ct_ipv4", readOnly: true },
  ct_ipv6_src: { header: [NXM1, 122], bits: 128, mask: true, pre: "ct_ipv6", readOnly: true },
  ct_ipv6_dst: { header: [NXM1, 123], bits: 128, mask: true, pre: "ct_ipv6", readOnly: true },
  ct_tp_src: { header: [NXM1, 124], bits: 16, mask: true, pre: "ct", readOnly: true },
  ct_tp_dst: { header: [NXM1, 125], bits: 16, mask: true, pre: "ct", readOnly: true },
  xxreg0: { header: [NXM1, 111], bits: 128, mask: true },
  xxreg1: { header: [NXM1, 112], bits: 128, mask: true },
  xxreg2: { header: [NXM1, 113], bits: 128, mask: true },
  xxreg3: { header: [NXM1, 114], bits: 128, mask: true },
  xreg0: { header: [OFPXMC_PACKET_REGS, 0], bits: 64, mask: true },
  xreg1: { header: [OFPXMC_PACKET_REGS, 1], bits: 64, mask: true },
  xreg2: { header: [OFPXMC_PACKET_REGS, 2], bits: 64, mask: true },
  xreg3: { header: [OFPXMC_PACKET_REGS, 3], bits: 64, mask: true },
  xreg4: { header: [OFPXMC_PACKET_REGS, 4], bits: 64, mask: true },
  xreg5: { header: [OFPXMC_PACKET_REGS, 5], bits: 64, mask: true },
  xreg6: { header: [OFPXMC_PACKET_REGS, 6], bits: 64, mask: true },
  xreg7: { header: [OFPXMC_PACKET_REGS, 7], bits: 64, mask: true },
  // What our switch does not match, but flows as text and recorded messages may name.
  dp_hash: { header: [NXM1, 35], bits: 32, mask: true, readOnly: true },
  recirc_id: { header: [NXM1, 36], bits: 32, readOnly: true },
  tun_erspan_idx: { header: [EXP, 11, NX], bits: 20, size: 4, mask: true },
  tun_erspan_ver: { header: [EXP, 12, NX], bits: 4, mask: true },
  tun_erspan_dir: { header: [EXP, 13, NX], bits: 1, mask: true },
  tun_erspan_hwid: { header: [EXP, 14, NX], bits: 6, mask: true },
  tun_gtpu_flags: { header: [EXP, 15, NX], bits: 8, mask: true, readOnly: true },
  tun_gtpu_msgtype: { header: [EXP, 16, NX], bits: 8, mask: true, readOnly: true },
  nsh_flags: { header: [EXP, 1, NSH], bits: 8, mask: true, pre: "nsh" },
  nsh_mdtype: { header: [EXP, 2, NSH], bits: 8, pre: "nsh", readOnly: true },
  nsh_np: { header: [EXP, 3, NSH], bits: 8, pre: "nsh", readOnly: true },
  nsh_spi: { header: [EXP, 4, NSH], bits: 24, size: 4, pre: "nsh" },
  nsh_si: { header: [EXP, 5, NSH], bits: 8, pre: "nsh" },
  nsh_c1: { header: [EXP, 6, NSH], bits: 32, mask: true, pre: "nsh" },
  nsh_c2: { header: [EXP, 7, NSH], bits: 32, mask: true, pre: "nsh" },
  nsh_c3: { header: [EXP, 8, NSH], bits: 32, mask: true, pre: "nsh" },
  nsh_c4: { header: [EXP, 9, NSH], bits: 32, mask: true, pre: "nsh" },
  nsh_ttl: { header: [EXP, 10, NSH], bits: 8, pre: "nsh" },
} as const satisfies Record<string, Row>;

/** Options of tunnels: how long each is follows from a table that the switch is told (NXT_TLV_TABLE_MOD). */
const TUN_METADATA_COUNT = 64;
const TUN_METADATA_FIRST = 40;
const TUN_METADATA_SIZE_MAX = 124;

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
export type TunMetadataName = `tun_metadata${Digit | `${1 | 2 | 3 | 4 | 5}${Digit}` | `6${0 | 1 | 2 | 3}`}`;
export type OxmFieldName = keyof typeof ROWS | TunMetadataName;

/** Every known field by name. */
export const OXM_FIELDS: Readonly<Record<OxmFieldName, OxmField>> = Object.fromEntries(
  [...(Object.entries(ROWS) as [OxmFieldName, Row][]), ...tunMetadata()].map(([name, row]) => [
    name,
    fieldOf(name, row),
  ]),
) as Record<OxmFieldName, OxmField>;

function tunMetadata(): [OxmFieldName, Row][] {
  return Array.from({ length: TUN_METADATA_COUNT }, (_, n) => [
    `tun_metadata${n}` as OxmFieldName,
    { header: [NXM1, TUN_METADATA_FIRST + n], bits: TUN_METADATA_SIZE_MAX * 8, mask: true, variable: true },
  ]);
}

function fieldOf(name: OxmFieldName, row: Row): OxmField {
  return {
    name,
    ovsName: row.ovs ?? name,
    oxmClass: row.header[0],
    number: row.header[1],
    experimenter: row.header[2] ?? 0,
    bits: row.bits,
    size: row.size ?? Math.ceil(row.bits / 8),
    isVariable: row.variable ?? false,
    maskable: row.mask ?? false,
    prerequisite: row.pre ?? "none",
    writable: row.readOnly !== true,
    aliases: row.nxm ?? [],
    number15: row.number15,
  };
}

const BY_HEADER = new Map<number, OxmField>();
for (const field of Object.values(OXM_FIELDS)) {
  BY_HEADER.set(headerKey(field.oxmClass, field.number, field.experimenter), field);
  for (const [oxmClass, number] of field.aliases) BY_HEADER.set(headerKey(oxmClass, number, 0), field);
  if (field.number15 !== undefined) BY_HEADER.set(headerKey(BASIC, field.number15, 0), field);
}

/** The class is of 16 bits, the number of 7; only OFPXMC_EXPERIMENTER has an experimenter, of 32. */
function headerKey(oxmClass: number, number: number, experimenter: number): number {
  return experimenter === 0 ? (oxmClass << 7) | number : 2 ** 23 + experimenter * 2 ** 7 + number;
}

/** The field with this wire header, under its own or an alias header; undefined when unknown. */
export function fieldByHeader(oxmClass: number, number: number, experimenter = 0): OxmField | undefined {
  return BY_HEADER.get(headerKey(oxmClass, number, experimenter));
}
