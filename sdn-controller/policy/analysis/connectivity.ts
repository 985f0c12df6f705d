// Who can connect to whom in a cluster that is only described: one line per pair with something allowed. External
// addresses stand as ranges: sources cut where ingress rules name blocks, destinations where egress rules do. Pure.
import type { PeerModel, RuleModel } from "../policy-model.js";
import { type AddressRange, cutSpace, type Family, formatRange, parseCidr } from "./address-range.js";
import type { Cluster, Workload } from "./cluster.js";
import { type ConnectionSet, contains, isEmpty } from "./connection-set.js";
import { type End, Evaluator } from "./evaluator.js";
import { entranceConnections, INGRESS_CONTROLLER } from "./ingress-controller.js";
import type { Problem } from "./manifest.js";

export interface Focus {
  /** Names, or "namespace/name"; "ingress-controller" too. */
  readonly workloads: readonly string[];
  /** The other end must be one of these. */
  readonly peers?: readonly string[];
  readonly direction?: "ingress" | "egress";
  /** Only pairs that may have all of these, and of them only these. */
  readonly connections?: ConnectionSet;
}

export interface ConnectivityOptions {
  readonly focus?: Focus;
  /** IPv6 ranges too. */
  readonly ipv6?: boolean;
  /** Pairs with nothing allowed, too. */
  readonly denied?: boolean;
}

export interface ConnectivityLine {
  readonly source: string;
  readonly destination: string;
  readonly connections: ConnectionSet;
  readonly sourceEnd: End;
  readonly destinationEnd: End;
}

export interface Connectivity {
  /** Sorted by source, then destination. */
  readonly lines: readonly ConnectivityLine[];
  /** The workloads that are in focus. */
  readonly workloads: readonly Workload[];
  readonly problems: readonly Problem[];
}

export const EXTERNAL = "[External]";

export function connectivityOf(cluster: Cluster, options: ConnectivityOptions = {}): Connectivity {
  const problems: Problem[] = [...cluster.problems];
  const evaluator = new Evaluator(cluster.policies);
  const focus = options.focus;
  const families: readonly Family[] = options.ipv6 === true ? [4, 6] : [4];
  if (options.ipv6 !== true) problems.push(...ipv6Problems(evaluator));
  problems.push(...policyWarnings(cluster));
  if (focus !== undefined && !focusExists(cluster, focus, problems))
    return { lines: [], workloads: [], problems };

  const workloads: End[] = cluster.workloads.map((workload) => ({ workload }));
  const lines: ConnectivityLine[] = [];
  const add = (sourceEnd: End, destinationEnd: End, allowed: ConnectionSet): void => {
    const wanted = focus?.connections;
    const little = isEmpty(allowed) || (wanted !== undefined && !contains(allowed, wanted));
    if (little && options.denied !== true) return;
    lines.push({
      source: endText(sourceEnd),
      destination: endText(destinationEnd),
      connections: little ? allowed : (wanted ?? allowed),
      sourceEnd,
      destinationEnd,
    });
  };
  const judge = (source: End, destination: End): void => {
    if (inFocus(focus, source, destination))
      add(source, destination, evaluator.answer(source, destination).allowed);
  };
  for (const source of workloads)
    for (const destination of workloads) if (source !== destination) judge(source, destination);
  for (const range of outside(evaluator.blocks("Ingress"), families))
    for (const destination of workloads) judge({ range }, destination);
  for (const range of outside(evaluator.blocks("Egress"), families))
    for (const source of workloads) judge(source, { range });
  for (const { workload, connections } of entranceConnections(cluster, evaluator, problems)) {
    const source: End = { workload: INGRESS_CONTROLLER };
    if (inFocus(focus, source, { workload })) add(source, { workload }, connections);
  }
  if (lines.length === 0 && focus === undefined && cluster.workloads.length > 0)
    problems.push({ severity: "warning", message: "nothing may connect to anything" });
  return { lines: lines.sort(compareLines), workloads: focusedWorkloads(cluster, focus), problems };
}

export function endText(end: End): string {
  return "workload" in end ? end.workload.text : `${formatRange(end.range)}${EXTERNAL}`;
}

function outside(blocks: readonly AddressRange[], families: readonly Family[]): AddressRange[] {
  return families.flatMap((family) => cutSpace(family, blocks));
}

function compareLines(a: ConnectivityLine, b: ConnectivityLine): number {
  if (a.source !== b.source) return a.source < b.source ? -1 : 1;
  return a.destination < b.destination ? -1 : a.destination > b.destination ? 1 : 0;
}

function inFocus(focus: Focus | undefined, source: End, destination: End): boolean {
  if (focus === undefined) return true;
  const { workloads, peers, direction } = focus;
  const other = (end: End): boolean => peers === undefined || named(end, peers);
  const atSource = named(source, workloads) && other(destination) && direction !== "ingress";
  const atDestination = named(destination, workloads) && other(source) && direction !== "egress";
  return atSource || atDestination;
}

/** No names stand for every end. */
function named(end: End, names: readonly string[]): boolean {
  if (names.length === 0) return true;
  if (!("workload" in end)) return false;
  const { namespace, name, pods } = end.workload;
  return [name, ...pods].some((each) => names.includes(each) || names.includes(`${namespace}/${each}`));
}

function focusedWorkloads(cluster: Cluster, focus: Focus | undefined): Workload[] {
  if (focus === undefined) return [...cluster.workloads];
  const names = [...focus.workloads, ...(focus.peers ?? [])];
  return cluster.workloads.filter((workload) =>
    named({ workload }, focus.workloads.length === 0 ? [] : names),
  );
}

/** Whether at least one of the names of each list is there; the others are reported. */
function focusExists(cluster: Cluster, focus: Focus, problems: Problem[]): boolean {
  const ends = [...cluster.workloads, ...(cluster.entrances.length > 0 ? [INGRESS_CONTROLLER] : [])];
  return [focus.workloads, focus.peers ?? []].every((names) => {
    const missing = names.filter((name) => !ends.some((workload) => named({ workload }, [name])));
    for (const name of missing)
      problems.push({ severity: "warning", message: `there is no workload ${name} in the documents` });
    return names.length === 0 || missing.length < names.length;
  });
}

function ipv6Problems(evaluator: Evaluator): Problem[] {
  const blocks = [...evaluator.blocks("Ingress"), ...evaluator.blocks("Egress")];
  if (!blocks.some(({ family }) => family === 6)) return [];
  return [
    {
      severity: "warning",
      message: "policies name IPv6 blocks; addresses of IPv6 are listed only with --ipv6",
    },
  ];
}

/** Rules that cannot say what they seem to say. */
function policyWarnings(cluster: Cluster): Problem[] {
  return cluster.policies.flatMap((policy) =>
    policy.rules.flatMap((rule) => {
      const name = `${policy.namespace === "" ? "" : `${policy.namespace}/`}${policy.name}`;
      const at = `${policy.kind} ${name}: ${rule.direction.toLowerCase()}[${rule.index}]`;
      return ruleWarnings(rule).map((text): Problem => ({ severity: "warning", message: `${at}: ${text}` }));
    }),
  );
}

function ruleWarnings({ direction, peers, ports = [] }: RuleModel): string[] {
  const warnings: string[] = [];
  const kinds = new Set(peers?.map(({ kind }) => kind));
  if (kinds.has("nodes")) warnings.push("nodes are no workloads, so this peer selects nothing here");
  if (kinds.has("names"))
    warnings.push("nobody knows the addresses behind domain names, so this peer selects nothing here");
  for (const peer of peers ?? []) if (peer.kind === "block") warnings.push(...exceptWarnings(peer));
  const names = ports.flatMap(({ name }) => name ?? []);
  for (const name of names)
    if (/^\d+$/.test(name)) warnings.push(`port "${name}" in quotes is the name of a port, not its number`);
  if (direction === "Egress" && (peers === undefined || kinds.has("block")))
    for (const name of names)
      warnings.push(`addresses have no port named ${name}, so the rule allows none to them`);
  return warnings;
}

function exceptWarnings({ cidr, except }: Extract<PeerModel, { kind: "block" }>): string[] {
  const block = parseCidr(cidr);
  return except.flatMap((text) => {
    const part = parseCidr(text);
    const inside =
      part !== undefined &&
      block !== undefined &&
      part.family === block.family &&
      part.first >= block.first &&
      part.last <= block.last &&
      part.last - part.first < block.last - block.first;
    return inside
      ? []
      : [`except ${text} is no smaller part of ${cidr}: the API server refuses such a policy`];
  });
}
