// Where frames of a port come in that another thread takes from its peer: the ring of a lane, as the thread that forwards
// has it. A port has one, and one more for every worker that serves some of its queues.
// Thread: the worker that forwards. Hot: yes.
import { type Batch, PORT_STATS_LENGTH, type PortCounters, SlotRing } from "../../base/packet/index.js";
import {
  ASLEEP,
  AWAKE,
  LANE_JUDGED,
  LANE_LEAVES,
  LANE_SLEEP,
  LANE_STATS_AT,
  type PortLane,
} from "./port-lane.js";
import type { SlotBank } from "./slot-bank.js";

export class Inlet {
  readonly lane: PortLane;
  /** Of the worker at the other end. */
  readonly bank: SlotBank;
  readonly state: Int32Array;
  readonly #ring: SlotRing;
  /** The other thread's counters, and what they were when they were last added. */
  readonly #theirs: Float64Array;
  readonly #seen = new Float64Array(PORT_STATS_LENGTH);
  /** Packets that were taken from the ring, and of how many of them the other thread knows that they have been judged. */
  #taken = 0;
  #judged = 0;

  constructor(lane: PortLane, bank: SlotBank) {
    this.lane = lane;
    this.bank = bank;
    this.state = new Int32Array(lane.state);
    this.#ring = new SlotRing(lane.inward);
    this.#theirs = new Float64Array(lane.state, LANE_STATS_AT, PORT_STATS_LENGTH);
  }

  /** What was taken before has been judged. */
  take(batch: Batch): void {
    this.tellJudged();
    this.bank.balance();
    const before = batch.length;
    while (batch.room > 0) {
      const packet = this.#ring.take();
      if (packet < 0) break;
      this.bank.back(packet);
      batch.push(packet);
    }
    if (batch.length === before) return;
    this.#ring.release();
    this.#taken = (this.#taken + batch.length - before) | 0;
  }

  /** What was taken before has been judged since, and left. */
  tellJudged(): void {
    if (this.#judged === this.#taken) return;
    this.#judged = this.#taken;
    Atomics.store(this.state, LANE_JUDGED, this.#judged);
  }

  addCounters(stats: PortCounters): void {
    for (let i = 0; i < PORT_STATS_LENGTH; i++) {
      const now = this.#theirs[i]!;
      stats[i] = stats[i]! + now - this.#seen[i]!;
      this.#seen[i] = now;
    }
  }

  /** Whether nothing has come in that was not taken. */
  get isEmpty(): boolean {
    return this.#ring.isEmpty;
  }

  beginSleep(): boolean {
    this.tellJudged();
    Atomics.store(this.state, LANE_SLEEP, ASLEEP);
    return this.#ring.isEmpty;
  }

  endSleep(): void {
    Atomics.store(this.state, LANE_SLEEP, AWAKE);
  }

  /** Nothing of it is taken any more: who waits for what is left waits in vain. */
  end(): void {
    this.tellJudged();
    Atomics.store(this.state, LANE_LEAVES, 1);
  }
}
