// Values of flow monitors: which changes to the flow tables a controller wants to hear of, and what it is told.
// Source: ONF extension 187 (OpenFlow 1.3) and Nicira's of OpenFlow 1.0, which it grew from.

import type { Instruction, Match } from "./actions.js";
import type { FlowRemovedReason } from "./messages.js";

export interface FlowMonitorRequest {
  readonly monitorId: number;
  readonly flags: FlowMonitorFlags;
  /** OFPP_ANY does not restrict. */
  readonly outPort: number;
  /** OpenFlow 1.4 and up. */
  readonly outGroup?: number;
  /** OFPTT_ALL = every table. */
  readonly tableId: number;
  readonly match: Match;
}

export interface FlowMonitorFlags {
  /** The flows that there are when the monitor begins. */
  readonly initial: boolean;
  readonly add: boolean;
  readonly delete: boolean;
  readonly modify: boolean;
  /** With what the flows do. */
  readonly actions: boolean;
  /** Changes of the same connection in full too, not abbreviated. */
  readonly own: boolean;
}

export interface FlowUpdateFull {
  readonly event: "added" | "deleted" | "modified";
  /** Why it was deleted; absent with the other events. */
  readonly reason?: FlowRemovedReason;
  readonly tableId: number;
  readonly priority: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly cookie: bigint;
  readonly match: Match;
  /** None when they were not asked for. */
  readonly instructions: readonly Instruction[];
}

export type FlowUpdate =
  | FlowUpdateFull
  /** The receiver's own message with this xid changed something. */
  | { readonly event: "abbreviated"; readonly xid: number };
