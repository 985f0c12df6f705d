// Port descriptions, port-status, port-mod and queue configuration as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.2.1, 7.2.2, 7.3.4.3, 7.3.6, 7.4.3.

import { OFP11_VERSION, OFP14_VERSION, OFPP_ANY } from "./constants.js";
import type {
  PacketQueue,
  PortDescription,
  PortMod,
  PortStatus,
  PortStatusReason,
  QueueGetConfigReply,
  QueueGetConfigRequest,
  QueueProperty,
} from "./messages.js";
import { readPortDescription14, readPortMod14, writeAdvertised14 } from "./v14/port-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const OFPPR: Readonly<Record<PortStatusReason, number>> = { add: 0, delete: 1, modify: 2 };
const OFPQT = { min_rate: 1, max_rate: 2, experimenter: 0xffff } as const;
const PORT_NAME_SIZE = 16;
const QUEUE_SIZE_11 = 8;
const QUEUE_SIZE = 16;
const QUEUE_PROPERTY_SIZE = 16;

export function readPortDescription(reader: Reader): PortDescription {
  if (reader.version >= OFP14_VERSION) return readPortDescription14(reader);
  const port = reader.port("port.port_no");
  reader.skip(4);
  const macAddress = reader.copy(6, "port.hw_addr");
  reader.skip(2);
  return {
    port,
    macAddress,
    name: reader.name(PORT_NAME_SIZE, "port.name"),
    config: reader.u32("port.config"),
    state: reader.u32("port.state"),
    current: reader.u32("port.curr"),
    advertised: reader.u32("port.advertised"),
    supported: reader.u32("port.supported"),
    peer: reader.u32("port.peer"),
    currentSpeedKbps: reader.u32("port.curr_speed"),
    maxSpeedKbps: reader.u32("port.max_speed"),
  };
}

export function writePortDescription(writer: Writer, port: PortDescription): void {
  writer.u32(port.port).zero(4).put(port.macAddress).zero(2).text(port.name, PORT_NAME_SIZE);
  writer.u32(port.config).u32(port.state).u32(port.current).u32(port.advertised);
  writer.u32(port.supported).u32(port.peer).u32(port.currentSpeedKbps).u32(port.maxSpeedKbps);
}

export function readPortStatus(reader: Reader, xid: number): PortStatus {
  const reason = nameOf(OFPPR, reader.u8("port_status.reason"));
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "port_status.reason", "unknown reason");
  reader.skip(7);
  return { type: "port_status", xid, reason, description: readPortDescription(reader) };
}

export function writePortStatus(writer: Writer, message: PortStatus): void {
  writer.u8(OFPPR[message.reason]).zero(7);
  writePortDescription(writer, message.description);
}

export function readPortMod(reader: Reader, xid: number): PortMod {
  if (reader.version >= OFP14_VERSION) return readPortMod14(reader, xid);
  const port = reader.port("port_mod.port_no");
  reader.skip(4);
  const macAddress = reader.copy(6, "port_mod.hw_addr");
  reader.skip(2);
  const config = reader.u32("port_mod.config");
  const mask = reader.u32("port_mod.mask");
  const advertise = reader.u32("port_mod.advertise");
  reader.skip(4);
  return { type: "port_mod", xid, port, macAddress, config, mask, advertise };
}

export function writePortMod(writer: Writer, mod: PortMod): void {
  writer.u32(mod.port).zero(4).put(mod.macAddress).zero(2);
  writer.u32(mod.config).u32(mod.mask);
  if (writer.version >= OFP14_VERSION) writeAdvertised14(writer, mod.advertise);
  else writer.u32(mod.advertise).zero(4);
}

// --- Queue configuration

export function readQueueConfigRequest(reader: Reader, xid: number): QueueGetConfigRequest {
  const port = reader.port("queue_get_config.port");
  reader.skip(4);
  return { type: "queue_get_config_request", xid, port };
}

export function writeQueueConfigRequest(writer: Writer, message: QueueGetConfigRequest): void {
  writer.u32(message.port).zero(4);
}

export function readQueueConfigReply(reader: Reader, xid: number): QueueGetConfigReply {
  const at = reader.offset;
  const port = reader.u32("queue_get_config.port");
  reader.skip(4);
  const queues: PacketQueue[] = [];
  while (reader.left > 0) queues.push(readQueue(reader));
  // Whose nothing is may be anybody.
  if (queues.length > 0) {
    reader.offset = at;
    reader.port("queue_get_config.port");
    reader.offset = reader.end;
  }
  return { type: "queue_get_config_reply", xid, port, queues };
}

function readQueue(reader: Reader): PacketQueue {
  const queueId = reader.u32("queue.queue_id");
  // In 1.1 a queue does not say whose it is.
  const isShort = reader.version === OFP11_VERSION;
  const port = isShort ? OFPP_ANY : reader.u32("queue.port");
  const length = reader.u16("queue.len");
  reader.skip(isShort ? 2 : 6);
  const size = isShort ? QUEUE_SIZE_11 : QUEUE_SIZE;
  if (length < size) throw reader.fail("OFPBRC_BAD_LEN", "queue.len", `${length} is less than ${size}`);
  const body = reader.within(length - size, "queue.properties");
  const properties: QueueProperty[] = [];
  while (body.left > 0) properties.push(...readQueueProperty(body));
  return { queueId, port, properties };
}

/** None for a property of a kind that is not known. */
function readQueueProperty(reader: Reader): readonly QueueProperty[] {
  const code = reader.u16("queue.property");
  const length = reader.u16("queue.property.len");
  const type = nameOf(OFPQT, code);
  if (length < QUEUE_PROPERTY_SIZE) throw reader.fail("OFPBRC_BAD_LEN", "queue.property.len", `${length}`);
  const body = reader.within(length - 4, "queue.property");
  if (type === undefined) return [];
  body.skip(4);
  if (type === "experimenter") {
    const experimenter = body.u32("queue.property.experimenter");
    body.skip(4);
    return [{ type, experimenter, data: body.rest() }];
  }
  return [{ type, rate: body.u16("queue.property.rate") }];
}

export function writeQueueConfigReply(writer: Writer, message: QueueGetConfigReply): void {
  writer.u32(message.port).zero(4);
  for (const queue of message.queues) {
    const start = writer.size;
    writer.u32(queue.queueId).u32(queue.port).u16(0).zero(6);
    for (const property of queue.properties) writeQueueProperty(writer, property);
    writer.setLength(start + 8, start);
  }
}

function writeQueueProperty(writer: Writer, property: QueueProperty): void {
  const start = writer.size;
  writer.u16(OFPQT[property.type]).u16(0).zero(4);
  if (property.type === "experimenter") writer.u32(property.experimenter).zero(4).put(property.data);
  else writer.u16(property.rate).zero(6);
  writer.setLength(start + 2, start);
}
