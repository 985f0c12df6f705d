// What the configuration asks of the switch, and what the switch reports back. Plain data.

import type { QueueStats } from "../../base/openflow/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import type { ZoneTimeouts } from "../conntrack/index.js";
import type {
  Affinity,
  BridgeCounters,
  PolicingConfig,
  QosConfig,
  TrackingCounters,
} from "../datapath/index.js";
import type { DropReport } from "../flow/index.js";
import type { MacTableStats, MirrorConfig, MirrorStats, VlanConfig } from "../learn/index.js";
import type { FlowTableConfig } from "./read-flow-tables.js";
import type { ThreadConfig, ThreadRules } from "./read-threads.js";

/** OpenFlow's number for a bridge's own port, as the database shows it (OFPP_LOCAL, 16 bit). */
export const OFPORT_LOCAL = 65534;
/** The largest number an ordinary port may have. */
export const OFPORT_MAX = 0xfeff;

export interface ControllerConfig {
  readonly uuid: string;
  /** "unix:PATH", "tcp:HOST:PORT", "punix:PATH" or "ptcp:PORT[:HOST]". */
  readonly target: string;
  readonly inactivityProbeMs: number;
  readonly maxBackoffMs: number;
}

/** A target at which the database can be reached (ovs-vswitchd.conf.db(5), Manager table). */
export interface ManagerConfig {
  readonly uuid: string;
  /** "unix:PATH", "tcp:HOST:PORT", "ssl:HOST:PORT", "punix:PATH", "ptcp:PORT[:HOST]" or "pssl:PORT[:HOST]". */
  readonly target: string;
  /** 0 for never; undefined for what is usual. */
  readonly inactivityProbeMs: number | undefined;
  readonly maxBackoffMs: number | undefined;
}

export interface BridgeConfig {
  readonly uuid: string;
  readonly name: string;
  /** The datapath that carries it: "netdev@plinth", "dummy@ovs-dummy" … */
  readonly datapath: string;
  /** 16 hex digits. */
  readonly datapathId: string;
  /** Of the local port, lower-case with colons. */
  readonly macAddress: string;
  readonly failMode: "standalone" | "secure";
  /** "OpenFlow13" and so on; empty for all that there are. */
  readonly protocols: readonly string[];
  readonly controllers: readonly ControllerConfig[];
  /** The SSL row, for controllers with ssl and pssl targets. */
  readonly tls: TlsFiles | undefined;
  readonly macAgingMs: number;
  readonly macTableSizeMax: number;
  /** VLANs without learning. */
  readonly floodVlans: readonly number[];
  /** NORMAL forwards frames of control protocols like any other. */
  readonly forwardReserved: boolean;
  /** VLAN tags of a frame that NORMAL and mirrors look at: 1 or 2. */
  readonly tagsRead: number;
  /** Named by their rows. */
  readonly mirrors: readonly MirrorConfig[];
  readonly flowTables: readonly FlowTableConfig[];
  /** What controllers are told of it. */
  readonly serialNumber: string;
  readonly description: string;
}

export interface PortConfig {
  /** Of the Interface row. */
  readonly uuid: string;
  readonly name: string;
  readonly type: string;
  /** Has no device, whatever its type is: see dummy.ts. */
  readonly isDummy: boolean;
  readonly options: Readonly<Record<string, string>>;
  readonly macAddress: string;
  readonly mtu: number | undefined;
  readonly vlan: VlanConfig;
  readonly isProtected: boolean;
  readonly policing: PolicingConfig;
  readonly qos: QosConfig | undefined;
  /** The processors whose workers are to serve its queues; absent: any. */
  readonly affinity?: Affinity;
  /** Columns that are set and have no effect. */
  readonly unsupported: readonly string[];
  readonly ofportRequest: number | undefined;
  /** The number it had before a restart. */
  readonly ofportBefore: number | undefined;
  /** Why it cannot be made; then it is not tried. */
  readonly error: string | undefined;
}

export interface BridgeModel {
  readonly config: BridgeConfig;
  readonly ports: readonly PortConfig[];
  readonly error: string | undefined;
  /** Columns that are set and have no effect. */
  readonly unsupported: readonly string[];
}

/** The whole configuration of the switch. */
export interface SwitchConfig {
  readonly bridges: readonly BridgeModel[];
  readonly nextCfg: number | bigint;
  readonly managers: readonly ManagerConfig[];
  /** How often counters are written. */
  readonly statsIntervalMs: number;
  readonly threads: ThreadConfig;
  /** Connections that the table is to have room for: a power of two. */
  readonly connectionsMax: number;
  /** Whether Open_vSwitch.statistics is wanted. */
  readonly wantsStatistics: boolean;
  /** The SSL row, for every ssl and pssl target. */
  readonly tls: TlsFiles | undefined;
  /** Connection tracking zones with time-outs of their own. */
  readonly zoneTimeouts: readonly ZoneTimeouts[];
}

/** A port that was given its number. */
export interface NumberedPort extends PortConfig {
  readonly ofport: number;
}

export interface PortStatus {
  readonly linkUp: boolean;
  /** Of a host device; true and 0 for a port that has none. */
  readonly adminUp?: boolean;
  readonly ifindex?: number;
  /** Of a host device, as it is; absent: the configured one. */
  readonly macAddress?: string;
  /** Undefined where frames of any length pass. */
  readonly mtu: number | undefined;
  /** By the names of the Interface.statistics column: rx_packets, rx_bytes, tx_dropped … */
  readonly statistics: Readonly<Record<string, number>>;
  /** Further facts for Interface.status. */
  readonly facts: Readonly<Record<string, string>>;
}

export interface ControllerStatus {
  readonly target: string;
  readonly isConnected: boolean;
  readonly role: "other" | "master" | "slave" | undefined;
  /** "ACTIVE", "BACKOFF" … for Controller.status:state. */
  readonly state: string;
  readonly lastError: string | undefined;
  /** When it last became connected, and when it last ceased to be; each only if it ever did. */
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
}

export interface BridgeStatus {
  readonly ports: ReadonlyMap<string, PortStatus>;
  readonly controllers: readonly ControllerStatus[];
  /** By the names in BridgeConfig.mirrors. */
  readonly mirrors: readonly MirrorStats[];
}

export interface MacEntry {
  readonly ofport: number;
  readonly vlan: number;
  readonly macAddress: string;
  readonly ageMs: number;
  readonly isStatic: boolean;
}

/**
 * What carries the configuration out: the datapath and the OpenFlow agents. Calls come one after the other.
 * A rejected call has changed nothing; its message becomes Interface.error or Bridge.status:error.
 */
export interface SwitchBackend {
  addBridge(bridge: BridgeConfig): Promise<void>;
  /** Anything but uuid and name may differ from before. Flows stay. */
  setBridge(bridge: BridgeConfig): Promise<void>;
  /** The bridge is about to go, and its ports before it: controllers learn that its flows are gone, and no more. */
  retireBridge(name: string): Promise<void>;
  /** Its ports were removed before. */
  removeBridge(name: string): Promise<void>;
  addPort(bridge: string, port: NumberedPort): Promise<void>;
  /** Only what changeable() of plan.ts names differs from before. */
  setPort(bridge: string, port: NumberedPort): Promise<void>;
  removePort(bridge: string, name: string): Promise<void>;
  /** The number that the port has in its datapath; undefined when it has none. */
  datapathNumber(bridge: string, port: string): number | undefined;
  /**
   * Without `counters` (they are wanted when it is absent), statistics may be older than now, and while nothing else has
   * changed the very object of the last time may be told again.
   */
  status(bridge: string, counters?: boolean): Promise<BridgeStatus>;
  macTable(bridge: string): Promise<readonly MacEntry[]>;
  macTableStats(bridge: string): Promise<MacTableStats>;
  /** Why the bridge has dropped packets, with the flow that the last of each reason had met. */
  drops(bridge: string): Promise<readonly DropReport[]>;
  /** Forgets what was learned; static entries stay. */
  flushMacTable(bridge: string): Promise<void>;
  /**
   * An entry that neither ages nor moves. Resolves with the one that it takes the place of. Rejects with PORT_UNKNOWN or
   * MAC_TABLE_FULL.
   */
  addStaticMac(
    bridge: string,
    port: string,
    vlan: number,
    macAddress: string,
  ): Promise<Pick<MacEntry, "ofport" | "isStatic"> | undefined>;
  /** False when there was no such static entry. */
  removeStaticMac(bridge: string, vlan: number, macAddress: string): Promise<boolean>;
  /** These zones, and no others, have time-outs of their own. Rejects with TOO_MANY_TIMEOUT_POLICIES. */
  setZoneTimeouts(zones: readonly ZoneTimeouts[]): Promise<void>;
  /** Whether workers sleep when there is nothing to do, and by which rules they share the ports. */
  setThreads(config: ThreadRules): Promise<void>;
  bridgeCounters(bridge: string): Promise<BridgeCounters>;
  /** How many flows of the bridge dpctl/dump-flows shows. */
  cachedFlowCount(bridge: string): Promise<number>;
  /** Of every queue of every port. */
  queueStats(bridge: string): Promise<readonly QueueStats[]>;
  trackingCounters(): Promise<TrackingCounters>;
  /** Counters of the datapath by name, for coverage/show. */
  counters(): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}
