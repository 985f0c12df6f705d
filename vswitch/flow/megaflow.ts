// The fields of a packet that decided what became of it: the packets that agree in them all go the same way. What
// ofproto/trace calls the megaflow. For traces only. Thread: datapath worker.
// Source: ofproto/trace of ovs-vswitchd(8); what each action looks at as Open vSwitch has it, ovs-actions(7).
import type {
  Action,
  BitRange,
  HashFields,
  Match,
  OxmEntry,
  OxmFieldName,
} from "../../base/openflow/index.js";
import { OFPP_NORMAL } from "../../base/openflow/index.js";
import { TableSearch } from "./consulted-fields.js";
import type { PacketView } from "./exact-match.js";
import { entryOf, getBits, keyField, ones, readField, thereBit } from "./fields.js";
import type { Flow } from "./flow.js";
import type { FlowTables } from "./flow-tables.js";
import * as K from "./key.js";
import { optionNumber } from "./option-number.js";
import type { TunnelOptions } from "./tunnel-options.js";

/** What was looked at of the second VLAN tag. */
export interface InnerTag {
  readonly tci: number;
  readonly mask: number;
}

export interface MegaflowView {
  /** Only what counts; masked where some of its bits do. */
  readonly match: Match;
  readonly innerTag: InnerTag | undefined;
}

/** Fields that are told even where they are zero. */
const PIPELINE: readonly OxmFieldName[] = [
  ...(["ct_state", "ct_zone", "ct_mark", "ct_label", "pkt_mark"] as const),
];
const FORGOTTEN = /^(metadata|reg\d+|conj_id|actset_output)$/;
const TCI_PRESENT = 0x1000;
const TCI_VID = 0x0fff;

/** What is known of tables that have not changed since. */
const searches = new WeakMap<FlowTables, { revision: number; readonly tables: Map<number, TableSearch> }>();

function searchOf(tables: FlowTables, tableId: number): TableSearch {
  let known = searches.get(tables);
  if (known === undefined || known.revision !== tables.revision) {
    known = { revision: tables.revision, tables: new Map() };
    searches.set(tables, known);
  }
  let search = known.tables.get(tableId);
  if (search === undefined) {
    search = new TableSearch(tables.flowsOf(tableId));
    known.tables.set(tableId, search);
  }
  return search;
}

export class Megaflow {
  readonly #mask = new Int32Array(K.KEY_WORDS_MAX);
  readonly #start: Int32Array;
  readonly #tags: readonly number[];
  readonly #options: TunnelOptions;
  #innerMask = 0;

  /** `key` is the packet's as the run begins; `tags` are its VLAN tags, outermost first; `options` those of its bridge. */
  constructor(key: Int32Array, tags: readonly number[], options: TunnelOptions) {
    this.#start = key.slice();
    this.#tags = tags;
    this.#options = options;
    this.#whole("in_port", "eth_type");
    if (isIp(key)) this.#whole("ip_frag");
  }

  /** These bits of the key have decided. */
  add(bits: Int32Array): void {
    for (let i = 0; i < bits.length; i++) this.#mask[i] = (this.#mask[i] as number) | (bits[i] as number);
  }

  lookup(tables: FlowTables, tableId: number, key: Int32Array, found: Flow | null): void {
    searchOf(tables, tableId).consult(key, found, this.#mask);
  }

  /** NORMAL looks at addresses and VLAN. */
  normal(key: Int32Array): void {
    this.#whole("eth_src", "eth_dst");
    this.#tci(TCI_VID);
    const isArp = (key[K.K_TYPE_TCI] as number) >>> 16 === 0x0806;
    const isBroadcast =
      (key[K.K_ETH_DST] as number) === -1 && (key[K.K_ETH_DST + 1] as number) >>> 16 === 0xffff;
    // Whether it is gratuitous.
    if (!isArp || !isBroadcast) return;
    this.#whole("arp_op");
    if ((key[K.K_TP] as number) >>> 16 === 1) this.#whole("arp_spa", "arp_tpa");
  }

  /** A mirror looks at the VLAN. */
  mirrored(): void {
    this.#tci(TCI_VID);
  }

  /** `count` of the packet's own tags, from the outermost, are gone when it leaves. */
  popped(count: number): void {
    if (count > 0 && this.#tags.length > 0) this.#tci(0xffff);
    if (count > 1 && this.#tags.length > 1) this.#innerMask = 0xffff;
  }

  /** The packet is about to be treated so; `tags`: how many it has now. */
  action(action: Action, key: Int32Array, tags: number): void {
    switch (action.type) {
      case "output":
        if (action.port === OFPP_NORMAL) this.normal(key);
        return;
      case "set_field":
        this.#change(action.field, action.mask === undefined ? undefined : bitsOf(action.mask), key);
        return;
      case "load":
        this.#change(action.destination.field, bitsIn(action.destination), key);
        return;
      case "move":
        this.#range(action.source, key);
        this.#change(action.destination.field, bitsIn(action.destination), key);
        return;
      case "output_reg":
        this.#range(action.source, key);
        return;
      case "learn":
        for (const spec of action.specs) if (typeof spec.source === "object") this.#range(spec.source, key);
        return;
      case "bundle":
        if (action.algorithm === "hrw") this.#hash(action.fields, key);
        return;
      case "multipath":
        this.#hash(action.fields, key);
        return;
      case "dec_nw_ttl":
      case "dec_ttl_ids":
      case "set_nw_ttl":
        if (isIp(key)) this.#whole("nw_ttl", "ip_proto");
        return;
      case "fin_timeout":
        if (!isIp(key)) return;
        this.#whole("ip_proto");
        if ((key[K.K_IP] as number) >>> 24 === 6) this.#bits("tcp_flags", 5n);
        return;
      default:
        this.#stack(action.type, key, tags);
    }
  }

  /** What pushes and pops look at. */
  #stack(type: Action["type"], key: Int32Array, tags: number): void {
    switch (type) {
      case "push_vlan":
        if (tags > 0) this.#tci(0xffff);
        if (tags > 1) this.#innerMask = 0xffff;
        return;
      case "pop_vlan":
        if (tags > 1) this.#innerMask = 0xffff;
        return;
      case "push_mpls":
        if (isMpls(key)) this.#mask[K.K_MPLS] = -1;
        else if (isIp(key)) this.#whole("ip_dscp", "nw_ttl");
        return;
      case "pop_mpls":
        if (isMpls(key)) this.#whole("mpls_bos");
        return;
      case "dec_mpls_ttl":
      case "set_mpls_ttl":
        if (isMpls(key)) this.#whole("mpls_ttl");
        return;
      default:
    }
  }

  /** A group of type select chooses by the conversation. */
  conversation(key: Int32Array): void {
    if (isIp(key)) this.#hash("symmetric_l3l4+udp", key);
    else this.#whole("eth_src", "eth_dst");
  }

  /** The bits of a field that have decided so far, as its own bytes. */
  consulted(name: OxmFieldName): Uint8Array {
    return readField(this.#mask, name, this.#options)?.value ?? new Uint8Array(0);
  }

  /** `start`: the packet by its fields when the run began. */
  view(start: PacketView): MegaflowView {
    // Without an end there is no tunnel, and its number is none of the packet.
    const isTunnelled = start.match.some(({ field }) => /^tun_(ipv6_)?dst$/.test(field));
    const names = start.match
      .map(({ field }) => field)
      .filter((field) => !FORGOTTEN.test(field) && (isTunnelled || field !== "tunnel_id"));
    const options = isTunnelled ? this.#options.names : [];
    if (isTunnelled) {
      const isIpv4 = names.includes("tun_dst");
      const ends = isIpv4 ? (["tun_src", "tun_dst"] as const) : (["tun_ipv6_src", "tun_ipv6_dst"] as const);
      this.#whole("tunnel_id", ...ends);
      names.push("tunnel_id", ...ends);
    }
    const fields = [
      ...new Set([...names.filter((field) => optionNumber(field) < 0), ...PIPELINE, ...options]),
    ];
    // What was put onto the packet was no part of it.
    if (this.#tags.length === 0) this.#mask[K.K_TYPE_TCI] = (this.#mask[K.K_TYPE_TCI] as number) & ~0xffff;
    const tci = (this.#mask[K.K_TYPE_TCI] as number) & 0xffff;
    if (tci !== 0) this.#tci(tci | TCI_PRESENT);
    const isLater = ((this.#start[K.K_IP] as number) & K.FRAGMENT_LATER) !== 0;
    if (isLater) this.#mask[K.K_TP] = 0;
    const match = fields.flatMap((name) => this.#entry(name));
    const inner = this.#tags[1];
    const isInner = inner !== undefined && this.#innerMask !== 0 && tci !== 0;
    return { match, innerTag: isInner ? { tci: inner, mask: this.#innerMask } : undefined };
  }

  #entry(name: OxmFieldName): OxmEntry[] {
    const field = keyField(name, this.#options);
    const exact = readField(this.#start, name, this.#options);
    if (field === undefined || exact === undefined) return [];
    if (optionNumber(name) >= 0) {
      if (getBits(this.#mask, thereBit(name), 1) === 0n) return [];
      if (getBits(this.#start, thereBit(name), 1) === 0n) return [{ field: name, value: new Uint8Array(0) }];
    }
    const mask = getBits(this.#mask, field.start, field.bits);
    if (mask === 0n && optionNumber(name) < 0) return [];
    if (mask === ones(field.bits)) return [exact];
    const size = exact.value.byteLength;
    const { value } = entryOf(name, getBits(this.#start, field.start, field.bits) & mask, size);
    return [{ field: name, value, mask: entryOf(name, mask, size).value }];
  }

  // --- Marking

  #whole(...names: readonly OxmFieldName[]): void {
    for (const name of names) this.#bits(name, undefined);
  }

  #bits(name: OxmFieldName, bits: bigint | undefined): void {
    const field = keyField(name, this.#options);
    if (field === undefined) return;
    if (optionNumber(name) >= 0) {
      const there = thereBit(name);
      this.#mask[there >>> 5] = (this.#mask[there >>> 5] as number) | (1 << (31 - (there & 31)));
    }
    const all = bits ?? ones(field.bits);
    for (let i = 0; i < field.bits; i++) {
      if (((all >> BigInt(field.bits - 1 - i)) & 1n) === 0n) continue;
      const at = field.start + i;
      this.#mask[at >>> 5] = (this.#mask[at >>> 5] as number) | (1 << (31 - (at & 31)));
    }
  }

  #tci(bits: number): void {
    this.#mask[K.K_TYPE_TCI] = (this.#mask[K.K_TYPE_TCI] as number) | bits | TCI_PRESENT;
  }

  /** A field that is set, or read, where the packet has it. */
  #set(name: OxmFieldName, bits: bigint | undefined, key: Int32Array): void {
    if (/^vlan_/.test(name)) this.#tci(0);
    if (/^(tcp|udp|sctp|icmp|ipv6_nd|nd_)/.test(name)) {
      if (!isIp(key)) return;
      this.#whole("ip_proto");
    }
    if (isThere(name, key)) this.#bits(name, bits);
  }

  /** As #set(), of what is to be changed: the protocol tells how. */
  #change(name: OxmFieldName, bits: bigint | undefined, key: Int32Array): void {
    this.#set(name, bits, key);
    if (!isThere(name, key)) return;
    if (/^(ipv4|ipv6)_|^(nw_ttl|ip_ecn)$/.test(name)) this.#whole("ip_proto");
    if (/^arp_/.test(name)) this.#whole("arp_op");
  }

  /** An action that is told of by another name reads these bits. */
  reads(range: BitRange, key: Int32Array): void {
    this.#range(range, key);
  }

  #range(range: BitRange, key: Int32Array): void {
    this.#set(range.field, bitsIn(range), key);
  }

  #hash(fields: HashFields, key: Int32Array): void {
    const [source, destination] = ADDRESSES[(key[K.K_TYPE_TCI] as number) >>> 16] ?? [];
    if (fields === "eth_src") this.#whole("eth_src");
    if (fields === "symmetric_l4") {
      this.#whole("eth_src", "eth_dst");
      this.#tci(TCI_VID);
    }
    if (source === undefined || destination === undefined || fields === "eth_src") return;
    if (fields !== "nw_dst") this.#whole(source);
    if (fields !== "nw_src") this.#whole(destination);
    if (/^nw_|^symmetric_l3$/.test(fields)) return;
    this.#whole("ip_proto");
    const protocol = (key[K.K_IP] as number) >>> 24;
    if (protocol === 6 || protocol === 132 || (protocol === 17 && fields === "symmetric_l3l4+udp"))
      this.#mask[K.K_TP] = -1;
  }
}

const ADDRESSES: Readonly<Record<number, readonly [OxmFieldName, OxmFieldName]>> = {
  2048: ["ipv4_src", "ipv4_dst"],
  34525: ["ipv6_src", "ipv6_dst"],
};

function isIp(key: Int32Array): boolean {
  return ADDRESSES[(key[K.K_TYPE_TCI] as number) >>> 16] !== undefined;
}

function isMpls(key: Int32Array): boolean {
  const type = (key[K.K_TYPE_TCI] as number) >>> 16;
  return type === 0x8847 || type === 0x8848;
}

/** Whether the packet has the field: those of other protocols lie in the same bits. */
function isThere(name: OxmFieldName, key: Int32Array): boolean {
  const type = (key[K.K_TYPE_TCI] as number) >>> 16;
  const protocol = (key[K.K_IP] as number) >>> 24;
  const layer = /^(ipv4|ipv6|ip|nw|arp|mpls|tcp|udp|sctp|icmpv4|icmpv6|nd|vlan)_/.exec(name)?.[1];
  switch (layer) {
    case "ipv4":
      return type === 0x0800;
    case "ipv6":
      return type === 0x86dd;
    case "ip":
    case "nw":
      return isIp(key);
    case "arp":
      return type === 0x0806 || type === 0x8035;
    case "mpls":
      return isMpls(key);
    case "tcp":
      return isIp(key) && protocol === 6;
    case "udp":
      return isIp(key) && protocol === 17;
    case "sctp":
      return isIp(key) && protocol === 132;
    case "icmpv4":
      return type === 0x0800 && protocol === 1;
    case "icmpv6":
    case "nd":
      return type === 0x86dd && protocol === 58;
    case "vlan":
      return ((key[K.K_TYPE_TCI] as number) & TCI_PRESENT) !== 0;
    default:
      return true;
  }
}

function bitsIn({ offset, bits }: BitRange): bigint {
  return ones(bits) << BigInt(offset);
}

function bitsOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}
