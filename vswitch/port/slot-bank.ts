// Sees to it that a port worker always has packets to take frames in with, and takes back what it has too many of.
// Invariant: `lent` is how many packets are with the worker, by kind: in its pool, its ports or the rings between. Which
// they are is noted too: they come back when the worker dies.
// Thread: the worker that forwards. Hot: yes.
import { ringEventfd } from "../../base/linux/index.js";
import { type PacketPool, SlotRing } from "../../base/packet/index.js";
import { ASLEEP, RUNG, WORKER_GONE, WORKER_JUDGES, WORKER_SLEEP, type WorkerLane } from "./port-lane.js";

/** Lent at one go. */
const LOAN_MAX = 256;
/** Looks at a worker that is in the middle of a burst, before others may have the processor meanwhile. */
const LOOKS_MAX = 1000;

export interface SlotBankOptions {
  readonly pool: PacketPool;
  readonly lane: WorkerLane;
  /** How many packets, and large ones, the worker is to have. */
  readonly share: number;
  readonly largeShare: number;
}

export class SlotBank {
  readonly pool: PacketPool;
  lent = 0;
  lentLarge = 0;
  readonly #share: number;
  readonly #largeShare: number;
  #empties: SlotRing;
  #returns: SlotRing;
  #state: Int32Array;
  #doorbell: number;
  /** By packet, 1 for one that is with the worker. */
  readonly #isLent: Uint8Array;

  constructor({ pool, lane, share, largeShare }: SlotBankOptions) {
    this.pool = pool;
    this.#share = share;
    this.#largeShare = largeShare;
    this.#empties = new SlotRing(lane.empties);
    this.#returns = new SlotRing(lane.returns);
    this.#state = new Int32Array(lane.state);
    this.#doorbell = lane.doorbell;
    this.#isLent = new Uint8Array(pool.slots + pool.largeSlots);
    this.balance();
  }

  /** The worker has ended: what it had comes back, and its successor is lent packets by another lane. */
  startAnew(lane: WorkerLane): void {
    for (let packet = 0; packet < this.#isLent.length; packet++) {
      if (this.#isLent[packet] === 0) continue;
      this.back(packet);
      this.pool.reclaim(packet);
    }
    this.#empties = new SlotRing(lane.empties);
    this.#returns = new SlotRing(lane.returns);
    this.#state = new Int32Array(lane.state);
    this.#doorbell = lane.doorbell;
    this.balance();
  }

  /** Lends what the worker lacks, and takes in what it returns. Call once a breath. */
  balance(): void {
    if (!this.#returns.isEmpty) {
      for (let packet = this.#returns.take(); packet >= 0; packet = this.#returns.take()) {
        this.back(packet);
        this.pool.adopt(packet);
      }
      this.#returns.release();
    }
    if (this.lent < this.#share) this.#lend(false, Math.min(this.#share - this.lent, LOAN_MAX));
    if (this.lentLarge < this.#largeShare)
      this.#lend(true, Math.min(this.#largeShare - this.lentLarge, LOAN_MAX));
  }

  #lend(isLarge: boolean, count: number): void {
    for (let i = 0; i < count; i++) {
      const packet = this.pool.cede(isLarge);
      if (packet < 0) break;
      // It holds every packet that there is.
      this.#empties.put(packet);
      this.went(packet);
    }
    this.#empties.publish();
  }

  /** The packet has been given to the worker. */
  went(packet: number): void {
    this.#isLent[packet] = 1;
    if (packet < this.pool.slots) this.lent++;
    else this.lentLarge++;
  }

  /** It has come back. */
  back(packet: number): void {
    this.#isLent[packet] = 0;
    if (packet < this.pool.slots) this.lent--;
    else this.lentLarge--;
  }

  /**
   * Returns when the burst is over that the worker finishes by published verdicts, if it is in one. What has been taken
   * back before is not known to the next.
   */
  awaitPass(): void {
    const state = this.#state;
    const burst = Atomics.load(state, WORKER_JUDGES);
    if ((burst & 1) === 0) return;
    for (let looks = 0; Atomics.load(state, WORKER_JUDGES) === burst; looks++) {
      if (Atomics.load(state, WORKER_GONE) === 1) return;
      if (looks >= LOOKS_MAX) Atomics.wait(state, WORKER_JUDGES, burst, 1);
    }
  }

  /** Wakes the worker, if it sleeps. */
  wake(): void {
    if (Atomics.compareExchange(this.#state, WORKER_SLEEP, ASLEEP, RUNG) === ASLEEP)
      ringEventfd(this.#doorbell);
  }
}
