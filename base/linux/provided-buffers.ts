// A ring of buffers from which io_uring takes one per completion of a multishot read, and into which we put them back.
//
//   entry: u64 address · u32 length · u16 number · u16 –      the tail (u16) stands in the last bytes of entry 0
//
// Source: io_uring_register(2), IORING_REGISTER_PBUF_RING. Thread: the ring's. Hot: yes.
import type { IoUring } from "./io-uring.js";
import { MemoryBlock } from "./memory.js";

const ENTRY_SIZE = 16;
const TAIL_AT = 7;

export class ProvidedBuffers {
  readonly #memory: MemoryBlock;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  /** The tail shares a word with a field that nobody uses: storing both at once is a store that others see in order. */
  readonly #atomic: Int32Array;
  readonly #mask: number;
  #tail = 0;

  /** `entries` is a power of two up to 32768. */
  constructor(ring: IoUring, entries: number, group: number) {
    this.#memory = new MemoryBlock(entries * ENTRY_SIZE, { populate: true });
    this.#words = new Uint32Array(this.#memory.buffer);
    this.#halves = new Uint16Array(this.#memory.buffer);
    this.#atomic = new Int32Array(this.#memory.buffer);
    this.#mask = entries - 1;
    ring.registerBufferRing(this.#memory.address, entries, group);
  }

  /** Offers a buffer under a number that its completion will name; the kernel sees it after publish(). */
  put(number: number, address: number, length: number): void {
    const at = (this.#tail & this.#mask) * (ENTRY_SIZE / 4);
    this.#words[at] = address >>> 0;
    this.#words[at + 1] = (address / 0x1_0000_0000) >>> 0;
    this.#words[at + 2] = length;
    this.#halves[at * 2 + 6] = number;
    this.#tail = (this.#tail + 1) & 0xffff;
  }

  publish(): void {
    const number = this.#halves[TAIL_AT - 1] as number;
    Atomics.store(this.#atomic, 3, (this.#tail << 16) | number);
  }

  /** The ring that used it was closed. */
  free(): void {
    this.#memory.free();
  }
}
