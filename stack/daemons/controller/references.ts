// Whether what an object names is there: the condition ReferencesResolved. Names may come before what they name, so a
// missing one is a condition, never a refusal. Pure.
import {
  type Condition,
  isHostAddress,
  type KindName,
  parseAddress,
  parsePrefix,
  type ResourceTypes,
} from "../../resources/index.js";

export const REFERENCES_RESOLVED = "ReferencesResolved";

/** Everything that can be named, as it is now. */
export class Inventory {
  readonly #byPlace = new Map<string, ResourceTypes[KindName]>();

  add<K extends KindName>(kind: K, objects: readonly ResourceTypes[K][]): void {
    for (const object of objects) {
      const { namespace = "", name } = object.metadata;
      this.#byPlace.set(`${kind}/${namespace}/${name}`, object);
    }
  }

  get<K extends KindName>(kind: K, name: string, namespace = ""): ResourceTypes[K] | undefined {
    return this.#byPlace.get(`${kind}/${namespace}/${name}`) as ResourceTypes[K] | undefined;
  }
}

export type ReferringKind = "VirtualMachine" | "Port" | "NetworkFunction" | "Volume" | "VolumeSnapshot";
export const REFERRING_KINDS: readonly ReferringKind[] = [
  "VirtualMachine",
  "Port",
  "NetworkFunction",
  "Volume",
  "VolumeSnapshot",
];

/** The verdict on one object. */
export function judgeReferences<K extends ReferringKind>(
  kind: K,
  object: ResourceTypes[K],
  inventory: Inventory,
): Omit<Condition, "lastTransitionTime"> {
  const missing = describeMissing(kind, object, inventory);
  return {
    type: REFERENCES_RESOLVED,
    status: missing.length === 0 ? "True" : "False",
    reason: missing.length === 0 ? "Resolved" : "NotFound",
    ...(missing.length === 0 ? {} : { message: missing.join("; ") }),
  };
}

function describeMissing<K extends ReferringKind>(
  kind: K,
  object: ResourceTypes[K],
  inventory: Inventory,
): string[] {
  const { namespace } = object.metadata;
  const missing: string[] = [];
  const need = (referred: KindName, name: string, field: string, scope?: string): boolean => {
    const found = inventory.get(referred, name, scope) !== undefined;
    if (!found) missing.push(`${field}: ${referred} "${name}" does not exist`);
    return found;
  };
  if (kind === "VirtualMachine") {
    const { spec } = object as ResourceTypes["VirtualMachine"];
    need("Image", spec.image, "spec.image");
    for (const [i, disk] of spec.disks.entries())
      need("Volume", disk.volume, `spec.disks[${i}].volume`, namespace);
    for (const [i, each] of spec.interfaces.entries()) {
      const field = `spec.interfaces[${i}]`;
      if (need("Network", each.network, `${field}.network`, namespace) && each.address !== undefined) {
        missing.push(...addressTrouble(inventory, namespace, each.network, each.address, `${field}.address`));
      }
    }
  } else if (kind === "Port") {
    const { spec } = object as ResourceTypes["Port"];
    if (need("Network", spec.network, "spec.network", namespace)) {
      for (const [i, address] of (spec.addresses ?? []).entries()) {
        missing.push(...addressTrouble(inventory, namespace, spec.network, address, `spec.addresses[${i}]`));
      }
    }
  } else if (kind === "NetworkFunction") {
    const { spec } = object as ResourceTypes["NetworkFunction"];
    const address = spec.loadBalancer?.address;
    if (need("Network", spec.network, "spec.network", namespace) && address !== undefined) {
      missing.push(
        ...addressTrouble(inventory, namespace, spec.network, address, "spec.loadBalancer.address"),
      );
    }
  } else if (kind === "Volume") {
    const { spec } = object as ResourceTypes["Volume"];
    need("StoragePool", spec.pool, "spec.pool");
    // Once made, a volume stands on its own: the snapshot may go.
    const made = ["Available", "InUse"].includes((object as ResourceTypes["Volume"]).status?.phase ?? "");
    if (spec.source !== undefined && !made) {
      need("VolumeSnapshot", spec.source.snapshot, "spec.source.snapshot", namespace);
    }
  } else {
    need("Volume", (object as ResourceTypes["VolumeSnapshot"]).spec.volume, "spec.volume", namespace);
  }
  return missing;
}

function addressTrouble(
  inventory: Inventory,
  namespace: string | undefined,
  networkName: string,
  text: string,
  field: string,
): string[] {
  const network = inventory.get("Network", networkName, namespace);
  const address = parseAddress(text);
  const fits = network?.spec.subnets.some((subnet) => {
    const prefix = parsePrefix(subnet);
    return prefix !== undefined && address !== undefined && isHostAddress(prefix, address);
  });
  if (fits) return [];
  return [
    `${field}: ${text} is no host address of Network "${networkName}" (${network?.spec.subnets.join(", ")})`,
  ];
}
