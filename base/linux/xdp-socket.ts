// AF_XDP: the frames of one receive queue of a device, and frames to send by it, through memory shared with the kernel.
//
//   chunks of UMEM, 4 KiB each:   first half: fill ring ─► kernel ─► rx ring ─► us ─► fill ring
//                                 second half: us ─► tx ring ─► kernel ─► completion ring ─► us
//
// The receiving half may be worked on by another thread (xdp-receiver.ts), so the memory is a file.
// Source: Documentation/networking/af_xdp.rst, linux/if_xdp.h. Invariant: each chunk is with exactly one ring or with us.
// Thread: its creator. Hot: yes.
import { PlinthError } from "../errors/index.js";
import { EAGAIN, EBUSY, EINTR, EINVAL, raw, systemError } from "./errno.js";
import { addressOf } from "./ffi.js";
import { closeFile } from "./file.js";
import { createMemfd, FileMapping } from "./memory.js";
import type { RingMapping } from "./packet-socket.js";
import { cBind, cGetsockopt, cSend, cSetsockopt, cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";
import { XDP_CHUNK_SIZE, XDP_MEMORY_SIZE, XdpReceiver, type XdpShare } from "./xdp-receiver.js";
import { XDP_RING_ENTRIES, XdpRing } from "./xdp-ring.js";

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
const MSG_DONTWAIT = 0x40;
/** The longest frame: a chunk less what the kernel keeps in front of it. */
export const XDP_FRAME_SIZE_MAX = XDP_CHUNK_SIZE - 256;
/** In copy mode a call sends some tens of frames. */
const KICKS_MAX = 64;

export interface XdpSocketOptions {
  readonly name: string;
  readonly index: number;
  readonly queue: number;
  /** Let the device read and write our memory itself, where its driver can. */
  readonly zeroCopy: boolean;
  /** Maps the file with the memory for the frames, shared; the mapping is the socket's until it calls unmap(). */
  readonly mapMemory: (fd: number, sizeBytes: number) => RingMapping;
}

export class XdpSocket {
  readonly fd: number;
  readonly receiver: XdpReceiver;
  /** What another thread needs to receive. */
  readonly share: XdpShare;
  readonly #umem: RingMapping;
  readonly #umemAt: number;
  readonly #mappings: readonly FileMapping[];
  readonly #tx: XdpRing;
  readonly #completion: XdpRing;
  /** Chunks for frames to send that are with us. */
  readonly #free = new Int32Array(XDP_RING_ENTRIES);
  #freeCount = XDP_RING_ENTRIES;
  readonly #statistics = new Float64Array(6);
  readonly #statisticsAddress = addressOf(this.#statistics);
  readonly #statisticsLength = Int32Array.of(48);
  readonly #statisticsLengthAddress = addressOf(this.#statisticsLength);
  #toldDrops = 0;
  #closed = false;

  /** Throws with the errno's name; EOPNOTSUPP when zero copy was asked for and there is none. */
  constructor(options: XdpSocketOptions) {
    const { name, index, queue, zeroCopy, mapMemory } = options;
    const fd = noteDescriptor(raw(cSocket(AF_XDP, SOCK_RAW_CLOEXEC, 0)));
    if (fd < 0) throw systemError("socket(AF_XDP)", fd, name);
    this.fd = fd;
    const mappings: FileMapping[] = [];
    this.#mappings = mappings;
    let umem: RingMapping | undefined;
    let memoryFd = -1;
    try {
      memoryFd = createMemfd("frames", XDP_MEMORY_SIZE);
      umem = mapMemory(memoryFd, XDP_MEMORY_SIZE);
      this.#umem = umem;
      this.#umemAt = umem.byteOffset;
      this.#register();
      const entries = Uint32Array.of(XDP_RING_ENTRIES);
      this.#set(XDP_UMEM_FILL_RING, entries, "XDP_UMEM_FILL_RING");
      this.#set(XDP_UMEM_COMPLETION_RING, entries, "XDP_UMEM_COMPLETION_RING");
      this.#set(XDP_RX_RING, entries, "XDP_RX_RING");
      this.#set(XDP_TX_RING, entries, "XDP_TX_RING");
      const offsets = this.#offsets();
      const map = (which: number, fileOffset: number, entrySize: number): XdpRing => {
        const ring = mapRing(fd, offsets, which * 8, fileOffset, entrySize);
        mappings.push(ring.mapping);
        return ring.ring;
      };
      const rx = map(0, PGOFF_RX, 16);
      this.#tx = map(1, PGOFF_TX, 16);
      const fill = map(2, PGOFF_FILL, 8);
      this.#completion = map(3, PGOFF_COMPLETION, 8);
      this.receiver = new XdpReceiver(fd, rx, fill, this.#umemAt);
      this.share = { fd, memoryFd, rx: rx.place, fill: fill.place };
      for (let i = 0; i < XDP_RING_ENTRIES; i++) {
        this.receiver.give(i * XDP_CHUNK_SIZE);
        this.#free[i] = (XDP_RING_ENTRIES + i) * XDP_CHUNK_SIZE;
      }
      fill.publishProduced();
      const address = new Uint8Array(16);
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_XDP, true);
      view.setUint16(2, XDP_USE_NEED_WAKEUP | (zeroCopy ? XDP_ZEROCOPY : XDP_COPY), true);
      view.setUint32(4, index, true);
      view.setUint32(8, queue, true);
      const result = raw(cBind(fd, addressOf(address), 16));
      // The kernel's word for a queue that the device has not; every device has the first.
      if (result === -EINVAL && queue > 0 && !zeroCopy) {
        throw new PlinthError(
          "EINVAL",
          `it has no queue ${queue}; ethtool -l ${name} shows how many there are`,
        );
      }
      if (result < 0) throw systemError("bind(AF_XDP)", result, `${name}, queue ${queue}`);
    } catch (thrown) {
      for (const mapping of mappings) mapping.unmap(); // cold
      closeFile(fd);
      umem?.unmap();
      if (memoryFd >= 0) closeFile(memoryFd);
      throw thrown;
    }
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
    for (let i = 0; i < this.#mappings.length; i++) (this.#mappings[i] as FileMapping).unmap();
    closeFile(this.fd);
    this.#umem.unmap();
    closeFile(this.share.memoryFd);
  }

  #reclaim(): void {
    const { words } = this.#completion;
    const count = this.#completion.filled();
    for (let i = 0; i < count; i++)
      this.#free[this.#freeCount++] = (words[this.#completion.consumeAt()] as number) & ~(XDP_CHUNK_SIZE - 1);
    if (count > 0) this.#completion.publishConsumed();
  }

  #register(): void {
    const registration = new Uint32Array(8);
    const address = addressOf(new Uint8Array(this.#umem.buffer)) + this.#umemAt;
    registration[0] = address >>> 0;
    registration[1] = (address / 0x1_0000_0000) >>> 0;
    registration[2] = XDP_MEMORY_SIZE;
    registration[4] = XDP_CHUNK_SIZE;
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

/** `first`: of the ring's offsets, which are in bytes. */
function mapRing(
  fd: number,
  offsets: Uint32Array,
  first: number,
  fileOffset: number,
  entrySize: number,
): { readonly mapping: FileMapping; readonly ring: XdpRing } {
  const wordAt = (which: number): number => (offsets[first + which] as number) >>> 2;
  const mapping = new FileMapping(
    fd,
    (offsets[first + 4] as number) + XDP_RING_ENTRIES * entrySize,
    fileOffset,
  );
  const { address, sizeBytes, buffer } = mapping;
  const ring = new XdpRing(buffer, {
    ...{ address, sizeBytes, producerAt: wordAt(0), consumerAt: wordAt(2) },
    ...{ entriesAt: wordAt(4), flagsAt: wordAt(6), entryWords: entrySize >>> 2 },
  });
  return { mapping, ring };
}
