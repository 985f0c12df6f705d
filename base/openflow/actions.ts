// Match, action, instruction, bucket and band values: what flow-mods, group-mods and meter-mods are made of.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.3–7.2.5; Nicira actions as documented in ovs-actions(7).
// All values are plain, immutable data: they may be shared, compared structurally and posted between threads.

import type { NiciraAction } from "./nicira-actions.js";
import type { OxmFieldName } from "./oxm-fields.js";

export type * from "./nicira-actions.js";

/** One field of a match. `value` and `mask` have the field's size, big-endian; value bits outside the mask are 0. */
export interface OxmEntry {
  readonly field: OxmFieldName;
  readonly value: Uint8Array;
  /** Absent = every bit counts. Never present on a field that is not maskable. */
  readonly mask?: Uint8Array;
}

/** A conjunction of fields, each at most once, prerequisites before the fields that need them. Empty matches all. */
export type Match = readonly OxmEntry[];

/** A run of bits inside a field, bit 0 being the least significant. */
export interface BitRange {
  readonly field: OxmFieldName;
  readonly offset: number;
  readonly bits: number;
}

// --- OpenFlow actions (7.2.5)

export interface OutputAction {
  readonly type: "output";
  readonly port: number;
  /** Bytes to send to the controller; OFPCML_NO_BUFFER = the whole packet. Means nothing with other ports. */
  readonly maxLength: number;
}
export interface GroupAction {
  readonly type: "group";
  readonly groupId: number;
}
export interface SetQueueAction {
  readonly type: "set_queue";
  readonly queueId: number;
}
export type SetFieldForm = "set_tunnel" | "set_tunnel64" | "write_metadata";
export interface SetFieldAction {
  readonly type: "set_field";
  readonly field: OxmFieldName;
  /** Bits outside the mask are 0. */
  readonly value: Uint8Array;
  /** Only these bits are set; absent = all. Before OpenFlow 1.5 there are no masks here: it is NXAST_REG_LOAD2 then. */
  readonly mask?: Uint8Array;
  /** By an action of its own, of tunnel_id or metadata (NXAST_SET_TUNNEL, NXAST_WRITE_METADATA …); means the same. */
  readonly form?: SetFieldForm;
}
export interface PushAction {
  readonly type: "push_vlan" | "push_mpls" | "push_pbb";
  readonly etherType: number;
}
export interface PopMplsAction {
  readonly type: "pop_mpls";
  readonly etherType: number;
}
export interface PlainAction {
  readonly type: "pop_vlan" | "pop_pbb" | "copy_ttl_out" | "copy_ttl_in" | "dec_mpls_ttl" | "dec_nw_ttl";
}
export interface SetTtlAction {
  readonly type: "set_mpls_ttl" | "set_nw_ttl";
  readonly ttl: number;
}

/** Of OpenFlow 1.5, where 1.3 has an instruction. */
export interface MeterAction {
  readonly type: "meter";
  readonly meterId: number;
}

/** An experimenter action of which nothing is known but its bytes after the experimenter id. */
export interface ExperimenterAction {
  readonly type: "experimenter";
  readonly experimenter: number;
  readonly data: Uint8Array;
}

export type Action =
  | OutputAction
  | GroupAction
  | SetQueueAction
  | SetFieldAction
  | PushAction
  | PopMplsAction
  | PlainAction
  | SetTtlAction
  | MeterAction
  | NiciraAction
  | ExperimenterAction;

/** Those after invalid_ttl are of 1.4; what a switch tells of them before that, {@link reasonCode} says. */
export type PacketInReason = "no_match" | "action" | "invalid_ttl" | "action_set" | "group" | "packet_out";

// --- Instructions (7.2.4)

export interface GotoTableInstruction {
  readonly type: "goto_table";
  readonly tableId: number;
}
export interface WriteMetadataInstruction {
  readonly type: "write_metadata";
  readonly metadata: bigint;
  readonly mask: bigint;
}
export interface ActionsInstruction {
  readonly type: "write_actions" | "apply_actions";
  readonly actions: readonly Action[];
}
export interface ClearActionsInstruction {
  readonly type: "clear_actions";
}
export interface MeterInstruction {
  readonly type: "meter";
  readonly meterId: number;
}
export interface ExperimenterInstruction {
  readonly type: "experimenter";
  readonly experimenter: number;
  readonly data: Uint8Array;
}

export type Instruction =
  | GotoTableInstruction
  | WriteMetadataInstruction
  | ActionsInstruction
  | ClearActionsInstruction
  | MeterInstruction
  | ExperimenterInstruction;

// --- Groups (7.3.4.2) and meters (7.3.4.4)

export type GroupType = "all" | "select" | "indirect" | "ff";

export interface Bucket {
  /** Share in a select group; 0 elsewhere. */
  readonly weight: number;
  /** OFPP_ANY = not watched. */
  readonly watchPort: number;
  /** OFPG_ANY = not watched. */
  readonly watchGroup: number;
  readonly actions: readonly Action[];
  /** OpenFlow 1.5. */
  readonly bucketId?: number;
}

/** How a bucket of a select group is chosen, where a controller says it (OpenFlow 1.5). */
export interface GroupSelection {
  readonly method: string;
  readonly parameter: bigint;
  /** What is hashed: in each value the bits that count. */
  readonly fields: readonly OxmEntry[];
}

export interface DropBand {
  readonly type: "drop";
  readonly rate: number;
  readonly burstSize: number;
}
export interface DscpRemarkBand {
  readonly type: "dscp_remark";
  readonly rate: number;
  readonly burstSize: number;
  readonly precedenceLevel: number;
}
export interface ExperimenterBand {
  readonly type: "experimenter";
  readonly rate: number;
  readonly burstSize: number;
  readonly experimenter: number;
  readonly data: Uint8Array;
}
export type MeterBand = DropBand | DscpRemarkBand | ExperimenterBand;
