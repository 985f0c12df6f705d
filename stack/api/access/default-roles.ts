// The roles and bindings that every data centre starts with, under the names that Kubernetes gives them. They are made
// when they are missing and left alone otherwise, so that an administrator may narrow them.
import { type PolicyRule, RBAC_GROUP, type ResourceInput } from "../../resources/index.js";
import { MASTERS } from "./user.js";

const READ = ["get", "list", "watch"];
const WRITE = ["create", "update", "patch", "delete", "deletecollection"];

const POLICIES: PolicyRule[] = [
  { verbs: READ, apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"] },
];
const OURS = ["networks", "ports", "virtualmachines", "volumes", "volumesnapshots", "networkfunctions"];
const OUR_ACTIONS = ["virtualmachines/exec", "virtualmachines/reboot", "volumes/revert", "volumes/rewind"];
const STATUSES = OURS.map((resource) => `${resource}/status`);

const VIEW: PolicyRule[] = [
  { verbs: READ, apiGroups: ["plinth.dev"], resources: [...OURS, ...STATUSES, "invariants"] },
  { verbs: READ, apiGroups: [""], resources: ["namespaces", "events", "serviceaccounts", "services"] },
  { verbs: READ, apiGroups: [""], resources: ["resourcequotas", "resourcequotas/status"] },
  ...POLICIES,
];
const EDIT: PolicyRule[] = [
  ...VIEW,
  { verbs: WRITE, apiGroups: ["plinth.dev"], resources: OURS },
  { verbs: ["create"], apiGroups: ["plinth.dev"], resources: OUR_ACTIONS },
  { verbs: ["get"], apiGroups: ["plinth.dev"], resources: ["virtualmachines/console"] },
  { verbs: WRITE, apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"] },
  { verbs: [...READ, ...WRITE], apiGroups: [""], resources: ["secrets"] },
  { verbs: WRITE, apiGroups: [""], resources: ["serviceaccounts"] },
];
const ADMIN: PolicyRule[] = [
  ...EDIT,
  { verbs: [...READ, ...WRITE], apiGroups: [RBAC_GROUP], resources: ["roles", "rolebindings"] },
  { verbs: ["create"], apiGroups: [""], resources: ["serviceaccounts/token"] },
  { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["localsubjectaccessreviews"] },
];
const DISCOVERY_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/docs", "/docs/*"];
const PUBLIC_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

const ROLES: Readonly<Record<string, PolicyRule[]>> = {
  "cluster-admin": [
    { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
    { verbs: ["*"], nonResourceURLs: ["*"] },
  ],
  admin: ADMIN,
  edit: EDIT,
  view: VIEW,
  "system:discovery": [{ verbs: ["get"], nonResourceURLs: [...DISCOVERY_PATHS, ...PUBLIC_PATHS] }],
  "system:basic-user": [
    {
      verbs: ["create"],
      apiGroups: ["authorization.k8s.io"],
      resources: ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    { verbs: ["create"], apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"] },
  ],
};
const GROUPS: Readonly<Record<string, string>> = {
  "cluster-admin": MASTERS,
  "system:discovery": "system:authenticated",
  "system:basic-user": "system:authenticated",
};

export const DEFAULT_CLUSTER_ROLES: readonly ResourceInput<"ClusterRole">[] = Object.entries(ROLES).map(
  ([name, rules]) => ({ metadata: { name }, rules }),
);
export const DEFAULT_CLUSTER_ROLE_BINDINGS: readonly ResourceInput<"ClusterRoleBinding">[] = Object.entries(
  GROUPS,
).map(([name, group]) => ({
  metadata: { name },
  subjects: [{ kind: "Group", apiGroup: RBAC_GROUP, name: group }],
  roleRef: { apiGroup: RBAC_GROUP, kind: "ClusterRole", name },
}));
