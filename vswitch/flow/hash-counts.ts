// How many flows of a subtable have a value in some of its words, by a hash of that value. Two values with one hash count
// as one: then a value may be taken for present that is not, never the other way.
//
//   slot (2 words): hash | count, 0 where nothing is; linear probing, and what lies behind a hole moves up
//
// Thread: datapath worker. Hot: yes (has), as long as packets come that the caches do not know.
const FIRST = 8;

export class HashCounts {
  #slots = new Int32Array(2 * FIRST);
  #used = 0;

  has(hash: number): boolean {
    return this.#slots[this.#find(hash) + 1]! > 0;
  }

  add(hash: number): void {
    const at = this.#find(hash);
    const slots = this.#slots;
    slots[at] = hash;
    slots[at + 1] = slots[at + 1]! + 1;
    if (slots[at + 1] === 1 && 4 * ++this.#used > slots.length) this.#grow();
  }

  /** Takes back one add(). */
  remove(hash: number): void {
    const at = this.#find(hash);
    const slots = this.#slots;
    if (slots[at + 1] === 0) return;
    slots[at + 1] = slots[at + 1]! - 1;
    if (slots[at + 1] !== 0) return;
    this.#used--;
    this.#close(at);
  }

  /** The slot of the hash, or the free one where it would stand. */
  #find(hash: number): number {
    const slots = this.#slots;
    const last = slots.length - 2;
    let at = (hash << 1) & last;
    while (slots[at + 1] !== 0 && slots[at] !== hash) at = (at + 2) & last;
    return at;
  }

  /** Nothing behind the hole may have passed it on the way to its slot. */
  #close(hole: number): void {
    const slots = this.#slots;
    const last = slots.length - 2;
    let free = hole;
    for (let at = (free + 2) & last; slots[at + 1] !== 0; at = (at + 2) & last) {
      const home = (slots[at]! << 1) & last;
      if (((at - home) & last) < ((at - free) & last)) continue;
      slots[free] = slots[at]!;
      slots[free + 1] = slots[at + 1]!;
      slots[at + 1] = 0;
      free = at;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    for (let from = 0; from < old.length; from += 2) {
      if (old[from + 1] === 0) continue;
      const at = this.#find(old[from]!);
      this.#slots[at] = old[from]!;
      this.#slots[at + 1] = old[from + 1]!;
    }
  }
}
