// Cuts a packet that its sender left to hardware into the frames that go on a wire.
//
//   │ ethernet · ip · tcp │ payload 0 │ payload 1 │ … │   ─►   one frame per payload, each with its own headers
//
// Source: VIRTIO 1.2, 5.1.6.2 (gso_size); RFC 9293 3.1, RFC 3168 6.1.2 (CWR), RFC 768. The checksums of what comes out
// are still to be completed, by the port or by completeChecksum(). Thread: the packet's. Hot: yes.
import { checksum } from "../wire/index.js";
import { completeChecksum, datagramEnd, networkStart, TCP_CHECKSUM_OFFSET } from "./checksum-offload.js";
import { FRAME_SIZE_MAX } from "./limits.js";
import type { PacketPool } from "./packet-pool.js";
import { transportHeaderSize } from "./virtio-net-header.js";

const FIN_PSH = 0x09;
const CWR = 0x80;

/**
 * Calls `take` for each frame that the packet, which has a checksumStart, is on a wire; the packets it is given are not
 * its to keep. False when it can be none. Not for the hot path.
 */
export function forEachWireFrame(pool: PacketPool, packet: number, take: (packet: number) => void): boolean {
  const segments = new Segmenter(pool); // cold
  if (!segments.start(packet)) {
    if ((pool.length[packet] as number) > FRAME_SIZE_MAX) return false;
    completeChecksum(pool, packet);
    take(packet);
    return true;
  }
  while (!segments.isDone) {
    const piece = segments.next();
    if (piece < 0) return false;
    completeChecksum(pool, piece);
    take(piece);
    pool.free(piece);
  }
  return true;
}

export class Segmenter {
  readonly #pool: PacketPool;
  #packet = -1;
  /** From the start of the frame. */
  #l3 = 0;
  #l4 = 0;
  #payload = 0;
  #end = 0;
  /** Where the next segment's payload starts. */
  #at = 0;
  #size = 0;
  #index = 0;

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /** Whether it can be cut: then next() gives the segments. False for what has lost its IP header, has no payload, or
   *  asks for segments that no frame holds. */
  start(packet: number): boolean {
    const pool = this.#pool;
    const frame = pool.offset[packet] as number;
    const l4 = pool.checksumStart[packet] as number;
    if (l4 === 0 || pool.segmentSize[packet] === 0) return false;
    const l3 = networkStart(pool, packet, l4);
    if (l3 < 0) return false;
    this.#packet = packet;
    this.#l3 = l3 - frame;
    this.#l4 = l4 - frame;
    this.#payload = this.#l4 + transportHeaderSize(pool, packet);
    this.#end = datagramEnd(pool, packet, l3) - frame;
    this.#at = this.#payload;
    this.#size = pool.segmentSize[packet] as number;
    this.#index = 0;
    return this.#end > this.#payload && this.#payload + this.#size <= FRAME_SIZE_MAX;
  }

  get isDone(): boolean {
    return this.#at >= this.#end;
  }

  /** The next segment, one reference the caller's; −1 when the pool is empty: the rest is lost. */
  next(): number {
    const pool = this.#pool;
    const piece = pool.allocate();
    if (piece < 0) return -1;
    const { bytes } = pool;
    const packet = this.#packet;
    const from = pool.offset[packet] as number;
    const to = pool.offset[piece] as number;
    const left = this.#end - this.#at;
    const size = this.#size < left ? this.#size : left;
    const isLast = size === left;
    bytes.copyWithin(to, from, from + this.#payload);
    bytes.copyWithin(to + this.#payload, from + this.#at, from + this.#at + size);
    pool.length[piece] = this.#payload + size;
    pool.checksumStart[piece] = to + this.#l4;
    pool.checksumOffset[piece] = pool.checksumOffset[packet] as number;
    pool.segmentSize[piece] = 0;
    this.#mendNetwork(to + this.#l3, this.#payload - this.#l3 + size);
    const l4 = to + this.#l4;
    if (pool.checksumOffset[packet] === TCP_CHECKSUM_OFFSET) this.#mendTcp(l4, isLast);
    else pool.view.setUint16(l4 + 4, this.#payload - this.#l4 + size);
    this.#at += size;
    this.#index++;
    return piece;
  }

  #mendNetwork(l3: number, length: number): void {
    const { bytes, view } = this.#pool;
    if ((bytes[l3] as number) >>> 4 === 6) {
      view.setUint16(l3 + 4, length - 40);
      return;
    }
    view.setUint16(l3 + 2, length);
    view.setUint16(l3 + 4, (view.getUint16(l3 + 4) + this.#index) & 0xffff);
    view.setUint16(l3 + 10, 0);
    view.setUint16(l3 + 10, checksum(bytes, l3, ((bytes[l3] as number) & 15) << 2));
  }

  /** Only the first segment has reduced its window, and only the last ends anything. */
  #mendTcp(l4: number, isLast: boolean): void {
    const { view } = this.#pool;
    view.setInt32(l4 + 4, (view.getInt32(l4 + 4) + (this.#at - this.#payload)) | 0);
    let flags = view.getUint8(l4 + 13);
    if (!isLast) flags &= ~FIN_PSH;
    if (this.#index > 0) flags &= ~CWR;
    view.setUint8(l4 + 13, flags);
  }
}
