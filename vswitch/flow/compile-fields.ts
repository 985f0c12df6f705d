// Parts of fields compiled to words of the key: what a set, a move and their relatives change.
// Thread: any.
import { type BitRange, OXM_FIELDS, type OxmFieldName } from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import { keyField, type OptionMap, ones, putBits, unknownField } from "./fields.js";
import * as K from "./key.js";
import { optionNumber } from "./option-number.js";
import * as P from "./program.js";

const WRITERS: Partial<Record<OxmFieldName, number>> = {
  eth_dst: P.W_ETH_DST,
  eth_src: P.W_ETH_SRC,
  eth_type: P.W_ETH_TYPE,
  vlan_tci: P.W_TCI,
  vlan_vid: P.W_VLAN,
  vlan_pcp: P.W_VLAN,
  ip_dscp: P.W_TOS,
  ip_ecn: P.W_TOS,
  ip_tos: P.W_TOS,
  ip_proto: P.W_PROTO,
  nw_ttl: P.W_TTL,
  ipv4_src: P.W_SOURCE,
  ipv6_src: P.W_SOURCE,
  arp_spa: P.W_SOURCE,
  ipv4_dst: P.W_DESTINATION,
  ipv6_dst: P.W_DESTINATION,
  arp_tpa: P.W_DESTINATION,
  tcp_src: P.W_PORTS,
  tcp_dst: P.W_PORTS,
  udp_src: P.W_PORTS,
  udp_dst: P.W_PORTS,
  sctp_src: P.W_PORTS,
  sctp_dst: P.W_PORTS,
  icmpv4_type: P.W_ICMP,
  icmpv4_code: P.W_ICMP,
  icmpv6_type: P.W_ICMP,
  icmpv6_code: P.W_ICMP,
  arp_op: P.W_ARP_OP,
  arp_sha: P.W_SHA,
  arp_tha: P.W_THA,
  ipv6_nd_target: P.W_ND_TARGET,
  ipv6_nd_sll: P.W_ND_LINK_LAYER,
  ipv6_nd_tll: P.W_ND_LINK_LAYER,
  ipv6_flabel: P.W_FLOW_LABEL,
  mpls_label: P.W_MPLS,
  mpls_tc: P.W_MPLS,
  mpls_bos: P.W_MPLS,
  mpls_ttl: P.W_MPLS,
  pbb_isid: P.W_ISID,
  nd_reserved: P.W_ND_RESERVED,
  nd_options_type: P.W_ND_OPTION,
  in_port: P.W_IN_PORT,
  nxm_in_port: P.W_IN_PORT,
};

/** How a change of the field gets into the packet; P.W_NONE when it is not of the packet. */
export function writerOf(name: OxmFieldName): number {
  const option = optionNumber(name);
  return option < 0 ? (WRITERS[name] ?? P.W_NONE) : P.W_OPTION + option;
}

export function requireWritable(name: OxmFieldName): void {
  if (!OXM_FIELDS[name].writable) throw flowError("OFPBAC_BAD_SET_TYPE", `${name} cannot be set`);
}

/** The run of key bits that a range of a field means. */
export function rangeStart(range: BitRange, options?: OptionMap): number {
  const field = keyField(range.field, options);
  if (field === undefined)
    throw flowError(
      unknownField(range.field, "OFPBAC_BAD_SET_TYPE"),
      `${range.field} is not known to this switch`,
    );
  // An option may have no value at all, of which nothing can be anything but set.
  const isEmpty = range.bits === 0 && field.bits === 0;
  if ((range.bits < 1 && !isEmpty) || range.offset < 0 || range.offset + range.bits > field.bits)
    throw flowError(
      OXM_FIELDS[range.field].isVariable ? "OFPBAC_BAD_SET_LEN" : "OFPBAC_BAD_ARGUMENT",
      `bits ${range.offset}+${range.bits} exceed ${range.field}`,
    );
  return field.start + field.bits - range.offset - range.bits;
}

/** The field from its first bit to its last. */
export function wholeOf(name: OxmFieldName, options?: OptionMap): BitRange {
  return { field: name, offset: 0, bits: keyField(name, options)?.bits ?? OXM_FIELDS[name].bits };
}

/** Sets the bits of the range that `mask` has. */
export function compileSet(
  range: BitRange,
  value: bigint,
  mask: bigint,
  code: number[],
  options?: OptionMap,
): void {
  requireWritable(range.field);
  const start = rangeStart(range, options);
  const words = options === undefined ? K.KEY_WORDS : K.KEY_WORDS_MAX;
  const masks = new Int32Array(words);
  const values = new Int32Array(words);
  putBits(masks, start, range.bits, mask & ones(range.bits));
  putBits(values, start, range.bits, value & mask & ones(range.bits));
  const first = start >>> 5;
  const last = (start + range.bits + 31) >>> 5;
  code.push(P.OP_SET, writerOf(range.field), last - first);
  for (let word = first; word < last; word++) code.push(word, masks[word] as number, values[word] as number);
}

export function compileMove(
  source: BitRange,
  destination: BitRange,
  code: number[],
  options?: OptionMap,
): void {
  requireWritable(destination.field);
  if (source.bits !== destination.bits)
    throw flowError("OFPBAC_BAD_ARGUMENT", "source and destination differ in width");
  const parts = pieces(rangeStart(source, options), rangeStart(destination, options), source.bits);
  code.push(P.OP_MOVE, writerOf(destination.field), parts.length / 5, ...parts);
}

/** Pieces that copy `bits` bits from bit `from` to bit `to`, each within one word on both sides, the lowest first. */
export function pieces(from: number, to: number, bits: number): number[] {
  let fromEnd = from + bits;
  let toEnd = to + bits;
  const parts: number[] = [];
  for (let left = bits; left > 0; ) {
    const width = Math.min(left, ((fromEnd - 1) & 31) + 1, ((toEnd - 1) & 31) + 1);
    const [fromWord, fromShift] = [(fromEnd - 1) >>> 5, 31 - ((fromEnd - 1) & 31)];
    parts.push(fromWord, fromShift, (toEnd - 1) >>> 5, 31 - ((toEnd - 1) & 31), width);
    fromEnd -= width;
    toEnd -= width;
    left -= width;
  }
  return parts;
}

/** count, pieces: from the range in the key to the low bits of the scratch words. */
export function compileRead(range: BitRange, code: number[], options?: OptionMap): void {
  const start = rangeStart(range, options);
  requireNarrow(range);
  const parts = pieces(start, P.SCRATCH_BITS - range.bits, range.bits);
  code.push(parts.length / 5, ...parts);
}

/** writer, count, pieces: from the low bits of the scratch words to the range in the key. */
export function compileWrite(range: BitRange, code: number[], options?: OptionMap): void {
  requireWritable(range.field);
  const start = rangeStart(range, options);
  requireNarrow(range);
  const parts = pieces(P.SCRATCH_BITS - range.bits, start, range.bits);
  code.push(writerOf(range.field), parts.length / 5, ...parts);
}

/** What goes over the stack, or is learned, is no longer than any field but an option of tunnels. */
export function requireNarrow({ field, bits }: BitRange): void {
  if (bits > P.SCRATCH_BITS)
    throw flowError("OFPBAC_BAD_SET_LEN", `${bits} bits of ${field}; at most ${P.SCRATCH_BITS} at a time`);
}
