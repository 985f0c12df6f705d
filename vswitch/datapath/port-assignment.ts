// Which worker is to serve which port. Pure.
// Source: ovs-vswitchd.conf.db(5), Open_vSwitch other_config:pmd-rxq-assign and pmd-rxq-isolate, with ports where Open
// vSwitch has queues. The first queue of a port is with the port's worker; others that can be elsewhere follow.

export const ASSIGNMENTS = ["cycles", "roundrobin", "group"] as const;
/**
 * "cycles": the busiest ports first, to the workers in turn, and back again. "roundrobin": in the order in which they
 * were made. "group": the busiest first, each to the worker that has least to do so far.
 */
export type Assignment = (typeof ASSIGNMENTS)[number];

/** The processor that somebody asks for, by the queue; that of queue 0 is the port's. */
export type Affinity = Readonly<Record<number, number>>;

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

/**
 * The place of every port's worker, of `workers` that there are. `ports` in the order in which they were made;
 * `queuePins`: workers that somebody wants for other queues than the first.
 */
export function assignPorts(
  ports: readonly AssignablePort[],
  workers: number,
  { assignment, isolates }: AssignmentRules,
  queuePins: readonly number[] = [],
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
  const pins = [...ports.map(({ pinned }) => pinned), ...queuePins];
  const open = openWorkers(pins, workers, isolates);
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

export interface AssignableQueues {
  /** The numbers of the queues. */
  readonly queues: readonly number[];
  /** The worker that somebody wants for a queue, by its place. */
  readonly pins: ReadonlyMap<number, number>;
  /** What a queue makes a worker do. */
  readonly weight: (queue: number) => number;
}

/**
 * The queues of a port for every worker that is to serve some, of those that may; `loads`: what each worker has to do
 * already, to which is added.
 */
export function assignQueues(
  { queues, pins, weight }: AssignableQueues,
  open: readonly number[],
  loads: number[],
): Map<number, number[]> {
  const places = new Map<number, number[]>();
  const inOrder = [...queues].sort((a, b) => weight(b) - weight(a) || a - b);
  for (const queue of inOrder) {
    const worker = pins.get(queue) ?? open.reduce((best, one) => (loads[one]! < loads[best]! ? one : best));
    loads[worker]! += weight(queue);
    places.set(worker, [...(places.get(worker) ?? []), queue]);
  }
  return places;
}

/** The workers that may serve what is pinned to none; `pins`: those to which something is. */
export function openWorkers(
  pins: readonly (number | undefined)[],
  workers: number,
  isolates: boolean,
): readonly number[] {
  const all = Array.from({ length: workers }, (_, worker) => worker);
  const open = isolates ? all.filter((worker) => !pins.includes(worker)) : all;
  return open.length > 0 ? open : all;
}

function leastOf(open: readonly number[], usage: readonly number[], counts: readonly number[]): number {
  return open.reduce((best, one) => {
    if (usage[one]! !== usage[best]!) return usage[one]! < usage[best]! ? one : best;
    return counts[one]! < counts[best]! ? one : best;
  });
}
