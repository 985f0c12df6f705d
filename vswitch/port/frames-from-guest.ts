// Frames that a guest transmits: out of its chains, into packets.
//
//   take chains, touch every header ─► copy, give back ─► publish once
//
// A packet that the guest leaves to hardware to cut may be longer than a frame, and then gets a large slot.
// Invariant: nothing of a chain is kept across calls. Thread: the datapath worker's. Hot: yes.
import {
  type Batch,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  LARGE_FRAME_SIZE_MAX,
  type PacketPool,
  type PortCounters,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  readNetHeader,
} from "../../base/packet/index.js";
import { type GuestWindow, POP_BAD, type Virtqueue, type WindowCopy } from "../../base/virtio/index.js";
import { type NetFormat, NO_FORMAT } from "./virtio-net-device.js";

export class FramesFromGuest {
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #copy: WindowCopy;
  #headerSize = NO_FORMAT.headerSize;
  #sendsUndone = NO_FORMAT.sendsUndone;
  #lengthMax = FRAME_SIZE_MAX;
  /** Packets of the burst in hand for which no room was left. */
  #dropped = 0;

  constructor(pool: PacketPool, window: GuestWindow, stats: PortCounters) {
    this.#pool = pool;
    this.#stats = stats;
    this.#copy = window.copy;
  }

  use(format: NetFormat): void {
    this.#headerSize = format.headerSize;
    this.#sendsUndone = format.sendsUndone;
    this.#lengthMax = format.sendsUndone ? LARGE_FRAME_SIZE_MAX : FRAME_SIZE_MAX;
  }

  /** Takes up to `limit` chains that available() counted and gives them back; returns how many frames they held. */
  take(queue: Virtqueue, batch: Batch, limit: number): number {
    const taken = this.begin(queue, limit);
    return this.end(queue, batch, 0, taken);
  }

  /** Takes up to `limit` chains that available() counted; returns how many. They are given back by end(). */
  begin(queue: Virtqueue, limit: number): number {
    queue.touchAt = this.#headerSize;
    return queue.takeBurst(limit, false);
  }

  /** Copies the frames of the chains taken into packets, from the chain `from` on, and gives all of them back; returns how
   *  many frames there were. */
  end(queue: Virtqueue, batch: Batch, from: number, taken: number): number {
    const stats = this.#stats;
    const pool = this.#pool;
    const header = this.#headerSize;
    const undone = this.#sendsUndone;
    const { bytes } = pool;
    const { burstHeads, burstOffsets, burstLengths } = queue;
    let count = 0;
    let size = 0;
    this.#dropped = 0;
    for (let i = from; i < taken; i++) {
      const head = burstHeads[i] as number;
      const at = burstOffsets[i] as number;
      const length = (burstLengths[i] as number) - header;
      let packet = -1;
      if (length >= FRAME_SIZE_MIN && length <= FRAME_SIZE_MAX) {
        packet = pool.allocate();
        this.#copy(pool.offset[packet] as number, at + header, length);
        pool.length[packet] = length;
        if (undone && ((bytes[at] as number) | (bytes[at + 1] as number)) !== 0)
          packet = this.#judge(packet, at);
      } else if (length === -header || length > FRAME_SIZE_MAX) packet = this.#gather(queue, head);
      if (packet < 0) continue;
      batch.packets[batch.length++] = packet;
      size += pool.length[packet] as number;
      count++;
    }
    queue.pushReadBurst(taken);
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + size;
    stats[RX_DROPPED] = (stats[RX_DROPPED] as number) + this.#dropped;
    stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + (taken - from - count - this.#dropped);
    return count;
  }

  /** Copies the frame of a chain of several segments into a packet, its header before it; −1 when it is none. */
  #gather(queue: Virtqueue, head: number): number {
    const segments = queue.follow(head);
    const header = this.#headerSize;
    const { readableCount, offset, length } = queue.chain;
    const count = segments === POP_BAD ? 0 : readableCount;
    let size = -header;
    for (let i = 0; i < count; i++) size += length[i] as number;
    if (size < FRAME_SIZE_MIN || size > this.#lengthMax) return -1;
    const pool = this.#pool;
    const packet = size > FRAME_SIZE_MAX ? pool.allocateLarge() : pool.allocate();
    if (packet < 0) {
      this.#dropped++;
      return -1;
    }
    const start = (pool.offset[packet] as number) - header;
    let to = start;
    for (let i = 0; i < count; i++) {
      this.#copy(to, offset[i] as number, length[i] as number);
      to += length[i] as number;
    }
    pool.length[packet] = size;
    return this.#sendsUndone ? this.#judge(packet, start) : packet;
  }

  /** The packet with what the header at `at` says of it; −1 when that makes no sense, and then it is freed. */
  #judge(packet: number, at: number): number {
    const pool = this.#pool;
    const isSound = readNetHeader(pool, packet, at);
    // Only what is to be cut may be longer than a frame.
    const isCut = pool.checksumStart[packet] !== 0 && pool.segmentSize[packet] !== 0;
    if (isSound && (isCut || (pool.length[packet] as number) <= FRAME_SIZE_MAX)) return packet;
    pool.free(packet);
    return -1;
  }
}
