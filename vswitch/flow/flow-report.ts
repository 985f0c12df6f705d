// What is reported of a flow: its statistics, and the message when it goes. Thread: datapath worker.
import type { FlowRemoved, FlowRemovedReason, FlowStats, Unsent } from "../../base/openflow/index.js";
import type { Flow, FlowCounters } from "./flow.js";

/** 7.4.2. */
export function flowRemovedOf(
  flow: Flow,
  reason: FlowRemovedReason,
  counters: FlowCounters,
  nowMs: number,
): Unsent<FlowRemoved> {
  return {
    type: "flow_removed",
    cookie: flow.cookie,
    priority: flow.priority,
    reason,
    tableId: flow.tableId,
    ...duration(nowMs - flow.createdMs),
    idleTimeoutSeconds: flow.idleTimeoutSeconds,
    hardTimeoutSeconds: flow.hardTimeoutSeconds,
    packetCount: BigInt(counters.packets[flow.slot]!),
    byteCount: BigInt(counters.bytes[flow.slot]!),
    match: flow.match,
  };
}

/** 7.3.5.2. */
export function flowStatsOf(flow: Flow, counters: FlowCounters, nowMs: number): FlowStats {
  return {
    tableId: flow.tableId,
    ...duration(nowMs - flow.createdMs),
    priority: flow.priority,
    idleTimeoutSeconds: flow.idleTimeoutSeconds,
    hardTimeoutSeconds: flow.hardTimeoutSeconds,
    flags: flow.flags,
    cookie: flow.cookie,
    packetCount: BigInt(counters.packets[flow.slot]!),
    byteCount: BigInt(counters.bytes[flow.slot]!),
    match: flow.match,
    instructions: flow.instructions,
  };
}

function duration(ms: number): { readonly durationSeconds: number; readonly durationNanoseconds: number } {
  const seconds = Math.floor(ms / 1000);
  return { durationSeconds: seconds, durationNanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
}
