// Rules about many peers and many ports can be installed as a conjunction of two clauses, with as many flows as there are
// peers and ports. Which rules these are, and the numbers of their conjunctions. Pure apart from those.
import { CONJUNCTIONS_MAX } from "../limits.js";
import { hash32 } from "../network/hash.js";
import { type CompiledRule, pairCount } from "./compile.js";

/** Fewer pairs are not worth two clauses. */
const PAIRS_MIN = 8;

interface Conjunction {
  readonly id: number;
  readonly subject: string;
}

/** Whether a conjunction can stand for the rule. */
export function canBeConjunction(rule: CompiledRule): boolean {
  if (rule.ports === undefined || pairCount(rule) < PAIRS_MIN) return false;
  // What only counts, and what leaves open connections alone, asks for more than a match.
  if (rule.staged || (rule.action === "Deny" && rule.keepsLive)) return false;
  return rule.peers.every(({ kind }) => kind !== "any");
}

/** Of the policy's rule and its subject: the same for as long as these are there, and no other rule's. */
function nameOf({ policy, direction, ruleId, level, subject, ipv6, part }: CompiledRule): string {
  return `${policy} ${direction} ${ruleId} ${level} ${subject} ${ipv6 ? "IPv6" : "IPv4"} ${part}`;
}

/**
 * Numbers of conjunctions, never 0. They come from the names, so that a restart gives the same ones. A subject has at most
 * CONJUNCTIONS_MAX of them: one flow may be a clause of them all, and has to fit a message. Beyond that it depends on the
 * order of events which rules are conjunctions, but never what they mean.
 */
export class ConjunctionIds {
  readonly #names = new Map<number, string>();
  readonly #byOwner = new Map<string, Map<string, Conjunction>>();
  readonly #bySubject = new Map<string, number>();

  /**
   * Runs `use` with the function that numbers the conjunctions of `owner`, or gives none where the subject has too many;
   * those it does not ask for are given back.
   */
  renew<T>(owner: string, use: (idOf: (rule: CompiledRule) => number | undefined) => T): T {
    const before = this.#byOwner.get(owner) ?? new Map<string, Conjunction>();
    const after = new Map<string, Conjunction>();
    const result = use((rule) => {
      const name = nameOf(rule);
      const subject = `${rule.direction} ${rule.subject}`;
      const known = after.get(name) ?? before.get(name) ?? this.#add(name, subject);
      if (known !== undefined) after.set(name, known);
      return known?.id;
    });
    for (const [name, { id, subject }] of before) {
      if (after.has(name)) continue;
      this.#names.delete(id);
      const left = (this.#bySubject.get(subject) ?? 1) - 1;
      if (left === 0) this.#bySubject.delete(subject);
      else this.#bySubject.set(subject, left);
    }
    if (after.size === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, after);
    return result;
  }

  #add(name: string, subject: string): Conjunction | undefined {
    const count = this.#bySubject.get(subject) ?? 0;
    if (count >= CONJUNCTIONS_MAX) return undefined;
    this.#bySubject.set(subject, count + 1);
    let id = hash32(name);
    while (id === 0 || this.#names.has(id)) id = (id + 1) >>> 0;
    this.#names.set(id, name);
    return { id, subject };
  }
}
