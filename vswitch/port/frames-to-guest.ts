// Frames for a guest: out of packets, into the chains that it offers.
//
//   per packet take 1…n chains (MRG_RXBUF) ─► copy ─► publish once
//
// Source: VIRTIO 1.2, 5.1.6. Invariants: nothing of a chain is kept across calls; a packet is not changed.
// Thread: the datapath worker's. Hot: yes.
import {
  type Batch,
  type PacketPool,
  type PortCounters,
  primeChecksum,
  TX_BYTES,
  TX_DROPPED,
  TX_ERRORS,
  TX_PACKETS,
  wireLength,
  writeNetHeader,
} from "../../base/packet/index.js";
import {
  type GuestWindow,
  POP_BAD,
  POP_BROKEN,
  POP_EMPTY,
  type Virtqueue,
  type WindowCopy,
} from "../../base/virtio/index.js";
import { ETHERNET_TYPE, ETHERTYPE_VLAN } from "../../base/wire/index.js";
import { HEADER_SIZE, type NetFormat, NO_FORMAT, VLAN_TAG_SIZE } from "./virtio-net-device.js";

/** Chains that one frame may take with MRG_RXBUF. */
const CHAINS_MAX = 64;
/** Instead of a window offset of a header. Source: VIRTIO 1.2, 2.7.4.2: buffers may be cut anyhow. */
const IN_PIECES = -1;
const NO_ROOM = -2;

export class FramesToGuest {
  readonly #pool: PacketPool;
  readonly #stats: PortCounters;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #copy: WindowCopy;
  readonly #chainHeads = new Int32Array(CHAINS_MAX);
  readonly #chainLengths = new Int32Array(CHAINS_MAX);
  /** Window offset of each byte of a header that does not lie in one piece. */
  readonly #headerPlaces = new Float64Array(HEADER_SIZE);
  #headerSize = NO_FORMAT.headerSize;
  #mergeable = NO_FORMAT.mergeable;
  #lengthMax = NO_FORMAT.lengthMax;

  constructor(pool: PacketPool, window: GuestWindow, stats: PortCounters) {
    this.#pool = pool;
    this.#stats = stats;
    this.#bytes = window.bytes;
    this.#words = window.u32;
    this.#copy = window.copy;
  }

  use(format: NetFormat): void {
    this.#headerSize = format.headerSize;
    this.#mergeable = format.mergeable;
    this.#lengthMax = format.lengthMax;
  }

  /** Delivers or counts every packet of `batch`, which stays as it is. */
  give(queue: Virtqueue, batch: Batch): void {
    let next = 0;
    while (next < batch.length) {
      next = this.#deliverBurst(queue, batch, next);
      if (next < batch.length) this.#deliverOne(queue, batch.packets[next++] as number);
    }
  }

  /**
   * Writes the packets from `next` on into one chain each, as long as the chains are one descriptor and long enough;
   * returns the first that was not written.
   */
  #deliverBurst(queue: Virtqueue, batch: Batch, next: number): number {
    const stats = this.#stats;
    const pool = this.#pool;
    const header = this.#headerSize;
    const { burstOffsets, burstLengths } = queue;
    const taken = queue.takeBurst(batch.length - next, true);
    const lengthMax = this.#lengthMax;
    const logging = queue.log !== undefined;
    let bytes = 0;
    let i = 0;
    for (; i < taken; i++) {
      const packet = batch.packets[next + i] as number;
      const length = pool.length[packet] as number;
      if ((burstLengths[i] as number) < length + header || length > lengthMax) break;
      const to = burstOffsets[i] as number;
      // It may complete the checksum field, so the header comes first.
      this.#writeHeader(packet, to, 1);
      this.#copy(to + header, pool.offset[packet] as number, length);
      if (logging) queue.markWritten(to, length + header);
      burstLengths[i] = length + header;
      bytes += length;
    }
    queue.pushBurst(i);
    if (i < taken) queue.unpop(taken - i);
    stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + i;
    stats[TX_BYTES] = (stats[TX_BYTES] as number) + bytes;
    return next + i;
  }

  #deliverOne(queue: Virtqueue, packet: number): void {
    const stats = this.#stats;
    const length = this.#pool.length[packet] as number;
    if (this.#pool.checksumStart[packet] !== 0) primeChecksum(this.#pool, packet);
    const failure = this.#isTooLong(packet) ? TX_ERRORS : this.#deliver(queue, packet);
    if (failure === 0) {
      stats[TX_PACKETS] = (stats[TX_PACKETS] as number) + 1;
      stats[TX_BYTES] = (stats[TX_BYTES] as number) + length;
    } else stats[failure] = (stats[failure] as number) + 1;
  }

  /** Whether the frame exceeds the guest's MTU; one VLAN tag more is always allowed. */
  #isTooLong(packet: number): boolean {
    const length = wireLength(this.#pool, packet);
    if (length <= this.#lengthMax) return false;
    const at = this.#pool.offset[packet] as number;
    const bytes = this.#bytes;
    const type = ((bytes[at + ETHERNET_TYPE] as number) << 8) | (bytes[at + ETHERNET_TYPE + 1] as number);
    return type !== ETHERTYPE_VLAN || length > this.#lengthMax + VLAN_TAG_SIZE;
  }

  /** Writes one frame into as many chains as it needs. 0, or the counter that says why not. */
  #deliver(queue: Virtqueue, packet: number): number {
    const header = this.#headerSize;
    let source = this.#pool.offset[packet] as number;
    let remaining = this.#pool.length[packet] as number;
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
      if (segments !== POP_BAD && chains === 0) headerAt = this.#placeHeader(queue);
      if (segments === POP_BAD || queue.chain.readableCount > 0 || headerAt === NO_ROOM) {
        this.#refuse(queue, chains + 1);
        return TX_ERRORS;
      }
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
    if (headerAt === IN_PIECES) {
      if (!this.#scatterHeader(queue, packet, chains)) {
        queue.unpop(chains);
        return TX_DROPPED;
      }
    } else {
      this.#writeHeader(packet, headerAt, chains);
      if (queue.log !== undefined) queue.markWritten(headerAt, header);
    }
    for (let i = 0; i < chains; i++) {
      queue.push(this.#chainHeads[i] as number, this.#chainLengths[i] as number);
    }
    return 0;
  }

  /** Where the header goes in the chain just taken; or IN_PIECES, at headerPlaces; or NO_ROOM. */
  #placeHeader({ chain }: Virtqueue): number {
    const header = this.#headerSize;
    if ((chain.length[0] as number) >= header) return chain.offset[0] as number;
    let count = 0;
    for (let i = 0; i < chain.segments; i++) {
      for (let at = 0; at < (chain.length[i] as number) && count < header; at++)
        this.#headerPlaces[count++] = (chain.offset[i] as number) + at;
    }
    return count < header ? NO_ROOM : IN_PIECES;
  }

  /** Writes the header byte by byte to headerPlaces. False: there is no packet to make it in. */
  #scatterHeader(queue: Virtqueue, packet: number, chains: number): boolean {
    const pool = this.#pool;
    const scratch = pool.allocate();
    if (scratch < 0) return false;
    const from = pool.offset[scratch] as number;
    this.#writeHeader(packet, from, chains);
    for (let i = 0; i < this.#headerSize; i++) {
      const to = this.#headerPlaces[i] as number;
      this.#bytes[to] = this.#bytes[from + i] as number;
      if (queue.log !== undefined) queue.markWritten(to, 1);
    }
    pool.free(scratch);
    return true;
  }

  /** Copies up to `remaining` bytes into the chain just taken, behind `skip` bytes; returns how many. */
  #scatter(queue: Virtqueue, segments: number, skip: number, source: number, remaining: number): number {
    let written = 0;
    for (let i = 0; i < segments && written < remaining; i++) {
      const length = queue.chain.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const room = length - skip;
      const size = room < remaining - written ? room : remaining - written;
      const to = (queue.chain.offset[i] as number) + skip;
      this.#copy(to, source + written, size);
      if (queue.log !== undefined) queue.markWritten(to, size);
      written += size;
      skip = 0;
    }
    return written;
  }

  /** virtio_net_hdr: what is undone, most often nothing, and num_buffers at byte 10. */
  #writeHeader(packet: number, at: number, chains: number): void {
    if (this.#pool.checksumStart[packet] !== 0) writeNetHeader(this.#pool, packet, at);
    else if (this.#headerSize === HEADER_SIZE && (at & 3) === 0) {
      const words = this.#words;
      words[at >>> 2] = 0;
      words[(at >>> 2) + 1] = 0;
      words[(at >>> 2) + 2] = chains << 16;
      return;
    } else writeNetHeader(this.#pool, packet, at);
    const bytes = this.#bytes;
    if (this.#headerSize !== HEADER_SIZE) return;
    bytes[at + 10] = chains;
    bytes[at + 11] = 0;
  }

  /** Gives unusable chains back empty, so that the driver can have them. */
  #refuse(queue: Virtqueue, count: number): void {
    for (let i = 0; i < count; i++) queue.push(this.#chainHeads[i] as number, 0);
  }
}
