// Chooses a host for a machine: filters say who cannot, scores say who is best, and both say why.
// Invariant: the same hosts and request give the same answer; memory is never promised twice, processors as often as
// the host allows. Pure: the caller binds the machine and counts what it has bound.

export interface Amounts {
  readonly cpus: number;
  readonly memoryBytes: number;
}

export interface PlacementHost {
  readonly name: string;
  /** The agent's word, not older than its heartbeat allows. */
  readonly ready: boolean;
  readonly unschedulable: boolean;
  readonly capacity: Amounts;
  /** Given to machines that are bound to it, running or not. */
  readonly allocated: Amounts;
  /** Virtual processors per processor. */
  readonly cpuOvercommit: number;
}

export interface PlacementRequest extends Amounts {
  /** The machine asks for this host and no other; such a request is not kept away by `unschedulable`. */
  readonly host?: string | undefined;
}

export interface Refusal {
  readonly host: string;
  readonly reason: string;
}

export interface Placement {
  /** Undefined when no host can take the machine now. */
  readonly host: string | undefined;
  /** One sentence for a condition: why this host, or why none. */
  readonly message: string;
  /** Every host that cannot, with its first reason. */
  readonly refusals: readonly Refusal[];
}

interface Filter {
  /** Undefined when the host passes. */
  refuse(request: PlacementRequest, host: PlacementHost): string | undefined;
}

interface Score {
  readonly name: string;
  /** From 0 (worst) to 1 (best). */
  rate(request: PlacementRequest, host: PlacementHost): number;
}

const FILTERS: readonly Filter[] = [
  {
    refuse: (request, host) =>
      request.host === undefined || request.host === host.name
        ? undefined
        : `the machine asks for ${request.host}`,
  },
  { refuse: (_request, host) => (host.ready ? undefined : "is not ready") },
  {
    refuse: (request, host) =>
      host.unschedulable && request.host === undefined
        ? "is closed to new machines (spec.unschedulable)"
        : undefined,
  },
  {
    refuse: (request, host) => {
      const free = host.capacity.cpus * host.cpuOvercommit - host.allocated.cpus;
      return request.cpus <= free
        ? undefined
        : `has ${Math.max(0, free)} of ${request.cpus} virtual processors free`;
    },
  },
  {
    refuse: (request, host) => {
      const free = host.capacity.memoryBytes - host.allocated.memoryBytes;
      return request.memoryBytes <= free
        ? undefined
        : `has ${mebibytes(Math.max(0, free))} of ${mebibytes(request.memoryBytes)} memory free`;
    },
  },
];

const SCORES: readonly Score[] = [
  {
    name: "memory left",
    rate: (request, host) =>
      1 - (host.allocated.memoryBytes + request.memoryBytes) / Math.max(1, host.capacity.memoryBytes),
  },
  {
    name: "processors left",
    rate: (request, host) =>
      1 - (host.allocated.cpus + request.cpus) / Math.max(1, host.capacity.cpus * host.cpuOvercommit),
  },
];

/** The best host for `request`, or none, with reasons. Hosts that rate the same are taken by name. */
export function place(request: PlacementRequest, hosts: readonly PlacementHost[]): Placement {
  const refusals: Refusal[] = [];
  const candidates: { readonly host: PlacementHost; readonly total: number }[] = [];
  for (const host of hosts) {
    const reason = FILTERS.map((filter) => filter.refuse(request, host)).find((each) => each !== undefined);
    if (reason !== undefined) refusals.push({ host: host.name, reason });
    else candidates.push({ host, total: SCORES.reduce((sum, score) => sum + score.rate(request, host), 0) });
  }
  candidates.sort((a, b) => b.total - a.total || (a.host.name < b.host.name ? -1 : 1));
  const best = candidates[0];
  if (best !== undefined) {
    const rates = SCORES.map(
      (score) => `${score.name} ${Math.round(score.rate(request, best.host) * 100)} %`,
    );
    return { host: best.host.name, message: `placed on ${best.host.name} (${rates.join(", ")})`, refusals };
  }
  return { host: undefined, message: whyNone(request, hosts, refusals), refusals };
}

function whyNone(
  request: PlacementRequest,
  hosts: readonly PlacementHost[],
  refusals: readonly Refusal[],
): string {
  if (hosts.length === 0) return "no host has registered yet";
  if (request.host !== undefined && !hosts.some((host) => host.name === request.host)) {
    return `there is no host ${request.host}`;
  }
  const relevant = refusals.filter((refusal) => request.host === undefined || refusal.host === request.host);
  return `no host can take it: ${relevant.map(({ host, reason }) => `${host} ${reason}`).join("; ")}`;
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 1024 / 1024)}Mi`;
}
