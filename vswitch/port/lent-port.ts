// Queues that another port worker has lent (queue-loan.ts), of whatever kind, as a port by which frames only come in. It
// ends when its owner wants the queues back, and stays silent from then on.
// Invariant: nothing of the queues is touched before the loan has begun, or after its end.
// Thread: the port worker that borrows. Hot: yes (rx).
import { Epoll } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  type PortCounters,
  TX_DROPPED,
} from "../../base/packet/index.js";
import { BorrowedLoan } from "./queue-loan.js";

/** What is served of a loan. */
export interface BorrowedQueues {
  /** Frames that have come in, by queue. */
  readonly frames: Float64Array;
  /** Of those that are in use. */
  readonly numbers: readonly number[];
  rx(batch: Batch): number;
  /** Takes no more frames than rx() has at hand; false while it has some. */
  stop(): boolean;
  /** As of Port. */
  beginSleep(): boolean;
  endSleep(): void;
  /** Touches nothing any more; what the owner is to know stands in the loan. */
  giveBack(loan: BorrowedLoan): void;
}

export interface LentPortOptions {
  /** Of the port that they are queues of. */
  readonly name: string;
  readonly pool: PacketPool;
  readonly memory: SharedArrayBuffer;
  /** Begins to serve them; frames are counted in `stats`, and `epoll` wakes for them. `loan` is for where it fails. */
  readonly borrow: (stats: PortCounters, epoll: Epoll, loan: BorrowedLoan) => BorrowedQueues;
}

/** Of any kind. */
const QUEUES_MAX = 32;

export class LentPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  /** It has none of its own: the port itself says how its link is. */
  readonly linkUp = false;
  readonly #pool: PacketPool;
  readonly #loan: BorrowedLoan;
  readonly #epoll = new Epoll(QUEUES_MAX);
  #queues: BorrowedQueues | null = null;
  readonly #none = new Float64Array(QUEUES_MAX);

  /** Throws as `borrow`; then, too, the owner gets its queues back. */
  constructor({ name, pool, memory, borrow }: LentPortOptions) {
    this.name = name;
    this.#pool = pool;
    this.wakeFd = this.#epoll.fd;
    this.#loan = new BorrowedLoan(memory);
    if (!this.#loan.begin()) return;
    try {
      this.#queues = borrow(this.stats, this.#epoll, this.#loan);
    } catch (thrown) {
      this.#loan.end(0);
      this.#epoll.close();
      throw thrown;
    }
  }

  /** The owner wants the queues back: stop() until it is true, and then giveBack(), are to follow. */
  get isRecalled(): boolean {
    return this.#loan.isRecalled;
  }

  /** Frames that have come in, by queue. */
  get queueFrames(): Float64Array {
    return this.#queues?.frames ?? this.#none;
  }

  get queuesInUse(): ReadonlyMap<number, boolean> {
    return new Map(this.#queues?.numbers.map((queue) => [queue, true])); // cold
  }

  stop(): boolean {
    return this.#queues === null || this.#queues.stop();
  }

  /** The owner may touch the queues again. `handed`: packets that were put into the lane. */
  giveBack(handed: number): void {
    const queues = this.#queues;
    if (queues === null) return;
    this.#queues = null;
    queues.giveBack(this.#loan);
    this.#loan.end(handed);
  }

  rx(batch: Batch): number {
    return this.#queues === null ? 0 : this.#queues.rx(batch);
  }

  /** Nothing leaves by them. */
  tx(batch: Batch): void {
    this.stats[TX_DROPPED] = (this.stats[TX_DROPPED] as number) + batch.length;
    batch.freeAll(this.#pool);
  }

  tick(): void {}

  beginSleep(): boolean {
    return !this.isRecalled && (this.#queues === null || this.#queues.beginSleep());
  }

  endSleep(): void {
    this.#queues?.endSleep();
  }

  /** After giveBack(). */
  close(): void {
    this.#epoll.close();
  }
}
