// The main thread's end of the datapath: bridges and ports by name, and each bridge as the OpenFlow agent's SwitchModel.
// Invariant: requests are carried out in the order in which they are made; what change() was told is in force for
// every packet that arrives after its promise resolved. Thread: main.
import { PlinthError } from "../../base/errors/index.js";
import {
  type FlowStatsFilter,
  OFPC_FRAG_NORMAL,
  type SwitchDescription,
  type TableFeatures,
} from "../../base/openflow/index.js";
import { POOL_SLOTS } from "../../base/packet/index.js";
import { WorkerHandle } from "../../base/worker/index.js";
import type {
  ChangeRefusal,
  EncodedFlowMod,
  SwitchChange,
  SwitchEvent,
  SwitchModel,
} from "../agent/index.js";
import { CONNECTIONS_MAX, type ConnectionFilter } from "../conntrack/index.js";
import { pack } from "./change-parts.js";
import { ANSWER_DEADLINE_MS, CHANGES_PER_REQUEST, LINGER_MS } from "./limits.js";
import type { Affinity, AssignmentRules } from "./port-assignment.js";
import { type CoreStatus, PortWorkers, type WorkerLoss } from "./port-workers.js";
import {
  type AddPort,
  type BridgeSpec,
  type DatapathMethods,
  type DatapathSetup,
  EVENTS,
  type EventsMessage,
  LEFT,
  type LeftMessage,
  type RestoredFlows,
  type TakenOver,
} from "./requests.js";
import type { PortSettings } from "./settings.js";
import { GROUP_FEATURES, METER_FEATURES, TABLE_FEATURES } from "./switch-features.js";

export interface DatapathHandleOptions extends Partial<Omit<DatapathSetup, "core" | "shared">> {
  /** Processors to run on: the worker that forwards on the first, and a port worker on each of the others. Absent: one
   *  worker, on any. */
  readonly cores?: readonly number[];
  /** The worker that forwards ended by itself, or port workers again and again: nothing is forwarded any more. */
  readonly onDied?: (error: PlinthError) => void;
  /** A port worker died, or hung; another one takes its place. */
  readonly onLost?: (loss: WorkerLoss) => void;
  /** See PortThreadsOptions.entry and lookMs. */
  readonly portWorkerEntry?: URL;
  readonly portWorkerLookMs?: number;
  /** After leave(): nothing is forwarded any more; whether the successor has the ports. */
  readonly onLeft?: (isTakenOver: boolean) => void;
}

type Method = keyof DatapathMethods;
type Result<M extends Method> = ReturnType<DatapathMethods[M]>;
type Body<M extends Method> = Parameters<DatapathMethods[M]>[0];

export class DatapathHandle {
  readonly #worker: WorkerHandle;
  readonly #portWorkers: PortWorkers | undefined;
  readonly #ownCore: number;
  readonly #listeners = new Map<string, Set<(event: SwitchEvent) => void>>();

  /** Starts the worker. */
  constructor(options: DatapathHandleOptions = {}) {
    const {
      slots = POOL_SLOTS,
      connectionsMax = CONNECTIONS_MAX,
      hostDevices = false,
      onDied,
      onLeft,
    } = options;
    const { connectionFile, follows = false, pickupGraceMs, cores = [] } = options;
    const [core, ...portCores] = cores;
    this.#ownCore = core ?? 0;
    if (portCores.length > 0)
      this.#portWorkers = new PortWorkers({
        ...{ cores: portCores, ownCore: this.#ownCore, slots, hostDevices },
        forward: (method, body) => this.call(method, body),
        ...(options.portWorkerEntry === undefined ? {} : { entry: options.portWorkerEntry }),
        ...(options.portWorkerLookMs === undefined ? {} : { lookMs: options.portWorkerLookMs }),
        ...(options.onLost === undefined ? {} : { onLost: options.onLost }),
        ...(onDied === undefined ? {} : { onDied }),
      });
    this.#follows = follows;
    const more = {
      ...(core === undefined ? {} : { core }),
      ...(this.#portWorkers === undefined ? {} : { shared: this.#portWorkers.packets }),
      ...(connectionFile === undefined ? {} : { connectionFile }),
      ...(pickupGraceMs === undefined ? {} : { pickupGraceMs }),
    };
    this.#worker = new WorkerHandle(new URL("./datapath-worker.js", import.meta.url), {
      name: "datapath",
      data: { slots, connectionsMax, hostDevices, follows, ...more } satisfies DatapathSetup,
      answerDeadlineMs: ANSWER_DEADLINE_MS,
      lingerMs: LINGER_MS,
      onEvent: (event, body) => {
        if (event === EVENTS) this.#onEvents(body as EventsMessage);
        else if (event === LEFT) onLeft?.((body as LeftMessage).isTakenOver);
      },
      ...(onDied === undefined ? {} : { onDied }),
    });
  }

  /** Any of the worker's methods. Rejects with its PlinthError, or WORKER_DIED. */
  call<M extends Method>(method: M, body: Body<M>): Promise<Result<M>> {
    return this.#worker.request<Result<M>>(method, body);
  }

  /**
   * Resolves when everything that was asked of the worker that forwards has been done and answered; at once when there is
   * nothing. Rejects with WORKER_DIED.
   */
  settled(): Promise<void> {
    return this.#worker.settled();
  }

  /** Throws BRIDGE_EXISTS, TOO_MANY_BRIDGES. */
  addBridge(spec: BridgeSpec): Promise<RestoredFlows> {
    return this.call("addBridge", spec);
  }

  /** Closes its ports too. Throws BRIDGE_UNKNOWN. */
  async removeBridge(bridge: string): Promise<void> {
    await this.#inTurn(async () => {
      await this.call("removeBridge", { bridge });
      await this.#portWorkers?.closeBridge(bridge);
    });
    this.#listeners.delete(bridge);
  }

  /**
   * `affinity`: where somebody wants it to be served. Throws PORT_EXISTS, PORT_NUMBER_INVALID, PORT_TYPE_UNKNOWN,
   * PORT_OPTION_MISSING, PORT_FAILED.
   */
  async addPort(port: AddPort, affinity: Affinity = {}): Promise<void> {
    // What another process hands over comes to the worker that forwards.
    const workers = this.#follows ? undefined : this.#portWorkers;
    if (workers === undefined) {
      await this.call("addPort", port);
      if (this.#follows) this.#followed.set(port.spec.name, { port, affinity });
      return;
    }
    const { bridge, spec } = port;
    await workers.inTurn(async () => {
      const remote = await workers.open(bridge, spec, affinity);
      try {
        await this.call("addPort", { ...port, remote });
      } catch (thrown) {
        if (remote !== undefined) await workers.close(spec.name);
        throw thrown;
      }
      await workers.settle();
    });
  }

  /** See PortWorkers.pin(). */
  async pinPort(name: string, affinity: Affinity): Promise<boolean> {
    const workers = this.#portWorkers;
    if (workers === undefined) return true;
    return await workers.inTurn(() => workers.pin(name, affinity));
  }

  /** See PortWorkers.setRules() and rebalance(). */
  async assignPorts(rules: AssignmentRules): Promise<void> {
    await this.#portWorkers?.inTurn(async () => this.#portWorkers?.setRules(rules));
  }
  async rebalancePorts(): Promise<void> {
    await this.#portWorkers?.inTurn(async () => this.#portWorkers?.rebalance());
  }

  #inTurn<R>(work: () => Promise<R>): Promise<R> {
    return this.#portWorkers === undefined ? work() : this.#portWorkers.inTurn(work);
  }

  /** Throws PORT_UNKNOWN. */
  async removePort(bridge: string, name: string): Promise<void> {
    this.#followed.delete(name);
    await this.#inTurn(async () => {
      await this.call("removePort", { bridge, name });
      await this.#portWorkers?.close(name);
    });
  }

  /** After the method "follow": the ports become ours. */
  async takeOver(): Promise<TakenOver> {
    const taken = await this.call("takeOver", {});
    this.#follows = false;
    for (const { name } of taken.failed) this.#followed.delete(name);
    const workers = this.#portWorkers;
    // What cannot be lent stays where it is.
    for (const { port, affinity } of this.#followed.values())
      void workers?.inTurn(() => workers.adopt(port.bridge, port.spec, affinity)).catch(() => undefined);
    this.#followed.clear();
    return taken;
  }

  /** See the method "leave"; the worker that forwards serves every port from now on, so that it can give them away. */
  async leave(socket: string): Promise<void> {
    await this.#portWorkers?.inTurn(async () =>
      this.#portWorkers?.giveUpAll((bridge, spec, handed) =>
        this.call("recallPort", { bridge, spec, handed }),
      ),
    );
    await this.call("leave", { socket });
  }

  /** The worker that forwards first. Throws NOT_TIMED. */
  async threads(): Promise<readonly CoreStatus[]> {
    const status = await this.call("threadStatus", {});
    if (status === null) throw new PlinthError("NOT_TIMED", "the thread is not timed");
    const others = (await this.#portWorkers?.statuses()) ?? [];
    // What others serve is shown there.
    const ports = status.ports.filter(({ name }) => this.#portWorkers?.coreOf(name) === undefined);
    return [{ core: this.#ownCore, isIsolated: false, status: { ...status, ports } }, ...others];
  }

  /** Whether threads sleep when there is nothing to do; they do until told otherwise. */
  async letSleep(sleeps: boolean): Promise<void> {
    if (sleeps === this.#sleeps) return;
    this.#sleeps = sleeps;
    await this.call("letSleep", { sleeps });
    await this.#portWorkers?.letSleep(sleeps);
  }

  setPort(bridge: string, name: string, settings: PortSettings): Promise<void> {
    return this.call("setPort", { bridge, name, ...settings });
  }

  /** The bridge as the OpenFlow agent sees it. */
  model(
    bridge: string,
    datapathId: bigint,
    description: SwitchDescription,
    hidesReassembly = false,
  ): SwitchModel {
    return new BridgeModel(this, bridge, datapathId, description, hidesReassembly);
  }

  /** Calls `listener` for every event of the bridge from now on; returns how to stop. */
  onEvent(bridge: string, listener: (event: SwitchEvent) => void): () => void {
    let listeners = this.#listeners.get(bridge);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(bridge, listeners);
    }
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Ends the worker; ports are closed, flows forgotten. */
  async close(): Promise<void> {
    this.#portWorkers?.beginEnd();
    await this.#worker.close();
    await this.#portWorkers?.end();
  }

  #follows: boolean;
  /** What the worker that forwards has opened for a successor's port workers. */
  readonly #followed = new Map<string, { readonly port: AddPort; readonly affinity: Affinity }>();
  #sleeps = true;

  #onEvents({ bridge, events }: EventsMessage): void {
    const listeners = this.#listeners.get(bridge);
    if (listeners === undefined) return;
    for (const event of events) for (const listener of listeners) listener(event);
  }
}

/** What the configuration says of a table; "" or absent: nothing. */
export interface TableDescription {
  readonly tableId: number;
  readonly name: string;
  readonly flowsMax?: number;
}

/** A bridge as the OpenFlow agent's switch model, over anything that carries the worker's methods out in order. */
export class BridgeModel implements SwitchModel {
  readonly groupFeatures = GROUP_FEATURES;
  readonly meterFeatures = METER_FEATURES;
  readonly tablesAtMost = TABLE_FEATURES;
  tableFeatures: readonly TableFeatures[] = TABLE_FEATURES;
  readonly datapathId: bigint;
  description: SwitchDescription;
  readonly hidesReassembly: boolean;
  fragmentHandling: number = OFPC_FRAG_NORMAL;
  #configured: readonly TableFeatures[] = TABLE_FEATURES;
  #described: readonly TableDescription[] = [];
  readonly #handle: Pick<DatapathHandle, "call" | "settled" | "onEvent">;
  readonly #bridge: string;

  constructor(
    handle: Pick<DatapathHandle, "call" | "settled" | "onEvent">,
    bridge: string,
    datapathId: bigint,
    description: SwitchDescription,
    hidesReassembly = false,
  ) {
    this.hidesReassembly = hidesReassembly;
    this.#handle = handle;
    this.#bridge = bridge;
    this.datapathId = datapathId;
    this.description = description;
  }

  /** In several requests, between which frames are forwarded, but none of anybody else. */
  async change(
    changes: readonly (SwitchChange | EncodedFlowMod)[],
    origin = 0,
  ): Promise<readonly (ChangeRefusal | undefined)[]> {
    const answers: Promise<Result<"change">>[] = [];
    for (let from = 0; from < changes.length; from += CHANGES_PER_REQUEST) {
      const parts = pack(changes, from, Math.min(changes.length, from + CHANGES_PER_REQUEST));
      answers.push(this.#handle.call("change", { bridge: this.#bridge, parts, origin }));
    }
    const results = new Array<ChangeRefusal | undefined>(changes.length).fill(undefined);
    for (const [n, refused] of (await Promise.all(answers)).entries())
      for (const { index, ...refusal } of refused) results[n * CHANGES_PER_REQUEST + index] = refusal;
    return results;
  }
  changeAtomically(changes: readonly SwitchChange[], origin = 0): Promise<Result<"changeAtomically">> {
    return this.#handle.call("changeAtomically", { bridge: this.#bridge, changes, origin });
  }
  watchFlows(isWatched: boolean): Promise<void> {
    return this.#handle.call("watchFlows", { bridge: this.#bridge, isWatched });
  }
  tellMisses(isWanted: boolean): Promise<void> {
    return this.#handle.call("tellMisses", { bridge: this.#bridge, isWanted });
  }
  changeTunnelOptions(mod: Uint8Array): Promise<Result<"changeTunnelOptions">> {
    return this.#handle.call("changeTunnelOptions", { bridge: this.#bridge, mod });
  }
  tunnelOptions(): Promise<Uint8Array> {
    return this.#handle.call("tunnelOptions", { bridge: this.#bridge });
  }
  /** What is answered is in force: nothing needs to be asked. */
  barrier(): Promise<void> {
    return this.#handle.settled();
  }
  async handleFragments(flags: number): Promise<void> {
    if (this.fragmentHandling === flags) return;
    this.fragmentHandling = flags;
    await this.#handle.call("handleFragments", { bridge: this.#bridge, flags });
  }
  /** Names of tables, and how many flows they may have, over what a controller asks for. */
  describeTables(tables: readonly TableDescription[]): void {
    this.#described = tables;
    this.#describe();
  }
  #describe(): void {
    this.tableFeatures = this.#configured.map((table) => {
      const { name = "", flowsMax = Number.POSITIVE_INFINITY } =
        this.#described.find(({ tableId }) => tableId === table.tableId) ?? {};
      const maxEntries = Math.min(table.maxEntries, flowsMax);
      return { ...table, name: name === "" ? table.name : name, maxEntries };
    });
  }
  async configureTables(tables: readonly TableFeatures[]): Promise<void> {
    this.#configured = tables;
    this.#describe();
    const settings = tables.map(({ tableId, maxEntries, metadataMatch, metadataWrite }) => ({
      tableId,
      maxEntries,
      metadataMatch,
      metadataWrite,
    }));
    await this.#handle.call("configureTables", { bridge: this.#bridge, tables: settings });
  }
  async flushConnections(filter: ConnectionFilter): Promise<void> {
    await this.#handle.call("flushConnections", filter);
  }
  flowStats(filter: FlowStatsFilter): Promise<Result<"flowStats">> {
    return this.#handle.call("flowStats", { bridge: this.#bridge, filter });
  }
  aggregateStats(filter: FlowStatsFilter): Promise<Result<"aggregateStats">> {
    return this.#handle.call("aggregateStats", { bridge: this.#bridge, filter });
  }
  tableStats(): Promise<Result<"tableStats">> {
    return this.#ask("tableStats");
  }
  ports(): Promise<Result<"ports">> {
    return this.#ask("ports");
  }
  portStats(): Promise<Result<"portStats">> {
    return this.#ask("portStats");
  }
  groupStats(): Promise<Result<"groupStats">> {
    return this.#ask("groupStats");
  }
  groupDescriptions(): Promise<Result<"groupDescriptions">> {
    return this.#ask("groupDescriptions");
  }
  meterStats(): Promise<Result<"meterStats">> {
    return this.#ask("meterStats");
  }
  meterConfigs(): Promise<Result<"meterConfigs">> {
    return this.#ask("meterConfigs");
  }
  queueStats(): Promise<Result<"queueStats">> {
    return this.#ask("queueStats");
  }
  queues(): Promise<Result<"queues">> {
    return this.#ask("queues");
  }
  onEvent(listener: (event: SwitchEvent) => void): () => void {
    return this.#handle.onEvent(this.#bridge, listener);
  }

  #ask<
    M extends
      | "tableStats"
      | "ports"
      | "portStats"
      | "queueStats"
      | "queues"
      | "groupStats"
      | "groupDescriptions"
      | "meterStats"
      | "meterConfigs",
  >(method: M): Promise<Result<M>> {
    return this.#handle.call(method, { bridge: this.#bridge } as Body<M>);
  }
}
