// Has some queues of a port served by other port workers than the port itself: lends them, and gets them back.
//
//   spread(): addInlet (forwarding worker) · lendQueues (the port's worker) · serveQueues (the other one)
//   end():    recallQueues (the port's worker) · forgetQueues (the other one) · removeInlet (forwarding worker)
//
// The worker that has the port gets its queues back by itself when the guest changes something; that is seen by the
// lane, and they are spread anew.
// Invariant: what is done here is done one thing after the other (PortWorkers.inTurn). Thread: main.
import { createLoanMemory, createPortLane, LANE_GENERATION, type PortLane } from "../port/index.js";
import type { PortThreads } from "./port-threads.js";
import type { DatapathMethods, InletOf } from "./requests.js";

/** SpreadPort.arranged of one for which nothing has been decided. */
export const NOT_ARRANGED = -2;

/** A port whose queues may be spread. */
export interface SpreadPort {
  readonly bridge: string;
  readonly name: string;
  readonly worker: number;
  readonly lane: PortLane;
  loans: readonly SpreadQueues[];
  /** Of the state of the port for which it was last decided who serves what, or NOT_ARRANGED. */
  arranged: number;
}

/** Queues that another worker serves. */
export interface SpreadQueues {
  readonly worker: number;
  readonly lane: PortLane;
  readonly queues: readonly number[];
}

export interface QueueSpreadModules {
  readonly threads: PortThreads;
  readonly workers: number;
  readonly forward: <M extends "addInlet" | "removeInlet">(
    method: M,
    body: Parameters<DatapathMethods[M]>[0],
  ) => Promise<unknown>;
}

export class QueueSpread {
  readonly #modules: QueueSpreadModules;

  constructor(modules: QueueSpreadModules) {
    this.#modules = modules;
  }

  /** Whether it is to be decided anew who serves what. */
  isDue(port: SpreadPort): boolean {
    return generationOf(port) !== port.arranged;
  }

  /** All queues are the port's worker's again; returns those that could be others'. */
  async gather(port: SpreadPort): Promise<readonly number[]> {
    const lendable = await this.#modules.threads.ask(port.worker, "recallQueues", { name: port.name });
    await this.forget(port);
    port.arranged = lendable?.generation ?? generationOf(port);
    if (lendable === undefined) return [];
    return Array.from({ length: 32 }, (_, queue) => queue).filter(
      (queue) => ((lendable.queues >>> queue) & 1) === 1,
    );
  }

  /** Nobody but the port's worker serves queues of the port, which may have ended itself. */
  async forget(port: SpreadPort): Promise<void> {
    const { threads, forward } = this.#modules;
    const { bridge, name, loans } = port;
    port.loans = [];
    for (const { worker, lane } of loans) {
      // One that has ended does not serve them either.
      await threads.ask(worker, "forgetQueues", { name }).catch(() => undefined);
      await forward("removeInlet", { bridge, name, laneId: lane.id });
    }
  }

  /** Has each of these workers serve these queues, as far as that can be. */
  async spread(port: SpreadPort, places: ReadonlyMap<number, readonly number[]>): Promise<void> {
    for (const [worker, queues] of places) if (worker !== port.worker) await this.#lend(port, worker, queues);
  }

  async #lend(port: SpreadPort, worker: number, queues: readonly number[]): Promise<void> {
    const { threads, workers, forward } = this.#modules;
    const { bridge, name, lane: own } = port;
    const lane = createPortLane(workers, own.wakeFd);
    const memory = createLoanMemory();
    await forward("addInlet", { bridge, name, remote: { worker, lane } });
    const body = { name, pairs: queues, memory, workerLane: threads.lanes[worker]!, state: lane.state };
    // Whoever ends before it has answered: the lane is not forgotten.
    port.loans = [...port.loans, { worker, lane, queues }];
    const lent = await threads.ask(port.worker, "lendQueues", body);
    if (lent === undefined) {
      await this.forget({ ...port, loans: port.loans.slice(-1) });
      port.loans = port.loans.slice(0, -1);
      return;
    }
    await threads.ask(worker, "serveQueues", { name, lent, memory, lane, state: own.state });
  }

  /** The worker has ended: lanes by which frames came from it, for the worker that forwards to forget. */
  lost(ports: Iterable<SpreadPort>, worker: number): InletOf[] {
    const inlets: InletOf[] = [];
    for (const port of ports) {
      const gone = port.loans.filter((one) => one.worker === worker);
      for (const { lane } of gone) inlets.push({ bridge: port.bridge, name: port.name, laneId: lane.id });
      port.loans = port.loans.filter((one) => one.worker !== worker);
    }
    return inlets;
  }
}

function generationOf({ lane }: SpreadPort): number {
  return Atomics.load(new Int32Array(lane.state), LANE_GENERATION);
}
