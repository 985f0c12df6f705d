// The packet pool: fixed-size slots in one arena, so that the data path never allocates.
// A packet is a small integer, the index of its slot; where its frame starts and how long it is stand in typed arrays.
//
//   arena  |----- slot 0 -----|----- slot 1 -----| …          slot: | headroom | frame … | tailroom |
//          base               base + slotSize                        ^slotStart ^offset[p]  offset[p]+length[p]^
//
// Packets from `slots` on are large: behind the others lie slots that hold what is still to be cut into segments
// (segmentation.ts). Their number may be zero.
//
// Invariants: slotStart ≤ offset, offset + length ≤ slotStart + slotSize; references[p] = 0 exactly when p is free.
// Several threads may each have a pool over one arena (`shared`): a packet is then in the hands of one of them at a time,
// which alone touches it and what is known of it, and goes from hand to hand by rings (slot-ring.ts). Which packets are
// free each pool knows for itself; packets that are given away are free in none.
// Thread: one (the datapath worker, or a port worker).
// Hot: yes.
import { assert } from "../assert/index.js";
import {
  ARENA_SIZE_MAX,
  HEADROOM,
  LARGE_SLOT_SIZE,
  POOL_SLOTS,
  REFERENCES_MAX,
  SLOT_SIZE,
} from "./limits.js";
import { WordSum } from "./word-sum.js";

export interface PacketPoolOptions {
  /** Packets in the pool; POOL_SLOTS when absent. */
  readonly slots?: number;
  /** Large packets beside them; none when absent. */
  readonly largeSlots?: number;
  /** Memory to use, e.g. a mapped window that also holds guest memory; a private arena when absent. */
  readonly arena?: Uint8Array;
  /** Where in `arena` the first slot starts; 0 when absent. */
  readonly arenaOffset?: number;
  /** What is known of each packet, for pools of several threads over one arena: sharedPoolSize() bytes, zeroed at first.
   *  Such a pool begins empty, unless `isFull`. */
  readonly shared?: SharedArrayBuffer;
  readonly isFull?: boolean;
}

/** Bytes that are known of one packet. */
const SHEET_SIZE = 5 * 4 + 2 * 2 + 3;

interface ArrayKind<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (length: number): A;
  new (memory: SharedArrayBuffer, byteOffset: number, length: number): A;
}

/** Bytes that pools of so many packets share. */
export function sharedPoolSize(slots: number, largeSlots: number): number {
  return (slots + largeSlots) * SHEET_SIZE;
}

/** Bytes of an arena that holds so many packets. */
export function arenaSizeOf(slots: number, largeSlots: number): number {
  return slots * SLOT_SIZE + largeSlots * LARGE_SLOT_SIZE;
}

export class PacketPool {
  /** The whole arena. Offsets below are relative to its start. Copy with `copyWithin`; never `subarray` per packet. */
  readonly bytes: Uint8Array;
  /** The same memory, for big-endian reads. */
  readonly view: DataView;
  /** Sums over it. */
  readonly sums: WordSum;
  /** Per packet: arena offset of the first byte of the frame. */
  readonly offset: Int32Array;
  /** Per packet: bytes in the frame. */
  readonly length: Int32Array;
  /**
   * Per packet: 0, or that it was put together of IP fragments, and the size of the largest of them, IP header and all,
   * with the identification that they had.
   */
  readonly fragmentSize: Int32Array;
  readonly fragmentId: Uint32Array;
  /** Whether any packet may have a fragmentSize: whoever puts datagrams together sets it. */
  holdsWholes = false;
  /**
   * Per packet: where in the arena the transport header starts whose checksum is still to be completed; 0 when all
   * checksums are there. What the checksum field holds meanwhile means nothing (virtio-net-header.ts).
   */
  readonly checksumStart: Int32Array;
  /** Of such a packet: from there to the checksum field. */
  readonly checksumOffset: Uint8Array;
  /** Of such a packet: 0, or that it is to be cut into segments with so much payload each, and VIRTIO_NET_HDR_GSO_*. */
  readonly segmentSize: Uint16Array;
  readonly segmentType: Uint8Array;
  /** Per packet: which of the threads with a pool over this arena has it, as they agree upon; 0 at first. */
  readonly holder: Uint8Array;
  /** Whether any packet may have a checksumStart: a port that takes such packets in sets it. */
  holdsOffloads = false;
  readonly slots: number;
  readonly largeSlots: number;
  readonly #references: Uint16Array;
  readonly #base: number;
  readonly #largeBase: number;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #freeLarge: Int32Array;
  #freeLargeCount: number;

  constructor(options: PacketPoolOptions = {}) {
    this.slots = options.slots ?? POOL_SLOTS;
    this.#base = options.arenaOffset ?? 0;
    const { largeSlots = 0 } = options;
    this.largeSlots = largeSlots;
    this.#largeBase = this.#base + this.slots * SLOT_SIZE;
    const end = this.#base + arenaSizeOf(this.slots, largeSlots);
    assert(this.slots > 0 && this.#base >= 0 && end <= ARENA_SIZE_MAX, "a packet pool lies below 2^31");
    this.bytes = options.arena ?? new Uint8Array(end);
    assert(this.bytes.byteLength >= end, "the arena holds every slot");
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.sums = new WordSum(this.bytes);
    const count = this.slots + largeSlots;
    const { shared } = options;
    assert(
      shared === undefined || shared.byteLength >= count * SHEET_SIZE,
      "what is shared has room for all",
    );
    let at = 0;
    // The largest elements first, so that each array is aligned.
    const place = <A>(kind: ArrayKind<A>): A => {
      if (shared === undefined) return new kind(count);
      const from = at;
      at += count * kind.BYTES_PER_ELEMENT;
      return new kind(shared, from, count);
    };
    this.offset = place(Int32Array);
    this.length = place(Int32Array);
    this.fragmentSize = place(Int32Array);
    this.fragmentId = place(Uint32Array);
    this.checksumStart = place(Int32Array);
    this.segmentSize = place(Uint16Array);
    this.#references = place(Uint16Array);
    this.checksumOffset = place(Uint8Array);
    this.segmentType = place(Uint8Array);
    this.holder = place(Uint8Array);
    const isFull = options.isFull ?? shared === undefined;
    this.#free = new Int32Array(this.slots);
    this.#freeCount = isFull ? this.slots : 0;
    for (let i = 0; i < this.#freeCount; i++) this.#free[i] = this.slots - 1 - i;
    this.#freeLarge = new Int32Array(largeSlots);
    this.#freeLargeCount = isFull ? largeSlots : 0;
    for (let i = 0; i < this.#freeLargeCount; i++) this.#freeLarge[i] = count - 1 - i;
  }

  /** Packets that can still be allocated. */
  get available(): number {
    return this.#freeCount;
  }

  /** Large packets that can still be allocated. */
  get availableLarge(): number {
    return this.#freeLargeCount;
  }

  /** A packet of length 0 with HEADROOM bytes in front, one reference, contents undefined; −1 when the pool is empty. */
  allocate(): number {
    if (this.#freeCount === 0) return -1;
    const packet = this.#free[--this.#freeCount] as number;
    this.#references[packet] = 1;
    this.offset[packet] = this.#base + packet * SLOT_SIZE + HEADROOM;
    this.length[packet] = 0;
    this.fragmentSize[packet] = 0;
    this.checksumStart[packet] = 0;
    return packet;
  }

  /** As allocate(), with room for LARGE_FRAME_SIZE_MAX bytes; −1 when there is no large packet left. */
  allocateLarge(): number {
    if (this.#freeLargeCount === 0) return -1;
    const packet = this.#freeLarge[--this.#freeLargeCount] as number;
    this.#references[packet] = 1;
    this.offset[packet] = this.#largeBase + (packet - this.slots) * LARGE_SLOT_SIZE + HEADROOM;
    this.length[packet] = 0;
    this.fragmentSize[packet] = 0;
    this.checksumStart[packet] = 0;
    return packet;
  }

  /** Gives one reference back; with the last one the packet returns to the pool. */
  free(packet: number): void {
    const references = this.#references[packet] as number;
    if (!(references > 0)) assert(false, "a packet is freed once per reference");
    this.#references[packet] = references - 1;
    if (references !== 1) return;
    if (packet < this.slots) this.#free[this.#freeCount++] = packet;
    else this.#freeLarge[this.#freeLargeCount++] = packet;
  }

  /** Takes a free packet, a large one if `isLarge`, out of this pool, for another one over the same arena; −1 when none
   *  is free. */
  cede(isLarge: boolean): number {
    if (isLarge) return this.#freeLargeCount === 0 ? -1 : (this.#freeLarge[--this.#freeLargeCount] as number);
    return this.#freeCount === 0 ? -1 : (this.#free[--this.#freeCount] as number);
  }

  /** Takes in a packet that another pool ceded. */
  adopt(packet: number): void {
    if (this.#references[packet] !== 0) assert(false, "a packet that is ceded is free");
    if (packet < this.slots) this.#free[this.#freeCount++] = packet;
    else this.#freeLarge[this.#freeLargeCount++] = packet;
  }

  /** Takes in a packet that was in the hands of a thread that has ended, whatever that did with it. */
  reclaim(packet: number): void {
    this.#references[packet] = 0;
    this.adopt(packet);
  }

  /** One more holder, who will call `free` too. A shared packet is read-only for all of them. */
  retain(packet: number): void {
    const references = this.#references[packet] as number;
    if (references === 0 || references === REFERENCES_MAX) assert(false, "a held packet is retained");
    this.#references[packet] = references + 1;
  }

  /** True when the caller's reference is not the only one: copy before changing a byte. */
  isShared(packet: number): boolean {
    return (this.#references[packet] as number) > 1;
  }

  /** A packet of its own with the same frame, headroom as far as it was, and all that is known of it; −1 when the pool
   *  is empty. */
  copy(packet: number): number {
    const length = this.length[packet] as number;
    const headroom = this.headroom(packet);
    const twin = headroom + length <= SLOT_SIZE ? this.allocate() : this.allocateLarge();
    if (twin < 0) return -1;
    const from = this.offset[packet] as number;
    const to = (this.offset[twin] as number) + headroom - HEADROOM;
    this.offset[twin] = to;
    this.length[twin] = length;
    this.fragmentSize[twin] = this.fragmentSize[packet] as number;
    this.fragmentId[twin] = this.fragmentId[packet] as number;
    const checksumStart = this.checksumStart[packet] as number;
    if (checksumStart !== 0) {
      this.checksumStart[twin] = checksumStart - from + to;
      this.checksumOffset[twin] = this.checksumOffset[packet] as number;
      this.segmentSize[twin] = this.segmentSize[packet] as number;
      this.segmentType[twin] = this.segmentType[packet] as number;
    }
    this.bytes.copyWithin(to, from, from + length);
    return twin;
  }

  /** Bytes free before the frame. */
  headroom(packet: number): number {
    const offset = this.offset[packet] as number;
    return packet < this.slots
      ? offset - this.#base - packet * SLOT_SIZE
      : offset - this.#largeBase - (packet - this.slots) * LARGE_SLOT_SIZE;
  }

  /** Bytes that the frame may have in its slot, from where it starts now. */
  capacity(packet: number): number {
    return (packet < this.slots ? SLOT_SIZE : LARGE_SLOT_SIZE) - this.headroom(packet);
  }

  /** A packet holding a copy of `frame`; −1 when the pool is empty or the frame too long. Not for the hot path. */
  allocateFrom(frame: Uint8Array): number {
    if (frame.byteLength > LARGE_SLOT_SIZE - HEADROOM) return -1;
    const packet = frame.byteLength > SLOT_SIZE - HEADROOM ? this.allocateLarge() : this.allocate();
    if (packet < 0) return -1;
    this.bytes.set(frame, this.offset[packet] as number);
    this.length[packet] = frame.byteLength;
    return packet;
  }

  /** A copy of the frame, for control planes and tests. */
  frame(packet: number): Uint8Array {
    const offset = this.offset[packet] as number;
    return this.bytes.slice(offset, offset + (this.length[packet] as number));
  }
}
