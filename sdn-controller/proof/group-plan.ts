// What a change would do to reachability among very many ports: exact, at the cost of the groups of ports that no policy can
// tell apart, before or after. Two ports stand for each group; a port that the change is about is a group of its own.
// Ports of two namespaces never reach each other, so that only namespaces count that the change is about; where it is about
// ports alone, only pairs count that have one of these at an end. Pure.
import type { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import { PLAN_BLOCKS_MAX, PLAN_GROUP_PAIRS_MAX, PLAN_GROUPS_MAX, PLAN_PAIRS_NAMED_MAX } from "../limits.js";
import { type IpPrefix, ipMaskOf, parseIpPrefix } from "../network/ip-address.js";
import { addressesOf, type PortView } from "../network/views.js";
import { relevanceOf } from "../policy/identity.js";
import { modelOfAdminPolicy, modelOfNetworkPolicy, type PolicyModel } from "../policy/policy-model.js";
import {
  compareLines,
  type End,
  groupDifferences,
  linesOf,
  machineOf,
  type PlanLine,
  type TooMany,
} from "./plan.js";
import { Reachability } from "./reachability.js";

export interface GroupPlan {
  /** Pairs of ports, each counted once for everything that it gains or loses. */
  readonly gainedPairs: number;
  readonly lostPairs: number;
  /** Every pair by name where they are few; else groups as "namespace/{label=value}@network (COUNT ports)". */
  readonly gained: readonly PlanLine[];
  readonly lost: readonly PlanLine[];
}

interface Group {
  readonly text: string;
  readonly members: string[];
}

export function groupPlanOf(compiler: Compiler, changes: readonly InventoryChange[]): GroupPlan | TooMany {
  const isAffected = affectedNamespaces(changes);
  const told = [...compiler.told()].filter(({ key }) => !key.includes("/") || isAffected(namespaceOf(key)));
  const models = modelsOf([...told, ...changes]);
  const blocks = blocksOf(models);
  if (blocks.length > PLAN_BLOCKS_MAX)
    return { tooMany: `policies name ${blocks.length} address blocks, more than ${PLAN_BLOCKS_MAX}` };
  const groups = groupsOf(compiler, changes, { told, models, blocks });
  const single = groups.filter(isSingle).length;
  const isAboutPorts = changes.every(({ kind }) => kind === "Port");
  const pairs = isAboutPorts ? 2 * single * groups.length : groups.length ** 2;
  const text = `policies tell ${groups.length} groups of ports apart`;
  if (groups.length > PLAN_GROUPS_MAX) return { tooMany: `${text}, more than ${PLAN_GROUPS_MAX}` };
  if (pairs > PLAN_GROUP_PAIRS_MAX)
    return { tooMany: `${text}: ${pairs} pairs of them, more than ${PLAN_GROUP_PAIRS_MAX}` };
  // Of a group that is looked at from outside alone one port is enough.
  const kept = new Set(groups.flatMap(({ members }) => members.slice(0, isAboutPorts ? 1 : 2)));
  const known = new Set(told);
  const keeps = (change: InventoryChange): boolean =>
    known.has(change) && (change.kind !== "Port" || kept.has(change.key));
  // Once compiled, it takes the changes as the controller itself would: half the cost of compiling both sides.
  const fork = compiler.fork([], keeps);
  const before = new Reachability(fork);
  const present = new Map([...kept].map((key) => [key, fork.inventory.port(key)]));
  fork.apply(changes);
  const sides = { before, after: new Reachability(fork) };
  const byEnds = new Map<readonly End[], Group>();
  for (const group of groups) {
    const ends = group.members
      .filter((key) => kept.has(key))
      .map((key): End => ({ text: key, before: present.get(key), after: fork.inventory.port(key) }));
    byEnds.set(ends, group);
  }
  const all = [...byEnds.keys()];
  const singles = new Set(all.filter((ends) => isSingle(byEnds.get(ends))));
  const concerned = isAboutPorts ? { senders: singles, receivers: singles } : undefined;
  const found = [...groupDifferences(all, sides, concerned)].map(({ word, from, to, connections }) => {
    const [source, destination] = [byEnds.get(from), byEnds.get(to)] as [Group, Group];
    const others = destination.members.length - (source === destination ? 1 : 0);
    return { word, source, destination, connections, pairs: source.members.length * others };
  });
  const countOf = (word: "gained" | "lost"): number => {
    // Both families are one pair.
    const counts = new Map(
      found
        .filter((one) => one.word === word)
        .map((one) => [`${one.source.text} ${one.destination.text}`, one.pairs]),
    );
    return [...counts.values()].reduce((sum, pairs) => sum + pairs, 0);
  };
  const [gainedPairs, lostPairs] = [countOf("gained"), countOf("lost")];
  const names = namer(compiler, changes, fork);
  const areFew = gainedPairs + lostPairs <= PLAN_PAIRS_NAMED_MAX;
  const textOf = ({ text, members: [only] }: Group): string => (text === only ? names(only) : text);
  const lines = (word: "gained" | "lost"): PlanLine[] =>
    found
      .filter((one) => one.word === word)
      .flatMap(({ source, destination, connections }): PlanLine[] => {
        if (!areFew) return [{ source: textOf(source), destination: textOf(destination), connections }];
        const ends = new Map(
          [...source.members, ...destination.members].map((key) => [key, endNamed(names(key))] as const),
        );
        const of = ({ members }: Group): End[] => members.map((key) => ends.get(key) as End);
        return linesOf(of(source), of(destination), connections);
      })
      .sort(compareLines);
  return { gainedPairs, lostPairs, gained: lines("gained"), lost: lines("lost") };
}

/** Whether it is one port that the change may be about. */
function isSingle(group: Group | undefined): boolean {
  return group !== undefined && group.text === group.members[0];
}

/** Whether pairs of a namespace's ports may be others after the changes. */
function affectedNamespaces(changes: readonly InventoryChange[]): (namespace: string) => boolean {
  const namespaces = new Set<string>();
  for (const { kind, key } of changes) {
    if (kind === "Namespace") namespaces.add(key);
    else if (kind === "Port" || kind === "NetworkPolicy") namespaces.add(namespaceOf(key));
    else return () => true;
  }
  return (namespace) => namespaces.has(namespace);
}

/** Of what lies in one. */
function namespaceOf(key: string): string {
  return key.split("/")[0] ?? "";
}

function endNamed(text: string): End {
  return { text, before: undefined, after: undefined };
}

function modelsOf(told: Iterable<InventoryChange>): PolicyModel[] {
  const models: PolicyModel[] = [];
  for (const change of told) {
    if (change.value === undefined) continue;
    if (change.kind === "NetworkPolicy") models.push(modelOfNetworkPolicy(change.value));
    else if (change.kind === "AdminNetworkPolicy" || change.kind === "BaselineAdminNetworkPolicy")
      models.push(modelOfAdminPolicy(change.value));
  }
  return models;
}

/** Address blocks that policies speak of, with their exceptions. */
function blocksOf(models: readonly PolicyModel[]): IpPrefix[] {
  const texts = new Set<string>();
  for (const { rules } of models)
    for (const { peers } of rules)
      for (const peer of peers ?? [])
        if (peer.kind === "block") for (const text of [peer.cidr, ...peer.except]) texts.add(text);
  return [...texts].flatMap((text) => parseIpPrefix(text) ?? []);
}

function groupsOf(
  compiler: Compiler,
  changes: readonly InventoryChange[],
  {
    models,
    blocks,
    told,
  }: {
    readonly told: readonly InventoryChange[];
    readonly models: readonly PolicyModel[];
    readonly blocks: readonly IpPrefix[];
  },
): Group[] {
  const relevant = models.map((model) => relevanceOf(model));
  const labelKeys = new Set(relevant.flatMap((one) => [...one.labelKeys]));
  const portNames = new Set(relevant.flatMap((one) => [...one.portNames]));
  const groups = new Map<string, Group & { readonly labels: string }>();
  const single = (key: string): void =>
    void groups.set(`port ${key}`, { text: key, members: [key], labels: "" });
  for (const { kind, key } of changes) if (kind === "Port") single(key);
  for (const { kind, key } of told) {
    if (kind !== "Port" || groups.has(`port ${key}`)) continue;
    const port = compiler.inventory.port(key);
    // One that has no address now may get one by the change.
    if (port === undefined) {
      single(key);
      continue;
    }
    const labels = Object.entries(port.labels).filter(([name]) => labelKeys.has(name));
    const named = port.namedPorts.filter(({ name }) => portNames.has(name));
    const inside = addressesOf(port).map(({ family, value }) =>
      blocks.map((block) => block.family === family && isInside(value, block)).join(),
    );
    const name = JSON.stringify([
      ...[port.namespace, port.network.key, labels.sort()],
      ...[named.map((one) => JSON.stringify(one)).sort(), [...new Set(inside)].sort()],
    ]);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, { text: "", members: [key], labels: labelText(port, labels) });
    else group.members.push(key);
  }
  const seen = new Map<string, number>();
  return [...groups.values()].map(({ text, members, labels }) => {
    if (text !== "") return { text, members };
    const count = members.length === 1 ? "1 port" : `${members.length} ports`;
    // What sets groups apart beyond labels and network, addresses and named ports, is too long to say.
    const number = (seen.get(labels) ?? 0) + 1;
    seen.set(labels, number);
    return { text: `${labels}${number === 1 ? "" : `#${number}`} (${count})`, members };
  });
}

function isInside(value: bigint, { family, address, length }: IpPrefix): boolean {
  return (value & ipMaskOf(family, length)) === address;
}

function labelText(port: PortView, labels: readonly (readonly [string, string])[]): string {
  const text = labels.map(([name, value]) => `${name}=${value}`).join(",");
  return `${port.namespace}/{${text}}@${port.network.key.split("/")[1]}`;
}

/** Of a port: its machine, with its network where the machine has several ports. */
function namer(
  compiler: Compiler,
  changes: readonly InventoryChange[],
  after: Compiler,
): (key: string) => string {
  const ports = new Map([...compiler.inventory.ports()].map((port) => [port.key, port]));
  for (const { kind, key } of changes) {
    const port = kind === "Port" ? after.inventory.port(key) : undefined;
    if (port !== undefined) ports.set(key, port);
  }
  const counts = new Map<string, number>();
  for (const port of ports.values()) counts.set(machineOf(port), (counts.get(machineOf(port)) ?? 0) + 1);
  return (key) => {
    const port = ports.get(key);
    if (port === undefined) return key;
    const machine = machineOf(port);
    return (counts.get(machine) ?? 0) > 1 ? `${machine}@${port.network.key.split("/")[1]}` : machine;
  };
}
