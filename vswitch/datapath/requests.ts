// What the main thread asks of the datapath worker: methods of its mailbox with their arguments and results.
// Every request is carried out whole, between two breaths, in the order in which it was made.
import type {
  AggregateStats,
  FlowStats,
  FlowStatsFilter,
  GroupDescription,
  GroupStats,
  MeterConfig,
  MeterStats,
  OfpErrorName,
  PacketQueue,
  PortDescription,
  PortStats,
  QueueStats,
  TableStats,
} from "../../base/openflow/index.js";
import type { HandedPort } from "../../base/packet/index.js";
import type {
  ConnectionFilter,
  ConnectionInfo,
  ConntrackSettings,
  ConntrackStatus,
} from "../conntrack/index.js";
import type { DropReport, TableSettings, TraceRequest, TraceRun } from "../flow/index.js";
import type { KnownStation, MacTableEntry, MacTableStats, MirrorStats } from "../learn/index.js";
import type { Homeward, PortLane, WorkerLane } from "../port/index.js";
import type { IndexedRefusal } from "./atomic-change.js";
import type { BridgeChange } from "./bridge.js";
import type { CaptureCount, CaptureSpec } from "./capture-tap.js";
import type { ChangePart } from "./change-parts.js";
import type { BridgeEvent } from "./events.js";
import type { KnownBridgeFlow } from "./known-bridge-flows.js";
import type { PortSpec } from "./port-factory.js";
import type { LendableQueues, LentToWorker } from "./port-host.js";
import type { SeenFlow } from "./seen-flows.js";
import type { BridgeSettings, PortSettings } from "./settings.js";
import type { ThreadStatus } from "./thread-status.js";

/** Given to the worker when it starts. */
export interface DatapathSetup {
  /** Packets in the pool. */
  readonly slots: number;
  /** Connections that are remembered at most. */
  readonly connectionsMax: number;
  readonly hostDevices: boolean;
  /** Another process still forwards, and writes into the files; see follow(). */
  readonly follows?: boolean;
  /** See ConntrackOptions. */
  readonly pickupGraceMs?: number;
  /** Keeps connections, for the next life of the switch; absent: they end with the worker. */
  readonly connectionFile?: string;
  /** The processor to run on; any when absent. */
  readonly core?: number;
  /** Present when port workers serve some of the ports. */
  readonly shared?: SharedPackets & { readonly lanes: readonly WorkerLane[] };
}

/** The packets of workers that hand them to each other. */
export interface SharedPackets {
  /** Filled with the slots of all. */
  readonly arenaFd: number;
  /** See PacketPoolOptions.shared. */
  readonly memory: SharedArrayBuffer;
  /** All that there are, and the share of each worker. */
  readonly slots: number;
  readonly largeSlots: number;
  readonly share: number;
  readonly largeShare: number;
}

/** Given to a port worker when it starts. */
export interface PortWorkerSetup {
  readonly core: number;
  readonly hostDevices: boolean;
  readonly packets: SharedPackets;
  readonly lane: WorkerLane;
  /** Among the port workers, and what they give back to each other. */
  readonly place: number;
  readonly homeward: Homeward;
  /** Where it notes what is to be closed when it dies; see thread-ledger.ts. */
  readonly ledger: SharedArrayBuffer;
}

/** A thread that does not sleep when there is nothing to do asks its ports all the time: nothing waits for it to wake. */
export interface Sleeping {
  readonly sleeps: boolean;
}

/** What the main thread asks of a port worker. */
export interface PortWorkerMethods {
  /** Throws as PortFactory.create(), with what another worker has given up. */
  open(body: {
    readonly spec: PortSpec;
    readonly lane: PortLane;
    readonly handed?: HandedPort | undefined;
  }): void;
  close(body: { readonly name: string }): void;
  /** See PortHost.giveUp(). */
  giveUp(body: { readonly name: string }): HandedPort | undefined;
  /** See PortHost.lendQueues() and recallQueues(); `state`: of the lane by which their frames go. */
  lendQueues(body: {
    readonly name: string;
    readonly pairs: readonly number[];
    readonly memory: SharedArrayBuffer;
    readonly workerLane: WorkerLane;
    readonly state: SharedArrayBuffer;
  }): LentToWorker | undefined;
  recallQueues(body: { readonly name: string }): LendableQueues | undefined;
  /** Serves what another worker has lent; `state`: of the port's own lane. Throws as serveLoan(). */
  serveQueues(body: {
    readonly name: string;
    readonly lent: LentToWorker;
    readonly memory: SharedArrayBuffer;
    readonly lane: PortLane;
    readonly state: SharedArrayBuffer;
  }): void;
  forgetQueues(body: { readonly name: string }): void;
  /** Another port worker serves a port, or no longer by this lane; or it has ended. See PortHost. */
  meet(body: RemoteLane & { readonly workerLane: WorkerLane }): void;
  dismiss(body: { readonly laneId: number }): void;
  part(body: { readonly worker: number }): void;
  status(body: Record<string, never>): ThreadStatus;
  letSleep(body: Sleeping): void;
}

export interface BridgeSpec extends BridgeSettings {
  readonly name: string;
  /** Keeps what its tables hold, and is read first; absent: they end with the worker. Heeded by addBridge. */
  readonly flowFile?: string;
}

/** What another process has, whose ports are to be ours. */
export interface Followed {
  /** Bridges and where it keeps their flows. */
  readonly bridges: readonly { readonly name: string; readonly flowFile: string }[];
  /** Where its ports will be asked for; ours to make. */
  readonly socket: string;
}

export interface FailedPort {
  readonly bridge: string;
  readonly name: string;
  readonly message: string;
}

export interface TakenOver {
  readonly connections: number;
  /** What will not outlive the switch. */
  readonly problems: readonly string[];
  /** Ports that could not be opened. */
  readonly failed: readonly FailedPort[];
  /** Ports that were opened, and how many of them go on with the descriptors of the other process. */
  readonly ports: number;
  readonly handedPorts: number;
  /** From the last frame that the other process took to now; undefined: it had died. */
  readonly gapMs: number | undefined;
  /** What taking over went into; the first part passes while the other process still forwards, most of it. */
  readonly stagesMs: {
    readonly asking: number;
    readonly flowsAndConnections: number;
    readonly ports: number;
  };
}

export interface RestoredFlows {
  readonly flows: number;
  /** As noteBeside() left it; 0 = nothing was noted, or nothing could be restored. */
  readonly note: number;
  /** Why none are kept; absent when they are, or nobody asked for it. */
  readonly problem?: string;
}

export interface RestoredConnections {
  readonly connections: number;
  /** Why none are kept; absent when they are, or nobody asked for it. */
  readonly problem?: string;
}

export interface AddPort extends PortSettings {
  readonly bridge: string;
  readonly spec: PortSpec;
  /** OpenFlow number. */
  readonly ofport: number;
  /** Its number in the datapath, which traces call it by; undefined: it has none, as a patch port. */
  readonly datapathPort?: number | undefined;
  /** The port worker that serves it, by its place among the lanes; absent: the worker that forwards does. */
  readonly remote?: RemoteLane | undefined;
}

/** A port worker, by its place, and the port's lane to it. */
export interface RemoteLane {
  readonly worker: number;
  readonly lane: PortLane;
}

export interface WorkerReplacement {
  readonly worker: number;
  readonly lane: WorkerLane;
  readonly ports: readonly {
    readonly bridge: string;
    readonly name: string;
    readonly lane: PortLane;
  }[];
  /** Lanes by which it had frames of queues of other workers' ports come in. */
  readonly inlets: readonly InletOf[];
}

export interface InletOf {
  readonly bridge: string;
  readonly name: string;
  readonly laneId: number;
}

export interface Refusal {
  readonly error: OfpErrorName;
  readonly message: string;
  /** The message itself is wrong. */
  readonly isMalformed?: boolean;
}

export interface PortState {
  readonly name: string;
  readonly ofport: number;
  /** False when a port-mod has put it down. */
  readonly adminUp: boolean;
  readonly linkUp: boolean;
  readonly mtu: number;
  /** By the names of the Interface.statistics column. */
  readonly statistics: Readonly<Record<string, number>>;
  /** Why the link is down, where the port knows. */
  readonly lastError: string | undefined;
}

/** What a bridge has counted since it was made. */
export interface BridgeCounters {
  /** Packets whose way through the tables was cached, and that were looked up. */
  readonly pathHits: number;
  readonly pathMisses: number;
  /** Packets handed to controllers. */
  readonly packetIns: number;
  /** Tables with flows, or in which packets were looked up. */
  readonly tables: readonly TableStats[];
}

/** Of connection tracking, for all bridges. */
export interface TrackingCounters {
  readonly connections: number;
  readonly connectionsMax: number;
  /** Connections that had to give way to others. */
  readonly evictions: number;
  /** Fragments that wait for the rest of their datagram. */
  readonly fragmentsHeld: number;
}

interface Changes {
  readonly changes: readonly BridgeChange[];
  /** Who asks; named in the events that tell of flows. */
  readonly origin?: number;
}

type OfBridge = { readonly bridge: string };
/** `mac` has 6 bytes. */
type Station = { readonly vlan: number; readonly mac: Uint8Array };

export interface DatapathMethods {
  /** Returns what it had in an earlier life. */
  addBridge(body: BridgeSpec): RestoredFlows;
  setBridge(body: BridgeSpec): void;
  /** Notes a number, not 0, beside the flows: it comes back with them. */
  noteBeside(body: OfBridge & { readonly note: number }): void;
  removeBridge(body: OfBridge): void;
  addPort(body: AddPort): void;
  removePort(body: OfBridge & { readonly name: string }): void;
  setPort(body: OfBridge & PortSettings & { readonly name: string }): void;
  /** The worker that forwards serves the port itself from now on, which a port worker has given up. */
  recallPort(body: OfBridge & { readonly spec: PortSpec; readonly handed?: HandedPort | undefined }): void;
  /** A port worker has given the port up, and another one serves it from now on. */
  relayPort(body: OfBridge & { readonly name: string; readonly remote: RemoteLane }): void;
  /** A port worker is to serve the port from now on; returns what that needs to go on with it. */
  lendPort(body: OfBridge & { readonly name: string; readonly remote: RemoteLane }): HandedPort | undefined;
  /** Frames of some queues of the port come in by this lane, too; or no longer, when what has come by it is judged. */
  addInlet(body: OfBridge & { readonly name: string; readonly remote: RemoteLane }): void;
  removeInlet(body: InletOf): void;
  /** A port worker has ended. Its place is taken by another one, which is to serve these ports by other lanes. */
  replaceWorker(body: WorkerReplacement): void;
  /** Returns what was refused, by its place; the rest is in force. */
  change(
    body: OfBridge & { readonly parts: readonly ChangePart[]; readonly origin?: number },
  ): readonly IndexedRefusal[];
  /** All or nothing; undefined when all of it is in force. */
  changeAtomically(body: OfBridge & Changes): IndexedRefusal | undefined;
  /** Whether every change of a flow is told as an event. */
  watchFlows(body: OfBridge & { readonly isWatched: boolean }): void;
  /** The tables that there are to be; see FlowTables.configure. */
  configureTables(body: OfBridge & { readonly tables: readonly TableSettings[] }): void;
  /** Whether packets that no flow matches become packet-ins. */
  tellMisses(body: OfBridge & { readonly isWanted: boolean }): void;
  /** Carries out the body of a NXT_TLV_TABLE_MOD; returns the error that it deserves, if any. */
  changeTunnelOptions(body: OfBridge & { readonly mod: Uint8Array }): OfpErrorName | undefined;
  /** The body of a NXT_TLV_TABLE_REPLY. */
  tunnelOptions(body: OfBridge): Uint8Array;
  /** `flags` is one of OFPC_FRAG_*. */
  handleFragments(body: OfBridge & { readonly flags: number }): void;
  flowStats(body: OfBridge & { readonly filter: FlowStatsFilter }): readonly FlowStats[];
  aggregateStats(body: OfBridge & { readonly filter: FlowStatsFilter }): AggregateStats;
  tableStats(body: OfBridge): readonly TableStats[];
  ports(body: OfBridge): readonly PortDescription[];
  portStats(body: OfBridge): readonly PortStats[];
  portStates(body: OfBridge): readonly PortState[];
  queueStats(body: OfBridge): readonly QueueStats[];
  queues(body: OfBridge): readonly PacketQueue[];
  groupStats(body: OfBridge): readonly GroupStats[];
  groupDescriptions(body: OfBridge): readonly GroupDescription[];
  meterStats(body: OfBridge): readonly MeterStats[];
  meterConfigs(body: OfBridge): readonly MeterConfig[];
  macTable(body: OfBridge): readonly MacTableEntry[];
  macTableStats(body: OfBridge): MacTableStats;
  /** Learned stations; static ones stay. */
  flushMacTable(body: OfBridge): void;
  /** Throws PORT_UNKNOWN, MAC_TABLE_FULL. Returns where the station was before, if anything changes. */
  addStaticMac(body: OfBridge & Station & { readonly name: string }): KnownStation | undefined;
  /** False when there was no static one. */
  removeStaticMac(body: OfBridge & Station): boolean;
  mirrorStats(body: OfBridge): readonly MirrorStats[];
  /** By reason, how many packets were dropped, and the last flow that the last of them had met. */
  drops(body: OfBridge): readonly DropReport[];
  bridgeCounters(body: OfBridge): BridgeCounters;
  /** How many knownFlows() there are. */
  knownFlowCount(body: OfBridge): number;
  /** Flows of the frames that came in by dummy ports. */
  seenFlows(body: OfBridge): readonly SeenFlow[];
  /** Forgets every path and verdict that is cached, of all bridges, and the flows of dummy ports. */
  forgetPaths(body: Record<string, never>): void;
  /** What the caches hold, and is still true. */
  knownFlows(body: OfBridge): readonly KnownBridgeFlow[];
  /** What would happen to the frame now, for people; nothing is changed. */
  trace(body: OfBridge & TraceRequest): readonly TraceRun[];
  /** As a port-mod of OFPPC_PORT_DOWN does. Throws PORT_UNKNOWN. */
  setAdminState(body: OfBridge & { readonly name: string; readonly up: boolean }): void;
  /** Frames come in by a dummy port; they have been dealt with when this returns. Throws PORT_UNKNOWN, PORT_TYPE_UNKNOWN. */
  receiveFrames(body: OfBridge & { readonly name: string; readonly frames: readonly Uint8Array[] }): void;
  /** Of a dummy port's stream; throws as receiveFrames(). */
  connectionState(body: OfBridge & { readonly name: string }): string;
  /** The datapath's time stands still from now on, but for warpTime(). */
  stopTime(body: Record<string, never>): void;
  /** Moves it forward by whole milliseconds, and does what has fallen due. */
  warpTime(body: { readonly deltaMs: number }): void;
  /** Starts writing into the spec's ring; `id` is the caller's choice. Throws CAPTURES_FULL. */
  startCapture(body: OfBridge & { readonly id: number; readonly spec: CaptureSpec }): void;
  /** By port, what it took and what it lost; nothing is written any more. */
  stopCapture(body: OfBridge & { readonly id: number }): readonly CaptureCount[];
  connections(body: ConnectionFilter): readonly ConnectionInfo[];
  /** Returns how many there were. */
  flushConnections(body: ConnectionFilter): number;
  /** Limits of `zones`; when absent, of those that have one of their own. */
  conntrackStatus(body: { readonly zones?: readonly number[] }): ConntrackStatus;
  trackingCounters(body: Record<string, never>): TrackingCounters;
  /** Learns what another process has in its files while that still forwards; addBridge() and restoreConnections() then
   *  only need what came since. Throws CONNECTIONS_DIFFER, or why the connection file cannot be used. */
  follow(body: Followed): void;
  /** After follow(), when everything has been added: the other process stops, and its ports are ours. */
  takeOver(body: Record<string, never>): TakenOver;
  /** Dials whoever follows us; forwards until that one takes over, and then says so by an event. */
  leave(body: { readonly socket: string }): void;
  /** Takes over what the connection file holds. Once, before any packet. */
  restoreConnections(body: Record<string, never>): RestoredConnections;
  setConntrack(body: ConntrackSettings): void;
  threadStatus(body: Record<string, never>): ThreadStatus | null;
  letSleep(body: Sleeping): void;
  counters(body: Record<string, never>): Readonly<Record<string, number>>;
}

/** Name and body of the worker's events: what happened on a bridge; whether the successor has our ports. */
export const EVENTS = "events";
export const LEFT = "left";
export interface LeftMessage {
  readonly isTakenOver: boolean;
}
export interface EventsMessage {
  readonly bridge: string;
  readonly events: readonly BridgeEvent[];
}
