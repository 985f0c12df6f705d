// Changes packets by the tuples of their connection, and the checksums that cover what changes.
// Source: RFC 3022, 4.1 and 4.2; RFC 5508, 4 (what ICMP errors quote is translated too); RFC 1624. Invariant: the packet
// is not shared; key and bytes agree before and after. Thread: datapath worker. Hot: yes.
import {
  addToSum,
  checksum,
  finishSum,
  sctpChecksum,
  updateChecksum16,
  updateChecksum32,
} from "../../base/wire/index.js";
import { FlowKey, type Headers } from "../flow/index.js";
import type { Datagram } from "./datagram.js";
import type { Quoted } from "./read-tuple.js";
import { hasPorts, ICMP, ICMPV6, isIcmp, SCTP, T_DST, T_PORTS, T_SRC, UDP } from "./tuple.js";

/**
 * Makes the datagram what the other side of its connection expects: the inverse of the tuple at `other` in `tuples`.
 * Of a fragment that is not the first only the addresses change.
 */
export function translate(
  tuples: Int32Array,
  other: number,
  bytes: Uint8Array,
  view: DataView,
  key: Int32Array,
  headers: Headers,
  datagram: Datagram,
): void {
  const { l3, ipv6 } = datagram;
  const covered = datagram.pseudoChecksumAt(view);
  const udp = datagram.protocol === UDP;
  const first = l3 + (ipv6 ? 8 : 12);
  const size = ipv6 ? 4 : 1;
  for (let i = 0; i < size; i++) {
    setWord(view, first + 4 * i, tuples[other + T_DST + i]!, ipv6 ? -1 : l3 + 10, covered, udp);
    setWord(view, first + 4 * (size + i), tuples[other + T_SRC + i]!, ipv6 ? -1 : l3 + 10, covered, udp);
    key[FlowKey.K_SRC + i] = tuples[other + T_DST + i]!;
    key[FlowKey.K_DST + i] = tuples[other + T_SRC + i]!;
  }
  if ((datagram.fragment & FlowKey.FRAGMENT_LATER) !== 0) return;
  translatePorts(tuples[other + T_PORTS]!, bytes, view, key, headers, datagram, covered);
}

function translatePorts(
  ports: number,
  bytes: Uint8Array,
  view: DataView,
  key: Int32Array,
  headers: Headers,
  datagram: Datagram,
  covered: number,
): void {
  const { l4, protocol } = datagram;
  if (isIcmp(protocol)) {
    const before = view.getUint16(l4 + 4);
    const identifier = ports >>> 16;
    view.setUint16(l4 + 4, identifier);
    view.setUint16(l4 + 2, updateChecksum16(view.getUint16(l4 + 2), before, identifier));
    return;
  }
  if (!hasPorts(protocol)) return;
  const swapped = (ports << 16) | (ports >>> 16);
  const changed = view.getInt32(l4) !== swapped;
  setWord(view, l4, swapped, -1, covered, protocol === UDP);
  if (headers.l4 >= 0) key[FlowKey.K_TP] = swapped;
  // A CRC over the whole packet: of a fragment it cannot be made.
  if (protocol === SCTP && changed && datagram.fragment === 0)
    view.setUint32(l4 + 8, sctpChecksum(bytes, l4, datagram.end - l4), true);
}

/** Stores a word and mends the two checksums that may cover it; −1: none does. */
export function setWord(
  view: DataView,
  at: number,
  after: number,
  header: number,
  covered: number,
  udp: boolean,
): void {
  const before = view.getInt32(at);
  if (before === after) return;
  view.setInt32(at, after);
  if (header >= 0) view.setUint16(header, updateChecksum32(view.getUint16(header), before, after));
  if (covered < 0) return;
  const updated = updateChecksum32(view.getUint16(covered), before, after);
  // UDP writes a computed 0 as its other form: 0 means none.
  view.setUint16(covered, updated === 0 && udp ? 0xffff : updated);
}

/**
 * Translates an ICMP error about a packet of the direction that `sent` answers to: what it quotes becomes what its
 * sender had sent, and the error goes to that sender. Where the quoted destination is translated the speaker stands
 * behind it, and speaks by the address that its hearer knows (RFC 5508, REQ-4 and REQ-5). `seen` and `sent` are places
 * of the connection's tuples in `tuples`.
 */
export function translateError(
  tuples: Int32Array,
  seen: number,
  sent: number,
  bytes: Uint8Array,
  view: DataView,
  key: Int32Array,
  datagram: Datagram,
  quoted: Quoted,
): void {
  const { l3, l4, ipv6, end } = datagram;
  const size = ipv6 ? 4 : 1;
  const source = l3 + (ipv6 ? 8 : 12);
  let behind = false;
  for (let i = 0; i < size; i++) if (tuples[sent + T_DST + i] !== tuples[seen + T_SRC + i]) behind = true;
  const header = ipv6 ? -1 : l3 + 10;
  for (let i = 0; i < size; i++) {
    if (behind) {
      setWord(view, source + 4 * i, tuples[sent + T_DST + i]!, header, -1, false);
      key[FlowKey.K_SRC + i] = tuples[sent + T_DST + i]!;
    }
    setWord(view, source + 4 * (size + i), tuples[sent + T_SRC + i]!, header, -1, false);
    key[FlowKey.K_DST + i] = tuples[sent + T_SRC + i]!;
  }
  restoreQuoted(tuples, sent, bytes, view, end, quoted);
  view.setUint16(l4 + 2, 0);
  view.setUint16(l4 + 2, ipv6 ? icmpv6Checksum(bytes, datagram) : checksum(bytes, l4, end - l4));
}

/** The quoted datagram's own checksums cover more than is quoted; they change by what changes here. */
function restoreQuoted(
  tuples: Int32Array,
  sent: number,
  bytes: Uint8Array,
  view: DataView,
  end: number,
  quoted: Quoted,
): void {
  const { l3, l4, protocol, ipv6 } = quoted;
  const size = ipv6 ? 4 : 1;
  const source = l3 + (ipv6 ? 8 : 12);
  const covered = quotedChecksumAt(view, end, quoted);
  for (let i = 0; i < size; i++) {
    setWord(view, source + 4 * i, tuples[sent + T_SRC + i]!, -1, covered, protocol === UDP);
    setWord(view, source + 4 * (size + i), tuples[sent + T_DST + i]!, -1, covered, protocol === UDP);
  }
  if (!ipv6) {
    view.setUint16(l3 + 10, 0);
    view.setUint16(l3 + 10, checksum(bytes, l3, l4 - l3));
  }
  const ports = tuples[sent + T_PORTS]!;
  if (hasPorts(protocol)) setWord(view, l4, ports, -1, covered, protocol === UDP);
  else if (isIcmp(protocol)) {
    const before = view.getUint16(l4 + 4);
    view.setUint16(l4 + 4, ports >>> 16);
    view.setUint16(l4 + 2, updateChecksum16(view.getUint16(l4 + 2), before, ports >>> 16));
  }
}

function quotedChecksumAt(view: DataView, end: number, quoted: Quoted): number {
  const { l4, protocol } = quoted;
  if (protocol === UDP) return view.getUint16(l4 + 6) !== 0 ? l4 + 6 : -1;
  if (protocol === ICMPV6) return l4 + 2;
  return protocol !== ICMP && protocol === 6 && l4 + 18 <= end ? l4 + 16 : -1;
}

function icmpv6Checksum(bytes: Uint8Array, datagram: Datagram): number {
  const { l3, l4, end } = datagram;
  const size = end - l4;
  const sum = addToSum(bytes, l3 + 8, 32, ICMPV6 + (size & 0xffff) + (size >>> 16));
  return finishSum(addToSum(bytes, l4, size, sum));
}
