// A batch: up to BATCH_SIZE packets that travel together between a port and the datapath.
// Invariant: entries below `length` are packets that the batch's owner holds one reference to each.
// Thread: one. Hot: yes.
import { BATCH_SIZE } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";

export class Batch {
  readonly capacity: number;
  readonly packets: Int32Array;
  length = 0;

  constructor(capacity: number = BATCH_SIZE) {
    this.capacity = capacity;
    this.packets = new Int32Array(capacity);
  }

  /** Packets that still fit. */
  get room(): number {
    return this.capacity - this.length;
  }

  /** Appends; the caller has checked that there is room. */
  push(packet: number): void {
    this.packets[this.length++] = packet;
  }

  /** Frees every packet and empties the batch. */
  freeAll(pool: PacketPool): void {
    for (let i = 0; i < this.length; i++) pool.free(this.packets[i] as number);
    this.length = 0;
  }
}
