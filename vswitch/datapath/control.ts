// Carries the main thread's requests out on a datapath. Thread: datapath worker, between breaths.
import { PlinthError } from "../../base/errors/index.js";
import type { HandedPort, Port } from "../../base/packet/index.js";
import { DummyPort, type SlotBank } from "../port/index.js";
import { applyAtomically } from "./atomic-change.js";
import type { Bridge } from "./bridge.js";
import { carryOut } from "./change-parts.js";
import type { Datapath } from "./datapath.js";
import type { DatapathTime } from "./datapath-time.js";
import { changeTunnelOptions } from "./flow-keeper.js";
import { countKnownFlowsOf, knownFlowsOf } from "./known-bridge-flows.js";
import { kindOf, type PortFactory } from "./port-factory.js";
import { type PortSlot, SPEED_KBPS } from "./port-slot.js";
import type { AddPort, BridgeCounters, DatapathMethods, PortState, RestoredConnections } from "./requests.js";
import { SeenFlows } from "./seen-flows.js";
import {
  addInlet,
  lendPort,
  recallPort,
  relayPort,
  remotePort,
  removeInlet,
  replaceWorker,
} from "./served-elsewhere.js";
import { TakingOver } from "./taking-over.js";

export interface ControlModules {
  readonly datapath: Datapath;
  readonly factory: PortFactory;
  readonly time: DatapathTime;
  /** The port's descriptor is to be slept on, or no longer. */
  readonly watch: (fd: number) => void;
  readonly unwatch: (fd: number) => void;
  readonly restoreConnections: () => RestoredConnections;
  readonly rehearseConnections: () => void;
  /** Throws why connections of another process cannot be ours. */
  readonly checkConnections: () => void;
  readonly leave: (socket: string) => void;
  readonly letSleep: (sleeps: boolean) => void;
  /** What port workers are lent, by their place. */
  readonly banks: readonly SlotBank[];
}

/** Frames that go in a circle between bridges are left to the poll loop. */
const BREATHS_MAX = 256;

/** Types of ports without a medium that would have a speed or collisions. */
const BARE_TYPES: readonly string[] = ["dummy", "patch"];

/** Names of Interface.statistics, in the order of the port's counters. */
const STATISTICS = [
  "rx_packets",
  "rx_bytes",
  "tx_packets",
  "tx_bytes",
  "rx_dropped",
  "tx_dropped",
  "rx_errors",
  "tx_errors",
] as const;

export function datapathMethods(modules: ControlModules): DatapathMethods {
  const { datapath, time } = modules;
  const nowMs = (): number => time.nowMs();
  const seen = new SeenFlows(datapath.bridges);
  const at = (name: string): Bridge => {
    const bridge = datapath.bridge(name);
    // Whatever is asked, what port workers have counted is part of it.
    bridge.publishing.fold();
    return bridge;
  };
  /** While another process forwards whose ports are to be ours. */
  let following: TakingOver | undefined;
  return {
    addBridge: ({ name, flowFile, ...settings }) => {
      if (following !== undefined) return following.addBridge(name, flowFile, settings, nowMs());
      const bridge = datapath.addBridge(name);
      const none = { flows: 0, note: 0 };
      // Flows that are back are not judged by limits that came after them.
      const kept = flowFile === undefined ? none : (bridge.keepFlows(flowFile, nowMs()) ?? none);
      bridge.setBridge(settings);
      return kept;
    },
    follow: (followed) => {
      modules.checkConnections();
      following = new TakingOver(
        followed,
        {
          datapath,
          kindOf: ({ spec }) => kindOf(spec),
          addPort: (body, handed) => addPort(modules, at(body.bridge), body, nowMs(), handed),
          restoreConnections: modules.restoreConnections,
          rehearseConnections: modules.rehearseConnections,
        },
        nowMs(),
      );
    },
    takeOver: () => {
      if (following === undefined) throw new PlinthError("NOTHING_FOLLOWED", "no other process is followed");
      const taken = following.finish(nowMs());
      following = undefined;
      return taken;
    },
    leave: ({ socket }) => modules.leave(socket),
    setBridge: ({ name, ...settings }) => {
      following?.setBridge(name, settings);
      at(name).setBridge(settings);
    },
    noteBeside: ({ bridge, note }) => at(bridge).news.keeper?.setNote(note),
    removeBridge: ({ bridge }) => {
      following?.removeBridge(bridge);
      for (const slot of [...at(bridge).slots]) removePort(modules, at(bridge), slot);
      at(bridge).news.keeper?.remove();
      datapath.removeBridge(bridge);
    },
    addPort: (body) =>
      following === undefined ? addPort(modules, at(body.bridge), body, nowMs()) : following.addPort(body),
    removePort: ({ bridge, name }) =>
      following === undefined
        ? removePort(modules, at(bridge), slotOf(at(bridge), name))
        : following.removePort(bridge, name),
    setPort: ({ bridge, name, ...settings }) =>
      following === undefined
        ? at(bridge).setPort(slotOf(at(bridge), name), settings, nowMs())
        : following.setPort(bridge, name, settings),
    recallPort: ({ bridge, spec, handed }) =>
      recallPort(modules, slotOf(at(bridge), spec.name), spec, nowMs, handed),
    relayPort: ({ bridge, name, remote }) =>
      relayPort(modules, slotOf(at(bridge), name), remotePort(modules, name, remote), nowMs),
    lendPort: ({ bridge, name, remote }) => lendPort(modules, slotOf(at(bridge), name), remote, nowMs),
    addInlet: ({ bridge, name, remote }) => addInlet(modules, slotOf(at(bridge), name), remote),
    removeInlet: ({ bridge, name, laneId }) => removeInlet(modules, slotOf(at(bridge), name), laneId, nowMs),
    replaceWorker: (replacement) =>
      replaceWorker(modules, replacement, (bridge, name) => slotOf(at(bridge), name)),
    change: ({ bridge, parts, origin }) => {
      const refused = carryOut(at(bridge), parts, nowMs(), origin);
      datapath.deliver();
      return refused;
    },
    changeAtomically: ({ bridge, changes, origin }) => {
      const refusal = applyAtomically(at(bridge), changes, nowMs(), origin);
      datapath.deliver();
      return refusal;
    },
    watchFlows: ({ bridge, isWatched }) => {
      at(bridge).watchFlows(isWatched);
    },
    handleFragments: ({ bridge, flags }) => at(bridge).handleFragments(flags),
    configureTables: ({ bridge, tables }) => {
      at(bridge).tables.configure(tables, nowMs());
      datapath.deliver();
    },
    tellMisses: ({ bridge, isWanted }) => at(bridge).tellMisses(isWanted),
    changeTunnelOptions: ({ bridge, mod }) => changeTunnelOptions(at(bridge), mod),
    tunnelOptions: ({ bridge }) => at(bridge).tables.options.describe(),
    flowStats: ({ bridge, filter }) => at(bridge).tables.flowStats(filter, nowMs()),
    aggregateStats: ({ bridge, filter }) => at(bridge).tables.aggregateStats(filter),
    tableStats: ({ bridge }) => at(bridge).tables.tableStats(),
    ports: ({ bridge }) => inOrder(at(bridge)).map((slot) => slot.description()),
    portStats: ({ bridge }) => inOrder(at(bridge)).map((slot) => slot.portStats(nowMs())),
    queueStats: ({ bridge }) =>
      inOrder(at(bridge)).flatMap(({ ofport, queues }) => queues?.stats(ofport, nowMs()) ?? []),
    queues: ({ bridge }) =>
      inOrder(at(bridge)).flatMap(({ ofport, queues }) => queues?.descriptions(ofport, SPEED_KBPS) ?? []),
    portStates: ({ bridge }) => inOrder(at(bridge)).map(portState),
    groupStats: ({ bridge }) => at(bridge).tables.groupStats(nowMs()),
    groupDescriptions: ({ bridge }) => at(bridge).tables.groups.descriptions(),
    meterStats: ({ bridge }) => at(bridge).tables.meterStats(nowMs()),
    meterConfigs: ({ bridge }) => at(bridge).tables.meters.configs(),
    macTable: ({ bridge }) => at(bridge).forwarding.macs.entries(nowMs()),
    macTableStats: ({ bridge }) => at(bridge).forwarding.macs.stats,
    flushMacTable: ({ bridge }) => at(bridge).forwarding.macs.flush(),
    addStaticMac: ({ bridge, name, vlan, mac }) => {
      const [high, low] = halves(mac);
      const { ofport } = slotOf(at(bridge), name);
      const { macs } = at(bridge).forwarding;
      const before = macs.known(high, low, vlan);
      if (!macs.addStatic(high, low, vlan, ofport))
        throw new PlinthError("MAC_TABLE_FULL", `bridge ${bridge} has no room for another static address`);
      return before?.isStatic === true && before.port === ofport ? undefined : before;
    },
    removeStaticMac: ({ bridge, vlan, mac }) => at(bridge).forwarding.macs.removeStatic(...halves(mac), vlan),
    mirrorStats: ({ bridge }) => at(bridge).forwarding.mirrors?.stats() ?? [],
    drops: ({ bridge }) => at(bridge).pipeline.dropCounters.report(),
    bridgeCounters: ({ bridge }) => bridgeCounters(at(bridge)),
    knownFlowCount: ({ bridge }) => countKnownFlowsOf(at(bridge)),
    seenFlows: ({ bridge }) => seen.of(at(bridge), nowMs()),
    forgetPaths: () => {
      for (const { tables } of datapath.bridges) tables.invalidate();
      seen.clear();
    },
    knownFlows: ({ bridge }) => knownFlowsOf(at(bridge), nowMs()),
    trace: ({ bridge, ...request }) => at(bridge).trace(request, nowMs(), datapath.bridges),
    setAdminState: ({ bridge, name, up }) => {
      at(bridge).setAdminState(slotOf(at(bridge), name), up);
      datapath.deliver();
    },
    receiveFrames: ({ bridge, name, frames }) => {
      const port = dummyOf(slotOf(at(bridge), name));
      const slot = slotOf(at(bridge), name);
      for (const frame of frames) {
        seen.admit(at(bridge), slot.ofport, frame, nowMs());
        port.receive(frame);
        // Whoever sent it sees what becomes of it at once.
        for (let i = 0; i < BREATHS_MAX && datapath.breathe(nowMs()) > 0; i++);
      }
    },
    connectionState: ({ bridge, name }) => dummyOf(slotOf(at(bridge), name)).connectionState,
    stopTime: () => time.stop(),
    warpTime: ({ deltaMs }) => {
      time.warp(deltaMs);
      datapath.tick(nowMs());
    },
    startCapture: ({ bridge, id, spec }) => {
      at(bridge).publishing.withdraw();
      at(bridge).captures.start(id, spec);
    },
    stopCapture: ({ bridge, id }) => at(bridge).captures.stop(id),
    connections: (filter) => datapath.conntrack.connections(nowMs(), filter),
    flushConnections: (filter) => datapath.conntrack.flush(filter, nowMs()),
    conntrackStatus: ({ zones }) => datapath.conntrack.status(zones),
    trackingCounters: () => {
      const { connections, connectionsMax, fragmentsHeld } = datapath.conntrack.status([]);
      return { connections, connectionsMax, fragmentsHeld, evictions: datapath.conntrack.evictions };
    },
    restoreConnections: () => modules.restoreConnections(),
    setConntrack: (settings) => datapath.conntrack.configure(settings),
    threadStatus: () => datapath.threadStatus(),
    letSleep: ({ sleeps }) => modules.letSleep(sleeps),
    counters: () => {
      for (const { publishing } of datapath.bridges) publishing.fold();
      return datapath.counters();
    },
  };
}

function addPort(
  modules: ControlModules,
  bridge: Bridge,
  body: AddPort,
  nowMs: number,
  handed?: HandedPort,
): void {
  const { bridge: _, spec, ofport, datapathPort = ofport, remote, ...settings } = body;
  const port =
    remote === undefined ? modules.factory.create(spec, handed) : remotePort(modules, spec.name, remote);
  try {
    bridge.addPort({
      port,
      ofport,
      datapathPort,
      mac: spec.mac,
      mtu: spec.mtu,
      isBare: BARE_TYPES.includes(spec.type),
      settings,
      nowMs,
    });
  } catch (thrown) {
    port.close();
    modules.factory.forget(spec.name);
    throw thrown;
  }
  if (port.wakeFd >= 0) modules.watch(port.wakeFd);
  modules.datapath.deliver();
}

function removePort(modules: ControlModules, bridge: Bridge, slot: PortSlot): void {
  const { port } = slot;
  bridge.removePort(slot);
  if (port.wakeFd >= 0) modules.unwatch(port.wakeFd);
  modules.factory.forget(port.name);
  (port as Port & { discard?(): void }).discard?.();
  port.close();
  modules.datapath.deliver();
}

/** Throws PORT_TYPE_UNKNOWN. */
function dummyOf({ port }: PortSlot): DummyPort {
  if (port instanceof DummyPort) return port;
  throw new PlinthError("PORT_TYPE_UNKNOWN", `${port.name} is no dummy port`);
}

/** The address as the MAC table has it: 32 and 16 bits. */
function halves(mac: Uint8Array): [high: number, low16: number] {
  const view = new DataView(mac.buffer, mac.byteOffset, 6);
  return [view.getInt32(0), view.getUint16(4)];
}

function slotOf(bridge: Bridge, name: string): PortSlot {
  const slot = bridge.slots.find((one) => one.port.name === name);
  if (slot === undefined) throw new PlinthError("PORT_UNKNOWN", `bridge ${bridge.name} has no port ${name}`);
  return slot;
}

function bridgeCounters({ pipeline, tables, packetIns, lookupHits }: Bridge): BridgeCounters {
  const used = tables.tableStats().filter((one) => one.activeCount > 0 || one.lookupCount > 0n);
  return { pathHits: lookupHits, pathMisses: pipeline.cache.misses, packetIns, tables: used };
}

/** By number; the local port has the largest. */
function inOrder(bridge: Bridge): PortSlot[] {
  return [...bridge.slots].sort((a, b) => a.ofport - b.ofport);
}

function portState(slot: PortSlot): PortState {
  const statistics = Object.fromEntries(
    STATISTICS.map((name, index) => [name, slot.port.stats[index] as number]),
  );
  statistics["rx_dropped"] = slot.rxDropped;
  statistics["tx_dropped"] = slot.txDropped;
  const { lastError } = slot.port as Port & { readonly lastError?: string };
  return {
    name: slot.port.name,
    ofport: slot.ofport,
    adminUp: slot.adminUp,
    linkUp: slot.isLive,
    mtu: slot.mtu,
    statistics,
    lastError: slot.linkUp ? undefined : lastError,
  };
}
