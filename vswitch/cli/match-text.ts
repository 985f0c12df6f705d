// A match as ovs-ofctl prints it: "priority=100,tcp,in_port=1,nw_dst=10.0.0.0/8,tp_dst=80". Pure.
// Source: ovs-fields(7) for names; the order of the parts is that of ovs-ofctl(8) dump-flows.
// Invariant: what is printed parses to a match of the same packets.
import {
  type Match,
  OFP10_VERSION,
  OXM_FIELDS,
  type OxmEntry,
  type OxmField,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { bytesToNumber, formatFieldValue, formatPort } from "./field-text.js";
import { protocolOf } from "./protocol-text.js";

/** Names of ports by number, where names are to be shown. */
export type PortNames = ReadonlyMap<number, string>;

interface Bits {
  readonly value: bigint;
  /** undefined = every bit counts. */
  readonly mask: bigint | undefined;
}

type Entries = ReadonlyMap<OxmFieldName, OxmEntry>;

/** Fields in the order in which they are printed; "protocol", "registers" and "vlan" stand for several. */
const ORDER: readonly string[] = [
  ...[
    "pkt_mark",
    "recirc_id",
    "dp_hash",
    "conj_id",
    "actset_output",
    "ct_state",
    "ct_zone",
    "ct_mark",
    "ct_label",
  ],
  ...["ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"],
  ...[
    "protocol",
    "registers",
    "tunnel_id",
    "tunnel",
    "metadata",
    "in_port",
    "nxm_in_port",
    "in_phy_port",
    "vlan",
  ],
  ...["eth_src", "eth_dst", "eth_type", "arp_spa", "arp_tpa", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"],
  ...[
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
  ],
  ...[
    "ipv6_flabel",
    "ipv6_exthdr",
    "ip_proto",
    "arp_op",
    "arp_sha",
    "arp_tha",
    "ip_tos",
    "ip_dscp",
    "ip_ecn",
  ],
  ...["nw_ttl", "mpls_label", "mpls_tc", "mpls_ttl", "mpls_bos", "pbb_isid", "ip_frag", "icmpv4_type"],
  ...["icmpv4_code", "icmpv6_type", "icmpv6_code", "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll", "tcp_src"],
  ...["tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst", "tcp_flags"],
];
const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"];
const STATES_ALL = 0xffn;
const CT_STATES = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];

/** As a match of the version is understood: in 1.0 "no tag" is all of the tag. */
export function matchInVersion(match: Match, version: number): Match {
  if (version !== OFP10_VERSION) return match;
  return match.map((entry) =>
    entry.field === "vlan_vid" && entry.mask === undefined && entry.value.every((byte) => byte === 0)
      ? { field: "vlan_tci", value: entry.value }
      : entry,
  );
}

/** The parts of a match, "" for one that everything matches. */
export function formatMatch(match: Match, names?: PortNames): string {
  return matchParts(match, names).join(",");
}

/** As formatMatch(), part by part. */
export function matchParts(match: Match, names?: PortNames): string[] {
  const entries: Entries = new Map(match.map((entry) => [entry.field, entry]));
  const protocol = protocolOf(entries);
  const parts: string[] = [];
  const hasConnection = entries.has("ct_nw_proto");
  for (const name of ORDER) {
    if (name === "protocol") {
      const packetType = entries.get("packet_type");
      if (packetType?.value.some((byte) => byte !== 0)) parts.push(fieldPart(packetType, names));
      if (isDatapathFlow(entries)) parts.push("eth");
      if (protocol !== undefined) parts.push(protocol.name);
    } else if (name === "registers") parts.push(...registerParts(match));
    else if (name === "vlan") parts.push(...vlanParts(entries));
    else if (name === "tunnel") parts.push(...tunnelParts(match));
    else if (name === "ct_state") parts.push(...stateParts(entries.get(name)));
    else {
      const entry = entries.get(name as OxmFieldName);
      if (entry === undefined || protocol?.covers.includes(entry.field) === true) continue;
      // Ports of a connection whose protocol is not asked for are not told.
      if (/^ct_tp_/.test(name) && !hasConnection) continue;
      // The words of the first type of metadata are those of no other.
      if (/^nsh_c\d/.test(name) && !hasFixedMetadata(entries)) continue;
      parts.push(fieldPart(entry, names));
    }
  }
  const known = (field: OxmFieldName): boolean =>
    ORDER.includes(field) || /^(x*reg|vlan_|tun_|packet_type)/.test(field);
  return [
    ...parts,
    ...match.filter(({ field }) => !known(field)).map((entry) => fieldPart(entry, undefined)),
  ];
}

/** What only a datapath's flows ask for makes it said that the packet has an Ethernet header. */
function isDatapathFlow(entries: Entries): boolean {
  const isEthernet = (["eth_src", "eth_dst", "eth_type", "vlan_vid", "vlan_tci"] as const).some((field) =>
    entries.has(field),
  );
  const packetType = entries.get("packet_type")?.value;
  return entries.has("recirc_id") && isEthernet && !packetType?.some((byte) => byte !== 0);
}

function hasFixedMetadata(entries: Entries): boolean {
  return entries.get("nsh_mdtype")?.value[0] === 1;
}

/** With all the bits that there are it is told as a list; bits that mean nothing are not told. */
function stateParts(entry: OxmEntry | undefined): string[] {
  if (entry === undefined) return [];
  const { value, mask = STATES_ALL } = bitsOf(entry);
  const told = mask & STATES_ALL;
  if (told === 0n) return [];
  return [`ct_state=${formatStateBits(value & told, told === STATES_ALL ? undefined : told)}`];
}

function fieldPart(entry: OxmEntry, names: PortNames | undefined): string {
  const field = OXM_FIELDS[entry.field];
  const { value, mask } = bitsOf(entry);
  switch (entry.field) {
    case "in_port":
    case "actset_output":
      return `${entry.field}=${formatNamedPort(Number(value), names)}`;
    case "tcp_flags":
      return `tcp_flags=${mask === undefined ? exactFlags(value, TCP_FLAGS) : maskedFlags(value, mask, TCP_FLAGS)}`;
    case "packet_type": {
      const type = value & 0xffffn;
      return `packet_type=(${value >> 16n},${type < 10n ? type : hex(type)})`;
    }
    case "eth_type":
      return `dl_type=0x${value.toString(16).padStart(4, "0")}`;
    case "ip_dscp":
      return `nw_tos=${value << 2n}`;
    case "ip_tos":
      return `nw_tos=${value}`;
    case "ip_frag":
      return `nw_frag=${formatFragment(Number(value), mask === undefined ? 3 : Number(mask))}`;
    case "ipv6_flabel":
      return `ipv6_label=${label(value)}${mask === undefined ? "" : `/${label(mask)}`}`;
    default:
      return plainPart(field, entry);
  }
}

const DECIMAL: readonly OxmFieldName[] = ["conj_id", "ct_zone", "ct_nw_proto", "tun_gbp_id"];

function plainPart(field: OxmField, entry: OxmEntry): string {
  const { value, mask } = bitsOf(entry);
  if (/^(tcp|udp|sctp)_(src|dst)$/.test(field.name))
    return `tp_${field.name.slice(-3)}=${short(value, mask)}`;
  if (/^icmpv[46]_/.test(field.name)) return `icmp_${field.name.slice(7)}=${value}`;
  if (/^(ct_tp_|mpls_)/.test(field.name) || DECIMAL.includes(field.name))
    return `${field.ovsName}=${short(value, mask)}`;
  if (field.name === "ip_proto" || field.name === "nw_ttl" || field.name === "ip_ecn")
    return `${field.ovsName}=${value}`;
  if (field.name === "nsh_flags" && mask !== undefined)
    return `nsh_flags=0x${byteHex(value)}/0x${byteHex(mask)}`;
  if (field.name === "arp_op") return `arp_op=${value}`;
  if (/^(pkt_mark|recirc_id|dp_hash|ct_mark|ct_label|metadata|tunnel_id|nsh_spi|nsh_c\d)$/.test(field.name))
    return `${field.ovsName}=${long(value, mask)}`;
  return `${field.ovsName}=${formatFieldValue(field, entry)}`;
}

export function formatNamedPort(port: number, names: PortNames | undefined): string {
  const name = names?.get(port);
  if (name === undefined) return formatPort(port);
  return /^[A-Za-z][A-Za-z0-9_.-]*$/.test(name) ? name : JSON.stringify(name);
}

function bitsOf({ value, mask }: OxmEntry): Bits {
  return { value: bytesToNumber(value), mask: mask === undefined ? undefined : bytesToNumber(mask) };
}

/** Decimal, or both in hexadecimal when masked. */
function short(value: bigint, mask: bigint | undefined): string {
  return mask === undefined ? String(value) : `0x${value.toString(16)}/0x${mask.toString(16)}`;
}

function byteHex(value: bigint): string {
  return value.toString(16).padStart(2, "0");
}

function long(value: bigint, mask: bigint | undefined): string {
  return mask === undefined ? hex(value) : `${hex(value)}/${hex(mask)}`;
}

function hex(value: bigint): string {
  return value === 0n ? "0" : `0x${value.toString(16)}`;
}

function label(value: bigint): string {
  return `0x${value.toString(16).padStart(5, "0")}`;
}

/** "syn|ack", or 0. */
function exactFlags(value: bigint, names: readonly string[]): string {
  const set = names.filter((_, bit) => ((value >> BigInt(bit)) & 1n) === 1n);
  const rest = value >> BigInt(names.length);
  if (rest !== 0n) set.push(`0x${(rest << BigInt(names.length)).toString(16)}`);
  return set.length === 0 ? "0" : set.join("|");
}

function maskedFlags(value: bigint, mask: bigint, names: readonly string[]): string {
  const text = names.flatMap((name, bit) => {
    if (((mask >> BigInt(bit)) & 1n) === 0n) return [];
    return [`${((value >> BigInt(bit)) & 1n) === 1n ? "+" : "-"}${name}`];
  });
  return text.join("");
}

/** An exact state is written with "|", a partial one with signs. */
export function formatStateBits(value: bigint, mask: bigint | undefined): string {
  if (mask !== undefined && mask >> 8n !== 0n && mask !== 0xffffffffn) return long(value, mask);
  return mask === undefined || mask === 0xffffffffn
    ? exactFlags(value, CT_STATES)
    : maskedFlags(value, mask, CT_STATES);
}

function formatFragment(value: number, mask: number): string {
  if (mask === 1) return (value & 1) !== 0 ? "yes" : "no";
  if (mask === 2) return (value & 2) !== 0 ? "later" : "not_later";
  return ["no", "first", "<error>", "later"][value & 3] as string;
}

/** Registers one by one, 64 and 128 bit views taken apart. */
function registerParts(match: Match): string[] {
  const words = new Map<number, Bits>();
  for (const entry of match) {
    const [, wide, number] = /^(x{0,2})reg(\d+)$/.exec(entry.field) ?? [];
    if (wide === undefined) continue;
    const count = 1 << wide.length;
    for (let i = 0; i < count; i++) {
      const mask =
        entry.mask === undefined ? 0xffffffffn : bytesToNumber(entry.mask.subarray(4 * i, 4 * i + 4));
      const value = bytesToNumber(entry.value.subarray(4 * i, 4 * i + 4));
      if (mask !== 0n)
        words.set(Number(number) * count + i, { value, mask: mask === 0xffffffffn ? undefined : mask });
    }
  }
  return [...words].sort(([a], [b]) => a - b).map(([n, { value, mask }]) => `reg${n}=${long(value, mask)}`);
}

const TUNNEL_ORDER: readonly string[] = [
  ...["tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "tun_gbp_id", "tun_gbp_flags"],
  ...["tun_erspan_ver", "tun_erspan_idx", "tun_erspan_dir", "tun_erspan_hwid"],
  ...["tun_gtpu_flags", "tun_gtpu_msgtype", "tun_flags"],
  ...Array.from({ length: 64 }, (_, n) => `tun_metadata${n}`),
];

function tunnelPart(entry: OxmEntry): string {
  // Of these the mask is not told.
  if (entry.field === "tun_gbp_flags") return `tun_gbp_flags=${hex(bytesToNumber(entry.value))}`;
  if (entry.field === "tun_gtpu_flags") return `gtpu_flags=${hex(bytesToNumber(entry.value))}`;
  if (entry.field === "tun_gtpu_msgtype") return `gtpu_msgtype=${bytesToNumber(entry.value)}`;
  if (entry.field.startsWith("tun_erspan")) return erspanPart(entry);
  if (entry.mask?.every((byte) => byte === 0) === true && entry.field.startsWith("tun_metadata"))
    return entry.field;
  if (entry.field.startsWith("tun_metadata")) return metadataPart(entry);
  if (entry.field !== "tun_flags") return plainPart(OXM_FIELDS[entry.field], entry);
  const { value, mask } = bitsOf(entry);
  return `tun_flags=${maskedFlags(value, mask ?? 1n, ["oam"])}`;
}

function erspanPart({ field, value }: OxmEntry): string {
  const number = bytesToNumber(value);
  return `${field}=${field === "tun_erspan_ver" || field === "tun_erspan_dir" ? number : hex(number)}`;
}

/** A mask of ones from its first bit on is not told. */
function metadataPart({ field, value, mask }: OxmEntry): string {
  const significant = mask?.subarray(
    Math.max(
      0,
      mask.findIndex((byte) => byte !== 0),
    ),
  );
  const isWhole = significant?.every((byte) => byte === 0xff) ?? true;
  return `${field}=${long(bytesToNumber(value), isWhole || mask === undefined ? undefined : bytesToNumber(mask))}`;
}

/** Of ERSPAN only what the version has is told: an index in the first, direction and hardware in the second. */
function isTold({ field, value }: OxmEntry, erspanVersion: bigint): boolean {
  const isSet = value.some((byte) => byte !== 0);
  if (/^tun_(erspan_ver|gtpu_)/.test(field)) return isSet;
  if (field === "tun_erspan_idx") return erspanVersion === 1n;
  return (field !== "tun_erspan_dir" && field !== "tun_erspan_hwid") || (erspanVersion === 2n && isSet);
}

function tunnelParts(match: Match): string[] {
  const version = match.find(({ field }) => field === "tun_erspan_ver");
  const erspanVersion = version === undefined ? 0n : bytesToNumber(version.value);
  const entries = match.filter((entry) => entry.field.startsWith("tun_") && isTold(entry, erspanVersion));
  const rank = ({ field }: OxmEntry): number => TUNNEL_ORDER.indexOf(field);
  return entries.sort((a, b) => rank(a) - rank(b)).map((entry) => tunnelPart(entry));
}

/** dl_vlan and dl_vlan_pcp where whole, else the tag's 16 bits with a mask. */
function vlanParts(entries: Entries): string[] {
  const pieces = [
    [entries.get("vlan_tci"), 0xffffn, 0n],
    [entries.get("vlan_vid"), 0x1fffn, 0n],
    [entries.get("vlan_pcp"), 0x7n, 13n],
  ] as const;
  let value = 0n;
  let mask = 0n;
  for (const [entry, all, shift] of pieces) {
    if (entry === undefined) continue;
    value |= bytesToNumber(entry.value) << shift;
    mask |= (entry.mask === undefined ? all : bytesToNumber(entry.mask) & all) << shift;
  }
  // A priority can only be that of a tag.
  if (entries.has("vlan_pcp")) [value, mask] = [value | 0x1000n, mask | 0x1000n];
  if (mask === 0n) return [];
  const [vid, pcp] = [mask & 0xfffn, mask & 0xe000n];
  const whole = (vid === 0n || vid === 0xfffn) && (pcp === 0n || pcp === 0xe000n) && vid + pcp > 0n;
  if ((mask & value & 0x1000n) !== 0n && whole) {
    return [
      ...(vid === 0n ? [] : [`dl_vlan=${value & 0xfffn}`]),
      ...(pcp === 0n ? [] : [`dl_vlan_pcp=${value >> 13n}`]),
    ];
  }
  const tci = (number: bigint): string => `0x${number.toString(16).padStart(4, "0")}`;
  return [
    mask === 0xffffn && entries.has("vlan_tci")
      ? `vlan_tci=${tci(value)}`
      : `vlan_tci=${tci(value)}/${tci(mask)}`,
  ];
}
