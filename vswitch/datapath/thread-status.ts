// The numbers of the datapath's thread, for people: dpif-netdev/pmd-stats-show and its sisters.
// Thread: datapath worker, between breaths.
import { type Port, TX_PACKETS } from "../../base/packet/index.js";
import type { Datapath } from "./datapath.js";
import type { PortHost } from "./port-host.js";
import type { PortUsage, UsageWindow } from "./port-usage.js";
import type { ThreadMeter } from "./thread-meter.js";

/** Counters only grow. Times in milliseconds. */
export interface ThreadCounters {
  /** Since the thread began. */
  readonly elapsedMs: number;
  readonly breaths: number;
  readonly busyBreaths: number;
  readonly sleeps: number;
  readonly busyMs: number;
  readonly idleMs: number;
  readonly sleepMs: number;
  readonly receiveMs: number;
  readonly forwardMs: number;
  readonly transmitMs: number;
  readonly received: number;
  readonly sent: number;
  readonly batches: number;
  /** Passes through the tables whose outcome was known by the compact key or the connection. */
  readonly verdictHits: number;
  /** Passes whose outcome was known by less than the key, and the masks that were looked through for it. */
  readonly maskedHits: number;
  readonly maskedLooks: number;
  /** Passes whose way was known by the whole key. */
  readonly pathHits: number;
  /** Passes that went through the tables. */
  readonly misses: number;
}

export interface ThreadStatus extends ThreadCounters {
  /** Over the last `windowMs`. */
  readonly windowMs: number;
  readonly ports: readonly PortUsage[];
}

export function threadStatus(datapath: Datapath, meter: ThreadMeter, nowMs: number): ThreadStatus {
  const slots = datapath.bridges.flatMap((bridge) => bridge.slots);
  const sum = (of: (slot: (typeof slots)[number]) => number): number =>
    slots.reduce((total, slot) => total + of(slot), 0);
  const total = { verdictHits: 0, maskedHits: 0, maskedLooks: 0, pathHits: 0, misses: 0 };
  for (const { bursts, pipeline } of datapath.bridges) {
    total.verdictHits += bursts.cache.hits + bursts.trackedHits;
    total.maskedHits += bursts.masked.hits + bursts.fronts.hits;
    total.maskedLooks += bursts.masked.looks + bursts.fronts.hits;
    total.pathHits += pipeline.cache.hits;
    total.misses += pipeline.cache.misses;
  }
  const windowMs = Math.max(1, nowMs - meter.windowMs);
  return {
    elapsedMs: meter.busyMs + meter.idleMs + meter.sleepMs,
    breaths: datapath.breaths,
    busyBreaths: meter.busyBreaths,
    sleeps: meter.sleeps,
    busyMs: meter.busyMs,
    idleMs: meter.idleMs,
    sleepMs: meter.sleepMs,
    receiveMs: meter.stageMs[0] as number,
    forwardMs: meter.stageMs[1] as number,
    transmitMs: meter.stageMs[2] as number,
    received: datapath.received,
    sent: sum((slot) => slot.port.stats[TX_PACKETS] as number),
    batches: sum((slot) => slot.batches),
    ...total,
    windowMs,
    ports: usageOf(slots, (meter.busyMs - meter.windowBusyMs) / windowMs),
  };
}

/** Of a port worker: what it has not finished itself, the worker that forwards has judged. */
export function hostStatus(host: PortHost, meter: ThreadMeter, nowMs: number): ThreadStatus {
  const windowMs = Math.max(1, nowMs - meter.windowMs);
  const { busyMs, idleMs, sleepMs, busyBreaths, sleeps } = meter;
  return {
    elapsedMs: busyMs + idleMs + sleepMs,
    ...{ breaths: host.breaths, busyBreaths, sleeps, busyMs, idleMs, sleepMs },
    ...{ receiveMs: 0, forwardMs: 0, transmitMs: 0 },
    ...{ received: host.received, sent: host.sent, batches: host.batches },
    ...{ verdictHits: 0, maskedHits: host.fast.frames, maskedLooks: host.fast.looks, pathHits: 0, misses: 0 },
    windowMs,
    ports: usageOf(host.served, (meter.busyMs - meter.windowBusyMs) / windowMs),
  };
}

/** `share`: of the thread's time, what was spent on all of them. */
function usageOf(
  ports: readonly { readonly port: Port; readonly window: UsageWindow }[],
  share: number,
): PortUsage[] {
  const all = ports.reduce((sum, { port, window }) => sum + window.came(port), 0);
  return ports.map(({ port, window }) => window.usageOf(port, share / Math.max(1, all)));
}

/** As turnPorts(), of a port worker. */
export function turnServed(host: PortHost): void {
  for (const { port, window } of host.served) window.turn(port);
}

/** The window of usage begins anew. */
export function turnPorts(datapath: Datapath): void {
  for (const { slots } of datapath.bridges) for (const { port, window } of slots) window.turn(port);
}
