// The header that travels before a frame where checksums and segments are left to the receiver: virtio-net cards, TAP
// devices and packet sockets all have it.
//
//   0 flags · 1 gso_type · 2 hdr_len · 4 gso_size · 6 csum_start · 8 csum_offset [· 10 num_buffers]   little-endian
//
// Source: VIRTIO 1.2, 5.1.6; linux/virtio_net.h. Invariant: whatever the header says, what the pool holds afterwards
// lies inside the frame. Thread: the packet's. Hot: yes.
import { primeChecksum, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET } from "./checksum-offload.js";
import type { PacketPool } from "./packet-pool.js";

/** Without num_buffers. */
export const NET_HEADER_SIZE = 10;
const NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
const GSO_ECN = 0x80;

/** What a port takes from the datapath undone, as bits of Port.offloads. */
export const OFFLOAD_CHECKSUM = 1;
export const OFFLOAD_TSO4 = 2;
export const OFFLOAD_TSO6 = 4;
export const OFFLOAD_USO = 8;
export const OFFLOAD_ALL = 15;

const TCP_HEADER_SIZE_MIN = 20;
const UDP_HEADER_SIZE = 8;

/**
 * Reads the header at `at` in the arena, which belongs to the frame that offset and length already tell of. False when
 * it makes no sense for this frame, or asks for what nobody agreed to.
 */
export function readNetHeader(pool: PacketPool, packet: number, at: number): boolean {
  const { bytes } = pool;
  const type = bytes[at + 1] as number;
  if (((bytes[at] as number) & NEEDS_CSUM) === 0) return type === VIRTIO_NET_HDR_GSO_NONE;
  const length = pool.length[packet] as number;
  const start = (bytes[at + 6] as number) | ((bytes[at + 7] as number) << 8);
  const offset = (bytes[at + 8] as number) | ((bytes[at + 9] as number) << 8);
  if (start < 14 || offset > 255 || start + offset + 2 > length) return false;
  const segmentSize = (bytes[at + 4] as number) | ((bytes[at + 5] as number) << 8);
  if (type !== VIRTIO_NET_HDR_GSO_NONE && !canSegment(type, segmentSize, start, offset, length)) return false;
  pool.checksumStart[packet] = (pool.offset[packet] as number) + start;
  pool.checksumOffset[packet] = offset;
  pool.segmentSize[packet] = type === VIRTIO_NET_HDR_GSO_NONE ? 0 : segmentSize;
  pool.segmentType[packet] = type & ~GSO_ECN;
  return true;
}

function canSegment(type: number, size: number, start: number, offset: number, length: number): boolean {
  const kind = type & ~GSO_ECN;
  if (kind === VIRTIO_NET_HDR_GSO_TCPV4 || kind === VIRTIO_NET_HDR_GSO_TCPV6)
    return size > 0 && offset === TCP_CHECKSUM_OFFSET && start + TCP_HEADER_SIZE_MIN <= length;
  return (
    kind === VIRTIO_NET_HDR_GSO_UDP_L4 &&
    size > 0 &&
    offset === UDP_CHECKSUM_OFFSET &&
    start + UDP_HEADER_SIZE <= length
  );
}

/** Writes NET_HEADER_SIZE bytes at `at` in the arena for the packet, whose checksum field is made ready for hardware. */
export function writeNetHeader(pool: PacketPool, packet: number, at: number): void {
  const { bytes } = pool;
  const checksumStart = pool.checksumStart[packet] as number;
  if (checksumStart === 0) {
    for (let i = 0; i < NET_HEADER_SIZE; i++) bytes[at + i] = 0;
    return;
  }
  primeChecksum(pool, packet);
  const start = checksumStart - (pool.offset[packet] as number);
  const segmentSize = pool.segmentSize[packet] as number;
  const headerSize = segmentSize === 0 ? 0 : start + transportHeaderSize(pool, packet);
  bytes[at] = NEEDS_CSUM;
  bytes[at + 1] = segmentSize === 0 ? VIRTIO_NET_HDR_GSO_NONE : (pool.segmentType[packet] as number);
  bytes[at + 2] = headerSize;
  bytes[at + 3] = headerSize >>> 8;
  bytes[at + 4] = segmentSize;
  bytes[at + 5] = segmentSize >>> 8;
  bytes[at + 6] = start;
  bytes[at + 7] = start >>> 8;
  bytes[at + 8] = pool.checksumOffset[packet] as number;
  bytes[at + 9] = 0;
}

/** Bytes of the TCP or UDP header of a packet that is to be segmented. */
export function transportHeaderSize(pool: PacketPool, packet: number): number {
  if (pool.checksumOffset[packet] !== TCP_CHECKSUM_OFFSET) return UDP_HEADER_SIZE;
  const size = ((pool.bytes[(pool.checksumStart[packet] as number) + 12] as number) >>> 4) << 2;
  return size < TCP_HEADER_SIZE_MIN ? TCP_HEADER_SIZE_MIN : size;
}

/** How long the packet's frames are on a wire at most: its own length, or that of its segments. */
export function wireLength(pool: PacketPool, packet: number): number {
  const start = pool.checksumStart[packet] as number;
  const length = pool.length[packet] as number;
  if (start === 0 || pool.segmentSize[packet] === 0) return length;
  const headers = start - (pool.offset[packet] as number) + transportHeaderSize(pool, packet);
  const segment = headers + (pool.segmentSize[packet] as number);
  return segment < length ? segment : length;
}

/** The bit of Port.offloads that a port must have to take the packet as it is, given its checksumStart is not 0. */
export function offloadNeeded(pool: PacketPool, packet: number): number {
  if (pool.segmentSize[packet] === 0) return OFFLOAD_CHECKSUM;
  switch (pool.segmentType[packet]) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return OFFLOAD_TSO4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return OFFLOAD_TSO6;
    default:
      return OFFLOAD_USO;
  }
}
