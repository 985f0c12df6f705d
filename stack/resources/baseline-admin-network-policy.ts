// BaselineAdminNetworkPolicy of policy.networking.k8s.io/v1alpha1: what holds for machines that no NetworkPolicy isolates.
// Source: sigs.k8s.io/network-policy-api, apis/v1alpha1 and the CRD's validation.
import Type from "typebox";
import {
  ADMIN_POLICY_API_VERSION,
  ADMIN_POLICY_GROUP,
  adminPolicyFields,
  adviseAdminPolicy,
  validateAdminPolicy,
} from "./admin-network-policy.js";
import { defineKind } from "./kind.js";
import { validateHandling } from "./policy-annotations.js";
import { resourceSchema } from "./schema.js";

/** There is at most one, of this name. */
const NAME = "default";

const BaselineAdminNetworkPolicySchema = resourceSchema(
  ADMIN_POLICY_API_VERSION,
  "BaselineAdminNetworkPolicy",
  "What the administrator allows or denies where no NetworkPolicy isolates a machine. There is one, named default.",
  { spec: Type.Object(adminPolicyFields(["Allow", "Deny"]), { description: "What is wanted." }) },
);
export type BaselineAdminNetworkPolicy = Type.Static<typeof BaselineAdminNetworkPolicySchema>;

export const baselineAdminNetworkPolicyKind = defineKind<BaselineAdminNetworkPolicy>({
  group: ADMIN_POLICY_GROUP,
  version: "v1alpha1",
  kind: "BaselineAdminNetworkPolicy",
  plural: "baselineadminnetworkpolicies",
  singular: "baselineadminnetworkpolicy",
  shortNames: ["banp"],
  namespaced: false,
  hasStatus: false,
  strategicMerge: false,
  schema: BaselineAdminNetworkPolicySchema,
  columns: [],
  validate(policy, errors) {
    const { name } = policy.metadata;
    if (name !== NAME)
      errors.invalid("metadata.name", name, `must be ${JSON.stringify(NAME)}: there is only one`);
    validateHandling(policy, false, errors);
    validateAdminPolicy(policy.spec, errors);
  },
  advise: ({ spec }) => adviseAdminPolicy(spec),
});
