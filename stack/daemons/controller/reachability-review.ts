// Reviews users' changes for what they do to reachability: a change that breaks an Invariant is refused with a packet that
// shows it, and a dry run is answered with the pairs and ports gained and lost. Thread: main.
import {
  type ChangeReview,
  formatBreach,
  type GroupPlan,
  type InventoryChange,
  type PlanLine,
  type SdnController,
  type TooMany,
} from "../../../sdn-controller/index.js";
import type { Review, ReviewedChange, Reviewer } from "../../api/index.js";
import type {
  ApiObject,
  Namespace,
  Port,
  ResourceKind,
  ResourceTypes,
  VirtualMachine,
} from "../../resources/index.js";
import {
  adminPolicyInput,
  invariantInput,
  keyOf,
  namespaceInput,
  policyInput,
  portInput,
} from "./sdn-inputs.js";
import { portName } from "./vm-ports.js";

const REVIEWED = new Set([
  "Namespace",
  "NetworkPolicy",
  "AdminNetworkPolicy",
  "BaselineAdminNetworkPolicy",
  "Invariant",
  "Port",
  "VirtualMachine",
]);
const POLICIES = new Set(["NetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]);
/** Among more ports the audit log tells what a change did by groups of ports: pair by pair would hold up the write. */
const AUDITED_PORTS_MAX = 500;
/** Pairs gained, and lost, that one line of the audit log tells. */
const AUDITED_PAIRS_MAX = 100;
const REACHABILITY_NOTE = "plinth.dev/reachability";
/** Lines of a plan that a dry run tells; `plinth plan` tells all. */
const LINES_MAX = 20;

export interface ReviewModules {
  /** The SDN controller, told of everything that is stored by now. */
  controller(): Promise<SdnController>;
  /** Ports of a machine, as they are. */
  portsOf(vm: VirtualMachine): readonly Port[];
  machineOf(port: Port): VirtualMachine | undefined;
}

export class ReachabilityReviewer implements Reviewer {
  readonly #modules: ReviewModules;

  constructor(modules: ReviewModules) {
    this.#modules = modules;
  }

  reviews(kind: ResourceKind): boolean {
    return REVIEWED.has(kind.kind);
  }

  async review({ kind, objects, gone, dryRun }: ReviewedChange): Promise<Review> {
    const controller = await this.#modules.controller();
    const changes = objects.flatMap((object) =>
      kind.kind === "Namespace" && gone
        ? controller.compiler.emptied(object.metadata.name)
        : this.changesOf(kind, object, gone),
    );
    const audited = POLICIES.has(kind.kind) || controller.compiler.shifts(changes);
    const isSmall = controller.compiler.inventory.portCount <= AUDITED_PORTS_MAX;
    const plan = dryRun || (audited && isSmall);
    const answer = controller.review(changes, { plan, groups: audited && !isSmall });
    const [breach] = answer.breaches;
    return {
      warnings: dryRun ? planWarnings(answer) : [],
      ...(audited ? { notes: { [REACHABILITY_NOTE]: noteOf(answer) } } : {}),
      ...(breach === undefined ? {} : { refusal: formatBreach(breach) }),
    };
  }

  /** What the SDN controller would be told. Empty for what does not bear on reachability. */
  changesOf(kind: ResourceKind, object: ApiObject, gone: boolean): InventoryChange[] {
    if (!this.reviews(kind)) return [];
    const change = <K extends keyof ResourceTypes>(
      of: (typed: ResourceTypes[K]) => InventoryChange,
    ): InventoryChange[] => {
      const told = of(object as unknown as ResourceTypes[K]);
      return [gone ? ({ kind: told.kind, key: told.key, value: undefined } as InventoryChange) : told];
    };
    switch (kind.kind) {
      case "Namespace":
        // What lies in it goes before it does.
        return gone ? [] : [namespaceInput(object as unknown as Namespace)];
      case "NetworkPolicy":
        return change<"NetworkPolicy">(policyInput);
      case "AdminNetworkPolicy":
      case "BaselineAdminNetworkPolicy": {
        const name = kind.kind;
        return change<"AdminNetworkPolicy">((policy) => adminPolicyInput(name, policy));
      }
      case "Invariant":
        return change<"Invariant">(invariantInput);
      case "Port":
        return change<"Port">((port) => portInput(port, this.#modules.machineOf(port)));
      default:
        return this.#machineChanges(object as unknown as VirtualMachine, gone);
    }
  }

  /** The Ports that the machine would have. */
  #machineChanges(vm: VirtualMachine, gone: boolean): InventoryChange[] {
    const present = this.#modules.portsOf(vm);
    const { name, namespace, labels } = vm.metadata;
    const interfaces = gone ? [] : vm.spec.interfaces;
    const wanted = interfaces.map((each): Port => {
      const port = present.find(({ metadata }) => metadata.name === portName(name, each.name));
      const metadata = {
        ...port?.metadata,
        name: portName(name, each.name),
        namespace,
        labels: labels ?? {},
      };
      const spec = {
        network: each.network,
        virtualMachine: name,
        ...(each.macAddress === undefined ? {} : { macAddress: each.macAddress }),
        ...(each.address === undefined ? {} : { addresses: [each.address] }),
      };
      return { ...port, metadata, spec } as unknown as Port;
    });
    const names = new Set(wanted.map((port) => keyOf(port)));
    const left = present.filter((port) => !names.has(keyOf(port)));
    return [
      ...wanted.map((port) => portInput(port, vm)),
      ...left.map((port): InventoryChange => ({ kind: "Port", key: keyOf(port), value: undefined })),
    ];
  }
}

/**
 * JSON: `{gained, lost}`, lists of lines "source => destination : connections"; among very many ports with the numbers of
 * pairs, and with groups of ports for ends where pairs are many; or why it is not known.
 */
function noteOf({ plan, groups }: ChangeReview): string {
  if (groups !== undefined) return groupNote(groups);
  if (plan === undefined) return JSON.stringify({ unknown: "it was not worked out" });
  if ("tooMany" in plan) return JSON.stringify({ unknown: plan.tooMany });
  return JSON.stringify(linesNote(plan, "pairsLeftOut"));
}

function groupNote(groups: GroupPlan | TooMany): string {
  if ("tooMany" in groups) return JSON.stringify({ unknown: groups.tooMany });
  const { gainedPairs, lostPairs } = groups;
  return JSON.stringify({ gainedPairs, lostPairs, ...linesNote(groups, "linesLeftOut") });
}

function linesNote({ gained, lost }: Pick<GroupPlan, "gained" | "lost">, leftOut: string): object {
  const told = (lines: readonly PlanLine[]): string[] => lines.slice(0, AUDITED_PAIRS_MAX).map(lineText);
  const left = [gained, lost].reduce((sum, { length }) => sum + Math.max(0, length - AUDITED_PAIRS_MAX), 0);
  return { gained: told(gained), lost: told(lost), ...(left === 0 ? {} : { [leftOut]: left }) };
}

function lineText({ source, destination, connections }: PlanLine): string {
  return `${source} => ${destination} : ${connections}`;
}

function planWarnings({ plan }: ChangeReview): string[] {
  if (plan === undefined) return [];
  if ("tooMany" in plan) return [`what it would gain or lose is not worked out: ${plan.tooMany}`];
  const say = (word: string, lines: readonly PlanLine[]): string[] => {
    const told = lines.slice(0, LINES_MAX).map((line) => `${word} ${lineText(line)}`);
    return lines.length > LINES_MAX ? [...told, `${word} ${lines.length - LINES_MAX} pairs more`] : told;
  };
  const warnings = [...say("gains", plan.gained), ...say("loses", plan.lost)];
  return warnings.length === 0 ? ["reachability stays as it is"] : warnings;
}
