// Where a device has to go on in a packed ring that another life of it worked on, told by the ring alone: unlike a
// split ring, a packed one has no index in memory.
//
//   AVAIL bits   1 1 1 1 1 1 1 1 0 0 0 0      they change where the driver writes next (A)
//   state        u u u a a a a a u u u u      from A on round the ring: used elements, then what waits
//                      ▲         A
//
// Source: VIRTIO 1.2, 2.8.1 (wrap counters), 2.8.5. Holds where every descriptor of a chain that was given back is
// marked used, as ours are, and chains are given back in order.
// Invariant: the ring may hold anything; a walk ends after one lap. Pure. Hot: no.
import { DESCRIPTOR_SIZE } from "./descriptor-chain.js";

export const VRING_PACKED_DESC_F_AVAIL = 0x80;
export const VRING_PACKED_DESC_F_USED = 0x8000;
export const VRING_PACKED_STATE_MASK = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
const WRAP_BIT = 15;
const FLAGS_AT = 14;

/** Whether a descriptor with these flags is available in the lap of this wrap counter. */
export function isAvailable(flags: number, wrap: number): boolean {
  const state = flags & VRING_PACKED_STATE_MASK;
  return state === (wrap === 0 ? VRING_PACKED_DESC_F_USED : VRING_PACKED_DESC_F_AVAIL);
}

/** Whether it is a used element of that lap. */
export function isUsed(flags: number, wrap: number): boolean {
  return (flags & VRING_PACKED_STATE_MASK) === (wrap === 0 ? 0 : VRING_PACKED_STATE_MASK);
}

/** A driver that writes while it is looked at can add no more chains than the ring has room for. */
const LOOKS_MAX = 64;

/**
 * The first descriptor that is not used, and at bit 15 the wrap counter there; −1 when the ring does not tell, because
 * the driver is in the midst of writing a chain or writes nonsense. `ring`: the window offset of `size` descriptors.
 *
 * A driver that offers chains meanwhile may have written behind the place that is looked at and before it, so that what
 * waits seems to begin in the midst. What is found twice running is true: the driver writes in order.
 */
export function findPackedPosition(u16: Uint16Array, ring: number, size: number): number {
  let found = lookForPosition(u16, ring, size);
  for (let looks = 1; looks < LOOKS_MAX; looks++) {
    const again = lookForPosition(u16, ring, size);
    if (again === found) break;
    found = again;
  }
  return found;
}

function lookForPosition(u16: Uint16Array, ring: number, size: number): number {
  const flags = (slot: number): number => u16[(ring + slot * DESCRIPTOR_SIZE + FLAGS_AT) >>> 1]!;
  const lap = (slot: number): number => (flags(slot) & VRING_PACKED_DESC_F_AVAIL ? 1 : 0);
  let driver = 0;
  for (let slot = 1; slot < size; slot++) {
    if (lap(slot) === lap(slot - 1)) continue;
    if (driver > 0) return -1;
    driver = slot;
  }
  let slot = driver;
  // What lies there is of the lap before.
  let wrap = lap(driver);
  for (let steps = 0; steps < size && isUsed(flags(slot), wrap); steps++) {
    if (++slot < size) continue;
    slot = 0;
    wrap ^= 1;
  }
  return slot | (wrap << WRAP_BIT);
}
