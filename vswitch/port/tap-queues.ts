// How the queues of a TAP device are read. Thread: the one that serves them.
import { PlinthError } from "../../base/errors/index.js";
import type { Epoll } from "../../base/linux/index.js";
import type { PacketPool, PortCounters } from "../../base/packet/index.js";
import { DEVICE_QUEUES_MAX, DeviceQueues } from "./device-queues.js";
import type { QueueReader } from "./queue-reader.js";
import { ReadingTapReader } from "./tap-reader.js";
import { UringTapReader } from "./tap-uring-reader.js";

export const TAP_QUEUES_MAX = DEVICE_QUEUES_MAX;

/** A queue by its number and its descriptor, which is the device's owner's to close. */
export interface TapQueue {
  readonly queue: number;
  readonly fd: number;
}

export type TapQueues = DeviceQueues<TapQueue>;

/** Frames are counted in `stats`; `epoll` wakes for them. */
export function createTapQueues(pool: PacketPool, stats: PortCounters, epoll: Epoll): TapQueues {
  return new DeviceQueues(pool, stats, epoll, ({ fd }) => openReader(fd, pool, stats));
}

/** By io_uring where the host lets us. */
function openReader(fd: number, pool: PacketPool, stats: PortCounters): QueueReader {
  try {
    return new UringTapReader(fd, pool, stats);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    return new ReadingTapReader(fd, pool, stats);
  }
}
