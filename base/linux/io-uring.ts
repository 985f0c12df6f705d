// io_uring: batches of reads, writes and syncs with one system call for many.
//
//   prepare… ─► SQ ring ─► submit() ─► kernel ─► CQ ring ─► reap() ─► userData[i], results[i]
//
// Source: io_uring(7), linux/io_uring.h (io_uring_params: sq_off@40, cq_off@80). Buffers handed to prepare…
// belong to the kernel until their completion was reaped. Absent (containers, hardened hosts) it throws on
// construction; ask probeIoUring first. PLINTH_IO_URING=0 makes it unavailable. Thread: its creator. Hot: yes.
import { assert } from "../assert/index.js";
import { PlinthError } from "../errors/index.js";
import { EBUSY, EINTR, EINVAL, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile } from "./file.js";
import { FileMapping } from "./memory.js";
import { noteDescriptor } from "./thread-ledger.js";

const cSyscall = define<
  (n: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
>("int64_t syscall(int64_t n, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)");

const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;
const PARAMS_SIZE = 120;
const OFFSET_SQ_RING = 0;
const OFFSET_SQES = 0x1000_0000;
const FEAT_SINGLE_MMAP = 1;
const SETUP_CLAMP = 1 << 4;
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_TASKRUN_FLAG = 1 << 9;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
const ENTER_GETEVENTS = 1;
const REGISTER_BUFFERS = 0;
const REGISTER_FILES = 2;
const REGISTER_EVENTFD = 4;
const REGISTER_PROBE = 8;
const REGISTER_PBUF_RING = 22;
const SQ_TASKRUN = 1 << 2;
const SQE_SIZE = 64;
const CQE_SIZE = 16;

export const IORING_OP_READV = 1;
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
/** Linux 6.7. */
export const IORING_OP_READ_MULTISHOT = 49;
const IORING_FSYNC_DATASYNC = 1;
/** Flag for prepare calls: `fd` is an index into the registered files. */
export const IOSQE_FIXED_FILE = 1;
/** Flag for prepare calls: the buffer is the next of the provided group that `bufferIndex` names. */
export const IOSQE_BUFFER_SELECT = 1 << 5;
/** Flag of a completion: further ones of the same request follow. The number of its buffer is in the upper half. */
export const IORING_CQE_F_MORE = 2;

/** What the pool needs; a kernel without one of these counts as having no io_uring. */
const OPS_NEEDED = [IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_READ, IORING_OP_WRITE];

export class IoUring {
  readonly fd: number;
  readonly entries: number;
  /** Filled by reap(): what the request was tagged with (u32) and how it ended (count or negated errno). */
  readonly userData: Uint32Array;
  readonly results: Int32Array;
  /** Filled by reap(): IORING_CQE_F_* bits, and the buffer's number above bit 16. */
  readonly flags: Uint32Array;
  /** Requests submitted or prepared whose completion was not reaped yet. */
  inFlight = 0;
  readonly #ring: FileMapping;
  readonly #sqeMapping: FileMapping;
  readonly #ring32: Int32Array;
  readonly #sqe32: Uint32Array;
  readonly #sqMask: number;
  readonly #cqMask: number;
  readonly #sqHeadAt: number;
  readonly #sqTailAt: number;
  readonly #sqFlagsAt: number;
  readonly #cqHeadAt: number;
  readonly #cqTailAt: number;
  readonly #cqesAt: number;
  #prepared = 0;
  #closed = false;

  /** `entries` requests may be prepared between two submits (rounded up to a power of two by the kernel). */
  constructor(entries: number) {
    assertEnabled();
    const params = new Uint32Array(PARAMS_SIZE / 4);
    this.fd = setup(entries, params);
    assert((params[5]! & FEAT_SINGLE_MMAP) !== 0, "Linux 5.4 and newer map both rings at once");
    this.entries = params[0]!;
    const sq = 10;
    const cq = 20;
    const sqRingSize = params[sq + 6]! + this.entries * 4;
    const cqRingSize = params[cq + 5]! + params[1]! * CQE_SIZE;
    this.#ring = new FileMapping(this.fd, Math.max(sqRingSize, cqRingSize), OFFSET_SQ_RING);
    this.#sqeMapping = new FileMapping(this.fd, this.entries * SQE_SIZE, OFFSET_SQES);
    this.#ring32 = new Int32Array(this.#ring.buffer, 0, this.#ring.sizeBytes >>> 2);
    this.#sqe32 = new Uint32Array(this.#sqeMapping.buffer, 0, this.entries * (SQE_SIZE / 4));
    this.#sqHeadAt = params[sq]! >>> 2;
    this.#sqTailAt = params[sq + 1]! >>> 2;
    this.#sqFlagsAt = params[sq + 4]! >>> 2;
    this.#sqMask = this.#ring32[params[sq + 2]! >>> 2]!;
    this.#cqHeadAt = params[cq]! >>> 2;
    this.#cqTailAt = params[cq + 1]! >>> 2;
    this.#cqMask = this.#ring32[params[cq + 2]! >>> 2]!;
    this.#cqesAt = params[cq + 5]! >>> 2;
    this.userData = new Uint32Array(params[1]!);
    this.results = new Int32Array(params[1]!);
    this.flags = new Uint32Array(params[1]!);
    const arrayAt = params[sq + 6]! >>> 2;
    for (let i = 0; i < this.entries; i++) this.#ring32[arrayAt + i] = i;
  }

  /** How many more requests fit before the next submit. */
  get room(): number {
    const used = (this.#ring32[this.#sqTailAt]! - Atomics.load(this.#ring32, this.#sqHeadAt)) | 0;
    return this.entries - used;
  }

  /** The general form: false when the ring is full (submit first). `length` is u32, `userData` u32. */
  prepare(
    opcode: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    userData: number,
    flags = 0,
    opFlags = 0,
    bufferIndex = 0,
  ): boolean {
    const ring = this.#ring32;
    const tail = ring[this.#sqTailAt]!;
    if (((tail - Atomics.load(ring, this.#sqHeadAt)) | 0) >= this.entries) return false;
    const at = (tail & this.#sqMask) * (SQE_SIZE / 4);
    const sqe = this.#sqe32;
    sqe[at] = opcode | (flags << 8);
    sqe[at + 1] = fd;
    sqe[at + 2] = offset >>> 0;
    sqe[at + 3] = (offset / 0x1_0000_0000) >>> 0;
    sqe[at + 4] = address >>> 0;
    sqe[at + 5] = (address / 0x1_0000_0000) >>> 0;
    sqe[at + 6] = length;
    sqe[at + 7] = opFlags;
    sqe[at + 8] = userData;
    sqe[at + 9] = 0;
    sqe[at + 10] = bufferIndex;
    sqe[at + 11] = 0;
    sqe[at + 12] = 0;
    sqe[at + 13] = 0;
    sqe[at + 14] = 0;
    sqe[at + 15] = 0;
    Atomics.store(ring, this.#sqTailAt, (tail + 1) | 0);
    this.#prepared++;
    this.inFlight++;
    return true;
  }

  prepareRead(fd: number, address: number, length: number, offset: number, tag: number, flags = 0): boolean {
    return this.prepare(IORING_OP_READ, fd, address, length, offset, tag, flags);
  }

  prepareWrite(fd: number, address: number, length: number, offset: number, tag: number, flags = 0): boolean {
    return this.prepare(IORING_OP_WRITE, fd, address, length, offset, tag, flags);
  }

  /** `iov` is an IoVectors' address (plus 16 per element skipped), `count` its elements. */
  prepareReadv(fd: number, iov: number, count: number, offset: number, tag: number, flags = 0): boolean {
    return this.prepare(IORING_OP_READV, fd, iov, count, offset, tag, flags);
  }

  prepareWritev(fd: number, iov: number, count: number, offset: number, tag: number, flags = 0): boolean {
    return this.prepare(IORING_OP_WRITEV, fd, iov, count, offset, tag, flags);
  }

  /** fdatasync (or fsync with `all`). Orders nothing by itself: submit it after the writes completed. */
  prepareFsync(fd: number, tag: number, all = false, flags = 0): boolean {
    return this.prepare(IORING_OP_FSYNC, fd, 0, 0, 0, tag, flags, all ? 0 : IORING_FSYNC_DATASYNC);
  }

  /** Ends the requests with the tag `target`; their completions say −ECANCELED, if they had not ended before. */
  prepareCancel(target: number, tag: number): boolean {
    return this.prepare(IORING_OP_ASYNC_CANCEL, -1, target, 0, 0, tag);
  }

  /** Hands over what was prepared; with `waitFor` sleeps until that many completions are there. */
  submit(waitFor = 0): void {
    for (;;) {
      const result = enter(this.fd, this.#prepared, waitFor, ENTER_GETEVENTS);
      if (result >= 0) {
        this.#prepared -= result;
        if (this.#prepared === 0 || waitFor > 0) return;
      } else if (result === -EBUSY) {
        return; // the completion ring is full: reap, then submit again
      } else if (result !== -EINTR) {
        throw systemError("io_uring_enter", result);
      }
    }
  }

  /** Takes all completions into `userData` and `results`; returns how many. */
  reap(): number {
    const ring = this.#ring32;
    const head = ring[this.#cqHeadAt]!;
    const count = (Atomics.load(ring, this.#cqTailAt) - head) | 0;
    for (let i = 0; i < count; i++) {
      const at = this.#cqesAt + (((head + i) & this.#cqMask) << 2);
      this.userData[i] = ring[at]!;
      this.results[i] = ring[at + 2]!;
      this.flags[i] = ring[at + 3]!;
      if ((ring[at + 3]! & IORING_CQE_F_MORE) === 0) this.inFlight--;
    }
    if (count > 0) Atomics.store(ring, this.#cqHeadAt, (head + count) | 0);
    return count;
  }

  /** Whether the kernel has completions to make that submit() would let it make. Without a system call. */
  get hasWork(): boolean {
    return (Atomics.load(this.#ring32, this.#sqFlagsAt) & SQ_TASKRUN) !== 0;
  }

  /** Whether reap() would find something. */
  get hasCompletions(): boolean {
    return Atomics.load(this.#ring32, this.#cqTailAt) !== this.#ring32[this.#cqHeadAt];
  }

  /** `eventfd` is rung whenever completions may be there: for sleeping in epoll_wait. Call submit() on waking. */
  registerEventfd(eventfd: number): void {
    this.#register(REGISTER_EVENTFD, addressOf(new Int32Array([eventfd])), 1);
  }

  /** From now on IOSQE_FIXED_FILE requests name these by index. Once per ring. */
  registerFiles(fds: readonly number[]): void {
    this.#register(REGISTER_FILES, addressOf(Int32Array.from(fds)), fds.length);
  }

  /** Makes a ring of `entries` provided buffers, a power of two, known as group `group`. Throws before Linux 5.19. */
  registerBufferRing(address: number, entries: number, group: number): void {
    const registration = new Uint32Array(10);
    registration.set([address >>> 0, (address / 0x1_0000_0000) >>> 0, entries, group]);
    this.#register(REGISTER_PBUF_RING, addressOf(registration), 1);
  }

  /** Pins `count` buffers of an IoVectors for READ_FIXED and WRITE_FIXED; counts against the memlock limit. */
  registerBuffers(iovAddress: number, count: number): void {
    this.#register(REGISTER_BUFFERS, iovAddress, count);
  }

  /** Nothing may be in flight: the kernel could still write into freed buffers. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ring.unmap();
    this.#sqeMapping.unmap();
    closeFile(this.fd);
  }

  #register(operation: number, address: number, count: number): void {
    const result = raw(cSyscall(SYS_IO_URING_REGISTER, this.fd, operation, address, count, 0, 0));
    if (result < 0) throw systemError("io_uring_register", result, `operation ${operation}`);
  }
}

/** undefined when io_uring works here with every opcode needed; otherwise why it does not. */
export function probeIoUring(): string | undefined {
  if (process.env["PLINTH_IO_URING"] === "0") return "switched off by PLINTH_IO_URING=0";
  let ring: IoUring;
  try {
    ring = new IoUring(4);
  } catch (thrown) {
    if (thrown instanceof PlinthError) return thrown.message;
    throw thrown;
  }
  try {
    const probe = new Uint8Array(16 + 256 * 8);
    const address = addressOf(probe);
    const result = raw(cSyscall(SYS_IO_URING_REGISTER, ring.fd, REGISTER_PROBE, address, 256, 0, 0));
    if (result < 0) return systemError("io_uring_register", result, "PROBE").message;
    const missing = OPS_NEEDED.filter((opcode) => (probe[16 + opcode * 8 + 2]! & 1) === 0);
    return missing.length === 0 ? undefined : `opcodes ${missing.join(", ")} are missing`;
  } finally {
    ring.close();
  }
}

function setup(entries: number, params: Uint32Array): number {
  const base = SETUP_CLAMP;
  const best = base | SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_TASKRUN_FLAG;
  let result = -EINVAL;
  const choices = [best, base | SETUP_SUBMIT_ALL, base];
  for (let i = 0; i < choices.length && result === -EINVAL; i++) {
    params.fill(0);
    params[2] = choices[i]!;
    result = noteDescriptor(raw(cSyscall(SYS_IO_URING_SETUP, entries, addressOf(params), 0, 0, 0, 0)));
  }
  if (result < 0) throw systemError("io_uring_setup", result);
  return result;
}

function enter(fd: number, submitCount: number, waitCount: number, flags: number): number {
  return raw(cSyscall(SYS_IO_URING_ENTER, fd, submitCount, waitCount, flags, 0, 0));
}

function assertEnabled(): void {
  if (process.env["PLINTH_IO_URING"] !== "0") return;
  throw new PlinthError("IO_URING_DISABLED", "io_uring is switched off by PLINTH_IO_URING=0");
}
