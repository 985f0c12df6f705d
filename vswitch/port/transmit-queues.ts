// The transmit queues of a guest that one thread serves: who has its turn, and what was taken from which.
// Thread: the one that serves them. Hot: yes.
import type { Batch, PacketPool } from "../../base/packet/index.js";
import type { Virtqueue } from "../../base/virtio/index.js";
import type { FramesFromGuest } from "./frames-from-guest.js";
import { QUEUE_PAIRS_MAX } from "./virtio-net-device.js";

/** A queue in use and the number of its ring. */
export interface ActiveQueue {
  readonly queue: Virtqueue;
  readonly ring: number;
  /** The driver was shown something, and is still to be asked whether it wants to be called. */
  isUnsettled: boolean;
}

export interface TransmitQueuesModules {
  readonly pool: PacketPool;
  readonly fromGuest: FramesFromGuest;
  /** Calls the driver for the ring. */
  readonly call: (ring: number) => void;
}

export class TransmitQueues {
  all: readonly ActiveQueue[] = [];
  /** Frames that have come in, by queue pair. */
  readonly frames = new Float64Array(QUEUE_PAIRS_MAX);
  readonly #pool: PacketPool;
  readonly #fromGuest: FramesFromGuest;
  readonly #call: (ring: number) => void;
  /** The one that is asked first, in turn: a busy one must not keep the others waiting. */
  #turn = 0;

  constructor({ pool, fromGuest, call }: TransmitQueuesModules) {
    this.#pool = pool;
    this.#fromGuest = fromGuest;
    this.#call = call;
  }

  at(place: number): ActiveQueue {
    return this.all[place] as ActiveQueue;
  }

  /** The place of the one whose turn it is. */
  get first(): number {
    const count = this.all.length;
    return count === 1 ? 0 : this.#turn % count;
  }

  /** The next turn is another one's. */
  turn(): void {
    this.#turn++;
  }

  rx(batch: Batch): number {
    const { all } = this;
    if (all.length === 1) return this.take(all[0] as ActiveQueue, batch, batch.room);
    let count = 0;
    const first = this.#turn;
    for (let i = 0; i < all.length; i++)
      count += this.take(all[(first + i) % all.length] as ActiveQueue, batch, batch.room);
    if (count > 0) this.#turn = first + 1;
    return count;
  }

  take({ queue, ring }: ActiveQueue, batch: Batch, most: number): number {
    const waiting = queue.available();
    if (waiting === 0) return 0;
    const limit = Math.min(waiting, most, this.#pool.available);
    if (limit === 0) return 0;
    const count = this.#fromGuest.take(queue, batch, limit);
    this.count(ring, count);
    if (queue.publish()) this.#call(ring);
    return count;
  }

  count(ring: number, frames: number): void {
    this.frames[ring >> 1] = (this.frames[ring >> 1] as number) + frames;
  }

  /** Whether there is anything to take. */
  look(): boolean {
    for (let i = 0; i < this.all.length; i++) if (this.at(i).queue.available() > 0) return true;
    return false;
  }

  /** As Port.beginSleep(). `kicks`: whether the driver kicks a ring. */
  beginSleep(kicks: (ring: number) => boolean): boolean {
    let quiet = true;
    for (let i = 0; i < this.all.length; i++) {
      const { queue, ring } = this.at(i);
      if (!kicks(ring)) return false;
      queue.wantKicks(true);
      if (queue.available() > 0) quiet = false;
    }
    return quiet;
  }

  endSleep(): void {
    for (let i = 0; i < this.all.length; i++) this.at(i).queue.wantKicks(false);
  }
}
