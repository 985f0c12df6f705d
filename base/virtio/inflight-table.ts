// Which chains of a split ring are with the device, in memory that outlives it: after a crash the next back-end takes
// exactly those again.
//
//   0 features 8 │ 8 version 2 │ 10 desc_num 2 │ 12 last_batch_head 2 │ 14 used_idx 2 │ 16 desc[]
//   desc: 0 inflight 1 │ 6 next 2 │ 8 counter 8
//
// Source: QEMU docs/interop/vhost-user.rst, "Inflight I/O tracking". Regions of queues lie at multiples of 64 bytes.
// Invariant: the front-end can write here too: every index read is judged, every walk is bounded by the ring's size.
// The stores of one chain are in the order of the specification, so that a crash between any two is repaired.
// Thread: the owner of the window. Hot: yes, when the front-end asked for it.
import type { GuestWindow } from "./guest-window.js";

const HEADER_SIZE = 16;
const ENTRY_SIZE = 16;
const REGION_ALIGNMENT = 64;
const VERSION = 1;

/** Bytes of the table of a queue with `size` descriptors. */
export function inflightTableSize(size: number): number {
  const bytes = HEADER_SIZE + ENTRY_SIZE * size;
  return Math.ceil(bytes / REGION_ALIGNMENT) * REGION_ALIGNMENT;
}

export class InflightTable {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #at: number;
  /** The last heads taken, a ring; #takenCount counts on. */
  readonly #taken: Uint16Array;
  #takenCount = 0;
  /** Heads given back since the last publish(). */
  readonly #batch: Uint16Array;
  #batchLength = 0;
  #counter = 0;

  /** `at`: the window offset of the queue's region, a multiple of 8; `size` descriptors, a power of two. */
  constructor(window: GuestWindow, at: number, size: number) {
    this.#bytes = window.bytes;
    this.#u16 = window.u16;
    this.#u32 = window.u32;
    this.#at = at;
    this.#size = size;
    this.#taken = new Uint16Array(size);
    this.#batch = new Uint16Array(size);
  }

  /**
   * Puts right what a crash left half done, with the ring's used index as the driver sees it; returns the heads that
   * are still with the device, in the order in which they were taken.
   */
  recover(used: number): number[] {
    const header = this.#at >>> 1;
    if (this.#u16[header + 4] !== VERSION) {
      this.#bytes.fill(0, this.#at, this.#at + HEADER_SIZE + ENTRY_SIZE * this.#size);
      this.#u16[header + 5] = this.#size;
      this.#u16[header + 7] = used;
      this.#u16[header + 4] = VERSION;
      return [];
    }
    const missed = Math.min((used - this.#u16[header + 7]!) & 0xffff, this.#size);
    let head = this.#u16[header + 6]!;
    for (let i = 0; i < missed && head < this.#size; i++) {
      this.#bytes[this.#entry(head)] = 0;
      head = this.#u16[(this.#entry(head) + 6) >>> 1]!;
    }
    this.#u16[header + 7] = used;
    const heads: number[] = [];
    const counters = new Float64Array(this.#size);
    for (let i = 0; i < this.#size; i++) {
      if (this.#bytes[this.#entry(i)] === 0) continue;
      const word = (this.#entry(i) + 8) >>> 2;
      counters[i] = this.#u32[word + 1]! * 0x1_0000_0000 + this.#u32[word]!;
      heads.push(i);
    }
    heads.sort((a, b) => counters[a]! - counters[b]!); // cold
    const last = heads.at(-1);
    if (last !== undefined) this.#counter = counters[last]! + 1;
    return heads;
  }

  /** The device has the chain at `head` now. One that recover() named keeps its place in the order. */
  take(head: number): void {
    this.#taken[this.#takenCount++ & (this.#size - 1)] = head;
    const at = this.#entry(head);
    if (this.#bytes[at] === 1) return;
    const counter = this.#counter++;
    this.#u32[(at + 8) >>> 2] = counter >>> 0;
    this.#u32[(at + 12) >>> 2] = Math.floor(counter / 0x1_0000_0000) >>> 0;
    this.#bytes[at] = 1;
  }

  /** The last `count` chains taken are with the driver again, as if never taken. */
  untake(count: number): void {
    for (let i = 0; i < count; i++) {
      const head = this.#taken[--this.#takenCount & (this.#size - 1)]!;
      this.#bytes[this.#entry(head)] = 0;
    }
  }

  /** The chain at `head` is in the used ring, which the driver does not see yet. */
  give(head: number): void {
    const last = (this.#at >>> 1) + 6;
    this.#u16[(this.#entry(head) + 6) >>> 1] = this.#u16[last]!;
    this.#u16[last] = head;
    if (this.#batchLength < this.#size) this.#batch[this.#batchLength++] = head;
  }

  /** The driver sees the used ring up to `used`. */
  publish(used: number): void {
    for (let i = 0; i < this.#batchLength; i++) this.#bytes[this.#entry(this.#batch[i]!)] = 0;
    this.#batchLength = 0;
    Atomics.store(this.#u16, (this.#at >>> 1) + 7, used);
  }

  #entry(head: number): number {
    return this.#at + HEADER_SIZE + ENTRY_SIZE * head;
  }
}
