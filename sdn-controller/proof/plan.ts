// What a change would do to reachability, before anything is installed: pairs and ports gained and lost. Both sides are
// computed from compiled tables, those that are in force and those that the change would give. Pure.
import { PlinthError } from "../../base/errors/index.js";
import type { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import { PLAN_LINES_MAX, PLAN_PAIRS_COMPARED_MAX } from "../limits.js";
import { hasIpv6, type PortView } from "../network/views.js";
import type { Direction } from "../policy/network-policy.js";
import { ChangedSubjects } from "./changed-subjects.js";
import { differenceOf, formatPackets, isNothing, NO_PACKETS, type PacketSpace } from "./packet-space.js";
import { Reachability } from "./reachability.js";

export interface PlanLine {
  /** "namespace/machine[VirtualMachine]"; "@network" follows where a machine has several ports. */
  readonly source: string;
  readonly destination: string;
  /** "TCP 80,443". */
  readonly connections: string;
}

export interface Plan {
  /**
   * Sorted by source, then destination. Pairs with an end that comes or goes are among them. Of very many pairs one line for
   * all ports that policies cannot tell apart, with the name of one.
   */
  readonly gained: readonly PlanLine[];
  readonly lost: readonly PlanLine[];
}

export function planOf(compiler: Compiler, changes: readonly InventoryChange[]): Plan {
  const after = compiler.fork(changes);
  return comparePlan(compiler, after);
}

/**
 * All pairs of machines with what may pass, as if everything were gained, and the names of all machines' ports. Throws
 * REACHABILITY_TOO_LARGE.
 */
export function reachablePairs(compiler: Compiler): {
  readonly pairs: readonly PlanLine[];
  readonly machines: readonly string[];
} {
  const nothing = compiler.bare();
  const sides = { before: new Reachability(nothing), after: new Reachability(compiler) };
  const machines = groupsOf(nothing, compiler, sides).flatMap((group) => group.map(({ text }) => text));
  const plan = boundedPlan(nothing, compiler);
  if ("tooMany" in plan) throw new PlinthError("REACHABILITY_TOO_LARGE", plan.tooMany);
  return { pairs: plan.gained, machines: machines.sort() };
}

export function comparePlan(before: Compiler, after: Compiler): Plan {
  return planOfComparison(comparisonOf(before, after));
}

/** Why a plan is not worked out. */
export interface TooMany {
  readonly tooMany: string;
}

/** The same, unless it would hold up the controller for long. */
export function boundedPlan(before: Compiler, after: Compiler): Plan | TooMany {
  const comparison = comparisonOf(before, after);
  let left = PLAN_PAIRS_COMPARED_MAX;
  for (const _pair of pairsOf(comparison.groups, comparison.concerned)) {
    if (left-- > 0) continue;
    const text = `policies tell ${comparison.groups.length} groups of ports apart`;
    return { tooMany: `${text}: more than ${PLAN_PAIRS_COMPARED_MAX} pairs of them may change` };
  }
  return planOfComparison(comparison);
}

interface Comparison {
  readonly groups: readonly (readonly End[])[];
  readonly sides: Sides;
  readonly concerned: Concerned;
}

function comparisonOf(before: Compiler, after: Compiler): Comparison {
  const sides = { before: new Reachability(before), after: new Reachability(after) };
  const groups = groupsOf(before, after, sides);
  const changed = new ChangedSubjects(before, after);
  const differs = (direction: Direction) =>
    new Set(groups.filter(([one]) => one !== undefined && changed.mayDiffer(one, direction)));
  return { groups, sides, concerned: { senders: differs("Egress"), receivers: differs("Ingress") } };
}

function planOfComparison({ groups, sides, concerned }: Comparison): Plan {
  const found = [...groupDifferences(groups, sides, concerned)];
  const count = found.reduce((sum, { from, to }) => sum + from.length * to.length, 0);
  const plan: { readonly gained: PlanLine[]; readonly lost: PlanLine[] } = { gained: [], lost: [] };
  for (const { word, from, to, connections } of found) {
    if (count > PLAN_LINES_MAX)
      plan[word].push({ source: groupText(from), destination: groupText(to), connections });
    else for (const line of linesOf(from, to, connections)) plan[word].push(line);
  }
  return { gained: plan.gained.sort(compareLines), lost: plan.lost.sort(compareLines) };
}

/** One of a group, and how many others there are. */
function groupText(group: readonly End[]): string {
  const [first = "", ...others] = group.map(({ text }) => text).sort();
  return others.length === 0 ? first : `${first} and ${others.length} like it`;
}

interface Sides {
  readonly before: Reachability;
  readonly after: Reachability;
}

/** What each port of one group gains or loses towards each of another, or towards each other one of its own. */
export interface GroupDifference {
  readonly word: "gained" | "lost";
  readonly from: readonly End[];
  readonly to: readonly End[];
  readonly connections: string;
}

/** Groups that may send, or be sent to, other than before. */
export interface Concerned {
  readonly senders: ReadonlySet<readonly End[]>;
  readonly receivers: ReadonlySet<readonly End[]>;
}

/** Of groups of ports that neither side can tell apart, those pairs of which an end is concerned. */
export function* groupDifferences(
  groups: readonly (readonly End[])[],
  sides: Sides,
  concerned?: Concerned,
): Generator<GroupDifference> {
  for (const [from, to] of pairsOf(groups, concerned)) {
    const pair = [from[0], to.find((end) => end !== from[0])] as const;
    if (pair[0] === undefined || pair[1] === undefined) continue;
    const [before4, before6] = spacesOf(sides.before, pair[0].before, pair[1].before);
    const [after4, after6] = spacesOf(sides.after, pair[0].after, pair[1].after);
    const gained = [differenceOf(after4, before4), differenceOf(after6, before6)] as const;
    const lost = [differenceOf(before4, after4), differenceOf(before6, after6)] as const;
    for (const connections of textsOf(from, to, gained)) yield { word: "gained", from, to, connections };
    for (const connections of textsOf(from, to, lost)) yield { word: "lost", from, to, connections };
  }
}

function* pairsOf(
  groups: readonly (readonly End[])[],
  concerned?: Concerned,
): Generator<readonly [readonly End[], readonly End[]]> {
  const all = neighboursOf(groups);
  const few = concerned === undefined ? all : neighboursOf([...concerned.receivers]);
  for (const from of groups)
    for (const to of (concerned?.senders.has(from) ? all : few)(from)) yield [from, to];
}

/** Of a group those that are on its network, before or after: no other can reach it or be reached. */
function neighboursOf(
  groups: readonly (readonly End[])[],
): (group: readonly End[]) => Iterable<readonly End[]> {
  const networksOf = ([one]: readonly End[]): string[] => [
    `before ${one?.before?.network.key ?? ""}`,
    `after ${one?.after?.network.key ?? ""}`,
  ];
  const byNetwork = new Map<string, (readonly End[])[]>();
  for (const group of groups)
    for (const network of networksOf(group)) {
      const own = byNetwork.get(network);
      if (own === undefined) byNetwork.set(network, [group]);
      else own.push(group);
    }
  return (group) => new Set(networksOf(group).flatMap((network) => byNetwork.get(network) ?? []));
}

/** One port as it is and as it will be; absent where it is not. */
export interface End {
  readonly text: string;
  readonly before: PortView | undefined;
  readonly after: PortView | undefined;
}

/** Over IPv4 and over IPv6. */
function spacesOf(
  reach: Reachability,
  source: PortView | undefined,
  destination: PortView | undefined,
): [PacketSpace, PacketSpace] {
  if (source === undefined || destination === undefined) return [NO_PACKETS, NO_PACKETS];
  return [reach.between(source, destination, 4), reach.between(source, destination, 6)];
}

/** One text where both families differ in the same, or there is no IPv6; else one for each family. */
function textsOf(
  from: readonly End[],
  to: readonly End[],
  [four, six]: readonly [PacketSpace, PacketSpace],
): string[] {
  const texts = [four, six].map((space) => (isNothing(space) ? undefined : formatPackets(space)));
  const speaksIpv6 = [...from, ...to].some(({ before, after }) =>
    [before, after].some((port) => port !== undefined && hasIpv6(port.network)),
  );
  if (texts[0] === texts[1] || !speaksIpv6) return texts[0] === undefined ? [] : [texts[0]];
  return texts.flatMap((text, i) => (text === undefined ? [] : [`${text} over IPv${i === 0 ? 4 : 6}`]));
}

/** Ports that neither side can tell apart are one group, so that a change costs pairs of groups, not of ports. */
function groupsOf(before: Compiler, after: Compiler, sides: Sides): End[][] {
  const portCounts = new Map<string, number>();
  const ends = new Map<string, { before: PortView | undefined; after: PortView | undefined }>();
  for (const port of before.inventory.ports()) ends.set(port.key, { before: port, after: undefined });
  for (const port of after.inventory.ports())
    ends.set(port.key, { before: ends.get(port.key)?.before, after: port });
  for (const { before: was, after: will } of ends.values()) {
    const machine = machineOf((will ?? was) as PortView);
    portCounts.set(machine, (portCounts.get(machine) ?? 0) + 1);
  }
  const groups = new Map<string, End[]>();
  for (const { before: was, after: will } of ends.values()) {
    const port = (will ?? was) as PortView;
    const machine = machineOf(port);
    const several = (portCounts.get(machine) ?? 0) > 1;
    const text = several ? `${machine}@${port.network.key.split("/")[1]}` : machine;
    const key = `${was === undefined ? "" : sides.before.classOf(was)} ${will === undefined ? "" : sides.after.classOf(will)}`;
    const group = groups.get(key) ?? [];
    group.push({ text, before: was, after: will });
    groups.set(key, group);
  }
  return [...groups.values()];
}

export function linesOf(from: readonly End[], to: readonly End[], text: string): PlanLine[] {
  return from.flatMap((source) =>
    to
      .filter((destination) => destination !== source)
      .map((destination) => ({ source: source.text, destination: destination.text, connections: text })),
  );
}

export function compareLines(a: PlanLine, b: PlanLine): number {
  if (a.source !== b.source) return a.source < b.source ? -1 : 1;
  return a.destination < b.destination ? -1 : 1;
}

export function machineOf({ namespace, virtualMachine, key }: PortView): string {
  return virtualMachine === undefined ? `${key}[Port]` : `${namespace}/${virtualMachine}[VirtualMachine]`;
}
