// The IP datagram in a packet as connection tracking looks at it, and whether its bytes are what they claim to be.
// Source: RFC 791, 8200 (headers), 9293, 768, 792, 4443, 9260 (lengths), 1071 (checksums).
// Invariant: every offset that read() leaves behind lies within the packet. Thread: datapath worker. Hot: yes.
import { addToSum, finishSum } from "../../base/wire/index.js";
import { FlowKey, type Headers } from "../flow/index.js";
import { ICMP, ICMPV6, isIcmp, SCTP, TCP, UDP } from "./tuple.js";

const EXTENSIONS_MAX = 16;

/** Where the chain of IPv6 extension headers ends. */
export class ExtensionWalk {
  protocol = 0;
  /** Of what follows the last extension header. */
  at = 0;
  /** Of the fragment header, −1 when there is none. */
  fragmentAt = -1;
  /** Of the next-header field that names the fragment header. */
  fragmentNamedAt = -1;

  /** From `at`, of kind `next` as the byte at `namedAt` says. False when the chain leaves the packet. Ends after a fragment header. */
  walk(view: DataView, at: number, end: number, namedAt: number): boolean {
    let next = view.getUint8(namedAt);
    this.fragmentAt = -1;
    this.fragmentNamedAt = -1;
    for (let n = 0; n < EXTENSIONS_MAX; n++) {
      if (next !== 0 && next !== 43 && next !== 44 && next !== 51 && next !== 60) break;
      if (at + 8 > end) return false;
      const fragment = next === 44;
      if (fragment) {
        this.fragmentAt = at;
        this.fragmentNamedAt = namedAt;
      }
      const units = view.getUint8(at + 1);
      const size = fragment ? 8 : next === 51 ? (units + 2) << 2 : (units + 1) << 3;
      namedAt = at;
      next = view.getUint8(at);
      at += size;
      if (at > end) return false;
      // Behind the header of a later fragment stand not headers but a piece of the payload.
      if (fragment && (view.getUint16(this.fragmentAt + 2) & 0xfff8) !== 0) break;
    }
    this.protocol = next;
    this.at = at;
    return true;
  }
}

export class Datagram {
  ipv6 = false;
  protocol = 0;
  l3 = -1;
  /** Of the transport header; of the piece of payload in a later fragment. */
  l4 = -1;
  /** One past the last byte. */
  end = 0;
  /** FlowKey.FRAGMENT_ bits. */
  fragment = 0;
  /** Of an IPv6 fragment: its fragment header. */
  fragmentAt = -1;
  /** Bytes from the transport header on; in a reassembled datagram of all its fragments. */
  length = 0;
  readonly #walk = new ExtensionWalk();

  /** False when the packet is not IP, or broken before the transport header. */
  read(view: DataView, key: Int32Array, headers: Headers): boolean {
    const { l3, l3Kind, end } = headers;
    if (l3Kind !== FlowKey.L3_IPV4 && l3Kind !== FlowKey.L3_IPV6) return false;
    this.ipv6 = l3Kind === FlowKey.L3_IPV6;
    this.l3 = l3;
    this.end = end;
    this.fragment = key[FlowKey.K_IP]! & 0xff;
    if (!this.ipv6) {
      this.protocol = view.getUint8(l3 + 9);
      this.l4 = l3 + ((view.getUint8(l3) & 15) << 2);
    } else if (headers.l4 >= 0 && this.fragment === 0) {
      this.protocol = headers.l4Protocol;
      this.l4 = headers.l4;
    } else {
      if (!this.#walk.walk(view, l3 + 40, end, l3 + 6)) return false;
      this.protocol = this.#walk.protocol;
      this.l4 = this.#walk.at;
      this.fragmentAt = this.#walk.fragmentAt;
    }
    this.length = end - this.l4;
    return true;
  }

  /** Reads a fragment that read() has accepted before, whose IP header is at `l3`. */
  readFragment(view: DataView, l3: number): void {
    this.l3 = l3;
    this.ipv6 = view.getUint8(l3) >>> 4 === 6;
    let offset: number;
    if (this.ipv6) {
      this.end = l3 + 40 + view.getUint16(l3 + 4);
      this.#walk.walk(view, l3 + 40, this.end, l3 + 6);
      this.protocol = this.#walk.protocol;
      this.l4 = this.#walk.at;
      this.fragmentAt = this.#walk.fragmentAt;
      offset = view.getUint16(this.fragmentAt + 2) & 0xfff8;
    } else {
      this.end = l3 + view.getUint16(l3 + 2);
      this.protocol = view.getUint8(l3 + 9);
      this.l4 = l3 + ((view.getUint8(l3) & 15) << 2);
      offset = view.getUint16(l3 + 6) & 0x1fff;
    }
    this.fragment = FlowKey.FRAGMENT_ANY | (offset === 0 ? 0 : FlowKey.FRAGMENT_LATER);
    this.length = this.end - this.l4;
  }

  /** Where the fragment's piece of its datagram begins. */
  get pieceAt(): number {
    return this.ipv6 ? this.fragmentAt + 8 : this.l4;
  }

  /** Where the transport checksum stands that covers the addresses; −1 when none does or it is not used. */
  pseudoChecksumAt(view: DataView): number {
    const { l4, protocol, end } = this;
    if ((this.fragment & FlowKey.FRAGMENT_LATER) !== 0) return -1;
    if (protocol === TCP) return l4 + 18 <= end ? l4 + 16 : -1;
    if (protocol === UDP) return l4 + 8 <= end && view.getUint16(l4 + 6) !== 0 ? l4 + 6 : -1;
    return protocol === ICMPV6 && this.ipv6 && l4 + 4 <= end ? l4 + 2 : -1;
  }
}

/** Whether the IPv4 header's checksum is right; IPv6 has none. */
export function headerIsSound(bytes: Uint8Array, datagram: Datagram): boolean {
  if (datagram.ipv6) return true;
  const { l3 } = datagram;
  return finishSum(addToSum(bytes, l3, (bytes[l3]! & 15) << 2, 0)) === 0;
}

/** Whether the transport header is whole and its length fields fit; says nothing of checksums. */
export function transportIsWhole(view: DataView, datagram: Datagram): boolean {
  const { l4, end, length, protocol, ipv6 } = datagram;
  const here = end - l4;
  if (protocol === TCP) {
    if (here < 20) return false;
    const size = (view.getUint8(l4 + 12) >>> 4) << 2;
    return size >= 20 && size <= here;
  }
  if (protocol === UDP) {
    if (here < 8) return false;
    const size = view.getUint16(l4 + 4);
    return size >= 8 && size <= length;
  }
  if (protocol === SCTP) return here >= 12;
  // An ICMP of the other IP version is none.
  if (isIcmp(protocol)) return here >= 8 && (protocol === ICMPV6) === ipv6;
  return true;
}

/** Whether the packet says that its transport checksum can be checked. */
export function claimsChecksum(view: DataView, datagram: Datagram): boolean {
  const { protocol, l4, ipv6 } = datagram;
  // UDP over IPv4 may do without (RFC 768); over IPv6 it must not (RFC 8200, 8.1).
  if (protocol === UDP) return ipv6 || view.getUint16(l4 + 6) !== 0;
  return protocol === TCP || isIcmp(protocol);
}

/** Whether the checksum over the transport header and all behind it, `payloadSum` as addToSum makes it, is right. */
export function checksumIsRight(
  bytes: Uint8Array,
  view: DataView,
  datagram: Datagram,
  payloadSum: number,
): boolean {
  const { protocol, l3, l4, ipv6 } = datagram;
  if (protocol === ICMP) return finishSum(payloadSum) === 0;
  if (protocol === UDP && ipv6 && view.getUint16(l4 + 6) === 0) return false;
  const size = protocol === UDP ? view.getUint16(l4 + 4) : datagram.length;
  const sum = payloadSum + protocol + (size & 0xffff) + (size >>> 16);
  return finishSum(addToSum(bytes, ipv6 ? l3 + 8 : l3 + 12, ipv6 ? 32 : 8, sum)) === 0;
}

/** The sum that checksumIsRight takes, for a datagram in one piece. Bytes behind what UDP's length says do not count. */
function payloadSumOf(bytes: Uint8Array, view: DataView, datagram: Datagram): number {
  const { l4, protocol, length } = datagram;
  return addToSum(bytes, l4, protocol === UDP ? view.getUint16(l4 + 4) : length, 0);
}

/** Whether a datagram in one piece is whole and, with `verify`, its transport checksum right where it claims one. */
export function datagramIsSound(
  bytes: Uint8Array,
  view: DataView,
  datagram: Datagram,
  verify: boolean,
): boolean {
  if (!headerIsSound(bytes, datagram) || !transportIsWhole(view, datagram)) return false;
  if (!verify || !claimsChecksum(view, datagram)) return true;
  return checksumIsRight(bytes, view, datagram, payloadSumOf(bytes, view, datagram));
}
