// Receives and sends by recvmsg and sendmsg between a stream socket and memory that lies anywhere, without garbage: a call
// takes the address of what is asked for as a number, and one beyond 2³¹ would be a number on the heap each time. So the
// address of the bytes stands in a header that lies low. Source: recvmsg(2), sendmsg(2), on 64-bit Linux.
// Thread: one. Hot: yes.
import { raw } from "./errno.js";
import { MemoryBlock } from "./memory.js";
import { cRecvmsg, cSendmsg } from "./socket-calls.js";

/** struct msghdr, and behind it the only struct iovec. */
const VECTOR_AT = 56;
const MESSAGE_SIZE = VECTOR_AT + 16;
/** Words of both: iov and iovlen of the header, base and length of the vector. */
const W_VECTORS = 4;
const W_VECTOR_COUNT = 6;
const W_BASE = VECTOR_AT / 4;
const W_LENGTH = W_BASE + 2;
const U32 = 0x1_0000_0000;
const LOW_BITS = 24;
const LOW_MASK = 0xff_ffff;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

export class SocketMessage {
  readonly #block = new MemoryBlock(MESSAGE_SIZE, { isLow: true });
  readonly #address = this.#block.address;
  readonly #words = new Uint32Array(this.#block.buffer, 0, MESSAGE_SIZE / 4);
  /** Of the base: the lower bits, and those above. Sums of small integers are small ones, compiled or not. */
  readonly #low: number;
  readonly #upper: number;

  /** For bytes behind `base`, an address that is the caller's to keep valid. */
  constructor(base: number) {
    this.#low = base & LOW_MASK;
    this.#upper = Math.floor(base / (LOW_MASK + 1));
    const vector = this.#address + VECTOR_AT;
    this.#words[W_VECTORS] = vector >>> 0;
    this.#words[W_VECTORS + 1] = (vector / U32) >>> 0;
    this.#words[W_VECTOR_COUNT] = 1;
  }

  /** Takes up to `length` bytes to `offset` behind the base: how many came, 0 at the end, or the negated errno. */
  receive(fd: number, offset: number, length: number): number {
    this.#aim(offset, length);
    return raw(cRecvmsg(fd, this.#address, MSG_DONTWAIT));
  }

  /** Sends up to `length` bytes from there on: how many went, or the negated errno. */
  send(fd: number, offset: number, length: number): number {
    this.#aim(offset, length);
    return raw(cSendmsg(fd, this.#address, MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  close(): void {
    this.#block.free();
  }

  #aim(offset: number, length: number): void {
    const words = this.#words;
    const low = this.#low + offset;
    const upper = this.#upper + (low >>> LOW_BITS);
    words[W_BASE] = (upper << LOW_BITS) | (low & LOW_MASK);
    words[W_BASE + 1] = upper >>> (32 - LOW_BITS);
    words[W_LENGTH] = length;
  }
}
