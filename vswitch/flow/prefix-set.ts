// How many bits of a value show that it is none of a set: one more than it has in common, from the top, with that of the
// set which is most like it. A crit-bit tree: an inner node says which bit tells its two sides apart.
//
//   inner ≥ 0: shift of the bit | side of 0 | side of 1        leaf, as ~number: value | how often it was added
//
// Source: Bernstein, "Crit-bit trees"; what it is for: Pfaff et al., "The Design and Implementation of Open vSwitch",
// NSDI 2015, 5.4 (prefix tracking).
// Invariants: shifts fall on every way down; the leaf that is reached by a value's bits is the one most like it.
// Thread: datapath worker. Hot: yes (bitsToTell), as long as packets come that the caches do not know.
const INNER_WORDS = 3;
const LEAF_WORDS = 2;
const FIRST = 4;

export class PrefixSet {
  /** Different values. */
  size = 0;
  #root = 0;
  #inner = new Int32Array(FIRST * INNER_WORDS);
  #leaves = new Int32Array(FIRST * LEAF_WORDS);
  /** Places below were in use; those that are free again are chained by their first word, −1 at the end. */
  #innerEnd = 0;
  #leavesEnd = 0;
  #innerFree = -1;
  #leavesFree = -1;

  /** From the top; 0 when the value is in the set, at most 32. */
  bitsToTell(value: number): number {
    if (this.size === 0) return 1;
    const differs = this.#leaves[LEAF_WORDS * ~this.#nearest(value)]! ^ value;
    return differs === 0 ? 0 : Math.clz32(differs) + 1;
  }

  /** Values may be added more than once. */
  add(value: number): void {
    if (this.size === 0) {
      this.#root = this.#newLeaf(value);
      this.size = 1;
      return;
    }
    const leaf = LEAF_WORDS * ~this.#nearest(value);
    const differs = this.#leaves[leaf]! ^ value;
    if (differs === 0) {
      this.#leaves[leaf + 1] = this.#leaves[leaf + 1]! + 1;
      return;
    }
    const shift = 31 - Math.clz32(differs);
    const created = this.#newLeaf(value);
    const node = this.#newInner();
    const inner = this.#inner;
    // Above it stay the nodes whose bit is further to the left.
    let above = -1;
    let at = this.#root;
    while (at >= 0 && inner[INNER_WORDS * at]! > shift) {
      above = sideOf(inner, at, value);
      at = inner[above]!;
    }
    const side = (value >>> shift) & 1;
    inner[INNER_WORDS * node] = shift;
    inner[INNER_WORDS * node + 1 + side] = created;
    inner[INNER_WORDS * node + 2 - side] = at;
    if (above < 0) this.#root = node;
    else inner[above] = node;
    this.size++;
  }

  /** Takes back one add(). */
  remove(value: number): void {
    if (this.size === 0) return;
    const inner = this.#inner;
    let before = -1;
    let above = -1;
    let at = this.#root;
    while (at >= 0) {
      before = above;
      above = sideOf(inner, at, value);
      at = inner[above]!;
    }
    const leaf = LEAF_WORDS * ~at;
    const leaves = this.#leaves;
    if (leaves[leaf] !== value) return;
    leaves[leaf + 1] = leaves[leaf + 1]! - 1;
    if (leaves[leaf + 1] !== 0) return;
    leaves[leaf] = this.#leavesFree;
    this.#leavesFree = ~at;
    this.size--;
    if (above < 0) return;
    // Its sibling takes the place of the node above both.
    const node = Math.floor(above / INNER_WORDS);
    const sibling = inner[2 * INNER_WORDS * node + 3 - above]!;
    if (before < 0) this.#root = sibling;
    else inner[before] = sibling;
    inner[INNER_WORDS * node] = this.#innerFree;
    this.#innerFree = node;
  }

  #nearest(value: number): number {
    const inner = this.#inner;
    let at = this.#root;
    while (at >= 0) at = inner[sideOf(inner, at, value)]!;
    return at;
  }

  #newLeaf(value: number): number {
    let place = this.#leavesFree;
    if (place >= 0) this.#leavesFree = this.#leaves[LEAF_WORDS * place]!;
    else {
      place = this.#leavesEnd++;
      this.#leaves = grown(this.#leaves, LEAF_WORDS * this.#leavesEnd);
    }
    this.#leaves[LEAF_WORDS * place] = value;
    this.#leaves[LEAF_WORDS * place + 1] = 1;
    return ~place;
  }

  #newInner(): number {
    const place = this.#innerFree;
    if (place >= 0) {
      this.#innerFree = this.#inner[INNER_WORDS * place]!;
      return place;
    }
    this.#innerEnd++;
    this.#inner = grown(this.#inner, INNER_WORDS * this.#innerEnd);
    return this.#innerEnd - 1;
  }
}

/** Where the node says what lies on the value's side. */
function sideOf(inner: Int32Array, node: number, value: number): number {
  const at = INNER_WORDS * node;
  return at + 1 + ((value >>> inner[at]!) & 1);
}

function grown(words: Int32Array<ArrayBuffer>, wanted: number): Int32Array<ArrayBuffer> {
  if (wanted <= words.length) return words;
  const more = new Int32Array(2 * words.length);
  more.set(words);
  return more;
}
