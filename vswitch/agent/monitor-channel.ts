// Tells one connection of changes to the flow tables, in order with its answers, and pauses when it reads too slowly.
//
//   live ──too much waits to be written──► paused ──all of it was written──► live
//
// While paused, deletions of flows that the controller knows are still told; of the others only the last state is
// kept and told on resuming. Invariant: what is kept is bounded; beyond, the connection is closed. Thread: main.

import {
  type FlowMonitorRequest,
  type FlowStats,
  type FlowUpdate,
  type FlowUpdateFull,
  OFPG_ANY,
  type Unsent,
} from "../../base/openflow/index.js";
import { FlowMonitors, initialUpdates, nameOfFlow } from "./flow-monitors.js";
import { MONITOR_CHANGES_MAX, MONITOR_QUEUE_BYTES_MAX } from "./limits.js";
import type { Answer } from "./requests.js";
import type { FlowChangeEvent, SwitchModel } from "./switch-model.js";

export interface MonitorChannelModules {
  readonly model: SwitchModel;
  /** This connection, as changes name their origin. */
  readonly origin: number;
  /** Sends unasked. */
  readonly send: (message: Unsent) => void;
  readonly bytesWaiting: () => number;
  readonly close: (reason: string) => void;
  /** Called when the first monitor comes, and when the last one went. */
  readonly onWatch: (isWatching: boolean) => void;
}

export class MonitorChannel {
  readonly #modules: MonitorChannelModules;
  /** Those whose initial flows have been read; changes before that are in what was read. */
  readonly #monitors = new FlowMonitors();
  /** Updates that wait until the initial flows are written. */
  #held: FlowUpdate[] = [];
  #beginnings = 0;
  #isPaused = false;
  /** What is to be told on resuming, by flow. */
  readonly #missed = new Map<string, FlowUpdateFull>();
  #isWatching = false;

  constructor(modules: MonitorChannelModules) {
    this.#modules = modules;
  }

  /** The answer; `begin` is to be called when it is written. Calls the model at once. */
  async request(requests: readonly FlowMonitorRequest[]): Promise<Answer> {
    this.#beginnings++;
    this.#watch(true);
    const found = await Promise.all(
      requests.map(async (request) => ({
        request,
        flows: request.flags.initial ? await this.#flowsOf(request) : [],
      })),
    );
    const error = this.#monitors.add(requests);
    this.#watch(this.#monitors.count > 0);
    if (error !== undefined) return error;
    return [
      { type: "multipart_reply", flags: 0, body: { kind: "flow_monitor", updates: initialUpdates(found) } },
    ];
  }

  #flowsOf({ tableId, outPort, match }: FlowMonitorRequest): Promise<readonly FlowStats[]> {
    const filter = { tableId, outPort, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n, match };
    return this.#modules.model.flowStats(filter);
  }

  /** The answer to a request has been written. */
  begin(): void {
    this.#beginnings--;
    if (this.#beginnings > 0) return;
    const held = this.#held;
    this.#held = [];
    for (const update of held) this.#tell(update);
  }

  cancel(monitorId: number): Answer {
    if (!this.#monitors.cancel(monitorId)) return "OFPMOFC_UNKNOWN_MONITOR";
    this.#watch(this.#monitors.count > 0);
    return [];
  }

  close(): void {
    this.#watch(false);
  }

  offer(change: FlowChangeEvent): void {
    if (this.#monitors.count === 0) return;
    const update = this.#monitors.updateOf(change, change.origin === this.#modules.origin);
    if (update === undefined) return;
    if (this.#beginnings > 0) this.#held.push(update);
    else this.#tell(update);
  }

  /** The connection has written all that waited. */
  onDrain(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const missed = [...this.#missed.values()];
    this.#missed.clear();
    for (const update of missed) this.#send(update);
    this.#modules.send({ type: "flow_monitor_resumed" });
  }

  #tell(update: FlowUpdate): void {
    if (!this.#isPaused && this.#modules.bytesWaiting() > MONITOR_QUEUE_BYTES_MAX) {
      this.#isPaused = true;
      this.#modules.send({ type: "flow_monitor_paused" });
    }
    if (!this.#isPaused || !("match" in update)) this.#send(update);
    else this.#keep(update);
  }

  #keep(update: FlowUpdateFull): void {
    const name = nameOfFlow(update);
    const earlier = this.#missed.get(name);
    this.#missed.delete(name);
    if (update.event === "deleted") {
      // The controller never heard of a flow that came while it was paused.
      if (earlier?.event !== "added") this.#send(update);
      return;
    }
    this.#missed.set(name, earlier?.event === "added" ? { ...update, event: "added" } : update);
    if (this.#missed.size > MONITOR_CHANGES_MAX)
      this.#modules.close("it does not read what its flow monitor reports");
  }

  #send(update: FlowUpdate): void {
    this.#modules.send({
      type: "multipart_reply",
      flags: 0,
      body: { kind: "flow_monitor", updates: [update] },
    });
  }

  #watch(isWatching: boolean): void {
    if (isWatching === this.#isWatching) return;
    this.#isWatching = isWatching;
    this.#modules.onWatch(isWatching);
  }
}
