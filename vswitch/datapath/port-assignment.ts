// Which worker is to serve which port. Pure.
// Source: ovs-vswitchd.conf.db(5), Open_vSwitch other_config:pmd-rxq-assign and pmd-rxq-isolate, with ports where Open
// vSwitch has queues: all queues of a port are with one worker.

export const ASSIGNMENTS = ["cycles", "roundrobin", "group"] as const;
/**
 * "cycles": the busiest ports first, to the workers in turn, and back again. "roundrobin": in the order in which they
 * were made. "group": the busiest first, each to the worker that has least to do so far.
 */
export type Assignment = (typeof ASSIGNMENTS)[number];

export interface AssignmentRules {
  readonly assignment: Assignment;
  /** Workers to which a port is pinned serve no others, as long as there are other workers. */
  readonly isolates: boolean;
}

export interface AssignablePort {
  readonly name: string;
  /** The worker that somebody wants for it, by its place. */
  readonly pinned: number | undefined;
  /** Share of a worker's time that it takes, 0 to 1. */
  readonly usage: number;
}

/** The place of every port's worker, of `workers` that there are. `ports` in the order in which they were made. */
export function assignPorts(
  ports: readonly AssignablePort[],
  workers: number,
  { assignment, isolates }: AssignmentRules,
): Map<string, number> {
  const places = new Map<string, number>();
  const usage = new Array<number>(workers).fill(0);
  const counts = new Array<number>(workers).fill(0);
  const put = (port: AssignablePort, worker: number): void => {
    places.set(port.name, worker);
    usage[worker]! += port.usage;
    counts[worker]! += 1;
  };
  for (const port of ports) if (port.pinned !== undefined) put(port, port.pinned);
  const open = openWorkers(ports, workers, isolates);
  const others = ports.filter(({ pinned }) => pinned === undefined);
  const inOrder = assignment === "roundrobin" ? others : others.sort((a, b) => b.usage - a.usage);
  for (const [i, port] of inOrder.entries()) {
    const lap = Math.floor(i / open.length);
    const step = i % open.length;
    if (assignment === "group") put(port, leastOf(open, usage, counts));
    else if (assignment === "cycles" && lap % 2 === 1) put(port, open[open.length - 1 - step]!);
    else put(port, open[step]!);
  }
  return places;
}

/** The workers that may serve ports that are pinned to none. */
export function openWorkers(
  ports: readonly Pick<AssignablePort, "pinned">[],
  workers: number,
  isolates: boolean,
): readonly number[] {
  const all = Array.from({ length: workers }, (_, worker) => worker);
  const open = isolates ? all.filter((worker) => !ports.some(({ pinned }) => pinned === worker)) : all;
  return open.length > 0 ? open : all;
}

function leastOf(open: readonly number[], usage: readonly number[], counts: readonly number[]): number {
  return open.reduce((best, one) => {
    if (usage[one]! !== usage[best]!) return usage[one]! < usage[best]! ? one : best;
    return counts[one]! < counts[best]! ? one : best;
  });
}
