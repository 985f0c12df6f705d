// The TypeScript type of every kind by its name, for typed clients.
import type { AdminNetworkPolicy } from "./admin-network-policy.js";
import type { BaselineAdminNetworkPolicy } from "./baseline-admin-network-policy.js";
import type { Event } from "./event.js";
import type { Host } from "./host.js";
import type { Image } from "./image.js";
import type { Invariant } from "./invariant.js";
import type { Namespace } from "./namespace.js";
import type { Network } from "./network.js";
import type { NetworkFunction } from "./network-function.js";
import type { NetworkPolicy } from "./network-policy.js";
import type { Port } from "./port.js";
import type { ResourceQuota } from "./resource-quota.js";
import type { ClusterRole, Role } from "./role.js";
import type { ClusterRoleBinding, RoleBinding } from "./role-binding.js";
import type { ObjectMeta } from "./schema.js";
import type { Secret } from "./secret.js";
import type { ServiceAccount } from "./service-account.js";
import type { StoragePool } from "./storage-pool.js";
import type { VirtualMachine } from "./virtual-machine.js";
import type { Volume } from "./volume.js";
import type { VolumeSnapshot } from "./volume-snapshot.js";

export interface ResourceTypes {
  AdminNetworkPolicy: AdminNetworkPolicy;
  BaselineAdminNetworkPolicy: BaselineAdminNetworkPolicy;
  ClusterRole: ClusterRole;
  ClusterRoleBinding: ClusterRoleBinding;
  Event: Event;
  Host: Host;
  Image: Image;
  Invariant: Invariant;
  Namespace: Namespace;
  Network: Network;
  NetworkFunction: NetworkFunction;
  NetworkPolicy: NetworkPolicy;
  Port: Port;
  ResourceQuota: ResourceQuota;
  Role: Role;
  RoleBinding: RoleBinding;
  Secret: Secret;
  ServiceAccount: ServiceAccount;
  StoragePool: StoragePool;
  VirtualMachine: VirtualMachine;
  Volume: Volume;
  VolumeSnapshot: VolumeSnapshot;
}
export type KindName = keyof ResourceTypes;

type DeepPartial<T> = T extends readonly (infer U)[]
  ? DeepPartial<U>[]
  : T extends object
    ? { [P in keyof T]?: DeepPartial<T[P]> | undefined }
    : T;

/** An object as one writes it: what the server fills in may be left out. */
export type ResourceInput<K extends KindName> = Omit<DeepPartial<ResourceTypes[K]>, "metadata"> & {
  metadata: Partial<ObjectMeta>;
};
