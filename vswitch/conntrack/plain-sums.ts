// Lengths and checksums of plain IPv4 datagrams, without options and in one piece, for the short ways through connection
// tracking. The caller has seen that the IP header at `l3` and `size` bytes behind it lie within the packet.
// Source: RFC 791, 768, 9293 (lengths), 1071 (checksums). Thread: datapath worker. Hot: yes.
import { isSumRight, type PacketPool, swapped, type WordSum } from "../../base/packet/index.js";
import { TCP, UDP } from "./tuple.js";

const IPV4_SIZE = 20;

export class PlainSums {
  readonly #pool: PacketPool;
  readonly #sum: WordSum;

  constructor(pool: PacketPool) {
    this.#pool = pool;
    this.#sum = pool.sums;
  }

  /** Whether the IP header's checksum is right. */
  headerIsSound(l3: number): boolean {
    return isSumRight(this.#sum.of(l3, IPV4_SIZE));
  }

  /** Whether it is a whole UDP datagram and, with `verify`, its checksum right where it has one. */
  datagramIsSound(l3: number, size: number, verify: boolean): boolean {
    const { view } = this.#pool;
    const l4 = l3 + IPV4_SIZE;
    if (size < 8) return false;
    const length = view.getUint16(l4 + 4);
    if (length < 8 || length > size) return false;
    if (!verify || view.getUint16(l4 + 6) === 0) return true;
    return isSumRight(this.#transportSum(l3, length, UDP));
  }

  /** Whether it is a whole TCP segment, at least its header of `headerSize`, and with `verify` its checksum right. */
  segmentIsSound(l3: number, size: number, headerSize: number, verify: boolean): boolean {
    if (headerSize < 20 || headerSize > size) return false;
    return !verify || isSumRight(this.#transportSum(l3, size, TCP));
  }

  /** Of the addresses, protocol and length, and all from the transport header on. */
  #transportSum(l3: number, size: number, protocol: number): number {
    return this.#sum.of(l3 + 12, 8) + (protocol << 8) + swapped(size) + this.#sum.of(l3 + IPV4_SIZE, size);
  }
}
