// Frames that a guest transmits: out of its chains, into packets.
//
//   take chains ─► touch every header ─► copy, give back ─► publish once
//
// Invariant: nothing of a chain is kept across calls. Thread: the datapath worker's. Hot: yes.
import {
  type Batch,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  type PacketPool,
  type PortCounters,
  RX_BYTES,
  RX_ERRORS,
  RX_PACKETS,
} from "../../base/packet/index.js";
import { type GuestWindow, POP_BAD, type Virtqueue } from "../../base/virtio/index.js";
import { type NetFormat, NO_FORMAT } from "./virtio-net-device.js";
import { WindowCopier } from "./window-copier.js";

export class FramesFromGuest {
  /** A sum of header words, of no meaning: it keeps the compiler from dropping the touching. */
  touched = 0;
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #words: Uint32Array;
  readonly #copier: WindowCopier;
  #headerSize = NO_FORMAT.headerSize;

  constructor(pool: PacketPool, window: GuestWindow, stats: PortCounters) {
    this.#pool = pool;
    this.#stats = stats;
    this.#words = window.u32;
    this.#copier = new WindowCopier(window);
  }

  use(format: NetFormat): void {
    this.#headerSize = format.headerSize;
  }

  /** Takes up to `limit` chains that available() counted and gives them back; returns how many frames they held. */
  take(queue: Virtqueue, batch: Batch, limit: number): number {
    const taken = queue.takeBurst(limit, false);
    this.#touch(queue, taken);
    return this.#copyIn(queue, batch, taken);
  }

  /** Reads a word of every frame: what is not in the cache comes in while the next is asked for. */
  #touch(queue: Virtqueue, taken: number): void {
    const words = this.#words;
    const offsets = queue.burstOffsets;
    const header = this.#headerSize;
    let touched = this.touched;
    for (let i = 0; i < taken; i++) {
      const offset = offsets[i] as number;
      if (offset >= 0) touched = (touched + (words[(offset + header) >>> 2] as number)) | 0;
    }
    this.touched = touched;
  }

  /** Copies the frames taken into packets and gives the chains back; returns how many frames there were. */
  #copyIn(queue: Virtqueue, batch: Batch, taken: number): number {
    const stats = this.#stats;
    const pool = this.#pool;
    const header = this.#headerSize;
    const { burstHeads, burstOffsets, burstLengths } = queue;
    let count = 0;
    let bytes = 0;
    for (let i = 0; i < taken; i++) {
      const head = burstHeads[i] as number;
      const length = (burstLengths[i] as number) - header;
      let packet = -1;
      if (length >= FRAME_SIZE_MIN && length <= FRAME_SIZE_MAX) {
        packet = pool.allocate();
        this.#copier.copy(pool.offset[packet] as number, (burstOffsets[i] as number) + header, length);
        pool.length[packet] = length;
      } else if (length === -header) packet = this.#gather(queue, head);
      queue.pushRead(head);
      if (packet < 0) continue;
      batch.packets[batch.length++] = packet;
      bytes += pool.length[packet] as number;
      count++;
    }
    stats[RX_PACKETS] = (stats[RX_PACKETS] as number) + count;
    stats[RX_BYTES] = (stats[RX_BYTES] as number) + bytes;
    stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + (taken - count);
    return count;
  }

  /** Copies the frame of a chain of several segments into a packet; −1 when it is none. */
  #gather(queue: Virtqueue, head: number): number {
    const segments = queue.follow(head);
    const header = this.#headerSize;
    const count = segments === POP_BAD ? 0 : queue.chain.readableCount;
    let length = -header;
    for (let i = 0; i < count; i++) length += queue.chain.length[i] as number;
    if (length < FRAME_SIZE_MIN || length > FRAME_SIZE_MAX) return -1;
    const pool = this.#pool;
    const packet = pool.allocate();
    let to = pool.offset[packet] as number;
    let skip = header;
    for (let i = 0; i < count; i++) {
      const size = queue.chain.length[i] as number;
      const skipped = skip < size ? skip : size;
      skip -= skipped;
      this.#copier.copy(to, (queue.chain.offset[i] as number) + skipped, size - skipped);
      to += size - skipped;
    }
    pool.length[packet] = length;
    return packet;
  }
}
