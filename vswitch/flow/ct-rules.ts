// What becomes of packets of a known connection behind a ct(), whatever else is in their headers: a rule says it for all
// that come to the ct() by one verdict, are found to be in one state, and agree in what the tables looked at besides.
// Addresses, ports, mark and label do so within one direction of a connection; so there the number of a rule is noted
// (Tracker.note), and a rule serves as many connections as fare alike.
//
//   rule (32 words): 0 number | 1 generation | 2 verdict ahead | 3 ct_state | 4 verdict behind | 5 is of any connection
//                    7–15 mask, 17–25 value of words 1–9 of a row (burst-keys.ts), without addresses and ports
//
// Invariants: a rule counts only in the generation of the verdict cache that it was made in; numbers are never used twice
// while a connection may have them noted. Thread: datapath worker. Hot: yes (find).
import type { BurstKeys } from "./burst-keys.js";
import * as K from "./key.js";
import { CT_RULES_MAX, VERDICTS_MAX } from "./limits.js";
import type { Tracker } from "./pipeline-modules.js";
import { isRowKey, writeRowMatch } from "./row-match.js";

const RULE_SHIFT = 5;
const R_GENERATION = 1;
const R_AHEAD = 2;
const R_STATE = 3;
const R_VERDICT = 4;
const R_ANY = 5;
const R_MASK = 6;
const R_VALUE = 16;
const R_END = 26;
/** In word 4 of a row: the frame has a tag. */
const TAGGED = 0x1000;
/** Of word 9 of a row: TCP's flags. */
const TCP_FLAGS = 0xffff0000 | 0;
/** Rules of any connection that are tried for one that has none: by verdict ahead and state. */
const GUESSES = 256;

export class CtRules {
  readonly #rules = new Int32Array(CT_RULES_MAX << RULE_SHIFT);
  /** By hash of what they say, the number of a rule that may say it. */
  readonly #known = new Int32Array(CT_RULES_MAX);
  readonly #wanted = new Int32Array(1 << RULE_SHIFT);
  readonly #mask = this.#wanted.subarray(R_MASK, R_VALUE); // cold
  readonly #value = this.#wanted.subarray(R_VALUE, R_END); // cold
  readonly #tracker: Tracker;
  /** The last rules of any connection. */
  readonly #guesses = new Int32Array(GUESSES);
  /** By verdict: the generation in which it led to one that is final. */
  readonly #led = new Int32Array(VERDICTS_MAX);

  constructor(tracker: Tracker) {
    this.#tracker = tracker;
  }

  /** The verdict on a packet whose connection has `note`, with row `i` of `keys`; −1 when the rule is none for it. */
  find(
    note: number,
    ahead: number,
    state: number,
    generation: number,
    { rows }: BurstKeys,
    row: number,
  ): number {
    const rules = this.#rules;
    const at = (note & (CT_RULES_MAX - 1)) << RULE_SHIFT;
    if (note === 0 || rules[at] !== note || rules[at + R_GENERATION] !== generation) return -1;
    if (rules[at + R_AHEAD] !== ahead || rules[at + R_STATE] !== state) return -1;
    const mask = at + R_MASK;
    const value = at + R_VALUE;
    const differs =
      ((rows[row + 1]! & rules[mask + 1]!) ^ rules[value + 1]!) |
      ((rows[row + 2]! & rules[mask + 2]!) ^ rules[value + 2]!) |
      ((rows[row + 3]! & rules[mask + 3]!) ^ rules[value + 3]!) |
      ((rows[row + 4]! & rules[mask + 4]!) ^ rules[value + 4]!) |
      ((rows[row + 5]! & rules[mask + 5]!) ^ rules[value + 5]!) |
      ((rows[row + 9]! & rules[mask + 9]!) ^ rules[value + 9]!);
    return differs === 0 ? rules[at + R_VERDICT]! : -1;
  }

  /** A number for find(), of a rule that holds whatever the connection is; 0 = none. */
  guess(ahead: number, state: number): number {
    return this.#guesses[guessAt(ahead, state)]!;
  }

  /** Packets that came by verdict `ahead` need no line of the cache: rules say what becomes of them in the end. */
  leads(ahead: number, generation: number): boolean {
    return this.#led[ahead] === generation;
  }

  /** The next ones that come by `ahead` may come without a line. */
  lead(ahead: number, generation: number): void {
    this.#led[ahead] = generation;
  }

  /** Whether the rule that has the number serves packets in that state that came by another verdict: it may stay. */
  serves(note: number, ahead: number, state: number, generation: number): boolean {
    const rules = this.#rules;
    const at = (note & (CT_RULES_MAX - 1)) << RULE_SHIFT;
    return (
      note !== 0 &&
      rules[at] === note &&
      rules[at + R_GENERATION] === generation &&
      rules[at + R_STATE] === state &&
      rules[at + R_AHEAD] !== ahead
    );
  }

  /**
   * The number of the rule by which packets that came by `ahead` and are in `state` have `verdict`, if those with `key` have
   * it because of `bits`; 0 when there can be none. `ofAny`: it is of use only where it holds whatever the connection is.
   */
  learn(
    key: Int32Array,
    bits: Int32Array,
    ahead: number,
    state: number,
    verdict: number,
    generation: number,
    ofAny: boolean,
  ): number {
    if (!isRowKey(key)) return 0;
    const wanted = this.#wanted;
    wanted[R_GENERATION] = generation;
    wanted[R_AHEAD] = ahead;
    wanted[R_STATE] = state;
    wanted[R_VERDICT] = verdict;
    const mask = this.#mask;
    const value = this.#value;
    writeRowMatch(key, bits, mask, value);
    wanted[R_ANY] = isOfAny(bits, mask) ? 1 : 0;
    if (ofAny && wanted[R_ANY] === 0) return 0;
    for (let i = 6; i < 9; i++) {
      mask[i] = 0;
      value[i] = 0;
    }
    mask[9] = mask[9]! & TCP_FLAGS;
    value[9] = value[9]! & TCP_FLAGS;
    mask[4] = mask[4]! | TAGGED;
    let hash = 0;
    for (let i = R_GENERATION; i < R_END; i++)
      hash = Math.imul(hash ^ (hash >>> 15) ^ wanted[i]!, 0x9e3779b1);
    const place = (hash ^ (hash >>> 16)) & (CT_RULES_MAX - 1);
    const known = this.#known[place]!;
    if (this.#isWanted(known)) return this.#remember(known, ahead, state);
    const number = this.#tracker.nextNote();
    const at = (number & (CT_RULES_MAX - 1)) << RULE_SHIFT;
    this.#known[place] = number;
    this.#rules[at] = number;
    for (let i = R_GENERATION; i < R_END; i++) this.#rules[at + i] = wanted[i]!;
    return this.#remember(number, ahead, state);
  }

  #remember(number: number, ahead: number, state: number): number {
    if (this.#wanted[R_ANY] !== 0) this.#guesses[guessAt(ahead, state)] = number;
    return number;
  }

  #isWanted(number: number): boolean {
    const rules = this.#rules;
    const wanted = this.#wanted;
    const at = (number & (CT_RULES_MAX - 1)) << RULE_SHIFT;
    if (number === 0 || rules[at] !== number) return false;
    for (let i = R_GENERATION; i < R_END; i++) if (rules[at + i] !== wanted[i]) return false;
    return true;
  }
}

function guessAt(ahead: number, state: number): number {
  return (Math.imul(ahead, 31) ^ state) & (GUESSES - 1);
}

/** Whether the tables looked at nothing that connections differ in: addresses, ports, mark, label, first tuple. */
function isOfAny(bits: Int32Array, mask: Int32Array): boolean {
  if ((mask[6]! | mask[7]! | mask[8]! | (mask[9]! & ~TCP_FLAGS)) !== 0) return false;
  // The protocol of the first packet may be another connection's.
  if (bits[K.K_CT_ZONE]! >>> 24 !== 0) return false;
  for (let i = K.K_CT_MARK; i < K.K_PKT_MARK; i++) if (bits[i] !== 0) return false;
  return true;
}
