// One policy compiled, brought up to date rule by rule and subject by subject: of a policy with very many rules only those
// are compiled again that were changed, or that say another thing now because an identity or a namespace's labels did.
// Invariant: after update() it is what compiling the model from scratch would give, if every identity that came or went and
// every change of labels was told. Thread: the controller's. Pure apart from its own state.

import {
  type CompiledRule,
  compileFor,
  involves,
  isSubject,
  levelsOf,
  type PolicyWorld,
  type PreparedRule,
  prepareRule,
  subjectsOf,
  tellsApart,
} from "./compile.js";
import { logsRule } from "./handling.js";
import type { Identity } from "./identity.js";
import type { Direction } from "./network-policy.js";
import type { PolicyModel, RuleModel } from "./policy-model.js";
import { NO_RULES, type NumberedRules, numberRules, saysTheSame } from "./rule-identity.js";
import { isSameData } from "./same-data.js";
import type { Labels } from "./selector.js";

/** Rules that are compiled together: as a rule, one. */
interface Part {
  readonly prepared: readonly PreparedRule[];
  readonly bySubject: Map<number, readonly CompiledRule[]>;
}

/** What an update changed. */
export interface PolicyUpdate {
  /** By unit, the rules of one part about one subject: what they are now; empty when there are none any more. */
  readonly units: ReadonlyMap<string, readonly CompiledRule[]>;
  /** Rules that went, and rules that came. */
  readonly rulesTouched: number;
}

export class CompiledPolicy {
  readonly key: string;
  #model: PolicyModel;
  /** The model's. */
  #numbered: NumberedRules = NO_RULES;
  #subjects: readonly Identity[] = [];
  #parts = new Map<string, Part>();
  #staleParts = new Set<string>();
  #staleSubjects = true;
  #looksAtNamespaces = false;

  /** Holds nothing before the first update. */
  constructor(key: string, model: PolicyModel) {
    this.key = key;
    this.#model = model;
  }

  get model(): PolicyModel {
    return this.#model;
  }

  /** Directions in which it isolates its subjects. */
  get isolates(): readonly Direction[] {
    return this.#model.tier === "Network" ? this.#model.directions : [];
  }

  /** Identities that the policy selects; the same list for as long as these are the same. */
  get subjects(): readonly Identity[] {
    return this.#subjects;
  }

  /** The rule of the model that compiled rules, and cookies, know by this number. */
  ruleOf(id: number): RuleModel | undefined {
    return this.#model.rules[this.#numbered.ids.indexOf(id)];
  }

  /** In the order of the model. */
  get rules(): CompiledRule[] {
    return [...this.#parts.values()].flatMap(({ bySubject }) => [...bySubject.values()].flat());
  }

  /** Tells that `identity` appeared or disappeared; returns whether that matters here. */
  touch(identity: Identity, world: PolicyWorld): boolean {
    let matters = false;
    if (!this.#staleSubjects && isSubject(this.#model, identity, world)) {
      this.#staleSubjects = true;
      matters = true;
    }
    return this.#markRules((rule) => involves(rule, identity, world)) || matters;
  }

  /** Tells that a namespace's labels changed; returns whether that matters here. `identities`: those of the namespace. */
  relabel(namespace: {
    readonly identities: readonly Identity[];
    readonly before: Labels;
    readonly after: Labels;
  }): boolean {
    if (!this.#looksAtNamespaces) return false;
    const subjects = tellsApart(this.#model.subject, namespace);
    if (subjects) this.#staleSubjects = true;
    const rules = this.#markRules((rule) =>
      (rule.peers ?? []).some((peer) => peer.kind === "endpoints" && tellsApart(peer.selector, namespace)),
    );
    return subjects || rules;
  }

  #markRules(isStale: (rule: RuleModel) => boolean): boolean {
    let marked = false;
    for (const [name, { prepared }] of this.#parts) {
      if (this.#staleParts.has(name) || !prepared.some(({ rule }) => isStale(rule))) continue;
      this.#staleParts.add(name);
      marked = true;
    }
    return marked;
  }

  /** Brings it up to date with everything told since, and with `model`, of the same key. */
  update(model: PolicyModel, world: PolicyWorld): PolicyUpdate {
    const before = this.#model;
    this.#model = model;
    this.#numbered = numberRules(model.rules, this.#numbered);
    const isStale = this.#staleSubjects || !isSameData(before.subject, model.subject);
    const isSelected = isStale && this.#select(world);
    const isAlike = before.priority === model.priority && isSameData(handlingOf(before), handlingOf(model));
    const changes = new UnitChanges(this.key);
    const parts = new Map<string, Part>();
    const levels = levelsOf(model);
    for (const [name, numbered] of partsOf(model, this.#numbered.ids)) {
      const rules = numbered.map(({ rule }) => rule);
      const own = rules.map((rule) => levels.get(rule) ?? 0);
      const old = this.#parts.get(name);
      const isKept =
        old !== undefined &&
        isAlike &&
        !this.#staleParts.has(name) &&
        old.prepared.length === rules.length &&
        old.prepared.every(({ rule, id, level }, i) => {
          const now = rules[i] as RuleModel;
          return (
            level === own[i] &&
            id === numbered[i]?.id &&
            saysTheSame(rule, now) &&
            isLogged(before, rule) === isLogged(model, now)
          );
        });
      const part: Part = isKept
        ? // With the rules of this model, so that it does not keep the one before in memory.
          { ...old, prepared: old.prepared.map((one, i) => ({ ...one, rule: rules[i] as RuleModel })) }
        : {
            prepared: numbered.map(({ rule, id }, i) => prepareRule(rule, id, own[i] as number, world)),
            bySubject: new Map(),
          };
      parts.set(name, part);
      if (!isKept) changes.took(name, old?.bySubject);
      if (!isKept || isSelected) this.#compileSubjects(part, name, changes, world);
    }
    for (const [name, { bySubject }] of this.#parts) if (!parts.has(name)) changes.took(name, bySubject);
    this.#parts = parts;
    this.#staleParts = new Set();
    this.#looksAtNamespaces = looksAtNamespaces(model);
    return changes;
  }

  /** Everything goes. */
  clear(): PolicyUpdate {
    const changes = new UnitChanges(this.key);
    for (const [name, { bySubject }] of this.#parts) changes.took(name, bySubject);
    this.#parts = new Map();
    this.#subjects = [];
    this.#staleSubjects = true;
    return changes;
  }

  /** Whether its subjects are others now. */
  #select(world: PolicyWorld): boolean {
    const subjects = subjectsOf(this.#model, world);
    this.#staleSubjects = false;
    const known = this.#subjects;
    if (subjects.length === known.length && subjects.every((one, i) => one === known[i])) return false;
    this.#subjects = subjects;
    return true;
  }

  #compileSubjects(part: Part, name: string, changes: UnitChanges, world: PolicyWorld): void {
    const { bySubject, prepared } = part;
    const wanted = new Set<number>();
    for (const subject of this.#subjects) {
      wanted.add(subject.number);
      if (bySubject.has(subject.number)) continue;
      const rules = compileFor(this.#model, prepared, subject, world);
      bySubject.set(subject.number, rules);
      changes.gave(name, subject.number, rules);
    }
    if (bySubject.size === wanted.size) return;
    for (const [number, rules] of bySubject) {
      if (wanted.has(number)) continue;
      changes.took(name, new Map([[number, rules]]));
      bySubject.delete(number);
    }
  }
}

class UnitChanges implements PolicyUpdate {
  readonly units = new Map<string, readonly CompiledRule[]>();
  rulesTouched = 0;
  readonly #key: string;

  constructor(key: string) {
    this.#key = key;
  }

  took(part: string, bySubject: ReadonlyMap<number, readonly CompiledRule[]> = new Map()): void {
    for (const [subject, rules] of bySubject) {
      this.rulesTouched += rules.length;
      if (rules.length > 0) this.units.set(this.#unit(part, subject), []);
    }
  }

  gave(part: string, subject: number, rules: readonly CompiledRule[]): void {
    this.rulesTouched += rules.length;
    if (rules.length > 0) this.units.set(this.#unit(part, subject), rules);
  }

  #unit(part: string, subject: number): string {
    return `${this.#key} ${part} ${subject}`;
  }
}

/** Rules of which only some are logged leave out what earlier ones are about, so they are compiled together. */
function partsOf(
  model: PolicyModel,
  ids: readonly number[],
): Iterable<readonly [string, readonly NumberedRule[]]> {
  const { rules } = model;
  const numbered = rules.map((rule, i) => ({ rule, id: ids[i] as number }));
  const first = rules[0];
  const isMixed = rules.some((rule) => isLogged(model, rule) !== isLogged(model, first as RuleModel));
  if (isMixed) return [["rules", numbered]];
  return numbered.map((one) => [`rule ${one.id}`, [one]]);
}

interface NumberedRule {
  readonly rule: RuleModel;
  readonly id: number;
}

function isLogged({ handling }: PolicyModel, { direction, index }: RuleModel): boolean {
  return logsRule(handling, direction, index);
}

/** What of the handling all rules share. */
function handlingOf({ handling: { staged = false, keepsLive = false } }: PolicyModel): readonly boolean[] {
  return [staged, keepsLive];
}

function looksAtNamespaces({ subject, rules }: PolicyModel): boolean {
  if (subject.namespace === undefined) return true;
  return rules.some(({ peers = [] }) =>
    peers.some((peer) => peer.kind === "endpoints" && peer.selector.namespace === undefined),
  );
}
