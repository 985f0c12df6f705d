// Puts segments of one TCP connection that follow each other back into one packet, for a port that takes such packets:
// a TAP device costs a system call and a way through the host's stack for each.
//
//   │ headers │ payload 0 │ , │ headers │ payload 1 │ , …   ─►   large packet: │ headers │ payload 0 │ payload 1 │ … │
//
// Invariant: cut again (segmentation.ts) they are what they were, byte for byte, but the identification of IPv4 packets
// that must not be fragmented, which says nothing (RFC 6864, 4.1). Segments of a connection keep their order, all others
// theirs. Nothing is put together whose checksums are wrong. Source: RFC 9293, 3.1; VIRTIO 1.2, 5.1.6.2 (gso_size); as
// Linux does it, "generic receive offload" (Documentation/networking/segmentation-offloads.rst). Thread: the packets'.
// Hot: yes.
import { checksum } from "../wire/index.js";
import type { Batch } from "./batch.js";
import { TCP_CHECKSUM_OFFSET } from "./checksum-offload.js";
import { LARGE_FRAME_SIZE_MAX } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import { VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6 } from "./virtio-net-header.js";
import { isSumRight, swapped } from "./word-sum.js";

/** Connections that are followed in a batch at a time. */
const HEADS_MAX = 8;
const DATAGRAM_SIZE_MAX = 65_535;
const ACK = 0x10;
const PSH = 0x08;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;
/** An Ethernet header, a tag, and what tells the protocol. */
const FRAME_SIZE_READ_MIN = 54;
/** What a packet may be: a segment with payload that says nothing but what it acknowledges; another one of TCP, behind
 *  which nothing of its connection is appended to what was ahead; none of TCP; or all of it may be. */
const SEGMENT = 0;
const SPECIAL = 1;
const NO_TCP = 2;
const UNKNOWN = 3;
const DONT_FRAGMENT = 0x4000;

/** A segment, or several that were put together; where things stand is told from the start of the frame. */
class Head {
  packet = -1;
  /** Its place in the batch; −1: nobody. */
  place = -1;
  l3 = 0;
  l4 = 0;
  payload = 0;
  end = 0;
  /** Of what follows. */
  sequence = 0;
  /** Payload of the first segment. */
  size = 0;
  segments = 0;
  /** The last one ended something: none follows. */
  isClosed = false;
}

export class Coalescer {
  readonly #pool: PacketPool;
  readonly #heads = Array.from({ length: HEADS_MAX }, () => new Head());
  #turn = 0;
  /** Of the packet in hand, as of Head. */
  #l3 = 0;
  #l4 = 0;
  #payload = 0;
  #end = 0;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /** Puts together what can be of a batch whose port takes TCP segments of both kinds uncut. */
  merge(batch: Batch): void {
    const { packets, length } = batch;
    if (length < 2 || this.#pool.availableLarge === 0) return;
    let kept = 0;
    for (let i = 0; i < length; i++) {
      const packet = packets[i] as number;
      const kind = this.#read(packet);
      if (kind === UNKNOWN) this.#finishAll();
      else if (kind !== NO_TCP) {
        const head = this.#headOf(packet);
        if (kind === SPECIAL) {
          if (head !== null) this.#finish(head);
        } else if (head === null) this.#open(packet, kept);
        else if (this.#append(head, packet, batch)) {
          this.#pool.free(packet);
          continue;
        } else this.#renew(head, packet, kept);
      }
      packets[kept++] = packet;
    }
    batch.length = kept;
    this.#finishAll();
    this.#turn = 0;
  }

  /** What the packet is; of SEGMENT and SPECIAL it is then known where things stand. */
  #read(packet: number): number {
    const { bytes, view, offset, length, checksumStart, segmentSize, fragmentSize } = this.#pool;
    const at = offset[packet] as number;
    const size = length[packet] as number;
    if (size < FRAME_SIZE_READ_MIN || fragmentSize[packet] !== 0 || (at & 1) !== 0) return UNKNOWN;
    let l3 = 14;
    let type = view.getUint16(at + 12);
    if (type === 0x8100) {
      type = view.getUint16(at + 16);
      l3 = 18;
    }
    let l4 = l3 + 20;
    let end = 0;
    if (type === 0x0800) {
      if (bytes[at + l3 + 9] !== TCP) return NO_TCP;
      // Without options, and in one piece.
      if (bytes[at + l3] !== 0x45 || (view.getUint16(at + l3 + 6) & 0xbfff) !== 0) return UNKNOWN;
      end = l3 + view.getUint16(at + l3 + 2);
    } else if (type === 0x86dd) {
      const next = bytes[at + l3 + 6];
      if (next === UDP || next === ICMPV6) return NO_TCP;
      if (next !== TCP) return UNKNOWN;
      l4 = l3 + 40;
      end = l4 + view.getUint16(at + l3 + 4);
    } else return type === 0x0806 ? NO_TCP : UNKNOWN;
    if (l4 + 20 > size) return UNKNOWN;
    const payload = l4 + (((bytes[at + l4 + 12] as number) >>> 4) << 2);
    this.#l3 = l3;
    this.#l4 = l4;
    this.#payload = payload;
    this.#end = end;
    if (checksumStart[packet] !== 0 && segmentSize[packet] !== 0) return SPECIAL;
    if (end > size || payload < l4 + 20 || payload >= end) return SPECIAL;
    const isPlain =
      ((bytes[at + l4 + 13] as number) & ~PSH) === ACK && ((bytes[at + l4 + 12] as number) & 15) === 0;
    return isPlain ? SEGMENT : SPECIAL;
  }

  /** Whose connection the packet in hand is of; null: of none that is followed. */
  #headOf(packet: number): Head | null {
    const at = this.#pool.offset[packet] as number;
    for (let i = 0; i < HEADS_MAX; i++) {
      const head = this.#heads[i] as Head;
      if (head.place < 0 || head.l3 !== this.#l3 || head.l4 !== this.#l4) continue;
      const from = this.#pool.offset[head.packet] as number;
      // Addresses and ports, which in both versions stand together.
      const first = head.l3 + (head.l4 - head.l3 === 20 ? 12 : 8);
      if (this.#isSame(from, at, first, head.l4 + 4)) return head;
    }
    return null;
  }

  #isSame(a: number, b: number, from: number, to: number): boolean {
    const { bytes } = this.#pool;
    for (let i = from; i < to; i++) if (bytes[a + i] !== bytes[b + i]) return false;
    return true;
  }

  #open(packet: number, place: number): void {
    const head = this.#heads[this.#turn++ % HEADS_MAX] as Head;
    this.#finish(head);
    this.#renew(head, packet, place);
  }

  /** The packet in hand is the last of its connection by now. */
  #renew(head: Head, packet: number, place: number): void {
    this.#finish(head);
    const { view, offset } = this.#pool;
    const at = offset[packet] as number;
    head.packet = packet;
    head.place = place;
    head.l3 = this.#l3;
    head.l4 = this.#l4;
    head.payload = this.#payload;
    head.end = this.#end;
    head.size = this.#end - this.#payload;
    head.sequence = (view.getInt32(at + head.l4 + 4) + head.size) | 0;
    head.segments = 1;
    head.isClosed = (view.getUint8(at + head.l4 + 13) & PSH) !== 0;
  }

  /** Appends the packet in hand to its connection's; false when it does not follow. */
  #append(head: Head, packet: number, batch: Batch): boolean {
    const pool = this.#pool;
    const { bytes, view, offset } = pool;
    const at = offset[packet] as number;
    const size = this.#end - this.#payload;
    if (head.isClosed || head.payload !== this.#payload || size > head.size) return false;
    if (head.end + size > LARGE_FRAME_SIZE_MAX || head.end - head.l3 + size > DATAGRAM_SIZE_MAX) return false;
    if (view.getInt32(at + head.l4 + 4) !== head.sequence) return false;
    if (!this.#isAlike(head, at)) return false;
    if (!this.#isSound(packet, this.#l3, this.#l4, this.#end)) return false;
    if (head.segments === 1 && !this.#begin(head, batch)) return false;
    const to = offset[head.packet] as number;
    bytes.copyWithin(to + head.end, at + this.#payload, at + this.#end);
    const flags = view.getUint8(at + this.#l4 + 13);
    bytes[to + head.l4 + 13] = flags;
    head.isClosed = size < head.size || (flags & PSH) !== 0;
    head.end += size;
    head.sequence = (head.sequence + size) | 0;
    head.segments++;
    return true;
  }

  /** Whether the headers at `at` are those of the head but for what the next segment has otherwise. */
  #isAlike(head: Head, at: number): boolean {
    const { view, offset } = this.#pool;
    const from = offset[head.packet] as number;
    const { l3, l4, payload } = head;
    // What is ahead of IP; from the acknowledgement on, but flags and checksum; options.
    if (!this.#isSame(from, at, 0, l3) || !this.#isSame(from, at, l4 + 8, l4 + 13)) return false;
    if (!this.#isSame(from, at, l4 + 14, l4 + 16) || !this.#isSame(from, at, l4 + 18, payload)) return false;
    // Version, class and label, hop limit.
    if (l4 - l3 === 40) return this.#isSame(from, at, l3, l3 + 4) && this.#isSame(from, at, l3 + 7, l3 + 8);
    if (!this.#isSame(from, at, l3, l3 + 2) || !this.#isSame(from, at, l3 + 6, l3 + 10)) return false;
    const isWhole = (view.getUint16(at + l3 + 6) & DONT_FRAGMENT) !== 0;
    const id = (view.getUint16(from + l3 + 4) + head.segments) & 0xffff;
    return isWhole || view.getUint16(at + l3 + 4) === id;
  }

  /** Whether the checksums are right, or still to be completed. */
  #isSound(packet: number, l3: number, l4: number, end: number): boolean {
    const { sums, offset, checksumStart } = this.#pool;
    const at = offset[packet] as number;
    const isIpv4 = l4 - l3 === 20;
    if (isIpv4 && !isSumRight(sums.of(at + l3, 20))) return false;
    if (checksumStart[packet] !== 0) return checksumStart[packet] === at + l4;
    const addresses = isIpv4 ? sums.of(at + l3 + 12, 8) : sums.of(at + l3 + 8, 32);
    return isSumRight(addresses + (TCP << 8) + swapped(end - l4) + sums.of(at + l4, end - l4));
  }

  /** The head becomes a large packet, which others can be appended to; false when it stays what it is. */
  #begin(head: Head, batch: Batch): boolean {
    const pool = this.#pool;
    const { packet, l3, l4, end } = head;
    if (!this.#isSound(packet, l3, l4, end)) return false;
    const large = pool.allocateLarge();
    if (large < 0) return false;
    const from = pool.offset[packet] as number;
    pool.bytes.copyWithin(pool.offset[large] as number, from, from + end);
    pool.free(packet);
    head.packet = large;
    batch.packets[head.place] = large;
    return true;
  }

  #finishAll(): void {
    for (let i = 0; i < HEADS_MAX; i++) this.#finish(this.#heads[i] as Head);
  }

  /** Nothing follows: the headers say what there is. */
  #finish(head: Head): void {
    const { packet, place, segments, l3, l4, end } = head;
    head.place = -1;
    if (place < 0 || segments === 1) return;
    const pool = this.#pool;
    const { bytes, view } = pool;
    const at = pool.offset[packet] as number;
    const isIpv4 = l4 - l3 === 20;
    pool.length[packet] = end;
    if (isIpv4) {
      view.setUint16(at + l3 + 2, end - l3);
      view.setUint16(at + l3 + 10, 0);
      view.setUint16(at + l3 + 10, checksum(bytes, at + l3, 20));
    } else view.setUint16(at + l3 + 4, end - l4);
    pool.checksumStart[packet] = at + l4;
    pool.checksumOffset[packet] = TCP_CHECKSUM_OFFSET;
    pool.segmentSize[packet] = head.size;
    pool.segmentType[packet] = isIpv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  }
}
