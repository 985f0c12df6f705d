// Which Ports a virtual machine should have, and what has to be done about it. Pure.
import { isDeepStrictEqual } from "node:util";
import {
  PLINTH_API_VERSION,
  type Port,
  type ResourceInput,
  type VirtualMachine,
} from "../../resources/index.js";

export type PortAction =
  | { readonly type: "create"; readonly port: ResourceInput<"Port"> }
  | { readonly type: "patch"; readonly name: string; readonly patch: object }
  /** The network of a port cannot change: it is deleted and made again by the pass that follows. */
  | { readonly type: "delete"; readonly name: string; readonly uid: string };

export interface PortPlan {
  readonly actions: readonly PortAction[];
  /** Names of Ports that this machine needs and somebody else has. */
  readonly taken: readonly string[];
}

export function portName(vmName: string, interfaceName: string): string {
  return `${vmName}-${interfaceName}`;
}

/** All Ports, found by place and by owner. */
export class PortIndex {
  readonly #byName = new Map<string, Port>();
  readonly #byOwner = new Map<string, Port[]>();

  constructor(ports: readonly Port[]) {
    for (const port of ports) {
      const { namespace, name, ownerReferences = [] } = port.metadata;
      this.#byName.set(`${namespace}/${name}`, port);
      for (const { uid } of ownerReferences) {
        const owned = this.#byOwner.get(uid);
        if (owned === undefined) this.#byOwner.set(uid, [port]);
        else owned.push(port);
      }
    }
  }

  get(namespace: string | undefined, name: string): Port | undefined {
    return this.#byName.get(`${namespace}/${name}`);
  }

  ownedBy(vm: VirtualMachine): readonly Port[] {
    return this.#byOwner.get(vm.metadata.uid) ?? [];
  }
}

/** A machine that is being deleted keeps its ports until it is gone. */
export function planPorts(vm: VirtualMachine, ports: PortIndex): PortPlan {
  const actions: PortAction[] = [];
  const taken: string[] = [];
  if (vm.metadata.deletionTimestamp !== undefined) return { actions, taken };
  const wanted = new Set<string>();
  for (const each of vm.spec.interfaces) {
    const name = portName(vm.metadata.name, each.name);
    wanted.add(name);
    const desired = desiredPort(vm, name, each);
    const existing = ports.get(vm.metadata.namespace, name);
    if (existing === undefined) actions.push({ type: "create", port: desired });
    else if (!isOwnedBy(existing, vm)) taken.push(name);
    else if (existing.metadata.deletionTimestamp === undefined)
      actions.push(...alterations(existing, desired));
  }
  for (const port of ports.ownedBy(vm)) {
    const { name, uid, deletionTimestamp } = port.metadata;
    if (wanted.has(name) || deletionTimestamp !== undefined) continue;
    actions.push({ type: "delete", name, uid });
  }
  return { actions, taken };
}

function isOwnedBy(port: Port, vm: VirtualMachine): boolean {
  return port.metadata.ownerReferences?.some((owner) => owner.uid === vm.metadata.uid) ?? false;
}

function desiredPort(
  vm: VirtualMachine,
  name: string,
  each: VirtualMachine["spec"]["interfaces"][number],
): ResourceInput<"Port"> {
  const { namespace, uid, labels } = vm.metadata;
  return {
    metadata: {
      name,
      namespace: namespace as string,
      labels: labels ?? {},
      ownerReferences: [
        {
          apiVersion: PLINTH_API_VERSION,
          kind: "VirtualMachine",
          name: vm.metadata.name,
          uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: {
      network: each.network,
      virtualMachine: vm.metadata.name,
      ...(each.macAddress === undefined ? {} : { macAddress: each.macAddress }),
      ...(each.address === undefined ? {} : { addresses: [each.address] }),
    },
  };
}

function alterations(existing: Port, desired: ResourceInput<"Port">): PortAction[] {
  const { name, uid } = existing.metadata;
  const spec = desired.spec as Port["spec"];
  if (existing.spec.network !== spec.network) return [{ type: "delete", name, uid }];
  const patch: { metadata?: object; spec?: object } = {};
  const labelsBefore = existing.metadata.labels ?? {};
  const labelsWanted = desired.metadata.labels ?? {};
  if (!isDeepStrictEqual(labelsBefore, labelsWanted)) {
    const removed = Object.keys(labelsBefore).filter((key) => !Object.hasOwn(labelsWanted, key));
    patch.metadata = {
      labels: { ...Object.fromEntries(removed.map((key) => [key, null])), ...labelsWanted },
    };
  }
  if (!isDeepStrictEqual(existing.spec, spec)) {
    patch.spec = { macAddress: null, addresses: null, ...spec };
  }
  return patch.metadata === undefined && patch.spec === undefined ? [] : [{ type: "patch", name, patch }];
}

/** status.interfaces of a machine as its Ports show it. */
export function interfaceStatus(
  vm: VirtualMachine,
  ports: PortIndex,
): NonNullable<NonNullable<VirtualMachine["status"]>["interfaces"]> {
  return vm.spec.interfaces.map((each) => {
    const name = portName(vm.metadata.name, each.name);
    const port = ports.get(vm.metadata.namespace, name);
    const { macAddress, addresses } =
      (port !== undefined && isOwnedBy(port, vm) ? port.status : undefined) ?? {};
    return {
      name: each.name,
      port: name,
      ...(macAddress === undefined ? {} : { macAddress }),
      ...(addresses === undefined ? {} : { addresses }),
    };
  });
}
