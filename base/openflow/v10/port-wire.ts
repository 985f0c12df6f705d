// Ports, features, packets and queue configuration of OpenFlow 1.0.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.1, 5.3.1, 5.3.3, 5.3.6, 5.4.1, 5.4.2.

import { OFP_NO_BUFFER } from "../constants.js";
import type {
  FeaturesReply,
  PacketIn,
  PacketOut,
  PacketQueue,
  PortDescription,
  PortMod,
  PortStatus,
  PortStatusReason,
  QueueGetConfigReply,
} from "../messages.js";
import { OFPR, reasonCode } from "../nicira-wire.js";
import { nameOf, type Reader, type Writer } from "../wire.js";
import { readActions10, writeActions10 } from "./actions-wire.js";
import { bigEndian, narrowPort, numberOf, OFP10_VERSION, widenPort } from "./numbers.js";

const PORT_NAME_SIZE = 16;
const PORT_SIZE = 48;
const PORT11_SIZE = 64;
/** Of a features reply, with the header of the message. */
const FEATURES_SIZE = 32;
const OFPPR: Readonly<Record<PortStatusReason, number>> = { add: 0, delete: 1, modify: 2 };
/** Of OFPPS_* only the link's state means the same in 1.0; two more bits tell what a spanning tree does. */
const STATE_MASK = 0x301;
/** Speeds up to 10 Gbit/s have the same bits in both versions. */
const SPEED_MASK = 0x7f;
/** Medium, autonegotiation and pause stand 4 bits lower in 1.0, which lacks four speeds. */
const MEDIUM_SHIFT = 4;
const MEDIUM_MASK = 0xf80;

function features13(bits: number): number {
  return (bits & SPEED_MASK) | ((bits & MEDIUM_MASK) << MEDIUM_SHIFT);
}

function features10(bits: number): number {
  return (bits & SPEED_MASK) | ((bits >> MEDIUM_SHIFT) & MEDIUM_MASK);
}

export function readPort10(reader: Reader): PortDescription {
  const port = widenPort(reader.u16("port.port_no"));
  const macAddress = reader.copy(6, "port.hw_addr");
  return {
    port,
    macAddress,
    name: reader.name(PORT_NAME_SIZE, "port.name"),
    config: reader.u32("port.config"),
    state: reader.u32("port.state") & STATE_MASK,
    current: features13(reader.u32("port.curr")),
    advertised: features13(reader.u32("port.advertised")),
    supported: features13(reader.u32("port.supported")),
    peer: features13(reader.u32("port.peer")),
    currentSpeedKbps: 0,
    maxSpeedKbps: 0,
  };
}

export function writePort10(writer: Writer, port: PortDescription): void {
  writer.u16(narrowPort(port.port)).put(port.macAddress).text(port.name, PORT_NAME_SIZE);
  writer.u32(port.config).u32(port.state & STATE_MASK);
  writer.u32(features10(port.current)).u32(features10(port.advertised));
  writer.u32(features10(port.supported)).u32(features10(port.peer));
}

export function readPortStatus10(reader: Reader, xid: number): PortStatus {
  const reason = nameOf(OFPPR, reader.u8("port_status.reason"));
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "port_status.reason", "unknown reason");
  reader.skip(7);
  return { type: "port_status", xid, reason, description: readPort10(reader) };
}

export function writePortStatus10(writer: Writer, message: PortStatus): void {
  writer.u8(OFPPR[message.reason]).zero(7);
  writePort10(writer, message.description);
}

export function readPortMod10(reader: Reader, xid: number): PortMod {
  const port = widenPort(reader.u16("port_mod.port_no"));
  const macAddress = reader.copy(6, "port_mod.hw_addr");
  const config = reader.u32("port_mod.config");
  const mask = reader.u32("port_mod.mask");
  const advertise = features13(reader.u32("port_mod.advertise"));
  reader.skip(4);
  return { type: "port_mod", xid, port, macAddress, config, mask, advertise };
}

export function writePortMod10(writer: Writer, mod: PortMod): void {
  writer.u16(narrowPort(mod.port)).put(mod.macAddress).u32(mod.config).u32(mod.mask);
  writer.u32(features10(mod.advertise)).zero(4);
}

export function readFeaturesReply10(reader: Reader, xid: number): FeaturesReply {
  const datapathId = reader.u64("features.datapath_id");
  const bufferCount = reader.u32("features.n_buffers");
  const tableCount = reader.u8("features.n_tables");
  reader.skip(3);
  const capabilities = reader.u32("features.capabilities");
  const actions = reader.u32("features.actions");
  const ports: PortDescription[] = [];
  while (reader.left >= PORT_SIZE) ports.push(readPort10(reader));
  const base = { datapathId, bufferCount, tableCount, auxiliaryId: 0, capabilities };
  return { type: "features_reply", xid, ...base, openflow10: { actions, ports } };
}

/**
 * Ports that a features reply of a version before 1.3 has room for. A reply with so many may not have all: they are to be
 * asked for by themselves. Source: OpenFlow 1.0.0, 5.3.1, and 1.1.0, A.3.1: 32 bytes, then 48 or 64 for each port.
 */
export function featuresPortsMax(version: number): number {
  return Math.floor((0xffff - FEATURES_SIZE) / (version === OFP10_VERSION ? PORT_SIZE : PORT11_SIZE));
}

/** Ports for which there is no room are left out, as Open vSwitch does. */
export function writeFeaturesReply10(writer: Writer, reply: FeaturesReply): void {
  writer.u64(reply.datapathId).u32(reply.bufferCount).u8(reply.tableCount).zero(3);
  writer.u32(reply.capabilities).u32(reply.openflow10?.actions ?? 0);
  const ports = reply.openflow10?.ports ?? [];
  for (const port of ports.slice(0, featuresPortsMax(OFP10_VERSION))) writePort10(writer, port);
}

// --- Packets

export function readPacketIn10(reader: Reader, xid: number): PacketIn {
  const bufferId = reader.u32("packet_in.buffer_id");
  const totalLength = reader.u16("packet_in.total_len");
  const inPort = widenPort(reader.u16("packet_in.in_port"));
  const reason = nameOf(OFPR, reader.u8("packet_in.reason"));
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "packet_in.reason", "unknown reason");
  reader.skip(1);
  return {
    type: "packet_in",
    xid,
    bufferId,
    totalLength,
    reason,
    tableId: 0,
    cookie: 0xffffffffffffffffn,
    match: [{ field: "in_port", value: bigEndian(inPort, 4) }],
    data: reader.rest(),
  };
}

export function writePacketIn10(writer: Writer, message: PacketIn): void {
  const inPort = message.match.find(({ field }) => field === "in_port");
  writer.u32(message.bufferId).u16(message.totalLength);
  writer.u16(inPort === undefined ? 0xffff : narrowPort(numberOf(inPort.value)));
  writer.u8(reasonCode(message.reason, writer.version)).zero(1).put(message.data);
}

export function readPacketOut10(reader: Reader, xid: number): PacketOut {
  const bufferId = reader.u32("packet_out.buffer_id");
  const at = reader.offset;
  const port = reader.u16("packet_out.in_port");
  if (port >= 0xff00 && port < 0xfffd)
    throw reader.fail("OFPBRC_BAD_PORT", "packet_out.in_port", `0x${port.toString(16)} is no source`, at);
  const size = reader.u16("packet_out.actions_len");
  const actions = readActions10(reader.within(size, "packet_out.actions", "OFPBAC_BAD_LEN"));
  // Buffered packets have no data; what follows is then of no use.
  const data = reader.rest();
  const inPort = port === 0 ? 0xffffffff : widenPort(port);
  return {
    type: "packet_out",
    xid,
    bufferId,
    inPort,
    actions,
    data: bufferId === OFP_NO_BUFFER ? data : new Uint8Array(0),
  };
}

export function writePacketOut10(writer: Writer, message: PacketOut): void {
  writer.u32(message.bufferId).u16(narrowPort(message.inPort));
  const lengthAt = writer.size;
  writer.u16(0);
  const start = writer.size;
  writeActions10(writer, message.actions);
  writer.setLength(lengthAt, start);
  writer.put(message.data);
}

// --- Queue configuration

const OFPQT_MIN_RATE = 1;
const QUEUE_SIZE = 8;

export function readQueueConfigReply10(reader: Reader, xid: number): QueueGetConfigReply {
  const port = widenPort(reader.u16("queue_get_config.port"));
  reader.skip(6);
  const queues: PacketQueue[] = [];
  while (reader.left > 0) {
    const queueId = reader.u32("queue.queue_id");
    const length = reader.u16("queue.len");
    reader.skip(2);
    if (length < QUEUE_SIZE) throw reader.fail("OFPBRC_BAD_LEN", "queue.len", `${length}`);
    const body = reader.within(length - QUEUE_SIZE, "queue.properties");
    const properties: { readonly type: "min_rate"; readonly rate: number }[] = [];
    while (body.left > 0) {
      const property = body.u16("queue.property");
      const size = body.u16("queue.property.len");
      if (size < 8) throw body.fail("OFPBRC_BAD_LEN", "queue.property.len", `${size}`);
      const value = body.within(size - 4, "queue.property");
      value.skip(4);
      if (property === OFPQT_MIN_RATE)
        properties.push({ type: "min_rate", rate: value.u16("queue.min_rate") });
    }
    queues.push({ queueId, port, properties });
  }
  return { type: "queue_get_config_reply", xid, port, queues };
}

/** 1.0 knows minimum rates only. */
export function writeQueueConfigReply10(writer: Writer, message: QueueGetConfigReply): void {
  writer.u16(narrowPort(message.port)).zero(6);
  for (const queue of message.queues) {
    const start = writer.size;
    writer.u32(queue.queueId).u16(0).zero(2);
    for (const property of queue.properties) {
      if (property.type === "min_rate") writer.u16(OFPQT_MIN_RATE).u16(16).zero(4).u16(property.rate).zero(6);
    }
    writer.setLength(start + 4, start);
  }
}
