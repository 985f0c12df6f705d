// Drives a pair of a fake guest's rings for benches and long runs: every descriptor has its buffer, and whatever the
// switch gives back is offered again, so that both rings stay full. Makes no garbage. Thread: any.
import { BUFFER_SIZE, FRONT_END_GUEST_BASE } from "../../base/virtio/fake-front-end.js";
import { VIRTIO_F_RING_PACKED } from "../../base/virtio/index.js";
import { type FakeGuest, HEADER_SIZE } from "../port/fake-guest.js";

/** The word of a frame that has the lower half of its source address and the upper half of its destination. */
const ADDRESS_WORD = 7;
const WRITE = 2;
const AVAILABLE = 0x80;
const USED = 0x8000;

export class RingDriver {
  readonly #guest: FakeGuest;
  readonly #isPacked: boolean;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  /** How many conversations its frames are made part of, drawn anew each time; 0: they stay as they were put in. */
  conversations = 0;
  /** Frames that it offers at a time, of a split ring. */
  burst = Number.POSITIVE_INFINITY;
  #state = 0x2545f491;
  /** The numbers of the pair's rings. */
  readonly #receive: number;
  readonly #transmit: number;
  /** Of a packed ring, receive and transmit: the descriptor that comes back next, and the wrap counter that it then has. */
  readonly #next = [0, 0];
  readonly #wrap = [1, 1];
  #transmitSize = 0;

  /** The guest has started. */
  constructor(guest: FakeGuest, pair = 0) {
    this.#receive = 2 * pair;
    this.#transmit = 2 * pair + 1;
    this.#guest = guest;
    const { frontEnd } = guest;
    const { bytes } = frontEnd;
    this.#isPacked = frontEnd.has(VIRTIO_F_RING_PACKED);
    this.#u16 = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    this.#u32 = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    for (const ring of [this.#receive, this.#transmit]) {
      const at = frontEnd.availableAt(ring) / 2;
      // No interrupts.
      this.#u16[this.#isPacked ? at + 1 : at] = 1;
      if (!this.#isPacked) for (let i = 0; i < frontEnd.ringSize; i++) this.#u16[at + 2 + i] = i;
    }
  }

  /** Puts one of the frames, which are of one size, into each transmit buffer. */
  fill(frames: readonly Uint8Array[]): void {
    const { frontEnd } = this.#guest;
    for (let i = 0; i < frontEnd.ringSize; i++) {
      const frame = frames[i % frames.length]!;
      const at = frontEnd.bufferAt(this.#transmit, i);
      const address = FRONT_END_GUEST_BASE + at;
      this.#transmitSize = HEADER_SIZE + frame.byteLength;
      frontEnd.bytes.fill(0, at, at + HEADER_SIZE);
      frontEnd.bytes.set(frame, at + HEADER_SIZE);
      // A packed ring has a chain's number where a split one has its flags.
      if (this.#isPacked)
        frontEnd.setDescriptor(this.#transmit, i, address, this.#transmitSize, i, AVAILABLE);
      else frontEnd.setDescriptor(this.#transmit, i, address, this.#transmitSize, 0);
    }
  }

  /** Offers every buffer that came back. */
  pump(): void {
    for (let ring = this.#receive; ring <= this.#transmit; ring++) {
      if (this.#isPacked) this.#pumpPacked(ring);
      else this.#pumpSplit(ring);
    }
  }

  #pumpSplit(ring: number): void {
    const { frontEnd } = this.#guest;
    const u16 = this.#u16;
    const used = u16[frontEnd.usedAt(ring) / 2 + 1]!;
    const at = frontEnd.availableAt(ring) / 2 + 1;
    const offered = u16[at]!;
    const free = (used + frontEnd.ringSize - offered) & 0xffff;
    const count = ring === this.#transmit && free > this.burst ? this.burst : free;
    if (ring === this.#transmit && this.conversations > 0) this.#converse(offered, count);
    u16[at] = offered + count;
  }

  #pumpPacked(ring: number): void {
    const { ringSize } = this.#guest.frontEnd;
    const table = this.#guest.frontEnd.descriptorsAt(ring) / 2;
    const length = ring === this.#transmit ? this.#transmitSize : BUFFER_SIZE;
    const kind = ring === this.#transmit ? 0 : WRITE;
    let slot = this.#next[ring & 1]!;
    let wrap = this.#wrap[ring & 1]!;
    for (let i = 0; i < ringSize; i++) {
      const at = table + slot * 8;
      const flags = this.#u16[at + 7]!;
      if (flags >>> 15 !== wrap || ((flags >>> 7) & 1) !== wrap) break;
      if (ring === this.#transmit && this.conversations > 0) this.#converse(slot, 1);
      this.#u32[at / 2 + 2] = length;
      this.#u16[at + 7] = kind | (wrap === 1 ? USED : AVAILABLE);
      if (++slot < ringSize) continue;
      slot = 0;
      wrap ^= 1;
    }
    this.#next[ring & 1] = slot;
    this.#wrap[ring & 1] = wrap;
  }

  #converse(from: number, count: number): void {
    const { frontEnd } = this.#guest;
    const first = (frontEnd.bufferAt(this.#transmit, 0) + HEADER_SIZE) / 4 + ADDRESS_WORD;
    const mask = frontEnd.ringSize - 1;
    let state = this.#state;
    for (let i = 0; i < count; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      const conversation = (state >>> 0) % this.conversations;
      // The destination address stays 10.0.….
      this.#u32[first + ((from + i) & mask) * (BUFFER_SIZE / 4)] =
        0x000a0000 | ((conversation & 0xff) << 8) | (conversation >>> 8);
    }
    this.#state = state;
  }
}
