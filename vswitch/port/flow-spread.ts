// Which of several queues a frame goes to: the same one for every frame of a flow, so that their order stays.
// Frames of TCP, UDP and SCTP are told apart by addresses and ports, other IP by addresses, anything else by MAC
// addresses. Fragments have no ports, so all of a datagram go the same way. Two VLAN tags are looked through.
// Invariant: reads only the frame's own bytes. Thread: any. Hot: yes, with more than one queue.
import {
  ETHERNET_SIZE,
  ETHERNET_TYPE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../base/wire/index.js";

const VLAN_TAG_SIZE = 4;
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;

/** A hash of the flow that the frame at `at`, `length` bytes long, belongs to; not negative. */
export function flowHash(bytes: Uint8Array, at: number, length: number): number {
  const end = at + length;
  let type = read16(bytes, at + ETHERNET_TYPE);
  let next = at + ETHERNET_SIZE;
  for (let tags = 0; tags < 2 && (type === 0x8100 || type === 0x88a8); tags++) {
    if (next + VLAN_TAG_SIZE > end) break;
    type = read16(bytes, next + 2);
    next += VLAN_TAG_SIZE;
  }
  if (type === ETHERTYPE_IPV4 && next + IPV4_SIZE <= end) return ipv4(bytes, next, end);
  if (type === ETHERTYPE_IPV6 && next + IPV6_SIZE <= end) return ipv6(bytes, next, end);
  return finish(words(bytes, at, 3, 0));
}

function ipv4(bytes: Uint8Array, at: number, end: number): number {
  const hash = words(bytes, at + 12, 2, bytes[at + 9] as number);
  const isFragment = (read16(bytes, at + 6) & 0x3fff) !== 0;
  const ports = at + ((bytes[at] as number) & 15) * 4;
  return isFragment ? finish(hash) : transport(bytes, bytes[at + 9] as number, ports, end, hash);
}

function ipv6(bytes: Uint8Array, at: number, end: number): number {
  const protocol = bytes[at + 6] as number;
  // What lies behind an extension header, a fragment's among them, is not looked for.
  return transport(bytes, protocol, at + IPV6_SIZE, end, words(bytes, at + 8, 8, 0));
}

function transport(bytes: Uint8Array, protocol: number, at: number, end: number, hash: number): number {
  const hasPorts = protocol === IPPROTO_TCP || protocol === IPPROTO_UDP || protocol === IPPROTO_SCTP;
  return finish(hasPorts && at + 4 <= end ? words(bytes, at, 1, hash) : hash);
}

/** Mixes `count` words in. */
function words(bytes: Uint8Array, at: number, count: number, seed: number): number {
  let hash = seed;
  for (let i = 0; i < count; i++, at += 4) {
    const word = (read16(bytes, at) << 16) | read16(bytes, at + 2);
    hash = Math.imul((hash ^ word) | 0, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash;
}

function finish(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (mixed ^ (mixed >>> 13)) & 0x7fff_ffff;
}

function read16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
