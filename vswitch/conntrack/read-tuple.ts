// Reads the tuple of a datagram, and of the datagram that an ICMP error quotes.
// Source: RFC 792 and 4443 (errors quote the beginning of what they speak of). Thread: datapath worker. Hot: yes.
import { type Datagram, ExtensionWalk } from "./datagram.js";
import {
  hasPorts,
  ICMP,
  ICMP_ERROR,
  ICMP_OTHER,
  ICMPV6,
  icmpKind,
  isIcmp,
  kindOf,
  T_DST,
  T_KIND,
  T_PORTS,
  T_SRC,
} from "./tuple.js";

/** The datagram cannot be tracked: an unknown or misdirected kind of ICMP, or an error that quotes too little. */
export const KIND_INVALID = 0;
export const KIND_QUERY = 1;
/** An ICMP error; the tuple is that of the datagram it speaks of, as its sender's side of the speaker saw it. */
export const KIND_ERROR = 2;

/** Where the datagram is that an ICMP error quotes. */
export class Quoted {
  l3 = -1;
  l4 = -1;
  protocol = 0;
  ipv6 = false;
  readonly walk = new ExtensionWalk();
}

/** Fills `tuple`, for an ICMP error `quoted` too; returns the KIND. The transport header is whole. */
export function readTuple(
  view: DataView,
  datagram: Datagram,
  zone: number,
  tuple: Int32Array,
  quoted: Quoted,
): number {
  const { l3, l4, protocol, ipv6 } = datagram;
  readAddresses(view, l3, ipv6, tuple);
  tuple[T_KIND] = kindOf(ipv6, protocol, zone);
  tuple[T_PORTS] = 0;
  if (hasPorts(protocol)) {
    tuple[T_PORTS] = view.getInt32(l4);
    return KIND_QUERY;
  }
  // Other protocols are tracked by addresses alone.
  if (!isIcmp(protocol)) return KIND_QUERY;
  const kind = icmpKind(protocol, view.getUint8(l4));
  if (kind === ICMP_OTHER) return KIND_INVALID;
  if (kind !== ICMP_ERROR) {
    tuple[T_PORTS] = (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
    return KIND_QUERY;
  }
  if (!findQuoted(view, l4 + 8, datagram.end, ipv6, quoted)) return KIND_INVALID;
  // An error goes to whoever sent the datagram that it speaks of. Otherwise a machine could reach any other past
  // policy by quoting a connection of its own.
  const speaksTo = ipv6 ? l3 + 24 : l3 + 16;
  const sender = ipv6 ? quoted.l3 + 8 : quoted.l3 + 12;
  for (let i = 0; i < (ipv6 ? 4 : 1); i++) {
    if (view.getInt32(speaksTo + 4 * i) !== view.getInt32(sender + 4 * i)) return KIND_INVALID;
  }
  return readQuoted(view, zone, tuple, quoted) ? KIND_ERROR : KIND_INVALID;
}

/** The quoted datagram's headers: whole up to 8 bytes of transport header, and not of a later fragment. */
function findQuoted(view: DataView, at: number, end: number, ipv6: boolean, quoted: Quoted): boolean {
  quoted.l3 = at;
  quoted.ipv6 = ipv6;
  if (ipv6) {
    if (at + 40 > end || view.getUint8(at) >>> 4 !== 6) return false;
    const { walk } = quoted;
    if (!walk.walk(view, at + 40, end, at + 6)) return false;
    if (walk.fragmentAt >= 0 && (view.getUint16(walk.fragmentAt + 2) & 0xfff8) !== 0) return false;
    quoted.protocol = walk.protocol;
    quoted.l4 = walk.at;
  } else {
    if (at + 20 > end || view.getUint8(at) >>> 4 !== 4) return false;
    quoted.protocol = view.getUint8(at + 9);
    quoted.l4 = at + ((view.getUint8(at) & 15) << 2);
    if (quoted.l4 < at + 20 || (view.getUint16(at + 6) & 0x1fff) !== 0) return false;
  }
  return quoted.l4 + 8 <= end;
}

/** Its lengths may exceed what is quoted. An error about an error is none (RFC 1122, 3.2.2). */
function readQuoted(view: DataView, zone: number, tuple: Int32Array, quoted: Quoted): boolean {
  const { l3, l4, protocol, ipv6 } = quoted;
  readAddresses(view, l3, ipv6, tuple);
  tuple[T_KIND] = kindOf(ipv6, protocol, zone);
  tuple[T_PORTS] = 0;
  if (hasPorts(protocol)) tuple[T_PORTS] = view.getInt32(l4);
  else if (protocol === (ipv6 ? ICMPV6 : ICMP)) {
    const kind = icmpKind(protocol, view.getUint8(l4));
    if (kind === ICMP_OTHER || kind === ICMP_ERROR) return false;
    tuple[T_PORTS] = (view.getUint16(l4 + 4) << 16) | view.getUint16(l4);
  }
  return true;
}

export function readAddresses(view: DataView, l3: number, ipv6: boolean, tuple: Int32Array): void {
  if (!ipv6) {
    for (let i = T_SRC; i < T_PORTS; i++) tuple[i] = 0;
    tuple[T_SRC] = view.getInt32(l3 + 12);
    tuple[T_DST] = view.getInt32(l3 + 16);
    return;
  }
  for (let i = 0; i < 8; i++) tuple[T_SRC + i] = view.getInt32(l3 + 8 + 4 * i);
}
