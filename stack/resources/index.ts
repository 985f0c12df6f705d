// The resource model: every kind, its type, its documentation and its rules.
import { assert } from "../../base/assert/index.js";
import { adminNetworkPolicyKind } from "./admin-network-policy.js";
import { baselineAdminNetworkPolicyKind } from "./baseline-admin-network-policy.js";
import { eventKind } from "./event.js";
import { hostKind } from "./host.js";
import { imageKind } from "./image.js";
import { invariantKind } from "./invariant.js";
import { apiVersionOf, type ResourceKind } from "./kind.js";
import { namespaceKind } from "./namespace.js";
import { networkKind } from "./network.js";
import { networkFunctionKind } from "./network-function.js";
import { networkPolicyKind } from "./network-policy.js";
import { portKind } from "./port.js";
import { resourceQuotaKind } from "./resource-quota.js";
import type { KindName } from "./resource-types.js";
import { clusterRoleKind, roleKind } from "./role.js";
import { clusterRoleBindingKind, roleBindingKind } from "./role-binding.js";
import { secretKind } from "./secret.js";
import { serviceAccountKind } from "./service-account.js";
import { storagePoolKind } from "./storage-pool.js";
import { virtualMachineKind } from "./virtual-machine.js";
import { volumeKind } from "./volume.js";
import { volumeSnapshotKind } from "./volume-snapshot.js";

export type { AdminNetworkPolicy } from "./admin-network-policy.js";
export type { BaselineAdminNetworkPolicy } from "./baseline-admin-network-policy.js";
export * from "./cidr.js";
export { type ConformReport, conform } from "./conform.js";
export type { Event, ObjectReference } from "./event.js";
export { type FieldError, FieldErrors } from "./field-errors.js";
export type { Host } from "./host.js";
export type { Image } from "./image.js";
export type { Invariant } from "./invariant.js";
export {
  type ApiObject,
  apiVersionOf,
  type Column,
  PLINTH_API_VERSION,
  PLINTH_GROUP,
  PLINTH_VERSION,
  type ResourceKind,
  type ValidationContext,
} from "./kind.js";
export {
  isDnsLabel,
  isDnsSubdomain,
  isLabelValue,
  isQualifiedName,
  validateMetadata,
} from "./names.js";
export type { Namespace } from "./namespace.js";
export type { Network } from "./network.js";
export type { NetworkFunction } from "./network-function.js";
export type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from "./network-policy.js";
export type { Port } from "./port.js";
export { formatBytes, formatQuantity, parseQuantity, quantityBytes } from "./quantity.js";
export type { ResourceQuota } from "./resource-quota.js";
export type { KindName, ResourceInput, ResourceTypes } from "./resource-types.js";
export { type ClusterRole, type PolicyRule, RBAC_GROUP, type Role } from "./role.js";
export type { ClusterRoleBinding, RoleBinding, Subject } from "./role-binding.js";
export type {
  Condition,
  LabelSelector,
  ManagedFieldsEntry,
  ObjectMeta,
  OwnerReference,
  SchemaNode,
} from "./schema.js";
export type { Secret } from "./secret.js";
export type { ServiceAccount } from "./service-account.js";
export type { StoragePool } from "./storage-pool.js";
export type { VirtualMachine } from "./virtual-machine.js";
export { rewindSecondsOf, type Volume } from "./volume.js";
export { snapshotNameOf, type VolumeSnapshot } from "./volume-snapshot.js";
export {
  adminNetworkPolicyKind,
  baselineAdminNetworkPolicyKind,
  clusterRoleBindingKind,
  clusterRoleKind,
  eventKind,
  hostKind,
  imageKind,
  namespaceKind,
  networkFunctionKind,
  networkKind,
  networkPolicyKind,
  portKind,
  resourceQuotaKind,
  roleBindingKind,
  roleKind,
  secretKind,
  serviceAccountKind,
  storagePoolKind,
  virtualMachineKind,
  volumeKind,
  volumeSnapshotKind,
};

/** In the order in which documents are applied: what others refer to comes first. */
export const ALL_KINDS: readonly ResourceKind[] = [
  namespaceKind,
  resourceQuotaKind,
  serviceAccountKind,
  clusterRoleKind,
  clusterRoleBindingKind,
  roleKind,
  roleBindingKind,
  secretKind,
  eventKind,
  networkPolicyKind,
  adminNetworkPolicyKind,
  baselineAdminNetworkPolicyKind,
  hostKind,
  storagePoolKind,
  imageKind,
  networkKind,
  volumeKind,
  volumeSnapshotKind,
  portKind,
  virtualMachineKind,
  networkFunctionKind,
  invariantKind,
];

/** By apiVersion and kind, as documents name it. */
export function findKind(apiVersion: string, kind: string): ResourceKind | undefined {
  return ALL_KINDS.find((each) => each.kind === kind && apiVersionOf(each) === apiVersion);
}

/** By its name alone; names of kinds are unique here. */
export function kindByName(name: KindName): ResourceKind {
  const kind = ALL_KINDS.find((each) => each.kind === name);
  assert(kind !== undefined, `kind ${name} is listed`);
  return kind;
}

/** By whatever a person types: plural, singular, short name or kind, in any case; "plural.group" too. */
export function findKindByWord(word: string): ResourceKind | undefined {
  const wanted = word.toLowerCase();
  return ALL_KINDS.find(
    (each) =>
      each.plural === wanted ||
      each.singular === wanted ||
      each.kind.toLowerCase() === wanted ||
      each.shortNames.includes(wanted) ||
      `${each.plural}.${each.group}` === wanted ||
      `${each.plural}.${each.version}.${each.group}` === wanted,
  );
}
