// Values of the messages that experimenters added: the ONF's bundles, and what Nicira gave to peers of every version.
// Source: ONF extension 230; ovs-ofctl(8) and ovs-fields(7) for the meaning of Nicira's. On the wire each is an
// experimenter (1.0: vendor) message; see extension-wire.ts.

import type { Continuation } from "./continuation.js";
import type { PacketIn } from "./messages.js";

interface Base<T extends string> {
  readonly type: T;
  readonly xid: number;
}

export type BundleControlType =
  | "open_request"
  | "open_reply"
  | "close_request"
  | "close_reply"
  | "commit_request"
  | "commit_reply"
  | "discard_request"
  | "discard_reply";

export interface BundleControl extends Base<"bundle_control"> {
  readonly bundleId: number;
  readonly control: BundleControlType;
  /** OFPBF_* bits; the same in all messages of a bundle. */
  readonly flags: number;
}

export interface BundleAdd extends Base<"bundle_add"> {
  readonly bundleId: number;
  readonly flags: number;
  /** One whole message with its header, whose xid is that of this message. */
  readonly message: Uint8Array;
}

/** Roles for peers whose version has none; there are no elections. */
export interface NiciraRole extends Base<"nicira_role_request" | "nicira_role_reply"> {
  readonly role: "equal" | "master" | "slave";
}

/** How flow-removed messages are to be written to this connection. */
export interface SetFlowFormat extends Base<"set_flow_format"> {
  readonly format: "openflow10" | "nxm";
}

/** Whether the upper byte of a flow-mod's command is a table from now on (OpenFlow 1.0 only). */
export interface FlowModTableId extends Base<"flow_mod_table_id"> {
  readonly isEnabled: boolean;
}

export type PacketInFormat = "standard" | "nxm" | "nxm2";

export interface SetPacketInFormat extends Base<"set_packet_in_format"> {
  readonly format: PacketInFormat;
}

/** Packet-ins of `controller` actions go to the connections with the action's id; 0 is what all begin with. */
export interface SetControllerId extends Base<"set_controller_id"> {
  readonly controllerId: number;
}

/** Changes parts of the asynchronous configuration. */
export interface SetAsyncProperties extends Base<"set_async_properties"> {
  readonly changes: readonly {
    readonly message: "packetIn" | "portStatus" | "flowRemoved";
    readonly asSlave: boolean;
    /** Bit n = the message with reason n is wanted. */
    readonly mask: number;
  }[];
}

/** Asks nothing any more: time-outs of flows are always up to date. */
export interface FlowAge extends Base<"flow_age"> {}

/** Asks for a packet to go on whose processing was paused. Packet and pipeline fields may have been changed. */
export interface Resume
  extends Base<"resume">,
    Pick<PacketIn, "data" | "tableId" | "cookie" | "reason" | "match"> {
  /** As it came with the packet-in. */
  readonly continuation: Continuation;
}

/** Ends a flow monitor (OpenFlow 1.0). */
export interface FlowMonitorCancel extends Base<"flow_monitor_cancel"> {
  readonly monitorId: number;
}

/** The controller reads too slowly: flows that change are not told of until "resumed" (OpenFlow 1.0). */
export interface FlowMonitorPause extends Base<"flow_monitor_paused" | "flow_monitor_resumed"> {}

export type ExtensionMessage =
  | BundleControl
  | BundleAdd
  | NiciraRole
  | SetFlowFormat
  | FlowModTableId
  | SetPacketInFormat
  | SetControllerId
  | SetAsyncProperties
  | FlowAge
  | Resume
  | FlowMonitorCancel
  | FlowMonitorPause;
