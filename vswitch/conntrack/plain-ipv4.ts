// A plain IPv4 packet as the short ways through connection tracking read it: no options, no fragment, one tag or none.
// What is not plain is not read; the long way (datagram.ts) knows what it is.
// Source: RFC 791, 768, 9293 (lengths), 1071 (checksums). Invariant: after read() every offset up to l4 + 4 lies within
// the packet, and after isDatagram() or isSegment() the whole transport header. Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";
import type { Segment } from "./tcp-segment.js";
import { TCP, UDP } from "./tuple.js";
import { isSumRight, swapped, WordSum } from "./word-sum.js";

const TYPE_IPV4 = 0x0800;
const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
const IPV4_SIZE = 20;
const PORTS_SIZE = 4;

export class PlainIpv4 {
  /** Where the IP header begins. */
  l3 = -1;
  /** Of the transport header. */
  l4 = -1;
  /** Bytes from the transport header on. */
  size = 0;
  protocol = 0;
  readonly #pool: PacketPool;
  readonly #verify: boolean;
  readonly #sum: WordSum;
  /** A checksum that is left to hardware is not there yet. */
  #verifies = false;

  /** `verify`: transport checksums are looked at. */
  constructor(pool: PacketPool, verify: boolean) {
    this.#pool = pool;
    this.#verify = verify;
    this.#sum = new WordSum(pool);
  }

  /** Whether the packet is plain, and has at least what ports would take. Says nothing of checksums. */
  read(packet: number): boolean {
    const { view, offset, length, checksumStart } = this.#pool;
    const start = offset[packet]!;
    const end = start + length[packet]!;
    let l3 = start + ETHERNET_SIZE;
    if (end - l3 < TAG_SIZE + IPV4_SIZE) return false;
    let type = view.getUint16(l3 - 2);
    if (type === 0x8100 || type === 0x88a8) {
      l3 += TAG_SIZE;
      type = view.getUint16(l3 - 2);
    }
    if (type !== TYPE_IPV4 || (l3 & 1) !== 0) return false;
    const first = view.getInt32(l3);
    const total = first & 0xffff;
    if (first >>> 24 !== 0x45 || l3 + total > end || (view.getUint16(l3 + 6) & 0x3fff) !== 0) return false;
    const size = total - IPV4_SIZE;
    if (size < PORTS_SIZE) return false;
    this.l3 = l3;
    this.l4 = l3 + IPV4_SIZE;
    this.size = size;
    this.protocol = view.getUint8(l3 + 9);
    this.#verifies = this.#verify && checksumStart[packet] === 0;
    return true;
  }

  /** Whether the IP header's checksum is right. */
  headerIsSound(): boolean {
    return isSumRight(this.#sum.of(this.l3, IPV4_SIZE));
  }

  /** Whether it is a whole UDP datagram, its checksum right where it has one. */
  isDatagram(): boolean {
    const { view } = this.#pool;
    const { l4, size } = this;
    if (size < 8) return false;
    const length = view.getUint16(l4 + 4);
    if (length < 8 || length > size) return false;
    if (!this.#verifies || view.getUint16(l4 + 6) === 0) return true;
    return isSumRight(this.#transportSum(length, UDP));
  }

  /** TCP's flags; the header may not be whole, then 0. */
  flags(): number {
    return this.size < 20 ? 0 : this.#pool.view.getUint8(this.l4 + 13);
  }

  /** Whether it is a whole TCP segment, its checksum right; `segment` is what it says. */
  isSegment(segment: Segment): boolean {
    const { view } = this.#pool;
    const { l4, size } = this;
    if (size < 20) return false;
    const headerSize = (view.getUint8(l4 + 12) >>> 4) << 2;
    if (headerSize < 20 || headerSize > size) return false;
    if (this.#verifies && !isSumRight(this.#transportSum(size, TCP))) return false;
    segment.read(view, l4, size);
    return true;
  }

  /** Of the addresses, protocol and length, and all from the transport header on. */
  #transportSum(size: number, protocol: number): number {
    return this.#sum.of(this.l3 + 12, 8) + (protocol << 8) + swapped(size) + this.#sum.of(this.l4, size);
  }
}
