// A virtqueue seen from the device: takes descriptor chains, gives used ones back. What both ring layouts have in
// common; split-virtqueue.ts and packed-virtqueue.ts know where things lie.
//
//   available() ─► pop() or takeBurst() + follow() ─► device works ─► push() ─► publish() ─► call the driver?
//
// Source: VIRTIO 1.2, 2.6 to 2.8. Little-endian.
// Invariant: the driver is hostile. A descriptor is read once into scratch and only the copy is judged; every
// segment given out lies in one region of this guest; no chain is longer than the ring (or SEGMENTS_MAX).
// Nothing outside the guest's regions is read or written. Thread: the owner of the window. Hot: yes.
import { DescriptorChain } from "./descriptor-chain.js";
import type { DirtyLog } from "./dirty-log.js";
import type { GuestMemory } from "./guest-memory.js";
import type { InflightTable } from "./inflight-table.js";
import type { SplitFrames } from "./split-ring.js";

/** Chains that takeBurst() takes at a time. */
export const BURST_MAX = 64;
/** Chains that unpop() puts back at a time. */
export const UNPOP_MAX = 128;

/** pop(): there is nothing. */
export const POP_EMPTY = 0;
/** pop(): the chain at `head` is bad; give it back with length 0. */
export const POP_BAD = -1;
/** pop(): the ring itself is unusable; see `broken`. */
export const POP_BROKEN = -2;

/** The processor lets stores be seen in the order in which they were made; elsewhere each has to say so. */
export const STORES_IN_ORDER = process.arch === "x64";

const fenceWord = new Int32Array(new SharedArrayBuffer(4));

/** Nothing behind it is read before all before it can be seen by everybody. */
export function fence(): void {
  Atomics.exchange(fenceWord, 0, 0);
}

export abstract class Virtqueue {
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
  /** IN_ORDER was negotiated: chains are given back in the order in which they were taken, and pushRead() says less. */
  inOrder = false;
  /** Where writes are marked; undefined: nowhere. The device calls markWritten() for its own. */
  log: DirtyLog | undefined = undefined;
  /** Guest address under which writes to a split ring's used part are marked; −1: they are not. */
  usedLog = -1;
  /** Where chains of a split ring that the device has are noted; set before attach(). */
  inflight: InflightTable | undefined = undefined;
  /** Where in each chain of a burst takeBurst() reads a word: what is not in the cache comes in while the next is read. */
  touchAt = 0;
  /** Chain that the last pop() or follow() took apart, and its segments. */
  head = 0;
  readonly chain: DescriptorChain;
  /** What takeBurst() took: head, window offset and length of each. */
  readonly burstHeads = new Uint16Array(BURST_MAX);
  readonly burstOffsets = new Uint32Array(BURST_MAX);
  readonly burstLengths = new Uint32Array(BURST_MAX);
  protected readonly memory: GuestMemory;
  protected readonly u16: Uint16Array;
  protected readonly u32: Uint32Array;

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.chain = new DescriptorChain(memory);
    this.u16 = memory.window.u16;
    this.u32 = memory.window.u32;
  }

  /** Where the next chain is taken, for GET_VRING_BASE; see the layouts for what it holds. */
  abstract get base(): number;

  /**
   * Takes the ring into use; false when an address is not in guest memory. It goes on where the ring itself says, which
   * is what the driver has seen: the `base` that a front-end gives may differ from it after a crash of ours, and counts
   * only where the ring does not tell.
   */
  abstract attach(size: number, descriptors: number, available: number, used: number, base: number): boolean;

  /** New addresses (or new memory) under a running ring; the indices stay. Detaches and answers false when bad. */
  move(descriptors: number, available: number, used: number): boolean {
    if (this.place(this.size, descriptors, available, used)) return true;
    this.detach();
    return false;
  }

  /** Forgets the ring: its memory may go away. The indices stay for GET_VRING_BASE. */
  detach(): void {
    this.size = 0;
  }

  /** Chains that wait, as of now; a packed ring tells at most BURST_MAX. 0 when not attached, disabled or broken. */
  available(): number {
    return this.enabled ? this.look() : 0;
  }

  /** Gives every chain that waits back, empty; what a disabled ring's device does. publish() is to follow. */
  discard(): number {
    let count = 0;
    for (let waiting = this.look(); waiting > 0; waiting--) {
      const taken = this.takeBurst(1, false);
      if (taken === 0) break;
      this.push(this.burstHeads[0]!, 0);
      count++;
    }
    return count;
  }

  /**
   * Takes the next of the chains that available() counted, into `head` and `chain`: its number of segments (> 0), or
   * POP_EMPTY, POP_BAD, POP_BROKEN. Every chain taken is given back by exactly one push(), or by unpop().
   */
  abstract pop(): number;

  /**
   * Takes up to `limit` of the chains that available() counted, at most BURST_MAX: their heads to burstHeads. Of a chain
   * that is one descriptor, for the device to write when `writable`, else to read, window offset and length stand beside
   * it; any other has length 0, and follow() takes it apart. Returns how many; each is given back as after pop(), and
   * in this order as far as follow() is still to come.
   */
  abstract takeBurst(limit: number, writable: boolean): number;

  /**
   * In place of takeBurst() and pushBurst(), for the `count` frames from `first` on: see SplitRing.fill(). Returns how
   * many were written, of as many chains as available() counted; 0 where it cannot be done so at all.
   */
  fill(_frames: SplitFrames, _first: number, _count: number, _lengthMax: number): number {
    return 0;
  }

  /** Takes apart the chain at `head`, which takeBurst() gave out: as pop() returns, but for POP_EMPTY and POP_BROKEN. */
  abstract follow(head: number): number;

  /** Puts the last `count` chains taken since available() back, unused; they will be taken again. At most UNPOP_MAX. */
  abstract unpop(count: number): void;

  /** Gives a chain back with the number of bytes written to it. The driver sees it after publish(). */
  abstract push(head: number, length: number): void;

  /** As push() of length 0, for a chain that the device only read: with IN_ORDER the last of several says it for all. */
  abstract pushRead(head: number): void;

  /** As push() for the first `count` chains of the burst; burstLengths says how much was written to each. */
  pushBurst(count: number): void {
    for (let i = 0; i < count; i++) this.push(this.burstHeads[i]!, this.burstLengths[i]!);
  }

  /** As pushRead() for the first `count` chains of the burst. */
  pushReadBurst(count: number): void {
    for (let i = 0; i < count; i++) this.pushRead(this.burstHeads[i]!);
  }

  /** Shows the driver everything pushed. True when it wants to be called for it. */
  publish(): boolean {
    this.show();
    fence();
    return this.wantsCall();
  }

  /** Shows the driver everything pushed; fence() and wantsCall() are to follow, once for any number of queues. */
  abstract show(): void;

  /**
   * Whether the driver wants to be called for what was shown since this was asked last. A full fence must lie between
   * what was shown and the reading of what the driver waits for: else both could sleep.
   */
  abstract wantsCall(): boolean;

  /** Tells the driver whether to kick. Ask available() again afterwards: something may have come in between. */
  abstract wantKicks(wanted: boolean): void;

  /** Marks `length` bytes, which the device has written at a window offset of a segment, in the dirty log. */
  markWritten(offset: number, length: number): void {
    const address = this.memory.guestAddress(offset);
    if (address >= 0) this.log?.mark(address, length);
  }

  /** available(), enabled or not. */
  protected abstract look(): number;

  /** Notes the addresses; false when they are bad. */
  protected abstract place(size: number, descriptors: number, available: number, used: number): boolean;
}
