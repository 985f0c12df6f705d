// `plinth controller`: store, resource API, controllers and, through a hook, the SDN part, in one process.
//
// Start: lock → port probed → certificates, token → store → controllers → API listens → kubeconfig → SDN part →
// control socket (= ready). A second instance or a port in use is refused before anything is touched.
// Stop: the same backwards. SIGKILL at any moment loses nothing that was acknowledged.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { type ControlMethod, createControlServer } from "../../../base/jsonrpc/index.js";
import { lockFile } from "../../../base/linux/index.js";
import { type Logger, RotatingFile } from "../../../base/log/index.js";
import { Lease, openLevelStore, type Store } from "../../../base/store/index.js";
import { type Clock, systemClock, type Timer } from "../../../base/time/index.js";
import {
  GarbageCollector,
  isApiError,
  LocalClient,
  loadToken,
  type ResourceClient,
  ResourceRegistry,
  type Reviewer,
  type ServerAccess,
  writeKubeconfig,
} from "../../api/index.js";
import { probePort } from "../../api/port.js";
import {
  DEFAULT_CLUSTER_ROLE_BINDINGS,
  DEFAULT_CLUSTER_ROLES,
  loadTls,
  loadTokenKey,
  startApiServer,
} from "../../api/server.js";
import type { DirectoryLayout } from "../directory.js";
import { Controllers } from "./controllers.js";

/** What a part that works on resources in this process is given, such as the SDN controller. */
export interface PartContext {
  /** Reads, writes and informers without HTTP. */
  readonly client: ResourceClient;
  readonly layout: DirectoryLayout;
  readonly clock: Clock;
  readonly log: Logger;
  /** That of this process, by which switches tell it from others. */
  readonly lease?: Lease;
  /** From now on users' changes are shown to `reviewer` before they are stored. */
  readonly reviewWith?: (reviewer: Reviewer) => void;
}
export interface Part {
  /** Further methods of the control socket. */
  readonly methods?: Readonly<Record<string, ControlMethod>>;
  close(): Promise<void>;
}
/** Starts a part; it is closed before the store is. */
export type StartPart = (context: PartContext) => Promise<Part>;

export interface ControllerOptions {
  readonly layout: DirectoryLayout;
  /** Of the API on 127.0.0.1; 0 = any free one. */
  readonly port: number;
  readonly version: string;
  readonly parts?: readonly StartPart[];
}

export interface RunningController {
  readonly access: ServerAccess;
  readonly client: ResourceClient;
  /** Settles after `shutdown` on the control socket. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

const LEASE_KEY = "/plinth/leases/controller";
const LEASE_DURATION_MS = 15_000;
const TLS_CHECK_MS = 12 * 60 * 60_000;

/** Ready when it resolves. Throws ALREADY_RUNNING, PORT_IN_USE, STORE_LOCKED, STORE_CORRUPT, TLS_UNREADABLE … */
export async function startController(
  options: ControllerOptions,
  modules: { readonly log: Logger; readonly clock?: Clock },
): Promise<RunningController> {
  const { log, clock = systemClock } = modules;
  const { layout } = options;
  const lock = lockFile(join(layout.run, "controller.lock"));
  /** In the order in which they were opened. */
  const opened: (() => Promise<void> | void)[] = [() => lock.close()];
  const closeAll = async (): Promise<void> => {
    for (let close = opened.pop(); close !== undefined; close = opened.pop()) await close();
  };
  try {
    await probePort(options.port);
    const tlsDirectory = join(layout.dir, "tls");
    const tls = await loadTls(tlsDirectory, clock.wallMs());
    const token = await loadToken(join(layout.dir, "token"));
    const tokenKey = await loadTokenKey(join(tlsDirectory, "service-account-key.pem"));
    const onRemark = (remark: string) => log.warn({ remark }, "the files of the store are not quite whole");
    const store = await openLevelStore(layout.state, { keepHistory: true, onRemark });
    opened.push(() => store.close());
    // A level store has one process at a time.
    const leaseOptions = {
      key: LEASE_KEY,
      holder: randomUUID(),
      durationMs: LEASE_DURATION_MS,
      exclusive: true,
    };
    const lease = await Lease.open(leaseOptions, { store, clock, log });
    opened.push(() => lease.close());
    const registry = new ResourceRegistry({ store, clock });
    const client = new LocalClient({ component: "controller" }, { registry, clock });
    await makeDefaults(client);
    const garbage = new GarbageCollector({ registry, clock, log });
    opened.push(() => garbage.close());
    await garbage.start();
    const controllers = new Controllers({ client, clock, log });
    opened.push(() => controllers.close());
    await controllers.start();
    const { port, version } = options;
    const auditSink = new RotatingFile(join(layout.log, "audit.log"));
    opened.push(() => auditSink.close());
    const server = await startApiServer(
      { port, tls, token, tokenKey, version, hostSocket: layout.hostControlSocket },
      { registry, clock, log, auditSink, notReady: () => storeTrouble(store) },
    );
    opened.push(() => server.close());
    opened.push(renewCertificates(tlsDirectory, clock, log, (fresh) => server.renewTls(fresh)));
    await writeKubeconfig(layout.kubeconfig, server.access);
    const methods: Record<string, ControlMethod> = {};
    for (const start of options.parts ?? []) {
      const part = await start({
        client,
        layout,
        clock,
        log,
        lease,
        reviewWith: (reviewer) => registry.reviewWith(reviewer),
      });
      opened.push(() => part.close());
      Object.assign(methods, part.methods);
    }
    let shutdown = (): void => {};
    const closed = new Promise<void>((resolve) => {
      shutdown = resolve;
    });
    const control = await createControlServer(layout.controllerControlSocket, methods, {
      name: "controller",
      version,
      shutdown,
      onInternalError: (thrown, method) => log.error({ err: thrown, method }, "control method failed"),
    });
    opened.push(() => control.close());
    log.info({ server: server.access.server, revision: store.revision }, "API ready");
    return { access: server.access, client, closed, close: closeAll };
  } catch (thrown) {
    await closeAll();
    throw thrown;
  }
}

/** What every data centre starts with. */
async function makeDefaults(client: ResourceClient): Promise<void> {
  const ifMissing = async (work: Promise<unknown>): Promise<void> => {
    await work.catch((thrown: unknown) => {
      if (!isApiError(thrown, "AlreadyExists")) throw thrown;
    });
  };
  await ifMissing(client.create("Namespace", { metadata: { name: "default" } }));
  for (const role of DEFAULT_CLUSTER_ROLES) await ifMissing(client.create("ClusterRole", role));
  for (const binding of DEFAULT_CLUSTER_ROLE_BINDINGS)
    await ifMissing(client.create("ClusterRoleBinding", binding));
  await ifMissing(client.create("Image", { metadata: { name: "guest" }, spec: { type: "Builtin" } }));
}

function renewCertificates(
  directory: string,
  clock: Clock,
  log: Logger,
  onFresh: (tls: Awaited<ReturnType<typeof loadTls>>) => void,
): () => void {
  let timer: Timer;
  const check = (): void => {
    timer = clock.after(TLS_CHECK_MS, () => {
      loadTls(directory, clock.wallMs())
        .then(onFresh)
        .catch((thrown: unknown) => log.error({ err: thrown }, "certificates could not be renewed"))
        .finally(check);
    });
  };
  check();
  return () => timer.cancel();
}

function storeTrouble(store: Store): string | undefined {
  return store.failure === undefined ? undefined : store.failure.message;
}
