// All policies, compiled, kept up to date change by change. Only rules that a change can affect are compiled again;
// the returned delta says which rules and identities to install. Invariant: after settle() the compiled state is what
// compiling everything from scratch would give. Thread: the controller's. Pure apart from its own state.

import { GONE_POLICIES_MAX } from "../limits.js";
import { hash32 } from "../network/hash.js";
import { causeHash } from "../pipeline/cookie.js";
import { type CompiledRule, type PolicyWorld, scopeOf } from "./compile.js";
import { CompiledPolicy } from "./compiled-policy.js";
import type { PolicyHandling } from "./handling.js";
import {
  type Identity,
  IdentityTable,
  type PolicyEndpoint,
  type Relevance,
  relevanceOf,
} from "./identity.js";
import type { Direction } from "./network-policy.js";
import { compareModels, type PolicyModel, type RuleModel, type Tier } from "./policy-model.js";
import { isSameData } from "./same-data.js";
import type { Labels } from "./selector.js";

export interface PolicyDelta {
  /** Ports whose identity number changed. */
  readonly ports: ReadonlySet<string>;
  /** Policies that were looked at again, or are gone. */
  readonly policies: ReadonlySet<string>;
  /** By unit of a policy, the rules that are another now; empty when there are none any more. Those that went come first. */
  readonly units: ReadonlyMap<string, readonly CompiledRule[]>;
  /** Identities that appeared, disappeared or changed isolation. */
  readonly identities: ReadonlySet<number>;
  readonly rulesTouched: number;
}

export interface Isolation {
  /** modelKeys of the policies that isolate, sorted. */
  readonly Ingress: readonly string[];
  readonly Egress: readonly string[];
}

/** The direction of a policy that is enforced, or of one that is only tried. */
type Isolating = Direction | `Staged${Direction}`;

export class PolicySet implements PolicyWorld {
  readonly #table = new IdentityTable();
  readonly #policies = new Map<string, PolicyModel>();
  /** Policies by the one namespace whose identities they look at; undefined = any. */
  readonly #byScope = new Map<string | undefined, Set<string>>();
  /** How many policies mention each. */
  readonly #labelKeys = new Map<string, number>();
  readonly #portNames = new Map<string, number>();
  /** Those that went last, too. */
  readonly #keyByHash = new Map<number, string>();
  /** The latest comes last. */
  readonly #gone = new Set<string>();
  /** By hash: a policy's key, or an identity that policies isolate. */
  readonly #causes = new Map<number, { readonly direction: Direction; readonly of: string | number }>();
  readonly #compiled = new Map<string, CompiledPolicy>();
  readonly #namespaces = new Map<string, Labels>();
  readonly #ports = new Map<string, PolicyEndpoint>();
  readonly #portIdentity = new Map<string, Identity>();
  readonly #isolation = new Map<number, Record<Isolating, Set<string>>>();
  #relevance: Relevance = { labelKeys: new Set(), portNames: new Set() };
  #dirtyPolicies = new Set<string>();
  #dirtyPorts = new Set<string>();

  setNamespace(name: string, labels: Labels | undefined): void {
    const before = this.namespaceLabels(name);
    if (labels === undefined) this.#namespaces.delete(name);
    else this.#namespaces.set(name, labels);
    const change = { identities: this.#table.candidates(name, {}), before, after: labels ?? {} };
    if (change.identities.length === 0 || isSameData(before, change.after)) return;
    for (const [key, compiled] of this.#compiled) if (compiled.relabel(change)) this.#dirtyPolicies.add(key);
  }

  /** `key` is the policy's modelKey. */
  setPolicy(key: string, policy: PolicyModel | undefined): void {
    const before = this.#policies.get(key);
    if (before !== undefined) this.#mention(key, before, -1);
    if (policy !== undefined) this.#mention(key, policy, 1);
    if (policy === undefined) this.#policies.delete(key);
    else this.#policies.set(key, policy);
    if (policy !== undefined) {
      this.#keyByHash.set(hash32(key), key);
      this.#gone.delete(key);
    } else if (before !== undefined) this.#rememberGone(key);
    this.#setCause(key, policy !== undefined);
    this.#dirtyPolicies.add(key);
  }

  setPort(key: string, endpoint: PolicyEndpoint | undefined): void {
    if (endpoint === undefined) this.#ports.delete(key);
    else this.#ports.set(key, endpoint);
    this.#dirtyPorts.add(key);
  }

  /** What it did last is counted after it went. */
  #rememberGone(key: string): void {
    this.#gone.add(key);
    const [oldest] = this.#gone;
    if (oldest === undefined || this.#gone.size <= GONE_POLICIES_MAX) return;
    this.#gone.delete(oldest);
    if (this.#keyByHash.get(hash32(oldest)) === oldest) this.#keyByHash.delete(hash32(oldest));
  }

  get identities(): readonly Identity[] {
    return this.#table.all();
  }

  candidates(namespace: string | undefined, labels: Labels): readonly Identity[] {
    return this.#table.candidates(namespace, labels);
  }

  namespaceLabels(name: string): Labels {
    return this.#namespaces.get(name) ?? {};
  }

  identityOf(portKey: string): Identity | undefined {
    return this.#portIdentity.get(portKey);
  }

  identity(number: number): Identity | undefined {
    return this.#table.get(number);
  }

  policy(key: string): PolicyModel | undefined {
    return this.#policies.get(key);
  }

  /** The policy whose key has this hash, as in cookies; also one of those that went last. */
  keyOfHash(hash: number): string | undefined {
    return this.#keyByHash.get(hash);
  }

  /** What denied a packet, as register 7 tells: policies, and in which direction. */
  causeOf(hash: number): { readonly direction: Direction; readonly policies: readonly string[] } | undefined {
    const cause = this.#causes.get(hash);
    if (cause === undefined) return undefined;
    const { direction, of } = cause;
    return { direction, policies: typeof of === "string" ? [of] : this.isolationOf(of)[direction] };
  }

  #setCause(of: string | number, exists: boolean): void {
    const resource = typeof of === "string" ? of : `Identity/${of}`;
    for (const direction of ["Egress", "Ingress"] as const) {
      const hash = causeHash(direction, resource);
      if (exists) this.#causes.set(hash, { direction, of });
      else if (this.#causes.get(hash)?.of === of) this.#causes.delete(hash);
    }
  }

  /** The compiled policies of a tier in the order in which they are asked. */
  tier(tier: Tier): CompiledPolicy[] {
    return [...this.#compiled.values()]
      .filter(({ model }) => model.tier === tier)
      .sort((a, b) => compareModels(a.model, b.model));
  }

  isolationOf(identity: number): Isolation {
    const entry = this.#isolation.get(identity);
    return { Ingress: [...(entry?.Ingress ?? [])].sort(), Egress: [...(entry?.Egress ?? [])].sort() };
  }

  /** The same for policies that are only tried. */
  stagedIsolationOf(identity: number): Isolation {
    const entry = this.#isolation.get(identity);
    return {
      Ingress: [...(entry?.StagedIngress ?? [])].sort(),
      Egress: [...(entry?.StagedEgress ?? [])].sort(),
    };
  }

  rules(): CompiledRule[] {
    return [...this.#compiled.values()].flatMap((compiled) => compiled.rules);
  }

  rulesOf(key: string): readonly CompiledRule[] {
    return this.#compiled.get(key)?.rules ?? [];
  }

  /** The rule of a policy that compiled rules, and cookies, know by this number. */
  ruleOf(key: string, id: number): RuleModel | undefined {
    return this.#compiled.get(key)?.ruleOf(id);
  }

  /** Brings identities and compiled policies up to date with everything set since the last call. */
  settle(): PolicyDelta {
    const identities = new Set<number>();
    const ports = this.#settlePorts(identities);
    const policies = this.#dirtyPolicies;
    const gone = new Map<string, readonly CompiledRule[]>();
    const made = new Map<string, readonly CompiledRule[]>();
    let rulesTouched = 0;
    const world: PolicyWorld = {
      identities: this.identities,
      identity: (number) => this.identity(number),
      candidates: (namespace, labels) => this.candidates(namespace, labels),
      namespaceLabels: (name) => this.namespaceLabels(name),
    };
    for (const key of policies) {
      const model = this.#policies.get(key);
      const compiled = this.#compiled.get(key) ?? (model && new CompiledPolicy(key, model));
      if (compiled === undefined) continue;
      const before = this.#compiled.has(key) ? standingOf(compiled) : NOWHERE;
      const update = model === undefined ? compiled.clear() : compiled.update(model, world);
      if (model === undefined) this.#compiled.delete(key);
      else this.#compiled.set(key, compiled);
      const after = model === undefined ? NOWHERE : standingOf(compiled);
      this.#isolate(key, before, after, identities);
      if (!isSameData(before.handling, after.handling))
        for (const { number } of [...before.subjects, ...after.subjects]) identities.add(number);
      for (const [unit, rules] of update.units) (rules.length === 0 ? gone : made).set(unit, rules);
      rulesTouched += update.rulesTouched;
    }
    this.#dirtyPolicies = new Set();
    return { ports, policies, units: new Map([...gone, ...made]), identities, rulesTouched };
  }

  #settlePorts(identities: Set<number>): Set<string> {
    if (this.#dirtyPolicies.size > 0 && this.#refreshRelevance()) {
      for (const key of this.#ports.keys()) this.#dirtyPorts.add(key);
    }
    const moved = new Set<string>();
    const releases: Identity[] = [];
    for (const key of this.#dirtyPorts) {
      const before = this.#portIdentity.get(key);
      const endpoint = this.#ports.get(key);
      if (endpoint === undefined) this.#portIdentity.delete(key);
      else {
        const { identity, created } = this.#table.acquire(endpoint, this.#relevance);
        this.#portIdentity.set(key, identity);
        if (created) this.#touch(identity, identities);
      }
      if (before !== undefined) releases.push(before);
      if (before?.number !== this.#portIdentity.get(key)?.number) moved.add(key);
    }
    for (const identity of releases)
      if (this.#table.release(identity.number)) this.#touch(identity, identities);
    this.#dirtyPorts = new Set();
    return moved;
  }

  #touch(identity: Identity, identities: Set<number>): void {
    identities.add(identity.number);
    this.#setCause(identity.number, this.#table.get(identity.number) !== undefined);
    // At first, and in a fork, nothing is compiled yet that it could matter to.
    if (this.#compiled.size === 0) return;
    for (const scope of [identity.namespace, undefined]) {
      for (const key of this.#byScope.get(scope) ?? []) {
        if (this.#compiled.get(key)?.touch(identity, this)) this.#dirtyPolicies.add(key);
      }
    }
  }

  /** Counts what a policy mentions that comes (1) or goes (-1), so that no other has to be looked at again. */
  #mention(key: string, policy: PolicyModel, by: 1 | -1): void {
    const scope = scopeOf(policy);
    const keys = this.#byScope.get(scope) ?? new Set<string>();
    if (by === 1) this.#byScope.set(scope, keys.add(key));
    else keys.delete(key);
    if (keys.size === 0) this.#byScope.delete(scope);
    const { labelKeys, portNames } = relevanceOf(policy);
    for (const name of labelKeys) count(this.#labelKeys, name, by);
    for (const name of portNames) count(this.#portNames, name, by);
  }

  /** Whether the set of relevant labels and port names changed. */
  #refreshRelevance(): boolean {
    const labelKeys = new Set(this.#labelKeys.keys());
    const portNames = new Set(this.#portNames.keys());
    const changed =
      !sameSet(labelKeys, this.#relevance.labelKeys) || !sameSet(portNames, this.#relevance.portNames);
    this.#relevance = { labelKeys, portNames };
    return changed;
  }

  #isolate(key: string, before: Standing, after: Standing, identities: Set<number>): void {
    const isStaged = (one: Standing): boolean => one.handling?.staged === true;
    const same = before.subjects === after.subjects && isSameData(before.isolates, after.isolates);
    if (same && isStaged(before) === isStaged(after)) return;
    const keep = new Set(pairs(after));
    for (const pair of pairs(before)) {
      if (keep.has(pair)) keep.delete(pair);
      else this.#setIsolation(pair, key, false, identities);
    }
    for (const pair of keep) this.#setIsolation(pair, key, true, identities);
  }

  #setIsolation(pair: string, policy: string, on: boolean, identities: Set<number>): void {
    const [direction, text] = pair.split(" ") as [Isolating, string];
    const number = Number(text);
    const entry = this.#isolation.get(number) ?? {
      Ingress: new Set(),
      Egress: new Set(),
      StagedIngress: new Set(),
      StagedEgress: new Set(),
    };
    this.#isolation.set(number, entry);
    if (on) entry[direction].add(policy);
    else entry[direction].delete(policy);
    if (Object.values(entry).every(({ size }) => size === 0)) this.#isolation.delete(number);
    identities.add(number);
  }
}

/** Whom a policy isolates, and how it is handled. */
interface Standing {
  readonly subjects: readonly Identity[];
  readonly isolates: readonly Direction[];
  readonly handling: PolicyHandling | undefined;
}

const NOWHERE: Standing = { subjects: [], isolates: [], handling: undefined };

function standingOf({ subjects, isolates, model: { handling } }: CompiledPolicy): Standing {
  return { subjects, isolates, handling };
}

function pairs({ subjects, isolates, handling }: Standing): string[] {
  return isolates.flatMap((direction) =>
    subjects.map(({ number }) => `${handling?.staged === true ? "Staged" : ""}${direction} ${number}`),
  );
}

function count(counts: Map<string, number>, name: string, by: 1 | -1): void {
  const after = (counts.get(name) ?? 0) + by;
  if (after === 0) counts.delete(name);
  else counts.set(name, after);
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size !== b.size) return false;
  for (const item of a) if (!b.has(item)) return false;
  return true;
}
