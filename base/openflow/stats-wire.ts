// One element of each statistics reply as bytes: flow, table, port, queue, group, meter and their descriptions.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.

import { OFP13_VERSION, OFP14_VERSION, OFP15_VERSION } from "./constants.js";
import { OFPGT, readBuckets, readGroupType, writeBuckets } from "./group-wire.js";
import { readInstructions, writeInstructions } from "./instructions-wire.js";
import { readMatch, writeMatch } from "./match-wire.js";
import { readBands, writeBands } from "./meter-wire.js";
import type {
  BucketCounter,
  FlowStats,
  FlowStatsFilter,
  GroupDescription,
  GroupStats,
  MeterConfig,
  MeterStats,
  PortStats,
  QueueStats,
  TableStats,
} from "./multipart.js";
import { readPortStats14, readQueueStats14 } from "./v14/port-wire.js";
import { readGroupDescription15 } from "./v15/group-wire.js";
import { readFlowStats15 } from "./v15/stats-wire.js";
import type { Reader, Writer } from "./wire.js";

const FLOW_STATS_SIZE = 56;
const UNKNOWN_TIME = 0xffffffff;

/** Reads the 16-bit length of an element and returns a reader of what follows the length. */
function element(reader: Reader, minimum: number, field: string): Reader {
  const at = reader.offset;
  const length = reader.u16(`${field}.length`);
  if (length < minimum || length - 2 > reader.left) {
    throw reader.fail("OFPBRC_BAD_LEN", `${field}.length`, `${length} of ${reader.left + 2} bytes`, at);
  }
  return reader.within(length - 2, field);
}

export function readFlowStatsFilter(reader: Reader): FlowStatsFilter {
  const tableId = reader.u8("flow_stats.table_id");
  reader.skip(3);
  const outPort = reader.port("flow_stats.out_port");
  const outGroup = reader.u32("flow_stats.out_group");
  reader.skip(4);
  const cookie = reader.u64("flow_stats.cookie");
  const cookieMask = reader.u64("flow_stats.cookie_mask");
  return { tableId, outPort, outGroup, cookie, cookieMask, match: readMatch(reader) };
}

export function writeFlowStatsFilter(writer: Writer, filter: FlowStatsFilter): void {
  writer.u8(filter.tableId).zero(3).u32(filter.outPort).u32(filter.outGroup).zero(4);
  writer.u64(filter.cookie).u64(filter.cookieMask);
  writeMatch(writer, filter.match);
}

export function readFlowStats(reader: Reader): FlowStats {
  if (reader.version === OFP15_VERSION) return readFlowStats15(reader);
  const start = reader.offset;
  const length = reader.u16("flow_stats.length");
  if (length < FLOW_STATS_SIZE)
    throw reader.fail(
      "OFPBRC_BAD_LEN",
      "flow_stats.length",
      `${length} is less than ${FLOW_STATS_SIZE}`,
      start,
    );
  const tableId = reader.u8("flow_stats.table_id");
  reader.skip(1);
  const durationSeconds = reader.u32("flow_stats.duration_sec");
  const durationNanoseconds = reader.u32("flow_stats.duration_nsec");
  const priority = reader.u16("flow_stats.priority");
  const idleTimeoutSeconds = reader.u16("flow_stats.idle_timeout");
  const hardTimeoutSeconds = reader.u16("flow_stats.hard_timeout");
  const told = reader.u16("flow_stats.flags");
  const later = reader.u16("flow_stats.importance");
  reader.skip(2);
  const flags = reader.version < OFP13_VERSION ? 0 : told;
  const counts = {
    cookie: reader.u64("flow_stats.cookie"),
    packetCount: reader.u64("flow_stats.packet_count"),
    byteCount: reader.u64("flow_stats.byte_count"),
  };
  const match = readMatch(reader);
  const left = start + length - reader.offset;
  if (left < 0 || left > reader.left)
    throw reader.fail("OFPBIC_BAD_LEN", "flow_stats.length", `${left} of ${reader.left} bytes`, start);
  return {
    ...(reader.version >= OFP14_VERSION && later !== 0 ? { importance: later } : {}),
    ...{ tableId, durationSeconds, durationNanoseconds, priority, idleTimeoutSeconds, hardTimeoutSeconds },
    ...{ flags, ...counts, match },
    instructions: readInstructions(reader.within(left, "flow_stats.instructions")),
  };
}

export function writeFlowStats(writer: Writer, flow: FlowStats): void {
  const start = writer.size;
  writer.u16(0).u8(flow.tableId).zero(1).u32(flow.durationSeconds).u32(flow.durationNanoseconds);
  writer.u16(flow.priority).u16(flow.idleTimeoutSeconds).u16(flow.hardTimeoutSeconds).u16(flow.flags).zero(4);
  writer.u64(flow.cookie).u64(flow.packetCount).u64(flow.byteCount);
  writeMatch(writer, flow.match);
  writeInstructions(writer, flow.instructions);
  writer.setLength(start, start);
}

export function readTableStats(reader: Reader): TableStats {
  const tableId = reader.u8("table_stats.table_id");
  reader.skip(3);
  return {
    tableId,
    activeCount: reader.u32("table_stats.active_count"),
    lookupCount: reader.u64("table_stats.lookup_count"),
    matchedCount: reader.u64("table_stats.matched_count"),
  };
}

export function writeTableStats(writer: Writer, table: TableStats): void {
  writer.u8(table.tableId).zero(3).u32(table.activeCount).u64(table.lookupCount).u64(table.matchedCount);
}

/** The 64-bit counters of a port in the order of the wire. */
export const PORT_COUNTERS = [
  "rxPackets",
  "txPackets",
  "rxBytes",
  "txBytes",
  "rxDropped",
  "txDropped",
  "rxErrors",
  "txErrors",
  "rxFrameErrors",
  "rxOverErrors",
  "rxCrcErrors",
  "collisions",
] as const;

export function readPortStats(reader: Reader): PortStats {
  if (reader.version >= OFP14_VERSION) return readPortStats14(reader);
  const port = reader.port("port_stats.port_no");
  reader.skip(4);
  const counters = Object.fromEntries(PORT_COUNTERS.map((name) => [name, reader.u64(`port_stats.${name}`)]));
  return {
    port,
    ...(counters as Record<(typeof PORT_COUNTERS)[number], bigint>),
    ...readDuration(reader, "port_stats"),
  };
}

export function writePortStats(writer: Writer, stats: PortStats): void {
  writer.u32(stats.port).zero(4);
  for (const name of PORT_COUNTERS) writer.u64(stats[name]);
  writer.u32(stats.durationSeconds).u32(stats.durationNanoseconds);
}

/** Before 1.3 nothing tells how long. */
function readDuration(reader: Reader, field: string) {
  if (reader.version < OFP13_VERSION)
    return { durationSeconds: UNKNOWN_TIME, durationNanoseconds: UNKNOWN_TIME };
  return {
    durationSeconds: reader.u32(`${field}.duration_sec`),
    durationNanoseconds: reader.u32(`${field}.duration_nsec`),
  };
}

export function readQueueStats(reader: Reader): QueueStats {
  if (reader.version >= OFP14_VERSION) return readQueueStats14(reader);
  return {
    port: reader.port("queue_stats.port_no"),
    queueId: reader.u32("queue_stats.queue_id"),
    txBytes: reader.u64("queue_stats.tx_bytes"),
    txPackets: reader.u64("queue_stats.tx_packets"),
    txErrors: reader.u64("queue_stats.tx_errors"),
    ...readDuration(reader, "queue_stats"),
  };
}

export function writeQueueStats(writer: Writer, stats: QueueStats): void {
  writer.u32(stats.port).u32(stats.queueId).u64(stats.txBytes).u64(stats.txPackets).u64(stats.txErrors);
  writer.u32(stats.durationSeconds).u32(stats.durationNanoseconds);
}

function readCounters(reader: Reader): readonly BucketCounter[] {
  const counters: BucketCounter[] = [];
  while (reader.left > 0) {
    counters.push({ packetCount: reader.u64("counter.packets"), byteCount: reader.u64("counter.bytes") });
  }
  return counters;
}

function writeCounters(writer: Writer, counters: readonly BucketCounter[]): void {
  for (const counter of counters) writer.u64(counter.packetCount).u64(counter.byteCount);
}

export function readGroupStats(reader: Reader): GroupStats {
  const body = element(reader, reader.version < OFP13_VERSION ? 32 : 40, "group_stats");
  body.skip(2);
  const groupId = body.u32("group_stats.group_id");
  const referenceCount = body.u32("group_stats.ref_count");
  body.skip(4);
  return {
    groupId,
    referenceCount,
    packetCount: body.u64("group_stats.packet_count"),
    byteCount: body.u64("group_stats.byte_count"),
    ...readDuration(body, "group_stats"),
    buckets: readCounters(body),
  };
}

export function writeGroupStats(writer: Writer, group: GroupStats): void {
  const start = writer.size;
  writer.u16(0).zero(2).u32(group.groupId).u32(group.referenceCount).zero(4);
  writer
    .u64(group.packetCount)
    .u64(group.byteCount)
    .u32(group.durationSeconds)
    .u32(group.durationNanoseconds);
  writeCounters(writer, group.buckets);
  writer.setLength(start, start);
}

export function readGroupDescription(reader: Reader): GroupDescription {
  if (reader.version === OFP15_VERSION) return readGroupDescription15(reader);
  const body = element(reader, 8, "group_desc");
  const groupType = readGroupType(body, "group_desc.type");
  body.skip(1);
  return { groupType, groupId: body.u32("group_desc.group_id"), buckets: readBuckets(body) };
}

export function writeGroupDescription(writer: Writer, group: GroupDescription): void {
  const start = writer.size;
  writer.u16(0).u8(OFPGT[group.groupType]).zero(1).u32(group.groupId);
  writeBuckets(writer, group.buckets);
  writer.setLength(start, start);
}

export function readMeterStats(reader: Reader): MeterStats {
  const meterId = reader.u32("meter_stats.meter_id");
  const at = reader.offset;
  const length = reader.u16("meter_stats.len");
  if (length < 40 || length - 6 > reader.left) {
    throw reader.fail("OFPBRC_BAD_LEN", "meter_stats.len", `${length} of ${reader.left + 6} bytes`, at);
  }
  const body = reader.within(length - 6, "meter_stats");
  body.skip(6);
  return {
    meterId,
    flowCount: body.u32("meter_stats.flow_count"),
    packetInCount: body.u64("meter_stats.packet_in_count"),
    byteInCount: body.u64("meter_stats.byte_in_count"),
    durationSeconds: body.u32("meter_stats.duration_sec"),
    durationNanoseconds: body.u32("meter_stats.duration_nsec"),
    bands: readCounters(body),
  };
}

export function writeMeterStats(writer: Writer, meter: MeterStats): void {
  const start = writer.size;
  writer.u32(meter.meterId).u16(0).zero(6).u32(meter.flowCount);
  writer.u64(meter.packetInCount).u64(meter.byteInCount);
  writer.u32(meter.durationSeconds).u32(meter.durationNanoseconds);
  writeCounters(writer, meter.bands);
  writer.setLength(start + 4, start);
}

export function readMeterConfig(reader: Reader): MeterConfig {
  const body = element(reader, 8, "meter_config");
  const flags = body.u16("meter_config.flags");
  return { flags, meterId: body.u32("meter_config.meter_id"), bands: readBands(body) };
}

export function writeMeterConfig(writer: Writer, meter: MeterConfig): void {
  const start = writer.size;
  writer.u16(0).u16(meter.flags).u32(meter.meterId);
  writeBands(writer, meter.bands);
  writer.setLength(start, start);
}
