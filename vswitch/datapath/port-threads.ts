// The threads that serve ports: starts them, sees when one dies or hangs, and starts another one in its place.
//
//   runs ──(throws, is ended)──► died ──restart(): what it had open is closed, a new lane──► runs
//     └──(does not breathe for STILL_LOOKS_MAX looks, or holds others up)──► is ended
//
// Invariant: packets are lent by a lane that no earlier thread has known. Thread: main.
import type { PlinthError } from "../../base/errors/index.js";
import { closeFile, createMemfd, createThreadLedger, releaseRemains } from "../../base/linux/index.js";
import { arenaSizeOf, POOL_LARGE_SLOTS, sharedPoolSize } from "../../base/packet/index.js";
import { WorkerHandle } from "../../base/worker/index.js";
import {
  createHomeward,
  createWorkerLane,
  type Homeward,
  type PortLane,
  WORKER_BREATHS,
  WORKER_GONE,
  WORKER_HOLDS_UP,
  type WorkerLane,
} from "../port/index.js";
import { ANSWER_DEADLINE_MS, STILL_LOOKS_MAX, WORKER_LOOK_MS } from "./limits.js";
import type { PortWorkerMethods, PortWorkerSetup, SharedPackets } from "./requests.js";

export interface PortThreadsOptions {
  /** Of the processors; one thread on each. */
  readonly cores: readonly number[];
  /** Packets for each thread. */
  readonly slots: number;
  readonly hostDevices: boolean;
  /** How often it is looked whether they breathe; WORKER_LOOK_MS when absent. */
  readonly lookMs?: number;
  /** What runs in them; port-worker.js when absent. */
  readonly entry?: URL;
  /** A thread has ended by itself, or was ended because it hung; restart() is to follow. */
  readonly onDied: (worker: number, error: PlinthError) => void;
}

/** One of the threads, by its place. */
interface PortThread {
  readonly core: number;
  lane: WorkerLane;
  ledger: SharedArrayBuffer;
  handle: WorkerHandle;
  breaths: number;
  /** Looks that found it where it was. */
  still: number;
}

export class PortThreads {
  readonly packets: SharedPackets;
  readonly #options: PortThreadsOptions;
  readonly #threads: readonly PortThread[];
  readonly #laneCapacity: number;
  readonly #homeward: Homeward;
  readonly #watch: NodeJS.Timeout;
  #sleeps = true;
  #isEnding = false;

  constructor(options: PortThreadsOptions) {
    const { cores, slots: share, lookMs = WORKER_LOOK_MS } = options;
    this.#options = options;
    const slots = share * (cores.length + 1);
    const largeShare = POOL_LARGE_SLOTS;
    const largeSlots = largeShare * (cores.length + 1);
    this.packets = {
      arenaFd: createMemfd("packets", arenaSizeOf(slots, largeSlots)),
      memory: new SharedArrayBuffer(sharedPoolSize(slots, largeSlots)),
      ...{ slots, largeSlots, share, largeShare },
    };
    // Each of them may have to hold every packet.
    this.#laneCapacity = 2 ** Math.ceil(Math.log2(slots + largeSlots));
    this.#homeward = createHomeward(cores.length, this.#laneCapacity);
    this.#threads = cores.map((core, worker) => this.#start(worker, core));
    this.#watch = setInterval(() => this.#look(), lookMs);
    this.#watch.unref();
  }

  get lanes(): readonly WorkerLane[] {
    return this.#threads.map(({ lane }) => lane);
  }

  ask<M extends keyof PortWorkerMethods>(
    worker: number,
    method: M,
    body: Parameters<PortWorkerMethods[M]>[0],
  ): Promise<ReturnType<PortWorkerMethods[M]>> {
    return this.#threads[worker]!.handle.request(method, body);
  }

  async letSleep(sleeps: boolean): Promise<void> {
    this.#sleeps = sleeps;
    await Promise.all(this.#threads.map((_, worker) => this.ask(worker, "letSleep", { sleeps })));
  }

  /** The others may send by the port of this lane, which the thread serves. */
  async introduce(worker: number, lane: PortLane): Promise<void> {
    await this.#tellOthers(worker, "meet", { worker, lane, workerLane: this.#threads[worker]!.lane });
  }

  /** The others forget the lane, which the thread serves no more. */
  async dismiss(worker: number, { id: laneId }: PortLane): Promise<void> {
    await this.#tellOthers(worker, "dismiss", { laneId });
  }

  async #tellOthers<M extends "meet" | "dismiss" | "part">(
    worker: number,
    method: M,
    body: Parameters<PortWorkerMethods[M]>[0],
  ): Promise<void> {
    const others = this.#threads.map((_, other) => other).filter((other) => other !== worker);
    // One that has died is told of what there is when it has been started again.
    await Promise.allSettled(others.map((other) => this.ask(other, method, body)));
  }

  /** The thread has died: starts another one when `prepare` has seen to it that nobody uses the lane of that one. */
  async restart(worker: number, prepare: (lane: WorkerLane) => Promise<void>): Promise<void> {
    const thread = this.#threads[worker]!;
    releaseRemains(thread.ledger);
    await this.#tellOthers(worker, "part", { worker });
    const lane = createWorkerLane(this.#laneCapacity);
    await prepare(lane);
    closeFile(thread.lane.doorbell);
    Object.assign(thread, this.#start(worker, thread.core, lane));
    if (!this.#sleeps) await this.ask(worker, "letSleep", { sleeps: false });
  }

  /** Nobody is told of threads that end from here on. */
  beginEnd(): void {
    this.#isEnding = true;
    clearInterval(this.#watch);
  }

  async end(): Promise<void> {
    this.beginEnd();
    await Promise.all(this.#threads.map(({ handle }) => handle.close()));
    for (const { lane } of this.#threads) closeFile(lane.doorbell);
    closeFile(this.packets.arenaFd);
  }

  #start(worker: number, core: number, lane = createWorkerLane(this.#laneCapacity)): PortThread {
    const { hostDevices, onDied, entry = new URL("./port-worker.js", import.meta.url) } = this.#options;
    const ledger = createThreadLedger();
    const { packets } = this;
    const places = { place: worker, homeward: this.#homeward };
    const data = { core, hostDevices, packets, lane, ...places, ledger } satisfies PortWorkerSetup;
    const handle = new WorkerHandle(entry, {
      name: `ports-${core}`,
      data,
      answerDeadlineMs: ANSWER_DEADLINE_MS,
      onDied: (error) => {
        Atomics.store(new Int32Array(lane.state), WORKER_GONE, 1);
        if (!this.#isEnding) onDied(worker, error);
      },
    });
    return { core, lane, ledger, handle, breaths: 0, still: 0 };
  }

  /** A thread breathes also when it has nothing to do, some times a second. */
  #look(): void {
    for (const thread of this.#threads) {
      const state = new Int32Array(thread.lane.state);
      const breaths = state[WORKER_BREATHS]!;
      // One that has not begun yet has a deadline for its first answer.
      thread.still = breaths === thread.breaths && breaths !== 0 ? thread.still + 1 : 0;
      thread.breaths = breaths;
      if (thread.still === STILL_LOOKS_MAX) thread.handle.abort("it hung");
      else if (Atomics.exchange(state, WORKER_HOLDS_UP, 0) === 1)
        thread.handle.abort("it hung, and others had to wait for it");
    }
  }
}
