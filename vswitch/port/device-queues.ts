// The receive queues of a TAP device or an AF_XDP port that one thread takes frames from: who has its turn, and what came by
// which. Thread: the one that serves them. Hot: yes.
import { EPOLLIN, type Epoll } from "../../base/linux/index.js";
import {
  type Batch,
  type PacketPool,
  type PortCounters,
  RX_BYTES,
  RX_PACKETS,
} from "../../base/packet/index.js";
import type { QueueReader } from "./queue-reader.js";

export const DEVICE_QUEUES_MAX = 16;

interface Served {
  readonly queue: number;
  readonly reader: QueueReader;
}

/** `Q`: a queue by its number, and what it takes to read from it. */
export class DeviceQueues<Q extends { readonly queue: number }> {
  /** Frames that have come in, by queue. */
  readonly frames = new Float64Array(DEVICE_QUEUES_MAX);
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #epoll: Epoll;
  readonly #open: (queue: Q) => QueueReader;
  /** Numbers of those that are served, and as bits. */
  numbers: readonly number[] = [];
  bits = 0;
  #served: readonly Served[] = [];
  /** The place of the one that is asked first, in turn. */
  #turn = 0;

  /** Frames are counted in `stats`; `epoll` wakes for them. `open` throws with the errno's name. */
  constructor(pool: PacketPool, stats: PortCounters, epoll: Epoll, open: (queue: Q) => QueueReader) {
    this.#pool = pool;
    this.#stats = stats;
    this.#epoll = epoll;
    this.#open = open;
  }

  /** Takes frames from these, too. Throws with the errno's name, and then from none of them that was not ready before. */
  add(queues: readonly Q[]): void {
    const added: Served[] = [];
    try {
      for (let i = 0; i < queues.length; i++) {
        const one = queues[i] as Q;
        const reader = this.#open(one);
        added.push({ queue: one.queue, reader });
        this.#epoll.add(reader.wakeFd, EPOLLIN);
      }
    } catch (thrown) {
      for (let i = 0; i < added.length; i++) this.#drop(added[i] as Served);
      throw thrown;
    }
    this.#serve([...this.#served, ...added].sort((a, b) => a.queue - b.queue));
  }

  /** Takes nothing more from these; after stop(). What was not taken waits in the device. */
  remove(queues: readonly number[]): void {
    const gone = this.#served.filter(({ queue }) => queues.includes(queue));
    this.#serve(this.#served.filter(({ queue }) => !queues.includes(queue)));
    for (let i = 0; i < gone.length; i++) this.#drop(gone[i] as Served);
  }

  rx(batch: Batch): number {
    const all = this.#served;
    const before = batch.length;
    let count = 0;
    const first = all.length < 2 ? 0 : this.#turn++;
    for (let i = 0; i < all.length; i++) {
      const { queue, reader } = all[(first + i) % all.length] as Served;
      const taken = reader.receive(batch);
      if (taken === 0) continue;
      this.frames[queue] = (this.frames[queue] as number) + taken;
      count += taken;
    }
    if (count === 0) return 0;
    const stats = this.#stats;
    let bytes = 0;
    for (let i = before; i < batch.length; i++)
      bytes += this.#pool.length[batch.packets[i] as number] as number;
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    return count;
  }

  /** False when a frame waits that the epoll does not wake for. */
  mayWait(): boolean {
    const all = this.#served;
    for (let i = 0; i < all.length; i++) if (!(all[i] as Served).reader.mayWait()) return false;
    return true;
  }

  /** Takes no more from these queues than rx() has at hand; false while it has some. To be called until it is true. */
  stop(queues: readonly number[]): boolean {
    const all = this.#served;
    let hasStopped = true;
    for (let i = 0; i < all.length; i++) {
      const { queue, reader } = all[i] as Served;
      if (queues.includes(queue) && !reader.stop()) hasStopped = false;
    }
    return hasStopped;
  }

  /** The device is gone: what is left of it would wake us for ever. */
  silence(): void {
    for (const { reader } of this.#served) this.#epoll.remove(reader.wakeFd); // cold
  }

  /** As remove(), of all. */
  clear(): void {
    this.remove(this.numbers);
  }

  close(): void {
    for (const { reader } of this.#served) reader.close(); // cold
    this.#serve([]);
  }

  #drop({ reader }: Served): void {
    this.#epoll.remove(reader.wakeFd);
    reader.close();
  }

  #serve(served: readonly Served[]): void {
    this.#served = served;
    this.numbers = served.map(({ queue }) => queue);
    this.bits = this.numbers.reduce((bits, queue) => bits | (1 << queue), 0);
  }
}
