// A port that another thread serves (port-host.ts), as the thread that forwards sees it: what comes in is taken from a
// ring, and what leaves put into another one, with all that is known of the packets. Nothing is copied but what others
// still hold too.
// Invariant: frames keep their order. Thread: the worker that forwards. Hot: yes.
import { drainEventfd } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  type PacketPool,
  PORT_STATS_LENGTH,
  type Port,
  type PortCounters,
  SlotRing,
  TX_DROPPED,
} from "../../base/packet/index.js";
import {
  ASLEEP,
  AWAKE,
  LANE_ERROR_AT,
  LANE_ERROR_SIZE,
  LANE_JUDGED,
  LANE_LINK_UP,
  LANE_LOST,
  LANE_OFFLOADS,
  LANE_SLEEP,
  LANE_STATS_AT,
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
  readonly #pool: PacketPool;
  readonly #lane: PortLane;
  readonly #inward: SlotRing;
  readonly #outward: SlotRing;
  readonly #state: Int32Array;
  readonly #stats = createPortCounters();
  /** The other thread's counters, and what they were when they were last added to ours. */
  readonly #theirs: Float64Array;
  readonly #seen = createPortCounters();
  /** Of LANE_LOST, how much has been counted. */
  #lost = 0;
  /** Packets that were taken from the ring, and of how many of them the other thread knows that they have been judged. */
  #taken = 0;
  #judged = 0;

  constructor({ name, lane, bank }: RemotePortOptions) {
    this.name = name;
    this.#lane = lane;
    this.wakeFd = lane.wakeFd;
    this.bank = bank;
    this.#pool = bank.pool;
    this.#pool.holdsOffloads = true;
    this.#inward = new SlotRing(lane.inward);
    this.#outward = new SlotRing(lane.outward);
    this.#state = new Int32Array(lane.state);
    this.#theirs = new Float64Array(lane.state, LANE_STATS_AT, PORT_STATS_LENGTH);
  }

  get laneId(): number {
    return this.#lane.id;
  }

  /** Where verdicts on what comes in by the port are published. */
  get verdicts(): SharedArrayBuffer {
    return this.#lane.verdicts;
  }

  get stats(): PortCounters {
    for (let i = 0; i < PORT_STATS_LENGTH; i++) {
      const now = this.#theirs[i]!;
      this.#stats[i] = this.#stats[i]! + now - this.#seen[i]!;
      this.#seen[i] = now;
    }
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
    this.#tellJudged();
    this.bank.balance();
    const before = batch.length;
    while (batch.room > 0) {
      const packet = this.#inward.take();
      if (packet < 0) break;
      this.bank.back(packet);
      batch.push(packet);
    }
    if (batch.length === before) return 0;
    this.#inward.release();
    this.#taken = (this.#taken + batch.length - before) | 0;
    return batch.length - before;
  }

  /** What was taken before has been judged since, and left. */
  #tellJudged(): void {
    if (this.#judged === this.#taken) return;
    this.#judged = this.#taken;
    Atomics.store(this.#state, LANE_JUDGED, this.#judged);
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
    this.bank.balance();
  }

  beginSleep(): boolean {
    this.#tellJudged();
    Atomics.store(this.#state, LANE_SLEEP, ASLEEP);
    return this.#inward.isEmpty;
  }

  endSleep(): void {
    Atomics.store(this.#state, LANE_SLEEP, AWAKE);
    drainEventfd(this.wakeFd);
  }

  /** Whether nothing has come in that was not taken. */
  get isDrained(): boolean {
    return this.#inward.isEmpty;
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
