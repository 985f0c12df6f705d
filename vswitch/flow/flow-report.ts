// What is reported of a flow: its statistics, and the message when it goes. Thread: datapath worker.
import type {
  AggregateStats,
  FlowRemoved,
  FlowRemovedReason,
  FlowStats,
  FlowStatsFilter,
  Unsent,
} from "../../base/openflow/index.js";
import { OFPFF_NO_BYT_COUNTS, OFPFF_NO_PKT_COUNTS } from "../../base/openflow/index.js";
import { compileMatch } from "./fields.js";
import type { Flow, FlowCounters } from "./flow.js";
import { isSentTo } from "./references.js";
import type { TableSet } from "./table-set.js";
import type { TunnelOptions } from "./tunnel-options.js";

/** What a counter says that is not kept (5.8). */
const NOT_KEPT = 0xffffffffffffffffn;

/** Packets and bytes that count for sums; 0 where the flow asked not to be counted. */
export function packetsOf(flow: Flow, counters: FlowCounters): number {
  return (flow.flags & OFPFF_NO_PKT_COUNTS) === 0 ? counters.packets[flow.slot]! : 0;
}
export function bytesOf(flow: Flow, counters: FlowCounters): number {
  return (flow.flags & OFPFF_NO_BYT_COUNTS) === 0 ? counters.bytes[flow.slot]! : 0;
}

/**
 * The flow's counters for the wire. To leave out the counting itself would cost each packet of every other flow a
 * decision; what was asked not to be kept is not told instead, and does not come back.
 */
function counts(
  flow: Flow,
  counters: FlowCounters,
): { readonly packetCount: bigint; readonly byteCount: bigint } {
  const { flags } = flow;
  return {
    packetCount: (flags & OFPFF_NO_PKT_COUNTS) === 0 ? BigInt(packetsOf(flow, counters)) : NOT_KEPT,
    byteCount: (flags & OFPFF_NO_BYT_COUNTS) === 0 ? BigInt(bytesOf(flow, counters)) : NOT_KEPT,
  };
}

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
    ...counts(flow, counters),
    match: flow.match,
  };
}

/** 7.3.5.3. */
export function aggregateOf(flows: readonly Flow[], counters: FlowCounters): AggregateStats {
  let packets = 0;
  let bytes = 0;
  for (const flow of flows) {
    packets += packetsOf(flow, counters);
    bytes += bytesOf(flow, counters);
  }
  return { packetCount: BigInt(packets), byteCount: BigInt(bytes), flowCount: flows.length };
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
    ...counts(flow, counters),
    match: flow.match,
    instructions: flow.instructions,
    idleAgeSeconds: Math.floor(Math.max(0, nowMs - counters.lastUsedMs[flow.slot]!) / 1000),
    hardAgeSeconds: Math.floor(Math.max(0, nowMs - flow.renewedMs) / 1000),
  };
}

function duration(ms: number): { readonly durationSeconds: number; readonly durationNanoseconds: number } {
  const seconds = Math.floor(ms / 1000);
  return { durationSeconds: seconds, durationNanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
}

/** The flows that a request for statistics asks about, by table, and in it by priority, the highest first. */
export function flowsMeant(filter: FlowStatsFilter, tables: TableSet, options: TunnelOptions): Flow[] {
  const key = compileMatch(filter.match, options);
  const found: Flow[] = [];
  for (const table of tables.meant(filter.tableId)) {
    for (const flow of table.covered(key)) {
      if (
        (flow.cookie & filter.cookieMask) === (filter.cookie & filter.cookieMask) &&
        isSentTo(flow.instructions, filter.outPort, filter.outGroup)
      )
        found.push(flow);
    }
  }
  return found.sort((a, b) => a.tableId - b.tableId || b.priority - a.priority);
}
