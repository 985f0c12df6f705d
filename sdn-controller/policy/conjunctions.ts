// Rules that are every one of some peers with every one of some ports: they can be installed as a conjunction of two
// clauses, with as many flows as there are peers and ports. And the numbers of conjunctions. Pure apart from those.
import { CONJUNCTIONS_MAX } from "../limits.js";
import { hash32 } from "../network/hash.js";
import { type CompiledRule, ruleKey } from "./compile.js";

/** Fewer rules are not worth two clauses. */
const RULES_MIN = 8;

interface Conjunction {
  readonly id: number;
  readonly subject: string;
}

export interface RuleGroup {
  /** Of the policy's rule and its subject: the same for as long as these are there. */
  readonly name: string;
  /** Whom the rules are about, and in which direction. */
  readonly subject: string;
  readonly rules: readonly CompiledRule[];
  /** Whether no combination of the group's peers and ports is missing. */
  readonly isProduct: boolean;
}

/** `rules` of one policy by what a conjunction could stand for; every rule is in one group. */
export function conjunctionGroups(rules: readonly CompiledRule[]): RuleGroup[] {
  const groups = new Map<string, CompiledRule[]>();
  for (const rule of rules) {
    const { policy, direction, subject, ruleIndex, level, ipv6 } = rule;
    const name = `${policy} ${direction} ${ruleIndex} ${level} ${subject} ${ipv6 ? "IPv6" : "IPv4"}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [rule]);
    else group.push(rule);
  }
  return [...groups].map(([name, own]) => ({
    name,
    subject: `${own[0]?.direction} ${own[0]?.subject}`,
    rules: own,
    isProduct: isProduct(own),
  }));
}

function isProduct(rules: readonly CompiledRule[]): boolean {
  const [first] = rules;
  if (first === undefined || rules.length < RULES_MIN) return false;
  // What only counts, and what leaves open connections alone, asks for more than a match.
  if (first.staged || (first.action === "Deny" && first.keepsLive)) return false;
  const peers = new Set<string>();
  const ports = new Set<string>();
  for (const { direction, subject, peer, ports: range } of rules) {
    if (range === undefined || peer.kind === "any") return false;
    peers.add(ruleKey({ direction, subject, peer }));
    ports.add(ruleKey({ direction, subject, peer: { kind: "any" }, ports: range }));
  }
  return peers.size * ports.size === rules.length;
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
  renew<T>(owner: string, use: (idOf: (group: RuleGroup) => number | undefined) => T): T {
    const before = this.#byOwner.get(owner) ?? new Map<string, Conjunction>();
    const after = new Map<string, Conjunction>();
    const result = use(({ name, subject }) => {
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
