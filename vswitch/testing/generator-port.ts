// A port for benches: gives copies of a few frames for ever, and takes everything. Thread: any.
import { type Batch, createPortCounters, type PacketPool, type Port } from "../../base/packet/index.js";

export class GeneratorPort implements Port {
  readonly stats = createPortCounters();
  readonly linkUp = true;
  readonly wakeFd = -1;
  readonly name: string;
  /** Frames that left by it. */
  taken = 0;
  /** What comes in, again and again; none = nothing does. */
  frames: readonly Uint8Array[];
  /** How many more are to come in. */
  left = Number.POSITIVE_INFINITY;
  readonly #pool: PacketPool;
  #next = 0;

  constructor(name: string, pool: PacketPool, frames: readonly Uint8Array[]) {
    this.name = name;
    this.#pool = pool;
    this.frames = frames;
  }

  rx(batch: Batch): number {
    const { frames } = this;
    if (frames.length === 0) return 0;
    const count = Math.min(batch.room, this.left);
    let next = this.#next;
    for (let i = 0; i < count; i++) {
      if (next >= frames.length) next = 0;
      batch.push(this.#pool.allocateFrom(frames[next++]!));
    }
    this.#next = next;
    this.left -= count;
    return count;
  }

  /** Gives each of `frames` once. */
  once(frames: readonly Uint8Array[]): void {
    this.frames = frames;
    this.#next = 0;
    this.left = frames.length;
  }

  /** Gives `frames` for ever. */
  always(frames: readonly Uint8Array[]): void {
    this.frames = frames;
    this.#next = 0;
    this.left = Number.POSITIVE_INFINITY;
  }

  tx(batch: Batch): void {
    this.taken += batch.length;
    batch.freeAll(this.#pool);
  }
  tick(_nowMs: number): void {}
  beginSleep(): boolean {
    return false;
  }
  endSleep(): void {}
  close(): void {}
}
