// Queues of a TAP device that another port worker has (queue-loan.ts), as a port by which frames only come in. It ends when
// its owner wants the queues back, and stays silent from then on.
// Thread: the port worker that borrows. Hot: yes (rx).
import { Epoll } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  TX_DROPPED,
} from "../../base/packet/index.js";
import { BorrowedLoan } from "./queue-loan.js";
import { TAP_QUEUES_MAX, type TapQueue, TapQueues } from "./tap-queues.js";

export interface LentTapQueuesOptions {
  /** Of the port that they are queues of. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly memory: SharedArrayBuffer;
  readonly loan: LentTapQueuesLoan;
}

/** What TapPort.lendQueues() gives. */
export interface LentTapQueuesLoan {
  readonly tapQueues: readonly TapQueue[];
}

export class LentTapQueues implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  /** It has none of its own: the port itself says how its link is. */
  readonly linkUp = false;
  readonly #pool: PacketPool;
  readonly #loan: BorrowedLoan;
  readonly #epoll = new Epoll(TAP_QUEUES_MAX);
  readonly #queues: TapQueues;
  #isServed: boolean;

  /** Throws with the errno's name; then, too, the owner gets its queues back. */
  constructor({ name, pool, memory, loan }: LentTapQueuesOptions) {
    this.name = name;
    this.#pool = pool;
    this.wakeFd = this.#epoll.fd;
    this.#loan = new BorrowedLoan(memory);
    this.#queues = new TapQueues(pool, this.stats, this.#epoll);
    this.#isServed = this.#loan.begin();
    if (!this.#isServed) return;
    try {
      this.#queues.add(loan.tapQueues);
    } catch (thrown) {
      this.#loan.end(0);
      this.#epoll.close();
      throw thrown;
    }
    pool.holdsOffloads = true;
  }

  /** The owner wants the queues back: stop() until it is true, and then giveBack(), are to follow. */
  get isRecalled(): boolean {
    return this.#loan.isRecalled;
  }

  /** Frames that have come in, by queue. */
  get queueFrames(): Float64Array {
    return this.#queues.frames;
  }

  get queuesInUse(): ReadonlyMap<number, boolean> {
    return new Map(this.#queues.numbers.map((queue) => [queue, true])); // cold
  }

  /** Takes no more frames than rx() has at hand; false while it has some. */
  stop(): boolean {
    return this.#queues.stop(this.#queues.numbers);
  }

  /** The owner may take frames from the queues again. `handed`: packets that were put into the lane. */
  giveBack(handed: number): void {
    if (!this.#isServed) return;
    this.#isServed = false;
    this.#queues.remove(this.#queues.numbers);
    this.#loan.end(handed);
  }

  rx(batch: Batch): number {
    return this.#queues.rx(batch);
  }

  /** Nothing leaves by them. */
  tx(batch: Batch): void {
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + batch.length;
    batch.freeAll(this.#pool);
  }

  tick(): void {}

  beginSleep(): boolean {
    return !this.isRecalled && this.#queues.mayWait();
  }

  endSleep(): void {}

  /** After giveBack(). */
  close(): void {
    this.#epoll.close();
  }
}
