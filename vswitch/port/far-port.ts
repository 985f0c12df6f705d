// A port that another port worker serves, as one of them has it: frames that this one has finished leave by it, through a
// ring of their own (outlet.ts), with nobody between.
//
//   crossing  | … | stamp | packet | packet | stamp | packet | …      a stamp is below −1
//
// A stamp says how much the thread that judges had put into the port's ring `outward` then: what follows leaves behind
// that, because frames of the same conversation may be among it.
// Thread: port worker. Hot: yes.
import { type Batch, type PacketPool, SlotRing } from "../../base/packet/index.js";
import type { Neighbour } from "./neighbour.js";
import { LANE_LEAVES, LANE_LINK_UP, LANE_LOST, LANE_OFFLOADS, type PortLane } from "./port-lane.js";

/** How much of the count a stamp has. */
const STAMP_BITS = 30;
const STAMP_MASK = 2 ** STAMP_BITS - 1;

/** A stamp as it stands in the ring, for so much in `outward`. */
export function stampOf(shown: number): number {
  return -2 - (shown & STAMP_MASK);
}

/** How much more must be taken from `outward`, of which so much has been, before what follows the stamp may leave. */
export function leftBefore(stamp: number, taken: number): number {
  return ((-2 - stamp - taken) << (32 - STAMP_BITS)) >> (32 - STAMP_BITS);
}

export interface FarPortOptions {
  readonly pool: PacketPool;
  readonly lane: PortLane;
  /** Of the worker that puts frames in, among the port workers. */
  readonly own: number;
  /** The worker that serves the port. */
  readonly neighbour: Neighbour;
}

export class FarPort {
  readonly neighbour: Neighbour;
  readonly #pool: PacketPool;
  readonly #memory: SharedArrayBuffer;
  readonly #crossing: SlotRing;
  readonly #outward: SlotRing;
  readonly #state: Int32Array;
  /** The last one in the ring; 0: none is this worker's. */
  #stamp = 0;

  constructor({ pool, lane, own, neighbour }: FarPortOptions) {
    this.neighbour = neighbour;
    this.#pool = pool;
    this.#memory = lane.crossings[own]!;
    this.#crossing = new SlotRing(this.#memory);
    this.#outward = new SlotRing(lane.outward);
    this.#state = new Int32Array(lane.state);
  }

  /** Whether frames may leave by it. */
  get linkUp(): boolean {
    const state = this.#state;
    return Atomics.load(state, LANE_LEAVES) === 0 && Atomics.load(state, LANE_LINK_UP) === 1;
  }

  get offloads(): number {
    return this.#state[LANE_OFFLOADS]!;
  }

  /** Takes every packet of the batch, which nobody else holds. What there is no room for is dropped and counted. */
  send(batch: Batch): void {
    const { packets, length } = batch;
    let i = this.#putStamp() ? 0 : length;
    for (; i < length; i++) {
      if (!this.#crossing.put(packets[i]!)) break;
      this.neighbour.gave(packets[i]!);
    }
    this.#crossing.publish();
    if (i < length) this.#drop(packets, i, length);
    batch.length = 0;
  }

  /** False when there is no room. */
  #putStamp(): boolean {
    const stamp = stampOf(this.#outward.shown);
    if (stamp === this.#stamp) return true;
    if (!this.#crossing.put(stamp)) return false;
    this.#stamp = stamp;
    return true;
  }

  #drop(packets: Int32Array, from: number, to: number): void {
    for (let i = from; i < to; i++) this.#pool.free(packets[i]!);
    Atomics.add(this.#state, LANE_LOST, to - from);
  }

  /** The worker that served the port has ended. */
  takeBack(): void {
    this.neighbour.takeBack(this.#memory, (packet) => this.#pool.free(packet));
  }
}
