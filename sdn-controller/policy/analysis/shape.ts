// The form that the fields which matter must have in a Kubernetes document, and the check of a document against it.
// Fields that are not listed may hold anything; a null counts as absent, as for the API server. Pure.

export type Shape =
  | "string"
  | "integer"
  | "boolean"
  /** A map from string to string. */
  | "strings"
  /** A number or a name. */
  | "port"
  | readonly [Shape]
  | { readonly [field: string]: Shape };

/** What is wrong, with the path of the field and what was expected; undefined when the value fits. */
export function shapeProblem(value: unknown, shape: Shape, path: string): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof shape === "string") return scalarProblem(value, shape, path);
  if (isList(shape)) {
    if (!Array.isArray(value)) return expected(path, "a list", value);
    for (const [i, item] of value.entries()) {
      const problem = shapeProblem(item, shape[0], `${path}[${i}]`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  if (!isRecord(value)) return expected(path, "an object", value);
  for (const [field, inner] of Object.entries(shape)) {
    const problem = shapeProblem(value[field], inner, path === "" ? field : `${path}.${field}`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** The paths of fields that `shape` does not know: for shapes that know all, such as the `spec` of policies. */
export function unknownFields(value: unknown, shape: Shape, path: string): string[] {
  if (typeof shape === "string") return [];
  if (isList(shape))
    return Array.isArray(value)
      ? value.flatMap((item, i) => unknownFields(item, shape[0], `${path}[${i}]`))
      : [];
  if (!isRecord(value)) return [];
  return Object.entries(value).flatMap(([field, item]) => {
    const inner = Object.hasOwn(shape, field) ? shape[field] : undefined;
    const at = `${path}.${field}`;
    return inner === undefined ? [at] : unknownFields(item, inner, at);
  });
}

function scalarProblem(value: unknown, shape: string, path: string): string | undefined {
  switch (shape) {
    case "string":
      return typeof value === "string" ? undefined : expected(path, "a string", value);
    case "boolean":
      return typeof value === "boolean" ? undefined : expected(path, "true or false", value);
    case "integer":
      return Number.isInteger(value) ? undefined : expected(path, "a whole number", value);
    case "port":
      return typeof value === "string" || Number.isInteger(value)
        ? undefined
        : expected(path, "a port number or name", value);
    default:
      if (!isRecord(value)) return expected(path, "a map of strings", value);
      for (const [key, item] of Object.entries(value)) {
        if (item !== null && typeof item !== "string")
          return expected(`${path}[${JSON.stringify(key)}]`, "a string (put it in quotes)", item);
      }
      return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isList(shape: Shape): shape is readonly [Shape] {
  return Array.isArray(shape);
}

function expected(path: string, what: string, value: unknown): string {
  const kind = Array.isArray(value)
    ? "a list"
    : typeof value === "object"
      ? "an object"
      : JSON.stringify(value);
  return `${path === "" ? "the document" : path}: expected ${what}, found ${kind}`;
}

const META: Shape = {
  name: "string",
  generateName: "string",
  namespace: "string",
  labels: "strings",
  annotations: "strings",
  ownerReferences: [{ apiVersion: "string", kind: "string", name: "string", controller: "boolean" }],
};

const CONTAINER: Shape = {
  name: "string",
  image: "string",
  command: ["string"],
  args: ["string"],
  env: [{ name: "string", value: "string" }],
  ports: [{ name: "string", containerPort: "integer", hostPort: "integer", protocol: "string" }],
};

const POD_SPEC: Shape = {
  containers: [CONTAINER],
  initContainers: [CONTAINER],
  hostNetwork: "boolean",
  nodeSelector: "strings",
  serviceAccountName: "string",
  restartPolicy: "string",
};

const POD_TEMPLATE: Shape = { metadata: META, spec: POD_SPEC };

const SELECTOR: Shape = {
  matchLabels: "strings",
  matchExpressions: [{ key: "string", operator: "string", values: ["string"] }],
};

const TEMPLATED: Shape = {
  metadata: META,
  spec: { replicas: "integer", selector: SELECTOR, template: POD_TEMPLATE },
};

const JOB_SPEC: Shape = { parallelism: "integer", selector: SELECTOR, template: POD_TEMPLATE };

const POLICY_PEER: Shape = {
  podSelector: SELECTOR,
  namespaceSelector: SELECTOR,
  ipBlock: { cidr: "string", except: ["string"] },
};
const POLICY_PORT: Shape = { protocol: "string", port: "port", endPort: "integer" };

const PODS: Shape = { namespaceSelector: SELECTOR, podSelector: SELECTOR };
const ADMIN_PEER: Shape = {
  namespaces: SELECTOR,
  pods: PODS,
  networks: ["string"],
  nodes: SELECTOR,
  domainNames: ["string"],
};
const ADMIN_PORT: Shape = {
  portNumber: { protocol: "string", port: "integer" },
  portRange: { protocol: "string", start: "integer", end: "integer" },
  namedPort: "string",
};
const ADMIN_RULE: Shape = {
  name: "string",
  action: "string",
  from: [ADMIN_PEER],
  to: [ADMIN_PEER],
  ports: [ADMIN_PORT],
};
const ADMIN_POLICY_SPEC: Shape = {
  priority: "integer",
  subject: { namespaces: SELECTOR, pods: PODS },
  ingress: [ADMIN_RULE],
  egress: [ADMIN_RULE],
};
const ADMIN_POLICY: Shape = { metadata: META, spec: ADMIN_POLICY_SPEC };

const BACKEND: Shape = { service: { name: "string", port: { name: "string", number: "integer" } } };

const NETWORK_POLICY_SPEC: Shape = {
  podSelector: SELECTOR,
  policyTypes: ["string"],
  ingress: [{ from: [POLICY_PEER], ports: [POLICY_PORT] }],
  egress: [{ to: [POLICY_PEER], ports: [POLICY_PORT] }],
};

/** Complete, unlike the others: a field of a policy that is not here is a mistake. */
export const POLICY_SPECS: Readonly<Record<string, Shape>> = {
  NetworkPolicy: NETWORK_POLICY_SPEC,
  AdminNetworkPolicy: ADMIN_POLICY_SPEC,
  BaselineAdminNetworkPolicy: ADMIN_POLICY_SPEC,
};

/** By kind; a kind that is not here does not matter to the analysis. */
export const SHAPES: Readonly<Record<string, Shape>> = {
  Namespace: { metadata: META },
  Pod: { metadata: META, spec: POD_SPEC, status: { hostIP: "string", hostIPs: [{ ip: "string" }] } },
  Deployment: TEMPLATED,
  ReplicaSet: TEMPLATED,
  StatefulSet: TEMPLATED,
  DaemonSet: TEMPLATED,
  ReplicationController: {
    metadata: META,
    spec: { replicas: "integer", selector: "strings", template: POD_TEMPLATE },
  },
  Job: { metadata: META, spec: JOB_SPEC },
  CronJob: { metadata: META, spec: { jobTemplate: { spec: JOB_SPEC } } },
  VirtualMachine: { metadata: META },
  Service: {
    metadata: META,
    spec: {
      selector: "strings",
      ports: [{ name: "string", protocol: "string", port: "integer", targetPort: "port" }],
    },
  },
  Ingress: {
    metadata: META,
    spec: { defaultBackend: BACKEND, rules: [{ http: { paths: [{ backend: BACKEND }] } }] },
  },
  Route: {
    metadata: META,
    spec: {
      to: { kind: "string", name: "string" },
      alternateBackends: [{ kind: "string", name: "string" }],
      port: { targetPort: "port" },
    },
  },
  NetworkPolicy: {
    metadata: META,
    spec: NETWORK_POLICY_SPEC,
  },
  AdminNetworkPolicy: ADMIN_POLICY,
  BaselineAdminNetworkPolicy: ADMIN_POLICY,
};
