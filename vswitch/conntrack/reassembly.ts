// IP datagrams put together of their fragments before the flow tables see them (OFPC_FRAG_REASM).
// Fragments belong together when they came in by one port, in one VLAN and tunnel, besides what RFC 791 and 8200 ask for.
// What is too long for one packet of the pool is dropped. The packet remembers how large its fragments were, so that
// it can be cut again on the way out (base/packet: fragmentSize).
// Source: RFC 791 3.2, RFC 815, RFC 8200 4.5; OpenFlow 1.3.5, 7.3.2. Thread: datapath worker. Hot: no, fragments are rare.
import { FRAME_SIZE_MAX, type PacketPool } from "../../base/packet/index.js";
import { checksum } from "../../base/wire/index.js";
import {
  DROP_NO_BUFFER,
  DROP_REASSEMBLY,
  DROP_TOO_LONG,
  FlowKey,
  type Headers,
  REASSEMBLY_REFUSED,
  REASSEMBLY_WAITS,
  type Reassembler,
} from "../flow/index.js";
import { Datagram, ExtensionWalk, headerIsSound } from "./datagram.js";
import { FRAGMENT_HELD, FRAGMENT_REFUSED, FragmentTable } from "./fragments.js";
import { FRAGMENTS_PER_DATAGRAM_MAX } from "./limits.js";

const TAGS_TOLD_APART = 2;

export class IpReassembler implements Reassembler {
  reason = DROP_REASSEMBLY;
  lost = 0;
  readonly #pool: PacketPool;
  readonly #table: FragmentTable;
  readonly #datagram = new Datagram();
  readonly #walk = new ExtensionWalk();
  /** The fragments of the datagram in hand, and where their IP headers are in the arena. */
  readonly #packets = new Int32Array(FRAGMENTS_PER_DATAGRAM_MAX);
  readonly #headersAt = new Int32Array(FRAGMENTS_PER_DATAGRAM_MAX);

  constructor(pool: PacketPool) {
    this.#pool = pool;
    this.#table = new FragmentTable(pool);
    pool.holdsWholes = true;
    // A datagram is nobody's connection yet: how small its pieces may be is for flows to judge of the whole.
    this.#table.configure({ sizeMin: 0 });
  }

  /** Fragments that wait. */
  get held(): number {
    return this.#table.held;
  }

  /** Drops what has waited too long; returns how many packets those were. */
  sweep(nowMs: number): number {
    const before = this.#table.held;
    this.#table.sweep(nowMs);
    return before - this.#table.held;
  }

  /** Lets go of everything. */
  purge(): void {
    this.#table.purge();
  }

  take(packet: number, key: Int32Array, headers: Headers, nowMs: number): number {
    const pool = this.#pool;
    const datagram = this.#datagram;
    this.reason = DROP_REASSEMBLY;
    this.lost = 0;
    const before = this.#table.held;
    const readable = datagram.read(pool.view, key, headers) && headerIsSound(pool.bytes, datagram);
    if (!readable || headers.tags > TAGS_TOLD_APART) return REASSEMBLY_REFUSED;
    const port = key[FlowKey.K_IN_PORT]! & 0xffff;
    const taken = this.#table.take(packet, key, datagram, port, nowMs, this.#context(packet, key, headers));
    if (taken === FRAGMENT_REFUSED) {
      this.lost = before - this.#table.held;
      return REASSEMBLY_REFUSED;
    }
    return taken === FRAGMENT_HELD ? REASSEMBLY_WAITS : this.#join(taken, key);
  }

  /** VLANs and tunnel. Tunnel ids are wider, but what is in use are 24 bits (VNI) and 32 (GRE key). */
  #context(packet: number, key: Int32Array, headers: Headers): number {
    const start = this.#pool.offset[packet]!;
    let vlans = 0;
    for (let tag = 0; tag < headers.tags; tag++)
      vlans = (vlans << 13) | 0x1000 | (this.#pool.view.getUint16(start + 14 + 4 * tag) & 0xfff);
    const tunnel = Math.imul(key[FlowKey.K_TUNNEL]! ^ Math.imul(key[FlowKey.K_TUNNEL + 1]!, 3), 0x9e3779b1);
    return vlans ^ tunnel;
  }

  #join(d: number, key: Int32Array): number {
    const pool = this.#pool;
    const total = this.#table.total(d);
    let count = 0;
    let largest = 0;
    for (let packet = this.#table.release(d, key); packet >= 0; packet = this.#table.release(d, key)) {
      const at = pool.offset[packet]! + this.#table.releasedAt;
      this.#packets[count] = packet;
      this.#headersAt[count++] = at;
      this.#datagram.readFragment(pool.view, at);
      if (this.#datagram.end - at > largest) largest = this.#datagram.end - at;
    }
    const whole = this.#build(count, total);
    if (whole >= 0) pool.fragmentSize[whole] = largest;
    else this.lost = count - 1;
    for (let i = 0; i < count; i++) pool.free(this.#packets[i]!);
    return whole;
  }

  #build(count: number, total: number): number {
    const pool = this.#pool;
    const { bytes, view } = pool;
    let first = 0;
    while (this.#offset(first) !== 0) first++;
    // Everything in front of the payload, of an IPv6 fragment without its fragment header.
    const start = pool.offset[this.#packets[first]!]!;
    const l3 = this.#headersAt[first]!;
    const { ipv6, pieceAt, fragmentAt } = this.#readPiece(first);
    const headSize = (ipv6 ? fragmentAt : pieceAt) - start;
    if (headSize + total > FRAME_SIZE_MAX) {
      this.reason = DROP_TOO_LONG;
      return REASSEMBLY_REFUSED;
    }
    const whole = pool.allocate();
    if (whole < 0) {
      this.reason = DROP_NO_BUFFER;
      return REASSEMBLY_REFUSED;
    }
    const to = pool.offset[whole]!;
    bytes.copyWithin(to, start, start + headSize);
    for (let i = 0; i < count; i++) {
      const offset = this.#offset(i);
      const piece = this.#readPiece(i);
      bytes.copyWithin(to + headSize + offset, piece.pieceAt, piece.end);
    }
    pool.length[whole] = headSize + total;
    const ip = to + l3 - start;
    if (ipv6) this.#finish6(whole, ip, l3, headSize - (l3 - start) - 40 + total);
    else {
      view.setUint16(ip + 2, headSize - (l3 - start) + total);
      view.setUint16(ip + 6, view.getUint16(ip + 6) & 0x4000);
      view.setUint16(ip + 10, 0);
      view.setUint16(ip + 10, checksum(bytes, ip, (bytes[ip]! & 15) << 2));
    }
    return whole;
  }

  /** The header in front names what follows the fragment header, which is gone. */
  #finish6(whole: number, ip: number, l3: number, payloadSize: number): void {
    const { view } = this.#pool;
    const walk = this.#walk;
    walk.walk(view, l3 + 40, l3 + 40 + view.getUint16(l3 + 4), l3 + 6);
    view.setUint8(ip + walk.fragmentNamedAt - l3, view.getUint8(walk.fragmentAt));
    view.setUint16(ip + 4, payloadSize);
    this.#pool.fragmentId[whole] = view.getUint32(walk.fragmentAt + 4);
  }

  #readPiece(index: number): Datagram {
    this.#datagram.readFragment(this.#pool.view, this.#headersAt[index]!);
    return this.#datagram;
  }

  /** Of the piece in its datagram's payload. */
  #offset(index: number): number {
    const { view } = this.#pool;
    const { ipv6, l3, fragmentAt } = this.#readPiece(index);
    return ipv6 ? view.getUint16(fragmentAt + 2) & 0xfff8 : (view.getUint16(l3 + 6) & 0x1fff) << 3;
  }
}
