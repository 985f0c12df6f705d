// Changes the packet: fields from the key into the headers, tags on and off, TTLs, and the checksums that cover them.
// Source: OpenFlow 1.3.5, 5.12; RFC 1624 for checksums; IEEE 802.1ah for PBB.
// Invariants: the packet is not shared (the pipeline copies it first); key and headers describe it before and after.
// A change that the packet has no room or no header for is not made. Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";
import { sctpChecksum, updateChecksum16, updateChecksum32 } from "../../base/wire/index.js";
import * as K from "./key.js";
import * as P from "./program.js";

const PBB_SIZE = 18;
const MPLS_TTL_DEFAULT = 64;

export class Rewriter {
  readonly #pool: PacketPool;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #key: Int32Array;
  readonly #headers: K.Headers;

  constructor(pool: PacketPool, key: Int32Array, headers: K.Headers) {
    this.#pool = pool;
    this.#view = pool.view;
    this.#bytes = pool.bytes;
    this.#key = key;
    this.#headers = headers;
  }

  /**
   * To be called before the key changes for `writer`: flows see no transport fields of a fragment, though the first has
   * them. True when the key shows now what there is; reparse() hides it again.
   */
  uncover(writer: number): boolean {
    if (writer !== P.W_PORTS && writer !== P.W_ICMP) return false;
    return this.#headers.uncover(this.#view, this.#key);
  }

  /** Writes the field that `writer` names from the key into the packet. */
  write(packet: number, writer: number): void {
    const key = this.#key;
    const headers = this.#headers;
    const view = this.#view;
    const start = this.#pool.offset[packet]!;
    switch (writer) {
      case P.W_ETH_DST:
        view.setInt32(start, key[K.K_ETH_DST]!);
        view.setUint16(start + 4, key[K.K_ETH_DST + 1]! >>> 16);
        return;
      case P.W_ETH_SRC:
        view.setUint16(start + 6, key[K.K_ETH_DST + 1]! & 0xffff);
        view.setInt32(start + 8, key[K.K_ETH_SRC_LOW]!);
        return;
      case P.W_ETH_TYPE:
        view.setUint16(headers.type, key[K.K_TYPE_TCI]! >>> 16);
        this.reparse(packet);
        return;
      case P.W_VLAN:
        this.#vlan(start);
        return;
      case P.W_TCI:
        this.#tag(packet);
        return;
      case P.W_TOS:
        this.#tos();
        return;
      case P.W_PROTO:
        this.#protocol(packet);
        return;
      case P.W_TTL:
        this.setTtl((key[K.K_IP]! >>> 8) & 0xff);
        return;
      case P.W_SOURCE:
        this.#address(K.K_SRC, 12, 8, 14);
        return;
      case P.W_DESTINATION:
        this.#address(K.K_DST, 16, 24, 24);
        return;
      case P.W_PORTS:
        this.#ports(packet);
        return;
      case P.W_ICMP:
        this.#icmp(packet);
        return;
      default:
        this.#writeRare(packet, writer);
    }
  }

  #writeRare(packet: number, writer: number): void {
    const key = this.#key;
    const headers = this.#headers;
    const view = this.#view;
    const arp = headers.l3Kind === K.L3_ARP;
    switch (writer) {
      case P.W_ARP_OP:
        if (arp) view.setUint16(headers.l3 + 6, key[K.K_TP]! >>> 16);
        return;
      case P.W_SHA:
        if (!arp) return;
        view.setInt32(headers.l3 + 8, key[K.K_HARDWARE]!);
        view.setUint16(headers.l3 + 12, key[K.K_HARDWARE + 1]! >>> 16);
        return;
      case P.W_THA:
        if (!arp) return;
        view.setUint16(headers.l3 + 18, key[K.K_HARDWARE + 1]! & 0xffff);
        view.setInt32(headers.l3 + 20, key[K.K_HARDWARE + 2]!);
        return;
      case P.W_ND_TARGET:
        if (headers.l4Protocol !== 58 || headers.l4 + 24 > headers.end) return;
        for (let i = 0; i < 4; i++) this.#put32(headers.l4 + 8 + 4 * i, key[K.K_TARGET + i]!, headers.l4 + 2);
        return;
      case P.W_ND_LINK_LAYER:
        this.#ndLinkLayer();
        return;
      case P.W_ND_RESERVED:
        if (headers.l4Protocol !== 58 || headers.l4 + 24 > headers.end) return;
        this.#put32(headers.l4 + 4, key[K.K_ND_RESERVED]!, headers.l4 + 2);
        return;
      case P.W_ND_OPTION: {
        // A solicitation that has become an advertisement has the other's option still; the first one is meant then.
        const known = headers.ndLinkLayer >= 0;
        const at = known ? headers.ndLinkLayer - 2 : headers.l4 + 24;
        if (!known && (headers.l4Protocol !== 58 || at + 8 > headers.end || !this.#isNeighbour())) return;
        const value = ((key[K.K_ND_OPTION]! >>> 24) << 8) | view.getUint8(at + 1);
        this.#put16(at, value, headers.l4 + 2);
        this.reparse(packet);
        return;
      }
      case P.W_FLOW_LABEL:
        if (headers.l3Kind !== K.L3_IPV6) return;
        view.setInt32(headers.l3, (view.getInt32(headers.l3) & ~0xfffff) | (key[K.K_V6]! & 0xfffff));
        return;
      case P.W_MPLS:
        if (this.hasMpls()) view.setInt32(headers.payload, key[K.K_MPLS]!);
        return;
      case P.W_ISID:
        if (!this.#hasPbb()) return;
        view.setInt32(
          headers.payload,
          (view.getInt32(headers.payload) & ~0xffffff) | (key[K.K_ISID]! & 0xffffff),
        );
        return;
      default:
        this.reparse(packet);
    }
  }

  #isNeighbour(): boolean {
    const type = this.#view.getUint8(this.#headers.l4);
    return type === 135 || type === 136;
  }

  /** Key and headers anew from the packet's bytes. */
  reparse(packet: number): void {
    this.#headers.parse(this.#pool, packet, this.#key);
  }

  hasMpls(): boolean {
    const type = this.#key[K.K_TYPE_TCI]! >>> 16;
    return (type === 0x8847 || type === 0x8848) && this.#headers.payload + 4 <= this.#headers.end;
  }

  #hasPbb(): boolean {
    return this.#key[K.K_TYPE_TCI]! >>> 16 === 0x88e7 && this.#headers.payload + 4 <= this.#headers.end;
  }

  #vlan(start: number): void {
    if (this.#headers.tags === 0) {
      this.#key[K.K_TYPE_TCI] = this.#key[K.K_TYPE_TCI]! & ~0xffff;
      return;
    }
    // The key keeps no DEI: the packet's own stays.
    const dei = this.#view.getUint16(start + 14) & 0x1000;
    this.#view.setUint16(start + 14, (this.#key[K.K_TYPE_TCI]! & 0xefff) | dei);
    this.#key[K.K_TYPE_TCI] = this.#key[K.K_TYPE_TCI]! | 0x1000;
  }

  #tag(packet: number): void {
    const tci = this.#key[K.K_TYPE_TCI]! & 0xffff;
    if ((tci & 0x1000) === 0) {
      this.#key[K.K_TYPE_TCI] = this.#key[K.K_TYPE_TCI]! & ~0xffff;
      this.popVlan(packet);
      return;
    }
    if (this.#headers.tags === 0 && !this.pushVlan(packet, 0x8100)) return;
    this.#key[K.K_TYPE_TCI] = (this.#key[K.K_TYPE_TCI]! & ~0xffff) | tci;
    this.#vlan(this.#pool.offset[packet]!);
  }

  #tos(): void {
    const { l3, l3Kind } = this.#headers;
    const tos = (this.#key[K.K_IP]! >>> 16) & 0xff;
    if (l3Kind === K.L3_IPV4) {
      this.#put16(l3, (this.#view.getUint16(l3) & 0xff00) | tos, l3 + 10);
    } else if (l3Kind === K.L3_IPV6) {
      this.#view.setUint16(l3, (this.#view.getUint16(l3) & 0xf00f) | (tos << 4));
    }
  }

  /** Changes the protocol; the payload stays what it was. Behind IPv6 extension headers it is left alone. */
  #protocol(packet: number): void {
    const { l3, l3Kind } = this.#headers;
    const protocol = this.#key[K.K_IP]! >>> 24;
    this.#protocolInChecksum(protocol);
    if (l3Kind === K.L3_IPV4) {
      this.#put16(l3 + 8, (this.#view.getUint16(l3 + 8) & 0xff00) | protocol, l3 + 10);
    } else if (l3Kind === K.L3_IPV6 && this.#key[K.K_V6]! >>> 20 === 0) {
      this.#view.setUint8(l3 + 6, protocol);
    }
    this.reparse(packet);
  }

  /** The pseudo header covers the protocol too; the payload's checksum stays where the former protocol has it. */
  #protocolInChecksum(protocol: number): void {
    const { l4, l4Protocol, l3Kind } = this.#headers;
    if (l4 < 0 || (l3Kind === K.L3_IPV6 && this.#key[K.K_V6]! >>> 20 !== 0)) return;
    const at = this.#pseudoChecksumAt();
    if (at >= 0) this.#fix32(at, l4Protocol, protocol);
  }

  /** Sets the TTL or hop limit of the IP header, if there is one; true when there was. */
  setTtl(ttl: number): boolean {
    const { l3, l3Kind } = this.#headers;
    if (l3Kind === K.L3_IPV4) this.#put16(l3 + 8, (ttl << 8) | this.#view.getUint8(l3 + 9), l3 + 10);
    else if (l3Kind === K.L3_IPV6) this.#view.setUint8(l3 + 7, ttl);
    else return false;
    this.#key[K.K_IP] = (this.#key[K.K_IP]! & ~0xff00) | (ttl << 8);
    return true;
  }

  #address(word: number, ipv4At: number, ipv6At: number, arpAt: number): void {
    const { l3, l3Kind } = this.#headers;
    if (l3Kind === K.L3_IPV4) {
      const before = this.#view.getInt32(l3 + ipv4At);
      const after = this.#key[word]!;
      this.#put32(l3 + ipv4At, after, l3 + 10);
      const checksum = this.#pseudoChecksumAt();
      if (checksum >= 0) this.#fix32(checksum, before, after);
    } else if (l3Kind === K.L3_IPV6) {
      const checksum = this.#pseudoChecksumAt();
      for (let i = 0; i < 4; i++) {
        const at = l3 + ipv6At + 4 * i;
        const before = this.#view.getInt32(at);
        this.#view.setInt32(at, this.#key[word + i]!);
        if (checksum >= 0) this.#fix32(checksum, before, this.#key[word + i]!);
      }
    } else if (l3Kind === K.L3_ARP) this.#view.setInt32(l3 + arpAt, this.#key[word]!);
  }

  /** Where the checksum is that covers the pseudo header; −1 when none does. */
  #pseudoChecksumAt(): number {
    const headers = this.#headers;
    let { l4, l4Protocol } = headers;
    if (l4 < 0) {
      // The first fragment carries the transport header, though the key shows none.
      if ((this.#key[K.K_IP]! & 0xff) !== K.FRAGMENT_ANY) return -1;
      l4 = headers.hiddenL4;
      l4Protocol = this.#key[K.K_IP]! >>> 24;
    }
    if (l4Protocol === 6) return l4 + 18 <= headers.end ? l4 + 16 : -1;
    if (l4Protocol === 17) {
      return l4 + 8 <= headers.end && this.#view.getUint16(l4 + 6) !== 0 ? l4 + 6 : -1;
    }
    if (l4Protocol === 58 && headers.l3Kind === K.L3_IPV6) return l4 + 4 <= headers.end ? l4 + 2 : -1;
    return -1;
  }

  #ports(packet: number): void {
    const { l4, l4Protocol, end } = this.#headers;
    if (l4 < 0 || l4Protocol === 1 || l4Protocol === 58) return;
    if (l4Protocol === 132 && (this.#key[K.K_IP]! & 0xff) !== 0) {
      // Its checksum covers what other fragments hold, and cannot be mended without: the ports stay.
      this.reparse(packet);
      return;
    }
    const before = this.#view.getInt32(l4);
    const after = this.#key[K.K_TP]!;
    this.#view.setInt32(l4, after);
    if (l4Protocol === 6) this.#fix32(l4 + 16, before, after);
    else if (l4Protocol === 17) {
      if (this.#view.getUint16(l4 + 6) !== 0) this.#fix32(l4 + 6, before, after);
    } else if (l4Protocol === 132) {
      this.#view.setUint32(l4 + 8, sctpChecksum(this.#bytes, l4, end - l4), true);
    }
  }

  #icmp(packet: number): void {
    const { l4, l4Protocol } = this.#headers;
    if (l4 < 0 || (l4Protocol !== 1 && l4Protocol !== 58)) return;
    const tp = this.#key[K.K_TP]!;
    this.#put16(l4, ((tp >>> 8) & 0xff00) | (tp & 0xff), l4 + 2);
    if (l4Protocol === 58) this.reparse(packet);
  }

  #ndLinkLayer(): void {
    const { ndLinkLayer, l4 } = this.#headers;
    if (ndLinkLayer < 0) return;
    const solicit = this.#view.getUint8(l4) === 135;
    const key = this.#key;
    const high = solicit ? key[K.K_HARDWARE]! >>> 16 : key[K.K_HARDWARE + 1]! & 0xffff;
    const middle = solicit ? key[K.K_HARDWARE]! & 0xffff : key[K.K_HARDWARE + 2]! >>> 16;
    const low = solicit ? key[K.K_HARDWARE + 1]! >>> 16 : key[K.K_HARDWARE + 2]! & 0xffff;
    this.#put16(ndLinkLayer, high, l4 + 2);
    this.#put16(ndLinkLayer + 2, middle, l4 + 2);
    this.#put16(ndLinkLayer + 4, low, l4 + 2);
  }

  /** Stores a word and mends the checksum at `checksum` that covers it. */
  #put16(at: number, value: number, checksum: number): void {
    const before = this.#view.getUint16(at);
    this.#view.setUint16(at, value);
    this.#view.setUint16(checksum, updateChecksum16(this.#view.getUint16(checksum), before, value));
  }

  #put32(at: number, value: number, checksum: number): void {
    const before = this.#view.getInt32(at);
    this.#view.setInt32(at, value);
    this.#fix32(checksum, before, value);
  }

  /** A UDP checksum of 0 means none, so a computed 0 is written as its other form; harmless for the others. */
  #fix32(checksum: number, before: number, after: number): void {
    const updated = updateChecksum32(this.#view.getUint16(checksum), before, after);
    const udp = this.#headers.l4Protocol === 17 && checksum === this.#headers.l4 + 6;
    this.#view.setUint16(checksum, updated === 0 && udp ? 0xffff : updated);
  }

  // --- Tags and shim headers

  /** A new outermost tag with VID and priority of the former one, or zero. */
  pushVlan(packet: number, etherType: number): boolean {
    const tci = this.#headers.tags > 0 ? this.#view.getUint16(this.#pool.offset[packet]! + 14) : 0;
    const start = this.#insert(packet, 12, 4);
    if (start < 0) return false;
    this.#view.setUint16(start + 12, etherType);
    this.#view.setUint16(start + 14, tci);
    const headers = this.#headers;
    headers.tagsLimit = Math.max(headers.tagsLimit, headers.tags + 1);
    this.reparse(packet);
    return true;
  }

  popVlan(packet: number): void {
    if (this.#headers.tags === 0) return;
    this.#remove(packet, 12, 4);
    this.reparse(packet);
  }

  /**
   * A new label entry after the VLAN tags: as the former one, else with the TTL of IP, and label and class zero
   * (OpenFlow 1.3.5, 5.12.1). What has no TTL gets one that lets the frame travel (ovs-actions(7), push_mpls).
   */
  pushMpls(packet: number, etherType: number): boolean {
    const headers = this.#headers;
    let entry = 0x100 | MPLS_TTL_DEFAULT;
    if (this.hasMpls()) entry = this.#view.getInt32(headers.payload) & ~0x100;
    else if (headers.l3Kind === K.L3_IPV6 || headers.l3Kind === K.L3_IPV4)
      entry = 0x100 | ((this.#key[K.K_IP]! >>> 8) & 0xff);
    const at = headers.payload - this.#pool.offset[packet]!;
    const start = this.#insert(packet, at, 4);
    if (start < 0) return false;
    this.#view.setInt32(start + at, entry);
    this.#view.setUint16(start + at - 2, etherType);
    this.reparse(packet);
    return true;
  }

  popMpls(packet: number, etherType: number): void {
    if (!this.hasMpls()) return;
    this.#view.setUint16(this.#headers.type, etherType);
    this.#remove(packet, this.#headers.payload - this.#pool.offset[packet]!, 4);
    this.reparse(packet);
  }

  /** A new outer Ethernet header with the same addresses and an I-TAG: I-SID of the former one or 0, PCP of the VLAN. */
  pushPbb(packet: number, etherType: number): boolean {
    const isid = this.#hasPbb() ? this.#view.getInt32(this.#headers.payload) & 0xffffff : 0;
    const priority = this.#headers.tags > 0 ? (this.#key[K.K_TYPE_TCI]! >>> 13) & 7 : 0;
    const inner = this.#pool.offset[packet]!;
    if (this.#pool.headroom(packet) < PBB_SIZE) return false;
    const start = inner - PBB_SIZE;
    this.#bytes.copyWithin(start, inner, inner + 12);
    this.#view.setUint16(start + 12, etherType);
    this.#view.setInt32(start + 14, (priority << 29) | isid);
    this.#pool.offset[packet] = start;
    this.#pool.length[packet] = this.#pool.length[packet]! + PBB_SIZE;
    this.reparse(packet);
    return true;
  }

  popPbb(packet: number): void {
    const start = this.#pool.offset[packet]!;
    const end = start + this.#pool.length[packet]!;
    const inner = this.#headers.payload + 4;
    if (!this.#hasPbb() || inner + 14 > end) return;
    this.#pool.offset[packet] = inner;
    this.#pool.length[packet] = end - inner;
    this.reparse(packet);
  }

  /** Makes room for `size` bytes at `at` bytes into the frame by moving what is before; returns the new start or −1. */
  #insert(packet: number, at: number, size: number): number {
    if (this.#pool.headroom(packet) < size) return -1;
    const old = this.#pool.offset[packet]!;
    const start = old - size;
    this.#bytes.copyWithin(start, old, old + at);
    this.#pool.offset[packet] = start;
    this.#pool.length[packet] = this.#pool.length[packet]! + size;
    return start;
  }

  #remove(packet: number, at: number, size: number): void {
    const start = this.#pool.offset[packet]!;
    this.#bytes.copyWithin(start + size, start, start + at);
    this.#pool.offset[packet] = start + size;
    this.#pool.length[packet] = this.#pool.length[packet]! - size;
  }

  /** Raises the drop precedence of an assured-forwarding DSCP (RFC 2597) by `levels`, at most to 3; true if it changed. */
  lowerPrecedence(packet: number, levels: number): boolean {
    const tos = (this.#key[K.K_IP]! >>> 16) & 0xff;
    const dscp = tos >>> 2;
    const { l3Kind } = this.#headers;
    if ((l3Kind !== K.L3_IPV4 && l3Kind !== K.L3_IPV6) || dscp < 10 || dscp > 38 || (dscp & 1) !== 0)
      return false;
    const precedence = (dscp >>> 1) & 3;
    const raised = Math.min(3, precedence + levels);
    if (precedence === 0 || raised === precedence) return false;
    const after = (((dscp & ~6) | (raised << 1)) << 2) | (tos & 3);
    this.#key[K.K_IP] = (this.#key[K.K_IP]! & ~0xff0000) | (after << 16);
    this.write(packet, P.W_TOS);
    return true;
  }

  // --- TTLs

  /** False when the packet may travel no further; a packet without an IP header is left alone. */
  decrementTtl(): boolean {
    const { l3Kind } = this.#headers;
    if (l3Kind !== K.L3_IPV4 && l3Kind !== K.L3_IPV6) return true;
    const ttl = (this.#key[K.K_IP]! >>> 8) & 0xff;
    if (ttl <= 1) return false;
    return this.setTtl(ttl - 1);
  }

  decrementMplsTtl(): boolean {
    if (!this.hasMpls()) return true;
    const ttl = this.#key[K.K_MPLS]! & 0xff;
    if (ttl <= 1) return false;
    this.setMplsTtl(ttl - 1);
    return true;
  }

  setMplsTtl(ttl: number): void {
    if (!this.hasMpls()) return;
    this.#key[K.K_MPLS] = (this.#key[K.K_MPLS]! & ~0xff) | ttl;
    this.#view.setUint8(this.#headers.payload + 3, ttl);
  }

  /** The outermost TTL becomes that of the header inside it. */
  copyTtlOut(): void {
    const ttl = this.#innerTtl(-1);
    if (ttl >= 0) this.setMplsTtl(ttl);
  }

  /** The header inside the outermost label gets the label's TTL. */
  copyTtlIn(): void {
    if (this.hasMpls()) this.#innerTtl(this.#key[K.K_MPLS]! & 0xff);
  }

  /** Reads the TTL of what is inside the outermost label, and sets it to `ttl` unless that is −1. */
  #innerTtl(ttl: number): number {
    if (!this.hasMpls()) return -1;
    const { payload, end } = this.#headers;
    const inner = payload + 4;
    if ((this.#key[K.K_MPLS]! & 0x100) === 0) return inner + 4 <= end ? this.#byte(inner + 3, ttl) : -1;
    const version = inner < end ? this.#view.getUint8(inner) >>> 4 : 0;
    if (version === 6 && inner + 40 <= end) return this.#byte(inner + 7, ttl);
    if (version !== 4 || inner + 20 > end) return -1;
    const old = this.#view.getUint8(inner + 8);
    if (ttl >= 0) this.#put16(inner + 8, (ttl << 8) | this.#view.getUint8(inner + 9), inner + 10);
    return old;
  }

  #byte(at: number, value: number): number {
    const old = this.#view.getUint8(at);
    if (value >= 0) this.#view.setUint8(at, value);
    return old;
  }
}
