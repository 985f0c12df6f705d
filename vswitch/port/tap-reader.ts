// Takes frames out of one queue of a TAP device, by a read each: into a small packet, and what does not fit there goes
// on behind, in a large one.
//
//   read ─► │ header · frame, first 9.5 KiB │ small     │ rest │ large, at its place; the first part is then copied there
//
// Thread: the datapath worker's. Hot: yes.
import { addressOf, EAGAIN, IoVectors, sysReadv } from "../../base/linux/index.js";
import {
  type Batch,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  HEADROOM,
  LARGE_FRAME_SIZE_MAX,
  NET_HEADER_SIZE,
  type PacketPool,
  type PortCounters,
  RX_DROPPED,
  RX_ERRORS,
  readNetHeader,
  SLOT_SIZE,
} from "../../base/packet/index.js";
import type { QueueReader } from "./queue-reader.js";

/** What of a frame goes into a small packet. */
export const SMALL = SLOT_SIZE - HEADROOM;

export class ReadingTapReader implements QueueReader {
  readonly wakeFd: number;
  readonly #fd: number;
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #arena: number;
  readonly #vectors = new IoVectors(2);
  /** A large packet for the next frame that needs it; −1 when there is none. */
  #spare = -1;

  constructor(fd: number, pool: PacketPool, stats: PortCounters) {
    this.wakeFd = fd;
    this.#fd = fd;
    this.#pool = pool;
    this.#stats = stats;
    this.#arena = addressOf(pool.bytes);
  }

  receive(batch: Batch): number {
    const { length } = batch;
    while (batch.length < batch.capacity) {
      const packet = this.#pool.allocate();
      if (packet < 0) break;
      const result = sysReadv(this.#fd, this.#vectors.address, this.#aim(packet));
      if (result < 0) {
        this.#pool.free(packet);
        if (result !== -EAGAIN) this.#stats[RX_ERRORS] = (this.#stats[RX_ERRORS] as number) + 1;
        break;
      }
      this.#take(batch, packet, result - NET_HEADER_SIZE);
    }
    return batch.length - length;
  }

  mayWait(): boolean {
    return true;
  }

  /** What was not read yet waits in the device. */
  stop(): boolean {
    return true;
  }

  close(): void {
    if (this.#spare >= 0) this.#pool.free(this.#spare);
    this.#spare = -1;
  }

  /** Aims the next read at the packet, and behind what it holds at the spare one; returns the number of vectors. */
  #aim(packet: number): number {
    const pool = this.#pool;
    const start = this.#arena + (pool.offset[packet] as number);
    this.#vectors.set(0, start - NET_HEADER_SIZE, NET_HEADER_SIZE + SMALL);
    if (this.#spare < 0) {
      this.#spare = pool.allocateLarge();
      if (this.#spare < 0) return 1;
      const rest = this.#arena + (pool.offset[this.#spare] as number) + SMALL;
      this.#vectors.set(1, rest, LARGE_FRAME_SIZE_MAX - SMALL);
    }
    return 2;
  }

  /** The packet holds the frame of `length` bytes, or its first part. */
  #take(batch: Batch, packet: number, length: number): void {
    const pool = this.#pool;
    if (length <= SMALL) {
      acceptFrame(pool, batch, packet, length, this.#stats);
      return;
    }
    const whole = this.#spare;
    if (whole < 0 || length > LARGE_FRAME_SIZE_MAX) {
      this.#stats[RX_DROPPED] = (this.#stats[RX_DROPPED] as number) + 1;
      pool.free(packet);
      return;
    }
    this.#spare = -1;
    const from = pool.offset[packet] as number;
    const to = pool.offset[whole] as number;
    pool.bytes.copyWithin(to - NET_HEADER_SIZE, from - NET_HEADER_SIZE, from + SMALL);
    pool.free(packet);
    acceptFrame(pool, batch, whole, length, this.#stats);
  }
}

/** Appends the packet, which holds a frame of `length` bytes behind its virtio-net header, or frees and counts it. */
export function acceptFrame(
  pool: PacketPool,
  batch: Batch,
  packet: number,
  length: number,
  stats: PortCounters,
): void {
  pool.length[packet] = length;
  const isGood =
    length >= FRAME_SIZE_MIN &&
    readNetHeader(pool, packet, (pool.offset[packet] as number) - NET_HEADER_SIZE) &&
    (length <= FRAME_SIZE_MAX || (pool.checksumStart[packet] !== 0 && pool.segmentSize[packet] !== 0));
  if (isGood) {
    batch.packets[batch.length++] = packet;
    return;
  }
  stats[RX_ERRORS] = (stats[RX_ERRORS] as number) + 1;
  pool.free(packet);
}
