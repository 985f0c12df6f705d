// Bodies of multipart requests and replies, tagged by `kind`.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5. An array body may be spread over several messages
// (flags OFPMPF_*_MORE); each message carries whole elements.

import type { Bucket, GroupSelection, GroupType, Instruction, Match, MeterBand } from "./actions.js";
import { OFPG_ANY, OFPP_ANY, OFPTT_ALL } from "./constants.js";
import type { FlowMonitorRequest, FlowUpdate } from "./flow-monitor.js";
import type { PortDescription } from "./messages.js";
import type { OxmFieldName } from "./oxm-fields.js";

/** Which flows a flow or aggregate request asks for. */
export interface FlowStatsFilter {
  readonly tableId: number;
  readonly outPort: number;
  readonly outGroup: number;
  readonly cookie: bigint;
  readonly cookieMask: bigint;
  readonly match: Match;
}

/** All flows of all tables. */
export const ALL_FLOWS: FlowStatsFilter = {
  tableId: OFPTT_ALL,
  outPort: OFPP_ANY,
  outGroup: OFPG_ANY,
  cookie: 0n,
  cookieMask: 0n,
  match: [],
};

export interface SwitchDescription {
  readonly manufacturer: string;
  readonly hardware: string;
  readonly software: string;
  readonly serialNumber: string;
  readonly datapath: string;
}

export interface FlowStats {
  readonly tableId: number;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  readonly priority: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly flags: number;
  readonly cookie: bigint;
  readonly packetCount: bigint;
  readonly byteCount: bigint;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
  /** OpenFlow 1.4 and up; absent = 0. */
  readonly importance?: number;
  /** OpenFlow 1.5 and Nicira's statistics of 1.0, where the switch tells it. */
  readonly idleAgeSeconds?: number;
  /** Since the flow was last changed; Nicira's alone. */
  readonly hardAgeSeconds?: number;
}

export interface AggregateStats {
  readonly packetCount: bigint;
  readonly byteCount: bigint;
  readonly flowCount: number;
}

export interface TableStats {
  readonly tableId: number;
  readonly activeCount: number;
  readonly lookupCount: bigint;
  readonly matchedCount: bigint;
  /** What only OpenFlow 1.0 says here. */
  readonly openflow10?: {
    readonly name: string;
    readonly maxEntries: number;
    /** OFPFW_* bits of the fields that a match may leave out; absent = all of them. */
    readonly wildcards?: number;
  };
}

export interface PortStats {
  readonly port: number;
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxDropped: bigint;
  readonly txDropped: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
  readonly rxFrameErrors: bigint;
  readonly rxOverErrors: bigint;
  readonly rxCrcErrors: bigint;
  readonly collisions: bigint;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  /** What a switch of OpenFlow 1.4 and up counts beside these, under names of its own. */
  readonly custom?: readonly { readonly name: string; readonly value: bigint }[];
  /** Counters of RFC 2819, in the order of Intel's property of a port; all ones = not counted. */
  readonly rfc2819?: readonly bigint[];
}

export interface QueueStats {
  readonly port: number;
  readonly queueId: number;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
}

export interface BucketCounter {
  readonly packetCount: bigint;
  readonly byteCount: bigint;
}

export interface GroupStats {
  readonly groupId: number;
  /** Flows and groups that refer to it. */
  readonly referenceCount: number;
  readonly packetCount: bigint;
  readonly byteCount: bigint;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  readonly buckets: readonly BucketCounter[];
}

export interface GroupDescription {
  readonly groupType: GroupType;
  readonly groupId: number;
  readonly buckets: readonly Bucket[];
  /** OpenFlow 1.5 only. */
  readonly selection?: GroupSelection;
}

/** Four numbers, for group types all, select, indirect and ff in that order. */
export type PerGroupType = readonly [number, number, number, number];

export interface GroupFeatures {
  /** Bit n = group type n is there. */
  readonly types: number;
  /** OFPGFC_* bits. */
  readonly capabilities: number;
  readonly maxGroups: PerGroupType;
  /** Bit n = action type n (OFPAT_*) is supported in the buckets. */
  readonly actions: PerGroupType;
}

export interface MeterStats {
  readonly meterId: number;
  readonly flowCount: number;
  readonly packetInCount: bigint;
  readonly byteInCount: bigint;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  readonly bands: readonly BucketCounter[];
}

export interface MeterConfig {
  readonly flags: number;
  readonly meterId: number;
  readonly bands: readonly MeterBand[];
}

export interface MeterFeatures {
  /** 0 = the switch has no meters. */
  readonly maxMeters: number;
  readonly bandTypes: number;
  readonly capabilities: number;
  readonly maxBands: number;
  readonly maxColor: number;
}

/** An instruction or action that a table supports: its type, and for experimenters its id and data. */
export interface SupportedType {
  readonly type: number;
  readonly experimenter?: number;
  readonly data?: Uint8Array;
}

/** A field that a table supports; `maskable` = arbitrary masks, and only true in `match` (Open vSwitch insists). */
export interface SupportedField {
  readonly field: OxmFieldName;
  readonly maskable: boolean;
}

/** One property; those that describe table-miss flows have `miss` true. */
export type TableFeatureProperty =
  | { readonly type: "instructions"; readonly miss: boolean; readonly instructions: readonly SupportedType[] }
  | { readonly type: "next_tables"; readonly miss: boolean; readonly tables: readonly number[] }
  | {
      readonly type: "write_actions" | "apply_actions";
      readonly miss: boolean;
      readonly actions: readonly SupportedType[];
    }
  | { readonly type: "match" | "wildcards"; readonly miss: false; readonly fields: readonly SupportedField[] }
  | {
      readonly type: "write_setfield" | "apply_setfield";
      readonly miss: boolean;
      readonly fields: readonly SupportedField[];
    }
  | {
      readonly type: "experimenter";
      readonly miss: boolean;
      readonly experimenter: number;
      readonly expType: number;
      readonly data: Uint8Array;
    };

export interface TableFeatures {
  readonly tableId: number;
  readonly name: string;
  readonly metadataMatch: bigint;
  readonly metadataWrite: bigint;
  readonly config: number;
  readonly maxEntries: number;
  readonly properties: readonly TableFeatureProperty[];
}

export interface MultipartExperimenter {
  readonly kind: "experimenter";
  readonly experimenter: number;
  readonly expType: number;
  readonly data: Uint8Array;
}

/** OpenFlow 1.0 with NXM matches instead of its own; the reply is written as the request was. */
interface NiciraEncoding {
  readonly encoding?: "nxm";
}

export type MultipartRequestBody =
  | { readonly kind: "desc" | "table" | "group_features" | "meter_features" | "port_desc" }
  /** Absent but in OpenFlow 1.0 and 1.5 = OFPG_ALL. */
  | { readonly kind: "group_desc"; readonly groupId?: number }
  | ({ readonly kind: "flow" | "aggregate" } & FlowStatsFilter & NiciraEncoding)
  | { readonly kind: "port_stats"; readonly port: number }
  | { readonly kind: "queue"; readonly port: number; readonly queueId: number }
  | { readonly kind: "group"; readonly groupId: number }
  | { readonly kind: "meter" | "meter_config"; readonly meterId: number }
  /** Empty = asks; otherwise the tables are to be reconfigured to exactly these. */
  | { readonly kind: "table_features"; readonly tables: readonly TableFeatures[] }
  | { readonly kind: "flow_monitor"; readonly monitors: readonly FlowMonitorRequest[] }
  | MultipartExperimenter;

export type MultipartReplyBody =
  | ({ readonly kind: "desc" } & SwitchDescription)
  | ({ readonly kind: "flow"; readonly flows: readonly FlowStats[] } & NiciraEncoding)
  | ({ readonly kind: "aggregate" } & AggregateStats & NiciraEncoding)
  | { readonly kind: "table"; readonly tables: readonly TableStats[] }
  | { readonly kind: "port_stats"; readonly ports: readonly PortStats[] }
  | { readonly kind: "queue"; readonly queues: readonly QueueStats[] }
  | { readonly kind: "group"; readonly groups: readonly GroupStats[] }
  | { readonly kind: "group_desc"; readonly groups: readonly GroupDescription[] }
  | ({ readonly kind: "group_features" } & GroupFeatures)
  | { readonly kind: "meter"; readonly meters: readonly MeterStats[] }
  | { readonly kind: "meter_config"; readonly meters: readonly MeterConfig[] }
  | ({ readonly kind: "meter_features" } & MeterFeatures)
  | { readonly kind: "table_features"; readonly tables: readonly TableFeatures[] }
  | { readonly kind: "port_desc"; readonly ports: readonly PortDescription[] }
  /** With the request's xid, or unasked with xid 0. */
  | { readonly kind: "flow_monitor"; readonly updates: readonly FlowUpdate[] }
  | MultipartExperimenter;
