// One table's classifier with conjunctive matches: several flows together are one match of clauses.
// Source: ovs-fields(7), Conjunctive Match Fields.
//
//   priority p:  source in {A, B}       conjunction(id,1/2)   A packet that meets a flow of every clause is looked up
//                destination in {C, D}  conjunction(id,2/2)   once more with conj_id = id: what it meets then counts.
//
// Invariant: a flow is either conjunctive or ordinary; only ordinary ones are ever the answer.
// Thread: datapath worker. Hot: yes (lookup).
import { AskedValues } from "./asked-values.js";
import { Classifier } from "./classifier.js";
import type { MaskedKey } from "./fields.js";
import type { Flow } from "./flow.js";
import { K_CONJ_ID } from "./key.js";
import type { Clause } from "./program.js";

/** Conjunctions of which clauses are met, of one priority. */
class Tally {
  length = 0;
  readonly #clauses: Clause[] = [];
  /** Clauses met: 0 to 31 and 32 to 63. */
  readonly #low: number[] = [];
  readonly #high: number[] = [];

  meet(clause: Clause): void {
    let at = 0;
    for (; at < this.length; at++) {
      const other = this.#clauses[at]!;
      if (other.id === clause.id && other.clauseCount === clause.clauseCount) break;
    }
    if (at === this.length) {
      this.length++;
      this.#clauses[at] = clause;
      this.#low[at] = 0;
      this.#high[at] = 0;
    }
    const bit = 1 << (clause.clause & 31);
    if (clause.clause < 32) this.#low[at] = this.#low[at]! | bit;
    else this.#high[at] = this.#high[at]! | bit;
  }

  /** The smallest id of which every clause is met, or −1. */
  complete(): number {
    let best = -1;
    for (let at = 0; at < this.length; at++) {
      const { id, clauseCount } = this.#clauses[at]!;
      const low = clauseCount >= 32 ? -1 : (1 << clauseCount) - 1;
      const high = clauseCount <= 32 ? 0 : clauseCount === 64 ? -1 : (1 << (clauseCount - 32)) - 1;
      if (this.#low[at] === low && this.#high[at] === high && (best < 0 || id < best)) best = id;
    }
    return best;
  }
}

export class ConjunctiveClassifier {
  readonly #ordinary: Classifier;
  readonly #conjunctive: Classifier;
  /** Conjunctive flows that the packet in hand meets, and how many of them count. */
  readonly #met: Flow[] = [];
  readonly #tally = new Tally();

  /** See Classifier. */
  constructor(asked: AskedValues = new AskedValues()) {
    this.#ordinary = new Classifier(asked);
    this.#conjunctive = new Classifier(asked);
  }

  get size(): number {
    return this.#ordinary.size + this.#conjunctive.size;
  }

  /** As Classifier.lookup. `key` has no conj_id before and after. */
  lookup(key: Int32Array, consulted: Int32Array | null): Flow | null {
    const flow = this.#ordinary.lookup(key, consulted);
    if (this.#conjunctive.size === 0) return flow;
    const above = flow === null ? -1 : flow.priority;
    const count = this.#conjunctive.allAbove(key, above, consulted, this.#met);
    return count === 0 ? flow : this.#conclude(key, flow, count, consulted);
  }

  /** Goes through the priorities of what was met, the highest first, until one is a match. */
  #conclude(
    key: Int32Array,
    otherwise: Flow | null,
    count: number,
    consulted: Int32Array | null,
  ): Flow | null {
    const met = this.#met;
    let below = 0x10000;
    for (;;) {
      let priority = -1;
      for (let i = 0; i < count; i++) {
        const one = met[i]!.priority;
        if (one < below && one > priority) priority = one;
      }
      if (priority < 0) return otherwise;
      const id = this.#completed(priority, count);
      if (id >= 0) {
        key[K_CONJ_ID] = id | 0;
        const flow = this.#ordinary.lookup(key, consulted);
        key[K_CONJ_ID] = 0;
        if (flow !== null) return flow;
      }
      below = priority;
    }
  }

  #completed(priority: number, count: number): number {
    const tally = this.#tally;
    tally.length = 0;
    for (let i = 0; i < count; i++) {
      const flow = this.#met[i]!;
      const clauses = flow.program.clauses;
      if (flow.priority !== priority || clauses === null) continue;
      for (let c = 0; c < clauses.length; c++) tally.meet(clauses[c]!);
    }
    return tally.complete();
  }

  /** As those of Classifier. */
  add(flow: Flow): boolean {
    return this.#classifierOf(flow).add(flow);
  }
  remove(flow: Flow): boolean {
    return this.#classifierOf(flow).remove(flow);
  }
  mayHaveAsked(key: MaskedKey): boolean {
    return this.#ordinary.mayHaveAsked(key) || this.#conjunctive.mayHaveAsked(key);
  }

  /** The flow with exactly this match and priority, or null. */
  findStrict(key: MaskedKey, priority: number): Flow | null {
    const flow = this.#ordinary.findStrict(key, priority);
    return flow ?? this.#conjunctive.findStrict(key, priority);
  }

  /** As those of Classifier. */
  findOverlap(key: MaskedKey, priority: number): Flow | null {
    return this.#ordinary.findOverlap(key, priority) ?? this.#conjunctive.findOverlap(key, priority);
  }
  covered(outer: MaskedKey): Flow[] {
    return this.#ordinary.covered(outer).concat(this.#conjunctive.covered(outer));
  }

  #classifierOf(flow: Flow): Classifier {
    return flow.program.clauses === null ? this.#ordinary : this.#conjunctive;
  }
}
