// `plinth host`: the agent that makes this machine match the API. It alone writes our rows in the switch's database,
// asks storaged for exports and drives QEMU; it may be killed at any moment, and no machine notices.
//
// Start: QEMU found → lock → machines adopted → control socket (= ready); then, as soon as the API answers: host
// registered → informers → reconcilers → switch. Stop: the same backwards; machines run on.
import { join } from "node:path";
import { PlinthError } from "../../../base/errors/index.js";
import { createControlServer } from "../../../base/jsonrpc/index.js";
import { lockFile, probeFacilities } from "../../../base/linux/index.js";
import type { Logger } from "../../../base/log/index.js";
import { type Clock, systemClock, type Timer } from "../../../base/time/index.js";
import {
  type AcceleratorVerdict,
  allocateUid,
  findQemu,
  type GuestImage,
  type GuestImageOptions,
  probeAccelerator,
} from "../../../hypervisor-core/index.js";
import { connectWithKubeconfig, type ResourceClient } from "../../api/index.js";
import type { DirectoryLayout } from "../directory.js";
import { BootImages } from "./boot-images.js";
import { FunctionReconciler } from "./function-reconciler.js";
import { hostControlMethods } from "./host-control.js";
import { HostRegistration, hostCapacity, hostName } from "./host-registration.js";
import { MachineReconciler } from "./machine-reconciler.js";
import { Machines } from "./machines.js";
import { StorageClient } from "./storage-client.js";
import { StorageReconciler } from "./storage-reconciler.js";
import { SwitchSync } from "./switch-sync.js";

export interface HostAgentOptions {
  readonly layout: DirectoryLayout;
  /** Where guest images are kept, shared by all directories of this user. */
  readonly imageCacheDir: string;
  readonly kernelFile?: string | undefined;
  readonly version: string;
  /** The name of the Host object; this machine's own by default. */
  readonly name?: string | undefined;
  readonly log: Logger;
  readonly clock?: Clock;
  /** For tests: makes the client in place of the kubeconfig. */
  readonly connect?: () => Promise<ResourceClient & { close?(): void }>;
  readonly buildImage?: (options: GuestImageOptions) => Promise<GuestImage>;
}

export interface RunningHostAgent {
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

const API_RETRY_MS = 500;
const HOUSEKEEPING_MS = 10_000;

/** Ready when it resolves. Throws PROGRAM_MISSING, ALREADY_RUNNING and what listening throws. */
export async function startHostAgent(options: HostAgentOptions): Promise<RunningHostAgent> {
  const qemu = findQemu();
  const lock = lockFile(join(options.layout.run, "host.lock"));
  const agent = new HostAgent(options, qemu);
  try {
    await agent.start();
  } catch (thrown) {
    await agent.close();
    lock.close();
    throw thrown;
  }
  return {
    closed: agent.closed,
    async close() {
      await agent.close();
      lock.close();
    },
  };
}

class HostAgent {
  readonly closed: Promise<void>;
  readonly #options: HostAgentOptions;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #machines: Machines;
  readonly #storage: StorageClient;
  readonly #switch: SwitchSync;
  #shutdown: () => void = () => {};
  #parts: { close(): Promise<void> | void }[] = [];
  #reconciler: MachineReconciler | undefined;
  #volumes: StorageReconciler | undefined;
  #functions: FunctionReconciler | undefined;
  #accelerator: AcceleratorVerdict | undefined;
  #connecting: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #isClosed = false;
  readonly #qemu: string;

  constructor(options: HostAgentOptions, qemu: string) {
    const { layout, log, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#qemu = qemu;
    this.#name = options.name ?? hostName();
    this.closed = new Promise((resolve) => {
      this.#shutdown = resolve;
    });
    this.#storage = new StorageClient(layout.storageControlSocket);
    this.#machines = new Machines(
      {
        runDir: layout.run,
        stateDir: layout.host,
        qemu,
        onChange: (record, change) => this.#reconciler?.machineChanged(record, change),
      },
      { clock, log },
    );
    this.#switch = new SwitchSync(
      {
        databaseSocket: layout.switchDatabaseSocket,
        desired: () => ({
          controller: `unix:${layout.openflowSocket}`,
          ports: [...this.#machines.ports(), ...(this.#functions?.ports() ?? [])],
        }),
      },
      { clock, log },
    );
  }

  async start(): Promise<void> {
    const { layout, log, version } = this.#options;
    await this.#machines.adoptAll();
    const methods = hostControlMethods({
      machines: this.#machines,
      storage: this.#storage,
      stopAll: async () => await this.#stopAll(),
      attachedTo: (volume) => this.#reconciler?.attachedTo(volume),
      snapshotInPool: async (namespace, volume, name) => {
        if (this.#volumes !== undefined) return await this.#volumes.snapshotInPool(namespace, volume, name);
        throw new PlinthError("API_UNREACHABLE", "the host agent has not reached the API yet");
      },
      describe: () => ({
        name: this.#name,
        capacity: hostCapacity(),
        accelerator: this.#accelerator ?? null,
        isolated: this.#machines.isolated,
        facilities: probeFacilities(),
      }),
    });
    this.#parts.push(
      await createControlServer(layout.hostControlSocket, methods, {
        name: "host",
        version,
        shutdown: () => this.#shutdown(),
        onInternalError: (thrown, method) => log.error({ err: thrown, method }, "internal error"),
      }),
    );
    this.#connecting = this.#connect();
    this.#scheduleHousekeeping();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const part of this.#parts.splice(0).reverse()) await part.close();
    await this.#connecting;
    for (const part of this.#parts.splice(0).reverse()) await part.close();
    await this.#switch.close();
    await this.#machines.release();
  }

  async #stopAll(): Promise<void> {
    if (this.#reconciler !== undefined) return await this.#reconciler.stopAll();
    const stops = this.#machines.records
      .list()
      .map(async ({ id }) => this.#machines.get(id)?.driver.stop(20_000));
    await Promise.all(stops);
  }

  /** Everything that needs the API; tried until it is there. */
  async #connect(): Promise<void> {
    const { layout, log } = this.#options;
    const connect =
      this.#options.connect ?? (() => connectWithKubeconfig(layout.kubeconfig, { component: "host" }));
    let client: (ResourceClient & { close?(): void }) | undefined;
    while (client === undefined && !this.#isClosed) {
      try {
        client = await connect();
      } catch (thrown) {
        log.debug({ err: thrown }, "the API is not there yet");
        await new Promise((resolve) => setTimeout(resolve, API_RETRY_MS));
      }
    }
    if (client === undefined) return;
    const connected = client;
    this.#parts.push({ close: () => connected.close?.() });
    await this.#reconcile(connected).catch((thrown: unknown) => {
      if (!this.#isClosed) throw thrown; // Informers that were closed while we waited for them.
    });
  }

  async #reconcile(client: ResourceClient): Promise<void> {
    const { layout, log, imageCacheDir, kernelFile, buildImage } = this.#options;
    const modules = { client, clock: this.#clock, log };
    const host = this.#name;
    const facilities = probeFacilities();
    const registration = new HostRegistration(
      { name: host, facilities, accelerator: () => this.#accelerator },
      modules,
    );
    const images = new BootImages(
      {
        cacheDir: imageCacheDir,
        kernelFile,
        onChange: () => this.#reconciler?.triggerAll(),
        ...(buildImage === undefined ? {} : { build: buildImage }),
      },
      modules,
    );
    const storage = new StorageReconciler(
      {
        host,
        defaultDisks: [layout.defaultDisk],
        attachedTo: (volume) => machines.attachedTo(volume),
        onVolume: (namespace) => this.#reconciler?.triggerNamespace(namespace),
      },
      { ...modules, storage: this.#storage },
    );
    const machines = new MachineReconciler(
      {
        host,
        boot: (image) => images.state(image),
        volume: (namespace, name) => storage.volume(namespace, name),
        accelerator: () => this.#accelerator,
        syncSwitch: () => this.#switch.sync(),
        onAttachment: (volume) => storage.attachmentChanged(volume),
      },
      { ...modules, machines: this.#machines, storage: this.#storage },
    );
    const functions = new FunctionReconciler(
      {
        host,
        controlSocket: layout.nfdControlSocket,
        runDir: layout.run,
        network: (namespace, name) => machines.network(namespace, name),
        onPortsChanged: () => this.#switch.trigger(),
      },
      modules,
    );
    this.#parts.push(registration, images, storage, machines, functions);
    this.#reconciler = machines;
    this.#volumes = storage;
    this.#functions = functions;
    void images.guest.then((image) => this.#probe(image, registration));
    await Promise.all([images.synced, storage.start(), functions.start()]);
    await machines.start();
    this.#switch.enable();
    functions.triggerAll();
    machines.triggerAll();
  }

  async #probe(image: GuestImage, registration: HostRegistration): Promise<void> {
    const { layout, log } = this.#options;
    const uid = this.#machines.isolated ? allocateUid(new Set(), 0) : undefined;
    const cacheFile = join(layout.host, "accelerator.json");
    this.#accelerator = await probeAccelerator({ qemu: this.#qemu, image, cacheFile, uid });
    log.info(this.#accelerator, "accelerator probed");
    registration.beat();
    this.#reconciler?.triggerAll();
  }

  #scheduleHousekeeping(): void {
    if (this.#isClosed) return;
    this.#timer = this.#clock.after(HOUSEKEEPING_MS, () => {
      this.#machines.trimLogs();
      this.#sweepExports()
        .catch((thrown: unknown) => this.#options.log.debug({ err: thrown }, "exports not looked at"))
        .finally(() => this.#scheduleHousekeeping());
    });
  }

  /** Closes exports of machines that are off: storaged was away when they stopped. */
  async #sweepExports(): Promise<void> {
    const exports = await this.#storage.exports();
    const wanted = this.#machines.exportSockets();
    const { run } = this.#options.layout;
    for (const { socket } of exports) {
      const isMachine =
        socket.startsWith(`${run}/`) && /^[0-9a-f]{8}\/disk\d+\.sock$/.test(socket.slice(run.length + 1));
      if (isMachine && !wanted.has(socket)) await this.#storage.closeExport(socket);
    }
  }
}
