// Flows of one table with one mask: a hash table over the masked key, in which each match stands once, by its flow of
// the highest priority; flows with the same match and lower priorities are kept behind that.
//
//   bucket ─► flow ─next─► flow ─next─► flow        one of each match: found by packets
//              │ twins                    twins: null, alone with its match
//              └─ all flows with its match, itself among them
//
// Invariants: what packets ask for is noted (asked-values.ts); a flow in a chain has the highest priority of its match; it has `twins` when there are two or more.
// Thread: datapath worker. Hot: yes (ask).
import { Absence, consultWords } from "./absence.js";
import type { AskedValues } from "./asked-values.js";
import type { MaskedKey } from "./fields.js";
import type { Flow } from "./flow.js";
import { covers, isWithin, overlaps, sameWords } from "./masked-key.js";
import { Priorities } from "./priorities.js";
import { Twins } from "./twins.js";

const BUCKETS_MIN = 8;

export class Subtable {
  readonly mask: Int32Array;
  /** Indices of the words where the mask is not zero. */
  readonly words: Int32Array;
  flows = 0;
  /** The highest of any flow. */
  priorityMax = -1;
  /** Different matches. */
  #matches = 0;
  #buckets: (Flow | null)[] = new Array<Flow | null>(BUCKETS_MIN).fill(null);
  readonly #priorities = new Priorities();
  readonly #asked: AskedValues;
  readonly #salt: number;
  readonly #absence: Absence;

  constructor(mask: Int32Array, asked: AskedValues) {
    this.mask = mask;
    this.#asked = asked;
    this.#salt = asked.nextSalt();
    this.#absence = new Absence(mask, asked);
    const words: number[] = [];
    for (let i = 0; i < mask.length; i++) if (mask[i] !== 0) words.push(i);
    this.words = Int32Array.from(words);
  }

  #hash(key: Int32Array): number {
    const { words, mask } = this;
    let hash = 0;
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!;
      hash = Math.imul(hash ^ (key[word]! & mask[word]!), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash;
  }

  /** The flow of highest priority that a packet with `key` matches, or null. `consulted`, when given, receives by OR the
   *  bits that this depended on. */
  ask(key: Int32Array, consulted: Int32Array | null): Flow | null {
    if (this.#absence.shows(key, consulted)) return null;
    if (consulted !== null) consultWords(this.words, this.mask, consulted);
    const hash = this.#hash(key);
    this.#asked.note(hash ^ this.#salt);
    return this.#find(key, hash);
  }

  /** Whether a packet may have asked for what a flow with this value matches, or been told that there is none, since the
   *  caches were made void. */
  mayHaveAsked(value: Int32Array): boolean {
    return this.#asked.mayHave(this.#hash(value) ^ this.#salt) || this.#absence.isFeltBy(value);
  }

  /** As ask(), for nobody's packet. */
  find(key: Int32Array): Flow | null {
    return this.#find(key, this.#hash(key));
  }

  #find(key: Int32Array, hash: number): Flow | null {
    const { words, mask } = this;
    let flow = this.#buckets[hash & (this.#buckets.length - 1)] as Flow | null;
    next: while (flow !== null) {
      // To look at its match costs several lines of memory.
      if (flow.hash !== hash) {
        flow = flow.next;
        continue;
      }
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

  /** Puts every flow that a packet matches and has a priority above `above` into `into` from `count` on; returns the new
   *  count. */
  askAll(key: Int32Array, above: number, consulted: Int32Array | null, into: Flow[], count: number): number {
    return collect(this.ask(key, consulted), above, into, count);
  }

  /** The flow with exactly this value and priority, or null. */
  findStrict(value: Int32Array, priority: number): Flow | null {
    const flow = this.find(value);
    if (flow === null || flow.priority === priority) return flow;
    return flow.twins === null ? null : flow.twins.find(priority);
  }

  /** A flow of that priority that some packet could match as well as `key`, or null. */
  findOverlap(key: MaskedKey, priority: number): Flow | null {
    if (isWithin(this.mask, key.mask)) return this.findStrict(key.value, priority);
    return this.#someFlow((flow) => flow.priority === priority && overlaps(flow.key, key));
  }

  /** Puts every flow into `into` of which each packet is matched by `outer` too. */
  collectCovered(outer: MaskedKey, into: Flow[]): void {
    if (!isWithin(outer.mask, this.mask)) return;
    if (sameWords(outer.mask, this.mask)) {
      collect(this.find(outer.value), -1, into, into.length);
      return;
    }
    this.#someFlow((flow) => {
      if (covers(outer, flow.key)) into.push(flow);
      return false;
    });
  }

  #someFlow(test: (flow: Flow) => boolean): Flow | null {
    const heads = this.#buckets;
    const twins: Flow[] = [];
    for (let h = 0; h < heads.length; h++) {
      for (let flow = heads[h] as Flow | null; flow !== null; flow = flow.next) {
        if (flow.twins === null) {
          if (test(flow)) return flow;
          continue;
        }
        const count = flow.twins.collect(-1, twins, 0);
        for (let i = 0; i < count; i++) if (test(twins[i]!)) return twins[i]!;
      }
    }
    return null;
  }

  /** Returns what mayHaveAsked() said of its value before. */
  add(flow: Flow): boolean {
    flow.hash = this.#hash(flow.key.value);
    flow.next = null;
    flow.twins = null;
    this.flows++;
    this.#priorities.add(flow.priority);
    this.priorityMax = this.#priorities.max;
    const head = this.#find(flow.key.value, flow.hash);
    if (head === null) {
      this.#matches++;
      // Every flow that is passed on the way to another is a line of memory more.
      if (this.#matches > this.#buckets.length) this.#resize(this.#buckets.length * 4);
      this.#link(flow);
      return this.#absence.add(flow.key.value) || this.#mayHaveMet(flow);
    }
    head.twins ??= new Twins(head);
    head.twins.add(flow);
    if (flow.priority > head.priority) this.#replace(head, flow);
    return this.#mayHaveMet(flow);
  }

  /** Whether a packet may have met the flow, which is or was here, since the caches were made void. */
  #mayHaveMet(flow: Flow): boolean {
    return this.#asked.mayHave(flow.hash ^ this.#salt);
  }

  /** Returns whether a packet may have met it since the caches were made void. */
  remove(flow: Flow): boolean {
    const head = this.#inChain(flow) ? flow : this.#find(flow.key.value, flow.hash);
    if (head === null) return false;
    const { twins } = head;
    if (twins === null) {
      if (head !== flow) return false;
      this.#replace(flow, flow.next);
      this.#matches--;
      this.#absence.remove(flow.key.value);
    } else {
      if (!twins.remove(flow)) return false;
      const { highest } = twins;
      if (head === flow) this.#replace(head, highest);
      if (twins.size === 1) highest.twins = null;
    }
    flow.next = null;
    flow.twins = null;
    this.flows--;
    this.#priorities.remove(flow.priority);
    this.priorityMax = this.#priorities.max;
    return this.#mayHaveMet(flow);
  }

  /** Whether it stands for its match. */
  #inChain(flow: Flow): boolean {
    let one = this.#buckets[flow.hash & (this.#buckets.length - 1)] as Flow | null;
    while (one !== null && one !== flow) one = one.next;
    return one !== null;
  }

  /** `by` stands in the chain instead of `head`: another of the same match, with its twins, or what follows it. */
  #replace(head: Flow, by: Flow | null): void {
    const index = head.hash & (this.#buckets.length - 1);
    if (by !== null && by !== head.next) {
      by.next = head.next;
      by.twins = head.twins;
    }
    head.twins = null;
    let before = this.#buckets[index] as Flow | null;
    if (before === head) this.#buckets[index] = by;
    else {
      while (before !== null && before.next !== head) before = before.next;
      if (before !== null) before.next = by;
    }
    head.next = null;
  }

  #link(flow: Flow): void {
    const index = flow.hash & (this.#buckets.length - 1);
    flow.next = this.#buckets[index] as Flow | null;
    this.#buckets[index] = flow;
  }

  #resize(length: number): void {
    const heads = this.#buckets;
    this.#buckets = new Array<Flow | null>(length).fill(null);
    for (let i = 0; i < heads.length; i++) {
      for (let flow = heads[i] as Flow | null; flow !== null; ) {
        const { next } = flow;
        this.#link(flow);
        flow = next;
      }
    }
  }
}

/** `flow`, which stands for its match, and those behind it, as askAll() says. */
function collect(flow: Flow | null, above: number, into: Flow[], count: number): number {
  if (flow === null || flow.priority <= above) return count;
  const { twins } = flow;
  if (twins !== null) return twins.collect(above, into, count);
  into[count] = flow;
  return count + 1;
}
