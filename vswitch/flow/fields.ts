// Where each OXM field lies in the flow key, and matches compiled to masked keys.
// Source: base/openflow/oxm-fields.ts for names and widths, key.ts for the layout. Thread: any.
import {
  CT_STATE_EST,
  CT_STATE_NEW,
  CT_STATE_RPL,
  type Match,
  OFPVID_PRESENT,
  type OfpErrorName,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import { keptKey } from "./kept-keys.js";
import * as K from "./key.js";
import { optionNumber } from "./option-number.js";

/** A run of bits in the key: `start` counts from the most significant bit of word 0. */
export interface KeyField {
  readonly name: OxmFieldName;
  readonly start: number;
  readonly bits: number;
}

const at = (word: number, bit: number, bits: number): readonly [number, number] => [word * 32 + bit, bits];
type Places = Partial<Record<OxmFieldName, readonly [start: number, bits: number]>>;

/** reg0 to reg15, and the same words two and four at a time. */
const REGISTERS: Places = Object.fromEntries([
  ...Array.from({ length: 16 }, (_, n) => [`reg${n}`, at(K.K_REG + n, 0, 32)]),
  ...Array.from({ length: 8 }, (_, n) => [`xreg${n}`, at(K.K_REG + 2 * n, 0, 64)]),
  ...Array.from({ length: 4 }, (_, n) => [`xxreg${n}`, at(K.K_REG + 4 * n, 0, 128)]),
]);

const PLACES: Places = {
  in_port: at(K.K_IN_PORT, 0, 32),
  nxm_in_port: at(K.K_IN_PORT, 16, 16),
  eth_dst: at(K.K_ETH_DST, 0, 48),
  eth_src: at(K.K_ETH_DST, 48, 48),
  eth_type: at(K.K_TYPE_TCI, 0, 16),
  vlan_tci: at(K.K_TYPE_TCI, 16, 16),
  vlan_pcp: at(K.K_TYPE_TCI, 16, 3),
  vlan_vid: at(K.K_TYPE_TCI, 19, 13),
  ip_proto: at(K.K_IP, 0, 8),
  ip_tos: at(K.K_IP, 8, 8),
  ip_dscp: at(K.K_IP, 8, 6),
  ip_ecn: at(K.K_IP, 14, 2),
  nw_ttl: at(K.K_IP, 16, 8),
  ip_frag: at(K.K_IP, 30, 2),
  tcp_src: at(K.K_TP, 0, 16),
  tcp_dst: at(K.K_TP, 16, 16),
  udp_src: at(K.K_TP, 0, 16),
  udp_dst: at(K.K_TP, 16, 16),
  sctp_src: at(K.K_TP, 0, 16),
  sctp_dst: at(K.K_TP, 16, 16),
  icmpv4_type: at(K.K_TP, 8, 8),
  icmpv4_code: at(K.K_TP, 24, 8),
  icmpv6_type: at(K.K_TP, 8, 8),
  icmpv6_code: at(K.K_TP, 24, 8),
  arp_op: at(K.K_TP, 0, 16),
  ipv4_src: at(K.K_SRC, 0, 32),
  ipv4_dst: at(K.K_DST, 0, 32),
  arp_spa: at(K.K_SRC, 0, 32),
  arp_tpa: at(K.K_DST, 0, 32),
  ipv6_src: at(K.K_SRC, 0, 128),
  ipv6_dst: at(K.K_DST, 0, 128),
  arp_sha: at(K.K_HARDWARE, 0, 48),
  arp_tha: at(K.K_HARDWARE, 48, 48),
  ipv6_nd_sll: at(K.K_HARDWARE, 0, 48),
  ipv6_nd_tll: at(K.K_HARDWARE, 48, 48),
  ipv6_nd_target: at(K.K_TARGET, 0, 128),
  ipv6_exthdr: at(K.K_V6, 3, 9),
  ipv6_flabel: at(K.K_V6, 12, 20),
  mpls_label: at(K.K_MPLS, 0, 20),
  mpls_tc: at(K.K_MPLS, 20, 3),
  mpls_bos: at(K.K_MPLS, 23, 1),
  mpls_ttl: at(K.K_MPLS, 24, 8),
  pbb_isid: at(K.K_ISID, 8, 24),
  tcp_flags: at(K.K_TCP_FLAGS, 20, 12),
  tunnel_id: at(K.K_TUNNEL, 0, 64),
  metadata: at(K.K_METADATA, 0, 64),
  ct_state: at(K.K_CT_STATE, 0, 32),
  ct_zone: at(K.K_CT_ZONE, 16, 16),
  ct_mark: at(K.K_CT_MARK, 0, 32),
  ct_label: at(K.K_CT_LABEL, 0, 128),
  ct_nw_proto: at(K.K_CT_ZONE, 0, 8),
  ct_nw_src: at(K.K_CT_SRC, 0, 32),
  ct_nw_dst: at(K.K_CT_DST, 0, 32),
  ct_ipv6_src: at(K.K_CT_SRC, 0, 128),
  ct_ipv6_dst: at(K.K_CT_DST, 0, 128),
  ct_tp_src: at(K.K_CT_TP, 0, 16),
  ct_tp_dst: at(K.K_CT_TP, 16, 16),
  pkt_mark: at(K.K_PKT_MARK, 0, 32),
  nd_reserved: at(K.K_ND_RESERVED, 0, 32),
  nd_options_type: at(K.K_ND_OPTION, 0, 8),
  conj_id: at(K.K_CONJ_ID, 0, 32),
  actset_output: at(K.K_ACTSET_OUTPUT, 0, 32),
  tun_src: at(K.K_TUN_SRC, 0, 32),
  tun_dst: at(K.K_TUN_DST, 0, 32),
  tun_ipv6_src: at(K.K_TUN_IPV6_SRC, 0, 128),
  tun_ipv6_dst: at(K.K_TUN_IPV6_DST, 0, 128),
  tun_gbp_id: at(K.K_TUN_GBP, 0, 16),
  tun_gbp_flags: at(K.K_TUN_GBP, 16, 8),
  tun_flags: at(K.K_TUN_GBP, 31, 1),
  ...REGISTERS,
};

/** Where the key has the options of tunnels that are mapped. */
export interface OptionMap {
  readonly find: (name: OxmFieldName) => KeyField | undefined;
}

/** The options of tunnels that the packet with a key has. */
export interface OptionReader {
  readonly read: (key: Int32Array) => Match;
}

/** The field's place; undefined when this switch does not know the field, or `options` does not map it. */
export function keyField(name: OxmFieldName, options?: OptionMap): KeyField | undefined {
  const place = PLACES[name];
  return place === undefined ? options?.find(name) : { name, start: place[0], bits: place[1] };
}

/** Every field that this switch matches. */
export const MATCHABLE_FIELDS = Object.keys(PLACES) as readonly OxmFieldName[];

/** A match as a masked key. Invariant: value & ~mask = 0 in every word. */
export interface MaskedKey {
  readonly value: Int32Array;
  readonly mask: Int32Array;
}

/**
 * Throws OFPBMC_BAD_FIELD for a field that this switch does not match, OFPBMC_DUP_FIELD for bits that two fields ask for,
 * as reg0 and xreg0 do.
 */
export function compileMatch(match: Match, options?: OptionMap): MaskedKey {
  return fillKey(match, options, emptyKey(options === undefined ? K.KEY_WORDS : wordsFor(match, options)));
}

const passing = emptyKey(K.KEY_WORDS);

/** As compileMatch(), for a key that the next call may change; see keptMatch(). */
export function compilePassingMatch(match: Match, options: OptionMap): MaskedKey {
  if (wordsFor(match, options) > K.KEY_WORDS) return compileMatch(match, options);
  passing.value.fill(0);
  passing.mask.fill(0);
  return fillKey(match, options, passing);
}

/** What compilePassingMatch() has made, to be kept. */
export function keptMatch(key: MaskedKey): MaskedKey {
  return key === passing ? keptKey(key) : key;
}

/** One piece of memory for both: to take it is much of what a flow-mod costs. */
function emptyKey(length: number): MaskedKey {
  const words = new ArrayBuffer(8 * length);
  return { value: new Int32Array(words, 0, length), mask: new Int32Array(words, 4 * length, length) };
}

function fillKey(match: Match, options: OptionMap | undefined, key: MaskedKey): MaskedKey {
  const { value, mask } = key;
  for (const given of match) {
    if (isEthernet(given)) continue;
    const entry = given.field === "nxm_in_port" ? wholePort(given) : given;
    const field = keyField(entry.field, options);
    if (field === undefined)
      throw flowError(unknownField(entry.field, "OFPBMC_BAD_FIELD"), `${entry.field} cannot be matched`);
    addEntry(field, entry, value, mask);
    if (field.start < 32 * K.K_OPTIONS) continue;
    // An option with whatever value is one that is there.
    const there = thereBit(entry.field);
    orBits(mask, there + 1, 1, 1);
    orBits(value, there + 1, 1, 1);
  }
  return key;
}

/** The key bit that says whether an option of tunnels is there. */
export function thereBit(name: OxmFieldName): number {
  return 32 * K.K_OPTIONS_THERE + optionNumber(name);
}

/** How many words a key must have for the fields of the match. */
function wordsFor(match: Match, options: OptionMap): number {
  let words = K.KEY_WORDS;
  for (const { field } of match) {
    const place = options.find(field);
    if (place !== undefined) words = Math.max(words, (place.start + place.bits + 31) >>> 5);
  }
  return words;
}

/** The error for a field that is not known: an option of tunnels is one that nobody has mapped. */
export function unknownField(name: OxmFieldName, otherwise: OfpErrorName): OfpErrorName {
  return OXM_FIELDS[name].isVariable ? "NXFMFC_INVALID_TLV_FIELD" : otherwise;
}

/** A 16-bit port number stands for the whole number. */
function wholePort({ value }: OxmEntry): OxmEntry {
  return entryOf("in_port", BigInt(K.widenNumber(Number(toBigInt(value)))));
}

/** Every packet here begins with an Ethernet header: the one packet type that can be asked for. */
function isEthernet(entry: OxmEntry): boolean {
  if (entry.field !== "packet_type") return false;
  if (toBigInt(entry.value) !== 0n) throw flowError("OFPBMC_BAD_VALUE", "packets are Ethernet frames");
  return true;
}

function addEntry({ start, bits }: KeyField, entry: OxmEntry, value: Int32Array, mask: Int32Array): void {
  const bytes = entry.value;
  let end = start + bits;
  // From the low end, so that what is beyond the field's width is left out.
  for (let i = bytes.length - 1; i >= 0 && end > start; i--, end -= 8) {
    const width = Math.min(8, end - start);
    const ones = (1 << width) - 1;
    const wanted = entry.mask === undefined ? ones : (entry.mask[i] as number) & ones;
    if (!orBits(mask, end, width, wanted))
      throw flowError("OFPBMC_DUP_FIELD", `bits of ${entry.field} are matched twice`);
    orBits(value, end, width, (bytes[i] as number) & wanted);
  }
}

/** ORs up to 8 bits into the run that ends before bit `end`; false when some of them were there already. */
function orBits(words: Int32Array, end: number, width: number, bits: number): boolean {
  if (bits === 0) return true;
  const word = (end - 1) >>> 5;
  const shift = 31 - ((end - 1) & 31);
  let twice = (words[word] as number) & (bits << shift);
  words[word] = (words[word] as number) | (bits << shift);
  if (shift + width > 32) {
    twice |= (words[word - 1] as number) & (bits >>> (32 - shift));
    words[word - 1] = (words[word - 1] as number) | (bits >>> (32 - shift));
  }
  return twice === 0;
}

export function ones(bits: number): bigint {
  return (1n << BigInt(bits)) - 1n;
}

export function toBigInt(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

function toBytes(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = Number(value & 255n);
    value >>= 8n;
  }
  return bytes;
}

/** ORs `value` into the run of bits. */
export function putBits(words: Int32Array, start: number, bits: number, value: bigint): void {
  for (let i = 0; i < bits; i++) {
    if (((value >> BigInt(bits - 1 - i)) & 1n) === 0n) continue;
    const bit = start + i;
    words[bit >>> 5] = (words[bit >>> 5] as number) | (1 << (31 - (bit & 31)));
  }
}

/** The run of bits as a number. */
export function getBits(words: Int32Array, start: number, bits: number): bigint {
  let value = 0n;
  for (let bit = start; bit < start + bits; bit++) {
    value = (value << 1n) | BigInt(((words[bit >>> 5] as number) >>> (31 - (bit & 31))) & 1);
  }
  return value;
}

/** `value` as an exact entry for the field. */
export function entryOf(name: OxmFieldName, value: bigint, size = OXM_FIELDS[name].size): OxmEntry {
  return { field: name, value: toBytes(value, size) };
}

/** One field of a key as an exact OXM entry; undefined for unknown fields. */
export function readField(key: Int32Array, name: OxmFieldName, options?: OptionMap): OxmEntry | undefined {
  const field = keyField(name, options);
  if (field === undefined) return undefined;
  const size = OXM_FIELDS[name].isVariable ? field.bits >>> 3 : OXM_FIELDS[name].size;
  return { field: name, value: toBytes(getBits(key, field.start, field.bits), size) };
}

const PIPELINE_FIELDS: readonly OxmFieldName[] = [
  "tunnel_id",
  "tun_src",
  "tun_dst",
  "tun_ipv6_src",
  "tun_ipv6_dst",
  "tun_gbp_id",
  "tun_gbp_flags",
  "metadata",
  "ct_state",
  "ct_zone",
  "ct_mark",
  "ct_label",
  "pkt_mark",
  ...Array.from({ length: 16 }, (_, n) => `reg${n}` as OxmFieldName),
];

/** The match of a packet-in: in_port, and the other pipeline fields where they are not zero (7.4.1). */
export function pipelineMatch(key: Int32Array, options?: OptionReader): Match {
  const match: OxmEntry[] = [readField(key, "in_port") as OxmEntry];
  for (const name of PIPELINE_FIELDS) {
    const entry = readField(key, name) as OxmEntry;
    if (entry.value.some((byte) => byte !== 0)) match.push(entry);
  }
  if (options !== undefined) match.push(...options.read(key));
  match.push(...connectionMatch(key));
  return match;
}

/** The EtherType of a tracked packet, and the tuple of its connection where it belongs to one. */
function connectionMatch(key: Int32Array): Match {
  const state = key[K.K_CT_STATE] as number;
  const words = key.subarray(K.K_CT_SRC, K.K_PKT_MARK);
  const etherType = (key[K.K_TYPE_TCI] as number) >>> 16;
  if (state === 0) return [];
  const type = readField(key, "eth_type") as OxmEntry;
  const isOfConnection = (state & (CT_STATE_NEW | CT_STATE_EST | CT_STATE_RPL)) !== 0;
  const isIp = etherType === 0x0800 || etherType === 0x86dd;
  if (!isOfConnection || !isIp || words.every((word) => word === 0)) return [type];
  const names =
    etherType === 0x0800 ? (["ct_nw_src", "ct_nw_dst"] as const) : (["ct_ipv6_src", "ct_ipv6_dst"] as const);
  const tuple = (["ct_nw_proto", ...names, "ct_tp_src", "ct_tp_dst"] as const).map(
    (name) => readField(key, name) as OxmEntry,
  );
  return [type, ...tuple];
}

export { OFPVID_PRESENT };
