// Sees to it that a port worker always has packets to take frames in with, and takes back what it has too many of.
// Invariant: `lent` is how many packets are with the worker, by kind: in its pool, its ports or the rings between; what
// port workers owe each other counts as given back already. Which they are is noted with each packet, by whoever takes it:
// they come back when the worker dies.
// Thread: the worker that forwards. Hot: yes.
import { ringEventfd } from "../../base/linux/index.js";
import { type PacketPool, SlotRing } from "../../base/packet/index.js";
import {
  ASLEEP,
  awaitPass,
  RUNG,
  WORKER_INHERITED,
  WORKER_INHERITED_LARGE,
  WORKER_SLEEP,
  type WorkerLane,
} from "./port-lane.js";

/** Lent at one go. */
const LOAN_MAX = 256;

export interface SlotBankOptions {
  readonly pool: PacketPool;
  readonly lane: WorkerLane;
  /** Of the worker among the port workers; 0 when absent. */
  readonly place?: number;
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
  /** PacketPool.holder of what is with the worker. */
  readonly #holder: number;
  /** Of what the worker has inherited, how much has been added. */
  #inherited = 0;
  #inheritedLarge = 0;

  constructor({ pool, lane, place = 0, share, largeShare }: SlotBankOptions) {
    this.pool = pool;
    this.#holder = holderAt(place);
    this.#share = share;
    this.#largeShare = largeShare;
    this.#empties = new SlotRing(lane.empties);
    this.#returns = new SlotRing(lane.returns);
    this.#state = new Int32Array(lane.state);
    this.#doorbell = lane.doorbell;
    this.balance();
  }

  /**
   * The worker has ended, and no other one takes anything from it any more: what it had comes back, and its successor is
   * lent packets by another lane.
   */
  startAnew(lane: WorkerLane): void {
    const { holder } = this.pool;
    for (let packet = 0; packet < holder.length; packet++) {
      if (holder[packet] !== this.#holder) continue;
      this.back(packet);
      this.pool.reclaim(packet);
    }
    this.lent = this.lentLarge = this.#inherited = this.#inheritedLarge = 0;
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
    this.#addInherited();
    if (this.lent < this.#share) this.#lend(false, Math.min(this.#share - this.lent, LOAN_MAX));
    if (this.lentLarge < this.#largeShare)
      this.#lend(true, Math.min(this.#largeShare - this.lentLarge, LOAN_MAX));
  }

  #addInherited(): void {
    const state = this.#state;
    const small = state[WORKER_INHERITED]!;
    const large = state[WORKER_INHERITED_LARGE]!;
    this.lent += (small - this.#inherited) | 0;
    this.lentLarge += (large - this.#inheritedLarge) | 0;
    this.#inherited = small;
    this.#inheritedLarge = large;
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
    this.pool.holder[packet] = this.#holder;
    if (packet < this.pool.slots) this.lent++;
    else this.lentLarge++;
  }

  /** It has come back. */
  back(packet: number): void {
    this.pool.holder[packet] = 0;
    if (packet < this.pool.slots) this.lent--;
    else this.lentLarge--;
  }

  /** See port-lane.ts. */
  awaitPass(): void {
    awaitPass(this.#state);
  }

  /** Wakes the worker, if it sleeps. */
  wake(): void {
    if (Atomics.compareExchange(this.#state, WORKER_SLEEP, ASLEEP, RUNG) === ASLEEP)
      ringEventfd(this.#doorbell);
  }
}

/** What stands in PacketPool.holder for a packet that is with the port worker at `place`. */
export function holderAt(place: number): number {
  return place + 1;
}
