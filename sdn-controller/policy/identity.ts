// Identities: ports that no policy can tell apart share one number, and rules are compiled over those numbers.
// A number is a hash of the namespace, the labels and the named ports that some policy mentions, and of whether there is
// IPv6, so it survives a restart. Invariant: two identities never share a number; 0 stands for everything that is not a port of ours.
import { hash32 } from "../network/hash.js";
import type { PolicyModel } from "./policy-model.js";
import { keysOf, type Labels } from "./selector.js";

/** Traffic whose source or destination is no port of ours; only an address rule can name it. */
export const IDENTITY_WORLD = 0;

export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol?: string;
}

/** What policy can see of a port. */
export interface PolicyEndpoint {
  readonly namespace: string;
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
  /** Whether it may have addresses of IPv6; IPv4 everybody has. */
  readonly ipv6?: boolean;
}

export interface Identity extends PolicyEndpoint {
  readonly number: number;
  readonly ipv6: boolean;
}

/** The label keys and port names that some policy mentions. */
export interface Relevance {
  readonly labelKeys: ReadonlySet<string>;
  readonly portNames: ReadonlySet<string>;
}

/** What `model` mentions of pods. Labels of namespaces do not count: the namespace is part of every identity. */
export function relevanceOf(model: PolicyModel): Relevance {
  const labelKeys = new Set(keysOf(model.subject.podSelector ?? {}));
  const portNames = new Set<string>();
  for (const rule of model.rules) {
    for (const peer of rule.peers ?? []) {
      if (peer.kind !== "endpoints") continue;
      for (const key of keysOf(peer.selector.podSelector ?? {})) labelKeys.add(key);
    }
    for (const { name } of rule.ports ?? []) if (name !== undefined) portNames.add(name);
  }
  return { labelKeys, portNames };
}

interface Entry {
  readonly identity: Identity;
  readonly key: string;
  users: number;
}

/** Hands out identities and takes them back when the last port that shares one is gone. */
export class IdentityTable {
  readonly #byKey = new Map<string, Entry>();
  readonly #byNumber = new Map<number, Entry>();
  readonly #byNamespace = new Map<string, Map<number, Identity>>();
  /** Those that have a label, of one namespace and of any. */
  readonly #byLabel = new Map<string, Map<number, Identity>>();

  /** The identity of `endpoint` under `relevance`, made when it is new. Each call counts as one more user. */
  acquire(endpoint: PolicyEndpoint, relevance: Relevance): { identity: Identity; created: boolean } {
    const labels = projectLabels(endpoint.labels, relevance.labelKeys);
    const namedPorts = projectPorts(endpoint.namedPorts, relevance.portNames);
    const ipv6 = endpoint.ipv6 === true;
    const visible = [endpoint.namespace, Object.entries(labels), namedPorts, ...(ipv6 ? ["IPv6"] : [])];
    const key = JSON.stringify(visible);
    const existing = this.#byKey.get(key);
    if (existing !== undefined) {
      existing.users++;
      return { identity: existing.identity, created: false };
    }
    const number = this.#freeNumber(key);
    const identity: Identity = { number, namespace: endpoint.namespace, labels, namedPorts, ipv6 };
    const entry: Entry = { identity, key, users: 1 };
    this.#byKey.set(key, entry);
    this.#byNumber.set(number, entry);
    put(this.#byNamespace, endpoint.namespace, identity);
    for (const label of labelsIn(identity)) put(this.#byLabel, label, identity);
    return { identity, created: true };
  }

  /** One user fewer; returns whether the identity ceased to exist. */
  release(number: number): boolean {
    const entry = this.#byNumber.get(number);
    if (entry === undefined || --entry.users > 0) return false;
    this.#byKey.delete(entry.key);
    this.#byNumber.delete(number);
    take(this.#byNamespace, entry.identity.namespace, number);
    for (const label of labelsIn(entry.identity)) take(this.#byLabel, label, number);
    return true;
  }

  get(number: number): Identity | undefined {
    return this.#byNumber.get(number)?.identity;
  }

  /** All that have these labels, and perhaps others, of one namespace or of any: as few as is known without a look at each. */
  candidates(namespace: string | undefined, labels: Labels): Identity[] {
    let fewest = namespace === undefined ? undefined : (this.#byNamespace.get(namespace) ?? NONE);
    for (const [key, value] of Object.entries(labels)) {
      const own = this.#byLabel.get(labelIn(namespace, key, value)) ?? NONE;
      if (fewest === undefined || own.size < fewest.size) fewest = own;
    }
    return fewest === undefined ? this.all() : [...fewest.values()];
  }

  all(): Identity[] {
    return [...this.#byNumber.values()].map((entry) => entry.identity);
  }

  #freeNumber(key: string): number {
    let number = hash32(key);
    while (number === IDENTITY_WORLD || this.#byNumber.has(number)) number = (number + 1) >>> 0;
    return number;
  }
}

type Identities = ReadonlyMap<number, Identity>;

const NONE: Identities = new Map();

function labelIn(namespace: string | undefined, key: string, value: string): string {
  return `${namespace ?? ""} ${key}=${value}`;
}

function labelsIn({ namespace, labels }: Identity): string[] {
  return Object.entries(labels).flatMap(([key, value]) =>
    [namespace, undefined].map((space) => labelIn(space, key, value)),
  );
}

function put(index: Map<string, Map<number, Identity>>, name: string, identity: Identity): void {
  const all = index.get(name);
  if (all === undefined) index.set(name, new Map([[identity.number, identity]]));
  else all.set(identity.number, identity);
}

function take(index: Map<string, Map<number, Identity>>, name: string, number: number): void {
  const all = index.get(name);
  all?.delete(number);
  if (all?.size === 0) index.delete(name);
}

function projectLabels(labels: Labels, keys: ReadonlySet<string>): Labels {
  const kept = Object.entries(labels).filter(([key]) => keys.has(key));
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function projectPorts(ports: readonly NamedPort[], names: ReadonlySet<string>): NamedPort[] {
  return ports
    .filter((port) => names.has(port.name))
    .map((port) => ({ name: port.name, port: port.port, protocol: port.protocol ?? "TCP" }))
    .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function sortKey(port: NamedPort): string {
  return `${port.name}/${port.protocol}/${port.port}`;
}
