// Keeps one Port for each interface of each virtual machine, and shows the Ports' addresses in the machine's status.
import { isDeepStrictEqual } from "node:util";
import { describeError } from "../../../base/errors/index.js";
import {
  isApiError,
  isQuotaExceeded,
  type ResourceClient,
  updateConditions,
  updateStatus,
} from "../../api/index.js";
import type { Port, VirtualMachine } from "../../resources/index.js";
import { inParallel } from "./pass-runner.js";
import { interfaceStatus, type PortAction, PortIndex, planPorts } from "./vm-ports.js";

const CONDITION = "PortsCreated";

/** One pass over `vms`; `ports` are those of all namespaces. */
export async function reconcilePorts(
  client: ResourceClient,
  vms: readonly VirtualMachine[],
  ports: readonly Port[],
): Promise<void> {
  const index = new PortIndex(ports);
  await inParallel(vms, async (vm) => {
    const { actions, taken } = planPorts(vm, index);
    const refusals = taken.map((name) => `port ${name} belongs to somebody else`);
    for (const action of actions) {
      const refusal = await carryOut(client, vm, action);
      if (refusal !== undefined) refusals.push(refusal);
    }
    await report(client, vm, refusals);
    await showInterfaces(client, vm, index);
  });
}

/** Why the action was refused for good; undefined when it was done or will come round again. */
async function carryOut(
  client: ResourceClient,
  vm: VirtualMachine,
  action: PortAction,
): Promise<string | undefined> {
  const { namespace } = vm.metadata;
  try {
    if (action.type === "create") await client.create("Port", action.port);
    else if (action.type === "patch")
      await client.patch("Port", { namespace, name: action.name }, action.patch);
    else await client.delete("Port", { namespace, name: action.name }, { uid: action.uid });
    return undefined;
  } catch (thrown) {
    // Invalid, and what a quota leaves no room for, is the user's to put right. The others are a race, or a namespace on
    // its way out: the next change decides.
    if (isApiError(thrown, "Invalid") || isQuotaExceeded(thrown)) return describeError(thrown);
    const passing = ["AlreadyExists", "NotFound", "Conflict", "Forbidden"] as const;
    if (passing.some((reason) => isApiError(thrown, reason))) return undefined;
    throw thrown;
  }
}

async function report(
  client: ResourceClient,
  vm: VirtualMachine,
  refusals: readonly string[],
): Promise<void> {
  const before = vm.status?.conditions?.find((condition) => condition.type === CONDITION);
  const status = refusals.length === 0 ? "True" : "False";
  const message = refusals.join("; ");
  if (before?.status === status && (before.message ?? "") === message) return;
  // A machine without interfaces has nothing to say until something goes wrong.
  if (before === undefined && status === "True" && vm.spec.interfaces.length === 0) return;
  const reason = status === "True" ? "Created" : "Refused";
  const verdict = { type: CONDITION, status, reason, ...(message === "" ? {} : { message }) } as const;
  await updateConditions(client, "VirtualMachine", vm.metadata, [verdict]);
  if (status === "False") await client.recordEvent(vm, { type: "Warning", reason: "PortRefused", message });
}

async function showInterfaces(client: ResourceClient, vm: VirtualMachine, ports: PortIndex): Promise<void> {
  const interfaces = interfaceStatus(vm, ports);
  if (isDeepStrictEqual(interfaces, vm.status?.interfaces ?? [])) return;
  await updateStatus(client, "VirtualMachine", vm.metadata, (current) =>
    isDeepStrictEqual(interfaces, current.status?.interfaces ?? []) ? undefined : { interfaces },
  );
}
