// What a change would do to reachability, before anything is installed: pairs and ports gained and lost. Both sides are
// computed from compiled tables, those that are in force and those that the change would give. Pure.
import type { Compiler } from "../compiler.js";
import type { InventoryChange } from "../inputs.js";
import type { PortView } from "../network/views.js";
import { differenceOf, formatPackets, isNothing, type PacketSpace } from "./packet-space.js";
import { Reachability } from "./reachability.js";

export interface PlanLine {
  /** "namespace/machine[VirtualMachine]"; "@network" follows where a machine has several ports. */
  readonly source: string;
  readonly destination: string;
  /** "TCP 80,443". */
  readonly connections: string;
}

export interface Plan {
  /** Sorted by source, then destination. Pairs with an end that comes or goes are among them. */
  readonly gained: readonly PlanLine[];
  readonly lost: readonly PlanLine[];
}

export function planOf(compiler: Compiler, changes: readonly InventoryChange[]): Plan {
  const after = compiler.fork(changes);
  return comparePlan(compiler, after);
}

export function comparePlan(before: Compiler, after: Compiler): Plan {
  const [old, fresh] = [pairsOf(before), pairsOf(after)];
  return { gained: linesOf(fresh, old), lost: linesOf(old, fresh) };
}

interface Pair {
  readonly source: string;
  readonly destination: string;
  readonly space: PacketSpace;
}

/** By source and destination port; pairs with nothing allowed are left out. */
function pairsOf(compiler: Compiler): Map<string, Pair> {
  const reach = new Reachability(compiler);
  const byNetwork = new Map<string, PortView[]>();
  const portCounts = new Map<string, number>();
  for (const port of compiler.inventory.ports()) {
    byNetwork.set(port.network.key, [...(byNetwork.get(port.network.key) ?? []), port]);
    const machine = machineOf(port);
    portCounts.set(machine, (portCounts.get(machine) ?? 0) + 1);
  }
  const textOf = (port: PortView): string => {
    const machine = machineOf(port);
    const several = (portCounts.get(machine) ?? 0) > 1;
    return several ? `${machine}@${port.network.key.split("/")[1]}` : machine;
  };
  const pairs = new Map<string, Pair>();
  for (const ports of byNetwork.values()) {
    for (const source of ports) {
      for (const destination of ports) {
        const space = reach.between(source, destination);
        if (isNothing(space)) continue;
        const pair = { source: textOf(source), destination: textOf(destination), space };
        pairs.set(`${source.key} ${destination.key}`, pair);
      }
    }
  }
  return pairs;
}

export function machineOf({ namespace, virtualMachine, key }: PortView): string {
  return virtualMachine === undefined ? `${key}[Port]` : `${namespace}/${virtualMachine}[VirtualMachine]`;
}

/** What `some` has and `others` has not. */
function linesOf(some: ReadonlyMap<string, Pair>, others: ReadonlyMap<string, Pair>): PlanLine[] {
  const lines: PlanLine[] = [];
  for (const [key, { source, destination, space }] of some) {
    const other = others.get(key);
    const rest = other === undefined ? space : differenceOf(space, other.space);
    if (!isNothing(rest)) lines.push({ source, destination, connections: formatPackets(rest) });
  }
  return lines.sort((a, b) => (`${a.source} ${a.destination}` < `${b.source} ${b.destination}` ? -1 : 1));
}
