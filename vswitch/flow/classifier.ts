// One table's classifier: tuple-space search. Flows with the same mask share a subtable; subtables are searched in
// order of their highest priority until no better flow can come.
// Source: Srinivasan, Suri, Varghese, "Packet Classification using Tuple Space Search", SIGCOMM 1999.
// Invariants: subtables are sorted by priority, highest first; no subtable is empty.
// Thread: datapath worker. Hot: yes (lookup).
import { AskedValues } from "./asked-values.js";
import type { MaskedKey } from "./fields.js";
import type { Flow } from "./flow.js";
import { KEY_WORDS } from "./key.js";
import { sameWords } from "./masked-key.js";
import { Subtable } from "./subtable.js";

export class Classifier {
  #subtables: Subtable[] = [];
  /** The same by a hash of their masks. */
  readonly #byMask = new Map<number, Subtable[]>();
  /** What was found last by its mask; undefined: nothing. */
  #last: Subtable | undefined;
  #size = 0;
  readonly #asked: AskedValues;

  /** `asked` is told what packets are looked up. */
  constructor(asked: AskedValues = new AskedValues()) {
    this.#asked = asked;
  }

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
      const flow = subtable.ask(key, consulted);
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
      count = subtable.askAll(key, above, consulted, into, count);
    }
    return count;
  }

  /**
   * Whether a lookup since the caches were made void could have had another answer with it. Where a subtable was passed
   * over, something of at least its highest priority had been met.
   */
  add(flow: Flow): boolean {
    const present = this.#subtableOf(flow.key.mask);
    const subtable = present ?? this.#createSubtable(flow.key.mask);
    const before = subtable.priorityMax;
    const isFelt = subtable.add(flow);
    this.#size++;
    if (subtable.priorityMax === before) return isFelt;
    this.#sort();
    return true;
  }

  /** As add(), without it; so, too, when subtables change their order: of flows of equal priority another may come. */
  remove(flow: Flow): boolean {
    const subtable = this.#subtableOf(flow.key.mask);
    if (subtable === undefined) return false;
    const { flows, priorityMax } = subtable;
    const isFelt = subtable.remove(flow);
    this.#size -= flows - subtable.flows;
    if (subtable.flows === 0) this.#forget(subtable);
    else if (subtable.priorityMax !== priorityMax) {
      this.#sort();
      return true;
    }
    return isFelt;
  }

  /** Whether a lookup since the caches were made void could have met, or missed, a flow with exactly this match. */
  mayHaveAsked({ mask, value }: MaskedKey): boolean {
    return this.#subtableOf(mask)?.mayHaveAsked(value) === true;
  }

  /** The flow with exactly this match and priority, or null. */
  findStrict(key: MaskedKey, priority: number): Flow | null {
    return this.#subtableOf(key.mask)?.findStrict(key.value, priority) ?? null;
  }

  /** A flow of that priority that some packet could match as well as `key`, or null. */
  findOverlap(key: MaskedKey, priority: number): Flow | null {
    const subtables = this.#subtables;
    for (let i = 0; i < subtables.length; i++) {
      const subtable = subtables[i]!;
      if (subtable.priorityMax < priority) return null;
      const flow = subtable.findOverlap(key, priority);
      if (flow !== null) return flow;
    }
    return null;
  }

  /** All flows, in no particular order, of which each packet is matched by `outer` too. */
  covered(outer: MaskedKey): Flow[] {
    const all: Flow[] = [];
    const subtables = this.#subtables;
    for (let i = 0; i < subtables.length; i++) subtables[i]!.collectCovered(outer, all);
    return all;
  }

  #subtableOf(mask: Int32Array): Subtable | undefined {
    if (this.#subtables.length === 0) return undefined;
    // A controller changes many flows of one mask in a row.
    const last = this.#last;
    if (last !== undefined && sameWords(last.mask, mask)) return last;
    this.#last = this.#byMask.get(hashOf(mask))?.find((subtable) => sameWords(subtable.mask, mask));
    return this.#last;
  }

  #createSubtable(mask: Int32Array): Subtable {
    const subtable = new Subtable(mask, this.#asked);
    this.#subtables.push(subtable);
    const hash = hashOf(mask);
    const others = this.#byMask.get(hash);
    if (others === undefined) this.#byMask.set(hash, [subtable]);
    else others.push(subtable);
    return subtable;
  }

  #forget(subtable: Subtable): void {
    this.#last = undefined;
    const isOther = (one: Subtable): boolean => one !== subtable;
    this.#subtables = this.#subtables.filter(isOther);
    const hash = hashOf(subtable.mask);
    const others = this.#byMask.get(hash)?.filter(isOther) ?? [];
    if (others.length === 0) this.#byMask.delete(hash);
    else this.#byMask.set(hash, others);
  }

  #sort(): void {
    this.#subtables.sort((a, b) => b.priorityMax - a.priorityMax);
  }
}

function hashOf(mask: Int32Array): number {
  let hash = 0;
  for (let i = 0; i < KEY_WORDS; i++) hash = Math.imul(hash ^ mask[i]!, 0x9e3779b1) ^ (hash >>> 15);
  return hash;
}
