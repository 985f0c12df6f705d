// The chain that was taken last, as checked copies of its descriptors: window offset, length and direction of each
// buffer.
// Invariant: the driver is hostile. Every segment lies in one region of this guest; there are at most SEGMENTS_MAX;
// readable ones come first. Thread: the owner of the window. Hot: yes.
import type { GuestMemory } from "./guest-memory.js";

export const VRING_DESC_F_NEXT = 1;
export const VRING_DESC_F_WRITE = 2;
export const VRING_DESC_F_INDIRECT = 4;

/** Bytes of a descriptor, in either ring and in an indirect table. */
export const DESCRIPTOR_SIZE = 16;

/**
 * Longest chain taken, of all segments together; longer ones are bad. Drivers need about 20 for a frame; walking a
 * chain is time that everybody else's packets wait for.
 */
export const SEGMENTS_MAX = 256;

export class DescriptorChain {
  /** Segments of the chain: window offset, length and whether the device may write it. */
  readonly offset = new Float64Array(SEGMENTS_MAX);
  readonly length = new Uint32Array(SEGMENTS_MAX);
  readonly writable = new Uint8Array(SEGMENTS_MAX);
  segments = 0;
  /** How many of the segments are readable; they come first, or the chain is bad. */
  readableCount = 0;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  clear(): void {
    this.segments = 0;
    this.readableCount = 0;
  }

  /** Appends the buffer of a descriptor. False: the chain is bad. */
  add(low: number, high: number, size: number, flags: number): boolean {
    const i = this.segments;
    if (i >= SEGMENTS_MAX || size === 0) return false;
    const offset = this.#memory.translate(low, high, size);
    if (offset < 0) return false;
    const writable = (flags & VRING_DESC_F_WRITE) !== 0 ? 1 : 0;
    if (writable === 0) {
      if (this.readableCount !== i) return false;
      this.readableCount = i + 1;
    }
    this.offset[i] = offset;
    this.length[i] = size;
    this.writable[i] = writable;
    this.segments = i + 1;
    return true;
  }

  /** The window offset of an indirect table of `size` bytes, at most SEGMENTS_MAX descriptors; −1: it is bad. */
  table(low: number, high: number, size: number): number {
    const count = size >>> 4;
    if (count === 0 || (size & 15) !== 0 || count > SEGMENTS_MAX) return -1;
    const table = this.#memory.translate(low, high, size);
    return table % 4 === 0 ? table : -1;
  }
}
