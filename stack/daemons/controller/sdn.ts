// The SDN part of `plinth controller`: resources in by informers, status and events out. The SDN controller itself
// knows no resources; sdn-inputs.ts translates. Thread: main.
import { isDeepStrictEqual } from "node:util";
import type { ControlMethod } from "../../../base/jsonrpc/index.js";
import {
  type InventoryChange,
  type Sdn,
  type SdnController,
  type StatusPatch,
  startSdn,
} from "../../../sdn-controller/index.js";
import { type Informer, type ResourceClient, updateStatus, withCondition } from "../../api/index.js";
import type { Condition, KindName, Port, ResourceTypes, VirtualMachine } from "../../resources/index.js";
import type { Part, PartContext, StartPart } from "./controller.js";
import { HostReporter } from "./host-reporter.js";
import { PassRunner } from "./pass-runner.js";
import { ReachabilityReviewer } from "./reachability-review.js";
import {
  adminPolicyInput,
  functionInput,
  invariantInput,
  keyOf,
  namespaceInput,
  networkInput,
  policyInput,
  portInput,
  wishOf,
} from "./sdn-inputs.js";
import { sdnMethods } from "./sdn-methods.js";

const WATCHED = [
  "Namespace",
  "Network",
  "VirtualMachine",
  "Port",
  "NetworkPolicy",
  "AdminNetworkPolicy",
  "BaselineAdminNetworkPolicy",
  "NetworkFunction",
  "Invariant",
] as const satisfies readonly KindName[];
type Watched = (typeof WATCHED)[number];

/** Hand it to `startController` as one of its parts. */
export const startSdnPart: StartPart = async (context) => {
  const part = new SdnPart(context);
  await part.start();
  return part;
};

export class SdnPart implements Part {
  readonly methods: Readonly<Record<string, ControlMethod>>;
  readonly #context: PartContext;
  readonly #startSdn: typeof startSdn;
  readonly #informers = new Map<Watched, Informer<ResourceTypes[Watched]>>();
  /** What was last said about each object, to leave out our own status writes coming back. */
  readonly #said = new Map<string, string>();
  readonly #status: StatusWriter;
  readonly #host: HostReporter;
  #pending: InventoryChange[] = [];
  #flush: NodeJS.Immediate | undefined;
  #synced = false;
  #sdn: Sdn | undefined;
  #started = (): void => {};
  readonly #start = new Promise<void>((resolve) => {
    this.#started = resolve;
  });

  /** `start` is for tests without sockets. */
  constructor(context: PartContext, start: typeof startSdn = startSdn) {
    this.#context = context;
    this.#startSdn = start;
    this.#status = new StatusWriter(context);
    this.#host = new HostReporter(context);
    const reviewer = new ReachabilityReviewer({
      controller: () => this.#upToDate(),
      portsOf: (vm) => this.#portsOf(vm),
      machineOf: (port) => this.#machineOf(port),
    });
    this.methods = sdnMethods(() => this.#sdn?.controller, reviewer);
    context.reviewWith?.(reviewer);
  }

  /** Resolves when the inventory is complete; the switch may come later. */
  async start(): Promise<void> {
    const { client, layout, clock, log, lease } = this.#context;
    this.#sdn = await this.#startSdn(
      {
        openflowSocket: layout.openflowSocket,
        ovsdbEndpoint: `unix:${layout.switchDatabaseSocket}`,
        ...(lease === undefined ? {} : { leadership: lease }),
        outputs: {
          onStatus: (patches) => this.#status.put(patches),
          onEvent: (event) => void this.#host.tell(event),
          onCondition: (condition) => this.#host.show(condition),
        },
      },
      { clock, log },
    );
    for (const kind of WATCHED) this.#watch(client, kind);
    await Promise.all([...this.#informers.values()].map((informer) => informer.synced));
    this.#synced = true;
    for (const kind of WATCHED) for (const object of this.#all(kind)) this.#changed(kind, object, false);
    this.#send();
    this.#sdn.controller.inventoryComplete();
    this.#started();
  }

  /** The SDN controller when it has been told of all that is stored: what was written before the call is in. */
  async #upToDate(): Promise<SdnController> {
    await this.#start;
    await new Promise((resolve) => setImmediate(resolve));
    this.#send();
    return (this.#sdn as Sdn).controller;
  }

  async close(): Promise<void> {
    for (const informer of this.#informers.values()) informer.close();
    clearImmediate(this.#flush);
    await this.#sdn?.close();
    await this.#status.close();
    await this.#host.close();
  }

  #watch<K extends Watched>(client: ResourceClient, kind: K): void {
    const informer = client.watchKind(kind, {
      onChange: (change) => {
        // Before everything is there, the lists are read at once instead.
        if (this.#synced) this.#changed(kind, change.object, change.type === "deleted");
      },
    });
    this.#informers.set(kind, informer as unknown as Informer<ResourceTypes[Watched]>);
  }

  #all<K extends Watched>(kind: K): ResourceTypes[K][] {
    return (this.#informers.get(kind)?.list() ?? []) as ResourceTypes[K][];
  }

  #changed(kind: Watched, object: ResourceTypes[Watched], gone: boolean): void {
    if (kind === "VirtualMachine") {
      for (const port of this.#portsOf(object as VirtualMachine)) this.#say(this.#inputOf("Port", port));
    } else if (gone) this.#say({ kind, key: keyOf(object), value: undefined });
    else this.#say(this.#inputOf(kind, object));
  }

  #inputOf(kind: Exclude<Watched, "VirtualMachine">, object: ResourceTypes[Watched]): InventoryChange {
    switch (kind) {
      case "Namespace":
        return namespaceInput(object as ResourceTypes["Namespace"]);
      case "Network":
        return networkInput(object as ResourceTypes["Network"]);
      case "Port":
        return portInput(object as Port, this.#machineOf(object as Port));
      case "NetworkPolicy":
        return policyInput(object as ResourceTypes["NetworkPolicy"]);
      case "AdminNetworkPolicy":
      case "BaselineAdminNetworkPolicy":
        return adminPolicyInput(kind, object as ResourceTypes["AdminNetworkPolicy"]);
      case "Invariant":
        return invariantInput(object as ResourceTypes["Invariant"]);
      case "NetworkFunction":
        return functionInput(object as ResourceTypes["NetworkFunction"]);
    }
  }

  #machineOf(port: Port): VirtualMachine | undefined {
    const name = port.spec.virtualMachine;
    const informer = this.#informers.get("VirtualMachine");
    if (name === undefined || informer === undefined) return undefined;
    return informer.get({ name, namespace: port.metadata.namespace }) as VirtualMachine | undefined;
  }

  #portsOf(vm: VirtualMachine): Port[] {
    return this.#all("Port").filter(
      (port) =>
        port.spec.virtualMachine === vm.metadata.name && port.metadata.namespace === vm.metadata.namespace,
    );
  }

  #say(change: InventoryChange): void {
    const name = `${change.kind}/${change.key}`;
    const wish = wishOf(change);
    if (this.#said.get(name) === wish) return;
    if (change.value === undefined) this.#said.delete(name);
    else this.#said.set(name, wish);
    this.#pending.push(change);
    // Changes that come together are compiled together.
    this.#flush ??= setImmediate(() => this.#send());
  }

  #send(): void {
    clearImmediate(this.#flush);
    this.#flush = undefined;
    const changes = this.#pending;
    this.#pending = [];
    if (changes.length > 0) this.#sdn?.controller.update(changes);
  }
}

/** Writes status until the store has taken it; a later status of the same object replaces one that waits. */
class StatusWriter {
  readonly #client: ResourceClient;
  readonly #waiting = new Map<string, StatusPatch>();
  readonly #runner: PassRunner;

  constructor(context: PartContext) {
    this.#client = context.client;
    this.#runner = new PassRunner("writing network status", () => this.#pass(), context);
  }

  put(patches: readonly StatusPatch[]): void {
    for (const patch of patches) {
      const name = `${patch.kind}/${patch.key}`;
      this.#waiting.delete(name);
      this.#waiting.set(name, patch);
    }
    this.#runner.trigger();
  }

  close(): Promise<void> {
    return this.#runner.close();
  }

  async #pass(): Promise<void> {
    for (const [name, patch] of [...this.#waiting]) {
      await this.#write(patch);
      if (this.#waiting.get(name) === patch) this.#waiting.delete(name);
    }
  }

  async #write(patch: StatusPatch): Promise<void> {
    const [namespace, name] = patch.key.split("/") as [string, string];
    const { conditions, ...fields } = patch.status;
    const object = await updateStatus(this.#client, patch.kind, { namespace, name }, (current) => {
      const before = current.status ?? {};
      const merged = conditions.reduce(
        (list, condition) => withCondition(list, condition),
        (before.conditions ?? []).filter((condition) => !isOutdated(condition, patch)),
      );
      const after = { ...before, ...fields, conditions: merged };
      return isDeepStrictEqual(before, after) ? undefined : { ...fields, conditions: merged };
    });
    if (object === undefined) return;
    for (const { type, status, reason, message } of conditions) {
      if (status === "True" || reason === "NotAttached") continue;
      // One event says it; a port's Ready repeats what Allocated says.
      if (patch.kind === "Port" && type === "Ready") continue;
      await this.#client.recordEvent(object, { type: "Warning", reason, message });
    }
  }
}

/**
 * A refusal also says that the port is not ready. Once there is none any more, nothing is known of readiness until the
 * switch has the port's flows.
 */
function isOutdated({ type, status, reason }: Condition, patch: StatusPatch): boolean {
  if (patch.kind !== "Port" || type !== "Ready" || status !== "False" || reason === "NotAttached")
    return false;
  return !patch.status.conditions.some((condition) => condition.type === "Ready");
}
