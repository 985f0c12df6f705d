// A split virtqueue seen from the device: takes descriptor chains, gives used ones back.
//
//   driver: avail.ring[] ─► pop(): head, segments copied to scratch ─► device works ─► push() ─► publish()
//
// Whether the driver is called, and kicks, says a flag, or with EVENT_IDX an index: used_event behind the available
// ring, avail_event behind the used one.
//
// Source: VIRTIO 1.2, 2.7 (split virtqueues), 2.7.5.3 (indirect), 2.7.7 and 2.7.10 (notifications). Little-endian.
// Invariant: the driver is hostile. A descriptor is read once into scratch and only the copy is judged; every
// segment given out lies in one region of this guest; no chain is longer than the ring (or SEGMENTS_MAX).
// Nothing outside the guest's regions is read or written. Thread: the owner of the window. Hot: yes.
import type { DirtyLog } from "./dirty-log.js";
import type { GuestMemory } from "./guest-memory.js";
import type { InflightTable } from "./inflight-table.js";

export const VRING_DESC_F_NEXT = 1;
export const VRING_DESC_F_WRITE = 2;
export const VRING_DESC_F_INDIRECT = 4;
export const VRING_AVAIL_F_NO_INTERRUPT = 1;
export const VRING_USED_F_NO_NOTIFY = 1;

/**
 * Longest chain taken, of all segments together; longer ones are bad. Drivers need about 20 for a frame; walking a
 * chain is time that everybody else's packets wait for.
 */
export const SEGMENTS_MAX = 256;

/** Chains that takeBurst() takes at a time. */
export const BURST_MAX = 64;

/** pop(): there is nothing. */
export const POP_EMPTY = 0;
/** pop(): the chain at `head` is bad; give it back with length 0. */
export const POP_BAD = -1;
/** pop(): the ring itself is unusable; see `broken`. */
export const POP_BROKEN = -2;

const NONE: readonly number[] = [];

export class Virtqueue {
  /** Number of descriptors; 0 while not attached. */
  size = 0;
  /** The driver enabled the ring. */
  enabled = false;
  /** The front-end disabled the ring: what is in it goes back untouched, by discard(). */
  discarding = false;
  /** The driver broke the ring itself (an impossible index); nothing more is done with it. */
  broken = false;
  /** INDIRECT_DESC was negotiated. */
  indirect = false;
  /** EVENT_IDX was negotiated. */
  eventIndex = false;
  /** Where writes are marked; undefined: nowhere. The device calls markWritten() for its own. */
  log: DirtyLog | undefined = undefined;
  /** Guest address under which writes to the used ring are marked; −1: they are not. */
  usedLog = -1;
  /** Where chains that the device has are noted; set before attach(). */
  inflight: InflightTable | undefined = undefined;
  /** Chain that the last pop took. */
  head = 0;
  /** Segments of that chain: window offset, length and whether the device may write it. */
  readonly segmentOffset = new Float64Array(SEGMENTS_MAX);
  readonly segmentLength = new Uint32Array(SEGMENTS_MAX);
  readonly segmentWritable = new Uint8Array(SEGMENTS_MAX);
  /** How many of the segments are readable; they come first, or the chain is bad. */
  readableCount = 0;
  /** What takeBurst() took: head, window offset and length of each. */
  readonly burstHeads = new Uint16Array(BURST_MAX);
  readonly burstOffsets = new Float64Array(BURST_MAX);
  readonly burstLengths = new Uint32Array(BURST_MAX);
  /** Chains taken so far, mod 2^16: the base for GET_VRING_BASE. */
  nextAvailable = 0;
  /** Chains pushed so far, mod 2^16; visible to the driver after publish(). */
  nextUsed = 0;
  readonly #memory: GuestMemory;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  #descriptors = 0;
  #available = 0;
  #used = 0;
  #limit = 0;
  #segments = 0;
  /** nextUsed of the last publish(). */
  #published = 0;
  /** False until the driver was called once: what it missed before is not known. */
  #called = false;
  /** Chains that an earlier life took and did not give back come first. Those before #againNext were taken again. */
  #again: readonly number[] = NONE;
  #againNext = 0;
  /** nextAvailable before any other chain was taken. */
  #againBase = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#u16 = memory.window.u16;
    this.#u32 = memory.window.u32;
  }

  /**
   * Takes the ring into use; false when an address is not in guest memory. It goes on at the used index in memory, which
   * is what the driver has seen: the base that a front-end gives may differ from it after a crash of ours.
   */
  attach(size: number, descriptors: number, available: number, used: number): boolean {
    if (!this.#place(size, descriptors, available, used)) return false;
    this.size = size;
    this.broken = false;
    const seen = this.#u16[(this.#used >>> 1) + 1]!;
    this.nextUsed = seen;
    this.#again = this.inflight?.recover(seen) ?? NONE;
    this.#againNext = 0;
    this.nextAvailable = (seen + this.#again.length) & 0xffff;
    this.#againBase = this.nextAvailable;
    this.#limit = this.nextAvailable;
    this.#published = seen;
    this.#called = false;
    return true;
  }

  /** New addresses (or new memory) under a running ring; the indices stay. Detaches and answers false when bad. */
  move(descriptors: number, available: number, used: number): boolean {
    if (this.#place(this.size, descriptors, available, used)) return true;
    this.detach();
    return false;
  }

  /** Forgets the ring: its memory may go away. The indices stay for GET_VRING_BASE. */
  detach(): void {
    this.size = 0;
    this.#limit = this.nextAvailable;
  }

  /** Chains that wait, as of now. 0 when not attached, disabled or broken. */
  available(): number {
    return this.enabled ? this.#look() : 0;
  }

  /** Gives every chain that waits back, empty; what a disabled ring's device does. publish() is to follow. */
  discard(): number {
    let count = 0;
    for (let waiting = this.#look(); waiting > 0; waiting--) {
      const taken = this.takeBurst(1, false);
      if (taken === 0) break;
      this.push(this.burstHeads[0]!, 0);
      count++;
    }
    return count;
  }

  #look(): number {
    if (this.size === 0 || this.broken) return 0;
    const index = Atomics.load(this.#u16, (this.#available >>> 1) + 1);
    const count = (index - this.nextAvailable) & 0xffff;
    if (count > this.size) {
      this.broken = true;
      return 0;
    }
    this.#limit = index;
    return this.#again.length === 0 ? count : count + this.#waitingAgain();
  }

  /** How many of an earlier life are to be taken again. All taken chains before were given back or are worked on. */
  #waitingAgain(): number {
    const count = this.#again.length - this.#againNext;
    if (count === 0) this.#again = NONE;
    return count;
  }

  /**
   * Takes the next of the chains that available() counted: its number of segments (> 0), or POP_EMPTY, POP_BAD,
   * POP_BROKEN. Every chain taken is given back by exactly one push(), or by unpop().
   */
  pop(): number {
    if (this.size === 0) return POP_EMPTY;
    if (this.#againNext < this.#again.length) {
      const head = this.#again[this.#againNext++]!;
      this.inflight?.take(head);
      return this.follow(head);
    }
    if (this.nextAvailable === this.#limit) return POP_EMPTY;
    const mask = this.size - 1;
    const head = this.#u16[(this.#available >>> 1) + 2 + (this.nextAvailable & mask)]!;
    if (head >= this.size) {
      this.broken = true;
      return POP_BROKEN;
    }
    this.nextAvailable = (this.nextAvailable + 1) & 0xffff;
    this.inflight?.take(head);
    return this.follow(head);
  }

  /**
   * Takes up to `limit` of the chains that available() counted, at most BURST_MAX: their heads to burstHeads. Of a chain
   * that is one descriptor, for the device to write when `writable`, else to read, window offset and length stand beside
   * it; any other has length 0, and follow() takes it apart. Returns how many; each is given back as after pop().
   */
  takeBurst(limit: number, writable: boolean): number {
    if (this.size === 0) return 0;
    const u16 = this.#u16;
    const u32 = this.#u32;
    const size = this.size;
    const mask = size - 1;
    const wanted = writable ? VRING_DESC_F_WRITE : 0;
    const ring = (this.#available >>> 1) + 2;
    const table = this.#descriptors >>> 2;
    const most = limit < BURST_MAX ? limit : BURST_MAX;
    let next = this.nextAvailable;
    let count = this.#againNext < this.#again.length ? this.#takeAgain(most) : 0;
    while (count < most && next !== this.#limit) {
      const head = u16[ring + (next & mask)]!;
      if (head >= size) {
        this.broken = true;
        break;
      }
      next = (next + 1) & 0xffff;
      const at = table + (head << 2);
      const length = u32[at + 2]!;
      let offset = -1;
      if ((u32[at + 3]! & 0xffff) === wanted && length !== 0)
        offset = this.#memory.translate(u32[at]!, u32[at + 1]!, length);
      this.burstHeads[count] = head;
      this.burstOffsets[count] = offset;
      this.burstLengths[count] = offset < 0 ? 0 : length;
      count++;
    }
    this.nextAvailable = next;
    if (this.inflight !== undefined) for (let i = 0; i < count; i++) this.inflight.take(this.burstHeads[i]!);
    return count;
  }

  /** Of those chains follow() finds out all. */
  #takeAgain(most: number): number {
    let count = 0;
    while (count < most && this.#againNext < this.#again.length) {
      this.burstHeads[count] = this.#again[this.#againNext++]!;
      this.burstOffsets[count] = -1;
      this.burstLengths[count++] = 0;
    }
    return count;
  }

  /** Takes apart the chain at `head`, which takeBurst() gave out: as pop() returns, but for POP_EMPTY and POP_BROKEN. */
  follow(head: number): number {
    this.head = head;
    this.#segments = 0;
    this.readableCount = 0;
    return this.#walk(this.#descriptors, this.size, head, this.indirect) ? this.#segments : POP_BAD;
  }

  /** Puts the last `count` chains taken since available() back, unused; they will be taken again. */
  unpop(count: number): void {
    // Those of an earlier life came before all others, and stay noted as in flight.
    const others = (this.nextAvailable - this.#againBase) & 0xffff;
    const again = this.#again.length === 0 || others >= count ? 0 : count - others;
    this.#againNext -= again;
    this.nextAvailable = (this.nextAvailable - count + again) & 0xffff;
    this.inflight?.untake(count - again);
  }

  /** Gives a chain back with the number of bytes written to it. The driver sees it after publish(). */
  push(head: number, length: number): void {
    if (this.size === 0) return;
    const at = (this.#used >>> 2) + 1 + ((this.nextUsed & (this.size - 1)) << 1);
    this.#u32[at] = head;
    this.#u32[at + 1] = length;
    this.inflight?.give(head);
    this.nextUsed = (this.nextUsed + 1) & 0xffff;
  }

  /** Shows the driver everything pushed. True when it wants to be called for it. */
  publish(): boolean {
    if (this.size === 0) return false;
    const before = this.#published;
    const now = this.nextUsed;
    // A full fence lies between the index and the reading of what the driver waits for: else both could sleep.
    Atomics.store(this.#u16, (this.#used >>> 1) + 1, now);
    this.#published = now;
    this.inflight?.publish(now);
    if (this.log !== undefined) this.#markUsed(before, now);
    if (!this.eventIndex) {
      return (Atomics.load(this.#u16, this.#available >>> 1) & VRING_AVAIL_F_NO_INTERRUPT) === 0;
    }
    if (now === before) return false;
    const usedEvent = Atomics.load(this.#u16, (this.#available >>> 1) + 2 + this.size);
    const passed = ((now - usedEvent - 1) & 0xffff) < ((now - before) & 0xffff);
    if (!passed && this.#called) return false;
    this.#called = true;
    return true;
  }

  /** Tells the driver whether to kick. Ask available() again afterwards: something may have come in between. */
  wantKicks(wanted: boolean): void {
    if (this.size === 0) return;
    const flags = this.#used >>> 1;
    if (!this.eventIndex) {
      Atomics.store(this.#u16, flags, wanted ? 0 : VRING_USED_F_NO_NOTIFY);
      if (this.usedLog >= 0) this.log?.mark(this.usedLog, 4);
      return;
    }
    // The chain taken last is 2^16 chains away: a kick then is harmless. The flag must be clear.
    this.#u16[flags] = 0;
    const event = wanted ? this.nextAvailable : (this.nextAvailable - 1) & 0xffff;
    Atomics.store(this.#u16, flags + 2 + 4 * this.size, event);
    if (this.usedLog >= 0) this.log?.mark(this.usedLog, 6 + 8 * this.size);
  }

  /** Marks `length` bytes, which the device has written at a window offset of a segment, in the dirty log. */
  markWritten(offset: number, length: number): void {
    const address = this.#memory.guestAddress(offset);
    if (address >= 0) this.log?.mark(address, length);
  }

  /** Marks the used elements from `before` up to `now`, and the index. */
  #markUsed(before: number, now: number): void {
    if (this.usedLog < 0) return;
    const first = before & (this.size - 1);
    const count = (now - before) & 0xffff;
    this.log?.mark(this.usedLog, 4);
    if (first + count > this.size) this.log?.mark(this.usedLog + 4, this.size * 8);
    else this.log?.mark(this.usedLog + 4 + first * 8, count * 8);
  }

  #place(size: number, descriptors: number, available: number, used: number): boolean {
    const memory = this.#memory;
    this.#descriptors = memory.translateUser(descriptors, size * 16);
    this.#available = memory.translateUser(available, 6 + size * 2);
    this.#used = memory.translateUser(used, 6 + size * 8);
    if (this.#descriptors < 0 || this.#available < 0 || this.#used < 0) return false;
    return this.#descriptors % 4 === 0 && this.#available % 2 === 0 && this.#used % 4 === 0;
  }

  /** Follows a chain through a table at window offset `table`. False: bad. */
  #walk(table: number, length: number, index: number, mayIndirect: boolean): boolean {
    const u32 = this.#u32;
    for (let steps = 0; steps < length; steps++) {
      const at = (table >>> 2) + (index << 2);
      const low = u32[at]!;
      const high = u32[at + 1]!;
      const size = u32[at + 2]!;
      const flagsAndNext = u32[at + 3]!;
      const flags = flagsAndNext & 0xffff;
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) {
        if (!mayIndirect || (flags & VRING_DESC_F_NEXT) !== 0) return false;
        return this.#walkIndirect(low, high, size);
      }
      if (!this.#segment(low, high, size, flags)) return false;
      if ((flags & VRING_DESC_F_NEXT) === 0) return true;
      index = flagsAndNext >>> 16;
      if (index >= length) return false;
    }
    return false;
  }

  #walkIndirect(low: number, high: number, size: number): boolean {
    const count = size >>> 4;
    if (count === 0 || (size & 15) !== 0 || count > SEGMENTS_MAX) return false;
    const table = this.#memory.translate(low, high, size);
    if (table < 0 || table % 4 !== 0) return false;
    return this.#walk(table, count, 0, false);
  }

  #segment(low: number, high: number, size: number, flags: number): boolean {
    const i = this.#segments;
    if (i >= SEGMENTS_MAX || size === 0) return false;
    const offset = this.#memory.translate(low, high, size);
    if (offset < 0) return false;
    const writable = (flags & VRING_DESC_F_WRITE) !== 0 ? 1 : 0;
    if (writable === 0) {
      if (this.readableCount !== i) return false;
      this.readableCount = i + 1;
    }
    this.segmentOffset[i] = offset;
    this.segmentLength[i] = size;
    this.segmentWritable[i] = writable;
    this.#segments = i + 1;
    return true;
  }
}
