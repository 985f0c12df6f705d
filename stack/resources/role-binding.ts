// RoleBinding and ClusterRoleBinding of rbac.authorization.k8s.io/v1: who has a role, in one namespace or everywhere.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, type ValidationContext } from "./kind.js";
import { RBAC_GROUP, RBAC_KIND } from "./role.js";
import { OneOf, resourceSchema } from "./schema.js";

const SubjectSchema = Type.Object({
  kind: OneOf(["User", "Group", "ServiceAccount"], { description: "What kind of subject it is." }),
  apiGroup: Type.Optional(
    Type.String({ description: `${RBAC_GROUP} for User and Group, empty for ServiceAccount.` }),
  ),
  name: Type.String({ minLength: 1, description: "Name of the user, group or service account." }),
  namespace: Type.Optional(Type.String({ description: "Of a ServiceAccount; nothing else has one." })),
});
export type Subject = Type.Static<typeof SubjectSchema>;

const properties = {
  subjects: Type.Array(SubjectSchema, { default: [], maxItems: 1024, description: "Who has the role." }),
  roleRef: Type.Object(
    {
      apiGroup: Type.String({ default: RBAC_GROUP, description: `Always ${RBAC_GROUP}.` }),
      kind: OneOf(["Role", "ClusterRole"], { description: "Role, of the same namespace, or ClusterRole." }),
      name: Type.String({ minLength: 1, description: "Name of the role. It may be made later." }),
    },
    { description: "The role. Cannot be changed.", "x-kubernetes-map-type": "atomic" },
  ),
};

export const RoleBindingSchema = resourceSchema(
  `${RBAC_GROUP}/v1`,
  "RoleBinding",
  "Gives a Role, or what a ClusterRole allows, to subjects in one namespace.",
  properties,
);
export type RoleBinding = Type.Static<typeof RoleBindingSchema>;
export const ClusterRoleBindingSchema = resourceSchema(
  `${RBAC_GROUP}/v1`,
  "ClusterRoleBinding",
  "Gives a ClusterRole to subjects everywhere.",
  properties,
);
export type ClusterRoleBinding = Type.Static<typeof ClusterRoleBindingSchema>;
type AnyBinding = RoleBinding | ClusterRoleBinding;

const named = ({ subjects = [] }: Partial<AnyBinding>, kind: Subject["kind"]): string =>
  subjects
    .filter((subject) => subject.kind === kind)
    .map(({ name, namespace }) => (namespace === undefined ? name : `${namespace}/${name}`))
    .join(", ");

const columns = [
  {
    name: "Role",
    description: "The role that is given",
    value: ({ roleRef }: Partial<AnyBinding>) =>
      roleRef === undefined ? undefined : `${roleRef.kind}/${roleRef.name}`,
  },
  { name: "Users", description: "Users", wide: true, value: (binding: AnyBinding) => named(binding, "User") },
  {
    name: "Groups",
    description: "Groups",
    wide: true,
    value: (binding: AnyBinding) => named(binding, "Group"),
  },
  {
    name: "ServiceAccounts",
    description: "Service accounts",
    wide: true,
    value: (binding: AnyBinding) => named(binding, "ServiceAccount"),
  },
] as const;

export const roleBindingKind = defineKind<RoleBinding>({
  ...RBAC_KIND,
  kind: "RoleBinding",
  plural: "rolebindings",
  singular: "rolebinding",
  namespaced: true,
  schema: RoleBindingSchema,
  columns,
  validate: validateBinding,
});

export const clusterRoleBindingKind = defineKind<ClusterRoleBinding>({
  ...RBAC_KIND,
  kind: "ClusterRoleBinding",
  plural: "clusterrolebindings",
  singular: "clusterrolebinding",
  namespaced: false,
  schema: ClusterRoleBindingSchema,
  columns,
  validate(binding, errors, context) {
    validateBinding(binding, errors, context);
    if (binding.roleRef.kind !== "ClusterRole")
      errors.notSupported("roleRef.kind", binding.roleRef.kind, ["ClusterRole"]);
  },
});

function validateBinding(
  binding: AnyBinding,
  errors: FieldErrors,
  context: ValidationContext<AnyBinding>,
): void {
  const { roleRef, subjects } = binding;
  if (roleRef.apiGroup !== RBAC_GROUP)
    errors.notSupported("roleRef.apiGroup", roleRef.apiGroup, [RBAC_GROUP]);
  const before = context.previous?.roleRef;
  if (before !== undefined && (before.kind !== roleRef.kind || before.name !== roleRef.name))
    errors.invalid("roleRef", `${roleRef.kind}/${roleRef.name}`, "cannot change roleRef");
  for (const [i, { kind, apiGroup, namespace }] of subjects.entries()) {
    const field = `subjects[${i}]`;
    const expected = kind === "ServiceAccount" ? "" : RBAC_GROUP;
    if ((apiGroup ?? expected) !== expected) errors.notSupported(`${field}.apiGroup`, apiGroup, [expected]);
    if (kind === "ServiceAccount" && !namespace) errors.required(`${field}.namespace`);
    if (kind !== "ServiceAccount" && namespace) errors.forbidden(`${field}.namespace`, `a ${kind} has none`);
  }
}
