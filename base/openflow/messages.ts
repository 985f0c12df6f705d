// Values of every OpenFlow 1.3 message except multipart bodies, as a union tagged by `type`.
// Source: OpenFlow Switch Specification 1.3.5, 7.3 and 7.4. 64-bit numbers are bigint; port, group, queue, meter
// numbers and buffer ids are unsigned 32-bit numbers. A value says what is on the wire, no more: lengths and padding
// are the codec's business.

import type {
  Action,
  Bucket,
  GroupSelection,
  GroupType,
  Instruction,
  Match,
  MeterBand,
  PacketInReason,
} from "./actions.js";
import type { Continuation } from "./continuation.js";
import type { ExtensionMessage } from "./extension-messages.js";
import type { MultipartReplyBody, MultipartRequestBody } from "./multipart.js";

interface Base<T extends string> {
  readonly type: T;
  /** Chosen by the requester, repeated in the reply. */
  readonly xid: number;
}

// --- Symmetric

export interface Hello extends Base<"hello"> {
  /** The version in the header: the highest the sender speaks. */
  readonly version: number;
  /** Versions of the bitmap element, ascending; absent when the element is. */
  readonly versions?: readonly number[];
}
export interface ErrorMessage extends Base<"error"> {
  readonly errorType: number;
  readonly code: number;
  /** At least 64 bytes of the failed request, or for HELLO_FAILED an ASCII text. */
  readonly data: Uint8Array;
}
/** An error whose errorType is OFPET_EXPERIMENTER. */
export interface ExperimenterError extends Base<"experimenter_error"> {
  readonly expType: number;
  readonly experimenter: number;
  readonly data: Uint8Array;
}
export interface Echo extends Base<"echo_request" | "echo_reply"> {
  readonly data: Uint8Array;
}
export interface Experimenter extends Base<"experimenter"> {
  readonly experimenter: number;
  readonly expType: number;
  readonly data: Uint8Array;
}

// --- Controller to switch

export interface FeaturesRequest extends Base<"features_request"> {}
export interface FeaturesReply extends Base<"features_reply"> {
  readonly datapathId: bigint;
  readonly bufferCount: number;
  readonly tableCount: number;
  readonly auxiliaryId: number;
  readonly capabilities: number;
  /** What only OpenFlow 1.0 to 1.2 say here; in 1.0 `actions` has a bit for each of its action types. */
  readonly openflow10?: { readonly actions: number; readonly ports: readonly PortDescription[] };
}
export interface GetConfigRequest extends Base<"get_config_request"> {}
export interface SwitchConfig extends Base<"get_config_reply" | "set_config"> {
  readonly flags: number;
  readonly missSendLength: number;
}
export interface TableMod extends Base<"table_mod"> {
  readonly tableId: number;
  readonly config: number;
}

export type FlowModCommand = "add" | "modify" | "modify_strict" | "delete" | "delete_strict";

export interface FlowMod extends Base<"flow_mod"> {
  readonly command: FlowModCommand;
  /** OFPTT_ALL only with the delete commands. */
  readonly tableId: number;
  readonly cookie: bigint;
  /** Restricts modify and delete to flows whose cookie agrees in these bits; ignored by add. */
  readonly cookieMask: bigint;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly priority: number;
  /** OFP_NO_BUFFER unless a buffered packet is to follow the change. */
  readonly bufferId: number;
  /** Restrict the delete commands; OFPP_ANY and OFPG_ANY do not. */
  readonly outPort: number;
  readonly outGroup: number;
  /** OFPFF_* bits. */
  readonly flags: number;
  /** OpenFlow 1.4 and up: what goes first when the table is full; absent = 0. */
  readonly importance?: number;
  readonly match: Match;
  /** In the order of the wire; none means drop. */
  readonly instructions: readonly Instruction[];
  /**
   * Asked for in OpenFlow 1.0: a modify adds the flow when there is none to modify (to table 0 when no table is
   * named), and an action that sets a field which a packet lacks does nothing.
   */
  readonly openflow10?: true;
}
export type GroupModCommand = "add" | "modify" | "delete" | "add_or_mod";
export interface GroupMod extends Base<"group_mod"> {
  readonly command: GroupModCommand;
  readonly groupType: GroupType;
  readonly groupId: number;
  readonly buckets: readonly Bucket[];
  /** OpenFlow 1.5 only: instead of the command, and the bucket that it is about. */
  readonly bucketCommand?: "insert_bucket" | "remove_bucket";
  readonly commandBucketId?: number;
  readonly selection?: GroupSelection;
}
export interface PortMod extends Base<"port_mod"> {
  readonly port: number;
  readonly macAddress: Uint8Array;
  readonly config: number;
  readonly mask: number;
  readonly advertise: number;
}
export type MeterModCommand = "add" | "modify" | "delete";
export interface MeterMod extends Base<"meter_mod"> {
  readonly command: MeterModCommand;
  /** OFPMF_* bits. */
  readonly flags: number;
  readonly meterId: number;
  readonly bands: readonly MeterBand[];
}
export interface PacketOut extends Base<"packet_out"> {
  readonly bufferId: number;
  /** OFPP_CONTROLLER when the packet came from no port. */
  readonly inPort: number;
  readonly actions: readonly Action[];
  /** The frame; empty when bufferId names one. */
  readonly data: Uint8Array;
}
export interface BarrierRequest extends Base<"barrier_request"> {}
export interface BarrierReply extends Base<"barrier_reply"> {}
export interface MultipartRequest extends Base<"multipart_request"> {
  readonly flags: number;
  readonly body: MultipartRequestBody;
}
export interface MultipartReply extends Base<"multipart_reply"> {
  readonly flags: number;
  readonly body: MultipartReplyBody;
}
export interface QueueGetConfigRequest extends Base<"queue_get_config_request"> {
  readonly port: number;
}
export type QueueProperty =
  | { readonly type: "min_rate" | "max_rate" /** In 1/10 of a percent. */; readonly rate: number }
  | { readonly type: "experimenter"; readonly experimenter: number; readonly data: Uint8Array };
export interface PacketQueue {
  readonly queueId: number;
  readonly port: number;
  readonly properties: readonly QueueProperty[];
}
export interface QueueGetConfigReply extends Base<"queue_get_config_reply"> {
  readonly port: number;
  readonly queues: readonly PacketQueue[];
}
export type ControllerRole = "nochange" | "equal" | "master" | "slave";
export interface Role extends Base<"role_request" | "role_reply"> {
  readonly role: ControllerRole;
  readonly generationId: bigint;
}
/** Bit n = the message with reason n is wanted; [0] as master or equal, [1] as slave. */
export type AsyncMask = readonly [number, number];
export interface GetAsyncRequest extends Base<"get_async_request"> {}
export interface AsyncConfig extends Base<"get_async_reply" | "set_async"> {
  readonly packetIn: AsyncMask;
  readonly portStatus: AsyncMask;
  readonly flowRemoved: AsyncMask;
}

// --- Switch to controller, unasked

export interface PacketIn extends Base<"packet_in"> {
  readonly bufferId: number;
  /** Length of the whole frame, of which `data` may be only the beginning. */
  readonly totalLength: number;
  readonly reason: PacketInReason;
  readonly tableId: number;
  /** Of the flow that sent it; all ones when there is none. */
  readonly cookie: bigint;
  /** Pipeline fields: in_port always; metadata, tunnel_id, registers, ct fields when not zero. */
  readonly match: Match;
  readonly data: Uint8Array;
  /** Nicira's format of properties only: what the flow's controller action attached. */
  readonly userdata?: Uint8Array;
  /** The same only: the packet waits with the controller, and this is how it goes on. */
  readonly continuation?: Continuation;
  /** One of Nicira's formats; absent = the version's own. */
  readonly encoding?: "nxm" | "nxm2";
}
export type FlowRemovedReason = "idle_timeout" | "hard_timeout" | "delete" | "group_delete";
export interface FlowRemoved extends Base<"flow_removed"> {
  readonly cookie: bigint;
  readonly priority: number;
  readonly reason: FlowRemovedReason;
  readonly tableId: number;
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly packetCount: bigint;
  readonly byteCount: bigint;
  readonly match: Match;
  /** Nicira's format; absent = the version's own. */
  readonly encoding?: "nxm";
}
export interface PortDescription {
  readonly port: number;
  readonly macAddress: Uint8Array;
  /** At most 15 bytes of ASCII on the wire. */
  readonly name: string;
  /** OFPPC_* and OFPPS_* bits. */
  readonly config: number;
  readonly state: number;
  /** OFPPF_* bits. */
  readonly current: number;
  readonly advertised: number;
  readonly supported: number;
  readonly peer: number;
  readonly currentSpeedKbps: number;
  readonly maxSpeedKbps: number;
}
export type PortStatusReason = "add" | "delete" | "modify";
export interface PortStatus extends Base<"port_status"> {
  readonly reason: PortStatusReason;
  readonly description: PortDescription;
}

export type OpenFlowMessage =
  | Hello
  | ErrorMessage
  | ExperimenterError
  | Echo
  | Experimenter
  | ExtensionMessage
  | FeaturesRequest
  | FeaturesReply
  | GetConfigRequest
  | SwitchConfig
  | TableMod
  | FlowMod
  | GroupMod
  | PortMod
  | MeterMod
  | PacketOut
  | BarrierRequest
  | BarrierReply
  | MultipartRequest
  | MultipartReply
  | QueueGetConfigRequest
  | QueueGetConfigReply
  | Role
  | GetAsyncRequest
  | AsyncConfig
  | PacketIn
  | FlowRemoved
  | PortStatus;

/** A message without its xid, for senders that number messages themselves. */
export type Unsent<T extends OpenFlowMessage = OpenFlowMessage> = T extends OpenFlowMessage
  ? Omit<T, "xid">
  : never;
