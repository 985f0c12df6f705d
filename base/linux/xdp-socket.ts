// AF_XDP: the frames of one receive queue of a device, and frames to send by it, through memory shared with the kernel.
//
//   chunks of UMEM, 4 KiB each:   first half: fill ring ─► kernel ─► rx ring ─► us ─► fill ring
//                                 second half: us ─► tx ring ─► kernel ─► completion ring ─► us
//
// Source: Documentation/networking/af_xdp.rst, linux/if_xdp.h. Invariant: each chunk is with exactly one ring or with us.
// Thread: its creator. Hot: yes.
import { EAGAIN, EBUSY, EINTR, raw, systemError } from "./errno.js";
import { addressOf } from "./ffi.js";
import { closeFile } from "./file.js";
import { FileMapping } from "./memory.js";
import type { RingMapping } from "./packet-socket.js";
import { cBind, cGetsockopt, cRecv, cSend, cSetsockopt, cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

const AF_XDP = 44;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_RX_RING = 2;
const XDP_TX_RING = 3;
const XDP_UMEM_REG = 4;
const XDP_UMEM_FILL_RING = 5;
const XDP_UMEM_COMPLETION_RING = 6;
const XDP_STATISTICS = 7;
const PGOFF_RX = 0;
const PGOFF_TX = 0x8000_0000;
const PGOFF_FILL = 0x1_0000_0000;
const PGOFF_COMPLETION = 0x1_8000_0000;
const XDP_COPY = 2;
const XDP_ZEROCOPY = 4;
const XDP_USE_NEED_WAKEUP = 8;
const RING_NEED_WAKEUP = 1;
const MSG_DONTWAIT = 0x40;
const CHUNK_SIZE = 4096;
/** Chunks for each direction, and entries of every ring: a power of two. */
const CHUNKS = 1024;
const UMEM_SIZE = 2 * CHUNKS * CHUNK_SIZE;
/** The longest frame: a chunk less what the kernel keeps in front of it. */
export const XDP_FRAME_SIZE_MAX = CHUNK_SIZE - 256;
/** In copy mode a call sends some tens of frames. */
const KICKS_MAX = 64;

export interface XdpSocketOptions {
  readonly name: string;
  readonly index: number;
  readonly queue: number;
  /** Let the device read and write our memory itself, where its driver can. */
  readonly zeroCopy: boolean;
  /** Gives the memory for the frames, zeroed and aligned to pages; the socket's until it calls unmap(). */
  readonly takeMemory: (sizeBytes: number) => RingMapping;
}

export class XdpSocket {
  readonly fd: number;
  /** Of the frame at hand, filled by next(): where in the buffer of the memory it begins. */
  frameAt = 0;
  frameLength = 0;
  readonly #umem: RingMapping;
  readonly #umemAt: number;
  readonly #rx: Ring;
  readonly #tx: Ring;
  readonly #fill: Ring;
  readonly #completion: Ring;
  /** Chunks for frames to send that are with us. */
  readonly #free = new Int32Array(CHUNKS);
  #freeCount = CHUNKS;
  readonly #statistics = new Float64Array(6);
  readonly #statisticsAddress = addressOf(this.#statistics);
  readonly #statisticsLength = Int32Array.of(48);
  readonly #statisticsLengthAddress = addressOf(this.#statisticsLength);
  #toldDrops = 0;
  #closed = false;

  /** Throws with the errno's name; EOPNOTSUPP when zero copy was asked for and there is none. */
  constructor(options: XdpSocketOptions) {
    const { name, index, queue, zeroCopy, takeMemory } = options;
    const fd = noteDescriptor(raw(cSocket(AF_XDP, SOCK_RAW_CLOEXEC, 0)));
    if (fd < 0) throw systemError("socket(AF_XDP)", fd, name);
    this.fd = fd;
    const rings: Ring[] = [];
    let umem: RingMapping | undefined;
    try {
      umem = takeMemory(UMEM_SIZE);
      this.#umem = umem;
      this.#umemAt = umem.byteOffset;
      this.#register();
      this.#set(XDP_UMEM_FILL_RING, Uint32Array.of(CHUNKS), "XDP_UMEM_FILL_RING");
      this.#set(XDP_UMEM_COMPLETION_RING, Uint32Array.of(CHUNKS), "XDP_UMEM_COMPLETION_RING");
      this.#set(XDP_RX_RING, Uint32Array.of(CHUNKS), "XDP_RX_RING");
      this.#set(XDP_TX_RING, Uint32Array.of(CHUNKS), "XDP_TX_RING");
      const offsets = this.#offsets();
      const map = (which: number, fileOffset: number, entrySize: number): Ring => {
        const ring = new Ring(fd, offsets, which * 8, fileOffset, entrySize);
        rings.push(ring);
        return ring;
      };
      this.#rx = map(0, PGOFF_RX, 16);
      this.#tx = map(1, PGOFF_TX, 16);
      this.#fill = map(2, PGOFF_FILL, 8);
      this.#completion = map(3, PGOFF_COMPLETION, 8);
      for (let i = 0; i < CHUNKS; i++) {
        this.#putFill(i * CHUNK_SIZE);
        this.#free[i] = (CHUNKS + i) * CHUNK_SIZE;
      }
      this.#fill.publishProduced();
      const address = new Uint8Array(16);
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_XDP, true);
      view.setUint16(2, XDP_USE_NEED_WAKEUP | (zeroCopy ? XDP_ZEROCOPY : XDP_COPY), true);
      view.setUint32(4, index, true);
      view.setUint32(8, queue, true);
      const result = raw(cBind(fd, addressOf(address), 16));
      if (result < 0) throw systemError("bind(AF_XDP)", result, `${name}, queue ${queue}`);
    } catch (thrown) {
      for (const ring of rings) ring.unmap(); // cold
      closeFile(fd);
      umem?.unmap();
      throw thrown;
    }
  }

  /** Frames that wait. */
  waiting(): number {
    return this.#rx.filled();
  }

  /** Takes the next frame, of which waiting() told: its memory is ours until release(). */
  next(): void {
    const { words } = this.#rx;
    const at = this.#rx.consumeAt();
    this.frameAt = this.#umemAt + (words[at] as number);
    this.frameLength = words[at + 2] as number;
    this.#putFill((words[at] as number) & ~(CHUNK_SIZE - 1));
  }

  /** The frames taken so far are the kernel's again. */
  release(): void {
    this.#rx.publishConsumed();
    this.#fill.publishProduced();
    if (this.#fill.needsWakeup()) cRecv(this.fd, 0, 0, MSG_DONTWAIT);
  }

  /** Where the next frame to send may begin, or up to 256 bytes behind; −1 when there is no room. */
  room(): number {
    if (this.#freeCount === 0) this.#reclaim();
    if (this.#freeCount === 0 || this.#tx.room() === 0) return -1;
    return this.#umemAt + (this.#free[this.#freeCount - 1] as number);
  }

  /** What was written `skip` bytes behind room() is a frame of `length` bytes to send. */
  commit(skip: number, length: number): void {
    const chunk = this.#free[--this.#freeCount] as number;
    const { words } = this.#tx;
    const at = this.#tx.produceAt();
    words[at] = chunk + skip;
    words[at + 1] = 0;
    words[at + 2] = length;
    words[at + 3] = 0;
  }

  /** Sends what was committed. */
  flush(): void {
    const tx = this.#tx;
    tx.publishProduced();
    for (let kicks = 0; kicks < KICKS_MAX && tx.needsWakeup() && tx.isPending(); kicks++) {
      const result = raw(cSend(this.fd, 0, 0, MSG_DONTWAIT));
      if (result < 0 && result !== -EAGAIN && result !== -EBUSY && result !== -EINTR) break;
      this.#reclaim();
    }
    this.#reclaim();
  }

  /** Frames lost since the last call because nobody took them in time. */
  takeDrops(): number {
    this.#statisticsLength[0] = 48;
    const words = new Uint32Array(this.#statistics.buffer);
    if (
      cGetsockopt(this.fd, SOL_XDP, XDP_STATISTICS, this.#statisticsAddress, this.#statisticsLengthAddress) <
      0
    )
      return 0;
    // rx_dropped, rx_ring_full, rx_fill_ring_empty_descs; u64 each.
    const drops = (words[0] as number) + (words[6] as number) + (words[8] as number);
    const news = drops - this.#toldDrops;
    this.#toldDrops = drops;
    return news > 0 ? news : 0;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#rx.unmap();
    this.#tx.unmap();
    this.#fill.unmap();
    this.#completion.unmap();
    closeFile(this.fd);
    this.#umem.unmap();
  }

  #reclaim(): void {
    const { words } = this.#completion;
    const count = this.#completion.filled();
    for (let i = 0; i < count; i++)
      this.#free[this.#freeCount++] = (words[this.#completion.consumeAt()] as number) & ~(CHUNK_SIZE - 1);
    if (count > 0) this.#completion.publishConsumed();
  }

  #putFill(chunk: number): void {
    const { words } = this.#fill;
    const at = this.#fill.produceAt();
    words[at] = chunk;
    words[at + 1] = 0;
  }

  #register(): void {
    const registration = new Uint32Array(8);
    const address = addressOf(new Uint8Array(this.#umem.buffer)) + this.#umemAt;
    registration[0] = address >>> 0;
    registration[1] = (address / 0x1_0000_0000) >>> 0;
    registration[2] = UMEM_SIZE;
    registration[4] = CHUNK_SIZE;
    this.#set(XDP_UMEM_REG, registration, "XDP_UMEM_REG");
  }

  /** Four rings of producer, consumer, descriptors, flags; u64 each, of which the lower half counts. */
  #offsets(): Uint32Array {
    const offsets = new Uint32Array(32);
    const length = Int32Array.of(128);
    const result = raw(
      cGetsockopt(this.fd, SOL_XDP, XDP_MMAP_OFFSETS, addressOf(offsets), addressOf(length)),
    );
    if (result < 0) throw systemError("getsockopt(XDP_MMAP_OFFSETS)", result);
    return offsets;
  }

  #set(option: number, value: Uint32Array, what: string): void {
    const result = raw(cSetsockopt(this.fd, SOL_XDP, option, addressOf(value), value.byteLength));
    if (result < 0) throw systemError(`setsockopt(${what})`, result);
  }
}

/** One of the four rings: we are producer of two of them and consumer of the others. */
class Ring {
  readonly words: Uint32Array;
  readonly #mapping: FileMapping;
  readonly #signed: Int32Array;
  readonly #producerAt: number;
  readonly #consumerAt: number;
  readonly #entriesAt: number;
  readonly #flagsAt: number;
  readonly #entryWords: number;
  /** Our end, not published yet. */
  #ours = 0;

  constructor(fd: number, offsets: Uint32Array, first: number, fileOffset: number, entrySize: number) {
    const entriesAt = offsets[first + 4] as number;
    this.#mapping = new FileMapping(fd, entriesAt + CHUNKS * entrySize, fileOffset);
    const size = this.#mapping.sizeBytes >>> 2;
    this.words = new Uint32Array(this.#mapping.buffer, 0, size);
    this.#signed = new Int32Array(this.#mapping.buffer, 0, size);
    this.#producerAt = (offsets[first] as number) >>> 2;
    this.#consumerAt = (offsets[first + 2] as number) >>> 2;
    this.#entriesAt = entriesAt >>> 2;
    this.#flagsAt = (offsets[first + 6] as number) >>> 2;
    this.#entryWords = entrySize >>> 2;
  }

  /** As consumer: entries to take. */
  filled(): number {
    return (Atomics.load(this.#signed, this.#producerAt) - this.#ours) | 0;
  }

  /** As producer: entries that may be put. */
  room(): number {
    return CHUNKS - ((this.#ours - Atomics.load(this.#signed, this.#consumerAt)) | 0);
  }

  /** As producer: whether the kernel has not taken everything. */
  isPending(): boolean {
    return Atomics.load(this.#signed, this.#consumerAt) !== this.#ours;
  }

  /** Where the next entry to take is, which is taken by this. */
  consumeAt(): number {
    return this.#advance();
  }

  produceAt(): number {
    return this.#advance();
  }

  publishConsumed(): void {
    Atomics.store(this.#signed, this.#consumerAt, this.#ours);
  }

  publishProduced(): void {
    Atomics.store(this.#signed, this.#producerAt, this.#ours);
  }

  needsWakeup(): boolean {
    return (Atomics.load(this.#signed, this.#flagsAt) & RING_NEED_WAKEUP) !== 0;
  }

  unmap(): void {
    this.#mapping.unmap();
  }

  #advance(): number {
    const at = this.#entriesAt + (this.#ours & (CHUNKS - 1)) * this.#entryWords;
    this.#ours = (this.#ours + 1) | 0;
    return at;
  }
}
