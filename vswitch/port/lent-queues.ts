// Transmit queues of a guest whose connection another port worker has (queue-loan.ts), as a port by which frames only come
// in. It ends when its owner wants the queues back, and stays silent from then on.
// Invariant: as vhost-user-port.ts; nothing of the guest is touched before begin() or after the end.
// Thread: the port worker that borrows. Hot: yes (rx).
import { Epoll } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  TX_DROPPED,
} from "../../base/packet/index.js";
import { type GuestWindow, LentRings, type RingLoan } from "../../base/virtio/index.js";
import { FramesFromGuest } from "./frames-from-guest.js";
import { BorrowedLoan } from "./queue-loan.js";
import { type ActiveQueue, TransmitQueues } from "./transmit-queues.js";
import { netFormat, QUEUE_PAIRS_MAX } from "./virtio-net-device.js";

export interface LentQueuesOptions {
  /** Of the port that they are queues of. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly memory: SharedArrayBuffer;
  readonly loan: LentQueuesLoan;
}

/** What VhostUserPort.lendQueues() gives. */
export interface LentQueuesLoan extends RingLoan {
  readonly mtu: number;
}

export class LentQueues implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  /** It has none of its own: the port itself says how its link is. */
  readonly linkUp = false;
  readonly #pool: PacketPool;
  readonly #loan: BorrowedLoan;
  readonly #epoll = new Epoll(QUEUE_PAIRS_MAX);
  readonly #transmits: TransmitQueues;
  readonly #kicks: (ring: number) => boolean;
  #rings: LentRings | undefined;

  /** Throws GUEST_MEMORY_INVALID, GUEST_MEMORY_TOO_LARGE or as mmap(2); then, too, the owner gets its queues back. */
  constructor({ name, pool, window, memory, loan }: LentQueuesOptions) {
    this.name = name;
    this.#pool = pool;
    this.wakeFd = this.#epoll.fd;
    this.#loan = new BorrowedLoan(memory);
    const fromGuest = new FramesFromGuest(pool, window, this.stats);
    const { rings, mtu, features } = loan;
    const byIndex = new Map(rings.map((ring) => [ring.index, ring]));
    const call = (index: number): void => this.#rings?.call(byIndex.get(index)!);
    this.#kicks = (index) => byIndex.get(index)!.kickFd >= 0;
    this.#transmits = new TransmitQueues({ pool, fromGuest, call });
    if (!this.#loan.begin()) return;
    try {
      this.#rings = new LentRings(loan, window, this.#epoll);
    } catch (thrown) {
      for (const { index, base } of rings) this.#loan.leave(index, base, false); // cold
      this.#loan.end(0);
      this.#epoll.close();
      throw thrown;
    }
    const format = netFormat(features, mtu);
    fromGuest.use(format);
    if (format.sendsUndone) pool.holdsOffloads = true;
    this.#transmits.all = this.#rings.rings.map(
      ({ queue, ring }): ActiveQueue => ({ queue, ring: ring.index, isUnsettled: false }),
    );
  }

  /** The owner wants the queues back: giveBack() is to follow. */
  get isRecalled(): boolean {
    return this.#loan.isRecalled;
  }

  /** Frames that have come in, by queue pair. */
  get queueFrames(): Float64Array {
    return this.#transmits.frames;
  }

  get queuesInUse(): ReadonlyMap<number, boolean> {
    return new Map(this.#transmits.all.map(({ ring }) => [ring >> 1, true])); // cold
  }

  /** The owner may touch the queues again. `handed`: packets that were put into the lane. */
  giveBack(handed: number): void {
    if (this.#rings === undefined) return;
    for (const { ring, queue } of this.#rings.rings) this.#loan.leave(ring.index, queue.base, queue.broken); // cold
    this.#transmits.all = [];
    this.#rings.close();
    this.#rings = undefined;
    this.#loan.end(handed);
  }

  rx(batch: Batch): number {
    return this.#transmits.all.length === 0 ? 0 : this.#transmits.rx(batch);
  }

  /** Nothing leaves by them. */
  tx(batch: Batch): void {
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + batch.length;
    batch.freeAll(this.#pool);
  }

  tick(): void {}

  beginSleep(): boolean {
    return !this.isRecalled && this.#transmits.beginSleep(this.#kicks);
  }

  endSleep(): void {
    this.#transmits.endSleep();
    // Kicks are edge-triggered.
    this.#epoll.wait(0);
  }

  /** After giveBack(). */
  close(): void {
    this.#epoll.close();
  }
}
