// Two ports joined back to back, e.g. the ends of a patch between bridges of one datapath: what goes out of one comes
// in at the other, without a copy. Both share the thread and the packet pool.
// Invariant: a packet in the queue is owned by the port that will hand it out; runs lie one behind the other, and what is
// not in one has nobody to answer for it. Hot: yes.
import {
  type Batch,
  createPortCounters,
  OFFLOAD_ALL,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "../../base/packet/index.js";

/** Runs of packets that somebody answers for; further ones are nobody's. */
const RUNS_MAX = 256;

export interface PatchPortOptions {
  readonly name: string;
  readonly pool: PacketPool;
}

export class PatchPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd = -1;
  readonly offloads = OFFLOAD_ALL;
  readonly #pool: PacketPool;
  /** With room for every packet that there is. */
  readonly #queue: Int32Array;
  readonly #mask: number;
  #head = 0;
  #length = 0;
  #peer: PatchPort | undefined = undefined;
  /** Who answers for what rx() has handed out last; null: nobody. */
  origin: object | null = null;
  /** Ends of runs, counted in packets that have ever come in, modulo 2³², and who answers for each. */
  readonly #runEnds = new Int32Array(RUNS_MAX);
  readonly #runOrigins = new Array<object | null>(RUNS_MAX).fill(null);
  #runs = 0;
  #nextRun = 0;

  /** How many packets have ever come in, and up to where they are in runs. */
  #taken = 0;
  #assigned = 0;

  constructor(options: PatchPortOptions) {
    this.name = options.name;
    this.#pool = options.pool;
    const size = 2 ** Math.ceil(Math.log2(options.pool.slots + options.pool.largeSlots)); // cold
    this.#queue = new Int32Array(size);
    this.#mask = size - 1;
  }

  /** Packets that are to come in. */
  get waiting(): number {
    return this.#length;
  }

  /** Where packets that are sent here come in; undefined while nothing is joined. */
  get peer(): PatchPort | undefined {
    return this.#peer;
  }

  get linkUp(): boolean {
    return this.#peer !== undefined;
  }

  /** Joins two ports of one datapath; earlier joints of either are undone. */
  connect(peer: PatchPort): void {
    this.disconnect();
    peer.disconnect();
    this.#peer = peer;
    peer.#peer = this;
  }

  /** Takes the joint apart; packets on their way to either side are freed. */
  disconnect(): void {
    const peer = this.#peer;
    this.#peer = undefined;
    this.#freeQueue();
    if (peer === undefined) return;
    peer.#peer = undefined;
    peer.#freeQueue();
  }

  /** What has come in since the last call is `origin`'s, who answers for it; null: nobody. */
  assign(origin: object | null): void {
    if (this.#taken === this.#assigned) return;
    this.#assigned = this.#taken;
    if (this.#length === 0 || this.#runs === RUNS_MAX) return;
    const at = (this.#nextRun + this.#runs) % RUNS_MAX;
    this.#runEnds[at] = this.#taken;
    this.#runOrigins[at] = origin;
    this.#runs++;
  }

  /** As a port's; packets for which different ones answer are not handed out together. */
  rx(batch: Batch): number {
    const { stats } = this;
    const pool = this.#pool;
    let count = this.#length;
    if (count > batch.capacity - batch.length) count = batch.capacity - batch.length;
    this.origin = null;
    if (this.#runs > 0 && count > 0) count = this.#takeRun(count);
    for (let i = 0; i < count; i++) {
      const packet = this.#queue[(this.#head + i) & this.#mask] as number;
      batch.packets[batch.length++] = packet;
      stats[RX_BYTES] = (stats[RX_BYTES] as number) + (pool.length[packet] as number);
    }
    this.#head = (this.#head + count) & this.#mask;
    this.#length -= count;
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    return count;
  }

  /** Up to `most` of the first run. */
  #takeRun(most: number): number {
    const at = this.#nextRun;
    const left = (this.#runEnds[at]! - (this.#taken - this.#length)) | 0;
    this.origin = this.#runOrigins[at]!;
    if (left > most) return most;
    this.#runOrigins[at] = null;
    this.#nextRun = (at + 1) % RUNS_MAX;
    this.#runs--;
    return left;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const peer = this.#peer;
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      const length = this.#pool.length[packet] as number;
      if (peer?.take(packet) === true) {
        stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
        stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
      } else {
        this.#pool.free(packet);
        stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + 1;
      }
    }
    batch.length = 0;
  }

  /** Called by the peer: a packet comes in. False when there was no room for a copy. */
  take(packet: number): boolean {
    let own = packet;
    if (this.#pool.isShared(packet)) {
      // Others still read the packet; what comes in here must be free to change.
      own = this.#pool.copy(packet);
      if (own < 0) return false;
      this.#pool.free(packet);
    }
    this.#queue[(this.#head + this.#length) & this.#mask] = own;
    this.#length++;
    this.#taken = (this.#taken + 1) | 0;
    return true;
  }

  tick(_nowMs: number): void {}

  /** Nobody but this thread puts packets in, so only what is there already counts. */
  beginSleep(): boolean {
    return this.#length === 0;
  }

  endSleep(): void {}

  close(): void {
    this.disconnect();
  }

  #freeQueue(): void {
    for (let i = 0; i < this.#length; i++) {
      this.#pool.free(this.#queue[(this.#head + i) & this.#mask] as number);
    }
    this.#length = 0;
    this.#assigned = this.#taken;
    this.#runOrigins.fill(null);
    this.#runs = 0;
  }
}
