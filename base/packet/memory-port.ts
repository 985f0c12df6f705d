// A port whose peer is a test or a function in the same thread: frames come in by inject() and are found in `sent`.
// Thread: one. Hot: no.
import type { Batch } from "./batch.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import {
  createPortCounters,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_PACKETS,
} from "./port.js";

export interface MemoryPortOptions {
  readonly name: string;
  readonly pool: PacketPool;
  /** Frames that wait for the peer at most; further ones are dropped. 4096 when absent. */
  readonly queueLengthMax?: number;
}

export class MemoryPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd = -1;
  /** Frames that left, oldest first; the peer takes them with takeSent(). */
  readonly sent: Uint8Array[] = [];
  linkUp = true;
  readonly #pool: PacketPool;
  readonly #queueLengthMax: number;
  readonly #waiting: Uint8Array[] = [];

  constructor(options: MemoryPortOptions) {
    this.name = options.name;
    this.#pool = options.pool;
    this.#queueLengthMax = options.queueLengthMax ?? 4096;
  }

  /** The peer sends a frame; the bytes are copied. */
  inject(frame: Uint8Array): void {
    if (frame.byteLength < FRAME_SIZE_MIN || frame.byteLength > FRAME_SIZE_MAX) this.#count(RX_ERRORS, 1);
    else if (!this.linkUp || this.#waiting.length >= this.#queueLengthMax) this.#count(RX_DROPPED, 1);
    else this.#waiting.push(frame.slice());
  }

  /** The peer receives: all frames that left since the last call. */
  takeSent(): Uint8Array[] {
    return this.sent.splice(0);
  }

  rx(batch: Batch): number {
    let count = 0;
    while (batch.room > 0 && this.#waiting.length > 0 && this.#pool.available > 0) {
      const frame = this.#waiting.shift() as Uint8Array;
      batch.push(this.#pool.allocateFrom(frame));
      this.#count(RX_PACKETS, 1);
      this.#count(RX_BYTES, frame.byteLength);
      count++;
    }
    return count;
  }

  tx(batch: Batch): void {
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i] as number;
      if (!this.linkUp || this.sent.length >= this.#queueLengthMax) this.#count(TX_DROPPED, 1);
      else {
        this.sent.push(this.#pool.frame(packet));
        this.#count(TX_PACKETS, 1);
        this.#count(TX_BYTES, this.#pool.length[packet] as number);
      }
    }
    batch.freeAll(this.#pool);
  }

  tick(_nowMs: number): void {}

  /** Always false: a sleeper would not hear the peer, which runs on the same thread. */
  beginSleep(): boolean {
    return false;
  }

  endSleep(): void {}

  close(): void {
    this.#waiting.length = 0;
    this.linkUp = false;
  }

  #count(index: number, by: number): void {
    this.stats[index] = (this.stats[index] as number) + by;
  }
}
