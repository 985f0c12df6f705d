// A packed virtqueue seen from the device: one ring of descriptors that the driver makes available and the device
// marks used in place.
//
//        used elements │ chains with the device │ available │ the driver's, of the lap before
//   0 ─────────────────▲────────────────────────▲───────────▲───────────────────────────── size
//                    used                     next
//
// A descriptor is available when its AVAIL bit is the lap's wrap counter and its USED bit is not; used when both are.
// A chain lies in neighbouring descriptors; its used element in the first of them, the id of its last names it.
// A chain's head, for this class's callers, is the number of its first descriptor. `base` holds next and its wrap
// counter in the lower half, used and its wrap counter in the upper one.
//
// Chains are given back in the order in which they were taken: one that is pushed before an earlier one waits for it. A
// used element goes where the oldest chain begins, so that another chain's would overwrite a descriptor that tells, after
// a crash, what is still with the device; and the driver could offer a chain there before the older one is given back.
//
// The first used element since the last show() is written last, so the driver sees all or nothing. A device that
// dies before it leaves elements behind that the driver cannot see: attach() finds them and completes the row.
// The rest of a chain is marked used along with its first descriptor, which drivers do not look at: so
// packed-ring-position.ts finds where to go on. A used element keeps the NEXT flag, which drivers ignore there.
//
// Source: VIRTIO 1.2, 2.8 (packed virtqueues), 2.8.10 (event suppression), 2.8.7 (indirect); QEMU
// docs/interop/vhost-user.rst, "Vring descriptor indices for packed virtqueues".
// Invariants: those of virtqueue.ts; chains with the device never take more descriptors than the ring has.
// Thread: the owner of the window. Hot: yes.
import {
  DESCRIPTOR_SIZE,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from "./descriptor-chain.js";
import { findPackedPosition, isAvailable, isUsed, VRING_PACKED_STATE_MASK } from "./packed-ring-position.js";
import {
  BURST_MAX,
  POP_BAD,
  POP_BROKEN,
  POP_EMPTY,
  STORES_IN_ORDER,
  UNPOP_MAX,
  Virtqueue,
} from "./virtqueue.js";

export const VRING_PACKED_EVENT_FLAG_ENABLE = 0;
export const VRING_PACKED_EVENT_FLAG_DISABLE = 1;
export const VRING_PACKED_EVENT_FLAG_DESC = 2;
const EVENT_FLAGS_MASK = 3;
/** Bit of a ring position, and of its event structure, that holds the wrap counter. */
const WRAP_BIT = 15;
const POSITION_MASK = 0x7fff;
/** What a simple buffer's flags are judged by. */
const KIND_MASK = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT;

const EMPTY = new Uint16Array(0);
const NO_LENGTHS = new Float64Array(0);
/** Of a chain that was not pushed yet. */
const NOT_PUSHED = -1;

export class PackedVirtqueue extends Virtqueue {
  /** A sum of words, of no meaning: it keeps the compiler from dropping the touching. */
  touched = 0;
  /** Window offsets. */
  #ring = 0;
  #driverEvent = 0;
  #deviceEvent = 0;
  /** Where the next chain is taken, and the wrap counter there. */
  #next = 0;
  #nextWrap = 1;
  /** Where the next used element goes. */
  #used = 0;
  #usedWrap = 1;
  /** Descriptors of chains that the device has. */
  #outstanding = 0;
  /** Chains that look() counted and nobody has taken yet. */
  #ready = 0;
  /** By first descriptor, of chains that the device has: id and number of descriptors. */
  #ids: Uint16Array = EMPTY;
  #lengths: Uint16Array = EMPTY;
  /** By first descriptor, of chains that were pushed before their turn: the bytes written; and how many there are. */
  #early: Float64Array = NO_LENGTHS;
  #earlyCount = 0;
  /** First descriptors of the chains taken last. */
  readonly #taken = new Uint16Array(UNPOP_MAX);
  #takenNext = 0;
  /** The first used element since show(): place in u32 (−1: nothing was pushed), length, and id with flags. */
  #firstAt = -1;
  #firstLength = 0;
  #firstWord = 0;
  /** `used` at the last show(), and at the last of those before the last wantsCall(); descriptors shown since then. */
  #published = 0;
  #asked = 0;
  #shown = 0;
  /** False until the driver was called once: what it missed before is not known. */
  #called = false;

  get base(): number {
    const next = this.#next | (this.#nextWrap << WRAP_BIT);
    const used = this.#used | (this.#usedWrap << WRAP_BIT);
    return ((used << 16) | next) >>> 0;
  }

  attach(size: number, descriptors: number, available: number, used: number, base: number): boolean {
    if (!this.place(size, descriptors, available, used)) return false;
    this.size = size;
    this.broken = false;
    if (this.#ids.length !== size) {
      this.#ids = new Uint16Array(size);
      this.#lengths = new Uint16Array(size);
      this.#early = new Float64Array(size).fill(NOT_PUSHED);
      this.#earlyCount = 0;
    }
    const found = findPackedPosition(this.u16, this.#ring, size);
    const given = base & POSITION_MASK;
    this.#used = found >= 0 ? found & POSITION_MASK : given < size ? given : 0;
    this.#usedWrap = ((found >= 0 ? found : base) >>> WRAP_BIT) & 1;
    this.#startAtUsed();
    if (found >= 0) this.#completeRow();
    this.publish();
    this.#called = false;
    return true;
  }

  /** Chains that were taken and not given back are available again. */
  override detach(): void {
    super.detach();
    this.#startAtUsed();
  }

  #startAtUsed(): void {
    this.#next = this.#used;
    this.#nextWrap = this.#usedWrap;
    this.#published = this.#used;
    this.#asked = this.#used;
    this.#shown = 0;
    this.#outstanding = 0;
    this.#ready = 0;
    this.#firstAt = -1;
    if (this.#earlyCount === 0) return;
    this.#early.fill(NOT_PUSHED);
    this.#earlyCount = 0;
  }

  protected look(): number {
    if (this.size === 0 || this.broken) return 0;
    const { u16, size } = this;
    const flagsAt = (this.#ring >>> 1) + 7;
    let slot = this.#next;
    let wrap = this.#nextWrap;
    let last = -1;
    let count = 0;
    let descriptors = this.#outstanding;
    while (count < BURST_MAX && descriptors < size) {
      let flags = u16[flagsAt + (slot << 3)] as number;
      if (!isAvailable(flags, wrap)) break;
      last = slot;
      for (; (flags & VRING_DESC_F_NEXT) !== 0 && descriptors < size; descriptors++) {
        if (++slot === size) {
          slot = 0;
          wrap ^= 1;
        }
        flags = u16[flagsAt + (slot << 3)] as number;
      }
      descriptors++;
      if (++slot === size) {
        slot = 0;
        wrap ^= 1;
      }
      count++;
    }
    // What the driver wrote before it made the last of them available is seen from here on.
    if (last >= 0) Atomics.load(u16, flagsAt + (last << 3));
    this.#ready = count;
    return count;
  }

  pop(): number {
    if (this.size === 0) return POP_EMPTY;
    const flags = Atomics.load(this.u16, (this.#ring >>> 1) + (this.#next << 3) + 7);
    if (this.broken || this.#outstanding === this.size || !isAvailable(flags, this.#nextWrap))
      return POP_EMPTY;
    const head = this.#next;
    if (!this.#take(flags)) return POP_BROKEN;
    if (this.#ready > 0) this.#ready--;
    return this.follow(head);
  }

  takeBurst(limit: number, writable: boolean): number {
    if (this.size === 0 || this.broken) return 0;
    const u32 = this.u32;
    const wanted = writable ? VRING_DESC_F_WRITE : 0;
    const table = this.#ring >>> 2;
    const { burstHeads, burstOffsets, burstLengths, memory, touchAt } = this;
    let { touched } = this;
    let most = limit < BURST_MAX ? limit : BURST_MAX;
    if (most > this.#ready) most = this.#ready;
    let count = 0;
    while (count < most) {
      const head = this.#next;
      const at = table + (head << 2);
      const length = u32[at + 2] as number;
      const flags = (u32[at + 3] as number) >>> 16;
      let offset = -1;
      if ((flags & KIND_MASK) === wanted && length !== 0)
        offset = memory.translate(u32[at] as number, u32[at + 1] as number, length);
      if (!this.#take(flags)) break;
      burstHeads[count] = head;
      if (offset >= 0) {
        burstOffsets[count] = offset;
        if (length > touchAt) touched = (touched + (u32[(offset + touchAt) >>> 2] as number)) | 0;
      }
      burstLengths[count] = offset < 0 ? 0 : length;
      count++;
    }
    this.#ready -= count;
    this.touched = touched;
    return count;
  }

  /** Takes the chain at #next, whose first descriptor has these flags. False: the ring is broken. */
  #take(flags: number): boolean {
    const { u16, size } = this;
    const first = this.#next;
    let last = first;
    let length = 1;
    while ((flags & VRING_DESC_F_NEXT) !== 0 && length < size) {
      last = last + 1 === size ? 0 : last + 1;
      flags = u16[(this.#ring >>> 1) + (last << 3) + 7] as number;
      length++;
    }
    // A chain without an end, or into what the device has.
    if ((flags & VRING_DESC_F_NEXT) !== 0 || this.#outstanding + length > size) {
      this.broken = true;
      return false;
    }
    this.#ids[first] = u16[(this.#ring >>> 1) + (last << 3) + 6] as number;
    this.#lengths[first] = length;
    this.#outstanding += length;
    this.#taken[this.#takenNext] = first;
    this.#takenNext = (this.#takenNext + 1) & (UNPOP_MAX - 1);
    this.#next = first + length;
    if (this.#next >= size) {
      this.#next -= size;
      this.#nextWrap ^= 1;
    }
    return true;
  }

  follow(head: number): number {
    const { u32, chain, size } = this;
    this.head = head;
    chain.clear();
    let slot = head;
    for (let left = this.#lengths[head] as number; left > 0; left--) {
      const at = (this.#ring >>> 2) + (slot << 2);
      const low = u32[at] as number;
      const high = u32[at + 1] as number;
      const length = u32[at + 2] as number;
      const flags = (u32[at + 3] as number) >>> 16;
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) {
        if (!this.indirect || left !== 1 || !this.#followIndirect(low, high, length)) return POP_BAD;
      } else if (!chain.add(low, high, length, flags)) return POP_BAD;
      slot = slot + 1 === size ? 0 : slot + 1;
    }
    return chain.segments;
  }

  /** An indirect table is read from its first descriptor to its last; of their flags only WRITE counts. */
  #followIndirect(low: number, high: number, length: number): boolean {
    const { u32, chain } = this;
    const table = chain.table(low, high, length);
    if (table < 0) return false;
    const end = (table + length) >>> 2;
    for (let at = table >>> 2; at < end; at += 4) {
      const flags = ((u32[at + 3] as number) >>> 16) & VRING_DESC_F_WRITE;
      if (!chain.add(u32[at] as number, u32[at + 1] as number, u32[at + 2] as number, flags)) return false;
    }
    return true;
  }

  unpop(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#takenNext = (this.#takenNext - 1) & (UNPOP_MAX - 1);
      const first = this.#taken[this.#takenNext] as number;
      this.#outstanding -= this.#lengths[first] as number;
      // One that lies before what was the next one: a lap back.
      if (first >= this.#next) this.#nextWrap ^= 1;
      this.#next = first;
      this.#ready++;
    }
  }

  push(head: number, length: number): void {
    if (this.size === 0) return;
    if (head !== this.#used) {
      this.#early[head] = length;
      this.#earlyCount++;
      return;
    }
    this.#write(head, length);
    this.#advance(head);
    if (this.#earlyCount > 0) this.#pushEarly();
  }

  /** Gives back the chains whose turn has come. */
  #pushEarly(): void {
    for (let head = this.#used; this.#earlyCount > 0 && this.#early[head] !== NOT_PUSHED; head = this.#used) {
      const length = this.#early[head] as number;
      this.#early[head] = NOT_PUSHED;
      this.#earlyCount--;
      this.#write(head, length);
      this.#advance(head);
    }
  }

  /** Every descriptor must be marked, for whoever comes after us: nothing is saved by IN_ORDER. */
  pushRead(head: number): void {
    this.push(head, 0);
  }

  /** The used element of the chain at `head`. */
  #write(head: number, length: number): void {
    const u32 = this.u32;
    const at = (this.#ring >>> 2) + (this.#used << 2);
    const descriptors = this.#lengths[head] as number;
    let flags = this.#usedWrap === 0 ? 0 : VRING_PACKED_STATE_MASK;
    if (descriptors > 1) {
      this.#markRest(descriptors, flags);
      flags |= VRING_DESC_F_NEXT;
    }
    if (length > 0) flags |= VRING_DESC_F_WRITE;
    const word = (this.#ids[head] as number) | (flags << 16);
    if (this.#firstAt >= 0) {
      u32[at + 2] = length;
      u32[at + 3] = word;
      return;
    }
    // Until then it is still the chain's descriptor, whoever comes after us.
    this.#firstAt = at + 2;
    this.#firstLength = length;
    this.#firstWord = word;
  }

  /** Marks the descriptors behind the used element used as well; the driver does not look at them. */
  #markRest(descriptors: number, state: number): void {
    const { u16, size } = this;
    let slot = this.#used;
    for (let i = 1; i < descriptors; i++) {
      if (++slot === size) {
        slot = 0;
        state ^= VRING_PACKED_STATE_MASK;
      }
      const at = (this.#ring >>> 1) + (slot << 3) + 7;
      u16[at] = ((u16[at] as number) & ~VRING_PACKED_STATE_MASK) | state;
    }
  }

  /** Behind the descriptors of the chain at `head`, which is the driver's again. */
  #advance(head: number): void {
    const length = this.#lengths[head] as number;
    this.#outstanding -= length;
    this.#used += length;
    if (this.#used >= this.size) {
      this.#used -= this.size;
      this.#usedWrap ^= 1;
    }
  }

  show(): void {
    if (this.size === 0 || this.#firstAt < 0) return;
    const before = this.#published;
    const now = this.#used;
    this.u32[this.#firstAt] = this.#firstLength;
    if (STORES_IN_ORDER) this.u32[this.#firstAt + 1] = this.#firstWord;
    else Atomics.store(this.u32, this.#firstAt + 1, this.#firstWord);
    this.#firstAt = -1;
    this.#published = now;
    this.#shown += now > before ? now - before : now - before + this.size;
    if (this.log !== undefined) this.#markUsed(before, now);
  }

  wantsCall(): boolean {
    const shown = this.#shown;
    if (this.size === 0 || shown === 0) return false;
    const before = this.#asked;
    const now = this.#published;
    this.#shown = 0;
    this.#asked = now;
    const event = Atomics.load(this.u32, this.#driverEvent >>> 2);
    const flags = (event >>> 16) & EVENT_FLAGS_MASK;
    if (flags === VRING_PACKED_EVENT_FLAG_DISABLE) return false;
    if (flags !== VRING_PACKED_EVENT_FLAG_DESC || !this.eventIndex) return true;
    // More than a lap holds every place.
    const passed = shown > this.size || this.#passes(event & 0xffff, before, now);
    if (!passed && this.#called) return false;
    this.#called = true;
    return true;
  }

  /** Whether the used elements from `before` up to `now` hold the one that the driver waits for. */
  #passes(event: number, before: number, now: number): boolean {
    const { size } = this;
    const wanted = (event & POSITION_MASK) - (event >>> WRAP_BIT === this.#usedWrap ? 0 : size);
    const from = now <= before ? before - size : before;
    return ((now - wanted - 1) & 0xffff) < ((now - from) & 0xffff);
  }

  wantKicks(wanted: boolean): void {
    if (this.size === 0) return;
    const flags = wanted ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE;
    Atomics.store(this.u32, this.#deviceEvent >>> 2, flags << 16);
    if (this.log !== undefined) this.markWritten(this.#deviceEvent, 4);
  }

  #markUsed(before: number, now: number): void {
    const wraps = now <= before;
    const from = this.#ring + (wraps ? 0 : before) * DESCRIPTOR_SIZE;
    this.markWritten(from, ((wraps ? this.size : now) - (wraps ? 0 : before)) * DESCRIPTOR_SIZE);
  }

  protected place(size: number, descriptors: number, available: number, used: number): boolean {
    const { memory } = this;
    this.#ring = memory.translateUser(descriptors, size * DESCRIPTOR_SIZE);
    this.#driverEvent = memory.translateUser(available, 4);
    this.#deviceEvent = memory.translateUser(used, 4);
    if (this.#ring < 0 || this.#driverEvent < 0 || this.#deviceEvent < 0) return false;
    return (this.#ring | this.#driverEvent | this.#deviceEvent) % 4 === 0;
  }

  /** Used elements behind a first one that is missing: an earlier life died before it. */
  #completeRow(): void {
    const missing = this.#used;
    const flagsAt = (this.#ring >>> 1) + 7;
    let flags = this.u16[flagsAt + (missing << 3)] as number;
    if (!isAvailable(flags, this.#usedWrap) || !this.#take(flags)) return;
    let others = 0;
    for (; others < this.size; others++) {
      flags = this.u16[flagsAt + (this.#next << 3)] as number;
      if (!isUsed(flags, this.#nextWrap) || !this.#take(flags)) break;
    }
    if (others > 0) {
      this.#write(missing, 0);
      this.#used = this.#next;
      this.#usedWrap = this.#nextWrap;
    } else {
      this.#next = missing;
      this.#nextWrap = this.#usedWrap;
    }
    this.#outstanding = 0;
  }
}
