// One table's classifier: tuple-space search. Flows with the same mask share a subtable, which is a hash table over
// the masked key; subtables are searched in order of their highest priority until no better flow can come.
// Source: Srinivasan, Suri, Varghese, "Packet Classification using Tuple Space Search", SIGCOMM 1999.
// Invariants: a bucket's chain is sorted by priority, highest first; subtables likewise; no subtable is empty.
// Thread: datapath worker. Hot: yes (lookup).
import type { MaskedKey } from "./fields.js";
import type { Flow } from "./flow.js";
import { KEY_WORDS } from "./key.js";

const BUCKETS_MIN = 8;

class Subtable {
  readonly mask: Int32Array;
  /** Indices of the words where the mask is not zero. */
  readonly words: Int32Array;
  priorityMax = -1;
  flows = 0;
  buckets: (Flow | null)[] = new Array<Flow | null>(BUCKETS_MIN).fill(null);
  /** Flows by priority. */
  readonly #priorities = new Map<number, number>();

  constructor(mask: Int32Array) {
    this.mask = mask;
    const words: number[] = [];
    for (let i = 0; i < KEY_WORDS; i++) if (mask[i] !== 0) words.push(i);
    this.words = Int32Array.from(words);
  }

  hash(key: Int32Array): number {
    const { words, mask } = this;
    let hash = 0;
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      hash = Math.imul(hash ^ (key[word]! & mask[word]!), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  find(key: Int32Array): Flow | null {
    const { words, mask } = this;
    let flow = this.buckets[this.hash(key) & (this.buckets.length - 1)] as Flow | null;
    next: while (flow !== null) {
      const value = flow.key.value;
      for (let i = 0; i < words.length; i++) {
        const word = words[i]!;
        if ((key[word]! & mask[word]!) !== value[word]!) {
          flow = flow.next;
          continue next;
        }
      }
      return flow;
    }
    return null;
  }

  /** Puts every flow that matches and has a priority above `above` into `into` from `count` on; returns the new count. */
  collect(key: Int32Array, above: number, into: Flow[], count: number): number {
    const { words, mask } = this;
    let flow = this.buckets[this.hash(key) & (this.buckets.length - 1)] as Flow | null;
    next: for (; flow !== null && flow.priority > above; flow = flow.next) {
      const value = flow.key.value;
      for (let i = 0; i < words.length; i++) {
        const word = words[i]!;
        if ((key[word]! & mask[word]!) !== value[word]!) continue next;
      }
      into[count++] = flow;
    }
    return count;
  }

  add(flow: Flow): void {
    if (this.flows >= this.buckets.length * 2) this.#resize(this.buckets.length * 4);
    this.#link(flow);
    this.flows++;
    this.#priorities.set(flow.priority, (this.#priorities.get(flow.priority) ?? 0) + 1);
    if (flow.priority > this.priorityMax) this.priorityMax = flow.priority;
  }

  remove(flow: Flow): void {
    const index = flow.hash & (this.buckets.length - 1);
    let before = this.buckets[index] as Flow | null;
    if (before === flow) this.buckets[index] = flow.next;
    else {
      while (before !== null && before.next !== flow) before = before.next;
      if (before === null) return;
      before.next = flow.next;
    }
    flow.next = null;
    this.flows--;
    this.#forgetPriority(flow.priority);
  }

  #link(flow: Flow): void {
    const index = flow.hash & (this.buckets.length - 1);
    let before: Flow | null = null;
    let after = this.buckets[index] as Flow | null;
    while (after !== null && after.priority >= flow.priority) {
      before = after;
      after = after.next;
    }
    flow.next = after;
    if (before === null) this.buckets[index] = flow;
    else before.next = flow;
  }

  #resize(length: number): void {
    const old = this.buckets;
    this.buckets = new Array<Flow | null>(length).fill(null);
    const heads = old;
    for (let i = 0; i < heads.length; i++) {
      const head = heads[i] as Flow | null;
      for (let flow = head; flow !== null; ) {
        const next: Flow | null = flow.next;
        this.#link(flow);
        flow = next;
      }
    }
  }

  /** One flow of `priority` is gone. */
  #forgetPriority(priority: number): void {
    const left = (this.#priorities.get(priority) as number) - 1;
    if (left > 0) {
      this.#priorities.set(priority, left);
      return;
    }
    this.#priorities.delete(priority);
    if (priority === this.priorityMax) this.priorityMax = Math.max(-1, ...this.#priorities.keys());
  }
}

export class Classifier {
  #subtables: Subtable[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /**
   * The matching flow of highest priority, or null. Of several with equal priority any may come, always the same.
   * `consulted`, when given, receives by OR every key bit that the answer depended on: all keys that agree with
   * `key` in those bits have the same answer.
   */
  lookup(key: Int32Array, consulted: Int32Array | null): Flow | null {
    const subtables = this.#subtables;
    let best: Flow | null = null;
    for (let i = 0; i < subtables.length; i++) {
      const subtable = subtables[i]!;
      if (best !== null && best.priority >= subtable.priorityMax) break;
      if (consulted !== null) orInto(consulted, subtable.mask);
      const flow = subtable.find(key);
      if (flow !== null && (best === null || flow.priority > best.priority)) best = flow;
    }
    return best;
  }

  /** Puts every matching flow with a priority above `above` into `into`; returns how many. `consulted` as in lookup. */
  allAbove(key: Int32Array, above: number, consulted: Int32Array | null, into: Flow[]): number {
    const subtables = this.#subtables;
    let count = 0;
    for (let i = 0; i < subtables.length; i++) {
      const subtable = subtables[i]!;
      if (subtable.priorityMax <= above) break;
      if (consulted !== null) orInto(consulted, subtable.mask);
      count = subtable.collect(key, above, into, count);
    }
    return count;
  }

  add(flow: Flow): void {
    let subtable = this.#subtableOf(flow.key.mask);
    if (subtable === undefined) {
      subtable = new Subtable(flow.key.mask);
      this.#subtables.push(subtable);
    }
    flow.hash = subtable.hash(flow.key.value);
    subtable.add(flow);
    this.#size++;
    this.#sort();
  }

  remove(flow: Flow): void {
    const subtable = this.#subtableOf(flow.key.mask);
    if (subtable === undefined) return;
    subtable.remove(flow);
    this.#size--;
    if (subtable.flows === 0) this.#subtables = this.#subtables.filter((other) => other !== subtable);
    this.#sort();
  }

  /** The flow with exactly this match and priority, or null. */
  findStrict(key: MaskedKey, priority: number): Flow | null {
    const subtable = this.#subtableOf(key.mask);
    if (subtable === undefined) return null;
    const hash = subtable.hash(key.value);
    let flow = subtable.buckets[hash & (subtable.buckets.length - 1)] ?? null;
    for (; flow !== null; flow = flow.next) {
      if (flow.priority === priority && sameWords(flow.key.value, key.value)) return flow;
    }
    return null;
  }

  /** All flows, in no particular order. */
  flows(): Flow[] {
    const all: Flow[] = [];
    const subtables = this.#subtables;
    for (let i = 0; i < subtables.length; i++) {
      const subtable = subtables[i]!;
      const heads = subtable.buckets;
      for (let h = 0; h < heads.length; h++) {
        const head = heads[h] as Flow | null;
        for (let flow = head; flow !== null; flow = flow.next) all.push(flow);
      }
    }
    return all;
  }

  #subtableOf(mask: Int32Array): Subtable | undefined {
    return this.#subtables.find((subtable) => sameWords(subtable.mask, mask));
  }

  #sort(): void {
    this.#subtables.sort((a, b) => b.priorityMax - a.priorityMax);
  }
}

function orInto(into: Int32Array, mask: Int32Array): void {
  for (let i = 0; i < KEY_WORDS; i++) into[i] = into[i]! | mask[i]!;
}

function sameWords(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < KEY_WORDS; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** True when every packet that `inner` matches is matched by `outer` too. */
export function covers(outer: MaskedKey, inner: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    const mask = outer.mask[i]!;
    if ((mask & ~inner.mask[i]!) !== 0 || (inner.value[i]! & mask) !== outer.value[i]!) return false;
  }
  return true;
}

/** True when some packet matches both. */
export function overlaps(a: MaskedKey, b: MaskedKey): boolean {
  for (let i = 0; i < KEY_WORDS; i++) {
    if (((a.value[i]! ^ b.value[i]!) & a.mask[i]! & b.mask[i]!) !== 0) return false;
  }
  return true;
}
