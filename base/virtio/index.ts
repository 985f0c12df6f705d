// virtio and vhost-user, device side, without any particular device.

export {
  DESCRIPTOR_SIZE,
  DescriptorChain,
  SEGMENTS_MAX,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from "./descriptor-chain.js";
export { DirtyLog } from "./dirty-log.js";
export { GUEST_REGIONS_MAX, GuestMemory, type GuestMemoryOptions } from "./guest-memory.js";
export { GUEST_WINDOW_SIZE_MAX, GuestWindow } from "./guest-window.js";
export { LentRings, type WorkedRing } from "./lent-rings.js";
export { PackedVirtqueue } from "./packed-virtqueue.js";
export type { LentRing, RingLender, RingLoan } from "./ring-loan.js";
export type { SplitFrames } from "./split-ring.js";
export { SplitVirtqueue } from "./split-virtqueue.js";
export { VhostUserBackend, type VhostUserBackendOptions } from "./vhost-user-backend.js";
export type { RingAddresses, VhostUserDevice, VhostUserEffect } from "./vhost-user-effects.js";
export type { HandedVhostUser } from "./vhost-user-hand-over.js";
export { VhostUserSession, vringBaseReply } from "./vhost-user-session.js";
export type { MessageWithFds } from "./vhost-user-socket.js";
export * from "./vhost-user-wire.js";
export * from "./virtqueue.js";
export { BLOCK_SIZE, type BlockCopy, type WindowCopy } from "./window-copy.js";
