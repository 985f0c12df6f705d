// What policies allow between two ends, all protocols and ports at once, and which rules said so. Both directions are
// judged alone: egress by the policies of the source, ingress by those of the destination. Pure apart from its memory.
import type { Direction } from "../network-policy.js";
import {
  type PeerModel,
  type PolicyModel,
  type PortModel,
  type RuleModel,
  selectsEndpoint,
} from "../policy-model.js";
import {
  type AddressRange,
  parseAddress,
  parseCidr,
  rangeContains,
  subtractRanges,
} from "./address-range.js";
import type { Workload } from "./cluster.js";
import {
  ALL_CONNECTIONS,
  type ConnectionSet,
  connections,
  intersect,
  isEmpty,
  isProtocol,
  NO_CONNECTIONS,
  subtract,
  union,
} from "./connection-set.js";
import { selectsEach, type UnknownPods } from "./unknown-pods.js";

/** A workload, or addresses outside: a range that no block of any policy cuts. */
export type End = { readonly workload: Workload } | { readonly range: AddressRange };

/** What may stand opposite to a workload: pods that are not there, too. */
export type Opposite = End | { readonly unknown: UnknownPods };

/** What one rule, or the absence of one, decided. */
export interface Step {
  /** Absent where no policy said anything: everything is allowed then. */
  readonly policy?: PolicyModel;
  /** Absent when the policy isolates and none of its rules allowed the connections. */
  readonly rule?: RuleModel;
  readonly action: "Allow" | "Deny" | "Pass";
  /** What this step decided; never empty. */
  readonly connections: ConnectionSet;
  /** Why no policy is asked at all: a pod and itself, or a pod and its node. */
  readonly exempt?: Exemption;
}

export type Exemption = "itself" | "node";

export interface DirectionAnswer {
  readonly direction: Direction;
  readonly allowed: ConnectionSet;
  /** Disjoint but for Pass, and for several rules of network policies that allow the same. */
  readonly steps: readonly Step[];
}

export interface Answer {
  readonly allowed: ConnectionSet;
  readonly egress: DirectionAnswer;
  readonly ingress: DirectionAnswer;
}

const OPEN: Omit<DirectionAnswer, "direction"> = {
  allowed: ALL_CONNECTIONS,
  steps: [{ action: "Allow", connections: ALL_CONNECTIONS }],
};

export class Evaluator {
  readonly #policies: readonly PolicyModel[];
  readonly #blocks = new Map<PeerModel, readonly AddressRange[]>();
  readonly #classes = new Map<Workload, string>();
  readonly #classNumbers = new Map<string, string>();
  readonly #selecting = new Map<string, readonly PolicyModel[]>();
  readonly #answers = new Map<string, DirectionAnswer>();

  /** `policies` sorted by compareModels. */
  constructor(policies: readonly PolicyModel[]) {
    this.#policies = policies;
    const rules = policies.flatMap((policy) => [...policy.rules, ...policy.idleRules]);
    for (const peer of rules.flatMap((rule) => rule.peers ?? []))
      if (peer.kind === "block") this.#blocks.set(peer, rangesOf(peer));
  }

  /**
   * The ranges that rules of `direction` name: they cut the addresses outside into what can be told apart. Rules without
   * effect count, so that a switched-off direction changes no other line.
   */
  blocks(direction: Direction): AddressRange[] {
    return this.#policies.flatMap((policy) =>
      [...policy.rules, ...policy.idleRules]
        .filter((rule) => rule.direction === direction)
        .flatMap((rule) => (rule.peers ?? []).flatMap((peer) => this.#blocks.get(peer) ?? [])),
    );
  }

  answer(source: End, destination: End): Answer {
    const exempt = exemptionOf(source, destination);
    if (exempt !== undefined) {
      const open = { ...OPEN, steps: OPEN.steps.map((step) => ({ ...step, exempt })) };
      const side = (direction: Direction): DirectionAnswer => ({ direction, ...open });
      return { allowed: ALL_CONNECTIONS, egress: side("Egress"), ingress: side("Ingress") };
    }
    const egress = this.direction("Egress", source, destination);
    const ingress = this.direction("Ingress", destination, source);
    return { allowed: intersect(egress.allowed, ingress.allowed), egress, ingress };
  }

  direction(direction: Direction, subject: End, peer: Opposite): DirectionAnswer {
    if (!("workload" in subject)) return { direction, ...OPEN };
    const key = `${direction} ${this.#classOf(subject)} ${this.#classOf(peer)}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known;
    const answer = { direction, ...this.#judge(direction, subject.workload, peer) };
    this.#answers.set(key, answer);
    return answer;
  }

  #judge(direction: Direction, subject: Workload, peer: Opposite): Omit<DirectionAnswer, "direction"> {
    const policies = this.policiesOf(direction, subject);
    const steps: Step[] = [];
    const destination = direction === "Egress" ? peer : { workload: subject };
    const matching = (policy: PolicyModel): { rule: RuleModel; ports: ConnectionSet }[] =>
      policy.rules
        .filter((rule) => rule.direction === direction && this.#selectsPeer(rule, peer))
        .map((rule) => ({ rule, ports: portsOf(rule, destination) }));

    // The first rule that matches decides, in the order given.
    const first = (tier: PolicyModel["tier"], open: ConnectionSet): Record<Step["action"], ConnectionSet> => {
      const decided = { Allow: NO_CONNECTIONS, Deny: NO_CONNECTIONS, Pass: NO_CONNECTIONS };
      let undecided = open;
      for (const policy of policies.filter((one) => one.tier === tier)) {
        for (const { rule, ports } of matching(policy)) {
          const taken = intersect(undecided, ports);
          if (isEmpty(taken)) continue;
          undecided = subtract(undecided, taken);
          decided[rule.action] = union(decided[rule.action], taken);
          steps.push({ policy, rule, action: rule.action, connections: taken });
        }
      }
      return { ...decided, Pass: union(decided.Pass, undecided) };
    };

    const admin = first("Admin", ALL_CONNECTIONS);
    const open = admin.Pass;
    const isolating = policies.filter((policy) => policy.tier === "Network");
    if (isolating.length > 0) {
      let allowed = NO_CONNECTIONS;
      for (const policy of isolating) {
        for (const { rule, ports } of matching(policy)) {
          const taken = intersect(open, ports);
          if (isEmpty(taken)) continue;
          allowed = union(allowed, taken);
          steps.push({ policy, rule, action: "Allow", connections: taken });
        }
      }
      const refused = subtract(open, allowed);
      if (!isEmpty(refused))
        for (const policy of isolating) steps.push({ policy, action: "Deny", connections: refused });
      return { allowed: union(admin.Allow, allowed), steps };
    }
    const baseline = first("Baseline", open);
    if (!isEmpty(baseline.Pass)) steps.push({ action: "Allow", connections: baseline.Pass });
    return { allowed: union(admin.Allow, union(baseline.Allow, baseline.Pass)), steps };
  }

  /** Those that select `subject` and say something about `direction`. */
  policiesOf(direction: Direction, subject: Workload): readonly PolicyModel[] {
    const key = `${direction} ${this.#classOf({ workload: subject })}`;
    let selecting = this.#selecting.get(key);
    if (selecting === undefined) {
      selecting = this.#policies.filter(
        (policy) => policy.directions.includes(direction) && selectsEndpoint(policy.subject, subject),
      );
      this.#selecting.set(key, selecting);
    }
    return selecting;
  }

  #selectsPeer(rule: RuleModel, end: Opposite): boolean {
    if (rule.peers === undefined) return true;
    return rule.peers.some((peer) => {
      if (peer.kind === "endpoints") {
        if ("unknown" in end) return selectsEach(peer.selector, end.unknown);
        return "workload" in end && selectsEndpoint(peer.selector, end.workload);
      }
      if (peer.kind !== "block" || !("range" in end)) return false;
      return (this.#blocks.get(peer) ?? []).some((range) => rangeContains(range, end.range));
    });
  }

  /** Workloads that nothing can tell apart share a class. */
  #classOf(end: Opposite): string {
    if ("unknown" in end) return JSON.stringify(end.unknown);
    if ("range" in end) return `v${end.range.family} ${end.range.first}-${end.range.last}`;
    const { workload } = end;
    let name = this.#classes.get(workload);
    if (name === undefined) {
      const { namespace, namespaceLabels, labels, ports } = workload;
      const key = JSON.stringify([
        namespace,
        Object.entries(labels).sort(),
        ports,
        Object.entries(namespaceLabels).sort(),
      ]);
      name = this.#classNumbers.get(key) ?? `#${this.#classNumbers.size}`;
      this.#classNumbers.set(key, name);
      this.#classes.set(workload, name);
    }
    return name;
  }
}

const SINGLE_PODS: ReadonlySet<string> = new Set(["Pod", "VirtualMachine"]);

/**
 * What policies are not asked about: no pod can be kept from itself, nor from the node it runs on. Another pod of the
 * same owner is another pod. Source: networking.k8s.io/v1, "Network Policies", default behaviour of nodes and pods.
 */
function exemptionOf(source: End, destination: End): Exemption | undefined {
  if ("range" in source)
    return "workload" in destination ? isNodeOf(source.range, destination.workload) : undefined;
  if ("range" in destination) return isNodeOf(destination.range, source.workload);
  const { workload } = source;
  return workload === destination.workload && SINGLE_PODS.has(workload.kind) ? "itself" : undefined;
}

function isNodeOf(range: AddressRange, { nodeAddresses }: Workload): "node" | undefined {
  if (range.first !== range.last) return undefined;
  const isNode = nodeAddresses.some((text) => {
    const node = parseAddress(text);
    return node?.family === range.family && node.address === range.first;
  });
  return isNode ? "node" : undefined;
}

function rangesOf(peer: { cidr: string; except: readonly string[] }): AddressRange[] {
  const range = parseCidr(peer.cidr);
  if (range === undefined) return [];
  return subtractRanges(
    range,
    peer.except.flatMap((text) => parseCidr(text) ?? []),
  );
}

function portsOf(rule: RuleModel, destination: Opposite): ConnectionSet {
  if (rule.ports === undefined) return ALL_CONNECTIONS;
  let result = NO_CONNECTIONS;
  for (const port of rule.ports) result = union(result, portOf(port, destination));
  return result;
}

function portOf(port: PortModel, destination: Opposite): ConnectionSet {
  if (port.name === undefined) {
    const protocol = port.protocol ?? "TCP";
    return isProtocol(protocol) ? connections(protocol, port.range) : NO_CONNECTIONS;
  }
  if (!("workload" in destination)) return NO_CONNECTIONS;
  let result = NO_CONNECTIONS;
  for (const named of destination.workload.ports) {
    const protocol = named.protocol ?? "TCP";
    if (named.name !== port.name || !isProtocol(protocol)) continue;
    if (port.protocol === undefined || port.protocol === protocol)
      result = union(result, connections(protocol, { first: named.port, last: named.port }));
  }
  return result;
}
