// How the receive queues of an AF_XDP port are read: each frame is copied out of the memory that the kernel writes to, which
// lies in the window of the thread that reads. Thread: the one that serves them. Hot: yes (receive).
import { PlinthError } from "../../base/errors/index.js";
import {
  type Epoll,
  type RingMapping,
  receiverOf,
  XDP_MEMORY_SIZE,
  type XdpReceiver,
  type XdpShare,
} from "../../base/linux/index.js";
import {
  type Batch,
  FRAME_SIZE_MIN,
  type PacketPool,
  type PortCounters,
  RX_ERRORS,
} from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import { DEVICE_QUEUES_MAX, DeviceQueues } from "./device-queues.js";
import type { QueueReader } from "./queue-reader.js";

export const XDP_QUEUES_MAX = DEVICE_QUEUES_MAX;

/** A queue of a socket of this thread. */
export interface XdpQueue {
  readonly queue: number;
  readonly receiver: XdpReceiver;
}

/** One of another thread's. */
export interface XdpSharedQueue {
  readonly queue: number;
  readonly share: XdpShare;
}

export type XdpQueues = DeviceQueues<XdpQueue>;
export type XdpSharedQueues = DeviceQueues<XdpSharedQueue>;

interface Modules {
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly stats: PortCounters;
  readonly epoll: Epoll;
}

/** Frames are counted in `stats`; `epoll` wakes for them. */
export function createXdpQueues({ pool, window, stats, epoll }: Modules): XdpQueues {
  return new DeviceQueues(
    pool,
    stats,
    epoll,
    ({ receiver }) => new XdpReader({ receiver, pool, window, stats, close: () => {} }),
  );
}

/** The same; the memory of each is in the window for as long as it is served. Adding throws NO_WINDOW_ROOM, too. */
export function createSharedXdpQueues(
  { pool, window, stats, epoll }: Modules,
  name: string,
): XdpSharedQueues {
  return new DeviceQueues(pool, stats, epoll, ({ share }) => {
    const memory = mapXdpMemory(window, name, share.memoryFd, XDP_MEMORY_SIZE);
    const receiver = receiverOf(share, memory.byteOffset);
    return new XdpReader({ receiver, pool, window, stats, close: () => memory.unmap() });
  });
}

/** Throws NO_WINDOW_ROOM. */
export function mapXdpMemory(window: GuestWindow, name: string, fd: number, sizeBytes: number): RingMapping {
  const at = window.reserveShared(fd, sizeBytes);
  if (at < 0)
    throw new PlinthError("NO_WINDOW_ROOM", `no room for the frames of ${name} beside the memory of guests`);
  return { buffer: window.bytes.buffer, byteOffset: at, unmap: () => window.giveBack(at) };
}

interface XdpReaderOptions {
  readonly receiver: XdpReceiver;
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly stats: PortCounters;
  readonly close: () => void;
}

class XdpReader implements QueueReader {
  readonly wakeFd: number;
  readonly close: () => void;
  readonly #receiver: XdpReceiver;
  readonly #pool: PacketPool;
  readonly #window: GuestWindow;
  readonly #stats: PortCounters;

  constructor({ receiver, pool, window, stats, close }: XdpReaderOptions) {
    this.wakeFd = receiver.fd;
    this.close = close;
    this.#receiver = receiver;
    this.#pool = pool;
    this.#window = window;
    this.#stats = stats;
    receiver.resume();
  }

  receive(batch: Batch): number {
    const receiver = this.#receiver;
    let waiting = receiver.waiting();
    if (waiting === 0) return 0;
    const pool = this.#pool;
    const { copy } = this.#window;
    let count = 0;
    for (; waiting > 0 && batch.length < batch.capacity; waiting--) {
      const packet = pool.allocate();
      if (packet < 0) break;
      receiver.next();
      const length = receiver.frameLength;
      if (length < FRAME_SIZE_MIN) {
        pool.free(packet);
        this.#stats[RX_ERRORS] = (this.#stats[RX_ERRORS] as number) + 1;
        continue;
      }
      copy(pool.offset[packet] as number, receiver.frameAt, length);
      pool.length[packet] = length;
      batch.packets[batch.length++] = packet;
      count++;
    }
    receiver.release();
    return count;
  }

  /** The sockets are level-triggered: a frame that is there already makes them readable at once. */
  mayWait(): boolean {
    return true;
  }

  /** What was not taken waits in the ring. */
  stop(): boolean {
    return true;
  }
}
