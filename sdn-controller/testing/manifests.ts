// Kubernetes documents in few words, and the analysis of them, for tests.
import { type Cluster, clusterOf } from "../policy/analysis/cluster.js";
import { type ConnectivityOptions, connectivityOf } from "../policy/analysis/connectivity.js";
import { type ConnectivityFormat, formatConnectivity } from "../policy/analysis/format.js";
import { readManifest } from "../policy/analysis/manifest.js";

export type Fields = Record<string, unknown>;

export const pod = (
  namespace: string,
  name: string,
  labels: Fields = {},
  ports: Fields[] = [],
  more: Fields = {},
): Fields => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace, name, labels, ...more },
  spec: { containers: [{ name: "main", ports }] },
});
export const deployment = (name: string, labels: Fields = { app: name }, ports: Fields[] = []): Fields => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name },
  spec: { replicas: 3, template: { metadata: { labels }, spec: { containers: [{ name: "main", ports }] } } },
});
export const namespace = (name: string, labels: Fields = {}): Fields => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, labels },
});
export const policy = (name: string, spec: Fields, space = "default"): Fields => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: space },
  spec,
});
export const admin = (name: string, spec: Fields): Fields => ({
  apiVersion: "policy.networking.k8s.io/v1alpha1",
  kind: "AdminNetworkPolicy",
  metadata: { name },
  spec,
});
export const baseline = (spec: Fields): Fields => ({
  apiVersion: "policy.networking.k8s.io/v1alpha1",
  kind: "BaselineAdminNetworkPolicy",
  metadata: { name: "default" },
  spec,
});

export function cluster(...values: unknown[]): Cluster {
  return clusterOf(
    readManifest(values.map((value, i) => ({ where: `test.yaml, document ${i + 1}`, value }))),
  );
}

export function list(
  values: readonly unknown[],
  options: ConnectivityOptions = {},
  format: ConnectivityFormat = "txt",
): string {
  const { lines, workloads } = connectivityOf(cluster(...values), options);
  return formatConnectivity(lines, workloads, format);
}

export function problems(...values: unknown[]): string[] {
  return connectivityOf(cluster(...values)).problems.map(
    ({ severity, message }) => `${severity}: ${message}`,
  );
}

export const ALL = "0.0.0.0-255.255.255.255[External]";
