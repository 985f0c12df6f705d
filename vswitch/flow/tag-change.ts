// What is done to the VLAN tag of frames that have one at most, as one change: what a verdict does to it step by step is
// followed on a tag that is not known, once, and then carried out on each frame.
// Invariant: the same bytes as by the operations one after the other (rewrite.ts). Thread: datapath worker, port worker.
// Hot: yes (changeTag).
import type { PacketPool } from "../../base/packet/index.js";
import { K_TYPE_TCI } from "./key.js";

const TAG_SIZE = 4;
const ADDRESSES_SIZE = 12;
/** Bits of a tag that setting a field may change: the DEI stays (rewrite.ts). */
const FIELD_BITS = 0xefff;

export const TAG_STAYS = 0;
export const TAG_GOES = 1;
export const TAG_COMES = 2;

export interface TagChange {
  /** TAG_* */
  readonly kind: number;
  /** Of the tag that stays or comes, EtherType and all. */
  readonly mask: number;
  readonly value: number;
}

export class TagEditor {
  readonly #hadTag: boolean;
  #hasTag: boolean;
  #mask = 0;
  #value = 0;

  constructor(hasTag: boolean) {
    this.#hadTag = hasTag;
    this.#hasTag = hasTag;
  }

  /** False: that would be the second one. */
  push(etherType: number): boolean {
    if (this.#hasTag) return false;
    this.#hasTag = true;
    this.#mask = -1;
    this.#value = etherType << 16;
    return true;
  }

  pop(): void {
    this.#hasTag = false;
  }

  /** (word, mask, value) × count from `at`; false: they set something else. Without a tag nothing is set. */
  set(code: Int32Array, at: number, count: number): boolean {
    for (let piece = at; piece < at + 3 * count; piece += 3) {
      const mask = code[piece + 1]!;
      if (code[piece] !== K_TYPE_TCI || mask >>> 16 !== 0) return false;
      if (!this.#hasTag) continue;
      const bits = mask & FIELD_BITS;
      this.#mask |= bits;
      this.#value = (this.#value & ~bits) | (code[piece + 2]! & bits);
    }
    return true;
  }

  /** All of it; null: nothing. */
  get change(): TagChange | null {
    if (!this.#hasTag) return this.#hadTag ? { kind: TAG_GOES, mask: 0, value: 0 } : null;
    if (this.#hadTag && this.#mask === 0) return null;
    return { kind: this.#hadTag ? TAG_STAYS : TAG_COMES, mask: this.#mask, value: this.#value };
  }
}

/** Changes the tag of the packet, which has one unless it is to come; false: there is no room for it. */
export function changeTag(
  pool: PacketPool,
  packet: number,
  kind: number,
  mask: number,
  value: number,
): boolean {
  const { view, bytes, offset, length } = pool;
  const start = offset[packet]!;
  if (kind === TAG_STAYS) {
    const at = start + ADDRESSES_SIZE;
    view.setInt32(at, (view.getInt32(at) & ~mask) | value);
    return true;
  }
  const by = kind === TAG_COMES ? -TAG_SIZE : TAG_SIZE;
  if (by < 0 && pool.headroom(packet) < TAG_SIZE) return false;
  bytes.copyWithin(start + by, start, start + ADDRESSES_SIZE);
  offset[packet] = start + by;
  length[packet] = length[packet]! - by;
  if (kind === TAG_COMES) view.setInt32(start + by + ADDRESSES_SIZE, value);
  return true;
}
