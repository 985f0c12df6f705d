// Sleeping and waking: eventfd doorbells and an epoll set with preallocated results.
// Source: eventfd(2), epoll(7). Thread: any; an Epoll belongs to one thread, a doorbell may be rung from all.
// Hot: yes (ring, drain, wait).
import { check, EINTR, raw, systemError } from "./errno.js";
import { addressOf, define } from "./ffi.js";
import { closeFile } from "./file.js";
import { noteDescriptor } from "./thread-ledger.js";

const cEventfd = define<(initial: number, flags: number) => number>(
  "int eventfd(unsigned int initial, int flags)",
);
const cEpollCreate = define<(flags: number) => number>("int epoll_create1(int flags)");
const cEpollCtl = define<(e: number, op: number, fd: number, event: number) => number>(
  "int epoll_ctl(int epfd, int op, int fd, intptr_t event)",
);
const cEpollWait = define<(e: number, events: number, max: number, timeoutMs: number) => number>(
  "int epoll_wait(int epfd, intptr_t events, int maxevents, int timeout)",
);
const cRead = define<(fd: number, address: number, length: number) => number>(
  "int64_t read(int fd, intptr_t buffer, size_t length)",
);
const cWrite = define<(fd: number, address: number, length: number) => number>(
  "int64_t write(int fd, intptr_t buffer, size_t length)",
);

const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 16;
export const EPOLLET = 0x8000_0000;
/** struct epoll_event is packed (12 bytes) on x86-64 only. */
const EVENT_SIZE = process.arch === "x64" ? 12 : 16;
const EVENT_DATA = process.arch === "x64" ? 4 : 8;

/** The number one and room for an answer; one object, so that whoever uses an address keeps the memory alive. */
const doorbell = createDoorbell();

/** A non-blocking eventfd. Close with closeFile. */
export function createEventfd(): number {
  return noteDescriptor(check(cEventfd(0, EFD_CLOEXEC_NONBLOCK), "eventfd"));
}

/** Adds one to an eventfd: whoever sleeps on it wakes. Errors (a peer that went away) are ignored. */
export function ringEventfd(fd: number): void {
  cWrite(fd, doorbell.oneAddress, 8);
}

/** Sets an eventfd back to zero; true when it had been rung. */
export function drainEventfd(fd: number): boolean {
  return cRead(fd, doorbell.sinkAddress, 8) === 8;
}

/** An epoll set. `wait` fills `fds` and `events` up to its result. */
export class Epoll {
  readonly fd: number;
  readonly fds: Int32Array;
  readonly events: Uint32Array;
  readonly #capacity: number;
  readonly #raw: DataView;
  readonly #address: number;
  readonly #control: DataView;
  readonly #controlAddress: number;

  constructor(capacity = 64) {
    this.#capacity = capacity;
    this.fds = new Int32Array(capacity);
    this.events = new Uint32Array(capacity);
    const memory = new Uint8Array(capacity * EVENT_SIZE);
    this.#raw = new DataView(memory.buffer);
    this.#address = addressOf(memory);
    const control = new Uint8Array(EVENT_SIZE);
    this.#control = new DataView(control.buffer);
    this.#controlAddress = addressOf(control);
    this.fd = noteDescriptor(check(cEpollCreate(EPOLL_CLOEXEC), "epoll_create1"));
  }

  add(fd: number, events: number): void {
    this.#change(EPOLL_CTL_ADD, fd, events);
  }

  modify(fd: number, events: number): void {
    this.#change(EPOLL_CTL_MOD, fd, events);
  }

  /** Forgets `fd`; one that is not in the set, or already closed, is ignored. */
  remove(fd: number): void {
    cEpollCtl(this.fd, EPOLL_CTL_DEL, fd, this.#controlAddress);
  }

  /** Sleeps until something is ready or `timeoutMs` passed (−1: for ever, 0: not at all). Returns how many. */
  wait(timeoutMs: number): number {
    const count = raw(cEpollWait(this.fd, this.#address, this.#capacity, timeoutMs));
    if (count < 0) {
      if (count === -EINTR) return 0;
      throw systemError("epoll_wait", count);
    }
    for (let i = 0; i < count; i++) {
      this.events[i] = this.#raw.getUint32(i * EVENT_SIZE, true);
      this.fds[i] = this.#raw.getInt32(i * EVENT_SIZE + EVENT_DATA, true);
    }
    return count;
  }

  close(): void {
    closeFile(this.fd);
  }

  #change(operation: number, fd: number, events: number): void {
    this.#control.setUint32(0, events >>> 0, true);
    this.#control.setInt32(EVENT_DATA, fd, true);
    const result = raw(cEpollCtl(this.fd, operation, fd, this.#controlAddress));
    if (result < 0) throw systemError("epoll_ctl", result, `descriptor ${fd}`);
  }
}

function createDoorbell(): { memory: BigUint64Array; oneAddress: number; sinkAddress: number } {
  const memory = new BigUint64Array([1n, 0n]); // cold
  const oneAddress = process.platform === "linux" ? addressOf(memory) : 0;
  return { memory, oneAddress, sinkAddress: oneAddress + 8 };
}
