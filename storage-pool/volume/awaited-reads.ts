// Short reads that wait for the disks while everything else goes on: they are handed on as they come, some at a time.
//
//   take ─► hole or expect (each block), add (each run) ─► … ─► wait: checked, decrypted ─► readDone
//
// Invariants: a slot's memory is the kernel's from add() until all its runs have come back, whoever has gone meanwhile; a
// cipher is closed only after drain().
// What is handed on as good has the checksums that the map had when the read began, so it was right at some time since;
// whatever else comes back, a place that is used anew meanwhile among it, is EIO and to be read again the plain way,
// which repairs and tells. Thread: its creator. Hot: yes.
import {
  closeFile,
  createEventfd,
  EPOLLET,
  EPOLLIN,
  type Epoll,
  IORING_OP_READ,
  IoUring,
  ringEventfd,
} from "../../base/linux/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import { EIO, OK } from "../errors.js";
import { BLOCK_SIZE } from "../limits.js";
import { bufferChecksum } from "../log/checksum.js";
import type { BlockCipher } from "./block-cipher.js";

/** Reads under way at a time, of all clients of the worker, and blocks of each. */
export const AWAITED_READS_MAX = 128;
export const AWAITED_BLOCKS_MAX = 16;
/** Runs that are added before they are handed to the kernel. */
const RING_ENTRIES = 512;
const SLOT_BYTES = AWAITED_BLOCKS_MAX * BLOCK_SIZE;
/**
 * So large a part of those under way is waited for at a time: answering each by itself costs twice the processor time, and
 * waiting for all leaves the disks without work meanwhile.
 */
const TOGETHER = 0.5;
const RETRY_EVERY = 16;
/** Instead of a checksum: the block is a hole. */
const HOLE = -1;

/** Whom a read is handed on to. `buffer` holds what was read from `at` on, until it returns, when `result` is 0; else EIO. */
export interface ReadWaiter {
  readDone(slot: number, buffer: DataBuffer, at: number, result: number): void;
}

export class AwaitedReads {
  /** Under way. */
  count = 0;
  /** Some were handed on since this was set to false. */
  hasEnded = false;
  readonly #bell: number;
  readonly #ring: IoUring | undefined;
  #buffer: DataBuffer | undefined;
  readonly #waiters = new Array<ReadWaiter | undefined>(AWAITED_READS_MAX).fill(undefined);
  readonly #ciphers = new Array<BlockCipher | undefined>(AWAITED_READS_MAX).fill(undefined);
  readonly #blocks = new Float64Array(AWAITED_READS_MAX);
  readonly #counts = new Uint8Array(AWAITED_READS_MAX);
  readonly #sums = new Float64Array(AWAITED_READS_MAX * AWAITED_BLOCKS_MAX);
  /** Runs that have not come back, bytes that are to come, and whether one has failed. */
  readonly #runsLeft = new Uint8Array(AWAITED_READS_MAX);
  readonly #bytesLeft = new Int32Array(AWAITED_READS_MAX);
  readonly #failed = new Uint8Array(AWAITED_READS_MAX);
  /** Free slots, a stack. */
  readonly #free = Uint8Array.from({ length: AWAITED_READS_MAX }, (_, i) => i); // cold
  #freeCount = AWAITED_READS_MAX;
  /** Something may have come. */
  #rung = false;
  /** Most reads of late had to be waited for. */
  #isCold = false;
  #breaths = 0;

  /** `useRing`: whether there is io_uring; without it no read is taken. */
  constructor(epoll: Epoll, useRing: boolean) {
    this.#bell = createEventfd();
    this.#ring = useRing ? new IoUring(RING_ENTRIES) : undefined;
    this.#ring?.registerEventfd(this.#bell);
    // Never drained: each completion is an edge.
    epoll.add(this.#bell, EPOLLIN | EPOLLET);
  }

  /** A slot for `count` blocks from `block` on; −1 when there is none. Of each block hole() or expect() is told next. */
  take(waiter: ReadWaiter, block: number, count: number, cipher: BlockCipher | undefined): number {
    if (this.#ring === undefined || this.#freeCount === 0 || count > AWAITED_BLOCKS_MAX) return -1;
    if (this.#ring.room < AWAITED_BLOCKS_MAX) return -1;
    this.#buffer ??= new DataBuffer(AWAITED_READS_MAX * SLOT_BYTES);
    const slot = this.#free[--this.#freeCount] as number;
    this.#waiters[slot] = waiter;
    this.#ciphers[slot] = cipher;
    this.#blocks[slot] = block;
    this.#counts[slot] = count;
    this.#runsLeft[slot] = 0;
    this.#bytesLeft[slot] = 0;
    this.#failed[slot] = 0;
    this.count++;
    return slot;
  }

  /** Block `i` of the read is a hole. */
  hole(slot: number, i: number): void {
    const at = slot * SLOT_BYTES + i * BLOCK_SIZE;
    (this.#buffer as DataBuffer).bytes.fill(0, at, at + BLOCK_SIZE);
    this.#sums[slot * AWAITED_BLOCKS_MAX + i] = HOLE;
  }

  /** Block `i` of the read is to have this checksum. */
  expect(slot: number, i: number, checksum: number): void {
    this.#sums[slot * AWAITED_BLOCKS_MAX + i] = checksum;
  }

  /** `count` blocks from block `i` of the read on lie side by side at `position` of a file. At least once for a slot. */
  add(slot: number, i: number, count: number, fd: number, position: number): void {
    const ring = this.#ring as IoUring;
    const address = (this.#buffer as DataBuffer).address + slot * SLOT_BYTES + i * BLOCK_SIZE;
    const length = count * BLOCK_SIZE;
    this.#runsLeft[slot]!++;
    this.#bytesLeft[slot]! += length;
    ring.prepare(IORING_OP_READ, fd, address, length, position, slot);
  }

  /** Reads that were tried without waiting, and how many of these have to be waited for. */
  tried(count: number, blocked: number): void {
    this.#isCold = 2 * blocked >= count;
  }

  /** Whether to take reads without trying first, as most of late had to be waited for; one time in RETRY_EVERY not. */
  goesAhead(): boolean {
    return this.#isCold && ++this.#breaths % RETRY_EVERY !== 0;
  }

  /** Hands what was added to the kernel, and on what has come once a part of all that is under way has. */
  wait(): void {
    this.#rung = false;
    if (this.count === 0) return;
    this.#submit(Math.ceil(this.count * TOGETHER));
  }

  /** True when `fd` is ours: something has come, that wait() or look() hands on. */
  onReady(fd: number): boolean {
    if (fd !== this.#bell) return false;
    this.#rung = true;
    return true;
  }

  /** Hands on what has come. */
  look(): void {
    if (!this.#rung) return;
    this.#rung = false;
    if (this.count > 0) this.#submit(0);
  }

  /** Waits until everything has come back. */
  drain(): void {
    while (this.count > 0) this.#submit(1);
  }

  close(): void {
    this.drain();
    this.#ring?.close();
    closeFile(this.#bell);
  }

  #submit(waitFor: number): void {
    const ring = this.#ring as IoUring;
    try {
      ring.submit(waitFor);
    } catch {
      ringEventfd(this.#bell); // no memory for it now: it is tried again soon
    }
    this.#take(ring);
  }

  #take(ring: IoUring): void {
    const count = ring.reap();
    for (let n = 0; n < count; n++) {
      const slot = ring.userData[n] as number;
      const result = ring.results[n] as number;
      if (result < 0) this.#failed[slot] = 1;
      else this.#bytesLeft[slot]! -= result;
      if (--this.#runsLeft[slot]! === 0) this.#end(slot);
    }
  }

  #end(slot: number): void {
    const waiter = this.#waiters[slot] as ReadWaiter;
    const buffer = this.#buffer as DataBuffer;
    const isGood = this.#failed[slot] === 0 && this.#bytesLeft[slot] === 0 && this.#isGood(slot, buffer);
    if (isGood) this.#decrypt(slot, buffer);
    this.#waiters[slot] = undefined;
    this.#ciphers[slot] = undefined;
    this.count--;
    this.hasEnded = true;
    waiter.readDone(slot, buffer, slot * SLOT_BYTES, isGood ? OK : EIO);
    this.#free[this.#freeCount++] = slot;
  }

  #isGood(slot: number, buffer: DataBuffer): boolean {
    const count = this.#counts[slot] as number;
    for (let i = 0; i < count; i++) {
      const expected = this.#sums[slot * AWAITED_BLOCKS_MAX + i] as number;
      if (expected === HOLE) continue;
      if (bufferChecksum(buffer, slot * SLOT_BYTES + i * BLOCK_SIZE, BLOCK_SIZE) !== expected) return false;
    }
    return true;
  }

  #decrypt(slot: number, buffer: DataBuffer): void {
    const cipher = this.#ciphers[slot];
    if (cipher === undefined) return;
    const count = this.#counts[slot] as number;
    const first = this.#blocks[slot] as number;
    for (let i = 0; i < count; i++) {
      if (this.#sums[slot * AWAITED_BLOCKS_MAX + i] === HOLE) continue;
      cipher.decrypt(buffer, slot * SLOT_BYTES + i * BLOCK_SIZE, first + i, 1);
    }
  }
}
