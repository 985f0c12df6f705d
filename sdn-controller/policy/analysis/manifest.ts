// Kubernetes documents as the analysis wants them: namespaces, workloads, policies, services and what leads to them
// from outside. A document that does not have its kind's form is left out and reported; the others count. Pure.
import type { AdminPolicy } from "../admin-network-policy.js";
import type { NamedPort } from "../identity.js";
import type { Policy } from "../network-policy.js";
import type { Labels } from "../selector.js";
import { isRecord, POLICY_SPECS, SHAPES, shapeProblem, unknownFields } from "./shape.js";

export interface ManifestDocument {
  /** "FILE, document 3": for messages. */
  readonly where: string;
  readonly value: unknown;
}

export interface Problem {
  /** An error leaves something out; a warning is worth knowing. */
  readonly severity: "error" | "warning";
  readonly message: string;
}

export interface ContainerPort extends Omit<NamedPort, "name"> {
  readonly name?: string;
}

/** One pod, or what makes pods. */
export interface PodSource {
  readonly namespace: string;
  /** Of the pod itself or of the workload that makes it. */
  readonly name: string;
  readonly kind: string;
  /** Of a pod that something else made: the name and kind it is known by. */
  readonly owner?: { readonly kind: string; readonly name: string };
  readonly labels: Labels;
  readonly ports: readonly ContainerPort[];
  /** Addresses of the node that a pod runs on, as its status tells. */
  readonly nodeAddresses?: readonly string[];
  readonly where: string;
}

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number | string;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly selector: Labels | undefined;
  readonly ports: readonly ServicePort[];
}

/** What leads to a service: an Ingress or a Route. */
export interface Entrance {
  readonly kind: "Ingress" | "Route";
  readonly namespace: string;
  readonly name: string;
  readonly backends: readonly { readonly service: string; readonly port?: number | string }[];
}

export interface Located<T> {
  readonly value: T;
  readonly where: string;
}

export interface Manifest {
  readonly namespaces: readonly Located<{ readonly name: string; readonly labels: Labels }>[];
  readonly pods: readonly PodSource[];
  readonly services: readonly Located<Service>[];
  readonly entrances: readonly Located<Entrance>[];
  readonly networkPolicies: readonly Located<Policy>[];
  readonly adminPolicies: readonly Located<AdminPolicy>[];
  readonly problems: readonly Problem[];
}

const GROUPS = new Map<string, readonly string[]>(
  Object.entries({
    Namespace: [""],
    Pod: [""],
    Service: [""],
    ReplicationController: [""],
    Deployment: ["apps", "extensions"],
    ReplicaSet: ["apps", "extensions"],
    DaemonSet: ["apps", "extensions"],
    StatefulSet: ["apps"],
    Job: ["batch"],
    CronJob: ["batch"],
    VirtualMachine: ["kubevirt.io", "plinth.dev"],
    Ingress: ["networking.k8s.io", "extensions"],
    Route: ["route.openshift.io"],
    NetworkPolicy: ["networking.k8s.io", "extensions"],
    AdminNetworkPolicy: ["policy.networking.k8s.io"],
    BaselineAdminNetworkPolicy: ["policy.networking.k8s.io"],
  }),
);

/** Of networks beside the one that every pod is on. */
const MORE_NETWORKS: ReadonlySet<string> = new Set([
  "UserDefinedNetwork",
  "ClusterUserDefinedNetwork",
  "NetworkAttachmentDefinition",
]);
const DEFAULT_NAMESPACE = "default";
const KUBEVIRT_LAUNCHER = "virt-launcher-";

type Node = Record<string, unknown>;
type Builder = { -readonly [K in keyof Manifest]: Manifest[K][number][] };

export function readManifest(documents: readonly ManifestDocument[]): Manifest {
  const result: Builder = {
    namespaces: [],
    pods: [],
    services: [],
    entrances: [],
    networkPolicies: [],
    adminPolicies: [],
    problems: [],
  };
  for (const document of documents) {
    for (const value of flatten(document.value)) take({ ...document, value }, result);
  }
  if (result.pods.length === 0)
    result.problems.push({ severity: "error", message: "no Kubernetes workloads were found" });
  if (result.networkPolicies.length + result.adminPolicies.length === 0)
    result.problems.push({ severity: "warning", message: "no network policies were found" });
  return result;
}

interface TypeMeta {
  readonly kind: string;
  readonly apiVersion: unknown;
}

/**
 * The objects of a document: those of a list, lists in lists included. Items of a PodList need not say that they are pods:
 * the API server leaves it out there. `implied` is what the list says of its items.
 */
function flatten(value: unknown, implied?: TypeMeta): unknown[] {
  if (value === null || value === undefined) return [];
  if (!isRecord(value)) return [value];
  const { kind, apiVersion, items } = value;
  if (!Array.isArray(items)) {
    const bare = (kind ?? apiVersion ?? undefined) === undefined;
    return [bare && implied !== undefined ? { ...value, ...implied } : value];
  }
  const itemKind = /^(.+)List$/.exec(text(kind) ?? "")?.[1];
  const ofItems = itemKind === undefined ? undefined : { kind: itemKind, apiVersion };
  return items.flatMap((item) => flatten(item, ofItems));
}

function take({ where, value }: ManifestDocument, result: Builder): void {
  const problem = documentProblem(value);
  if (problem !== undefined) {
    result.problems.push({ ...problem, message: `${where}: ${problem.message}` });
    return;
  }
  const { kind, apiVersion } = value as { kind: string; apiVersion: string };
  if (GROUPS.get(kind) === undefined) return;
  for (const message of oddities(kind, apiVersion, value as Node))
    result.problems.push({
      severity: "warning",
      message: `${where}: ${kind} ${nameOf(value as Node)}: ${message}`,
    });
  takeKind(kind, groupOf(apiVersion), value as Node, where, result);
}

/** Why a document is left out; undefined for sound ones and for kinds that do not matter. */
function documentProblem(value: unknown): Problem | undefined {
  const error = (message: string): Problem => ({ severity: "error", message });
  if (!isRecord(value)) return error("expected an object with apiVersion and kind");
  const { kind, apiVersion } = value;
  if (typeof kind !== "string" || kind === "") return error("kind: expected the name of a kind, found none");
  const groups = GROUPS.get(kind);
  if (groups === undefined) return unknownKindProblem(kind, apiVersion);
  if (typeof apiVersion !== "string") return error(`apiVersion: expected the version of ${kind}`);
  if (!groups.includes(groupOf(apiVersion)))
    return { severity: "warning", message: `${kind} of ${apiVersion} is none of Kubernetes and is left out` };
  const name = nameOf(value);
  const problem =
    shapeProblem(value, SHAPES[kind] ?? {}, "") ??
    (name === "" ? "metadata.name: expected a name, found none" : undefined);
  return problem === undefined ? undefined : error(`${kind}${name === "" ? "" : ` ${name}`}: ${problem}`);
}

/** What is no error, and perhaps not what was meant. */
function oddities(kind: string, apiVersion: string, value: Node): string[] {
  const messages = unknownFields(value.spec, POLICY_SPECS[kind] ?? "string", "spec").map(
    (field) => `${field}: there is no such field, so it counts for nothing`,
  );
  if (kind === "Ingress" && apiVersion !== "networking.k8s.io/v1")
    messages.push("only backends in the form of networking.k8s.io/v1 are read");
  if (podSpecOf(kind, node(value.spec)).hostNetwork === true)
    messages.push("on the network of its node; the answer takes it for one of the pod network");
  return messages;
}

/** Kinds that would change the answer if they were understood. */
function unknownKindProblem(kind: string, apiVersion: unknown): Problem | undefined {
  const of = typeof apiVersion === "string" ? ` of ${apiVersion}` : "";
  if (/NetworkPolicy$/.test(kind))
    return { severity: "warning", message: `${kind}${of} is not understood and is left out` };
  if (MORE_NETWORKS.has(kind))
    return { severity: "warning", message: `${kind}${of} is left out: the answer is about the pod network` };
  return undefined;
}

/** What the API server would complete to a name stands for it. */
function nameOf(value: Node): string {
  const { name, generateName } = node(value.metadata);
  return text(name) || text(generateName) || "";
}

function groupOf(apiVersion: string): string {
  return apiVersion.includes("/") ? (apiVersion.split("/")[0] as string) : "";
}

function takeKind(kind: string, group: string, value: Node, where: string, result: Builder): void {
  const meta = node(value.metadata);
  const spec = node(value.spec);
  const name = nameOf(value);
  const namespace = text(meta.namespace) || DEFAULT_NAMESPACE;
  switch (kind) {
    case "Namespace":
      result.namespaces.push({ value: { name, labels: labelsOf(meta) }, where });
      return;
    case "Service":
      result.services.push({
        value: { namespace, name, selector: selectorOf(spec), ports: servicePorts(spec) },
        where,
      });
      return;
    case "Ingress":
      result.entrances.push({ value: { kind, namespace, name, backends: ingressBackends(spec) }, where });
      return;
    case "Route":
      result.entrances.push({ value: { kind, namespace, name, backends: routeBackends(spec) }, where });
      return;
    case "NetworkPolicy":
      result.networkPolicies.push({ value: { namespace, name, spec: withoutNulls(spec) as never }, where });
      return;
    case "AdminNetworkPolicy":
    case "BaselineAdminNetworkPolicy":
      result.adminPolicies.push({ value: { kind, name, spec: withoutNulls(spec) as never }, where });
      return;
    default:
      takePods(kind, group, { namespace, name, meta, spec, status: node(value.status), where }, result);
  }
}

interface Workload {
  readonly namespace: string;
  readonly name: string;
  readonly meta: Node;
  readonly spec: Node;
  readonly status: Node;
  readonly where: string;
}

function takePods(kind: string, group: string, workload: Workload, result: Builder): void {
  const { namespace, name, meta, spec, status, where } = workload;
  const common = { namespace, name, kind, where };
  if (kind === "Pod") {
    if (name.startsWith(KUBEVIRT_LAUNCHER)) {
      result.problems.push({
        severity: "warning",
        message: `${where}: Pod ${name} only carries a virtual machine and is left out`,
      });
      return;
    }
    const owner = ownerOf(meta);
    result.pods.push({
      ...common,
      labels: labelsOf(meta),
      ports: containerPorts(spec),
      nodeAddresses: nodeAddressesOf(status),
      ...(owner === undefined ? {} : { owner }),
    });
    return;
  }
  if (kind === "VirtualMachine" && group === "plinth.dev") {
    result.pods.push({ ...common, labels: labelsOf(meta), ports: declaredPorts(spec.ports) });
    return;
  }
  result.pods.push({
    ...common,
    labels: labelsOf(node(templateOf(kind, spec).metadata)),
    ports: containerPorts(podSpecOf(kind, spec)),
  });
}

function templateOf(kind: string, spec: Node): Node {
  return node(kind === "CronJob" ? node(node(spec.jobTemplate).spec).template : spec.template);
}

function podSpecOf(kind: string, spec: Node): Node {
  return kind === "Pod" ? spec : node(templateOf(kind, spec).spec);
}

/** The controlling owner; a node owns only what its kubelet started itself, which stands for itself. */
function ownerOf(meta: Node): { kind: string; name: string } | undefined {
  const controller = list(meta.ownerReferences)
    .map(node)
    .find((reference) => reference.controller === true);
  const kind = text(controller?.kind);
  const name = text(controller?.name);
  if (kind === undefined || name === undefined || kind === "Node") return undefined;
  return { kind, name };
}

function nodeAddressesOf({ hostIP, hostIPs }: Node): string[] {
  const all = [hostIP, ...list(hostIPs).map((each) => node(each).ip)];
  return [...new Set(all.flatMap((each) => text(each) || []))];
}

function containerPorts(podSpec: Node): ContainerPort[] {
  return list(podSpec.containers).flatMap((container) =>
    list(node(container).ports)
      .map(node)
      .map((port) => portOf(port, port.containerPort)),
  );
}

function declaredPorts(ports: unknown): ContainerPort[] {
  return list(ports)
    .map(node)
    .map((port) => portOf(port, port.port));
}

function portOf(port: Node, number: unknown): ContainerPort {
  const name = text(port.name);
  const protocol = text(port.protocol);
  return {
    port: typeof number === "number" ? number : 0,
    ...(name === undefined || name === "" ? {} : { name }),
    ...(protocol === undefined || protocol === "" ? {} : { protocol }),
  };
}

function selectorOf(spec: Node): Labels | undefined {
  return isRecord(spec.selector) && Object.keys(spec.selector).length > 0
    ? (withoutNulls(spec.selector) as Labels)
    : undefined;
}

function servicePorts(spec: Node): ServicePort[] {
  return list(spec.ports)
    .map(node)
    .map(({ name, port, targetPort }) => ({
      port: typeof port === "number" ? port : 0,
      ...(typeof name === "string" && name !== "" ? { name } : {}),
      ...(targetPort === undefined || targetPort === null || targetPort === "" || targetPort === 0
        ? {}
        : { targetPort: targetPort as number | string }),
    }));
}

function ingressBackends(spec: Node): Entrance["backends"] {
  const paths = list(spec.rules).flatMap((rule) => list(node(node(rule).http).paths));
  const backends = [spec.defaultBackend, ...paths.map((path) => node(path).backend)];
  return backends.flatMap((backend) => {
    const service = node(node(backend).service);
    const name = text(service.name);
    if (name === undefined) return [];
    const port = node(service.port);
    const wanted = text(port.name) || (port.number as number | undefined);
    return [{ service: name, ...(wanted ? { port: wanted } : {}) }];
  });
}

function routeBackends(spec: Node): Entrance["backends"] {
  const port = node(spec.port).targetPort as number | string | undefined | null;
  return [spec.to, ...list(spec.alternateBackends)].map(node).flatMap(({ kind, name }) => {
    if (typeof name !== "string" || (kind !== undefined && kind !== null && kind !== "Service")) return [];
    return [{ service: name, ...(port ? { port } : {}) }];
  });
}

function labelsOf(meta: Node): Labels {
  return isRecord(meta.labels) ? (withoutNulls(meta.labels, "") as Labels) : {};
}

/** Nulls are absent fields, null items are empty objects; a null label is an empty one. */
function withoutNulls(value: unknown, instead?: string): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutNulls(item ?? {}, instead));
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).flatMap(([key, item]) => {
    if (item !== null && item !== undefined) return [[key, withoutNulls(item, instead)] as const];
    return instead === undefined ? [] : [[key, instead] as const];
  });
  return Object.fromEntries(entries);
}

function node(value: unknown): Node {
  return isRecord(value) ? value : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
