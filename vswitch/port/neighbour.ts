// Another port worker, as one of them has it: what they owe each other, and how it is woken.
//
//   frames (far-port.ts ─► outlet.ts) ─────►
//   ◄─────────────────────────────── homeward  as many packets, empty, when frames do not go both ways
//
// So the thread that forwards has nothing to do with what goes from one to the other.
// Invariants: who takes a packet from a ring notes that it has it before it frees the place; so each packet has one holder,
// whenever a worker ends. Thread: port worker. Hot: yes (took, gave, settle, wake).
import { ringEventfd } from "../../base/linux/index.js";
import { type PacketPool, SlotRing } from "../../base/packet/index.js";
import {
  ASLEEP,
  awaitPass,
  type Homeward,
  RUNG,
  WORKER_INHERITED,
  WORKER_INHERITED_LARGE,
  WORKER_SLEEP,
  type WorkerLane,
} from "./port-lane.js";
import { holderAt } from "./slot-bank.js";

/** Packets, and large ones, that it may have from the other one before it gives them back. */
const SURPLUS_MAX = 32;
const SURPLUS_LARGE_MAX = 4;

export interface NeighbourOptions {
  readonly pool: PacketPool;
  /** Of the worker whose neighbour it is, and of the neighbour, among the port workers. */
  readonly own: number;
  readonly place: number;
  readonly homeward: Homeward;
  /** Of the worker's own lane. */
  readonly state: Int32Array;
}

export class Neighbour {
  readonly place: number;
  readonly #pool: PacketPool;
  readonly #holder: number;
  readonly #state: Int32Array;
  readonly #toMemory: SharedArrayBuffer;
  readonly #from: SlotRing;
  #to: SlotRing;
  /** Packets that came from it, less what went to it. */
  #surplus = 0;
  #surplusLarge = 0;
  /** Of its lane; null while nothing is known of it. */
  #theirs: Int32Array | null = null;
  #doorbell = -1;
  #isTold = true;

  constructor({ pool, own, place, homeward, state }: NeighbourOptions) {
    this.place = place;
    this.#pool = pool;
    this.#holder = holderAt(own);
    this.#state = state;
    this.#toMemory = homeward[own]![place]!;
    this.#to = new SlotRing(this.#toMemory);
    this.#from = new SlotRing(homeward[place]![own]!);
  }

  /** It runs, and this is its lane. */
  meet({ state, doorbell }: WorkerLane): void {
    this.#theirs = new Int32Array(state);
    this.#doorbell = doorbell;
  }

  /** The packet was taken from a ring that it puts into. */
  took(packet: number): void {
    this.#pool.holder[packet] = this.#holder;
    if (packet < this.#pool.slots) this.#surplus++;
    else this.#surplusLarge++;
  }

  /** The packet was put into a ring that it takes from. */
  gave(packet: number): void {
    if (packet < this.#pool.slots) this.#surplus--;
    else this.#surplusLarge--;
    this.#isTold = false;
  }

  /** Wakes it when there is something for it. */
  wake(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    const theirs = this.#theirs;
    if (theirs !== null && Atomics.compareExchange(theirs, WORKER_SLEEP, ASLEEP, RUNG) === ASLEEP)
      ringEventfd(this.#doorbell);
  }

  /** Returns when it finishes no burst by what was known before. */
  awaitPass(): void {
    if (this.#theirs !== null) awaitPass(this.#theirs);
  }

  /** Takes in what comes back, and gives back what it has too many of. Call once a breath. */
  settle(): void {
    this.#takeIn();
    if (this.#surplus > SURPLUS_MAX) this.#surplus -= this.#giveBack(false, this.#surplus);
    if (this.#surplusLarge > SURPLUS_LARGE_MAX)
      this.#surplusLarge -= this.#giveBack(true, this.#surplusLarge);
  }

  #takeIn(): void {
    const from = this.#from;
    if (from.isEmpty) return;
    for (let packet = from.take(); packet >= 0; packet = from.take()) {
      this.took(packet);
      this.#pool.adopt(packet);
    }
    from.release();
  }

  /** As many as are free. */
  #giveBack(isLarge: boolean, count: number): number {
    let given = 0;
    for (; given < count; given++) {
      const packet = this.#pool.cede(isLarge);
      if (packet < 0) break;
      // It holds every packet that there is.
      this.#to.put(packet);
    }
    this.#to.publish();
    return given;
  }

  /**
   * It has ended, and all that it had put where others take from has been taken. What it has not taken comes back, and
   * nothing is owed any more: what is here stays here.
   */
  part(): void {
    this.#takeIn();
    this.takeBack(this.#toMemory, (packet) => this.#pool.adopt(packet));
    this.#to = new SlotRing(this.#toMemory);
    const state = this.#state;
    state[WORKER_INHERITED] = state[WORKER_INHERITED]! + this.#surplus;
    state[WORKER_INHERITED_LARGE] = state[WORKER_INHERITED_LARGE]! + this.#surplusLarge;
    this.#surplus = this.#surplusLarge = 0;
    this.#theirs = null;
  }

  /** Empties a ring whose taker has ended: what that had not taken is this worker's again. */
  takeBack(memory: SharedArrayBuffer, use: (packet: number) => void): void {
    const ring = new SlotRing(memory);
    for (let left = ring.waiting; left > 0; left--) {
      const packet = ring.take();
      if (packet < 0 || this.#pool.holder[packet] !== this.#holder) continue;
      this.took(packet);
      use(packet);
    }
    ring.release();
  }
}
