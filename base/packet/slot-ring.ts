// A ring of packets between two threads whose pools share an arena: one puts, the other takes, in order, without locks.
//
//   words  | tail | … | head | … | entry 0 | entry 1 | …      tail and head in cache lines of their own, counting up
//           ^ putter's   ^ taker's
//
// Who puts a packet has lost it; who takes it has it with the references that it had. Entries are written before the
// tail that shows them (publish), and read before the head that frees them (release).
// Invariant: 0 ≤ tail − head ≤ capacity. Thread: each end belongs to one. Hot: yes.
import { assert } from "../assert/index.js";

const TAIL = 0;
const HEAD = 16;
const FIRST = 32;

export class SlotRing {
  readonly capacity: number;
  readonly #words: Int32Array;
  readonly #mask: number;
  #tail: number;
  #head: number;

  /** Memory for a ring of `capacity` packets, a power of two. */
  static memory(capacity: number): SharedArrayBuffer {
    assert(capacity > 0 && (capacity & (capacity - 1)) === 0, "the capacity of a ring is a power of two");
    return new SharedArrayBuffer(4 * (FIRST + capacity));
  }

  /** One end; which one, is a matter of what is called. An end may be attached again when the one before has gone. */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.capacity = this.#words.length - FIRST;
    this.#mask = this.capacity - 1;
    this.#tail = Atomics.load(this.#words, TAIL);
    this.#head = Atomics.load(this.#words, HEAD);
  }

  // --- The putter's end

  /** Packets that fit now, at least; asks the other end only when fewer than `wanted` are known to. */
  room(wanted: number): number {
    const room = this.capacity - ((this.#tail - this.#head) | 0);
    if (room >= wanted) return room;
    this.#head = Atomics.load(this.#words, HEAD);
    return this.capacity - ((this.#tail - this.#head) | 0);
  }

  /** False when the ring is full; the packet is the caller's still. */
  put(packet: number): boolean {
    if (this.room(1) <= 0) return false;
    this.#words[FIRST + (this.#tail & this.#mask)] = packet;
    this.#tail = (this.#tail + 1) | 0;
    return true;
  }

  /** Shows the other end what has been put. */
  publish(): void {
    Atomics.store(this.#words, TAIL, this.#tail);
  }

  // --- The taker's end

  /** The next packet; −1 when there is none. */
  take(): number {
    if (this.#head === this.#tail) {
      this.#tail = Atomics.load(this.#words, TAIL);
      if (this.#head === this.#tail) return -1;
    }
    const packet = this.#words[FIRST + (this.#head & this.#mask)] as number;
    this.#head = (this.#head + 1) | 0;
    return packet;
  }

  /** How many there are to take now. */
  get waiting(): number {
    this.#tail = Atomics.load(this.#words, TAIL);
    return (this.#tail - this.#head) | 0;
  }

  /** Counts what has been taken, up to 2³¹ − 1 and on from −2³¹. */
  get taken(): number {
    return this.#head;
  }

  /** Gives the room of what has been taken to the other end. */
  release(): void {
    Atomics.store(this.#words, HEAD, this.#head);
  }

  /** Whether there is nothing to take now. */
  get isEmpty(): boolean {
    return this.#head === this.#tail && Atomics.load(this.#words, TAIL) === this.#head;
  }

  // --- A thread that has neither end

  /** Counts what has been shown, as `taken` does. */
  get shown(): number {
    return Atomics.load(this.#words, TAIL);
  }
}
