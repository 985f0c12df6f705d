// An API server with the default roles, for tests of who may do what.
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore } from "../../../base/store/index.js";
import { SimulatedClock } from "../../../base/time/index.js";
import { type ApiServer, type ApiServerOptions, startApiServer } from "../api-server.js";
import { ApiClient } from "../client.js";
import { loadToken } from "../credentials.js";
import type { ApiError } from "../errors.js";
import type { HttpRequest } from "../http-transport.js";
import { LocalClient } from "../local-client.js";
import { ResourceRegistry } from "../registry.js";
import type { Reviewer } from "../review.js";
import { issueUserCertificate, loadTls } from "../tls.js";
import { DEFAULT_CLUSTER_ROLE_BINDINGS, DEFAULT_CLUSTER_ROLES } from "./default-roles.js";

const DAY_MS = 86_400_000;
export const OURS = "/apis/plinth.dev/v1alpha1";
export const RBAC = "/apis/rbac.authorization.k8s.io/v1";

export interface AuditEvent {
  readonly verb: string;
  readonly level: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly name?: string };
  readonly responseStatus: { readonly code: number };
  readonly annotations: Readonly<Record<string, string>>;
}

export interface AccessServer {
  readonly directory: string;
  readonly server: ApiServer;
  readonly clock: SimulatedClock;
  readonly admin: ApiClient;
  readonly audited: readonly AuditEvent[];
  /** A client with a certificate of its own, closed with the server. */
  userClient(name: string, groups?: string[], validMs?: number): Promise<ApiClient>;
  keep(client: ApiClient): ApiClient;
  reviewWith(reviewer: Reviewer | undefined): void;
  /** Gives a user a ClusterRole, in one namespace or everywhere. */
  bind(user: string, clusterRole: string, namespace?: string): Promise<unknown>;
  close(): Promise<void>;
}

/** With the namespaces shop and bank; its clock begins now. */
export async function startAccessServer(
  more: Pick<ApiServerOptions, "requestsInFlightMax"> = {},
): Promise<AccessServer> {
  const directory = await mkdtemp("/tmp/pacc-");
  const tls = await loadTls(join(directory, "tls"), Date.now());
  const token = await loadToken(join(directory, "token"));
  const store = openMemoryStore();
  const clock = new SimulatedClock();
  clock.advance(Date.now());
  const registry = new ResourceRegistry({ store, clock });
  const local = new LocalClient({ component: "controller" }, { registry, clock });
  for (const role of DEFAULT_CLUSTER_ROLES) await local.create("ClusterRole", role);
  for (const binding of DEFAULT_CLUSTER_ROLE_BINDINGS) await local.create("ClusterRoleBinding", binding);
  for (const name of ["shop", "bank"]) await local.create("Namespace", { metadata: { name } });
  const options = {
    port: 0,
    tls,
    token,
    version: "0.0.0",
    hostSocket: join(directory, "host.sock"),
    ...more,
  };
  const audited: AuditEvent[] = [];
  const auditSink = { write: (line: string) => void audited.push(JSON.parse(line)) };
  const server = await startApiServer(options, { registry, clock, log: silentLog, auditSink });
  const admin = new ApiClient(server.access);
  const clients = [admin];
  const keep = (client: ApiClient): ApiClient => {
    clients.push(client);
    return client;
  };
  return {
    directory,
    server,
    clock,
    admin,
    audited,
    keep,
    reviewWith: (reviewer) => registry.reviewWith(reviewer),
    async userClient(name, groups = [], validMs = DAY_MS) {
      const user = { name, groups, validMs };
      const certificate = await issueUserCertificate(join(directory, "tls"), user, Date.now());
      return keep(new ApiClient({ server: server.access.server, ca: server.access.ca, certificate }));
    },
    bind(user, clusterRole, namespace) {
      const place = namespace === undefined ? "clusterrolebindings" : `namespaces/${namespace}/rolebindings`;
      return send(admin, "POST", `${RBAC}/${place}`, {
        metadata: { name: `${user}-${clusterRole}` },
        subjects: [{ kind: "User", name: user }],
        roleRef: { kind: "ClusterRole", name: clusterRole },
      });
    },
    async close() {
      for (const client of clients) client.close();
      await server.close();
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export function send(
  client: ApiClient,
  method: HttpRequest["method"],
  path: string,
  body?: object,
  more: Partial<HttpRequest> = {},
): Promise<unknown> {
  return client.transport.json({ method, path, ...(body === undefined ? {} : { body }), ...more });
}

/** "STATUS MESSAGE" of a request that is refused. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  const thrown = (await promise.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason,
  )) as ApiError;
  return `${thrown.status} ${thrown.message}`;
}
