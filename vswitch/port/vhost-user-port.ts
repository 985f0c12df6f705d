// A virtio network card of a guest, over vhost-user: frames move between the guest's memory and the packet arena by
// one copyWithin each. QEMU may listen (dpdkvhostuserclient) or dial (dpdkvhostuser).
//
//   rx: ring 1 (guest transmit): take chains ─► touch every header ─► copy, give back ─► publish once
//   tx: ring 0 (guest receive):  per packet take 1…n chains (MRG_RXBUF) ─► copy ─► publish once, call if wanted
//
// Source: VIRTIO 1.2, 5.1.6. One queue pair, split rings, no offloads; the guest's virtio_net_hdr is read over.
// Invariants: nothing of a chain is kept across calls, so a guest may vanish between any two; indices are published
// only after the bytes. Thread: the datapath worker's. Hot: yes.
import { assert } from "../../base/assert/index.js";
import { Epoll, UnixLink } from "../../base/linux/index.js";
import {
  type Batch,
  createPortCounters,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
} from "../../base/packet/index.js";
import {
  type GuestWindow,
  POP_BAD,
  POP_BROKEN,
  POP_EMPTY,
  VHOST_USER_PROTOCOL_F_MQ,
  VhostUserBackend,
  type VhostUserDevice,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_INDIRECT_DESC,
  type Virtqueue,
} from "../../base/virtio/index.js";

export interface VhostUserPortOptions {
  readonly name: string;
  /** Its arena must be the window's: both sides of every copy lie in one array. */
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  readonly path: string;
  /** "dial": QEMU listens (dpdkvhostuserclient). "listen": QEMU dials (dpdkvhostuser). */
  readonly role: "dial" | "listen";
  /** Permissions of the socket when listening; 0o600 when absent. */
  readonly mode?: number;
  /** Accept guest memory that could be truncated under us (hugetlbfs files, testpmd); only for trusted peers. */
  readonly allowUnsealed?: boolean;
}

const GUEST_RECEIVE = 0;
const GUEST_TRANSMIT = 1;
const MRG_RXBUF_BIT = 1n << BigInt(VIRTIO_NET_F_MRG_RXBUF); // cold
const VERSION_1_BIT = 1n << BigInt(VIRTIO_F_VERSION_1); // cold
const HEADER_SIZE = 12;
/** Of a legacy driver without MRG_RXBUF: no num_buffers. */
const HEADER_SIZE_LEGACY = 10;
/** Chains that one frame may take with MRG_RXBUF. */
const CHAINS_MAX = 64;
/** Copies up to this many bytes go word by word: faster than copyWithin's call. */
const WORD_COPY_MAX = 160;

const DEVICE: VhostUserDevice = {
  features: VERSION_1_BIT | MRG_RXBUF_BIT | (1n << BigInt(VIRTIO_RING_F_INDIRECT_DESC)), // cold
  protocolFeatures: 1n << BigInt(VHOST_USER_PROTOCOL_F_MQ), // cold
  ringCount: 2,
  queueCount: 1,
};

export class VhostUserPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly wakeFd: number;
  linkUp = false;
  readonly #options: VhostUserPortOptions;
  readonly #pool: PacketPool;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #epoll = new Epoll(8);
  readonly #link: UnixLink;
  readonly #chainHeads = new Int32Array(CHAINS_MAX);
  readonly #chainLengths = new Int32Array(CHAINS_MAX);
  #backend: VhostUserBackend | undefined = undefined;
  #receive: Virtqueue | undefined = undefined;
  #transmit: Virtqueue | undefined = undefined;
  #generation = -1;
  #headerSize = HEADER_SIZE;
  #mergeable = false;
  #touched = 0;
  #closed = false;

  /** Throws SOCKET_PATH_TOO_LONG. */
  constructor(options: VhostUserPortOptions) {
    assert(options.pool.bytes.buffer === options.window.bytes.buffer, "packets and guests share one window");
    this.name = options.name;
    this.#options = options;
    this.#pool = options.pool;
    this.#bytes = options.window.bytes;
    this.#words = options.window.u32;
    this.wakeFd = this.#epoll.fd;
    const { path, role, mode } = options;
    this.#link = new UnixLink({ path, role, epoll: this.#epoll, ...(mode === undefined ? {} : { mode }) });
  }

  /** Why the link is down, as far as known; empty when it is up. */
  get lastError(): string {
    return this.#link.lastError;
  }

  /** A sum of header words, of no meaning: it keeps the compiler from dropping the touching. */
  get touched(): number {
    return this.#touched;
  }

  rx(batch: Batch): number {
    const queue = this.#transmit;
    if (queue === undefined) return 0;
    const waiting = queue.available();
    if (waiting === 0) return 0;
    const limit = Math.min(waiting, batch.capacity - batch.length, this.#pool.available);
    const taken = queue.takeBurst(limit, false);
    this.#touch(queue, taken);
    const count = this.#copyIn(queue, batch, taken);
    if (taken > 0 && queue.publish()) (this.#backend as VhostUserBackend).call(GUEST_TRANSMIT);
    return count;
  }

  tx(batch: Batch): void {
    const { stats } = this;
    const pool = this.#pool;
    const queue = this.#receive;
    if (queue === undefined || queue.available() === 0) {
      stats[TX_DROPPED] = (stats[TX_DROPPED] as number) + batch.length;
      batch.freeAll(pool);
      return;
    }
    let next = 0;
    while (next < batch.length) {
      next = this.#deliverBurst(queue, batch, next);
      if (next < batch.length) this.#deliverOne(queue, batch.packets[next++] as number);
    }
    batch.freeAll(pool);
    if (queue.publish()) (this.#backend as VhostUserBackend).call(GUEST_RECEIVE);
  }

  tick(nowMs: number): void {
    if (this.#closed) return;
    if (this.#backend === undefined) {
      const fd = this.#link.poll(nowMs);
      if (fd < 0) return;
      const { window, allowUnsealed = false } = this.#options;
      this.#backend = new VhostUserBackend({ fd, device: DEVICE, window, epoll: this.#epoll, allowUnsealed });
    }
    const backend = this.#backend;
    if (!backend.poll()) this.#disconnect(backend.closedReason ?? "closed");
    else if (backend.generation !== this.#generation) this.#refresh(backend);
    else if (this.linkUp && (backend.queues[0]?.broken === true || backend.queues[1]?.broken === true)) {
      // Until the driver resets the device: only it can put its ring right.
      this.linkUp = false;
      this.#link.lost("the driver broke its ring");
    }
  }

  beginSleep(): boolean {
    const queue = this.#transmit;
    if (queue === undefined) return true;
    if (!(this.#backend as VhostUserBackend).kicks(GUEST_TRANSMIT)) return false;
    queue.wantKicks(true);
    return queue.available() === 0;
  }

  endSleep(): void {
    this.#transmit?.wantKicks(false);
    // Kicks are edge-triggered: taking the events is what makes wakeFd quiet again.
    this.#epoll.wait(0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect("closed");
    this.#link.close();
    this.#epoll.close();
  }

  #disconnect(reason: string): void {
    this.#backend?.close();
    this.#backend = undefined;
    this.#receive = undefined;
    this.#transmit = undefined;
    this.#generation = -1;
    this.linkUp = false;
    this.#link.lost(reason);
  }

  /** The driver changed rings, memory or features. */
  #refresh(backend: VhostUserBackend): void {
    this.#generation = backend.generation;
    const { features } = backend;
    this.#mergeable = (features & MRG_RXBUF_BIT) !== 0n; // cold
    const modern = this.#mergeable || (features & VERSION_1_BIT) !== 0n; // cold
    this.#headerSize = modern ? HEADER_SIZE : HEADER_SIZE_LEGACY;
    const receive = backend.queues[GUEST_RECEIVE] as Virtqueue;
    const transmit = backend.queues[GUEST_TRANSMIT] as Virtqueue;
    this.#receive = receive.size > 0 && receive.enabled ? receive : undefined;
    this.#transmit = transmit.size > 0 && transmit.enabled ? transmit : undefined;
    this.linkUp = this.#receive !== undefined && this.#transmit !== undefined;
    if (this.linkUp) this.#link.settled();
  }

  /** Reads a word of every frame: what is not in the cache comes in while the next is asked for. */
  #touch(queue: Virtqueue, taken: number): void {
    const words = this.#words;
    const offsets = queue.burstOffsets;
    const header = this.#headerSize;
    let touched = this.#touched;
    for (let i = 0; i < taken; i++) {
      const offset = offsets[i] as number;
      if (offset >= 0) touched = (touched + (words[(offset + header) >>> 2] as number)) | 0;
    }
    this.#touched = touched;
  }

  /** Copies the frames taken into packets and gives the chains back; returns how many frames there were. */
  #copyIn(queue: Virtqueue, batch: Batch, taken: number): number {
    const { stats } = this;
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
        this.#copy(pool.offset[packet] as number, (burstOffsets[i] as number) + header, length);
        pool.length[packet] = length;
      } else if (length === -header) packet = this.#gather(queue, head);
      queue.push(head, 0);
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
    const count = segments === POP_BAD ? 0 : queue.readableCount;
    let length = -header;
    for (let i = 0; i < count; i++) length += queue.segmentLength[i] as number;
    if (length < FRAME_SIZE_MIN || length > FRAME_SIZE_MAX) return -1;
    const pool = this.#pool;
    const packet = pool.allocate();
    let to = pool.offset[packet] as number;
    let skip = header;
    for (let i = 0; i < count; i++) {
      const size = queue.segmentLength[i] as number;
      const skipped = skip < size ? skip : size;
      skip -= skipped;
      this.#copy(to, (queue.segmentOffset[i] as number) + skipped, size - skipped);
      to += size - skipped;
    }
    pool.length[packet] = length;
    return packet;
  }

  /**
   * Writes the packets from `next` on into one chain each, as long as the chains are one descriptor and long enough;
   * returns the first that was not written.
   */
  #deliverBurst(queue: Virtqueue, batch: Batch, next: number): number {
    const { stats } = this;
    const pool = this.#pool;
    const header = this.#headerSize;
    const { burstHeads, burstOffsets, burstLengths } = queue;
    const taken = queue.takeBurst(batch.length - next, true);
    let bytes = 0;
    let i = 0;
    for (; i < taken; i++) {
      const packet = batch.packets[next + i] as number;
      const length = pool.length[packet] as number;
      if ((burstLengths[i] as number) < length + header) break;
      const to = burstOffsets[i] as number;
      this.#copy(to + header, pool.offset[packet] as number, length);
      this.#writeHeader(to, 1);
      queue.push(burstHeads[i] as number, length + header);
      bytes += length;
    }
    if (i < taken) queue.unpop(taken - i);
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + i;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + bytes;
    return next + i;
  }

  #deliverOne(queue: Virtqueue, packet: number): void {
    const { stats } = this;
    const length = this.#pool.length[packet] as number;
    const failure = this.#deliver(queue, this.#pool.offset[packet] as number, length);
    if (failure === 0) {
      stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
      stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
    } else stats[failure] = (stats[failure] as number) + 1;
  }

  /** Writes one frame into as many chains as it needs. 0, or the counter that says why not. */
  #deliver(queue: Virtqueue, source: number, length: number): number {
    const header = this.#headerSize;
    let remaining = length;
    let chains = 0;
    let headerAt = 0;
    while (remaining > 0) {
      const segments = queue.pop();
      if (segments === POP_EMPTY || segments === POP_BROKEN || chains === CHAINS_MAX) {
        const taken = segments === POP_EMPTY || segments === POP_BROKEN ? chains : chains + 1;
        queue.unpop(taken);
        return chains === CHAINS_MAX ? TX_ERRORS : TX_DROPPED;
      }
      this.#chainHeads[chains] = queue.head;
      const skip = chains === 0 ? header : 0;
      if (segments === POP_BAD || queue.readableCount > 0 || (queue.segmentLength[0] as number) < skip) {
        this.#refuse(queue, chains + 1);
        return TX_ERRORS;
      }
      if (chains === 0) headerAt = queue.segmentOffset[0] as number;
      const written = this.#scatter(queue, segments, skip, source, remaining);
      source += written;
      remaining -= written;
      this.#chainLengths[chains] = written + skip;
      chains++;
      if (remaining > 0 && !this.#mergeable) {
        queue.unpop(chains);
        return TX_ERRORS;
      }
    }
    this.#writeHeader(headerAt, chains);
    for (let i = 0; i < chains; i++) {
      queue.push(this.#chainHeads[i] as number, this.#chainLengths[i] as number);
    }
    return 0;
  }

  /** Copies up to `remaining` bytes into the chain just taken, behind `skip` bytes; returns how many. */
  #scatter(queue: Virtqueue, segments: number, skip: number, source: number, remaining: number): number {
    let written = 0;
    for (let i = 0; i < segments && written < remaining; i++) {
      const room = (queue.segmentLength[i] as number) - skip;
      const size = room < remaining - written ? room : remaining - written;
      this.#copy((queue.segmentOffset[i] as number) + skip, source + written, size);
      written += size;
      skip = 0;
    }
    return written;
  }

  /** virtio_net_hdr without offloads: all zero but num_buffers at byte 10. */
  #writeHeader(at: number, chains: number): void {
    if (this.#headerSize === HEADER_SIZE && (at & 3) === 0) {
      const words = this.#words;
      words[at >>> 2] = 0;
      words[(at >>> 2) + 1] = 0;
      words[(at >>> 2) + 2] = chains << 16;
      return;
    }
    const bytes = this.#bytes;
    for (let i = 0; i < 10; i++) bytes[at + i] = 0;
    if (this.#headerSize !== HEADER_SIZE) return;
    bytes[at + 10] = chains;
    bytes[at + 11] = 0;
  }

  /** Gives unusable chains back empty, so that the driver can have them. */
  #refuse(queue: Virtqueue, count: number): void {
    for (let i = 0; i < count; i++) queue.push(this.#chainHeads[i] as number, 0);
  }

  /** Both ranges were checked; they never overlap. */
  #copy(to: number, from: number, length: number): void {
    if (length > WORD_COPY_MAX || ((to | from) & 3) !== 0) {
      this.#bytes.copyWithin(to, from, from + length);
      return;
    }
    const words = this.#words;
    const bytes = this.#bytes;
    const whole = length & ~3;
    let target = to >>> 2;
    let source = from >>> 2;
    const end = target + (whole >>> 2);
    // Eight words at a time: the loop's own cost is most of a small copy.
    for (; target + 8 <= end; target += 8, source += 8) {
      words[target] = words[source] as number;
      words[target + 1] = words[source + 1] as number;
      words[target + 2] = words[source + 2] as number;
      words[target + 3] = words[source + 3] as number;
      words[target + 4] = words[source + 4] as number;
      words[target + 5] = words[source + 5] as number;
      words[target + 6] = words[source + 6] as number;
      words[target + 7] = words[source + 7] as number;
    }
    for (; target < end; target++, source++) words[target] = words[source] as number;
    for (let i = whole; i < length; i++) bytes[to + i] = bytes[from + i] as number;
  }
}
