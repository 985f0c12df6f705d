// Makes nfd run the network functions that the API wants, with a switch port each, and shows their health.
// nfd keeps nothing over a restart; the look at its list every second applies again what it has lost. Thread: main.
import { isDeepStrictEqual } from "node:util";
import { describeError, PlinthError } from "../../../base/errors/index.js";
import { callControl } from "../../../base/jsonrpc/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";
import type { Informer, ResourceClient } from "../../api/index.js";
import type { Network, NetworkFunction } from "../../resources/index.js";
import { addFinalizer, HOST_FINALIZER, removeFinalizer, writeStatus } from "./api-writer.js";
import { shortId } from "./machine-records.js";
import type { DesiredPort } from "./switch-plan.js";
import { WorkQueue } from "./work-queue.js";

export interface FunctionReconcilerOptions {
  readonly host: string;
  readonly controlSocket: string;
  /** Where the functions' stream sockets are made. */
  readonly runDir: string;
  readonly network: (namespace: string, name: string) => Network | undefined;
  /** The wanted switch ports changed. */
  readonly onPortsChanged: () => void;
}

export interface FunctionModules {
  readonly client: ResourceClient;
  readonly clock: Clock;
  readonly log: Logger;
}

const POLL_MS = 1_000;
/** While nfd is away: how soon its return is noticed adds to the time without its functions. */
const AWAY_POLL_MS = 100;
const CALL_TIMEOUT_MS = 5_000;

type Health = NonNullable<NonNullable<NetworkFunction["status"]>["health"]>;

interface Applied {
  readonly uid: string;
  readonly config: object;
}

export class FunctionReconciler {
  readonly #options: FunctionReconcilerOptions;
  readonly #modules: FunctionModules;
  readonly #queue: WorkQueue;
  readonly #functions: Informer<NetworkFunction>;
  readonly #applied = new Map<string, Applied>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: FunctionReconcilerOptions, modules: FunctionModules) {
    this.#options = options;
    this.#modules = modules;
    this.#queue = new WorkQueue({ name: "functions", concurrency: 2, run: (key) => this.#run(key) }, modules);
    this.#functions = modules.client.watchKind("NetworkFunction", {
      onChange: ({ object }) => {
        this.#queue.add(`${object.metadata.namespace}/${object.metadata.name}`);
        options.onPortsChanged();
      },
    });
  }

  async start(): Promise<void> {
    await this.#functions.synced;
    this.#schedulePoll();
  }

  /**
   * The switch ports of all functions here, for the switch's plan. They follow from what the API says alone, so that
   * a restart of the agent or of nfd takes no port away.
   */
  ports(): DesiredPort[] {
    return this.#functions.list().flatMap((each) => {
      const here = each.status?.host === undefined || each.status.host === this.#options.host;
      const port = here && each.metadata.deletionTimestamp === undefined ? this.#portOf(each) : undefined;
      return port === undefined ? [] : [port];
    });
  }

  /** Something that functions depend on changed, such as a network. */
  triggerAll(): void {
    for (const each of this.#functions.list()) {
      this.#queue.add(`${each.metadata.namespace}/${each.metadata.name}`);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#functions.close();
    await this.#queue.close();
  }

  async #run(key: string): Promise<undefined> {
    const [namespace = "", name = ""] = key.split("/");
    const { client } = this.#modules;
    const wanted = this.#functions.get({ namespace, name });
    const here = wanted?.status?.host;
    if (wanted === undefined || (here !== undefined && here !== this.#options.host)) {
      await this.#forget(key);
      return undefined;
    }
    if (wanted.metadata.deletionTimestamp !== undefined) {
      if (wanted.metadata.finalizers?.includes(HOST_FINALIZER) !== true) return undefined;
      await this.#forget(key);
      await removeFinalizer(client, "NetworkFunction", wanted);
      return undefined;
    }
    if (!(await addFinalizer(client, "NetworkFunction", wanted))) return undefined;
    const missing = await this.#apply(key, wanted);
    await writeStatus(client, "NetworkFunction", wanted, { host: this.#options.host }, [
      missing === undefined
        ? { type: "Applied", status: "True", reason: "Running", message: "" }
        : { type: "Applied", status: "False", reason: "Waiting", message: missing },
    ]);
    return undefined;
  }

  /** What it waits for, or undefined when nfd has it. */
  async #apply(key: string, wanted: NetworkFunction): Promise<string | undefined> {
    const { namespace, uid } = wanted.metadata;
    const { network: networkName, loadBalancer } = wanted.spec;
    const network = this.#options.network(namespace as string, networkName);
    if (network === undefined) return `waiting for Network ${namespace}/${networkName} to exist`;
    const { macAddress, probeAddress, endpoints = [] } = wanted.status ?? {};
    if (macAddress === undefined || loadBalancer === undefined)
      return "waiting for the controller to give it an address";
    const socket = this.#socketOf(wanted);
    const config = {
      name: key,
      type: wanted.spec.type,
      socket,
      macAddress,
      ...(probeAddress === undefined ? {} : { probeAddress }),
      address: loadBalancer.address,
      ports: loadBalancer.ports.map((each) => ({
        port: each.port,
        targetPort: each.targetPort ?? each.port,
        protocol: each.protocol,
      })),
      endpoints: endpoints.map((each) => ({ ...each })),
      healthCheck: loadBalancer.healthCheck,
    };
    const before = this.#applied.get(key);
    if (before !== undefined && isDeepStrictEqual(before, { uid, config })) return undefined;
    if (before !== undefined && before.uid !== uid) await this.#forget(key);
    try {
      await callControl(this.#options.controlSocket, "function.apply", config, CALL_TIMEOUT_MS);
    } catch (thrown) {
      const away = thrown instanceof PlinthError && thrown.code.startsWith("RPC_");
      await writeStatus(this.#modules.client, "NetworkFunction", wanted, {}, [
        {
          type: "Applied",
          status: "False",
          reason: "Refused",
          message: away ? "waiting for nfd to answer" : describeError(thrown),
        },
      ]);
      throw thrown;
    }
    this.#applied.set(key, { uid, config });
    const message = `${endpoints.length} endpoint${endpoints.length === 1 ? "" : "s"} behind ${loadBalancer.address}`;
    await this.#modules.client.recordEvent(wanted, { reason: "Applied", message });
    return undefined;
  }

  #portOf(each: NetworkFunction): DesiredPort | undefined {
    const { namespace, name, uid } = each.metadata;
    const network = this.#options.network(namespace as string, each.spec.network);
    const macAddress = each.status?.macAddress;
    if (network === undefined || macAddress === undefined) return undefined;
    return {
      name: `nf${shortId(uid)}`,
      type: "stream",
      options: { path: this.#socketOf(each) },
      externalIds: { "iface-id": `nf:${namespace}/${name}`, "attached-mac": macAddress },
      vlan: network.spec.vlan,
    };
  }

  #socketOf(each: NetworkFunction): string {
    return `${this.#options.runDir}/nf-${shortId(each.metadata.uid)}.sock`;
  }

  async #forget(key: string): Promise<void> {
    if (!this.#applied.delete(key)) return;
    // An nfd that does not answer has forgotten by itself when it comes back.
    await callControl(this.#options.controlSocket, "function.delete", { name: key }, CALL_TIMEOUT_MS).catch(
      (thrown: unknown) => this.#modules.log.debug({ err: thrown, key }, "function not deleted"),
    );
  }

  #schedulePoll(delayMs = POLL_MS): void {
    if (this.#closed) return;
    this.#timer = this.#modules.clock.after(delayMs, () => {
      this.#poll().then(
        () => this.#schedulePoll(),
        (thrown: unknown) => {
          this.#modules.log.debug({ err: thrown }, "health is not known");
          this.#schedulePoll(AWAY_POLL_MS);
        },
      );
    });
  }

  async #poll(): Promise<void> {
    if (this.#applied.size === 0) return;
    const answer = await callControl(this.#options.controlSocket, "function.list", {}, CALL_TIMEOUT_MS);
    const list = parseList(answer);
    for (const key of this.#applied.keys()) {
      const health = list.get(key);
      const [namespace = "", name = ""] = key.split("/");
      const shown = this.#functions.get({ namespace, name });
      if (shown === undefined) continue;
      if (health === undefined) {
        this.#applied.delete(key);
        this.#queue.add(key);
      } else await this.#showHealth(shown, health);
    }
  }

  async #showHealth(shown: NetworkFunction, health: Health): Promise<void> {
    const { client } = this.#modules;
    for (const each of health) {
      const before = shown.status?.health?.find((other) => other.name === each.name)?.state;
      if (before === each.state) continue;
      const type = each.state === "Unhealthy" ? "Warning" : "Normal";
      const why = each.reason === undefined || each.reason === "" ? "" : `: ${each.reason}`;
      await client.recordEvent(shown, {
        type,
        reason: `Endpoint${each.state}`,
        message: `${each.name}${why}`,
      });
    }
    await writeStatus(client, "NetworkFunction", shown, { health });
  }
}

const STATES = ["Healthy", "Unhealthy", "Draining", "Unknown"] as const;

/** Health by function; what is not understood is left out. */
function parseList(answer: unknown): Map<string, Health> {
  const found = new Map<string, Health>();
  const rows = Array.isArray(answer) ? answer : [];
  for (const row of rows as { name?: unknown; endpoints?: unknown }[]) {
    if (typeof row?.name !== "string" || !Array.isArray(row.endpoints)) continue;
    const health: Health = [];
    for (const each of row.endpoints as { name?: unknown; state?: unknown; reason?: unknown }[]) {
      const state = STATES.find((word) => word === each?.state);
      if (typeof each?.name !== "string" || state === undefined) continue;
      health.push({
        name: each.name,
        state,
        ...(typeof each.reason === "string" && each.reason !== "" ? { reason: each.reason } : {}),
      });
    }
    found.set(row.name, health);
  }
  return found;
}
