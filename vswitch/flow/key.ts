// The flow key: everything a flow can match, as fixed 32-bit words, and where the headers of the packet are.
// Source: OpenFlow 1.3.5, 7.2.3.7 and 7.2.3.8; ovs-fields(7) for Nicira fields.
//
// Words are Int32 (comparisons stay small-integer); a field is a run of bits in the big-endian string of words.
//
//   0  in_port                      | 1–3  eth_dst 48, eth_src 48
//   4  eth_type 16, VLAN TCI 16 (bit 12 = a tag is present, DEI is not kept)
//   5  ip_proto 8, tos 8, ttl 8, fragment 8 (1 = any, 2 = not the first)
//   6  L4 source 16, destination 16; ICMP type and code; ARP operation in the first half
//   7–10 source address, IPv4 and ARP in the first word | 11–14 destination address
//   15 TCP flags
//   -- zero for plain IPv4: from K_WIDE --
//   16 IPv6 extension headers 9 (bits 20–28), flow label 20 | 17 MPLS label stack entry | 18 I-SID
//   19–21 arp_sha or nd_sll 48, arp_tha or nd_tll 48 | 22–25 nd_target | 26 nd_reserved | 27 nd_options_type 8
//   -- pipeline: from K_PIPELINE --
//   28–29 tunnel_id | 30–31 metadata | 32 ct_state | 33 ct_nw_proto 8 (bits 24–31), ct_zone 16 | 34 ct_mark
//   35–38 ct_label | 39–42 ct source address, IPv4 in the first word | 43–46 ct destination address
//   47 ct_tp_src 16, ct_tp_dst 16 | 48 pkt_mark | 49–64 reg0–reg15 | 65 conj_id, only in a lookup
//   66 actset_output | 67 tun_src | 68 tun_dst | 69–72 tun_ipv6_src | 73–76 tun_ipv6_dst
//   77 tun_gbp_id 16, tun_gbp_flags 8, tun_flags 8 | 78 queue + 1, or 0 | 79–80 which options of tunnels are there
//   -- only where words 79–80 are not zero: from K_OPTIONS; a match has no more of them than it needs --
//   81–400 options of tunnels, where tunnel-options.ts puts them; 0 for those that are not there
//
// Invariant: a word that the packet has no header for is 0. Every offset is checked against the packet's end.
// Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";

export const K_IN_PORT = 0;
export const K_ETH_DST = 1;
export const K_ETH_SRC_LOW = 3;
export const K_TYPE_TCI = 4;
export const K_IP = 5;
export const K_TP = 6;
export const K_SRC = 7;
export const K_DST = 11;
export const K_TCP_FLAGS = 15;
export const K_WIDE = 16;
export const K_V6 = 16;
export const K_MPLS = 17;
export const K_ISID = 18;
export const K_HARDWARE = 19;
export const K_TARGET = 22;
export const K_ND_RESERVED = 26;
export const K_ND_OPTION = 27;
export const K_TUNNEL = 28;
export const K_METADATA = 30;
export const K_CT_STATE = 32;
export const K_CT_ZONE = 33;
export const K_CT_MARK = 34;
export const K_CT_LABEL = 35;
/** From here to K_PKT_MARK: the tuple of the connection's first packet. */
export const K_CT_SRC = 39;
export const K_CT_DST = 43;
export const K_CT_TP = 47;
export const K_PKT_MARK = 48;
export const K_REG = 49;
export const K_CONJ_ID = 65;
export const K_ACTSET_OUTPUT = 66;
export const K_TUN_SRC = 67;
export const K_TUN_DST = 68;
export const K_TUN_IPV6_SRC = 69;
export const K_TUN_IPV6_DST = 73;
export const K_TUN_GBP = 77;
/** One more than the queue that set_queue chose; 0 = none. No field shows it. */
export const K_QUEUE = 78;
/** By number, tun_metadata0 first: the packet has the option. */
export const K_OPTIONS_THERE = 79;
/** What every key has, and all that most packets need. */
export const KEY_WORDS = 81;
export const K_OPTIONS = KEY_WORDS;
/** Five times what a table of options may take: pieces of 31 words at most fit in, however holes come about. */
export const OPTION_WORDS = 320;
/** A key with room for options of tunnels. */
export const KEY_WORDS_MAX = K_OPTIONS + OPTION_WORDS;
/** The first word that does not come from the packet's bytes (besides in_port). */
export const K_PIPELINE = 28;

/** actset_output while the action set has no output, or a group. */
export const OFPP_UNSET = 0xfffffff7 | 0;

export const FRAGMENT_ANY = 1;
export const FRAGMENT_LATER = 2;

export const L3_NONE = 0;
export const L3_IPV4 = 4;
export const L3_IPV6 = 6;
export const L3_ARP = 1;

/** VLAN tags that are looked through for the EtherType behind them, unless told to look at fewer. */
const TAGS_MAX = 4;
const EXTENSIONS_MAX = 16;

/** Header positions of one packet, as arena offsets; −1 = not there. Filled together with the key. */
export class Headers {
  /** Of the EtherType that says what the payload after all VLAN tags is. */
  type = 0;
  /** VLAN tags seen. */
  tags = 0;
  /** First byte after that EtherType. */
  payload = 0;
  l3Kind = L3_NONE;
  l3 = -1;
  l4 = -1;
  /** Protocol at l4; −1 when there is none that is understood. */
  l4Protocol = -1;
  /** Of a first fragment, whose transport header the key does not show: where that is. Else it means nothing. */
  hiddenL4 = -1;
  /** Neighbour discovery: of the link-layer address in the option that belongs to the type. */
  ndLinkLayer = -1;
  /** One past the last byte that the innermost parsed length field allows. */
  end = 0;
  /** Whether the transport header of a datagram's first fragment counts as one (OFPC_FRAG_NX_MATCH). */
  readsFirstFragments = false;
  /** VLAN tags that count as such, 1 to 4; further ones are payload, of the EtherType that announces the next. */
  tagsMax = TAGS_MAX;
  /** The same of the packet in hand: tags that were pushed count beyond. */
  tagsLimit = TAGS_MAX;

  /** Reads frames as `other` does. */
  readAs(other: Headers): void {
    this.readsFirstFragments = other.readsFirstFragments;
    this.tagsMax = other.tagsMax;
    this.tagsLimit = other.tagsMax;
  }

  /** As parse(), of a packet that nothing was pushed onto yet. */
  parseNew(pool: PacketPool, packet: number, key: Int32Array): void {
    this.parseNewAt(pool, pool.offset[packet]!, pool.length[packet]!, key);
  }

  /** The same of a frame that starts at `start` in the pool's arena and is `length` bytes long. */
  parseNewAt(pool: PacketPool, start: number, length: number, key: Int32Array): void {
    this.tagsLimit = this.tagsMax;
    this.#parse(pool.view, start, length, key);
  }

  /** Parses the frame into `key` (words K_ETH_DST up to K_PIPELINE) and this. Words outside are left alone. */
  parse(pool: PacketPool, packet: number, key: Int32Array): void {
    this.#parse(pool.view, pool.offset[packet]!, pool.length[packet]!, key);
  }

  #parse(view: DataView, start: number, length: number, key: Int32Array): void {
    const end = start + length;
    for (let i = K_TYPE_TCI; i < K_PIPELINE; i++) key[i] = 0;
    this.l3Kind = L3_NONE;
    this.l3 = -1;
    this.l4 = -1;
    this.l4Protocol = -1;
    this.ndLinkLayer = -1;
    this.tags = 0;
    this.end = end;
    key[K_ETH_DST] = view.getInt32(start);
    key[K_ETH_DST + 1] = view.getInt32(start + 4);
    key[K_ETH_SRC_LOW] = view.getInt32(start + 8);
    let at = start + 12;
    let type = view.getUint16(at);
    let tci = 0;
    while ((type === 0x8100 || type === 0x88a8) && this.tags < this.tagsLimit && at + 6 <= end) {
      if (this.tags === 0) tci = view.getUint16(at + 2) | 0x1000;
      this.tags++;
      at += 4;
      type = view.getUint16(at);
    }
    this.type = at;
    this.payload = at + 2;
    key[K_TYPE_TCI] = (type << 16) | tci;
    if (type === 0x0800) this.#ipv4(view, at + 2, key);
    else if (type === 0x86dd) this.#ipv6(view, at + 2, key);
    else if (type === 0x0806 || type === 0x8035) this.#arp(view, at + 2, key);
    else if (type === 0x8847 || type === 0x8848) {
      if (at + 6 <= end) key[K_MPLS] = view.getInt32(at + 2);
    } else if (type === 0x88e7 && at + 6 <= end) key[K_ISID] = view.getInt32(at + 2) & 0xffffff;
  }

  #arp(view: DataView, at: number, key: Int32Array): void {
    if (at + 28 > this.end || view.getUint32(at) !== 0x00010800 || view.getUint16(at + 4) !== 0x0604) return;
    this.l3Kind = L3_ARP;
    this.l3 = at;
    key[K_TP] = view.getUint16(at + 6) << 16;
    key[K_HARDWARE] = view.getInt32(at + 8);
    key[K_HARDWARE + 1] = (view.getUint16(at + 12) << 16) | view.getUint16(at + 18);
    key[K_HARDWARE + 2] = view.getInt32(at + 20);
    key[K_SRC] = view.getInt32(at + 14);
    key[K_DST] = view.getInt32(at + 24);
  }

  #ipv4(view: DataView, at: number, key: Int32Array): void {
    if (at + 20 > this.end) return;
    const first = view.getUint8(at);
    const headerSize = (first & 15) << 2;
    const total = view.getUint16(at + 2);
    if (first >>> 4 !== 4 || headerSize < 20 || total < headerSize || at + total > this.end) return;
    this.l3Kind = L3_IPV4;
    this.l3 = at;
    this.end = at + total;
    const protocol = view.getUint8(at + 9);
    const fragment = view.getUint16(at + 6) & 0x3fff;
    let kind = 0;
    if (fragment !== 0) kind = (fragment & 0x1fff) !== 0 ? FRAGMENT_ANY | FRAGMENT_LATER : FRAGMENT_ANY;
    key[K_IP] = (protocol << 24) | (view.getUint8(at + 1) << 16) | (view.getUint8(at + 8) << 8) | kind;
    key[K_SRC] = view.getInt32(at + 12);
    key[K_DST] = view.getInt32(at + 16);
    if (kind === FRAGMENT_ANY) this.#firstFragment(view, at + headerSize, protocol, key);
    else if (kind === 0) this.#transport(view, at + headerSize, protocol, key);
  }

  #ipv6(view: DataView, at: number, key: Int32Array): void {
    if (at + 40 > this.end || view.getUint8(at) >>> 4 !== 6) return;
    const length = view.getUint16(at + 4);
    if (at + 40 + length > this.end) return;
    this.l3Kind = L3_IPV6;
    this.l3 = at;
    this.end = at + 40 + length;
    const first = view.getInt32(at);
    for (let i = 0; i < 4; i++) {
      key[K_SRC + i] = view.getInt32(at + 8 + 4 * i);
      key[K_DST + i] = view.getInt32(at + 24 + 4 * i);
    }
    const tos = (first >>> 20) & 0xff;
    const ttl = view.getUint8(at + 7);
    key[K_V6] = first & 0xfffff;
    this.#extensions(view, at + 40, view.getUint8(at + 6), key, (tos << 16) | (ttl << 8));
  }

  /** Walks the extension headers; sets K_IP, the extension bits of K_V6 (OFPIEH_*), then the transport header. */
  #extensions(view: DataView, at: number, next: number, key: Int32Array, ip: number): void {
    let bits = 0;
    let rank = 0;
    let fragment = 0;
    let broken = false;
    for (let n = 0; n < EXTENSIONS_MAX; n++) {
      const kind = extensionKind(next);
      if (kind === 0) break;
      if (kind === NO_NEXT) {
        bits |= EXTHDR_NONEXT;
        break;
      }
      const bit = kind === DESTINATION ? EXTHDR_DEST : EXTENSION_BITS[kind]!;
      // Destination options may stand twice: before routing and at the end.
      if ((bits & bit) !== 0 && kind !== DESTINATION) bits |= EXTHDR_UNREP;
      const place = kind === DESTINATION && rank >= 3 ? 7 : EXTENSION_RANKS[kind]!;
      if (place < rank) bits |= EXTHDR_UNSEQ;
      if (place > rank) rank = place;
      bits |= bit;
      if (kind === ESP) break;
      if (at + 8 > this.end) {
        broken = true;
        break;
      }
      if (kind === FRAGMENT) {
        const field = view.getUint16(at + 2);
        if ((field & 0xfff9) !== 0)
          fragment = (field & 0xfff8) !== 0 ? FRAGMENT_ANY | FRAGMENT_LATER : FRAGMENT_ANY;
      }
      next = view.getUint8(at);
      const units = view.getUint8(at + 1);
      at += kind === FRAGMENT ? 8 : kind === AUTHENTICATION ? (units + 2) << 2 : (units + 1) << 3;
      if (at > this.end) {
        broken = true;
        break;
      }
      if (fragment > 1) break;
    }
    key[K_V6] = (key[K_V6] as number) | (bits << 20);
    key[K_IP] = (next << 24) | ip | fragment;
    const last = !broken && extensionKind(next) === 0;
    if (fragment === FRAGMENT_ANY) this.#firstFragment(view, last ? at : this.end, next, key);
    else if (last && fragment === 0) this.#transport(view, at, next, key);
  }

  /** True for a fragment whose transport fields flows do not see; until the next parse() the key shows what it has. */
  uncover(view: DataView, key: Int32Array): boolean {
    const fragment = key[K_IP]! & 0xff;
    if (fragment === 0 || this.readsFirstFragments) return false;
    if (fragment === FRAGMENT_ANY) this.#transport(view, this.hiddenL4, key[K_IP]! >>> 24, key);
    return true;
  }

  #firstFragment(view: DataView, at: number, protocol: number, key: Int32Array): void {
    this.hiddenL4 = at;
    if (this.readsFirstFragments) this.#transport(view, at, protocol, key);
    // Ports are always zero; TCP's flags are not among what ovs-ofctl(8), set-frags, says so of.
    else if (protocol === 6 && this.end - at >= 20) key[K_TCP_FLAGS] = view.getUint16(at + 12) & 0xfff;
  }

  #transport(view: DataView, at: number, protocol: number, key: Int32Array): void {
    const room = this.end - at;
    if (protocol === 6) {
      if (room < 20) return;
      key[K_TCP_FLAGS] = view.getUint16(at + 12) & 0xfff;
      key[K_TP] = view.getInt32(at);
    } else if (protocol === 17) {
      if (room < 8) return;
      key[K_TP] = view.getInt32(at);
    } else if (protocol === 132) {
      if (room < 12) return;
      key[K_TP] = view.getInt32(at);
    } else if ((protocol === 1 && this.l3Kind === L3_IPV4) || (protocol === 58 && this.l3Kind === L3_IPV6)) {
      if (room < 4) return;
      key[K_TP] = (view.getUint8(at) << 16) | view.getUint8(at + 1);
    } else return;
    this.l4 = at;
    this.l4Protocol = protocol;
    if (protocol === 58) this.#neighbour(view, at, key);
  }

  #neighbour(view: DataView, at: number, key: Int32Array): void {
    const type = view.getUint8(at);
    if ((type !== 135 && type !== 136) || view.getUint8(at + 1) !== 0 || at + 24 > this.end) return;
    key[K_ND_RESERVED] = view.getInt32(at + 4);
    for (let i = 0; i < 4; i++) key[K_TARGET + i] = view.getInt32(at + 8 + 4 * i);
    const wanted = type - 134;
    for (let option = at + 24; option + 8 <= this.end; ) {
      const size = view.getUint8(option + 1) << 3;
      if (size === 0) return;
      if (view.getUint8(option) === wanted && size === 8) {
        this.ndLinkLayer = option + 2;
        key[K_ND_OPTION] = wanted << 24;
        if (type === 135) {
          key[K_HARDWARE] = view.getInt32(option + 2);
          key[K_HARDWARE + 1] = view.getUint16(option + 6) << 16;
        } else {
          key[K_HARDWARE + 1] = view.getUint16(option + 2);
          key[K_HARDWARE + 2] = view.getInt32(option + 4);
        }
        return;
      }
      option += size;
    }
  }
}

// OFPIEH_* (7.2.3.8)
const EXTHDR_NONEXT = 1 << 0;
const EXTHDR_DEST = 1 << 3;
const EXTHDR_UNREP = 1 << 7;
const EXTHDR_UNSEQ = 1 << 8;

const NO_NEXT = 1;
const ESP = 2;
const AUTHENTICATION = 3;
const DESTINATION = 4;
const FRAGMENT = 5;
const ROUTING = 6;
const HOP_BY_HOP = 7;
/** By kind: the OFPIEH bit, and the place in the order of RFC 8200 4.1 (destination options also come last, 7). */
const EXTENSION_BITS = [0, 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6];
const EXTENSION_RANKS = [0, 9, 6, 5, 2, 4, 3, 1];

function extensionKind(next: number): number {
  switch (next) {
    case 0:
      return HOP_BY_HOP;
    case 43:
      return ROUTING;
    case 44:
      return FRAGMENT;
    case 50:
      return ESP;
    case 51:
      return AUTHENTICATION;
    case 59:
      return NO_NEXT;
    case 60:
      return DESTINATION;
    default:
      return 0;
  }
}

/** An OpenFlow 1.0 port number as ours: its reserved ports are the last of 16 bits, ours the last of 32. */
export function widenNumber(port: number): number {
  return port >= 0xff00 && port <= 0xffff ? (port | 0xffff0000) >>> 0 : port;
}

/** Makes the whole port number of the key out of its low 16 bits. */
export function widenPort(key: Int32Array): void {
  key[K_IN_PORT] = widenNumber(key[K_IN_PORT]! & 0xffff);
}
