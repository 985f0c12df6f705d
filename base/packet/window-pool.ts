// A packet pool in a window of its own, for whoever has ports but no guests' memory beside the packets.
// Thread: the one that the window belongs to.
import { assert } from "../assert/index.js";
import { GuestWindow } from "../virtio/index.js";
import { POOL_SLOTS } from "./limits.js";
import { arenaSizeOf, PacketPool } from "./packet-pool.js";

export interface WindowPool {
  readonly window: GuestWindow;
  readonly pool: PacketPool;
}

/** A new window with packets in it, and room for the memory of ports. `sizeBytes`: of the whole window. */
export function createWindowPool(slots: number = POOL_SLOTS, sizeBytes?: number): WindowPool {
  const window = new GuestWindow(sizeBytes);
  const arenaOffset = window.reserveAnonymous(arenaSizeOf(slots, 0));
  assert(arenaOffset >= 0, "the window has room for its packets");
  return { window, pool: new PacketPool({ slots, arena: window.bytes, arenaOffset }) };
}
