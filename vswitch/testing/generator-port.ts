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
  /** More than 0: TCP and UDP frames are made those of so many conversations, by source address, and IPv4 by port, too. */
  conversations = 0;
  /** Of which a few have most frames; otherwise each has one after the other. */
  zipf = false;
  #conversation = 0;
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
      const packet = this.#pool.allocateFrom(frames[next++]!);
      if (this.conversations > 0) this.#vary(packet);
      batch.push(packet);
    }
    this.#next = next;
    this.left -= count;
    return count;
  }

  #vary(packet: number): void {
    const { view, offset } = this.#pool;
    const { conversations } = this;
    this.#conversation = this.zipf
      ? Math.floor(conversations ** Math.random()) - 1
      : (this.#conversation + 1) % conversations;
    const at = offset[packet]!;
    view.setUint16(at + 28, this.#conversation & 0xffff);
    view.setUint16(at + 34, 1024 + (this.#conversation >>> 16));
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
    return this.left === 0;
  }
  endSleep(): void {}
  close(): void {}
}
