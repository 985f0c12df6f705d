// A flow key as the exact match of its packet: what traces, dumps of caches and messages about packets show.
// Pure. Thread: any.
import type { Match, OxmEntry, OxmFieldName } from "../../base/openflow/index.js";
import { type PacketPool, PacketPool as Pool } from "../../base/packet/index.js";
import { type OptionReader, readField } from "./fields.js";
import * as K from "./key.js";

/** A packet by its fields. */
export interface PacketView {
  /** Exact values; pipeline fields only where they are not zero, in_port always. */
  readonly match: Match;
  /** Tag control information of each VLAN tag, outermost first, with the bit 0x1000 set. */
  readonly tags: readonly number[];
  /** MPLS label stack entries behind the first. */
  readonly labels?: readonly number[];
}

export interface FrameView extends PacketView {
  /** Protocol and offset of the header behind that of IP; undefined when there is none that is understood. */
  readonly transport: { readonly protocol: number; readonly offset: number } | undefined;
}

const IP_FIELDS: readonly OxmFieldName[] = ["ip_proto", "ip_dscp", "ip_ecn", "nw_ttl", "ip_frag"];
const PIPELINE: readonly OxmFieldName[] = [
  ...(["tunnel_id", "tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst", "tun_gbp_id"] as const),
  ...(["tun_gbp_flags", "tun_flags", "metadata", "ct_state", "ct_zone", "ct_mark"] as const),
  ...(["ct_label", "pkt_mark", "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "reg6", "reg7"] as const),
  ...(["reg8", "reg9", "reg10", "reg11", "reg12", "reg13", "reg14", "reg15"] as const),
];

/** `tags` and `labels` of the frame are the caller's: the key holds only the outermost of each. */
export function packetView(
  key: Int32Array,
  tags: readonly number[],
  labels: readonly number[] = [],
  options?: OptionReader,
): PacketView {
  const fields: OxmFieldName[] = ["in_port", "eth_src", "eth_dst", "eth_type"];
  const type = (key[K.K_TYPE_TCI] as number) >>> 16;
  const protocol = (key[K.K_IP] as number) >>> 24;
  if (type === 0x0800) fields.push("ipv4_src", "ipv4_dst", ...IP_FIELDS);
  else if (type === 0x86dd) fields.push("ipv6_src", "ipv6_dst", "ipv6_flabel", ...IP_FIELDS);
  else if (type === 0x0806 || type === 0x8035)
    fields.push("arp_spa", "arp_tpa", "arp_op", "arp_sha", "arp_tha");
  else if (type === 0x8847 || type === 0x8848) fields.push("mpls_label", "mpls_tc", "mpls_ttl", "mpls_bos");
  else if (type === 0x88e7) fields.push("pbb_isid");
  if (type === 0x0800 || type === 0x86dd) fields.push(...transportFields(type, protocol, key));
  const match = fields
    .map((name) => readField(key, name))
    .filter((entry): entry is OxmEntry => entry !== undefined);
  for (const name of PIPELINE) {
    const entry = readField(key, name);
    if (entry?.value.some((byte) => byte !== 0)) match.push(entry);
  }
  if (options !== undefined) match.push(...options.read(key));
  const tci = tags[0] ?? 0;
  match.push({ field: "vlan_tci", value: Uint8Array.of(tci >> 8, tci & 0xff) });
  return labels.length < 2 ? { match, tags } : { match, tags, labels: labels.slice(1, 1 + LABELS_SHOWN) };
}

function transportFields(type: number, protocol: number, key: Int32Array): readonly OxmFieldName[] {
  if (((key[K.K_IP] as number) & K.FRAGMENT_LATER) !== 0) return [];
  if (protocol === 6) return ["tcp_src", "tcp_dst", "tcp_flags"];
  if (protocol === 17) return ["udp_src", "udp_dst"];
  if (protocol === 132) return ["sctp_src", "sctp_dst"];
  if (protocol === 1 && type === 0x0800) return ["icmpv4_type", "icmpv4_code"];
  if (protocol !== 58 || type !== 0x86dd) return [];
  const kind = ((key[K.K_TP] as number) >>> 16) & 0xff;
  const base: readonly OxmFieldName[] = ["icmpv6_type", "icmpv6_code"];
  const isNeighbour = kind === 135 || kind === 136;
  return isNeighbour ? [...base, "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll"] : base;
}

/** The VLAN tags of a packet, outermost first. */
export function tagsOf(pool: PacketPool, packet: number): number[] {
  return wholeTagsOf(pool, packet).map((tag) => (tag & 0xffff) | 0x1000);
}

/** The same with their EtherTypes above. */
export function wholeTagsOf(pool: PacketPool, packet: number): number[] {
  const { view } = pool;
  const start = pool.offset[packet] as number;
  const end = start + (pool.length[packet] as number);
  const tags: number[] = [];
  for (let at = start + 12; at + 6 <= end; at += 4) {
    const type = view.getUint16(at);
    if (type !== 0x8100 && type !== 0x88a8) break;
    tags.push(view.getUint32(at));
  }
  return tags;
}

const LABELS_MAX = 8;
/** As many as Open vSwitch knows, but for the first. */
const LABELS_SHOWN = 2;

/** The label stack entries, outermost first. */
export function labelsOf(pool: PacketPool, headers: K.Headers, key: Int32Array): number[] {
  const type = (key[K.K_TYPE_TCI] as number) >>> 16;
  const labels: number[] = [];
  if (type !== 0x8847 && type !== 0x8848) return labels;
  for (let at = headers.payload; at + 4 <= headers.end && labels.length < LABELS_MAX; at += 4) {
    const entry = pool.view.getUint32(at);
    labels.push(entry);
    if ((entry & 0x100) !== 0) break;
  }
  return labels;
}

let scratch: PacketPool | undefined;

/** The frame by its fields, as if it had come in by `inPort`; undefined when it is too long for a packet. */
export function frameView(frame: Uint8Array, inPort: number): FrameView | undefined {
  scratch ??= new Pool({ slots: 1 });
  const packet = scratch.allocateFrom(frame);
  if (packet < 0) return undefined;
  const key = new Int32Array(K.KEY_WORDS);
  key[K.K_IN_PORT] = inPort;
  const headers = new K.Headers();
  headers.readsFirstFragments = true;
  headers.parse(scratch, packet, key);
  const view = packetView(key, tagsOf(scratch, packet));
  const start = scratch.offset[packet] as number;
  const { l4, l4Protocol } = headers;
  scratch.free(packet);
  return { ...view, transport: l4 < 0 ? undefined : { protocol: l4Protocol, offset: l4 - start } };
}
