// Which port is served by which of the threads beside the one that forwards: opens ports there, moves them, and opens
// them again in the thread that follows one that died.
// Invariants: a lane lives until neither thread uses it any more; what is done here is done one thing after the other.
// Thread: main.
import { describeError, PlinthError } from "../../base/errors/index.js";
import { closeFile } from "../../base/linux/index.js";
import type { HandedPort } from "../../base/packet/index.js";
import { createPortLane, failLane, type PortLane, type WorkerLane } from "../port/index.js";
import { PORT_RETRY_MS, QUEUE_LOOK_MS, WORKER_DEATHS_MAX, WORKER_DEATHS_MS } from "./limits.js";
import {
  type Affinity,
  type AssignmentRules,
  assignPorts,
  assignQueues,
  openWorkers,
} from "./port-assignment.js";
import type { PortSpec } from "./port-factory.js";
import { PortThreads } from "./port-threads.js";
import { NOT_ARRANGED, QueueSpread, type SpreadPort } from "./queue-spread.js";
import type { AddPort, DatapathMethods, RemoteLane, SharedPackets } from "./requests.js";
import type { ThreadStatus } from "./thread-status.js";

/** What has a peer outside of the switch to poll. */
const SERVED_TYPES: readonly string[] = [
  "afxdp",
  "dpdkvhostuser",
  "dpdkvhostuserclient",
  "stream",
  "system",
  "tap",
];

interface Served extends SpreadPort {
  worker: number;
  lane: PortLane;
  readonly bridge: string;
  readonly spec: PortSpec;
  /** The worker that somebody asked for. */
  pinned: number | undefined;
  /** Those of other queues. */
  pins: ReadonlyMap<number, number>;
  /** False while its worker could not open it. */
  isOpen: boolean;
  /** It is about to be looked at who serves its queues. */
  isLooking?: boolean;
}

/** A port worker that has died, and is started again. */
export interface WorkerLoss {
  readonly core: number;
  readonly reason: string;
  /** What it served: without a link until they have been opened again. */
  readonly ports: readonly string[];
}

export interface PortWorkersOptions {
  /** Of the processors; one worker on each. */
  readonly cores: readonly number[];
  /** Where the worker that forwards runs. */
  readonly ownCore: number;
  /** Packets for each worker. */
  readonly slots: number;
  readonly hostDevices: boolean;
  readonly onLost?: (loss: WorkerLoss) => void;
  /** They die again and again, or cannot be started. */
  readonly onDied?: (error: PlinthError) => void;
  /** Asks the worker that forwards. */
  readonly forward: <M extends "addInlet" | "lendPort" | "relayPort" | "removeInlet" | "replaceWorker">(
    method: M,
    body: Parameters<DatapathMethods[M]>[0],
  ) => Promise<ReturnType<DatapathMethods[M]>>;
  /** See PortThreadsOptions. */
  readonly entry?: URL;
  readonly lookMs?: number;
}

/** A thread with its numbers. */
export interface CoreStatus {
  readonly core: number;
  /** Serves no ports but those that are pinned to it. */
  readonly isIsolated: boolean;
  readonly status: ThreadStatus;
}

export class PortWorkers {
  readonly #options: PortWorkersOptions;
  readonly #cores: readonly number[];
  readonly #threads: PortThreads;
  readonly #served = new Map<string, Served>();
  readonly #spread: QueueSpread;
  readonly #watch: NodeJS.Timeout;
  #rules: AssignmentRules = { assignment: "cycles", isolates: true };
  /** When workers died lately. */
  #deathsMs: readonly number[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #isEnding = false;

  constructor(options: PortWorkersOptions) {
    const { cores, slots, hostDevices, entry, lookMs } = options;
    this.#options = options;
    this.#cores = cores;
    this.#threads = new PortThreads({
      ...{ cores, slots, hostDevices },
      ...(entry === undefined ? {} : { entry }),
      ...(lookMs === undefined ? {} : { lookMs }),
      onDied: (worker, error) => this.#onDied(worker, error),
    });
    const { forward } = options;
    this.#spread = new QueueSpread({ threads: this.#threads, workers: cores.length, forward });
    this.#watch = setInterval(() => this.#look(), QUEUE_LOOK_MS);
    this.#watch.unref();
  }

  /** What the worker that forwards is to know of them. */
  get packets(): SharedPackets & { readonly lanes: readonly WorkerLane[] } {
    return { ...this.#threads.packets, lanes: this.#threads.lanes };
  }

  /** Does `work` when everything that was begun before is done, and a worker that died meanwhile has been replaced. */
  inTurn<R>(work: () => Promise<R>): Promise<R> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Opens the port in the worker that is asked for, or in the one with the fewest ports; undefined when the worker that
   * forwards is to serve it. Throws as PortFactory.create(). In turn.
   */
  async open(bridge: string, spec: PortSpec, affinity: Affinity): Promise<AddPort["remote"]> {
    if (!SERVED_TYPES.includes(spec.type)) return undefined;
    const before = this.#served.get(spec.name);
    if (before !== undefined)
      throw new PlinthError("PORT_EXISTS", `bridge ${before.bridge} has a port ${spec.name}`);
    const served = this.#place(bridge, spec, affinity);
    if (served === undefined) return undefined;
    const { worker, lane } = served;
    try {
      await this.#threads.ask(worker, "open", { spec, lane });
      await this.#threads.introduce(worker, lane);
    } catch (thrown) {
      this.#forget(spec.name);
      throw thrown;
    }
    return { worker, lane };
  }

  /** Has the port served as open() would, which the worker that forwards serves now. Nothing of it is lost. In turn. */
  async adopt(bridge: string, spec: PortSpec, affinity: Affinity): Promise<void> {
    if (!SERVED_TYPES.includes(spec.type) || this.#served.has(spec.name)) return;
    const served = this.#place(bridge, spec, affinity);
    if (served === undefined) return;
    const { worker, lane } = served;
    served.isOpen = false;
    let handed: HandedPort | undefined;
    try {
      handed = await this.#options.forward("lendPort", { bridge, name: spec.name, remote: { worker, lane } });
    } catch (thrown) {
      this.#forget(spec.name);
      throw thrown;
    }
    await this.#openAgain(served, handed);
    await this.settle();
  }

  /** Undefined when the worker that forwards is to serve it. */
  #place(bridge: string, spec: PortSpec, affinity: Affinity): Served | undefined {
    const core = affinity[0];
    const pinned = this.#workerOn(core);
    if (core === this.#options.ownCore && pinned === undefined) return undefined;
    const worker = pinned ?? this.#leastUsed();
    const served: Served = {
      ...{ worker, lane: createPortLane(this.#cores.length), bridge, spec, name: spec.name },
      ...{ pinned, pins: this.#pinsOf(affinity), isOpen: true, loans: [], arranged: NOT_ARRANGED },
    };
    this.#served.set(spec.name, served);
    return served;
  }

  /** The worker that forwards knows the port: workers that have come to be isolated keep no others. In turn. */
  async settle(): Promise<void> {
    const open = this.#openWorkers();
    for (const [name, served] of this.#served)
      if (served.pinned === undefined && !open.includes(served.worker))
        await this.#move(name, served, this.#leastUsed());
  }

  /** The worker that forwards no longer knows the port. In turn. */
  async close(name: string): Promise<void> {
    const served = this.#served.get(name);
    if (served === undefined) return;
    try {
      for (const { worker } of served.loans) await this.#threads.ask(worker, "close", { name });
      await this.#threads.dismiss(served.worker, served.lane);
      if (served.isOpen) await this.#threads.ask(served.worker, "close", { name });
    } finally {
      this.#forget(name);
    }
  }

  /** Has every port of the bridge closed. In turn. */
  async closeBridge(bridge: string): Promise<void> {
    for (const [name, served] of [...this.#served]) if (served.bridge === bridge) await this.close(name);
  }

  /** Every port, one after the other, given up for `recall` to serve; its lane is unused when that has resolved. In turn. */
  async giveUpAll(
    recall: (bridge: string, spec: PortSpec, handed: HandedPort | undefined) => Promise<void>,
  ): Promise<void> {
    for (const [name, served] of [...this.#served]) {
      const { worker, bridge, spec, isOpen } = served;
      await this.#spread.gather(served);
      const handed = isOpen ? await this.#threads.ask(worker, "giveUp", { name }) : undefined;
      await recall(bridge, spec, handed);
      this.#forget(name);
    }
  }

  /**
   * Moves the port to the worker that is asked for, if any is, and its queues to theirs. False when this is nothing that
   * can be done with it: the worker that forwards serves it, or is to. In turn.
   */
  async pin(name: string, affinity: Affinity): Promise<boolean> {
    const served = this.#served.get(name);
    const core = affinity[0];
    const pinned = this.#workerOn(core);
    if (served === undefined || (core !== undefined && pinned === undefined)) return false;
    served.pinned = pinned;
    served.pins = this.#pinsOf(affinity);
    served.arranged = NOT_ARRANGED;
    if (pinned !== undefined && pinned !== served.worker) await this.#move(name, served, pinned);
    await this.settle();
    return true;
  }

  /** From now on; a change of them has ports assigned anew. In turn. */
  async setRules(rules: AssignmentRules): Promise<void> {
    const before = this.#rules;
    this.#rules = rules;
    if (before.isolates === rules.isolates && before.assignment === rules.assignment) return;
    if (this.#served.size > 0) await this.rebalance();
  }

  /** Gives every port to the worker that the rules say, by how busy they are now. In turn. */
  async rebalance(): Promise<void> {
    const statuses = await this.#statuses();
    const all = statuses.flatMap(({ status }) => status.ports);
    // Of its own queues and those that are spread: all come along, and are spread anew by what each of them takes.
    const usage = new Map<string, number>();
    for (const one of all) usage.set(one.name, (usage.get(one.name) ?? 0) + one.usage);
    const ports = [...this.#served].map(([name, { pinned }]) => ({
      ...{ name, pinned },
      usage: usage.get(name) ?? 0,
    }));
    const queuePins = [...this.#served.values()].flatMap(({ pins }) => [...pins.values()]);
    for (const [name, worker] of assignPorts(ports, this.#cores.length, this.#rules, queuePins)) {
      const served = this.#served.get(name)!;
      if (served.worker !== worker) await this.#move(name, served, worker);
    }
    const loads = this.#cores.map(() => 0);
    const usageOf = (name: string, queue: number): number =>
      all
        .filter((one) => one.name === name)
        .flatMap(({ queues }) => queues)
        .reduce((sum, one) => (one.queue === queue ? sum + one.usage : sum), 0);
    for (const { name, worker } of this.#served.values()) loads[worker]! += usageOf(name, 0);
    for (const served of this.#served.values())
      await this.#arrange(served, loads, (queue) => usageOf(served.name, queue));
  }

  letSleep(sleeps: boolean): Promise<void> {
    return this.inTurn(() => this.#threads.letSleep(sleeps));
  }

  /** Of every port worker. */
  statuses(): Promise<CoreStatus[]> {
    return this.inTurn(() => this.#statuses());
  }

  /** The worker that serves the port; undefined: the one that forwards. */
  coreOf(name: string): number | undefined {
    const served = this.#served.get(name);
    return served === undefined ? undefined : this.#cores[served.worker];
  }

  /** Workers are not started again any more. */
  beginEnd(): void {
    this.#isEnding = true;
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
    this.#threads.beginEnd();
  }

  /** After the worker that forwards has ended. */
  async end(): Promise<void> {
    this.beginEnd();
    await this.#turn;
    await this.#threads.end();
    for (const name of [...this.#served.keys()]) this.#forget(name);
  }

  #onDied(worker: number, error: PlinthError): void {
    const nowMs = performance.now();
    this.#deathsMs = [...this.#deathsMs.filter((atMs) => nowMs - atMs < WORKER_DEATHS_MS), nowMs];
    if (this.#deathsMs.length > WORKER_DEATHS_MAX) {
      this.#options.onDied?.(error);
      return;
    }
    const ports = [...this.#served].filter(([, one]) => one.worker === worker).map(([name]) => name);
    this.#options.onLost?.({ core: this.#cores[worker]!, reason: error.message, ports });
    void this.inTurn(async () => {
      try {
        await this.#replace(worker);
      } catch (thrown) {
        if (!this.#isEnding) this.#options.onDied?.(thrown as PlinthError);
      }
    });
  }

  async #replace(worker: number): Promise<void> {
    const lost = [...this.#served.values()].filter((one) => one.worker === worker);
    const before = lost.map(({ lane }) => lane);
    const inlets = this.#spread.lost(this.#served.values(), worker);
    // What the descriptors of are closed with the rest of the worker.
    for (const one of lost) await this.#spread.forget(one);
    await this.#threads.restart(worker, async (lane) => {
      for (const one of lost) {
        one.lane = createPortLane(this.#cores.length);
        one.isOpen = false;
        failLane(one.lane, "the worker that served it has died, and is being started again");
      }
      const ports = lost.map(({ bridge, spec: { name }, lane: portLane }) => ({
        ...{ bridge, name },
        lane: portLane,
      }));
      await this.#options.forward("replaceWorker", { worker, lane, ports, inlets });
      for (const { wakeFd } of before) closeFile(wakeFd);
    });
    for (const one of this.#served.values()) {
      // It may have ended while queues were about to be its.
      one.arranged = NOT_ARRANGED;
      if (one.worker !== worker) await this.#threads.introduce(one.worker, one.lane);
    }
    await this.#openClosed();
  }

  /** Opens what could not be opened before; what cannot be now either is tried again. In turn. */
  async #openClosed(): Promise<void> {
    for (const one of this.#served.values()) if (!one.isOpen) await this.#openAgain(one);
  }

  async #openAgain(one: Served, handed?: HandedPort): Promise<void> {
    try {
      await this.#threads.ask(one.worker, "open", { spec: one.spec, lane: one.lane, handed });
      one.isOpen = true;
      await this.#threads.introduce(one.worker, one.lane);
    } catch (thrown) {
      one.isOpen = false;
      failLane(one.lane, describeError(thrown));
      if (this.#isEnding) return;
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => void this.inTurn(() => this.#openClosed()), PORT_RETRY_MS);
      this.#retry.unref();
    }
  }

  /** Frames keep their order, and none is lost that its peer has sent. */
  async #move(name: string, served: Served, worker: number): Promise<void> {
    const { bridge, lane: before, worker: from } = served;
    await this.#spread.gather(served);
    served.arranged = NOT_ARRANGED;
    const handed = served.isOpen ? await this.#threads.ask(served.worker, "giveUp", { name }) : undefined;
    served.worker = worker;
    served.lane = createPortLane(this.#cores.length);
    await this.#openAgain(served, handed);
    const remote: RemoteLane = { worker, lane: served.lane };
    await this.#options.forward("relayPort", { bridge, name, remote });
    await this.#threads.dismiss(from, before);
    closeFile(before.wakeFd);
  }

  /** Guests come, go, and change how many queues they have. */
  #look(): void {
    if (this.#cores.length < 2) return;
    for (const served of this.#served.values()) {
      if (!served.isOpen || served.isLooking || !this.#spread.isDue(served)) continue;
      served.isLooking = true;
      void this.inTurn(async () => {
        served.isLooking = false;
        if (this.#served.get(served.name) === served && served.isOpen) await this.#arrange(served);
      }).catch(() => undefined);
    }
  }

  /** Decides who serves what of a port's queues. `loads`: what each worker has to do without them. In turn. */
  async #arrange(
    served: Served,
    loads?: number[],
    weight: (queue: number) => number = () => 1,
  ): Promise<void> {
    const queues = await this.#spread.gather(served);
    if (queues.length === 0) return;
    // Where others have as little to do, they relieve the port's own.
    const open = this.#openWorkers();
    const places = assignQueues(
      { queues, pins: served.pins, weight },
      [...open.filter((one) => one !== served.worker), ...open.filter((one) => one === served.worker)],
      loads ?? this.#queueCounts(),
    );
    try {
      await this.#spread.spread(served, places);
    } catch (thrown) {
      // Its memory has no place there, or the worker has just ended: it goes on as it was.
      await this.#spread.gather(served);
      throw thrown;
    }
  }

  /** How many queues each worker serves. */
  #queueCounts(): number[] {
    const counts = this.#cores.map(() => 0);
    for (const { worker, loans } of this.#served.values()) {
      counts[worker]!++;
      for (const loan of loans) counts[loan.worker]! += loan.queues.length;
    }
    return counts;
  }

  #pinsOf(affinity: Affinity): ReadonlyMap<number, number> {
    const pins = new Map<number, number>();
    for (const [queue, core] of Object.entries(affinity)) {
      const worker = this.#workerOn(core);
      if (queue !== "0" && worker !== undefined) pins.set(Number(queue), worker);
    }
    return pins;
  }

  #statuses(): Promise<CoreStatus[]> {
    return Promise.all(
      this.#cores.map(async (core, worker) => ({
        core,
        isIsolated: this.#rules.isolates && this.#isPinnedTo(worker),
        status: await this.#threads.ask(worker, "status", {}),
      })),
    );
  }

  /** The place of the worker on that processor, if there is one. */
  #workerOn(core: number | undefined): number | undefined {
    const worker = core === undefined ? -1 : this.#cores.indexOf(core);
    return worker < 0 ? undefined : worker;
  }

  #forget(name: string): void {
    const served = this.#served.get(name);
    if (served === undefined) return;
    this.#served.delete(name);
    closeFile(served.lane.wakeFd);
  }

  #isPinnedTo(worker: number): boolean {
    return [...this.#served.values()].some(
      ({ pinned, pins }) => pinned === worker || [...pins.values()].includes(worker),
    );
  }

  #openWorkers(): readonly number[] {
    const pins = [...this.#served.values()].flatMap((one) => [one.pinned, ...one.pins.values()]);
    return openWorkers(pins, this.#cores.length, this.#rules.isolates);
  }

  #leastUsed(): number {
    const loads = this.#queueCounts();
    return this.#openWorkers().reduce((best, one) => (loads[one]! < loads[best]! ? one : best));
  }
}
