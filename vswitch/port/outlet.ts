// What is to leave by a port, as the worker has it that serves it: from the thread that judges, and from other port workers
// (far-port.ts), in an order in which no conversation is overtaken by itself.
//
//   outward ───────────┐      A frame of a crossing leaves behind what its stamp says of `outward`, and before what is put
//   crossings, each ───┴─►    into `outward` after it.
//
// Why the latter holds: what lies in `outward` is looked at before the crossings. A frame that was put into one before
// something was put into `outward` is seen there then, and its stamp lets it go first, as do those of all before it.
// Thread: port worker. Hot: yes.
import { type Batch, type PacketPool, SlotRing } from "../../base/packet/index.js";
import { leftBefore } from "./far-port.js";
import type { Neighbour } from "./neighbour.js";
import { LANE_PACKETS, type PortLane } from "./port-lane.js";

interface Crossing {
  readonly ring: SlotRing;
  readonly neighbour: Neighbour;
  /** What is looked at now. */
  due: number;
  /** The last one taken; 0: what it asks for has left. */
  stamp: number;
}

export class Outlet {
  readonly #outward: SlotRing;
  readonly #crossings: readonly Crossing[];
  #due = 0;

  /** `neighbours`: all other port workers. */
  constructor({ outward, crossings }: PortLane, neighbours: readonly Neighbour[]) {
    this.#outward = new SlotRing(outward);
    this.#crossings = neighbours.map((neighbour) => ({
      ...{ ring: new SlotRing(crossings[neighbour.place]!), neighbour, due: 0, stamp: 0 },
    }));
  }

  get isEmpty(): boolean {
    if (!this.#outward.isEmpty) return false;
    for (let i = 0; i < this.#crossings.length; i++) if (!this.#crossings[i]!.ring.isEmpty) return false;
    return true;
  }

  /** What lies there now is due, of what the thread that judges has put no more than `most`; false: nothing is. */
  look(most: number = LANE_PACKETS): boolean {
    this.#due = Math.min(most, this.#outward.waiting);
    let isSome = this.#due > 0;
    for (let i = 0; i < this.#crossings.length; i++) {
      const crossing = this.#crossings[i]!;
      crossing.due = crossing.ring.waiting;
      if (crossing.due > 0) isSome = true;
    }
    return isSome;
  }

  /** Fills the batch with what is due and may leave next; false: that was all. */
  take(out: Batch): boolean {
    let most = this.#due;
    for (let i = 0; i < this.#crossings.length; i++) {
      const left = this.#takeCrossed(this.#crossings[i]!, out);
      if (left > 0 && left < most) most = left;
    }
    most = Math.min(most, out.room);
    for (let i = 0; i < most; i++) out.push(this.#outward.take());
    this.#due -= most;
    if (most > 0) this.#outward.release();
    return out.length > 0;
  }

  /** Returns how much must leave from `outward` before it can go on; 0 when it need not wait for that. */
  #takeCrossed(crossing: Crossing, out: Batch): number {
    const { ring, neighbour } = crossing;
    if (crossing.due === 0) return 0;
    let left = 0;
    while (crossing.due > 0) {
      if (crossing.stamp !== 0) {
        left = leftBefore(crossing.stamp, this.#outward.taken);
        if (left > 0) break;
        crossing.stamp = 0;
      }
      if (out.room === 0) break;
      const entry = ring.take();
      crossing.due--;
      if (entry < 0) crossing.stamp = entry;
      else {
        neighbour.took(entry);
        out.push(entry);
      }
    }
    ring.release();
    return left;
  }

  /** Nobody takes anything from here any more. */
  freeAll(pool: PacketPool): void {
    this.look();
    for (let i = 0; i < this.#due; i++) pool.free(this.#outward.take());
    this.#outward.release();
    for (let at = 0; at < this.#crossings.length; at++) {
      const { ring, due, neighbour } = this.#crossings[at]!;
      for (let i = 0; i < due; i++) {
        const entry = ring.take();
        if (entry < 0) continue;
        neighbour.took(entry);
        pool.free(entry);
      }
      ring.release();
    }
  }
}
