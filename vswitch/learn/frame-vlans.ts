// The VLAN tags of the frame in hand, the VLAN that its input port puts it into, and copies of it with other tags.
// A tag is one 32-bit word: EtherType, then priority 3, DEI 1 and VLAN identifier 12 bits; 0 stands for no tag.
// Source: IEEE 802.1Q-2022 9.6. Thread: datapath worker. Hot: yes.
// Invariants: tags beyond those that were read are payload and stay; DEI stays with its priority; the packet that was
// given is never changed.
import type { PacketPool } from "../../base/packet/index.js";

/** Tags that VLAN processing can look at. */
export const TAGS_READ_MAX = 2;
/** Shapes of one frame that are kept for further ports. */
const COPIES_MAX = 8;

/** Priority with DEI, and without. */
export const PRIORITY_BITS = 0xf000;
export const PCP_BITS = 0xe000;
export const VID_BITS = 0x0fff;
export const TCI_BITS = 0xffff;
export const DOT1Q = 0x8100;
export const DOT1AD = 0x88a8;

/** What a frame says about VLANs (`first`, `second`), and what becomes of it at its input port (the rest). */
export class FrameVlans {
  first = 0;
  second = 0;
  /** How many tags of the frame `outer` and `inner` stand for. */
  consumed = 0;
  vlan = 0;
  /** The tag with `vlan`, whose EtherType and priority a trunk would see. */
  outer = 0;
  /** The customer's tag below it, as far as tags are looked at. */
  inner = 0;

  /** Reads at most `limit` tags (1 or 2). False when a tag is cut off by the end of the frame. */
  read(pool: PacketPool, packet: number, limit: number): boolean {
    const view = pool.view;
    const start = pool.offset[packet]!;
    const end = start + pool.length[packet]!;
    this.first = 0;
    this.second = 0;
    this.consumed = 0;
    let at = start + 12;
    while (this.consumed < limit) {
      const type = view.getUint16(at);
      if (type !== DOT1Q && type !== DOT1AD) return true;
      if (at + 6 > end) return false;
      if (this.consumed++ === 0) this.first = view.getInt32(at);
      else this.second = view.getInt32(at);
      at += 4;
    }
    return true;
  }
}

/** The frame with each pair of tags that ports asked for, made once. */
export class TaggedCopies {
  readonly #pool: PacketPool;
  readonly #outer = new Int32Array(COPIES_MAX);
  readonly #inner = new Int32Array(COPIES_MAX);
  readonly #packets = new Int32Array(COPIES_MAX);
  #count = 0;
  #packet = -1;
  #frame = new FrameVlans();

  constructor(pool: PacketPool) {
    this.#pool = pool;
  }

  /** The packet that it began with. */
  get original(): number {
    return this.#packet;
  }

  /** Begins with a packet whose tags were read into `frame`; end() must follow. */
  begin(packet: number, frame: FrameVlans): void {
    this.#packet = packet;
    this.#frame = frame;
    this.#count = 0;
  }

  /** The packet with these tags in place of the consumed ones; borrowed until end(). −1 when there was no room. */
  with(outer: number, inner: number): number {
    const frame = this.#frame;
    const first = outer !== 0 ? outer : inner;
    const second = outer !== 0 ? inner : 0;
    if (this.#isAsItIs(frame, first, second)) return this.#packet;
    for (let i = 0; i < this.#count; i++) {
      if (this.#outer[i]! === first && this.#inner[i]! === second) return this.#packets[i]!;
    }
    if (this.#count === COPIES_MAX) this.#free(--this.#count);
    const twin = this.#make(first, second);
    if (twin < 0) return -1;
    this.#outer[this.#count] = first;
    this.#inner[this.#count] = second;
    this.#packets[this.#count++] = twin;
    return twin;
  }

  end(): void {
    while (this.#count > 0) this.#free(--this.#count);
  }

  #isAsItIs(frame: FrameVlans, first: number, second: number): boolean {
    const before = frame.consumed > 0 ? frame.first : 0;
    const behind = frame.consumed > 1 ? frame.second : 0;
    return before === first && behind === second;
  }

  #make(first: number, second: number): number {
    const pool = this.#pool;
    const tags = (first !== 0 ? 1 : 0) + (second !== 0 ? 1 : 0);
    const shift = 4 * (this.#frame.consumed - tags);
    if (pool.headroom(this.#packet) + shift < 0) return -1;
    const twin = pool.copy(this.#packet);
    if (twin < 0) return -1;
    const view = pool.view;
    const old = pool.offset[twin]!;
    const start = old + shift;
    if (shift !== 0) {
      const a = view.getInt32(old);
      const b = view.getInt32(old + 4);
      const c = view.getInt32(old + 8);
      view.setInt32(start, a);
      view.setInt32(start + 4, b);
      view.setInt32(start + 8, c);
      pool.offset[twin] = start;
      pool.length[twin] = pool.length[twin]! - shift;
    }
    if (first !== 0) view.setInt32(start + 12, first);
    if (second !== 0) view.setInt32(start + 16, second);
    return twin;
  }

  #free(index: number): void {
    this.#pool.free(this.#packets[index]!);
  }
}
