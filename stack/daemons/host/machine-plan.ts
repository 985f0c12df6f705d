// What to do next about one VirtualMachine, from what is wanted, what the others have made ready, and what QEMU is
// doing. Pure: the reconciler carries out one step, and asks again when something has changed.
import { createHash } from "node:crypto";
import type { MachineBoot, MachineChange } from "../../../hypervisor-core/index.js";
import {
  type Network,
  type Port,
  quantityBytes,
  type VirtualMachine,
  type Volume,
} from "../../resources/index.js";
import type { MachineRecord, RecordedDisk, RecordedInterface } from "./machine-records.js";

/** Everything needed to start the machine. */
export interface DesiredMachine {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly boot: MachineBoot;
  /** The boot understands a seed: hostname, interface names, user data. */
  readonly seeded: boolean;
  readonly userData?: string | undefined;
  readonly interfaces: readonly RecordedInterface[];
  readonly disks: readonly RecordedDisk[];
  readonly digest: string;
}

export type BootState =
  | { readonly ready: true; readonly boot: MachineBoot; readonly seeded: boolean }
  | { readonly ready: false; readonly message: string };

export interface MachineView {
  readonly vm: VirtualMachine;
  /** What the machine's QEMU is doing; "stopped" when there is none. */
  readonly change: MachineChange;
  readonly record: MachineRecord | undefined;
  readonly boot: BootState;
  /** Objects of the machine's namespace by name. */
  port(name: string): Port | undefined;
  network(name: string): Network | undefined;
  volume(name: string): Volume | undefined;
}

export type MachinePlan =
  | { readonly step: "none" }
  /** Nothing can be done until something else has happened. */
  | { readonly step: "wait"; readonly reason: string; readonly message: string }
  | { readonly step: "start"; readonly machine: DesiredMachine }
  | { readonly step: "stop" }
  | { readonly step: "pause" }
  | { readonly step: "resume" };

const MIB = 1024 * 1024;
/** Pauses that QEMU made itself because a disk refused a write; the reconciler tries again at its own pace. */
export const DISK_PAUSES: readonly string[] = ["OutOfSpace", "DiskError"];

/** The next step for a machine that belongs to this host and is not being deleted. */
export function planMachine(view: MachineView): MachinePlan {
  const { powerState } = view.vm.spec;
  const { state } = view.change;
  if (state === "starting" || state === "stopping") return { step: "none" };
  if (powerState === "Stopped") {
    return state === "stopped" && view.record?.active !== true ? { step: "none" } : { step: "stop" };
  }
  if (state === "running") return powerState === "Paused" ? { step: "pause" } : { step: "none" };
  if (state === "paused") return powerState === "Paused" ? { step: "none" } : { step: "resume" };
  const desired = desiredMachine(view);
  return "step" in desired ? desired : { step: "start", machine: desired };
}

/** The machine as it should be started, or what is still missing for that. */
export function desiredMachine(view: MachineView): DesiredMachine | Extract<MachinePlan, { step: "wait" }> {
  const { vm, boot } = view;
  if (!boot.ready) return wait("WaitingForImage", boot.message);
  const interfaces: RecordedInterface[] = [];
  for (const each of vm.spec.interfaces) {
    const found = desiredInterface(view, each.name, each.network);
    if ("step" in found) return found;
    interfaces.push(found);
  }
  const disks: RecordedDisk[] = [];
  for (const each of vm.spec.disks) {
    const missing = missingVolume(view, each.volume);
    if (missing !== undefined) return missing;
    disks.push({ name: each.name, volume: `${vm.metadata.namespace}/${each.volume}` });
  }
  const facts = {
    cpus: vm.spec.cpus,
    memoryBytes: Math.ceil(quantityBytes(vm.spec.memory) / MIB) * MIB,
    boot: boot.boot,
    seeded: boot.seeded,
    userData: vm.spec.userData,
    interfaces,
    disks,
  };
  // The VLAN is the switch's: it changes under a running machine.
  const guestSide = interfaces.map(({ vlan: _vlan, ...rest }) => rest);
  return { ...facts, digest: digestOf({ ...facts, interfaces: guestSide }) };
}

/** True when QEMU runs something else than what is wanted now; a restart would change that. */
export function needsRestart(view: MachineView): boolean {
  if (view.record?.active !== true || view.record.digest === undefined) return false;
  const desired = desiredMachine(view);
  return !("step" in desired) && desired.digest !== view.record.digest;
}

/** The machine's interfaces with the VLANs that their networks have now; undefined when that changes nothing. */
export function retaggedInterfaces(view: MachineView): readonly RecordedInterface[] | undefined {
  const { record } = view;
  if (record === undefined) return undefined;
  const namespace = `${record.namespace}/`;
  const interfaces = record.interfaces.map((each) => {
    if (each.network?.startsWith(namespace) !== true) return each;
    return { ...each, vlan: view.network(each.network.slice(namespace.length))?.spec.vlan ?? each.vlan };
  });
  const changed = interfaces.some(({ vlan }, index) => vlan !== record.interfaces[index]?.vlan);
  return changed ? interfaces : undefined;
}

function desiredInterface(
  view: MachineView,
  name: string,
  network: string,
): RecordedInterface | Extract<MachinePlan, { step: "wait" }> {
  const { namespace } = view.vm.metadata;
  const portName = `${view.vm.metadata.name}-${name}`;
  const port = view.port(portName);
  if (port === undefined)
    return wait("WaitingForPort", `waiting for Port ${namespace}/${portName} to be made`);
  const vlan = view.network(network)?.spec.vlan;
  if (vlan === undefined)
    return wait("WaitingForNetwork", `waiting for Network ${namespace}/${network} to exist`);
  const macAddress = port.status?.macAddress;
  if (macAddress === undefined || (port.status?.addresses ?? []).length === 0) {
    return wait("WaitingForPort", `waiting for Port ${namespace}/${portName} to get an address`);
  }
  return {
    name,
    port: `${namespace}/${portName}`,
    macAddress,
    network: `${namespace}/${network}`,
    vlan,
  };
}

function missingVolume(view: MachineView, name: string): Extract<MachinePlan, { step: "wait" }> | undefined {
  const { namespace, name: machine } = view.vm.metadata;
  const volume = view.volume(name);
  const label = `Volume ${namespace}/${name}`;
  if (volume === undefined) return wait("WaitingForVolume", `waiting for ${label} to exist`);
  if (volume.metadata.deletionTimestamp !== undefined)
    return wait("VolumeDeleted", `${label} is being deleted`);
  const { phase, attachedTo } = volume.status ?? {};
  if (phase === "InUse" && attachedTo !== undefined && attachedTo !== machine) {
    return wait("VolumeInUse", `waiting for ${label}: ${attachedTo} has it`);
  }
  if (phase !== "Available" && phase !== "InUse") {
    return wait("WaitingForVolume", `waiting for ${label} to become available`);
  }
  return undefined;
}

function wait(reason: string, message: string): Extract<MachinePlan, { step: "wait" }> {
  return { step: "wait", reason, message };
}

function digestOf(facts: object): string {
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex").slice(0, 16);
}

export type Phase = NonNullable<NonNullable<VirtualMachine["status"]>["phase"]>;

/** The phase that people see, from QEMU's state and the step that comes next. */
export function phaseOf(change: MachineChange, plan: MachinePlan): Phase {
  switch (change.state) {
    case "running":
      return "Running";
    case "paused":
      return "Paused";
    case "starting":
      return "Starting";
    case "stopping":
      return "Stopping";
    case "failed":
      return "Failed";
    case "stopped":
      if (plan.step === "wait") return "Pending";
      return plan.step === "start" ? "Starting" : "Stopped";
  }
}
