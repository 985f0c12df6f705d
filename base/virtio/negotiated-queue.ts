// A virtqueue as the driver has chosen that it is to be. Pure.
import type { GuestMemory } from "./guest-memory.js";
import { PackedVirtqueue } from "./packed-virtqueue.js";
import { SplitVirtqueue } from "./split-virtqueue.js";
import {
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from "./vhost-user-wire.js";
import type { Virtqueue } from "./virtqueue.js";

export function hasFeature(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) === 1n;
}

/** Of the layout that was chosen, and told of the other choices. */
export function createVirtqueue(memory: GuestMemory, features: bigint): Virtqueue {
  const isPacked = hasFeature(features, VIRTIO_F_RING_PACKED);
  const queue = isPacked ? new PackedVirtqueue(memory) : new SplitVirtqueue(memory);
  negotiate(queue, features);
  return queue;
}

/** What of the features a queue of either layout depends on. */
export function negotiate(queue: Virtqueue, features: bigint): void {
  queue.indirect = hasFeature(features, VIRTIO_RING_F_INDIRECT_DESC);
  queue.eventIndex = hasFeature(features, VIRTIO_RING_F_EVENT_IDX);
  queue.inOrder = hasFeature(features, VIRTIO_F_IN_ORDER);
}
