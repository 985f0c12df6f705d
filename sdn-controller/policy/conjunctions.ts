// Rules that are every one of some peers with every one of some ports: they can be installed as a conjunction of two
// clauses, with as many flows as there are peers and ports. And the numbers of conjunctions. Pure apart from those.
import { hash32 } from "../network/hash.js";
import { type CompiledRule, ruleKey } from "./compile.js";

/** Fewer rules are not worth two clauses. */
const RULES_MIN = 8;

export interface RuleGroup {
  /** Of the policy's rule and its subject: the same for as long as these are there. */
  readonly name: string;
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
  return [...groups].map(([name, own]) => ({ name, rules: own, isProduct: isProduct(own) }));
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

/** Numbers of conjunctions, never 0. They come from the names, so that a restart gives the same ones. */
export class ConjunctionIds {
  readonly #names = new Map<number, string>();
  readonly #byOwner = new Map<string, Map<string, number>>();

  /** Runs `use` with the function that numbers the conjunctions of `owner`; those it does not ask for are given back. */
  renew<T>(owner: string, use: (idOf: (name: string) => number) => T): T {
    const before = this.#byOwner.get(owner) ?? new Map<string, number>();
    const after = new Map<string, number>();
    const result = use((name) => {
      const id = after.get(name) ?? before.get(name) ?? this.#free(name);
      this.#names.set(id, name);
      after.set(name, id);
      return id;
    });
    for (const [name, id] of before) if (!after.has(name)) this.#names.delete(id);
    if (after.size === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, after);
    return result;
  }

  #free(name: string): number {
    let id = hash32(name);
    while (id === 0 || this.#names.has(id)) id = (id + 1) >>> 0;
    return id;
  }
}
