// The virtio network device that a guest sees: features, numbers, header sizes.
// Source: VIRTIO 1.2, 5.1. Pure.
import {
  FRAME_SIZE_MAX,
  OFFLOAD_CHECKSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO,
} from "../../base/packet/index.js";
import {
  VHOST_F_LOG_ALL,
  VHOST_USER_NET_SET_MTU,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD,
  VHOST_USER_PROTOCOL_F_MQ,
  VHOST_USER_PROTOCOL_F_NET_MTU,
  VHOST_USER_PROTOCOL_F_RARP,
  VHOST_USER_SEND_RARP,
  type VhostUserDevice,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_F_MTU,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from "../../base/virtio/index.js";
import { ETHERNET_SIZE } from "../../base/wire/index.js";

/** virtio_net_hdr with num_buffers at byte 10. */
export const HEADER_SIZE = 12;
/** Of a legacy driver without MRG_RXBUF: no num_buffers. */
const HEADER_SIZE_LEGACY = 10;
/** Ring 2n is the guest's receive queue n, ring 2n + 1 its transmit queue n. */
export const QUEUE_PAIRS_MAX = 8;

/** The smallest that VIRTIO 1.2, 5.1.4.1 allows, and what fits into a packet with one VLAN tag. */
export const MTU_MIN = 68;
export const VLAN_TAG_SIZE = 4;
export const MTU_MAX = FRAME_SIZE_MAX - ETHERNET_SIZE - VLAN_TAG_SIZE;

const bits = (...numbers: readonly number[]): bigint =>
  numbers.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);

export const NET_DEVICE: VhostUserDevice = {
  features: bits(
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_GUEST_USO4,
    VIRTIO_NET_F_GUEST_USO6,
    VIRTIO_NET_F_HOST_USO,
    VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_GUEST_ANNOUNCE,
    VIRTIO_NET_F_MQ,
    VHOST_F_LOG_ALL,
    VIRTIO_RING_F_INDIRECT_DESC,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_F_VERSION_1,
    VIRTIO_F_RING_PACKED,
    VIRTIO_F_IN_ORDER,
  ),
  protocolFeatures: bits(
    VHOST_USER_PROTOCOL_F_MQ,
    VHOST_USER_PROTOCOL_F_LOG_SHMFD,
    VHOST_USER_PROTOCOL_F_RARP,
    VHOST_USER_PROTOCOL_F_NET_MTU,
  ),
  ringCount: 2 * QUEUE_PAIRS_MAX,
  queueCount: QUEUE_PAIRS_MAX,
  requests: new Map([
    [VHOST_USER_SEND_RARP, VHOST_USER_PROTOCOL_F_RARP],
    [VHOST_USER_NET_SET_MTU, VHOST_USER_PROTOCOL_F_NET_MTU],
  ]),
};

/** What of the driver's choice moving frames depends on. */
export interface NetFormat {
  readonly headerSize: number;
  readonly mergeable: boolean;
  /** The guest sends what is still to be checksummed, or cut. */
  readonly sendsUndone: boolean;
  /** What it takes undone: OFFLOAD_* bits. */
  readonly offloads: number;
  /** The longest frame that the guest takes, VLAN tags aside. */
  readonly lengthMax: number;
}

/** `mtu`: what the guest was told, 0 for nothing. */
export function netFormat(features: bigint, mtu: number): NetFormat {
  const has = (bit: number): boolean => ((features >> BigInt(bit)) & 1n) === 1n;
  const mergeable = has(VIRTIO_NET_F_MRG_RXBUF);
  return {
    headerSize: mergeable || has(VIRTIO_F_VERSION_1) ? HEADER_SIZE : HEADER_SIZE_LEGACY,
    mergeable,
    sendsUndone: has(VIRTIO_NET_F_CSUM),
    offloads: offloadsOf(has),
    lengthMax: mtu > 0 && has(VIRTIO_NET_F_MTU) ? mtu + ETHERNET_SIZE : FRAME_SIZE_MAX,
  };
}

/** Everything rests on unfinished checksums; a UDP packet to be cut may be of either IP version. */
function offloadsOf(has: (bit: number) => boolean): number {
  if (!has(VIRTIO_NET_F_GUEST_CSUM)) return 0;
  const tso4 = has(VIRTIO_NET_F_GUEST_TSO4) ? OFFLOAD_TSO4 : 0;
  const tso6 = has(VIRTIO_NET_F_GUEST_TSO6) ? OFFLOAD_TSO6 : 0;
  const uso = has(VIRTIO_NET_F_GUEST_USO4) && has(VIRTIO_NET_F_GUEST_USO6) ? OFFLOAD_USO : 0;
  return OFFLOAD_CHECKSUM | tso4 | tso6 | uso;
}

/** What of the features a port keeps before any driver came. */
export const NO_FORMAT: NetFormat = netFormat(0n, 0);
