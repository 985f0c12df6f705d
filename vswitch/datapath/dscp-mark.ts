// Gives a frame of IP another DSCP, as a queue may ask for all that leaves by it: in place where nobody else holds the
// packet, else in a copy. What the switch does not take for IP (a broken header, one behind labels) stays as it is.
// Source: RFC 2474, 3 (DSCP); RFC 3168, 5 (ECN); RFC 791, 3.1 and RFC 8200, 3 (headers); RFC 1624 (checksum);
// ovs-vswitchd.conf.db(5), Queue, dscp. Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, updateChecksum16 } from "../../base/wire/index.js";

const TPID_CUSTOMER = 0x8100;
const TPID_SERVICE = 0x88a8;
const MACS_SIZE = 12;
const TAG_SIZE = 4;
const ETHERTYPE_SIZE = 2;
/** Tags that are looked behind: more than anyone sends, and so few that a frame of nothing else costs little. */
const TAGS_MAX = 8;
const IPV4_HEADER_SIZE = 20;
const IPV4_CHECKSUM_AT = 10;
const IPV6_HEADER_SIZE = 40;

/**
 * Takes the caller's reference, and gives one of the packet that has this DSCP (0–63): the same one, or a copy; −1 when
 * there is no room for the copy. The ECN bits stay.
 */
export function withDscp(pool: PacketPool, packet: number, dscp: number): number {
  const { bytes } = pool;
  const at = ipHeaderOf(pool, packet);
  if (at < 0) return packet;
  const isIpv4 = bytes[at]! >>> 4 === 4;
  const before = word(bytes, at);
  // The traffic class of IPv6 begins in the middle of a byte.
  const after = isIpv4 ? (before & 0xff03) | (dscp << 2) : (before & 0xf03f) | (dscp << 6);
  if (after === before) return packet;
  let marked = packet;
  if (pool.isShared(packet)) {
    marked = pool.copy(packet);
    pool.free(packet);
    if (marked < 0) return -1;
  }
  const to = at - pool.offset[packet]! + pool.offset[marked]!;
  setWord(bytes, to, after);
  if (isIpv4) {
    const sumAt = to + IPV4_CHECKSUM_AT;
    setWord(bytes, sumAt, updateChecksum16(word(bytes, sumAt), before, after));
  }
  return marked;
}

/** Where in the arena the IP header behind the tags starts; −1 when there is none that flow/key.ts would take for one. */
function ipHeaderOf(pool: PacketPool, packet: number): number {
  const { bytes } = pool;
  const start = pool.offset[packet]!;
  const end = start + pool.length[packet]!;
  let at = start + MACS_SIZE;
  for (let tags = 0; at + ETHERTYPE_SIZE <= end; tags++) {
    const type = word(bytes, at);
    const ip = at + ETHERTYPE_SIZE;
    if (type === ETHERTYPE_IPV4) return isIpv4At(bytes, ip, end) ? ip : -1;
    if (type === ETHERTYPE_IPV6) return isIpv6At(bytes, ip, end) ? ip : -1;
    if ((type !== TPID_CUSTOMER && type !== TPID_SERVICE) || tags === TAGS_MAX) return -1;
    at += TAG_SIZE;
  }
  return -1;
}

function isIpv4At(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + IPV4_HEADER_SIZE > end || bytes[at]! >>> 4 !== 4) return false;
  const headerSize = (bytes[at]! & 15) << 2;
  const total = word(bytes, at + 2);
  return headerSize >= IPV4_HEADER_SIZE && total >= headerSize && at + total <= end;
}

function isIpv6At(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + IPV6_HEADER_SIZE > end || bytes[at]! >>> 4 !== 6) return false;
  return at + IPV6_HEADER_SIZE + word(bytes, at + 4) <= end;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}
