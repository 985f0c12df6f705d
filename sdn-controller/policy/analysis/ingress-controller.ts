// What reaches workloads through an Ingress or a Route. The ingress controller is not among the documents, so it stands
// for some pod of a namespace of its own: what policies let such a pod reach, of what services lead to. Pure.
import { NAMESPACE_NAME_LABEL } from "../policy-model.js";
import { selects } from "../selector.js";
import type { Cluster, Workload } from "./cluster.js";
import {
  type ConnectionSet,
  connections,
  intersect,
  isEmpty,
  NO_CONNECTIONS,
  union,
} from "./connection-set.js";
import type { Evaluator } from "./evaluator.js";
import type { Entrance, Problem, Service, ServicePort } from "./manifest.js";

const NAMESPACE = "ingress-controller-ns";

export const INGRESS_CONTROLLER: Workload = {
  namespace: NAMESPACE,
  name: "ingress-controller",
  kind: "Pod",
  text: "{ingress-controller}",
  labels: {},
  namespaceLabels: { [NAMESPACE_NAME_LABEL]: NAMESPACE },
  ports: [],
  pods: [],
  nodeAddresses: [],
};

export interface EntranceConnections {
  readonly workload: Workload;
  readonly connections: ConnectionSet;
}

export function entranceConnections(
  cluster: Cluster,
  evaluator: Evaluator,
  problems: Problem[],
): EntranceConnections[] {
  const reached = new Map<Workload, { connections: ConnectionSet; entrance: Entrance }>();
  for (const entrance of cluster.entrances) {
    for (const backend of entrance.backends) {
      const service = cluster.services.find(
        ({ namespace, name }) => namespace === entrance.namespace && name === backend.service,
      );
      if (service?.selector === undefined) {
        problems.push({ severity: "warning", message: backendProblem(entrance, backend.service, service) });
        continue;
      }
      for (const workload of cluster.workloads) {
        if (
          workload.namespace !== service.namespace ||
          !selects({ matchLabels: service.selector }, workload.labels)
        )
          continue;
        const before = reached.get(workload)?.connections ?? NO_CONNECTIONS;
        const ports = workloadPorts(workload, service, backend.port);
        reached.set(workload, { connections: union(before, ports), entrance });
      }
    }
  }
  return [...reached].flatMap(([workload, { connections: wanted, entrance }]) => {
    const { allowed } = evaluator.answer({ workload: INGRESS_CONTROLLER }, { workload });
    const result = intersect(wanted, allowed);
    if (!isEmpty(result)) return [{ workload, connections: result }];
    const why = isEmpty(wanted)
      ? "which declares none of the TCP ports that the service leads to"
      : "which no pod of an unknown namespace may reach on the ports of the service";
    problems.push({
      severity: "warning",
      message:
        `${entrance.kind} ${entrance.namespace}/${entrance.name} leads to ${workload.text}, ${why}: ` +
        "a line for the ingress controller is left out",
    });
    return [];
  });
}

function backendProblem(entrance: Entrance, name: string, service: Service | undefined): string {
  const what = service === undefined ? "there is no such service" : "the service selects no pods";
  return `${entrance.kind} ${entrance.namespace}/${entrance.name}: backend ${name}: ${what}`;
}

/** Container ports behind the service's port that is asked for; behind all of them when none is. */
function workloadPorts(
  workload: Workload,
  service: Service,
  wanted: number | string | undefined,
): ConnectionSet {
  const ports =
    wanted === undefined ? service.ports : service.ports.filter((port) => isWanted(port, wanted)).slice(0, 1);
  let result = NO_CONNECTIONS;
  for (const { port, targetPort } of ports) {
    const target = targetPort ?? port;
    const container = workload.ports.find(
      (one) =>
        (one.protocol ?? "TCP") === "TCP" && (typeof target === "string" ? one.name : one.port) === target,
    );
    if (container !== undefined)
      result = union(result, connections("TCP", { first: container.port, last: container.port }));
  }
  return result;
}

function isWanted(port: ServicePort, wanted: number | string): boolean {
  return port.name === wanted || port.port === wanted || port.targetPort === wanted;
}
