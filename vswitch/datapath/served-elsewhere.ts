// Ports that other threads serve, as the worker that forwards has them: made, taken back, given to another thread, and
// kept over the death of one. The port keeps its place in the bridge, its flows and its counters.
// Thread: datapath worker, between breaths.
import { Batch, type HandedPort, type Port } from "../../base/packet/index.js";
import { type Inlet, presetLane, RemotePort, type SlotBank } from "../port/index.js";
import type { Datapath } from "./datapath.js";
import { giveUp, type PortThatMoves } from "./give-up.js";
import { STOP_MAX_MS } from "./limits.js";
import type { PortFactory, PortSpec } from "./port-factory.js";
import type { PortSlot } from "./port-slot.js";
import type { RemoteLane, WorkerReplacement } from "./requests.js";

export interface ServedModules {
  readonly datapath: Datapath;
  readonly factory: PortFactory;
  readonly watch: (fd: number) => void;
  readonly unwatch: (fd: number) => void;
  readonly banks: readonly SlotBank[];
}

/** A port may sit out some turns. */
const DRAIN_BREATHS_MAX = 1024;

export function remotePort(
  { banks }: Pick<ServedModules, "banks">,
  name: string,
  { worker, lane }: RemoteLane,
): RemotePort {
  return new RemotePort({ name, lane, bank: banks[worker]! });
}

/** Nothing that has come in, or was to leave, is lost. Throws as PortFactory.create(). */
export function recallPort(
  modules: ServedModules,
  slot: PortSlot,
  spec: PortSpec,
  nowMs: () => number,
  handed: HandedPort | undefined,
): void {
  const before = slot.port;
  if (!(before instanceof RemotePort)) return;
  drain(modules, () => before.isDrained, nowMs);
  withdraw(modules);
  const port = modules.factory.create(spec, handed);
  putInPlace(modules, slot, port);
  sendRest(before, port);
}

/** As recallPort(), to `port`, which another thread serves. */
export function relayPort(
  modules: ServedModules,
  slot: PortSlot,
  port: RemotePort,
  nowMs: () => number,
): void {
  const before = slot.port;
  if (!(before instanceof RemotePort)) return;
  drain(modules, () => before.isDrained, nowMs);
  withdraw(modules);
  putInPlace(modules, slot, port);
  sendRest(before, port);
}

/**
 * Closes the port here for another thread to serve; undefined: to open anew. What leaves by it meanwhile waits in the
 * lane, and its link is as it was until that thread says otherwise.
 */
export function lendPort(
  modules: ServedModules,
  slot: PortSlot,
  { worker, lane }: RemoteLane,
  nowMs: () => number,
): HandedPort | undefined {
  const before = slot.port as PortThatMoves;
  if (before instanceof RemotePort) return undefined;
  const untilMs = performance.now() + STOP_MAX_MS;
  while (before.stop?.() === false && performance.now() < untilMs) modules.datapath.breathe(nowMs());
  withdraw(modules);
  presetLane(lane, before);
  putInPlace(modules, slot, remotePort(modules, before.name, { worker, lane }));
  modules.factory.forget(before.name);
  return giveUp(before);
}

/** Frames of some queues of the port come in by this lane, too. */
export function addInlet({ banks }: ServedModules, slot: PortSlot, { worker, lane }: RemoteLane): void {
  const { port, published } = slot;
  if (!(port instanceof RemotePort)) return;
  published?.add(port.addInlet(lane, banks[worker]!));
}

/** Nobody puts anything into the lane any more; what is in it is judged. */
export function removeInlet(
  modules: ServedModules,
  slot: PortSlot,
  laneId: number,
  nowMs: () => number,
): void {
  const inlet = inletOf(slot, laneId);
  if (inlet === undefined) return;
  drain(modules, () => inlet.isEmpty, nowMs);
  withdraw(modules);
  forgetInlet(slot, inlet);
}

function inletOf({ port }: PortSlot, laneId: number): Inlet | undefined {
  return port instanceof RemotePort ? port.inlets.find(({ lane }) => lane.id === laneId) : undefined;
}

function forgetInlet({ port, published }: PortSlot, inlet: Inlet | undefined): void {
  if (inlet === undefined) return;
  published?.remove(inlet);
  (port as RemotePort).removeInlet(inlet);
}

/** What was with the thread that has ended is lost, but for the packets themselves. */
export function replaceWorker(
  modules: Omit<ServedModules, "factory">,
  { worker, lane, ports, inlets }: WorkerReplacement,
  slotOf: (bridge: string, name: string) => PortSlot,
): void {
  withdraw(modules);
  for (const { bridge, name, laneId } of inlets) {
    const slot = slotOf(bridge, name);
    forgetInlet(slot, inletOf(slot, laneId));
  }
  modules.banks[worker]!.startAnew(lane);
  for (const { bridge, name, lane: portLane } of ports)
    putInPlace(modules, slotOf(bridge, name), remotePort(modules, name, { worker, lane: portLane }));
}

/** Nobody acts any more by what was known of the ports as they were. */
function withdraw({ datapath }: Pick<ServedModules, "datapath">): void {
  for (const { publishing } of datapath.bridges) publishing.withdraw();
}

function drain({ datapath }: ServedModules, isDrained: () => boolean, nowMs: () => number): void {
  for (let i = 0; i < DRAIN_BREATHS_MAX && !isDrained(); i++) datapath.breathe(nowMs());
}

/** The slot's counters go on counting. */
function putInPlace(
  { watch, unwatch }: Pick<ServedModules, "watch" | "unwatch">,
  slot: PortSlot,
  port: Port,
): void {
  const before = slot.port;
  for (const [i, count] of before.stats.entries()) port.stats[i] = port.stats[i]! + count;
  if (before.wakeFd >= 0) unwatch(before.wakeFd);
  slot.place(port);
  if (port.wakeFd >= 0) watch(port.wakeFd);
}

function sendRest(before: RemotePort, port: Port): void {
  const left = new Batch();
  for (let isMore = true; isMore; ) {
    isMore = before.reclaim(left);
    if (left.length > 0) port.tx(left);
  }
  before.close();
}
