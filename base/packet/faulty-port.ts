// A port around a port that loses, repeats, damages, cuts and delays frames in both directions, from one seed.
// Thread: one. Hot: no.
import type { Random } from "../random/index.js";
import { Batch } from "./batch.js";
import { FRAME_SIZE_MIN } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import type { Port, PortCounters } from "./port.js";

/** Probabilities in [0, 1] per frame; absent = 0. */
export interface Faults {
  readonly drop?: number;
  readonly duplicate?: number;
  /** Flips one bit. */
  readonly corrupt?: number;
  /** Cuts the frame somewhere after its Ethernet header. */
  readonly truncate?: number;
  /** Holds the frame back until a later frame has passed. */
  readonly reorder?: number;
}

export interface FaultyPortOptions {
  readonly port: Port;
  readonly pool: PacketPool;
  readonly random: Random;
  readonly rx?: Faults;
  readonly tx?: Faults;
}

export class FaultyPort implements Port {
  readonly #port: Port;
  readonly #pool: PacketPool;
  readonly #rx: Lane;
  readonly #tx: Lane;
  readonly #raw = new Batch();
  readonly #out = new Batch();

  constructor(options: FaultyPortOptions) {
    this.#port = options.port;
    this.#pool = options.pool;
    this.#rx = new Lane(options.pool, options.random, options.rx ?? {});
    this.#tx = new Lane(options.pool, options.random, options.tx ?? {});
  }

  get name(): string {
    return this.#port.name;
  }
  get stats(): PortCounters {
    return this.#port.stats;
  }
  get linkUp(): boolean {
    return this.#port.linkUp;
  }
  get wakeFd(): number {
    return this.#port.wakeFd;
  }

  rx(batch: Batch): number {
    const before = batch.length;
    this.#rx.drainTo(batch);
    if (batch.room > 0) {
      this.#port.rx(this.#raw);
      this.#rx.pass(this.#raw);
      this.#rx.drainTo(batch);
    }
    return batch.length - before;
  }

  tx(batch: Batch): void {
    this.#tx.pass(batch);
    do {
      this.#tx.drainTo(this.#out);
      this.#port.tx(this.#out);
    } while (this.#tx.length > 0);
  }

  tick(nowMs: number): void {
    this.#rx.release();
    this.#tx.release();
    this.tx(this.#out);
    this.#port.tick(nowMs);
  }

  beginSleep(): boolean {
    return this.#port.beginSleep() && this.#rx.length === 0;
  }
  endSleep(): void {
    this.#port.endSleep();
  }

  close(): void {
    this.#raw.freeAll(this.#pool);
    this.#rx.freeAll();
    this.#tx.freeAll();
    this.#port.close();
  }
}

/** One direction: a queue of packets that already suffered, and at most one that is held back. */
class Lane {
  readonly #pool: PacketPool;
  readonly #random: Random;
  readonly #faults: Required<Faults>;
  readonly #queue: number[] = [];
  #held = -1;

  constructor(pool: PacketPool, random: Random, faults: Faults) {
    this.#pool = pool;
    this.#random = random;
    this.#faults = { drop: 0, duplicate: 0, corrupt: 0, truncate: 0, reorder: 0, ...faults };
  }

  get length(): number {
    return this.#queue.length;
  }

  /** Takes all packets of `batch`. */
  pass(batch: Batch): void {
    for (let i = 0; i < batch.length; i++) this.#one(batch.packets[i] as number);
    batch.length = 0;
  }

  drainTo(batch: Batch): void {
    const count = Math.min(batch.room, this.#queue.length);
    for (const packet of this.#queue.splice(0, count)) batch.push(packet);
  }

  release(): void {
    if (this.#held >= 0) this.#queue.push(this.#held);
    this.#held = -1;
  }

  freeAll(): void {
    this.release();
    for (const packet of this.#queue.splice(0)) this.#pool.free(packet);
  }

  #one(packet: number): void {
    const { drop, duplicate, reorder } = this.#faults;
    if (this.#random.chance(drop)) {
      this.#pool.free(packet);
      return;
    }
    packet = this.#damage(packet);
    if (packet < 0) return;
    const again = this.#random.chance(duplicate) ? this.#pool.copy(packet) : -1;
    if (this.#held < 0 && this.#random.chance(reorder)) this.#held = packet;
    else {
      this.#queue.push(packet);
      this.release();
    }
    if (again >= 0) this.#queue.push(again);
  }

  /** The packet, or a damaged copy where it was shared; −1 when there was no room for the copy. */
  #damage(packet: number): number {
    const corrupt = this.#random.chance(this.#faults.corrupt);
    const truncate = this.#random.chance(this.#faults.truncate);
    if (!corrupt && !truncate) return packet;
    if (this.#pool.isShared(packet)) {
      const twin = this.#pool.copy(packet);
      this.#pool.free(packet);
      if (twin < 0) return -1;
      packet = twin;
    }
    const length = this.#pool.length[packet] as number;
    if (corrupt) {
      const at = (this.#pool.offset[packet] as number) + this.#random.below(length);
      this.#pool.bytes[at] = (this.#pool.bytes[at] as number) ^ (1 << this.#random.below(8));
    }
    if (truncate)
      this.#pool.length[packet] =
        FRAME_SIZE_MIN + this.#random.below(Math.max(1, length - FRAME_SIZE_MIN + 1));
    return packet;
  }
}
