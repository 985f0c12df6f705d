// Role and ClusterRole of rbac.authorization.k8s.io/v1: what may be done, in one namespace or everywhere.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind } from "./kind.js";
import { resourceSchema } from "./schema.js";

export const RBAC_GROUP = "rbac.authorization.k8s.io";
const RBAC_API_VERSION = `${RBAC_GROUP}/v1`;

const words = (description: string) =>
  Type.Optional(Type.Array(Type.String(), { maxItems: 256, description }));

export const PolicyRuleSchema = Type.Object(
  {
    verbs: Type.Array(Type.String(), {
      minItems: 1,
      maxItems: 64,
      description:
        "What may be done: get, list, watch, create, update, patch, delete, deletecollection, or * for all.",
    }),
    apiGroups: words('API groups of the resources; "" is the core group, * is every group.'),
    resources: words("Resources by their plural, RESOURCE/SUBRESOURCE, */SUBRESOURCE, or * for all."),
    resourceNames: words(
      "Only objects of these names; all when empty. Cannot restrict creations and collections without a name.",
    ),
    nonResourceURLs: words("Paths that are no resources, such as /openapi/*. For ClusterRoles only."),
  },
  { description: "One permission: every verb on every resource of every group that it lists." },
);
export type PolicyRule = Type.Static<typeof PolicyRuleSchema>;

const Rules = Type.Array(PolicyRuleSchema, {
  default: [],
  maxItems: 512,
  description: "What may be done. Rules add up; nothing is ever forbidden by one.",
});

export const RoleSchema = resourceSchema(RBAC_API_VERSION, "Role", "What may be done in one namespace.", {
  rules: Rules,
});
export type Role = Type.Static<typeof RoleSchema>;
export const ClusterRoleSchema = resourceSchema(
  RBAC_API_VERSION,
  "ClusterRole",
  "What may be done everywhere, or in the namespaces in which a RoleBinding names it.",
  { rules: Rules },
);
export type ClusterRole = Type.Static<typeof ClusterRoleSchema>;

/** What all kinds of RBAC have in common. */
export const RBAC_KIND = {
  group: RBAC_GROUP,
  version: "v1",
  shortNames: [],
  nameForm: "path",
  hasStatus: false,
  strategicMerge: true,
} as const;

const columns = [
  {
    name: "Created At",
    type: "date",
    description: "When it was made",
    value: (role: Role | ClusterRole) => role.metadata.creationTimestamp,
  },
] as const;

export const roleKind = defineKind<Role>({
  ...RBAC_KIND,
  kind: "Role",
  plural: "roles",
  singular: "role",
  namespaced: true,
  schema: RoleSchema,
  columns,
  validate: (role, errors) => validateRules(role.rules, true, errors),
});

export const clusterRoleKind = defineKind<ClusterRole>({
  ...RBAC_KIND,
  kind: "ClusterRole",
  plural: "clusterroles",
  singular: "clusterrole",
  namespaced: false,
  schema: ClusterRoleSchema,
  columns,
  validate: (role, errors) => validateRules(role.rules, false, errors),
});

function validateRules(rules: readonly PolicyRule[], namespaced: boolean, errors: FieldErrors): void {
  for (const [i, rule] of rules.entries()) {
    const { apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule;
    const field = `rules[${i}]`;
    if (nonResourceURLs.length > 0) {
      if (namespaced)
        errors.invalid(
          `${field}.nonResourceURLs`,
          nonResourceURLs,
          "namespaced rules cannot apply to non-resource URLs",
        );
      if (apiGroups.length + resources.length + resourceNames.length > 0) {
        errors.invalid(
          `${field}.nonResourceURLs`,
          nonResourceURLs,
          "rules cannot apply to both regular resources and non-resource URLs",
        );
      }
      continue;
    }
    if (apiGroups.length === 0)
      errors.required(`${field}.apiGroups`, "resource rules must supply at least one api group");
    if (resources.length === 0)
      errors.required(`${field}.resources`, "resource rules must supply at least one resource");
  }
}
