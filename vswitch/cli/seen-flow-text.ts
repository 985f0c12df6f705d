// Flows as dpctl/dump-flows of Open vSwitch prints them: "recirc_id(0),in_port(1),…,ipv4(dst=10.0.0.1/255.0.0.0,frag=no),
// packets:3, bytes:318, used:0.1s, actions:2". What did not count is left out. Pure. Source: ovs-dpctl(8).
import type { Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { formatIpv4Address, formatIpv6Address, formatMac } from "../../base/wire/index.js";
import type { MegaflowView, PacketView } from "../flow/index.js";
import { bytesToNumber } from "./field-text.js";
import { formatStateBits } from "./match-text.js";

export interface ShownFlow {
  readonly recirculation: number;
  readonly inPort: number;
  readonly start: PacketView;
  readonly megaflow: MegaflowView;
  readonly actions: readonly string[];
  readonly packets: number;
  readonly bytes: number;
  readonly tcpFlags: number;
  readonly idleMs: number | undefined;
  /** How many other flows are counted here, too; none when absent. */
  readonly others?: number;
}

/** FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, NS. */
const TCP_LETTERS = "FSRP.UECN";

/** Names of ports by their numbers in the datapath; without them the numbers are shown. */
export type DatapathNames = ReadonlyMap<number, string>;

export function formatSeenFlow(flow: ShownFlow, names?: DatapathNames): string {
  const used = flow.idleMs === undefined ? "never" : `${(flow.idleMs / 1000).toFixed(3)}s`;
  const actions = flow.actions.map((action) =>
    /^\d+$/.test(action) ? (names?.get(Number(action)) ?? action) : action,
  );
  const letters = [...TCP_LETTERS].filter((_, bit) => (flow.tcpFlags & (1 << bit)) !== 0).join("");
  const flags = letters === "" ? "" : `, flags:${letters}`;
  const others = flow.others === undefined || flow.others === 0 ? "" : `, others:${flow.others}`;
  const counters = `packets:${flow.packets}, bytes:${flow.bytes}, used:${used}${flags}${others}`;
  return `${matchText(flow, names)}, ${counters}, actions:${actions.length === 0 ? "drop" : actions.join(",")}`;
}

/** The exact value of a field, and which of its bits count. */
interface Part {
  readonly value: Uint8Array;
  /** Undefined: all. */
  readonly mask: Uint8Array | undefined;
}
type Parts = (field: OxmFieldName) => Part | undefined;
type Format = (bytes: Uint8Array) => string;

function matchText({ recirculation, inPort, start, megaflow }: ShownFlow, names?: DatapathNames): string {
  const parts = partsOf(start.match, megaflow.match);
  const type = Number(bytesToNumber(parts("eth_type")?.value ?? new Uint8Array(2)));
  const inner = [`eth_type(${hex16(type)})`, ...network(type, parts)];
  const [tci] = start.tags;
  const body =
    tci === undefined
      ? inner
      : ["eth_type(0x8100)", `vlan(${vlan(tci, parts)})`, `encap(${inner.join(",")})`];
  return [
    ...connection(parts),
    `recirc_id(${recirculation === 0 ? "0" : `0x${recirculation.toString(16)}`})`,
    `in_port(${names?.get(inPort) ?? inPort})`,
    "packet_type(ns=0,id=0)",
    ...group("eth", [one("src", parts("eth_src"), formatMac), one("dst", parts("eth_dst"), formatMac)]),
    ...body,
  ].join(",");
}

function partsOf(exact: Match, counted: Match): Parts {
  const values = new Map(exact.map((entry): [OxmFieldName, OxmEntry] => [entry.field, entry]));
  const masks = new Map(counted.map((entry): [OxmFieldName, OxmEntry] => [entry.field, entry]));
  return (field) => {
    const entry = masks.get(field);
    if (entry === undefined) return undefined;
    return { value: values.get(field)?.value ?? entry.value, mask: entry.mask };
  };
}

function connection(parts: Parts): string[] {
  const state = parts("ct_state");
  const bits = (bytes: Uint8Array): bigint => bytesToNumber(bytes);
  return [
    ...(state === undefined
      ? []
      : [
          `ct_state(${formatStateBits(state.mask === undefined ? bits(state.value) : bits(state.value) & bits(state.mask), state.mask === undefined ? 0xffn : bits(state.mask))})`,
        ]),
    ...bare("ct_zone", parts("ct_zone"), hexadecimal),
    ...bare("ct_mark", parts("ct_mark"), hexadecimal),
    ...bare("ct_label", parts("ct_label"), hexadecimal),
  ];
}

/** The VLAN always counts: that there is a tag cannot be told without it. */
function vlan(tci: number, parts: Parts): string {
  const mask = parts("vlan_tci")?.mask;
  const bits =
    parts("vlan_tci") === undefined ? 0x0fff : mask === undefined ? 0xffff : Number(bytesToNumber(mask));
  const [vid, pcp] = [bits & 0xfff, bits >> 13];
  const suffix = (have: number, all: number): string => (have === all ? "" : `/0x${have.toString(16)}`);
  return `vid=${tci & 0xfff}${suffix(vid, 0xfff)},pcp=${tci >> 13}${suffix(pcp, 7)}`;
}

function network(type: number, parts: Parts): string[] {
  if (type === 0x0806 || type === 0x8035)
    return group("arp", [
      one("sip", parts("arp_spa"), ipv4),
      one("tip", parts("arp_tpa"), ipv4),
      one("op", parts("arp_op"), decimal),
      one("sha", parts("arp_sha"), formatMac),
      one("tha", parts("arp_tha"), formatMac),
    ]);
  if (type === 0x8847 || type === 0x8848)
    return group("mpls", [
      one("label", parts("mpls_label"), decimal),
      one("tc", parts("mpls_tc"), decimal),
      one("ttl", parts("mpls_ttl"), decimal),
      one("bos", parts("mpls_bos"), decimal),
    ]);
  if (type === 0x0800)
    return [
      ...group("ipv4", [
        one("src", parts("ipv4_src"), ipv4),
        one("dst", parts("ipv4_dst"), ipv4),
        one("proto", parts("ip_proto"), decimal),
        ...traffic("tos", parts),
        one("ttl", parts("nw_ttl"), decimal),
        fragment(parts),
      ]),
      ...transport(parts),
    ];
  if (type !== 0x86dd) return [];
  return [
    ...group("ipv6", [
      one("src", parts("ipv6_src"), formatIpv6Address),
      one("dst", parts("ipv6_dst"), formatIpv6Address),
      one("label", parts("ipv6_flabel"), hexadecimal),
      one("proto", parts("ip_proto"), decimal),
      ...traffic("tclass", parts),
      one("hlimit", parts("nw_ttl"), decimal),
      fragment(parts),
    ]),
    ...transport(parts),
  ];
}

/** DSCP and ECN are one field there. */
function traffic(name: string, parts: Parts): (string | undefined)[] {
  const [dscp, ecn] = [parts("ip_dscp"), parts("ip_ecn")];
  if (dscp === undefined && ecn === undefined) return [];
  const value = ((dscp?.value[0] ?? 0) << 2) | (ecn?.value[0] ?? 0);
  const mask = (dscp === undefined ? 0 : (dscp.mask?.[0] ?? 0x3f) << 2) | (ecn === undefined ? 0 : 3);
  return [
    `${name}=${value === 0 ? "0" : `0x${value.toString(16)}`}${mask === 0xff ? "" : `/0x${mask.toString(16)}`}`,
  ];
}

function fragment(parts: Parts): string | undefined {
  const part = parts("ip_frag");
  return part === undefined ? undefined : `frag=${["no", "first", "no", "later"][(part.value[0] ?? 0) & 3]}`;
}

const PROTOCOLS = ["tcp", "udp", "sctp"] as const;

function transport(parts: Parts): string[] {
  const flags = parts("tcp_flags");
  return [
    ...PROTOCOLS.flatMap((name) =>
      group(name, [one("src", parts(`${name}_src`), decimal), one("dst", parts(`${name}_dst`), decimal)]),
    ),
    ...(flags === undefined ? [] : [`tcp_flags(${tcpFlags(flags)})`]),
    ...group("icmp", [
      one("type", parts("icmpv4_type"), decimal),
      one("code", parts("icmpv4_code"), decimal),
    ]),
    ...group("icmpv6", [
      one("type", parts("icmpv6_type"), decimal),
      one("code", parts("icmpv6_code"), decimal),
    ]),
    ...group("nd", [
      one("target", parts("ipv6_nd_target"), formatIpv6Address),
      one("sll", parts("ipv6_nd_sll"), formatMac),
      one("tll", parts("ipv6_nd_tll"), formatMac),
    ]),
  ];
}

const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];

function tcpFlags({ value, mask }: Part): string {
  const [bits, counted] = [
    Number(bytesToNumber(value)),
    mask === undefined ? 0xfff : Number(bytesToNumber(mask)),
  ];
  if (mask === undefined) {
    const set = TCP_FLAGS.filter((_, bit) => (bits & (1 << bit)) !== 0);
    return set.length === 0 ? "0" : set.join("|");
  }
  return TCP_FLAGS.flatMap((name, bit) =>
    (counted & (1 << bit)) === 0 ? [] : [`${(bits & (1 << bit)) === 0 ? "-" : "+"}${name}`],
  ).join("");
}

function one(name: string, part: Part | undefined, format: Format): string | undefined {
  return part === undefined ? undefined : `${name}=${masked(part, format)}`;
}

function bare(name: string, part: Part | undefined, format: Format): string[] {
  return part === undefined ? [] : [`${name}(${masked(part, format)})`];
}

function masked({ value, mask }: Part, format: Format): string {
  if (mask === undefined) return format(value);
  return `${format(value)}/${format === decimal ? hexadecimal(mask) : format(mask)}`;
}

/** "name(…)" with the parts that there are; nothing without any. */
function group(name: string, parts: readonly (string | undefined)[]): string[] {
  const there = parts.filter((part) => part !== undefined);
  return there.length === 0 ? [] : [`${name}(${there.join(",")})`];
}

const decimal: Format = (bytes) => String(bytesToNumber(bytes));
/** Zero has no prefix. */
const hexadecimal: Format = (bytes) => {
  const number = bytesToNumber(bytes);
  return number === 0n ? "0" : `0x${number.toString(16)}`;
};
const ipv4: Format = (bytes) => formatIpv4Address(Number(bytesToNumber(bytes)));

function hex16(number: number): string {
  return `0x${number.toString(16).padStart(4, "0")}`;
}
