// The datapath: one loop over all ports of all bridges. A breath takes a burst from each port, runs it through the
// bridge's tables and hands the results to the ports; changes are made between breaths.
// Invariant: after breathe() no packet is left inside but in ports. Thread: datapath worker (or a test). Hot: yes.
import { PlinthError } from "../../base/errors/index.js";
import type { PolledClock } from "../../base/linux/index.js";
import { Batch, type PacketPool } from "../../base/packet/index.js";
import { type ConnectionMemory, Conntrack } from "../conntrack/index.js";
import { DROP_REASONS } from "../flow/index.js";
import type { MacTable } from "../learn/index.js";
import type { PatchPort } from "../port/index.js";
import { Bridge } from "./bridge.js";
import type { BridgeEvent } from "./events.js";
import { ExpressLane } from "./express-lane.js";
import { type FairTurn, FairTurns } from "./fair-turns.js";
import { BRIDGES_MAX, BURST_SIZE, EVENTS_MAX, SWEEP_INTERVAL_MS, TICK_INTERVAL_MS } from "./limits.js";
import type { PortSlot } from "./port-slot.js";
import { STAGE_FORWARD, STAGE_RECEIVE, STAGE_SAMPLE, STAGE_TRANSMIT, ThreadMeter } from "./thread-meter.js";
import { type ThreadStatus, threadStatus, turnPorts } from "./thread-status.js";

export interface DatapathOptions {
  readonly pool: PacketPool;
  /** Gets what happened, in order, at the end of a breath or change; the array is the receiver's. */
  readonly onEvents: (bridge: string, events: readonly BridgeEvent[]) => void;
  /** Connections to remember at most; a power of two. */
  readonly connectionsMax?: number;
  /** Monotonic, and read before. Absent: nothing is timed. */
  readonly clock?: PolledClock;
  /** See ConntrackOptions. */
  readonly pickupGraceMs?: number;
  /** Where they stand, with room for so many; of its own when absent. */
  readonly connectionMemory?: ConnectionMemory;
  /** Of each bridge; see PipelineOptions. */
  readonly pathCacheEntries?: number;
}

/** Longer turns are not told apart. */
const NS_MAX = 2 ** 31 - 1;
const STOPPED: PolledClock = { ms: new Float64Array(1), read: () => {} };

interface EventQueue {
  readonly bridge: string;
  events: BridgeEvent[];
}

export class Datapath {
  readonly pool: PacketPool;
  readonly conntrack: Conntrack;
  readonly bridges: Bridge[] = [];
  breaths = 0;
  /** Packets that have come in. */
  received = 0;
  readonly meter: ThreadMeter | null;
  readonly #clock: PolledClock;
  readonly #onEvents: (bridge: string, events: readonly BridgeEvent[]) => void;
  readonly #batch = new Batch(BURST_SIZE);
  readonly #express: ExpressLane;
  #queues: EventQueue[] = [];
  #tickMs = Number.NEGATIVE_INFINITY;
  #sweepMs = Number.NEGATIVE_INFINITY;
  readonly #turns = new FairTurns();
  /** Of the turn that is being measured: when it began, and what its bridge had seen begin before. */
  readonly #beganMs = new Float64Array(1);
  #newsBefore = 0;
  /** Ends of patches: where there are none, nobody needs to know whose frames go through them. */
  #patches = 0;
  readonly #pathCacheEntries: number | undefined;

  constructor(options: DatapathOptions) {
    this.pool = options.pool;
    this.#express = new ExpressLane(options.pool);
    this.#onEvents = options.onEvents;
    this.#pathCacheEntries = options.pathCacheEntries;
    this.#clock = options.clock ?? STOPPED;
    this.meter = options.clock === undefined ? null : new ThreadMeter(options.clock);
    const { connectionsMax, connectionMemory, pickupGraceMs } = options;
    this.conntrack = new Conntrack({
      pool: options.pool,
      ...(connectionsMax === undefined ? {} : { connectionsMax }),
      ...(connectionMemory === undefined ? {} : { memory: connectionMemory }),
      ...(pickupGraceMs === undefined ? {} : { pickupGraceMs }),
    });
  }

  /** Throws BRIDGE_EXISTS or TOO_MANY_BRIDGES. */
  addBridge(name: string): Bridge {
    if (this.bridges.some((one) => one.name === name))
      throw new PlinthError("BRIDGE_EXISTS", `there is a bridge ${name}`);
    if (this.bridges.length >= BRIDGES_MAX)
      throw new PlinthError("TOO_MANY_BRIDGES", `a datapath has at most ${BRIDGES_MAX} bridges`);
    const queue: EventQueue = { bridge: name, events: [] };
    this.#queues.push(queue);
    const bridge = new Bridge({
      name,
      pool: this.pool,
      tracker: this.conntrack,
      emit: (event) => emit(queue, event),
      pathCacheEntries: this.#pathCacheEntries,
    });
    this.bridges.push(bridge);
    return bridge;
  }

  /** Throws BRIDGE_UNKNOWN. */
  bridge(name: string): Bridge {
    const bridge = this.bridges.find((one) => one.name === name);
    if (bridge === undefined) throw new PlinthError("BRIDGE_UNKNOWN", `there is no bridge ${name}`);
    return bridge;
  }

  removeBridge(name: string): void {
    const bridge = this.bridge(name);
    bridge.close();
    this.bridges.splice(this.bridges.indexOf(bridge), 1);
    this.#queues = this.#queues.filter((queue) => queue.bridge !== name);
  }

  /** One round over all ports; returns how many packets came in. `nowMs` is monotonic. */
  breathe(nowMs: number): number {
    this.breaths++;
    if (nowMs - this.#tickMs >= TICK_INTERVAL_MS) this.tick(nowMs);
    if (this.meter !== null && (this.breaths & (STAGE_SAMPLE - 1)) === 0)
      return this.#breatheTimed(this.meter, nowMs);
    const batch = this.#batch;
    const turns = this.#turns;
    const express = this.#express;
    let received = 0;
    let moved = 0;
    let patches = 0;
    for (let b = 0; b < this.bridges.length; b++) {
      const bridge = this.bridges[b]!;
      for (let p = 0; p < bridge.slots.length; p++) {
        const slot = bridge.slots[p]!;
        if (slot.queues !== undefined) moved += bridge.release(slot, nowMs);
        if (slot.patch !== null) {
          patches++;
          received += this.#passPatch(bridge, slot, slot.patch, nowMs);
          continue;
        }
        if (!turns.begins(slot.turn)) continue;
        // Who sits turns out is seldom there when all are measured.
        const isMeasured = slot.turn.turnsOut > 0;
        if (isMeasured) this.#begin(bridge);
        const count = express.receive(bridge, slot, batch, nowMs);
        turns.done(slot.turn, count);
        if (count === 0) continue;
        received += count;
        if (batch.length > 0) bridge.receive(slot, batch, nowMs);
        if (isMeasured) this.#measure(slot, bridge, count);
      }
      if (received > 0 || moved > 0) bridge.flush();
    }
    this.#patches = patches;
    turns.endBreath();
    express.settle();
    this.received += received;
    if (received > 0) this.deliver();
    return received;
  }

  /** The same, with a look at the clock between the stages. */
  #breatheTimed(meter: ThreadMeter, nowMs: number): number {
    const batch = this.#batch;
    const turns = this.#turns;
    const express = this.#express;
    let received = 0;
    let moved = 0;
    this.#clock.read();
    meter.mark();
    for (let b = 0; b < this.bridges.length; b++) {
      const bridge = this.bridges[b]!;
      for (let p = 0; p < bridge.slots.length; p++) {
        const slot = bridge.slots[p]!;
        if (slot.queues !== undefined) moved += bridge.release(slot, nowMs);
        if (slot.patch !== null) {
          received += this.#passPatch(bridge, slot, slot.patch, nowMs);
          this.#clock.read();
          meter.stage(STAGE_FORWARD);
          continue;
        }
        if (!turns.begins(slot.turn)) continue;
        this.#begin(bridge);
        const count = express.receive(bridge, slot, batch, nowMs);
        turns.done(slot.turn, count);
        if (count === 0) {
          turns.measure(slot.turn, 0, 0, 0);
          continue;
        }
        received += count;
        this.#clock.read();
        meter.stage(STAGE_RECEIVE);
        if (batch.length > 0) bridge.receive(slot, batch, nowMs);
        this.#measure(slot, bridge, count);
        meter.stage(STAGE_FORWARD);
      }
      if (received > 0 || moved > 0) {
        this.#clock.read();
        meter.mark();
        bridge.flush();
        this.#clock.read();
        meter.stage(STAGE_TRANSMIT);
      }
    }
    turns.endBreath();
    express.settle();
    this.#judgeTurns();
    this.received += received;
    if (received > 0) this.deliver();
    return received;
  }

  /**
   * Frames in a patch have had their turn where they came in: all of them go on, or later ones would overtake them by
   * other ways. What is sent back through the patch meanwhile goes on in the next breath.
   */
  #passPatch(bridge: Bridge, slot: PortSlot, patch: PatchPort, nowMs: number): number {
    const batch = this.#batch;
    let received = 0;
    for (let waiting = patch.waiting; waiting > received; ) {
      received += patch.rx(batch);
      const origin = patch.origin as FairTurn | null;
      if (origin !== null) this.#begin(bridge);
      bridge.receive(slot, batch, nowMs);
      if (origin !== null) this.#charge(origin, bridge);
    }
    return received;
  }

  /** What has been done since #begin() was done for frames that have come by a patch, and have had their turn. */
  #charge(origin: FairTurn, bridge: Bridge): void {
    this.#turns.chargeBehind(origin, this.#elapsedNs(), (this.#newsOf(bridge) - this.#newsBefore) | 0);
    this.#send(bridge, origin);
  }

  /**
   * Hands on what waits for patches, so that it is known who answers for it. What waits for other ports leaves at the end:
   * whoever answers to it at once would overtake by another patch what is in this one.
   */
  #send(bridge: Bridge, origin: FairTurn | null): void {
    if (this.#patches === 0) return;
    const { slots, delivery } = bridge;
    for (let p = 0; p < slots.length; p++) {
      const slot = slots[p]!;
      if (slot.patch === null) continue;
      if (slot.out.length > 0) delivery.handOver(slot);
      slot.patch.peer?.assign(origin);
    }
  }

  /** A port's turn that is to be measured begins. */
  #begin(bridge: Bridge): void {
    this.#send(bridge, null);
    this.#newsBefore = this.#newsOf(bridge);
    this.#clock.read();
    this.#beganMs[0] = this.#clock.ms[0]!;
  }

  /** And ends. */
  #measure(slot: PortSlot, bridge: Bridge, count: number): void {
    const news = (this.#newsOf(bridge) - this.#newsBefore) | 0;
    this.#turns.measure(slot.turn, count, this.#elapsedNs(), news);
    this.#send(bridge, slot.turn);
  }

  #elapsedNs(): number {
    this.#clock.read();
    return Math.min(NS_MAX, (this.#clock.ms[0]! - this.#beganMs[0]!) * 1e6) | 0;
  }

  /** What frames have begun so far that others find in the way. */
  #newsOf({ forwarding, packetIns, pipeline }: Bridge): number {
    return this.conntrack.begun + forwarding.macs.news + packetIns + pipeline.cache.misses;
  }

  /** Says how many turns each port sits out, after all have been measured. */
  #judgeTurns(): void {
    let least = 0;
    for (let b = 0; b < this.bridges.length; b++) {
      const { slots } = this.bridges[b]!;
      for (let p = 0; p < slots.length; p++) {
        const { costPs } = slots[p]!.turn;
        if (costPs !== 0 && (least === 0 || costPs < least)) least = costPs;
      }
    }
    for (let b = 0; b < this.bridges.length; b++) {
      const { slots } = this.bridges[b]!;
      for (let p = 0; p < slots.length; p++) this.#turns.judge(slots[p]!.turn, least);
    }
  }

  /** What the thread has done so far. Counters only grow. */
  threadStatus(): ThreadStatus | null {
    this.#clock.read();
    return this.meter === null ? null : threadStatus(this, this.meter, this.#clock.ms[0]!);
  }

  /** Housekeeping: ports, and now and then everything that has a time-out. */
  tick(nowMs: number): void {
    // The table of connections a little at a time, but all of it in each interval.
    this.conntrack.sweepConnections(nowMs, (nowMs - this.#tickMs) / SWEEP_INTERVAL_MS);
    this.#tickMs = nowMs;
    const sweep = nowMs - this.#sweepMs >= SWEEP_INTERVAL_MS;
    if (sweep) {
      this.#sweepMs = nowMs;
      this.conntrack.sweepOthers(nowMs);
    }
    for (let b = 0; b < this.bridges.length; b++) {
      const bridge = this.bridges[b]!;
      bridge.tick(nowMs);
      if (sweep) bridge.sweep(nowMs);
    }
    if (this.meter?.turnWindow() === true) turnPorts(this);
    this.deliver();
  }

  /** Sends collected events on their way. Called at the end of a breath, and after changes. */
  deliver(): void {
    for (let i = 0; i < this.#queues.length; i++) {
      const queue = this.#queues[i]!;
      if (queue.events.length === 0) continue;
      const { events } = queue;
      queue.events = [];
      this.#onEvents(queue.bridge, events);
    }
  }

  /** True when every port promises to wake a sleeper; then endSleep() must be called after waking, also when false. */
  beginSleep(): boolean {
    let ready = true;
    for (let b = 0; b < this.bridges.length; b++) {
      const { slots } = this.bridges[b]!;
      for (let p = 0; p < slots.length; p++) if (!slots[p]!.port.beginSleep()) ready = false;
    }
    return ready;
  }

  /** How long it may be slept at most, in milliseconds, for what waits in the queues of ports. */
  get sleepMs(): number {
    let least = Number.POSITIVE_INFINITY;
    for (let b = 0; b < this.bridges.length; b++) {
      const { slots } = this.bridges[b]!;
      for (let p = 0; p < slots.length; p++) {
        const { queues } = slots[p]!;
        if (queues !== undefined) least = Math.min(least, queues.waitMs);
      }
    }
    return least;
  }

  endSleep(): void {
    for (let b = 0; b < this.bridges.length; b++) {
      const { slots } = this.bridges[b]!;
      for (let p = 0; p < slots.length; p++) slots[p]!.port.endSleep();
    }
  }

  /** Counters by name: drops by reason over all bridges, caches, connections. */
  counters(): Record<string, number> {
    const counters: Record<string, number> = {
      breaths: this.breaths,
      connections: this.conntrack.size,
      packets_free: this.pool.available,
      express: this.#express.frames,
      path_hit: 0,
      path_miss: 0,
      masked_hit: 0,
      front_hit: 0,
      tracked_hit: 0,
      tracked_miss: 0,
    };
    const bridges = this.bridges;
    for (let i = 0; i < bridges.length; i++) {
      const bridge = bridges[i]!;
      counters["path_hit"] = counters["path_hit"]! + bridge.cacheHits;
      counters["path_miss"] = counters["path_miss"]! + bridge.pipeline.cache.misses;
      counters["masked_hit"] = counters["masked_hit"]! + bridge.bursts.masked.hits;
      counters["front_hit"] = counters["front_hit"]! + bridge.bursts.fronts.hits;
      counters["tracked_hit"] = counters["tracked_hit"]! + bridge.bursts.trackedHits;
      counters["tracked_miss"] = counters["tracked_miss"]! + bridge.bursts.trackedMisses;
      countStations(bridge.forwarding.macs, counters);
      for (let reason = 0; reason < DROP_REASONS.length; reason++) {
        const name = `drop_${DROP_REASONS[reason]!.replaceAll("-", "_")}`;
        counters[name] = (counters[name] ?? 0) + bridge.pipeline.dropCounters.packets[reason]!;
      }
    }
    return counters;
  }

  close(): void {
    for (const bridge of this.bridges) bridge.close(); // cold
    this.bridges.length = 0;
  }
}

/** Adds what a MAC table has counted, by the names of Open vSwitch. */
function countStations({ stats, heldInPlace }: MacTable, counters: Record<string, number>): void {
  const add = (name: string, count: number): void => {
    counters[name] = (counters[name] ?? 0) + count;
  };
  add("mac_learning_learned", stats.learned);
  add("mac_learning_expired", stats.expired);
  add("mac_learning_evicted", stats.evicted);
  add("mac_learning_moved", stats.moved);
  add("mac_learning_static_none_move", heldInPlace);
}

/** Packet-ins beyond the bound are refused; what a controller must hear never is. */
function emit(queue: EventQueue, event: BridgeEvent): boolean {
  if (event.type === "packet_in" && queue.events.length >= EVENTS_MAX) return false;
  queue.events.push(event);
  return true;
}
