// Flows in the syntax of Open vSwitch's datapath: "in_port(1),eth(src=…,dst=…),eth_type(0x0800),ipv4(src=…)". Pure.
// Source: ovs-dpctl(8), dump-flows; ofproto/trace takes them too.
import { PlinthError } from "../../base/errors/index.js";
import type { Match } from "../../base/openflow/index.js";
import { type FlagSet, flagsOf, formatFlags } from "./flag-text.js";
import { splitKeyValues } from "./key-values.js";
import { MatchReader, type PortNumbers } from "./match-reader.js";

/** Keys inside a group, and the word of the flow syntax that each means. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  eth: { src: "dl_src", dst: "dl_dst" },
  vlan: { vid: "dl_vlan", pcp: "dl_vlan_pcp" },
  ipv4: { src: "nw_src", dst: "nw_dst", proto: "nw_proto", tos: "nw_tos", ttl: "nw_ttl", frag: "nw_frag" },
  ipv6: {
    ...{ src: "ipv6_src", dst: "ipv6_dst", label: "ipv6_label", proto: "nw_proto", tclass: "nw_tos" },
    ...{ hlimit: "nw_ttl", frag: "nw_frag" },
  },
  tcp: { src: "tp_src", dst: "tp_dst" },
  udp: { src: "tp_src", dst: "tp_dst" },
  sctp: { src: "tp_src", dst: "tp_dst" },
  icmp: { type: "icmp_type", code: "icmp_code" },
  icmpv6: { type: "icmpv6_type", code: "icmpv6_code" },
  nd: { target: "nd_target", sll: "nd_sll", tll: "nd_tll" },
  arp: { sip: "arp_spa", tip: "arp_tpa", op: "arp_op", sha: "arp_sha", tha: "arp_tha" },
  mpls: { label: "mpls_label", tc: "mpls_tc", ttl: "mpls_ttl", bos: "mpls_bos" },
};
const PLAIN: Readonly<Record<string, string>> = {
  in_port: "in_port",
  eth_type: "dl_type",
  skb_mark: "pkt_mark",
  tcp_flags: "tcp_flags",
  ct_mark: "ct_mark",
  ct_zone: "ct_zone",
  ct_state: "ct_state",
  ct_label: "ct_label",
};
const IGNORED = new Set(["recirc_id", "skb_priority", "dp_hash", "packet_type", "tunnel"]);
/** After this, the kind of what is inside a tag. */
const NESTED = new Set(["encap"]);
const DEPTH_MAX = 4;
const CT_STATES = flagsOf("ct_state") as FlagSet;

/** What Open vSwitch makes of frames that say no type: too short for one, or with a length in its place. */
const NO_TYPE = "0x05ff";

/** The exact fields of a datapath flow; `ports`: numbers in the datapath by name. Throws TRACE_INVALID. */
export function parseDatapathFlow(text: string, ports?: PortNumbers): Match {
  if (text.split("(").length !== text.split(")").length) throw refusal(text);
  const reader = new MatchReader(ports);
  take(reader, text, 0);
  if (!text.includes("eth_type(")) takeOne(reader, "dl_type", NO_TYPE);
  return reader.finish().match;
}

function take(reader: MatchReader, text: string, depth: number): void {
  if (depth > DEPTH_MAX) throw refusal(text);
  for (const { key, value, delimiter } of splitKeyValues(text)) {
    if (delimiter !== "(") throw refusal(key);
    if (IGNORED.has(key)) continue;
    if (NESTED.has(key)) take(reader, value, depth + 1);
    else if (Object.hasOwn(PLAIN, key)) takeOne(reader, PLAIN[key] as string, value);
    else if (Object.hasOwn(GROUPS, key))
      takeGroup(reader, GROUPS[key] as Readonly<Record<string, string>>, value);
    else throw refusal(key);
  }
}

function takeGroup(reader: MatchReader, names: Readonly<Record<string, string>>, text: string): void {
  for (const { key, value } of splitKeyValues(text)) {
    const word = Object.hasOwn(names, key) ? names[key] : undefined;
    if (word !== undefined) takeOne(reader, word, value);
    else if (key !== "cfi") throw refusal(key);
  }
}

/** A mask in a trace says which bits were compared; the packet has the value. */
function takeOne(reader: MatchReader, word: string, text: string): void {
  const value = text.split("/")[0] as string;
  // The outer type of a tagged frame is the tag's, and what follows has its own.
  if (word === "dl_type" && (value === "0x8100" || value === "0x88a8")) return;
  const isBits = word === "ct_state" && /^(0x[0-9a-f]+|\d+)$/i.test(value);
  if (isBits && Number(value) === 0) return;
  const shown = isBits ? formatFlags(CT_STATES, Number(value), undefined) : value;
  if (!reader.takeField(word, shown)) throw refusal(text);
}

function refusal(text: string): PlinthError {
  return new PlinthError("TRACE_INVALID", `syntax error at ${text.slice(0, 60)}`);
}
