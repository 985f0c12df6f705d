// The controllers of `plinth controller`, each fed by the same copies of the resources.
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";
import { type Informer, type ResourceClient, updateConditions } from "../../api/index.js";
import type { KindName, ResourceTypes } from "../../resources/index.js";
import { HEARTBEAT_CHECK_MS, HeartbeatMonitor, reportSilent } from "./heartbeat.js";
import { inParallel, PassRunner } from "./pass-runner.js";
import { reconcilePorts } from "./port-controller.js";
import {
  Inventory,
  judgeReferences,
  REFERENCES_RESOLVED,
  REFERRING_KINDS,
  type ReferringKind,
} from "./references.js";
import { schedule } from "./scheduler.js";

export interface ControllersModules {
  readonly client: ResourceClient;
  readonly clock: Clock;
  readonly log: Logger;
}

const WATCHED = [
  "VirtualMachine",
  "Port",
  "Network",
  "NetworkFunction",
  "Volume",
  "VolumeSnapshot",
  "StoragePool",
  "Image",
  "Host",
  "ResourceQuota",
] as const satisfies readonly KindName[];
type Watched = (typeof WATCHED)[number];

export class Controllers {
  readonly #modules: ControllersModules;
  readonly #informers = new Map<Watched, Informer<ResourceTypes[Watched]>>();
  readonly #runners: readonly { readonly runner: PassRunner; readonly kinds: readonly Watched[] }[];
  readonly #heartbeats: HeartbeatMonitor;
  #heartbeatTimer: Timer | undefined;
  #heartbeatCheck: Promise<void> | undefined;
  #closed = false;

  constructor(modules: ControllersModules) {
    this.#modules = modules;
    this.#heartbeats = new HeartbeatMonitor(modules);
    const { client } = modules;
    this.#runners = [
      {
        // A quota that is raised or goes makes room for Ports that it refused.
        kinds: ["VirtualMachine", "Port", "Network", "ResourceQuota"],
        runner: new PassRunner(
          "port controller",
          () => reconcilePorts(client, this.#all("VirtualMachine"), this.#all("Port")),
          modules,
        ),
      },
      {
        kinds: ["VirtualMachine", "Host"],
        runner: new PassRunner(
          "scheduler",
          () => schedule(client, this.#all("Host"), this.#all("VirtualMachine")),
          modules,
        ),
      },
      { kinds: WATCHED, runner: new PassRunner("references", () => this.#judgeAll(), modules) },
    ];
  }

  /** Resolves when every copy is complete; passes run from then on. */
  async start(): Promise<void> {
    for (const kind of WATCHED) {
      const informer = this.#modules.client.watchKind(kind, { onChange: () => this.#changed(kind) });
      this.#informers.set(kind, informer as Informer<ResourceTypes[Watched]>);
    }
    await Promise.all([...this.#informers.values()].map((informer) => informer.synced));
    for (const { runner } of this.#runners) runner.trigger();
    this.#scheduleHeartbeatCheck();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#heartbeatTimer?.cancel();
    for (const informer of this.#informers.values()) informer.close();
    await Promise.all(this.#runners.map(({ runner }) => runner.close()));
    await this.#heartbeatCheck;
  }

  #changed(kind: Watched): void {
    const complete = this.#informers.size === WATCHED.length;
    if (!complete) return;
    for (const { runner, kinds } of this.#runners) if (kinds.includes(kind)) runner.trigger();
  }

  #all<K extends Watched>(kind: K): ResourceTypes[K][] {
    return (this.#informers.get(kind)?.list() ?? []) as ResourceTypes[K][];
  }

  async #judgeAll(): Promise<void> {
    const inventory = new Inventory();
    for (const kind of WATCHED) inventory.add(kind, this.#all(kind));
    for (const kind of REFERRING_KINDS) {
      await inParallel(this.#all(kind), (object) => this.#judge(kind, object, inventory));
    }
  }

  async #judge<K extends ReferringKind>(
    kind: K,
    object: ResourceTypes[K],
    inventory: Inventory,
  ): Promise<void> {
    const verdict = judgeReferences(kind, object, inventory);
    const before = object.status?.conditions?.find((condition) => condition.type === REFERENCES_RESOLVED);
    if (before?.status === verdict.status && before.message === verdict.message) return;
    const { client } = this.#modules;
    await updateConditions(client, kind, object.metadata, [verdict]);
    if (verdict.status === "True") return;
    const message = verdict.message ?? "";
    await client.recordEvent(object, { type: "Warning", reason: "ReferenceMissing", message });
  }

  #scheduleHeartbeatCheck(): void {
    if (this.#closed) return;
    this.#heartbeatTimer = this.#modules.clock.after(HEARTBEAT_CHECK_MS, () => {
      const silent = this.#heartbeats.silent(this.#all("Host"));
      this.#heartbeatCheck = reportSilent(this.#modules.client, silent)
        .catch((thrown: unknown) =>
          this.#modules.log.warn({ err: thrown }, "a silent host is reported later"),
        )
        .then(() => this.#scheduleHeartbeatCheck());
    });
  }
}
