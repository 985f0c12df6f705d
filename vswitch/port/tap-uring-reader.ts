// Takes frames out of one queue of a TAP device by one io_uring request that goes on for ever: the kernel puts each frame
// into the next of the large packets that it was given, and an idle queue costs no system call.
//
//   frame ─► large packet ─► short: copied into a small one, the large one goes back · long: handed on, replaced
//
// Invariant: the packets in #packets belong to the kernel. Needs Linux 6.7. Thread: the datapath worker's. Hot: yes.
import { PlinthError } from "../../base/errors/index.js";
import {
  addressOf,
  closeFile,
  createEventfd,
  drainEventfd,
  IORING_CQE_F_MORE,
  IORING_OP_READ_MULTISHOT,
  IOSQE_BUFFER_SELECT,
  IoUring,
  ProvidedBuffers,
} from "../../base/linux/index.js";
import {
  type Batch,
  LARGE_FRAME_SIZE_MAX,
  NET_HEADER_SIZE,
  type PacketPool,
  type PortCounters,
  RX_DROPPED,
} from "../../base/packet/index.js";
import type { QueueReader } from "./queue-reader.js";
import { acceptFrame, SMALL } from "./tap-reader.js";

/** Large packets with the kernel, a power of two. */
const BUFFERS = 32;
const GROUP = 0;
const READ_TAG = 1;
const CANCEL_TAG = 2;

export class UringTapReader implements QueueReader {
  readonly wakeFd: number;
  readonly #fd: number;
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #arena: number;
  readonly #ring: IoUring;
  readonly #buffers: ProvidedBuffers;
  /** By the number of the buffer. */
  readonly #packets = new Int32Array(BUFFERS).fill(-1);
  /** Completions that were reaped and not looked at: [next, reaped). */
  #next = 0;
  #reaped = 0;
  #isArmed = false;
  #isStopping = false;
  #closed = false;

  /** Throws where this kernel, or this pool, does not let us. */
  constructor(fd: number, pool: PacketPool, stats: PortCounters) {
    this.#fd = fd;
    this.#pool = pool;
    this.#stats = stats;
    this.#arena = addressOf(pool.bytes);
    this.#ring = new IoUring(BUFFERS);
    this.wakeFd = createEventfd();
    try {
      this.#ring.registerEventfd(this.wakeFd);
      this.#buffers = new ProvidedBuffers(this.#ring, BUFFERS, GROUP);
    } catch (thrown) {
      this.#ring.close();
      closeFile(this.wakeFd);
      throw thrown;
    }
    try {
      // What is on its way needs large packets too.
      if (pool.availableLarge < 3 * BUFFERS)
        throw new PlinthError("NO_LARGE_PACKETS", "too few large packets for another queue");
      for (let i = 0; i < BUFFERS; i++) this.#give(i, pool.allocateLarge());
      this.#buffers.publish();
      this.#arm();
      // A kernel that does not know the request says so at once.
      this.#reaped = this.#ring.reap();
      if (this.#reaped > 0 && (this.#ring.results[0] as number) < 0)
        throw new PlinthError("MULTISHOT_REFUSED", `the kernel refused it: ${this.#ring.results[0]}`);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  receive(batch: Batch): number {
    const { length } = batch;
    const ring = this.#ring;
    if (this.#next === this.#reaped && !this.#refill()) return 0;
    while (this.#next < this.#reaped && batch.length < batch.capacity) {
      const i = this.#next++;
      if (ring.userData[i] !== READ_TAG) continue;
      const flags = ring.flags[i] as number;
      if ((flags & IORING_CQE_F_MORE) === 0) this.#isArmed = false;
      const result = ring.results[i] as number;
      // Without a buffer it ended: there was none, or the device is gone.
      if (result >= 0) this.#take(batch, flags >>> 16, result - NET_HEADER_SIZE);
    }
    this.#buffers.publish();
    if (this.#next === this.#reaped && !this.#isArmed && !this.#isStopping) this.#arm();
    return batch.length - length;
  }

  mayWait(): boolean {
    // Emptied first: what comes from now on rings it again.
    drainEventfd(this.wakeFd);
    return this.#next === this.#reaped && !this.#ring.hasWork && !this.#ring.hasCompletions;
  }

  stop(): boolean {
    const ring = this.#ring;
    if (!this.#isStopping) {
      this.#isStopping = true;
      if (ring.inFlight > 0) ring.prepareCancel(READ_TAG, CANCEL_TAG);
      ring.submit();
    }
    return this.#next === this.#reaped && ring.inFlight === 0;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const ring = this.#ring;
    // Until the request has ended the kernel may write into the packets.
    if (ring.inFlight > 0 && !this.#isStopping) ring.prepareCancel(READ_TAG, CANCEL_TAG);
    while (ring.inFlight > 0) {
      ring.submit(1);
      ring.reap();
    }
    ring.close();
    closeFile(this.wakeFd);
    this.#buffers.free();
    for (let i = 0; i < BUFFERS; i++)
      if ((this.#packets[i] as number) >= 0) this.#pool.free(this.#packets[i] as number);
  }

  /** Looks for completions; false when there are none. */
  #refill(): boolean {
    const ring = this.#ring;
    if (ring.hasWork) ring.submit();
    else if (!ring.hasCompletions) return false;
    this.#next = 0;
    this.#reaped = ring.reap();
    return this.#reaped > 0;
  }

  /** Buffer `number` holds a frame of `length` bytes. */
  #take(batch: Batch, number: number, length: number): void {
    const pool = this.#pool;
    const large = this.#packets[number] as number;
    const isSmall = length <= SMALL;
    const other = isSmall ? pool.allocate() : pool.allocateLarge();
    if (other < 0) {
      this.#stats[RX_DROPPED] = (this.#stats[RX_DROPPED] as number) + 1;
      this.#give(number, large);
      return;
    }
    if (isSmall) {
      const from = (pool.offset[large] as number) - NET_HEADER_SIZE;
      const to = (pool.offset[other] as number) - NET_HEADER_SIZE;
      pool.bytes.copyWithin(to, from, from + NET_HEADER_SIZE + length);
      this.#give(number, large);
      acceptFrame(pool, batch, other, length, this.#stats);
    } else {
      this.#give(number, other);
      acceptFrame(pool, batch, large, length, this.#stats);
    }
  }

  #give(number: number, packet: number): void {
    this.#packets[number] = packet;
    const at = this.#arena + (this.#pool.offset[packet] as number) - NET_HEADER_SIZE;
    this.#buffers.put(number, at, NET_HEADER_SIZE + LARGE_FRAME_SIZE_MAX);
  }

  #arm(): void {
    this.#ring.prepare(IORING_OP_READ_MULTISHOT, this.#fd, 0, 0, 0, READ_TAG, IOSQE_BUFFER_SELECT, 0, GROUP);
    this.#isArmed = true;
    this.#ring.submit();
  }
}
