// Transmit queues of a guest whose connection another port worker has (lent-port.ts).
// Invariant: as vhost-user-port.ts. Thread: the port worker that borrows. Hot: yes (rx).
import type { Epoll } from "../../base/linux/index.js";
import type { Batch, PacketPool, PortCounters } from "../../base/packet/index.js";
import { type GuestWindow, LentRings, type RingLoan } from "../../base/virtio/index.js";
import { FramesFromGuest } from "./frames-from-guest.js";
import type { BorrowedQueues } from "./lent-port.js";
import type { BorrowedLoan } from "./queue-loan.js";
import { type ActiveQueue, TransmitQueues } from "./transmit-queues.js";
import { netFormat } from "./virtio-net-device.js";

export interface LentQueuesModules {
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly stats: PortCounters;
  readonly epoll: Epoll;
}

/** What VhostUserPort.lendQueues() gives. */
export interface LentQueuesLoan extends RingLoan {
  readonly mtu: number;
}

export class LentQueues implements BorrowedQueues {
  readonly frames: Float64Array;
  readonly numbers: readonly number[];
  readonly #epoll: Epoll;
  readonly #transmits: TransmitQueues;
  readonly #kicks: (ring: number) => boolean;
  readonly #rings: LentRings;

  /** Throws GUEST_MEMORY_INVALID, GUEST_MEMORY_TOO_LARGE or as mmap(2). */
  constructor(lent: LentQueuesLoan, { pool, window, stats, epoll }: LentQueuesModules, loan: BorrowedLoan) {
    this.#epoll = epoll;
    const fromGuest = new FramesFromGuest(pool, window, stats);
    const { rings, mtu, features } = lent;
    const byIndex = new Map(rings.map((ring) => [ring.index, ring]));
    const call = (index: number): void => this.#rings.call(byIndex.get(index)!);
    this.#kicks = (index) => byIndex.get(index)!.kickFd >= 0;
    try {
      this.#rings = new LentRings(lent, window, epoll);
    } catch (thrown) {
      for (const { index, base } of rings) loan.leave(index, base, false); // cold
      throw thrown;
    }
    this.#transmits = new TransmitQueues({ pool, fromGuest, call });
    this.frames = this.#transmits.frames;
    const format = netFormat(features, mtu);
    fromGuest.use(format);
    if (format.sendsUndone) pool.holdsOffloads = true;
    this.#transmits.all = this.#rings.rings.map(
      ({ queue, ring }): ActiveQueue => ({ queue, ring: ring.index, isUnsettled: false }),
    );
    this.numbers = rings.map(({ index }) => index >> 1);
  }

  rx(batch: Batch): number {
    return this.#transmits.rx(batch);
  }

  /** What was not taken waits in the rings. */
  stop(): boolean {
    return true;
  }

  beginSleep(): boolean {
    return this.#transmits.beginSleep(this.#kicks);
  }

  endSleep(): void {
    this.#transmits.endSleep();
    // Kicks are edge-triggered.
    this.#epoll.wait(0);
  }

  giveBack(loan: BorrowedLoan): void {
    for (const { ring, queue } of this.#rings.rings) loan.leave(ring.index, queue.base, queue.broken); // cold
    this.#transmits.all = [];
    this.#rings.close();
  }
}
