// Multipart requests and replies as bytes, and the cutting of long replies into several messages.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.

import {
  NX_EXPERIMENTER,
  OFP_HEADER_SIZE,
  OFP13_VERSION,
  OFP14_VERSION,
  OFP15_VERSION,
  OFPG_ALL,
  OFPMP,
  OFPP_ANY,
  ONF_EXPERIMENTER,
} from "./constants.js";
import { readDescription, writeDescription } from "./description-wire.js";
import {
  ONFST_FLOW_MONITOR,
  readOnfMonitor,
  readOnfUpdate,
  writeOnfMonitor,
  writeOnfUpdate,
} from "./flow-monitor-wire.js";
import type { MultipartReply, MultipartRequest } from "./messages.js";
import type { MultipartReplyBody, MultipartRequestBody, PerGroupType } from "./multipart.js";
import { readPortDescription, writePortDescription } from "./port-wire.js";
import * as stats from "./stats-wire.js";
import { readTableFeatures, readWantedTableFeatures, writeTableFeatures } from "./table-features-wire.js";
import { elementsOf10 } from "./v10/multipart-wire.js";
import { OFP10_VERSION } from "./v10/numbers.js";
import { readMonitor14, readUpdate14, writeMonitor14 } from "./v14/flow-monitor-wire.js";
import { readOxs } from "./v15/stats-wire.js";
import { nameOf, type Reader, Writer } from "./wire.js";

type Kind = keyof typeof OFPMP;

/** From 1.4 on what was an extension of the ONF has a number of its own. */
const OFPMP_FLOW_MONITOR = 16;

function readKind(reader: Reader): { kind: Kind | "flow_monitor"; flags: number } {
  const at = reader.offset;
  const code = reader.u16("multipart.type");
  const flags = reader.u16("multipart.flags");
  reader.skip(4);
  const isMonitor = code === OFPMP_FLOW_MONITOR && reader.version >= OFP14_VERSION;
  const kind = isMonitor ? "flow_monitor" : nameOf(OFPMP, code);
  if (kind === undefined)
    throw reader.fail("OFPBRC_BAD_MULTIPART", "multipart.type", `unknown type ${code}`, at);
  return { kind, flags };
}

function readAll<T>(reader: Reader, read: (reader: Reader) => T): readonly T[] {
  const out: T[] = [];
  while (reader.left > 0) out.push(read(reader));
  return out;
}

// --- Requests

export function readMultipartRequest(reader: Reader, xid: number): MultipartRequest {
  const { kind, flags } = readKind(reader);
  return { type: "multipart_request", xid, flags, body: readRequestBody(kind, reader) };
}

function readRequestBody(kind: Kind | "flow_monitor", reader: Reader): MultipartRequestBody {
  switch (kind) {
    case "flow_monitor":
      return { kind, monitors: readAll(reader, readMonitor14) };
    case "flow":
    case "aggregate":
      return { kind, ...stats.readFlowStatsFilter(reader) };
    case "port_stats": {
      const port = reader.port("port_stats.port_no");
      reader.skip(4);
      return { kind, port };
    }
    case "queue":
      return { kind, port: reader.port("queue.port_no"), queueId: reader.u32("queue.queue_id") };
    case "group": {
      const groupId = reader.u32("group.group_id");
      reader.skip(4);
      return { kind, groupId };
    }
    case "meter":
    case "meter_config": {
      const meterId = reader.u32("meter.meter_id");
      reader.skip(4);
      return { kind, meterId };
    }
    case "table_features":
      return { kind, tables: readAll(reader, readWantedTableFeatures) };
    case "experimenter":
      return readExperimenterRequest(reader);
    default:
      return { kind };
  }
}

function isFlowMonitor(experimenter: number, expType: number): boolean {
  return experimenter === ONF_EXPERIMENTER && expType === ONFST_FLOW_MONITOR;
}

function readExperimenterRequest(reader: Reader): MultipartRequestBody {
  const body = readExperimenter(reader);
  if (!isFlowMonitor(body.experimenter, body.expType)) return body;
  reader.offset -= body.data.byteLength;
  return { kind: "flow_monitor", monitors: readAll(reader, readOnfMonitor) };
}

const NXST_GROUP_FEATURES = 9;

function readExperimenterReply(reader: Reader): MultipartReplyBody {
  const body = readExperimenter(reader);
  // 1.1 has groups, but no request for what they can do.
  if (body.experimenter === NX_EXPERIMENTER && body.expType === NXST_GROUP_FEATURES) {
    reader.offset -= body.data.byteLength;
    return readGroupFeatures(reader);
  }
  if (!isFlowMonitor(body.experimenter, body.expType)) return body;
  reader.offset -= body.data.byteLength;
  return { kind: "flow_monitor", updates: readAll(reader, readOnfUpdate) };
}

function readExperimenter(reader: Reader): MultipartRequestBody & { kind: "experimenter" } {
  const experimenter = reader.u32("multipart.experimenter");
  const expType = reader.u32("multipart.exp_type");
  return { kind: "experimenter", experimenter, expType, data: reader.rest() };
}

export function writeMultipartRequest(writer: Writer, message: MultipartRequest): void {
  const { body } = message;
  const { version } = writer;
  if (body.kind === "flow_monitor" && version >= OFP14_VERSION) {
    writer.u16(OFPMP_FLOW_MONITOR).u16(message.flags).zero(4);
    for (const monitor of body.monitors) writeMonitor14(writer, monitor);
    return;
  }
  writeKind(writer, body.kind, message.flags);
  switch (body.kind) {
    case "flow_monitor":
      for (const monitor of body.monitors) writeOnfMonitor(writer, monitor);
      return;
    case "group_desc":
      // 1.5 asks for one, or for all.
      if (version === OFP15_VERSION) writer.u32(OFPG_ALL).zero(4);
      return;
    case "port_desc":
      if (version === OFP15_VERSION) writer.u32(OFPP_ANY).zero(4);
      return;
    case "flow":
    case "aggregate":
      stats.writeFlowStatsFilter(writer, body);
      return;
    case "port_stats":
      writer.u32(body.port).zero(4);
      return;
    case "queue":
      writer.u32(body.port).u32(body.queueId);
      return;
    case "group":
      writer.u32(body.groupId).zero(4);
      return;
    case "meter":
    case "meter_config":
      writer.u32(body.meterId).zero(4);
      return;
    case "table_features":
      for (const table of body.tables) writeTableFeatures(writer, table);
      return;
    case "experimenter":
      writer.u32(body.experimenter).u32(body.expType).put(body.data);
  }
}

function writeKind(writer: Writer, kind: MultipartReplyBody["kind"], flags: number): void {
  if (kind !== "flow_monitor") writer.u16(OFPMP[kind]).u16(flags).zero(4);
  else writer.u16(OFPMP.experimenter).u16(flags).zero(4).u32(ONF_EXPERIMENTER).u32(ONFST_FLOW_MONITOR);
}

// --- Replies

export function readMultipartReply(reader: Reader, xid: number): MultipartReply {
  const { kind, flags } = readKind(reader);
  return { type: "multipart_reply", xid, flags, body: readReplyBody(kind, reader) };
}

function readReplyBody(kind: Kind | "flow_monitor", reader: Reader): MultipartReplyBody {
  switch (kind) {
    case "flow_monitor":
      return { kind, updates: readAll(reader, readUpdate14) };
    case "desc":
      return readDescription(reader);
    case "flow":
      return { kind, flows: readAll(reader, stats.readFlowStats) };
    case "aggregate":
      return readAggregate(reader);
    case "table":
      return { kind, tables: readAll(reader, stats.readTableStats) };
    case "port_stats":
      return { kind, ports: readAll(reader, stats.readPortStats) };
    case "queue":
      return { kind, queues: readAll(reader, stats.readQueueStats) };
    case "group":
      return { kind, groups: readAll(reader, stats.readGroupStats) };
    case "group_desc":
      return { kind, groups: readAll(reader, stats.readGroupDescription) };
    case "group_features":
      return readGroupFeatures(reader);
    case "meter":
      return { kind, meters: readAll(reader, stats.readMeterStats) };
    case "meter_config":
      return { kind, meters: readAll(reader, stats.readMeterConfig) };
    case "meter_features":
      return readMeterFeatures(reader);
    case "table_features":
      return { kind, tables: readAll(reader, (table) => readTableFeatures(table)) };
    case "port_desc":
      return { kind, ports: readAll(reader, readPortDescription) };
    case "experimenter":
      return readExperimenterReply(reader);
  }
}

function readAggregate(reader: Reader): MultipartReplyBody {
  if (reader.version === OFP15_VERSION) {
    const { packetCount, byteCount, flowCount } = readOxs(reader);
    return { kind: "aggregate", packetCount, byteCount, flowCount };
  }
  const packetCount = reader.u64("aggregate.packet_count");
  const byteCount = reader.u64("aggregate.byte_count");
  const flowCount = reader.u32("aggregate.flow_count");
  reader.skip(4);
  return { kind: "aggregate", packetCount, byteCount, flowCount };
}

function readGroupFeatures(reader: Reader): MultipartReplyBody {
  const four = (field: string): PerGroupType => [
    reader.u32(field),
    reader.u32(field),
    reader.u32(field),
    reader.u32(field),
  ];
  return {
    kind: "group_features",
    types: reader.u32("group_features.types"),
    capabilities: reader.u32("group_features.capabilities"),
    maxGroups: four("group_features.max_groups"),
    actions: four("group_features.actions"),
  };
}

function readMeterFeatures(reader: Reader): MultipartReplyBody {
  const maxMeters = reader.u32("meter_features.max_meter");
  const bandTypes = reader.u32("meter_features.band_types");
  const capabilities = reader.u32("meter_features.capabilities");
  const maxBands = reader.u8("meter_features.max_bands");
  const maxColor = reader.u8("meter_features.max_color");
  reader.skip(2);
  return { kind: "meter_features", maxMeters, bandTypes, capabilities, maxBands, maxColor };
}

export function writeMultipartReply(writer: Writer, message: MultipartReply): void {
  writeKind(writer, message.body.kind, message.flags);
  const elements = elementsOf(message.body);
  if (elements === undefined) writeSingle(writer, message.body);
  else for (const write of elements) write(writer);
}

/** One writer per element for replies that are arrays; undefined for the others. */
function elementsOf(body: MultipartReplyBody): ((writer: Writer) => void)[] | undefined {
  switch (body.kind) {
    case "flow":
      return body.flows.map((flow) => (writer) => stats.writeFlowStats(writer, flow));
    case "table":
      return body.tables.map((table) => (writer) => stats.writeTableStats(writer, table));
    case "port_stats":
      return body.ports.map((port) => (writer) => stats.writePortStats(writer, port));
    case "queue":
      return body.queues.map((queue) => (writer) => stats.writeQueueStats(writer, queue));
    case "group":
      return body.groups.map((group) => (writer) => stats.writeGroupStats(writer, group));
    case "group_desc":
      return body.groups.map((group) => (writer) => stats.writeGroupDescription(writer, group));
    case "meter":
      return body.meters.map((meter) => (writer) => stats.writeMeterStats(writer, meter));
    case "meter_config":
      return body.meters.map((meter) => (writer) => stats.writeMeterConfig(writer, meter));
    case "table_features":
      return body.tables.map((table) => (writer) => writeTableFeatures(writer, table));
    case "port_desc":
      return body.ports.map((port) => (writer) => writePortDescription(writer, port));
    case "flow_monitor":
      return body.updates.map((update) => (writer) => writeOnfUpdate(writer, update));
    default:
      return undefined;
  }
}

function writeSingle(writer: Writer, body: MultipartReplyBody): void {
  switch (body.kind) {
    case "desc":
      writeDescription(writer, body);
      return;
    case "aggregate":
      writer.u64(body.packetCount).u64(body.byteCount).u32(body.flowCount).zero(4);
      return;
    case "group_features":
      writer.u32(body.types).u32(body.capabilities);
      for (const value of [...body.maxGroups, ...body.actions]) writer.u32(value);
      return;
    case "meter_features":
      writer.u32(body.maxMeters).u32(body.bandTypes).u32(body.capabilities);
      writer.u8(body.maxBands).u8(body.maxColor).zero(2);
      return;
    case "experimenter":
      writer.u32(body.experimenter).u32(body.expType).put(body.data);
  }
}

const ARRAY_KEYS = ["flows", "tables", "ports", "queues", "groups", "meters", "updates"] as const;
/** Of the largest: Nicira's statistics in 1.0. */
const MULTIPART_HEADER_SIZE = OFP_HEADER_SIZE + 16;

/**
 * Cuts the body of a reply into bodies that each fit one message of `limit` bytes, in order; always at least one.
 * All but the last are to be sent with OFPMPF_REPLY_MORE. An element is never cut.
 */
export function splitMultipartBody(
  body: MultipartReplyBody,
  limit = 0xffff,
  version: number = OFP13_VERSION,
): readonly MultipartReplyBody[] {
  const elements = version === OFP10_VERSION ? elementsOf10(body) : elementsOf(body);
  const key = ARRAY_KEYS.find((name) => name in body);
  if (elements === undefined || key === undefined) return [body];
  const array = (body as unknown as Record<string, readonly unknown[]>)[key] as readonly unknown[];
  const parts: MultipartReplyBody[] = [];
  let first = 0;
  let size = MULTIPART_HEADER_SIZE;
  for (const [i, write] of elements.entries()) {
    const writer = new Writer();
    write(writer);
    if (size + writer.size > limit && i > first) {
      parts.push({ ...body, [key]: array.slice(first, i) } as MultipartReplyBody);
      first = i;
      size = MULTIPART_HEADER_SIZE;
    }
    size += writer.size;
  }
  parts.push({ ...body, [key]: array.slice(first) } as MultipartReplyBody);
  return parts;
}
