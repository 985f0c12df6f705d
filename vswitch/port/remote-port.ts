// A port that another thread serves (port-host.ts), as the thread that forwards sees it: what comes in is taken from a
// ring, and what leaves put into another one, with all that is known of the packets. Nothing is copied but what others
// still hold too. Some of its queues may be served by further threads, each with a ring of its own (inlet.ts).
// Invariant: frames keep their order, queue by queue. Thread: the worker that forwards. Hot: yes.
import { drainEventfd } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  type Port,
  type PortCounters,
  SlotRing,
  TX_DROPPED,
} from "../../base/packet/index.js";
import { Inlet } from "./inlet.js";
import {
  LANE_ERROR_AT,
  LANE_ERROR_SIZE,
  LANE_LINK_UP,
  LANE_LOST,
  LANE_OFFLOADS,
  type PortLane,
} from "./port-lane.js";
import type { SlotBank } from "./slot-bank.js";

export interface RemotePortOptions {
  readonly name: string;
  readonly lane: PortLane;
  /** Of the worker that serves the port. */
  readonly bank: SlotBank;
}

export class RemotePort implements Port {
  readonly name: string;
  readonly wakeFd: number;
  /** Of the worker that serves the port. */
  readonly bank: SlotBank;
  /** The port's own first. */
  inlets: readonly Inlet[];
  readonly #pool: PacketPool;
  readonly #lane: PortLane;
  readonly #outward: SlotRing;
  readonly #state: Int32Array;
  readonly #stats = createPortCounters();
  /** Of LANE_LOST, how much has been counted. */
  #lost = 0;
  /** The inlet that is asked first, in turn. */
  #turn = 0;

  constructor({ name, lane, bank }: RemotePortOptions) {
    this.name = name;
    this.#lane = lane;
    this.wakeFd = lane.wakeFd;
    this.bank = bank;
    this.#pool = bank.pool;
    this.#pool.holdsOffloads = true;
    this.inlets = [new Inlet(lane, bank)];
    this.#outward = new SlotRing(lane.outward);
    this.#state = new Int32Array(lane.state);
  }

  get laneId(): number {
    return this.#lane.id;
  }

  /** Frames of some of its queues come in by this lane, too, from now on. It has the port's wakeFd. */
  addInlet(lane: PortLane, bank: SlotBank): Inlet {
    const inlet = new Inlet(lane, bank);
    this.inlets = [...this.inlets, inlet];
    return inlet;
  }

  /** What is left in its ring is not taken any more. */
  removeInlet(inlet: Inlet): void {
    inlet.addCounters(this.#stats);
    inlet.end();
    this.inlets = this.inlets.filter((one) => one !== inlet);
  }

  get stats(): PortCounters {
    const { inlets } = this;
    for (let i = 0; i < inlets.length; i++) inlets[i]!.addCounters(this.#stats);
    const lost = Atomics.load(this.#state, LANE_LOST);
    this.#stats[TX_DROPPED] = this.#stats[TX_DROPPED]! + ((lost - this.#lost) | 0);
    this.#lost = lost;
    return this.#stats;
  }

  get linkUp(): boolean {
    return Atomics.load(this.#state, LANE_LINK_UP) === 1;
  }

  get offloads(): number {
    return this.#state[LANE_OFFLOADS]!;
  }

  /** Why the link is down, as the port says. */
  get lastError(): string {
    const size = Atomics.load(this.#state, LANE_ERROR_SIZE);
    return Buffer.from(this.#lane.state, LANE_ERROR_AT, size).toString(); // cold
  }

  rx(batch: Batch): number {
    const { inlets } = this;
    const before = batch.length;
    const count = inlets.length;
    if (count === 1) inlets[0]!.take(batch);
    else {
      // Every one of them is asked: it is told, too, what has been judged.
      for (let i = 0; i < count; i++) inlets[(this.#turn + i) % count]!.take(batch);
      this.#turn = (this.#turn + 1) % count;
    }
    return batch.length - before;
  }

  tx(batch: Batch): void {
    const pool = this.#pool;
    for (let i = 0; i < batch.length; i++) {
      let packet = batch.packets[i]!;
      if (pool.isShared(packet)) {
        const twin = pool.copy(packet);
        pool.free(packet);
        packet = twin;
      }
      if (packet >= 0 && this.#outward.put(packet)) {
        this.bank.went(packet);
        continue;
      }
      if (packet >= 0) pool.free(packet);
      this.#stats[TX_DROPPED] = this.#stats[TX_DROPPED]! + 1;
    }
    batch.length = 0;
    this.#outward.publish();
    this.bank.wake();
  }

  tick(): void {
    for (let i = 0; i < this.inlets.length; i++) this.inlets[i]!.bank.balance();
  }

  beginSleep(): boolean {
    let isQuiet = true;
    for (let i = 0; i < this.inlets.length; i++) if (!this.inlets[i]!.beginSleep()) isQuiet = false;
    return isQuiet;
  }

  endSleep(): void {
    for (let i = 0; i < this.inlets.length; i++) this.inlets[i]!.endSleep();
    drainEventfd(this.wakeFd);
  }

  /** Whether nothing has come in that was not taken. */
  get isDrained(): boolean {
    return this.inlets.every(({ isEmpty }) => isEmpty); // cold
  }

  /**
   * Nobody serves the port any more: takes what has not left yet back, as far as it fits into `batch`; false when that
   * was all.
   */
  reclaim(batch: Batch): boolean {
    const left = new SlotRing(this.#lane.outward);
    while (batch.room > 0) {
      const packet = left.take();
      if (packet < 0) return false;
      this.bank.back(packet);
      batch.push(packet);
      left.release();
    }
    return !left.isEmpty;
  }

  /** What is on its way is the other thread's to free. */
  close(): void {}
}
