// What the subtables of a bridge were asked for since its caches were last made void: a hash of each masked key. A change
// of a flow that nobody has asked for can alter nothing that is cached, so that the caches outlive it.
//
//   slot (2 words): hash | stamp of the time in which it was noted; linear probing
//
// Why that is exact: what is cached for some frames holds for all that agree in every bit that was consulted. Where a
// subtable was asked, its whole mask was consulted: all of them ask it for the one value that was noted when it was
// recorded. Where it was passed over because less shows that it has nothing for them (absence.ts), that was noted.
// Source: Pfaff et al., "The Design and Implementation of Open vSwitch", NSDI 2015, 6 (which flows a change can touch).
// Invariant: mayHave() is true of everything noted since clear(); of something else only when there was no room, or by a
// chance of one in 2³². Thread: datapath worker. Hot: yes (note), as long as packets come that the caches do not know.
import { ASKED_VALUES_FIRST, ASKED_VALUES_MAX } from "./limits.js";

/** Slots that are looked at for one value: whoever chooses packets can make more of them meet, and gains nothing. */
const PROBES_MAX = 32;

export class AskedValues {
  #slots = new Int32Array(2 * ASKED_VALUES_FIRST);
  /** 0 belongs to slots that were never filled. */
  #stamp = 1;
  #count = 0;
  #isFull = false;
  #salts = 0;

  /** A number that tells one subtable's hashes from those of another. */
  nextSalt(): number {
    this.#salts = (this.#salts + 0x9e3779b1) | 0;
    return this.#salts;
  }

  /** Tells one time from another: it changes with clear(). */
  get stamp(): number {
    return this.#stamp;
  }

  /** The caches are void: nothing that was asked before matters. */
  clear(): void {
    this.#count = 0;
    this.#isFull = false;
    this.#stamp = (this.#stamp + 1) | 0;
    if (this.#stamp !== 0) return;
    this.#slots.fill(0);
    this.#stamp = 1;
  }

  note(hash: number): void {
    if (this.#isFull) return;
    if (this.#count * 4 >= this.#slots.length) this.#grow();
    if (!this.#isFull && this.#put(hash)) this.#count++;
  }

  /** Whether it was noted since clear(); true when that is not known. */
  mayHave(hash: number): boolean {
    const slots = this.#slots;
    const last = slots.length - 2;
    let at = (hash << 1) & last;
    for (let n = 0; n < PROBES_MAX && slots[at + 1] === this.#stamp; n++) {
      if (slots[at] === hash) return true;
      at = (at + 2) & last;
    }
    return this.#isFull;
  }

  /** Whether it is new. */
  #put(hash: number): boolean {
    const slots = this.#slots;
    const last = slots.length - 2;
    let at = (hash << 1) & last;
    for (let n = 0; n < PROBES_MAX; n++) {
      if (slots[at + 1] !== this.#stamp) {
        slots[at] = hash;
        slots[at + 1] = this.#stamp;
        return true;
      }
      if (slots[at] === hash) return false;
      at = (at + 2) & last;
    }
    this.#isFull = true;
    return false;
  }

  #grow(): void {
    const old = this.#slots;
    if (old.length >= 2 * ASKED_VALUES_MAX) {
      this.#isFull = true;
      return;
    }
    this.#slots = new Int32Array(2 * old.length);
    for (let at = 0; at < old.length; at += 2) if (old[at + 1] === this.#stamp) this.#put(old[at]!);
  }
}
