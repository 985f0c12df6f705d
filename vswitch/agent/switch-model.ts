// What the OpenFlow agent needs of the switch behind it: message values in, message values out.
// The datapath worker implements it (through its handle); MemorySwitch in tests does too.
//
// Contract: calls are carried out in the order in which they are made, whatever connection made them. When the
// promise of `change` resolves, every packet that arrives from then on is judged by the changes; when a read
// resolves, it saw all changes made before it. A refused change is a result; a read that asks for the impossible
// rejects with a PlinthError whose code is the OpenFlow error's name. Any other rejection means that the switch
// itself is gone, and ends the connection. Thread: main.

import type {
  AggregateStats,
  Dialect,
  FlowMod,
  FlowRemoved,
  FlowStats,
  FlowStatsFilter,
  GroupDescription,
  GroupFeatures,
  GroupMod,
  GroupStats,
  MeterConfig,
  MeterFeatures,
  MeterMod,
  MeterStats,
  OfpErrorName,
  PacketIn,
  PacketOut,
  PacketQueue,
  PortDescription,
  PortMod,
  PortStats,
  PortStatus,
  QueueStats,
  Resume,
  SwitchDescription,
  TableFeatures,
  TableStats,
  Unsent,
} from "../../base/openflow/index.js";
import type { ConnectionFilter } from "../conntrack/index.js";
import type { FlowChange } from "../flow/index.js";

/** A message that changes the switch, or sends a packet through it in order with the changes. */
export type SwitchChange = FlowMod | GroupMod | MeterMod | PortMod | PacketOut | Resume;

/** A flow-mod as it came: the switch reads it where it carries it out, and refuses one that cannot be read. */
export interface EncodedFlowMod {
  readonly type: "encoded_flow_mod";
  readonly xid: number;
  readonly dialect: Dialect;
  /** Of one whole message of this type. */
  readonly bytes: Uint8Array;
}

/** Refused, with the error to answer. Nothing of the change was applied. */
export interface ChangeRefusal {
  readonly error: OfpErrorName;
  /** For logs. */
  readonly message: string;
  /** The message itself is wrong, whatever the switch holds. */
  readonly isMalformed?: boolean;
}

/** A list of changes was refused because of this one. Nothing of the list was applied. */
export interface AtomicRefusal extends ChangeRefusal {
  /** Position of the change in the list. */
  readonly index: number;
}

/** What the agent passes on to the controllers that want it. */
export type SwitchEvent =
  /** `data` is the whole frame; the agent's connections decide what they send of it. */
  | (Unsent<PacketIn> & {
      /** As the output action asked, or OFPCML_NO_BUFFER. */
      readonly maxLength: number;
      /** Of the `controller` action, 0 otherwise: for the connections that have this id. */
      readonly controllerId: number;
      /** Why the reason is no_match: no flow matched, which only OpenFlow 1.0 is told of, or the table-miss flow did. */
      readonly miss?: "table" | "flow";
    })
  | Unsent<FlowRemoved>
  | Unsent<PortStatus>
  | FlowChangeEvent;

/** Told of every change of a flow while watchFlows(true) holds; before the change's own promise resolves. */
export type FlowChangeEvent = FlowChange & {
  /** As change() was told; 0 = nobody asked for it. */
  readonly origin: number;
  /** Of the message that caused it. */
  readonly xid: number;
};

export interface SwitchModel {
  readonly datapathId: bigint;
  readonly description: SwitchDescription;
  /** Does not say that it can put fragments together, as scripts that were written for Open vSwitch expect. */
  readonly hidesReassembly?: boolean;

  /** Applies all, in order; `origin` is named in flow-change events. Result n belongs to change n and is undefined when it is in force. */
  change(
    changes: readonly (SwitchChange | EncodedFlowMod)[],
    origin?: number,
  ): Promise<readonly (ChangeRefusal | undefined)[]>;
  /**
   * Applies all, in order, or nothing: undefined when all are in force. No packet that arrives at a port is judged
   * by a part of them.
   */
  changeAtomically(changes: readonly SwitchChange[], origin?: number): Promise<AtomicRefusal | undefined>;
  /** Whether every change of a flow becomes an event. */
  watchFlows(isWatched: boolean): Promise<void>;
  /** Whether packets that no flow matches become packet-ins, as OpenFlow 1.0 wants it; from 1.3 on they are dropped. */
  tellMisses(isWanted: boolean): Promise<void>;
  /** Carries out the body of a NXT_TLV_TABLE_MOD; resolves to the error that it deserves, if any. */
  changeTunnelOptions(mod: Uint8Array): Promise<OfpErrorName | undefined>;
  /** The body of a NXT_TLV_TABLE_REPLY. */
  tunnelOptions(): Promise<Uint8Array>;
  /** Resolves when everything asked before is in force (and packet-outs have left). */
  barrier(): Promise<void>;
  /** How IP fragments are handled, for all connections: one of OFPC_FRAG_*, as last asked for. */
  readonly fragmentHandling: number;
  handleFragments(flags: number): Promise<void>;

  /** Forgets the tracked connections that fit, of all bridges. */
  flushConnections(filter: ConnectionFilter): Promise<void>;

  flowStats(filter: FlowStatsFilter): Promise<readonly FlowStats[]>;
  aggregateStats(filter: FlowStatsFilter): Promise<AggregateStats>;
  tableStats(): Promise<readonly TableStats[]>;
  /** All ports, in order of number; OFPP_LOCAL last. */
  ports(): Promise<readonly PortDescription[]>;
  portStats(): Promise<readonly PortStats[]>;
  groupStats(): Promise<readonly GroupStats[]>;
  groupDescriptions(): Promise<readonly GroupDescription[]>;
  meterStats(): Promise<readonly MeterStats[]>;
  meterConfigs(): Promise<readonly MeterConfig[]>;
  queueStats(): Promise<readonly QueueStats[]>;
  /** Of every port, with what they promise. */
  queues(): Promise<readonly PacketQueue[]>;

  /** What the switch can do; constant. */
  readonly groupFeatures: GroupFeatures;
  readonly meterFeatures: MeterFeatures;
  /** Of each table the most it can be, by number. */
  readonly tablesAtMost: readonly TableFeatures[];
  /** The tables that there are, as last configured. */
  readonly tableFeatures: readonly TableFeatures[];
  /**
   * Makes the tables these, which are as planTables() says. Flows of tables that go or change, but for their name, are
   * removed without a flow-removed message.
   */
  configureTables(tables: readonly TableFeatures[]): Promise<void>;

  /** Calls `listener` for every event from now on; returns how to stop. */
  onEvent(listener: (event: SwitchEvent) => void): () => void;
}
