// What happened to one flow: told to whoever watches the tables. Plain data: it is posted between threads.
import type { FlowRemovedReason, Instruction, Match } from "../../base/openflow/index.js";
import type { Flow } from "./flow.js";

export interface FlowChange {
  readonly type: "flow_change";
  /** A flow that replaces another of the same match and priority is "added". */
  readonly event: "added" | "deleted" | "modified";
  /** Only with "deleted". */
  readonly reason?: FlowRemovedReason;
  readonly tableId: number;
  readonly priority: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly cookie: bigint;
  /** OFPFF_* bits. */
  readonly flags: number;
  readonly match: Match;
  readonly instructions: readonly Instruction[];
  /** What the flow that was modified or replaced did before. */
  readonly before?: readonly Instruction[];
}

/** What flowChange() takes, and the flow-mod that brought about this and nothing else, if it is known as bytes. */
export type OnFlowChange = (
  event: FlowChange["event"],
  flow: Flow,
  details: Pick<FlowChange, "reason" | "before">,
  encoded: Uint8Array | undefined,
) => void;

export function flowChange(
  event: FlowChange["event"],
  flow: Flow,
  details: Pick<FlowChange, "reason" | "before"> = {},
): FlowChange {
  return {
    type: "flow_change",
    event,
    tableId: flow.tableId,
    priority: flow.priority,
    idleTimeoutSeconds: flow.idleTimeoutSeconds,
    hardTimeoutSeconds: flow.hardTimeoutSeconds,
    cookie: flow.cookie,
    flags: flow.flags,
    match: flow.match,
    instructions: flow.instructions,
    ...details,
  };
}
