// What workloads are open to beyond what the documents hold: any pod of the cluster, pods that a rule names and no document
// has, and addresses outside. Judged by the workload's own policies: those of a pod that is not there are not known. Pure.
import type { Direction } from "../network-policy.js";
import { type RuleModel, selectsEndpoint } from "../policy-model.js";
import type { Cluster, Workload } from "./cluster.js";
import {
  type ConnectionSet,
  connections,
  contains,
  formatConnections,
  isEmpty,
  isProtocol,
  NO_CONNECTIONS,
  PROTOCOLS,
  type Protocol,
} from "./connection-set.js";
import type { Connectivity, ConnectivityLine, Focus } from "./connectivity.js";
import { Evaluator } from "./evaluator.js";
import { ANY_POD, selectsEach, type UnknownPods, unknownPodsOf, unknownPodsText } from "./unknown-pods.js";

export interface ExposureLine {
  readonly workload: string;
  /** Who may come, or where it may go. */
  readonly peer: string;
  readonly connections: string;
  /** Only addresses are among the lines of the connectivity, too. */
  readonly isAddress: boolean;
}

export interface Exposure {
  /** Sorted by workload, then peer. */
  readonly egress: readonly ExposureLine[];
  readonly ingress: readonly ExposureLine[];
  /** Workloads that no policy selects in a direction. */
  readonly unprotected: readonly { readonly workload: string; readonly direction: Direction }[];
}

/** `connectivity` is what was told of `cluster` with the same focus. */
export function exposureOf(cluster: Cluster, connectivity: Connectivity, focus?: Focus): Exposure {
  const evaluator = new Evaluator(cluster.policies);
  const unprotected: { workload: string; direction: Direction }[] = [];
  const result: Record<Direction, ExposureLine[]> = { Egress: [], Ingress: [] };
  const directions = (["Egress", "Ingress"] as const).filter(
    (direction) => focus?.direction === undefined || focus.direction === direction.toLowerCase(),
  );
  for (const direction of directions) {
    const addresses = addressLines(direction, connectivity.lines);
    for (const workload of connectivity.workloads) {
      const selecting = evaluator.policiesOf(direction, workload);
      if (selecting.length === 0) unprotected.push({ workload: workload.text, direction });
      const rules = selecting.flatMap((policy) =>
        policy.rules.filter((rule) => rule.direction === direction),
      );
      result[direction].push(
        ...(addresses.get(workload) ?? []),
        ...podLines(evaluator, cluster, workload, direction, rules, focus?.connections),
      );
    }
  }
  const sorted = (lines: ExposureLine[]): ExposureLine[] =>
    lines.sort((a, b) => compare(a.workload, b.workload) || compare(a.peer, b.peer));
  unprotected.sort((a, b) => compare(a.workload, b.workload) || compare(a.direction, b.direction));
  return { egress: sorted(result.Egress), ingress: sorted(result.Ingress), unprotected };
}

/** The lines between workloads and addresses, by workload. */
function addressLines(
  direction: Direction,
  lines: readonly ConnectivityLine[],
): Map<Workload, ExposureLine[]> {
  const result = new Map<Workload, ExposureLine[]>();
  for (const { source, destination, sourceEnd, destinationEnd, connections: allowed } of lines) {
    const [own, other, peer] =
      direction === "Egress" ? [sourceEnd, destinationEnd, destination] : [destinationEnd, sourceEnd, source];
    if (!("workload" in own) || !("range" in other)) continue;
    const { workload } = own;
    const before = result.get(workload) ?? [];
    result.set(workload, before);
    before.push({
      workload: workload.text,
      peer,
      connections: formatConnections(allowed),
      isAddress: true,
    });
  }
  return result;
}

function podLines(
  evaluator: Evaluator,
  cluster: Cluster,
  workload: Workload,
  direction: Direction,
  rules: readonly RuleModel[],
  wanted: ConnectionSet | undefined,
): ExposureLine[] {
  const judge = (pods: UnknownPods): { text: string; shown: boolean } => {
    const { allowed } = evaluator.direction(direction, { workload }, { unknown: pods });
    const names = direction === "Egress" ? portNames(rules, pods, allowed) : [];
    const shown = wanted === undefined ? !isEmpty(allowed) || names.length > 0 : contains(allowed, wanted);
    return { text: textOf(wanted !== undefined && shown ? wanted : allowed, names), shown };
  };
  const line = (pods: UnknownPods, text: string): ExposureLine => ({
    workload: workload.text,
    peer: unknownPodsText(pods),
    connections: text,
    isAddress: false,
  });
  const anyone = judge(ANY_POD);
  const lines = anyone.shown ? [line(ANY_POD, anyone.text)] : [];
  const told = new Set<string>([unknownPodsText(ANY_POD)]);
  for (const peer of rules.flatMap((rule) => rule.peers ?? [])) {
    if (peer.kind !== "endpoints") continue;
    const pods = unknownPodsOf(peer.selector, cluster.labelsOf);
    const name = unknownPodsText(pods);
    if (told.has(name)) continue;
    told.add(name);
    if (cluster.workloads.some((one) => selectsEndpoint(peer.selector, one))) continue;
    // What differs from anyone is worth a line, "No Connections" for those that a rule denies what others may do, too.
    const { text, shown } = judge(pods);
    if (text !== anyone.text && (shown || wanted === undefined)) lines.push(line(pods, text));
  }
  return lines;
}

interface PortName {
  readonly protocol: Protocol;
  readonly name: string;
}

/** Ports that rules allow by a name, which only a pod that is there would resolve. */
function portNames(rules: readonly RuleModel[], pods: UnknownPods, allowed: ConnectionSet): PortName[] {
  const names = rules
    .filter(({ action, peers }) => {
      const selects = peers?.some((peer) => peer.kind === "endpoints" && selectsEach(peer.selector, pods));
      return action === "Allow" && (selects ?? true);
    })
    .flatMap(({ ports }) => ports ?? [])
    .flatMap(({ name, protocol = "TCP" }) =>
      name === undefined || !isProtocol(protocol) || contains(allowed, connections(protocol))
        ? []
        : [{ protocol, name }],
    );
  return [...new Map(names.map((one) => [`${one.protocol} ${one.name}`, one])).values()];
}

/** As in "TCP 80,http,UDP dns". */
function textOf(allowed: ConnectionSet, names: readonly PortName[]): string {
  if (names.length === 0) return formatConnections(allowed);
  return PROTOCOLS.flatMap((protocol) => {
    const own = names.filter((one) => one.protocol === protocol).map(({ name }) => name);
    const isNone = allowed[protocol].length === 0;
    if (isNone) return own.length === 0 ? [] : [`${protocol} ${own.sort().join(",")}`];
    return [
      [formatConnections({ ...NO_CONNECTIONS, [protocol]: allowed[protocol] }), ...own.sort()].join(","),
    ];
  }).join(",");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
