// Checksums that a sender left to whoever puts the packet on a wire: what the field must hold meanwhile, and completing
// it. Nothing in between keeps the field up to date (addresses may be rewritten), so both start from the headers.
// Source: VIRTIO 1.2, 5.1.6.2; RFC 1071, 768, 9293, 8200 8.1. Thread: the packet's. Hot: yes.
import { addToSum, finishSum } from "../wire/index.js";
import type { PacketPool } from "./packet-pool.js";
import { foldSum, swapped } from "./word-sum.js";

const TCP = 6;
const UDP = 17;
/** Where the checksum field stands in the two headers: it tells them apart. */
export const TCP_CHECKSUM_OFFSET = 16;
export const UDP_CHECKSUM_OFFSET = 6;
const ETHERTYPE_AT = 12;
const TAGS_MAX = 8;

/**
 * Where in the arena the IP header before `l4` starts, behind any tags and labels; −1 when there is none.
 * `l4` is the packet's checksumStart, or any place behind the IP header.
 */
export function networkStart(pool: PacketPool, packet: number, l4: number): number {
  const { bytes } = pool;
  let at = (pool.offset[packet] as number) + ETHERTYPE_AT;
  for (let tags = 0; tags < TAGS_MAX && at + 22 <= l4; tags++) {
    const type = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    if (type === 0x8100 || type === 0x88a8) {
      at += 4;
      continue;
    }
    if (type === 0x0800 || type === 0x86dd) return at + 2;
    if (type !== 0x8847 && type !== 0x8848) return -1;
    return behindLabels(bytes, at + 2, l4);
  }
  return -1;
}

function behindLabels(bytes: Uint8Array, label: number, l4: number): number {
  for (let at = label; at + 24 <= l4; at += 4) {
    if (((bytes[at + 2] as number) & 1) === 0) continue;
    const version = (bytes[at + 4] as number) >>> 4;
    return version === 4 || version === 6 ? at + 4 : -1;
  }
  return -1;
}

/** The arena offset of the end of the IP datagram whose header is at `l3`, at most that of the frame. */
export function datagramEnd(pool: PacketPool, packet: number, l3: number): number {
  const { bytes } = pool;
  const end = (pool.offset[packet] as number) + (pool.length[packet] as number);
  const size =
    (bytes[l3] as number) >>> 4 === 4
      ? ((bytes[l3 + 2] as number) << 8) | (bytes[l3 + 3] as number)
      : 40 + (((bytes[l3 + 4] as number) << 8) | (bytes[l3 + 5] as number));
  return l3 + size < end ? l3 + size : end;
}

/** The sum, not folded, of the pseudo header for `length` bytes of TCP or UDP behind the IP header at `l3`. */
export function pseudoSum(bytes: Uint8Array, l3: number, checksumOffset: number, length: number): number {
  const protocol = checksumOffset === TCP_CHECKSUM_OFFSET ? TCP : UDP;
  const ipv4 = (bytes[l3] as number) >>> 4 === 4;
  return addToSum(bytes, l3 + (ipv4 ? 12 : 8), ipv4 ? 8 : 32, protocol + length);
}

/** Writes into the checksum field of a packet with checksumStart what hardware wants there: the pseudo header's sum. */
export function primeChecksum(pool: PacketPool, packet: number): void {
  const start = pool.checksumStart[packet] as number;
  const offset = pool.checksumOffset[packet] as number;
  if (offset !== TCP_CHECKSUM_OFFSET && offset !== UDP_CHECKSUM_OFFSET) return;
  const l3 = networkStart(pool, packet, start);
  if (l3 < 0) return;
  const length = datagramEnd(pool, packet, l3) - start;
  put(pool.bytes, start + offset, ~finishSum(pseudoSum(pool.bytes, l3, offset, length)));
}

/** Completes the checksum of a packet with checksumStart, which is like any other afterwards. Shared packets too: to
 *  whoever else holds it, it says the same as before. */
export function completeChecksum(pool: PacketPool, packet: number): void {
  const { bytes } = pool;
  const start = pool.checksumStart[packet] as number;
  const offset = pool.checksumOffset[packet] as number;
  primeChecksum(pool, packet);
  const l3 = networkStart(pool, packet, start);
  const frameEnd = (pool.offset[packet] as number) + (pool.length[packet] as number);
  const end = l3 < 0 ? frameEnd : datagramEnd(pool, packet, l3);
  // Headers stand at even places but behind what a guest made odd.
  const sum =
    (start & 1) === 0
      ? ~swapped(foldSum(pool.sums.of(start, end - start))) & 0xffff
      : finishSum(addToSum(bytes, start, end - start, 0));
  // Zero would say that UDP has no checksum.
  put(bytes, start + offset, sum === 0 && offset === UDP_CHECKSUM_OFFSET ? 0xffff : sum);
  pool.checksumStart[packet] = 0;
}

function put(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}
