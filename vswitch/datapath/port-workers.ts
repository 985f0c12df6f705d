// The threads that serve ports for the worker that forwards, and which of them serves which port.
// Invariant: a lane lives until neither thread uses it any more. Thread: main.
import { PlinthError } from "../../base/errors/index.js";
import { closeFile, createMemfd } from "../../base/linux/index.js";
import { arenaSizeOf, type HandedPort, POOL_LARGE_SLOTS, sharedPoolSize } from "../../base/packet/index.js";
import { WorkerHandle } from "../../base/worker/index.js";
import { createPortLane, createWorkerLane, type PortLane, type WorkerLane } from "../port/index.js";
import { ANSWER_DEADLINE_MS } from "./limits.js";
import type { PortSpec } from "./port-factory.js";
import type { AddPort, PortWorkerMethods, PortWorkerSetup, SharedPackets } from "./requests.js";
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

interface Served {
  readonly worker: number;
  readonly lane: PortLane;
  readonly bridge: string;
  readonly spec: PortSpec;
  /** Somebody asked for this worker. */
  readonly isPinned: boolean;
}

export interface PortWorkersOptions {
  /** Of the processors; one worker on each. */
  readonly cores: readonly number[];
  /** Where the worker that forwards runs. */
  readonly ownCore: number;
  /** Packets for each worker. */
  readonly slots: number;
  readonly hostDevices: boolean;
  readonly onDied?: (error: PlinthError) => void;
}

/** A thread with its numbers. */
export interface CoreStatus {
  readonly core: number;
  /** Serves no ports but those that are pinned to it. */
  readonly isIsolated: boolean;
  readonly status: ThreadStatus;
}

export class PortWorkers {
  readonly packets: SharedPackets & { readonly lanes: readonly WorkerLane[] };
  readonly #cores: readonly number[];
  readonly #ownCore: number;
  readonly #workers: readonly WorkerHandle[];
  readonly #served = new Map<string, Served>();

  constructor({ cores, ownCore, slots: share, hostDevices, onDied }: PortWorkersOptions) {
    this.#cores = cores;
    this.#ownCore = ownCore;
    const slots = share * (cores.length + 1);
    const largeShare = POOL_LARGE_SLOTS;
    const largeSlots = largeShare * (cores.length + 1);
    const packets: SharedPackets = {
      arenaFd: createMemfd("packets", arenaSizeOf(slots, largeSlots)),
      memory: new SharedArrayBuffer(sharedPoolSize(slots, largeSlots)),
      ...{ slots, largeSlots, share, largeShare },
    };
    // Each of them may have to hold every packet.
    const capacity = 2 ** Math.ceil(Math.log2(slots + largeSlots));
    const lanes = cores.map(() => createWorkerLane(capacity));
    this.packets = { ...packets, lanes };
    this.#workers = cores.map(
      (core, i) =>
        new WorkerHandle(new URL("./port-worker.js", import.meta.url), {
          name: `ports-${core}`,
          data: { core, hostDevices, packets, lane: lanes[i]! } satisfies PortWorkerSetup,
          answerDeadlineMs: ANSWER_DEADLINE_MS,
          ...(onDied === undefined ? {} : { onDied }),
        }),
    );
  }

  /**
   * Opens the port in the worker on `core`, or in the one with the fewest ports; undefined when the worker that forwards
   * is to serve it. Throws as PortFactory.create().
   */
  async open(bridge: string, spec: PortSpec, core: number | undefined): Promise<AddPort["remote"]> {
    if (!SERVED_TYPES.includes(spec.type)) return undefined;
    if (this.#served.has(spec.name))
      throw new PlinthError(
        "PORT_EXISTS",
        `bridge ${this.#served.get(spec.name)!.bridge} has a port ${spec.name}`,
      );
    const pinned = core === undefined ? -1 : this.#cores.indexOf(core);
    if (core === this.#ownCore && pinned < 0) return undefined;
    const isPinned = pinned >= 0;
    const worker = isPinned ? pinned : this.#leastUsed();
    const served = { worker, lane: createPortLane(), bridge, spec, isPinned };
    this.#served.set(spec.name, served);
    try {
      await this.#ask(worker, "open", { spec, lane: served.lane });
    } catch (thrown) {
      this.#forget(spec.name);
      throw thrown;
    }
    return { worker, lane: served.lane };
  }

  /** The worker that forwards no longer knows the port. */
  async close(name: string): Promise<void> {
    const served = this.#served.get(name);
    if (served === undefined) return;
    await this.#ask(served.worker, "close", { name });
    this.#forget(name);
  }

  /** Has every port of the bridge closed. */
  async closeBridge(bridge: string): Promise<void> {
    for (const [name, served] of [...this.#served]) if (served.bridge === bridge) await this.close(name);
  }

  /** Every port, one after the other, given up for `recall` to serve; its lane is unused when that has resolved. */
  async giveUpAll(
    recall: (bridge: string, spec: PortSpec, handed: HandedPort | undefined) => Promise<void>,
  ): Promise<void> {
    for (const [name, { worker, bridge, spec }] of [...this.#served]) {
      const handed = await this.#ask(worker, "giveUp", { name });
      await recall(bridge, spec, handed);
      this.#forget(name);
    }
  }

  async letSleep(sleeps: boolean): Promise<void> {
    await Promise.all(this.#workers.map((_, worker) => this.#ask(worker, "letSleep", { sleeps })));
  }

  /** Of every port worker. */
  statuses(): Promise<CoreStatus[]> {
    return Promise.all(
      this.#workers.map(async (_, worker) => ({
        core: this.#cores[worker]!,
        isIsolated: this.#isIsolated(worker),
        status: await this.#ask(worker, "status", {}),
      })),
    );
  }

  /** The worker that serves the port; undefined: the one that forwards. */
  coreOf(name: string): number | undefined {
    const served = this.#served.get(name);
    return served === undefined ? undefined : this.#cores[served.worker];
  }

  /** After the worker that forwards has ended. */
  async end(): Promise<void> {
    await Promise.all(this.#workers.map((one) => one.close()));
    for (const name of [...this.#served.keys()]) this.#forget(name);
    for (const { doorbell } of this.packets.lanes) closeFile(doorbell);
    closeFile(this.packets.arenaFd);
  }

  #ask<M extends keyof PortWorkerMethods>(
    worker: number,
    method: M,
    body: Parameters<PortWorkerMethods[M]>[0],
  ): Promise<ReturnType<PortWorkerMethods[M]>> {
    return this.#workers[worker]!.request(method, body);
  }

  #forget(name: string): void {
    const served = this.#served.get(name);
    if (served === undefined) return;
    this.#served.delete(name);
    closeFile(served.lane.wakeFd);
  }

  #isIsolated(worker: number): boolean {
    return [...this.#served.values()].some((one) => one.worker === worker && one.isPinned);
  }

  /** Of those that serve no pinned ports, if there is one. */
  #leastUsed(): number {
    const all = this.#cores.map((_, worker) => worker);
    const open = all.filter((worker) => !this.#isIsolated(worker));
    const load = (worker: number): number =>
      [...this.#served.values()].filter((one) => one.worker === worker).length;
    return (open.length > 0 ? open : all).reduce((best, one) => (load(one) < load(best) ? one : best));
  }
}
