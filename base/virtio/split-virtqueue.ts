// A split virtqueue seen from the device.
//
//   driver: avail.ring[] ─► pop(): head, segments copied to scratch ─► device works ─► push() ─► publish()
//
// Whether the driver is called, and kicks, says a flag, or with EVENT_IDX an index: used_event behind the available
// ring, avail_event behind the used one. `base` is the available index.
//
// Source: VIRTIO 1.2, 2.7 (split virtqueues), 2.7.5.3 (indirect), 2.7.7 and 2.7.10 (notifications), 2.7.9 (in order).
// Invariants: those of virtqueue.ts. Thread: the owner of the window. Hot: yes.
import { VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from "./descriptor-chain.js";
import { type BurstChains, ELSEWHERE, SOME_ELSEWHERE, type SplitFrames } from "./split-ring.js";
import { BURST_MAX, POP_BAD, POP_BROKEN, POP_EMPTY, STORES_IN_ORDER, Virtqueue } from "./virtqueue.js";

export const VRING_AVAIL_F_NO_INTERRUPT = 1;
export const VRING_USED_F_NO_NOTIFY = 1;

const NONE: readonly number[] = [];

export class SplitVirtqueue extends Virtqueue implements BurstChains {
  readonly farLow = new Uint32Array(BURST_MAX);
  readonly farHigh = new Uint32Array(BURST_MAX);
  /** Chains taken so far, mod 2^16: the base for GET_VRING_BASE. */
  nextAvailable = 0;
  /** Chains pushed so far, mod 2^16; visible to the driver after publish(). */
  nextUsed = 0;
  #descriptors = 0;
  #available = 0;
  #used = 0;
  #limit = 0;
  /** Chains of a run of pushRead(), not written yet: how many, the used index of the first, the head of the last. */
  #runLength = 0;
  #runStart = 0;
  #runHead = 0;
  /** nextUsed of the last show(), and of the last of those before the last wantsCall(). */
  #published = 0;
  #asked = 0;
  /** False until the driver was called once: what it missed before is not known. */
  #called = false;
  /** Chains that an earlier life took and did not give back come first. Those before #againNext were taken again. */
  #again: readonly number[] = NONE;
  #againNext = 0;
  /** nextAvailable before any other chain was taken. */
  #againBase = 0;

  /** The index of the next chain in the available ring, mod 2^16. */
  get base(): number {
    return this.nextAvailable;
  }

  attach(size: number, descriptors: number, available: number, used: number): boolean {
    if (!this.place(size, descriptors, available, used)) return false;
    this.size = size;
    this.broken = false;
    const seen = this.u16[(this.#used >>> 1) + 1]!;
    this.nextUsed = seen;
    this.#again = this.inflight?.recover(seen) ?? NONE;
    this.#againNext = 0;
    this.nextAvailable = (seen + this.#again.length) & 0xffff;
    this.#againBase = this.nextAvailable;
    this.#limit = this.nextAvailable;
    this.#published = seen;
    this.#asked = seen;
    this.#runLength = 0;
    this.#called = false;
    return true;
  }

  override detach(): void {
    super.detach();
    this.#limit = this.nextAvailable;
  }

  protected look(): number {
    if (this.size === 0 || this.broken) return 0;
    const index = Atomics.load(this.u16, (this.#available >>> 1) + 1);
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

  pop(): number {
    if (this.size === 0) return POP_EMPTY;
    if (this.#againNext < this.#again.length) {
      const head = this.#again[this.#againNext++]!;
      this.inflight?.take(head);
      return this.follow(head);
    }
    if (this.nextAvailable === this.#limit) return POP_EMPTY;
    const mask = this.size - 1;
    const head = this.u16[(this.#available >>> 1) + 2 + (this.nextAvailable & mask)]!;
    if (head >= this.size) {
      this.broken = true;
      return POP_BROKEN;
    }
    this.nextAvailable = (this.nextAvailable + 1) & 0xffff;
    this.inflight?.take(head);
    return this.follow(head);
  }

  takeBurst(limit: number, writable: boolean): number {
    if (this.size === 0) return 0;
    const { size, nextAvailable: next } = this;
    const most = limit < BURST_MAX ? limit : BURST_MAX;
    const before = this.#againNext < this.#again.length ? this.#takeAgain(most) : 0;
    const waiting = (this.#limit - next) & 0xffff;
    const wanted = waiting < most - before ? waiting : most - before;
    const flags = writable ? VRING_DESC_F_WRITE : 0;
    const { near, window } = this.memory;
    const answer = window.splitRing.take(
      this,
      before,
      wanted,
      this.#available + 4,
      this.#descriptors,
      size,
      next,
      flags,
      near,
      this.touchAt,
    );
    const read = answer & ~SOME_ELSEWHERE;
    if (read < wanted) this.broken = true;
    const count = before + read;
    if (read !== answer) this.#translateRest(before, count);
    this.nextAvailable = (next + read) & 0xffff;
    if (this.inflight !== undefined) for (let i = 0; i < count; i++) this.inflight.take(this.burstHeads[i]!);
    return count;
  }

  override fill(frames: SplitFrames, first: number, count: number, lengthMax: number): number {
    const { size, nextAvailable, nextUsed, memory } = this;
    if (size === 0 || this.inflight !== undefined || this.#again.length > 0) return 0;
    if (this.#runLength > 0) this.#endRun();
    const waiting = (this.#limit - nextAvailable) & 0xffff;
    const filled = memory.window.splitRing.fill(
      frames,
      first,
      waiting < count ? waiting : count,
      lengthMax,
      this.#available + 4,
      this.#descriptors,
      this.#used + 4,
      size,
      nextAvailable,
      nextUsed,
      memory.near,
    );
    this.nextAvailable = (nextAvailable + filled) & 0xffff;
    this.nextUsed = (nextUsed + filled) & 0xffff;
    return filled;
  }

  /** Finds what lies in another region than most. */
  #translateRest(from: number, to: number): void {
    const { burstOffsets, burstLengths } = this;
    for (let i = from; i < to; i++) {
      if (burstOffsets[i] !== ELSEWHERE || burstLengths[i] === 0) continue;
      const offset = this.memory.translate(this.farLow[i]!, this.farHigh[i]!, burstLengths[i]!);
      if (offset >= 0) burstOffsets[i] = offset;
      else burstLengths[i] = 0;
    }
  }

  /** Of those chains follow() finds out all. */
  #takeAgain(most: number): number {
    let count = 0;
    while (count < most && this.#againNext < this.#again.length) {
      this.burstHeads[count] = this.#again[this.#againNext++]!;
      this.burstLengths[count++] = 0;
    }
    return count;
  }

  follow(head: number): number {
    this.head = head;
    this.chain.clear();
    return this.#walk(this.#descriptors, this.size, head, this.indirect) ? this.chain.segments : POP_BAD;
  }

  unpop(count: number): void {
    // Those of an earlier life came before all others, and stay noted as in flight.
    const others = (this.nextAvailable - this.#againBase) & 0xffff;
    const again = this.#again.length === 0 || others >= count ? 0 : count - others;
    this.#againNext -= again;
    this.nextAvailable = (this.nextAvailable - count + again) & 0xffff;
    this.inflight?.untake(count - again);
  }

  push(head: number, length: number): void {
    if (this.size === 0) return;
    if (this.#runLength > 0) this.#endRun();
    this.#write(this.nextUsed, head, length);
    this.inflight?.give(head);
    this.nextUsed = (this.nextUsed + 1) & 0xffff;
  }

  pushRead(head: number): void {
    if (!this.inOrder || this.inflight !== undefined) {
      this.push(head, 0);
      return;
    }
    if (this.size === 0) return;
    if (this.#runLength++ === 0) this.#runStart = this.nextUsed;
    this.#runHead = head;
    this.nextUsed = (this.nextUsed + 1) & 0xffff;
  }

  override pushBurst(count: number): void {
    if (this.size === 0) return;
    if (this.#runLength > 0) this.#endRun();
    this.#give(count, false);
  }

  #give(count: number, isRead: boolean): void {
    const { nextUsed } = this;
    this.memory.window.splitRing.give(this, count, this.#used + 4, this.size, nextUsed, isRead);
    if (this.inflight !== undefined) for (let i = 0; i < count; i++) this.inflight.give(this.burstHeads[i]!);
    this.nextUsed = (nextUsed + count) & 0xffff;
  }

  override pushReadBurst(count: number): void {
    if (count === 0 || this.size === 0) return;
    if (!this.inOrder || this.inflight !== undefined) {
      if (this.#runLength > 0) this.#endRun();
      this.#give(count, true);
      return;
    }
    if (this.#runLength === 0) this.#runStart = this.nextUsed;
    this.#runLength += count;
    this.#runHead = this.burstHeads[count - 1]!;
    this.nextUsed = (this.nextUsed + count) & 0xffff;
  }

  #endRun(): void {
    this.#runLength = 0;
    this.#write(this.#runStart, this.#runHead, 0);
  }

  #write(index: number, head: number, length: number): void {
    const at = (this.#used >>> 2) + 1 + ((index & (this.size - 1)) << 1);
    this.u32[at] = head;
    this.u32[at + 1] = length;
  }

  show(): void {
    if (this.size === 0) return;
    if (this.#runLength > 0) this.#endRun();
    const before = this.#published;
    const now = this.nextUsed;
    const at = (this.#used >>> 1) + 1;
    if (STORES_IN_ORDER) this.u16[at] = now;
    else Atomics.store(this.u16, at, now);
    this.#published = now;
    this.inflight?.publish(now);
    if (this.log !== undefined) this.#markUsed(before, now);
  }

  wantsCall(): boolean {
    if (this.size === 0) return false;
    if (!this.eventIndex) {
      return (Atomics.load(this.u16, this.#available >>> 1) & VRING_AVAIL_F_NO_INTERRUPT) === 0;
    }
    const before = this.#asked;
    const now = this.#published;
    if (now === before) return false;
    this.#asked = now;
    const usedEvent = Atomics.load(this.u16, (this.#available >>> 1) + 2 + this.size);
    const passed = ((now - usedEvent - 1) & 0xffff) < ((now - before) & 0xffff);
    if (!passed && this.#called) return false;
    this.#called = true;
    return true;
  }

  wantKicks(wanted: boolean): void {
    if (this.size === 0) return;
    const flags = this.#used >>> 1;
    if (!this.eventIndex) {
      Atomics.store(this.u16, flags, wanted ? 0 : VRING_USED_F_NO_NOTIFY);
      if (this.usedLog >= 0) this.log?.mark(this.usedLog, 4);
      return;
    }
    // The chain taken last is 2^16 chains away: a kick then is harmless. The flag must be clear.
    this.u16[flags] = 0;
    const event = wanted ? this.nextAvailable : (this.nextAvailable - 1) & 0xffff;
    Atomics.store(this.u16, flags + 2 + 4 * this.size, event);
    if (this.usedLog >= 0) this.log?.mark(this.usedLog, 6 + 8 * this.size);
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

  protected place(size: number, descriptors: number, available: number, used: number): boolean {
    const memory = this.memory;
    this.#descriptors = memory.translateUser(descriptors, size * 16);
    this.#available = memory.translateUser(available, 6 + size * 2);
    this.#used = memory.translateUser(used, 6 + size * 8);
    if (this.#descriptors < 0 || this.#available < 0 || this.#used < 0) return false;
    return this.#descriptors % 4 === 0 && this.#available % 2 === 0 && this.#used % 4 === 0;
  }

  /** Follows a chain through a table at window offset `table`. False: bad. */
  #walk(table: number, length: number, index: number, mayIndirect: boolean): boolean {
    const u32 = this.u32;
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
      if (!this.chain.add(low, high, size, flags)) return false;
      if ((flags & VRING_DESC_F_NEXT) === 0) return true;
      index = flagsAndNext >>> 16;
      if (index >= length) return false;
    }
    return false;
  }

  #walkIndirect(low: number, high: number, size: number): boolean {
    const table = this.chain.table(low, high, size);
    return table >= 0 && this.#walk(table, size >>> 4, 0, false);
  }
}
