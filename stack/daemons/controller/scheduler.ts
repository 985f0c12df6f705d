// Gives machines without a host to one that has room. The choice itself is `place` of hypervisor-core, a pure function.

import { type PlacementHost, place } from "../../../hypervisor-core/index.js";
import { isApiError, type ResourceClient, updateConditions, updateStatus } from "../../api/index.js";
import { type Host, parseQuantity, type VirtualMachine } from "../../resources/index.js";
import { inParallel } from "./pass-runner.js";

const CONDITION = "Scheduled";

interface Amounts {
  readonly cpus: number;
  readonly memoryBytes: number;
}

function amountsOf(vm: VirtualMachine): Amounts {
  return { cpus: vm.spec.cpus, memoryBytes: parseQuantity(vm.spec.memory) ?? 0 };
}

/** What was given to the machines that are bound to each host; a stopped one keeps its place. */
export function allocations(vms: readonly VirtualMachine[]): Map<string, Amounts> {
  const byHost = new Map<string, Amounts>();
  for (const vm of vms) if (vm.spec.host !== undefined) allocate(byHost, vm.spec.host, amountsOf(vm));
  return byHost;
}

function allocate(byHost: Map<string, Amounts>, host: string, more: Amounts): void {
  const before = byHost.get(host) ?? NOTHING;
  byHost.set(host, { cpus: before.cpus + more.cpus, memoryBytes: before.memoryBytes + more.memoryBytes });
}

const NOTHING: Amounts = { cpus: 0, memoryBytes: 0 };

function placementHost(host: Host, allocated: Amounts | undefined): PlacementHost {
  const { name, deletionTimestamp } = host.metadata;
  const ready = host.status?.conditions?.find((condition) => condition.type === "Ready")?.status === "True";
  return {
    name,
    ready: ready && deletionTimestamp === undefined,
    unschedulable: host.spec.unschedulable,
    capacity: host.status?.capacity ?? NOTHING,
    allocated: allocated ?? NOTHING,
    cpuOvercommit: host.spec.cpuOvercommit,
  };
}

/** One pass: binds what can be bound, says why the rest waits, and shows what hosts have given. */
export async function schedule(
  client: ResourceClient,
  hosts: readonly Host[],
  vms: readonly VirtualMachine[],
): Promise<void> {
  // Decisions of this pass count at once, before the copy of the state shows them; what fails is decided again.
  const allocated = allocations(vms);
  const decisions: {
    readonly vm: VirtualMachine;
    readonly host: string | undefined;
    readonly message: string;
  }[] = [];
  for (const vm of vms) {
    if (vm.spec.host !== undefined || vm.metadata.deletionTimestamp !== undefined) continue;
    const candidates = hosts.map((host) => placementHost(host, allocated.get(host.metadata.name)));
    const { host, message } = place(amountsOf(vm), candidates);
    decisions.push({ vm, host, message });
    if (host !== undefined) allocate(allocated, host, amountsOf(vm));
  }
  const reason = hosts.length === 0 ? "NoHost" : "NoRoom";
  await inParallel(decisions, async ({ vm, host, message }) => {
    if (host === undefined) await reportWaiting(client, vm, { reason, message });
    else await bind(client, vm, host, message);
  });
  await showAllocated(client, hosts, allocated);
}

async function showAllocated(
  client: ResourceClient,
  hosts: readonly Host[],
  byHost: ReadonlyMap<string, Amounts>,
): Promise<void> {
  for (const host of hosts) {
    const allocated = byHost.get(host.metadata.name) ?? NOTHING;
    if (sameAmounts(host.status?.allocated, allocated)) continue;
    await updateStatus(client, "Host", host.metadata, (current) =>
      sameAmounts(current.status?.allocated, allocated) ? undefined : { allocated },
    );
  }
}

function sameAmounts(a: Amounts | undefined, b: Amounts): boolean {
  return a?.cpus === b.cpus && a.memoryBytes === b.memoryBytes;
}

async function bind(
  client: ResourceClient,
  vm: VirtualMachine,
  host: string,
  message: string,
): Promise<void> {
  const { resourceVersion } = vm.metadata;
  try {
    await client.patch("VirtualMachine", vm.metadata, { metadata: { resourceVersion }, spec: { host } });
  } catch (thrown) {
    // Somebody changed or removed it: the pass that this causes decides again.
    if (isApiError(thrown, "Conflict") || isApiError(thrown, "NotFound")) return;
    throw thrown;
  }
  const verdict = { type: CONDITION, status: "True", reason: "Bound", message } as const;
  await updateConditions(client, "VirtualMachine", vm.metadata, [verdict]);
  await client.recordEvent(vm, { reason: "Scheduled", message });
}

async function reportWaiting(
  client: ResourceClient,
  vm: VirtualMachine,
  choice: { readonly reason: string; readonly message: string },
): Promise<void> {
  const { reason, message } = choice;
  const before = vm.status?.conditions?.find((condition) => condition.type === CONDITION);
  if (before?.status === "False" && before.reason === reason && before.message === message) return;
  await updateConditions(client, "VirtualMachine", vm.metadata, [
    { type: CONDITION, status: "False", reason, message },
  ]);
  await updateStatus(client, "VirtualMachine", vm.metadata, ({ status }) =>
    status?.phase === undefined ? { phase: "Scheduling" } : undefined,
  );
  await client.recordEvent(vm, { type: "Warning", reason: "NotScheduled", message });
}
