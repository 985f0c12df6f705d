// The receiving half of an AF_XDP socket: frames out of the rx ring, chunks of memory back into the fill ring. It may be
// another thread's than the sending half: the kernel maps the rings of a socket that is bound for nobody any more, but
// threads share the addresses of those that there are.
// Invariant: one thread at a time receives. Thread: that one. Hot: yes.
import { viewOf } from "./ffi.js";
import { cRecv } from "./socket-calls.js";
import { XDP_RING_ENTRIES, XdpRing, type XdpRingPlace } from "./xdp-ring.js";

const MSG_DONTWAIT = 0x40;
export const XDP_CHUNK_SIZE = 4096;
/** The memory of a socket: as many chunks for each direction as a ring has entries. */
export const XDP_MEMORY_SIZE = 2 * XDP_RING_ENTRIES * XDP_CHUNK_SIZE;

/** What another thread needs to receive. */
export interface XdpShare {
  /** Of the socket, whose owner closes it. */
  readonly fd: number;
  /** The memory of the socket as a file of XDP_MEMORY_SIZE bytes. */
  readonly memoryFd: number;
  readonly rx: XdpRingPlace;
  readonly fill: XdpRingPlace;
}

export class XdpReceiver {
  readonly fd: number;
  /** Of the frame at hand, filled by next(): where in the buffer of the memory it begins. */
  frameAt = 0;
  frameLength = 0;
  readonly #rx: XdpRing;
  readonly #fill: XdpRing;
  readonly #memoryAt: number;

  /** `memoryAt`: where in its buffer the memory begins. */
  constructor(fd: number, rx: XdpRing, fill: XdpRing, memoryAt: number) {
    this.fd = fd;
    this.#rx = rx;
    this.#fill = fill;
    this.#memoryAt = memoryAt;
  }

  /** Goes on where another thread has stopped, after release(). */
  resume(): void {
    this.#rx.resumeConsuming();
    this.#fill.resumeProducing();
  }

  /** Frames that wait. */
  waiting(): number {
    return this.#rx.filled();
  }

  /** Takes the next frame, of which waiting() told: its memory is ours until release(). */
  next(): void {
    const { words } = this.#rx;
    const at = this.#rx.consumeAt();
    this.frameAt = this.#memoryAt + (words[at] as number);
    this.frameLength = words[at + 2] as number;
    this.give((words[at] as number) & ~(XDP_CHUNK_SIZE - 1));
  }

  /** With the next release() the chunk is the kernel's, for a frame. */
  give(chunk: number): void {
    const { words } = this.#fill;
    const at = this.#fill.produceAt();
    words[at] = chunk;
    words[at + 1] = 0;
  }

  /** The frames taken so far are the kernel's again. */
  release(): void {
    this.#rx.publishConsumed();
    this.#fill.publishProduced();
    if (this.#fill.needsWakeup()) cRecv(this.fd, 0, 0, MSG_DONTWAIT);
  }
}

/** As the socket's own receiver, in another thread of the process, which has its memory at `memoryAt` of a buffer. */
export function receiverOf({ fd, rx, fill }: XdpShare, memoryAt: number): XdpReceiver {
  const ringOf = (place: XdpRingPlace): XdpRing => new XdpRing(viewOf(place.address, place.sizeBytes), place);
  return new XdpReceiver(fd, ringOf(rx), ringOf(fill), memoryAt);
}
