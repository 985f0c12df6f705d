// Statistics requests and replies of OpenFlow 1.0, and Nicira's flow statistics with NXM matches.
// Source: OpenFlow Switch Specification 1.0.0, 5.3.5; Nicira numbers as Open vSwitch documents them.

import { NX_EXPERIMENTER, OFPG_ALL, OFPG_ANY } from "../constants.js";
import { readDescription, writeDescription } from "../description-wire.js";
import {
  NXST_FLOW_MONITOR,
  readNiciraMonitor,
  readNiciraUpdate,
  writeNiciraMonitor,
  writeNiciraUpdate,
} from "../flow-monitor-wire.js";
import type { MultipartReply, MultipartRequest } from "../messages.js";
import type {
  FlowStats,
  FlowStatsFilter,
  MultipartReplyBody,
  MultipartRequestBody,
  QueueStats,
  TableStats,
} from "../multipart.js";
import { readNxmMatch, writeNxmMatch } from "../nxm-match-wire.js";
import { PORT_COUNTERS } from "../stats-wire.js";
import { nameOf, type Reader, type Writer } from "../wire.js";
import { actionsOf10, readActions10, writeActions10 } from "./actions-wire.js";
import { groupElements, groupKindOf, groupSubtype, readGroupReply } from "./group-stats-wire.js";
import { readMatch10, writeMatch10 } from "./match-wire.js";
import { narrowPort, OFPST10, widenPort } from "./numbers.js";
import { readPort10, writePort10 } from "./port-wire.js";
import { OFPFW_ALL } from "./wildcards.js";

export const NXST_FLOW = 0;
export const NXST_AGGREGATE = 1;
/** 1.0 does not say how old a port or a queue is. */
const UNKNOWN_TIME = 0xffffffff;
const TABLE_NAME_SIZE = 32;
const FLOW_STATS_SIZE = 88;
const NICIRA_FLOW_STATS_SIZE = 48;

function readKind(reader: Reader): { kind: keyof typeof OFPST10; flags: number } {
  const at = reader.offset;
  const code = reader.u16("stats.type");
  const flags = reader.u16("stats.flags");
  const kind = nameOf(OFPST10, code);
  if (kind === undefined) throw reader.fail("OFPBRC_BAD_MULTIPART", "stats.type", `unknown type ${code}`, at);
  return { kind, flags };
}

function readAll<T>(reader: Reader, read: (reader: Reader) => T): readonly T[] {
  const out: T[] = [];
  while (reader.left > 0) out.push(read(reader));
  return out;
}

// --- Requests

export function readMultipartRequest10(reader: Reader, xid: number): MultipartRequest {
  const { kind, flags } = readKind(reader);
  return { type: "multipart_request", xid, flags, body: readRequestBody(kind, reader) };
}

function readRequestBody(kind: keyof typeof OFPST10, reader: Reader): MultipartRequestBody {
  switch (kind) {
    case "flow":
    case "aggregate": {
      const match = readMatch10(reader);
      const tableId = reader.u8("flow_stats.table_id");
      reader.skip(1);
      return { kind, ...filterOf(tableId, widenPort(reader.u16("flow_stats.out_port"))), match };
    }
    case "port_stats": {
      const port = widenPort(reader.u16("port_stats.port_no"));
      reader.skip(6);
      return { kind, port };
    }
    case "queue": {
      const port = queuePort(reader);
      return { kind, port, queueId: reader.u32("queue.queue_id") };
    }
    case "experimenter":
      return readVendorRequest(reader);
    default:
      return { kind };
  }
}

/** "All ports" is OFPP_ALL in 1.0 and OFPP_ANY in 1.3. */
function queuePort(reader: Reader): number {
  const port = reader.u16("queue.port_no");
  reader.skip(2);
  return port === 0xfffc ? 0xffffffff : widenPort(port);
}

function filterOf(tableId: number, outPort: number): Omit<FlowStatsFilter, "match"> {
  return { tableId, outPort, outGroup: OFPG_ANY, cookie: 0n, cookieMask: 0n };
}

function readVendorRequest(reader: Reader): MultipartRequestBody {
  const experimenter = reader.u32("stats.vendor");
  if (experimenter !== NX_EXPERIMENTER)
    return { kind: "experimenter", experimenter, expType: 0, data: reader.rest() };
  const expType = reader.u32("stats.subtype");
  reader.skip(4);
  if (expType === NXST_FLOW_MONITOR)
    return { kind: "flow_monitor", monitors: readAll(reader, readNiciraMonitor) };
  const groups = groupKindOf(expType);
  if (groups === "group" || groups === "group_desc") {
    const groupId = reader.u32("group.group_id");
    reader.skip(4);
    return { kind: groups, groupId };
  }
  if (groups !== undefined) {
    reader.skip(reader.left);
    return { kind: groups };
  }
  if (expType !== NXST_FLOW && expType !== NXST_AGGREGATE)
    return { kind: "experimenter", experimenter, expType, data: reader.rest() };
  const outPort = widenPort(reader.u16("flow_stats.out_port"));
  const size = reader.u16("flow_stats.match_len");
  const tableId = reader.u8("flow_stats.table_id");
  reader.skip(3);
  const { match, cookie, cookieMask } = readNxmMatch(reader, size);
  const kind = expType === NXST_FLOW ? "flow" : "aggregate";
  return { kind, ...filterOf(tableId, outPort), cookie, cookieMask, match, encoding: "nxm" };
}

export function writeMultipartRequest10(writer: Writer, message: MultipartRequest): void {
  const { body, flags } = message;
  if ("encoding" in body && body.encoding === "nxm") {
    writeNiciraHeader(writer, body.kind === "flow" ? NXST_FLOW : NXST_AGGREGATE, flags);
    writer.u16(narrowPort(body.outPort));
    const lengthAt = writer.size;
    writer.u16(0).u8(body.tableId).zero(3);
    writer.setU16(lengthAt, writeNxmMatch(writer, body));
    return;
  }
  if (body.kind === "flow_monitor") {
    writeNiciraHeader(writer, NXST_FLOW_MONITOR, flags);
    for (const monitor of body.monitors) writeNiciraMonitor(writer, monitor);
    return;
  }
  const groups = groupSubtype(body.kind);
  if (groups !== undefined) {
    writeNiciraHeader(writer, groups, flags);
    if (body.kind === "group") writer.u32(body.groupId).zero(4);
    else if (body.kind === "group_desc") writer.u32(body.groupId ?? OFPG_ALL).zero(4);
    return;
  }
  writer.u16(typeCode(body.kind)).u16(flags);
  switch (body.kind) {
    case "flow":
    case "aggregate":
      writeMatch10(writer, body.match);
      writer.u8(body.tableId).zero(1).u16(narrowPort(body.outPort));
      return;
    case "port_stats":
      writer.u16(narrowPort(body.port)).zero(6);
      return;
    case "queue":
      writer
        .u16(body.port === 0xffffffff ? 0xfffc : narrowPort(body.port))
        .zero(2)
        .u32(body.queueId);
      return;
    case "experimenter":
      writeVendor(writer, body);
      return;
    default:
  }
}

function typeCode(kind: string): number {
  const code = (OFPST10 as Readonly<Record<string, number>>)[kind];
  if (code === undefined) throw new RangeError(`OpenFlow 1.0 has no statistics ${kind}`);
  return code;
}

function writeNiciraHeader(writer: Writer, subtype: number, flags: number): void {
  writer.u16(OFPST10.experimenter).u16(flags).u32(NX_EXPERIMENTER).u32(subtype).zero(4);
}

function writeVendor(writer: Writer, body: MultipartReplyBody & { kind: "experimenter" }): void {
  writer.u32(body.experimenter);
  if (body.experimenter === NX_EXPERIMENTER) writer.u32(body.expType).zero(4);
  writer.put(body.data);
}

// --- Replies

export function readMultipartReply10(reader: Reader, xid: number): MultipartReply {
  const { kind, flags } = readKind(reader);
  return { type: "multipart_reply", xid, flags, body: readReplyBody(kind, reader) };
}

function readReplyBody(kind: keyof typeof OFPST10, reader: Reader): MultipartReplyBody {
  switch (kind) {
    case "desc":
      return readDescription(reader);
    case "flow":
      return { kind, flows: readAll(reader, readFlow) };
    case "aggregate":
      return readAggregate(reader);
    case "table":
      return { kind, tables: readAll(reader, readTable) };
    case "port_stats":
      return { kind, ports: readAll(reader, readPortStats) };
    case "queue":
      return { kind, queues: readAll(reader, readQueue) };
    case "port_desc":
      return { kind, ports: readAll(reader, readPort10) };
    case "experimenter":
      return readVendorReply(reader);
  }
}

function readVendorReply(reader: Reader): MultipartReplyBody {
  const experimenter = reader.u32("stats.vendor");
  if (experimenter !== NX_EXPERIMENTER)
    return { kind: "experimenter", experimenter, expType: 0, data: reader.rest() };
  const expType = reader.u32("stats.subtype");
  reader.skip(4);
  if (expType === NXST_FLOW) return { kind: "flow", flows: readAll(reader, readNiciraFlow), encoding: "nxm" };
  if (expType === NXST_FLOW_MONITOR)
    return { kind: "flow_monitor", updates: readAll(reader, readNiciraUpdate) };
  if (expType === NXST_AGGREGATE) return { ...readAggregate(reader), encoding: "nxm" };
  const groups = groupKindOf(expType);
  if (groups !== undefined) return readGroupReply(groups, reader);
  return { kind: "experimenter", experimenter, expType, data: reader.rest() };
}

function readAggregate(reader: Reader): MultipartReplyBody & { kind: "aggregate" } {
  const packetCount = reader.u64("aggregate.packet_count");
  const byteCount = reader.u64("aggregate.byte_count");
  const flowCount = reader.u32("aggregate.flow_count");
  reader.skip(4);
  return { kind: "aggregate", packetCount, byteCount, flowCount };
}

function element(reader: Reader, minimum: number): Reader {
  const at = reader.offset;
  const length = reader.u16("flow_stats.length");
  if (length < minimum || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "flow_stats.length", `${length} of ${reader.left + 2} bytes`, at);
  return reader.within(length - 2, "flow_stats");
}

function readFlow(reader: Reader): FlowStats {
  const body = element(reader, FLOW_STATS_SIZE);
  const tableId = body.u8("flow_stats.table_id");
  body.skip(1);
  const match = readMatch10(body);
  const times = readTimes(body);
  body.skip(6);
  return { tableId, ...times, flags: 0, ...readCounters(body), match, instructions: readList(body) };
}

function readNiciraFlow(reader: Reader): FlowStats {
  const body = element(reader, NICIRA_FLOW_STATS_SIZE);
  const tableId = body.u8("flow_stats.table_id");
  body.skip(1);
  const times = readTimes(body);
  const size = body.u16("flow_stats.match_len");
  // Seconds and one; 0 is unknown.
  const [idle, hard] = [body.u16("flow_stats.idle_age"), body.u16("flow_stats.hard_age")];
  const counters = readCounters(body);
  const { match } = readNxmMatch(body, size);
  return {
    ...{ tableId, ...times, flags: 0, ...counters, match, instructions: readList(body) },
    ...(idle === 0 ? {} : { idleAgeSeconds: idle - 1 }),
    ...(hard === 0 ? {} : { hardAgeSeconds: hard - 1 }),
  };
}

function readTimes(body: Reader) {
  return {
    durationSeconds: body.u32("flow_stats.duration_sec"),
    durationNanoseconds: body.u32("flow_stats.duration_nsec"),
    priority: body.u16("flow_stats.priority"),
    idleTimeoutSeconds: body.u16("flow_stats.idle_timeout"),
    hardTimeoutSeconds: body.u16("flow_stats.hard_timeout"),
  };
}

function readCounters(body: Reader) {
  return {
    cookie: body.u64("flow_stats.cookie"),
    packetCount: body.u64("flow_stats.packet_count"),
    byteCount: body.u64("flow_stats.byte_count"),
  };
}

function readList(body: Reader): FlowStats["instructions"] {
  const actions = readActions10(body);
  return actions.length === 0 ? [] : [{ type: "apply_actions", actions }];
}

function readTable(reader: Reader): TableStats {
  const tableId = reader.u8("table_stats.table_id");
  reader.skip(3);
  const name = reader.text(TABLE_NAME_SIZE, "table_stats.name");
  const wildcards = reader.u32("table_stats.wildcards");
  const maxEntries = reader.u32("table_stats.max_entries");
  return {
    tableId,
    activeCount: reader.u32("table_stats.active_count"),
    lookupCount: reader.u64("table_stats.lookup_count"),
    matchedCount: reader.u64("table_stats.matched_count"),
    openflow10: wildcards === OFPFW_ALL ? { name, maxEntries } : { name, maxEntries, wildcards },
  };
}

function readPortStats(reader: Reader): (MultipartReplyBody & { kind: "port_stats" })["ports"][number] {
  const port = widenPort(reader.u16("port_stats.port_no"));
  reader.skip(6);
  const counters = Object.fromEntries(PORT_COUNTERS.map((name) => [name, reader.u64(`port_stats.${name}`)]));
  return {
    port,
    ...(counters as Record<(typeof PORT_COUNTERS)[number], bigint>),
    durationSeconds: UNKNOWN_TIME,
    durationNanoseconds: 0,
  };
}

function readQueue(reader: Reader): QueueStats {
  const port = queuePort(reader);
  return {
    port,
    queueId: reader.u32("queue_stats.queue_id"),
    txBytes: reader.u64("queue_stats.tx_bytes"),
    txPackets: reader.u64("queue_stats.tx_packets"),
    txErrors: reader.u64("queue_stats.tx_errors"),
    durationSeconds: UNKNOWN_TIME,
    durationNanoseconds: 0,
  };
}

export function writeMultipartReply10(writer: Writer, message: MultipartReply): void {
  const { body, flags } = message;
  const groups = groupSubtype(body.kind);
  if ("encoding" in body && body.encoding === "nxm")
    writeNiciraHeader(writer, body.kind === "flow" ? NXST_FLOW : NXST_AGGREGATE, flags);
  else if (body.kind === "flow_monitor") writeNiciraHeader(writer, NXST_FLOW_MONITOR, flags);
  else if (groups !== undefined) writeNiciraHeader(writer, groups, flags);
  else writer.u16(typeCode(body.kind)).u16(flags);
  const elements = elementsOf10(body);
  if (elements !== undefined) for (const write of elements) write(writer);
  else if (body.kind === "desc") writeDescription(writer, body);
  else if (body.kind === "aggregate")
    writer.u64(body.packetCount).u64(body.byteCount).u32(body.flowCount).zero(4);
  else if (body.kind === "experimenter") writeVendor(writer, body);
}

/** One writer per element for replies that are arrays; undefined for the others. */
export function elementsOf10(body: MultipartReplyBody): ((writer: Writer) => void)[] | undefined {
  switch (body.kind) {
    case "flow": {
      const write = body.encoding === "nxm" ? writeNiciraFlow : writeFlow;
      return body.flows.map((flow) => (writer) => write(writer, flow));
    }
    case "table":
      return body.tables.map((table) => (writer) => writeTable(writer, table));
    case "port_stats":
      return body.ports.map((stats) => (writer) => {
        writer.u16(narrowPort(stats.port)).zero(6);
        for (const name of PORT_COUNTERS) writer.u64(stats[name]);
      });
    case "queue":
      return body.queues.map((queue) => (writer) => {
        writer.u16(narrowPort(queue.port)).zero(2).u32(queue.queueId);
        writer.u64(queue.txBytes).u64(queue.txPackets).u64(queue.txErrors);
      });
    case "port_desc":
      return body.ports.map((port) => (writer) => writePort10(writer, port));
    case "flow_monitor":
      return body.updates.map((update) => (writer) => writeNiciraUpdate(writer, update));
    default:
      return groupElements(body);
  }
}

function writeTimes(writer: Writer, flow: FlowStats): void {
  writer.u32(flow.durationSeconds).u32(flow.durationNanoseconds).u16(flow.priority);
  writer.u16(flow.idleTimeoutSeconds).u16(flow.hardTimeoutSeconds);
}

function writeFlow(writer: Writer, flow: FlowStats): void {
  const start = writer.size;
  writer.u16(0).u8(flow.tableId).zero(1);
  writeMatch10(writer, flow.match);
  writeTimes(writer, flow);
  writer.zero(6).u64(flow.cookie).u64(flow.packetCount).u64(flow.byteCount);
  writeActions10(writer, actionsOf10(flow.instructions));
  writer.setLength(start, start);
}

/** How long a flow is idle, and when it was last changed, may be unknown. */
function writeNiciraFlow(writer: Writer, flow: FlowStats): void {
  const start = writer.size;
  writer.u16(0).u8(flow.tableId).zero(1);
  writeTimes(writer, flow);
  const lengthAt = writer.size;
  writer
    .u16(0)
    .u16(ageOf(flow.idleAgeSeconds))
    .u16(ageOf(flow.hardAgeSeconds))
    .u64(flow.cookie)
    .u64(flow.packetCount)
    .u64(flow.byteCount);
  writer.setU16(lengthAt, writeNxmMatch(writer, { match: flow.match, cookie: 0n, cookieMask: 0n }));
  writeActions10(writer, actionsOf10(flow.instructions));
  writer.setLength(start, start);
}

function ageOf(seconds: number | undefined): number {
  return seconds === undefined ? 0 : Math.min(seconds, 0xfffe) + 1;
}

function writeTable(writer: Writer, table: TableStats): void {
  const {
    name,
    maxEntries,
    wildcards = OFPFW_ALL,
  } = table.openflow10 ?? {
    name: `table${table.tableId}`,
    maxEntries: 0,
  };
  writer.u8(table.tableId).zero(3).text(name, TABLE_NAME_SIZE).u32(wildcards).u32(maxEntries);
  writer.u32(table.activeCount).u64(table.lookupCount).u64(table.matchedCount);
}
