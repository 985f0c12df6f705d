// Queues of a guest that another port worker serves than the one that has the guest's connection: what the two threads
// share about that. What comes in by them goes by a lane of its own (port-lane.ts).
//
//   owner                                           borrower
//   VhostUserPort ──── lends ─── state OFFERED ───►
//                                state SERVED  ◄─── LentPort begins
//   before any change ───────── state RECALLED ───► ends at its next breath
//   goes on where the words say ─ state OVER  ◄────
//
// Invariant: while SERVED or RECALLED only the borrower touches the rings; else only the owner.
// Hot: no (but isRecalled).
import { ringEventfd } from "../../base/linux/index.js";
import type { RingLender, RingLoan } from "../../base/virtio/index.js";
import { awaitWord, WORKER_GONE, type WorkerLane } from "./port-lane.js";
import { QUEUE_PAIRS_MAX } from "./virtio-net-device.js";

const OFFERED = 0;
const SERVED = 1;
const RECALLED = 2;
const OVER = 3;

const STATE = 0;
/** Counts the packets that the borrower has put into the loan's lane. */
const HANDED = 1;
/** Bits by ring. */
const BROKEN = 2;
const BASES_AT = 4;
const WORDS = BASES_AT + 2 * QUEUE_PAIRS_MAX;

export function createLoanMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * WORDS);
}

export interface LoanOptions {
  readonly memory: SharedArrayBuffer;
  /** Of the worker that borrows. */
  readonly workerLane: Pick<WorkerLane, "state" | "doorbell">;
  /** Called again and again while the owner waits: what it has borrowed itself may be wanted back meanwhile. */
  readonly meanwhile: () => void;
}

/** As the owner has it. */
export class QueueLoan implements RingLender {
  readonly #words: Int32Array;
  readonly #workerState: Int32Array;
  readonly #doorbell: number;
  readonly #meanwhile: () => void;

  constructor({ memory, workerLane, meanwhile }: LoanOptions) {
    this.#words = new Int32Array(memory);
    this.#workerState = new Int32Array(workerLane.state);
    this.#doorbell = workerLane.doorbell;
    this.#meanwhile = meanwhile;
  }

  /** What is offered; before the borrower hears of it. */
  offer({ rings }: RingLoan): void {
    for (const { index, base } of rings) this.#words[BASES_AT + index] = base;
  }

  /** The borrower has ended, and may have left the rings in the middle of something. */
  get isLost(): boolean {
    return Atomics.load(this.#workerState, WORKER_GONE) === 1 && !this.isOver;
  }

  recall(): boolean {
    const words = this.#words;
    if (Atomics.compareExchange(words, STATE, OFFERED, OVER) === OFFERED) return true;
    Atomics.compareExchange(words, STATE, SERVED, RECALLED);
    ringEventfd(this.#doorbell);
    return awaitWord(words, STATE, RECALLED, this.#workerState, this.#meanwhile);
  }

  /** Nobody but the owner touches the rings any more. */
  get isOver(): boolean {
    return Atomics.load(this.#words, STATE) === OVER;
  }

  /** After the end: as HANDED. */
  get handed(): number {
    return this.#words[HANDED]!;
  }

  base(ring: number): number {
    return this.#words[BASES_AT + ring]! >>> 0;
  }

  isBroken(ring: number): boolean {
    return ((this.#words[BROKEN]! >>> ring) & 1) === 1;
  }
}

/** As the borrower has it. */
export class BorrowedLoan {
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /** False when the owner wants nobody to serve the queues any more. */
  begin(): boolean {
    return Atomics.compareExchange(this.#words, STATE, OFFERED, SERVED) === OFFERED;
  }

  get isRecalled(): boolean {
    return Atomics.load(this.#words, STATE) === RECALLED;
  }

  /** Where a ring goes on. Before end(). */
  leave(ring: number, base: number, isBroken: boolean): void {
    this.#words[BASES_AT + ring] = base;
    if (isBroken) this.#words[BROKEN] = this.#words[BROKEN]! | (1 << ring);
  }

  /** `handed`: see HANDED. */
  end(handed: number): void {
    this.#words[HANDED] = handed;
    Atomics.store(this.#words, STATE, OVER);
    Atomics.notify(this.#words, STATE);
  }
}
