// Gives machines without a host to one that has room. The choice is `choose`, a pure function.
import { isApiError, type ResourceClient, updateConditions, updateStatus } from "../../api/index.js";
import { type Host, parseQuantity, type VirtualMachine } from "../../resources/index.js";

const CONDITION = "Scheduled";

export interface Amounts {
  readonly cpus: number;
  readonly memoryBytes: number;
}

export type Choice =
  | { readonly host: string }
  | { readonly host: undefined; readonly reason: string; readonly message: string };

/** What the machines bound to `host` were given; a stopped one keeps its place. */
export function allocatedOn(host: string, vms: readonly VirtualMachine[]): Amounts {
  let cpus = 0;
  let memoryBytes = 0;
  for (const vm of vms) {
    if (vm.spec.host !== host) continue;
    cpus += vm.spec.cpus;
    memoryBytes += parseQuantity(vm.spec.memory) ?? 0;
  }
  return { cpus, memoryBytes };
}

/** The host with the most memory left among those that are ready and have room; ties go to the first name. */
export function chooseHost(
  vm: VirtualMachine,
  hosts: readonly Host[],
  vms: readonly VirtualMachine[],
): Choice {
  if (hosts.length === 0) return { host: undefined, reason: "NoHost", message: "no host has registered yet" };
  const refusals: string[] = [];
  let best: { name: string; freeBytes: number } | undefined;
  for (const host of [...hosts].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))) {
    const { name } = host.metadata;
    const refusal = refusalOf(vm, host, vms);
    if (refusal !== undefined) {
      refusals.push(`${name}: ${refusal}`);
      continue;
    }
    const freeBytes = (host.status?.capacity?.memoryBytes ?? 0) - allocatedOn(name, vms).memoryBytes;
    if (best === undefined || freeBytes > best.freeBytes) best = { name, freeBytes };
  }
  if (best !== undefined) return { host: best.name };
  return { host: undefined, reason: "NoRoom", message: refusals.join("; ") };
}

function refusalOf(vm: VirtualMachine, host: Host, vms: readonly VirtualMachine[]): string | undefined {
  const ready = host.status?.conditions?.find((condition) => condition.type === "Ready")?.status;
  if (host.metadata.deletionTimestamp !== undefined) return "is being removed";
  if (ready !== "True") return "is not ready";
  if (host.spec.unschedulable) return "takes no new machines";
  const capacity = host.status?.capacity;
  if (capacity === undefined) return "has not reported its capacity";
  const allocated = allocatedOn(host.metadata.name, vms);
  const memoryBytes = parseQuantity(vm.spec.memory) ?? 0;
  const cpusLeft = capacity.cpus * host.spec.cpuOvercommit - allocated.cpus;
  if (vm.spec.cpus > cpusLeft)
    return `has ${Math.max(0, cpusLeft)} virtual CPUs left, ${vm.spec.cpus} wanted`;
  const bytesLeft = capacity.memoryBytes - allocated.memoryBytes;
  if (memoryBytes > bytesLeft) {
    return `has ${Math.floor(Math.max(0, bytesLeft) / 2 ** 20)} MiB of memory left, ${Math.ceil(memoryBytes / 2 ** 20)} MiB wanted`;
  }
  return undefined;
}

export type ChooseHost = typeof chooseHost;

/** One pass: binds what can be bound, says why the rest waits, and shows what hosts have given. */
export async function schedule(
  client: ResourceClient,
  hosts: readonly Host[],
  machines: readonly VirtualMachine[],
  choose: ChooseHost,
): Promise<void> {
  // Decisions of this pass count at once, before the copy of the state shows them.
  const vms = [...machines];
  for (const [i, vm] of vms.entries()) {
    if (vm.spec.host !== undefined || vm.metadata.deletionTimestamp !== undefined) continue;
    const choice = choose(vm, hosts, vms);
    if (choice.host === undefined) {
      await reportWaiting(client, vm, choice);
      continue;
    }
    const bound = await bind(client, vm, choice.host);
    if (bound !== undefined) vms[i] = bound;
  }
  for (const host of hosts) {
    const allocated = allocatedOn(host.metadata.name, vms);
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
): Promise<VirtualMachine | undefined> {
  const { resourceVersion } = vm.metadata;
  try {
    const bound = await client.patch("VirtualMachine", vm.metadata, {
      metadata: { resourceVersion },
      spec: { host },
    });
    const message = `runs on host ${host}`;
    await updateConditions(client, "VirtualMachine", vm.metadata, [
      { type: CONDITION, status: "True", reason: "Bound", message },
    ]);
    await client.recordEvent(vm, { reason: "Scheduled", message: `placed on host ${host}` });
    return bound;
  } catch (thrown) {
    // Somebody changed or removed it; the pass that this causes decides again.
    if (isApiError(thrown, "Conflict") || isApiError(thrown, "NotFound")) return undefined;
    throw thrown;
  }
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
