// Cuts a packet that was put together of IP fragments again, into pieces no larger than those were: the sender chose
// their size for the whole way, of which we know only the next step.
// Source: RFC 791 3.2, RFC 8200 4.5. Thread: datapath worker. Hot: no, fragments are rare.
import type { PacketPool } from "../../base/packet/index.js";
import { checksum } from "../../base/wire/index.js";

const FRAGMENT_HEADER_SIZE = 8;
const MORE_4 = 0x2000;
const MORE_6 = 1;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_COPIED = 0x80;

export class Refragmenter {
  readonly #pool: PacketPool;
  #packet = -1;
  /** From the start of the frame: the IP header, the end of what every fragment repeats, the end of the datagram. */
  #l3 = 0;
  #headEnd = 0;
  #end = 0;
  #ipv6 = false;
  /** Payload of every piece but the last. */
  #pieceSize = 0;
  #offset = 0;
  /** IPv6: of the byte that names what follows the repeated headers. */
  #namedAt = 0;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /** Whether `packet` is to be cut for a link that carries `mtu` bytes of IP: then next() gives the pieces. */
  start(packet: number, mtu: number): boolean {
    const pool = this.#pool;
    const size = Math.min(pool.fragmentSize[packet]!, mtu);
    if (!this.#findHeaders(packet)) return false;
    if (this.#end - this.#l3 <= size) return false;
    const headSize = this.#headEnd - this.#l3 + (this.#ipv6 ? FRAGMENT_HEADER_SIZE : 0);
    this.#pieceSize = (size - headSize) & ~7;
    if (this.#pieceSize < 8) return false;
    this.#packet = packet;
    this.#offset = 0;
    return true;
  }

  get isDone(): boolean {
    return this.#headEnd + this.#offset >= this.#end;
  }

  /** The next piece, one reference the caller's; −1 when the pool is empty: the rest is lost. */
  next(): number {
    const pool = this.#pool;
    const { bytes, view } = pool;
    const piece = pool.allocate();
    if (piece < 0) return -1;
    const from = pool.offset[this.#packet]!;
    const to = pool.offset[piece]!;
    const at = this.#headEnd + this.#offset;
    const size = Math.min(this.#pieceSize, this.#end - at);
    const more = at + size < this.#end;
    const headSize = this.#headEnd + (this.#ipv6 ? FRAGMENT_HEADER_SIZE : 0);
    bytes.copyWithin(to, from, from + this.#headEnd);
    bytes.copyWithin(to + headSize, from + at, from + at + size);
    pool.length[piece] = headSize + size;
    const ip = to + this.#l3;
    if (this.#ipv6) {
      view.setUint16(ip + 4, headSize - this.#l3 - 40 + size);
      const header = to + this.#headEnd;
      view.setUint8(header, view.getUint8(to + this.#namedAt));
      view.setUint8(header + 1, 0);
      view.setUint16(header + 2, this.#offset | (more ? MORE_6 : 0));
      view.setUint32(header + 4, pool.fragmentId[this.#packet]!);
      view.setUint8(to + this.#namedAt, 44);
    } else {
      view.setUint16(ip + 2, headSize - this.#l3 + size);
      view.setUint16(ip + 6, (view.getUint16(ip + 6) & 0x4000) | (this.#offset >>> 3) | (more ? MORE_4 : 0));
      if (this.#offset > 0) this.#keepCopiedOptions(ip);
      view.setUint16(ip + 10, 0);
      view.setUint16(ip + 10, checksum(bytes, ip, this.#headEnd - this.#l3));
    }
    this.#offset += size;
    return piece;
  }

  /** False when there is no IP datagram (any more). */
  #findHeaders(packet: number): boolean {
    const { view } = this.#pool;
    const start = this.#pool.offset[packet]!;
    const length = this.#pool.length[packet]!;
    let at = 12;
    while (at + 6 <= length && isTag(view.getUint16(start + at))) at += 4;
    const type = view.getUint16(start + at);
    const l3 = at + 2;
    this.#l3 = l3;
    this.#ipv6 = type === 0x86dd;
    if (type === 0x0800 && l3 + 20 <= length) {
      this.#headEnd = l3 + ((view.getUint8(start + l3) & 15) << 2);
      this.#end = l3 + view.getUint16(start + l3 + 2);
    } else if (this.#ipv6 && l3 + 40 <= length) {
      this.#end = l3 + 40 + view.getUint16(start + l3 + 4);
      if (this.#end > length) return false;
      this.#findRepeated(start);
    } else return false;
    return this.#headEnd < this.#end && this.#end <= length;
  }

  /** What every fragment repeats: all up to the last hop-by-hop or routing header. */
  #findRepeated(start: number): void {
    const { view } = this.#pool;
    this.#namedAt = this.#l3 + 6;
    this.#headEnd = this.#l3 + 40;
    let namedAt = this.#namedAt;
    for (let at = this.#headEnd; at + 8 <= this.#end; ) {
      const kind = view.getUint8(start + namedAt);
      if (kind !== 0 && kind !== 43 && kind !== 60) return;
      const next = at + ((view.getUint8(start + at + 1) + 1) << 3);
      if (next > this.#end) return;
      namedAt = at;
      at = next;
      if (kind === 60) continue;
      this.#namedAt = namedAt;
      this.#headEnd = at;
    }
  }

  /** Options without the copied flag stand in the first fragment only. */
  #keepCopiedOptions(ip: number): void {
    const { bytes } = this.#pool;
    const end = ip + this.#headEnd - this.#l3;
    for (let at = ip + 20; at < end && bytes[at] !== OPTION_END; ) {
      const size = bytes[at] === OPTION_NOP ? 1 : bytes[at + 1]!;
      if (size === 0 || at + size > end) return;
      if ((bytes[at]! & OPTION_COPIED) === 0) bytes.fill(OPTION_NOP, at, at + size);
      at += size;
    }
  }
}

function isTag(type: number): boolean {
  return type === 0x8100 || type === 0x88a8;
}
