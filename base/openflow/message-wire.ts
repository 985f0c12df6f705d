// Whole messages: the header, and the family that reads or writes each type.
// Source: OpenFlow Switch Specification 1.3.5, 7.1.
// Invariant: parseMessage(encodeMessage(m)) equals m for every canonical m; on any other bytes parseMessage either
// returns a message or throws a WireError, nothing else.

import { OFP_HEADER_SIZE, OFP13_VERSION, OFPT } from "./constants.js";
import { readExperimenter, writeExperimenter } from "./extension-wire.js";
import * as flow from "./flow-wire.js";
import * as group from "./group-wire.js";
import type { OpenFlowMessage } from "./messages.js";
import * as meter from "./meter-wire.js";
import * as multipart from "./multipart-wire.js";
import * as packet from "./packet-wire.js";
import * as port from "./port-wire.js";
import * as sw from "./switch-wire.js";
import { nameOf, Reader, WireError, Writer } from "./wire.js";

type WireType = keyof typeof OFPT;

export interface MessageHeader {
  readonly version: number;
  /** The number on the wire, of which OFPT lists the known ones. */
  readonly typeCode: number;
  /** Of the whole message. */
  readonly length: number;
  readonly xid: number;
}

/** The header at `offset`, or undefined while fewer than 8 bytes are there. */
export function parseHeader(bytes: Uint8Array, offset = 0): MessageHeader | undefined {
  if (bytes.byteLength - offset < OFP_HEADER_SIZE) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, OFP_HEADER_SIZE);
  return {
    version: view.getUint8(0),
    typeCode: view.getUint8(1),
    length: view.getUint16(2),
    xid: view.getUint32(4),
  };
}

/** Parses exactly one message. Throws WireError. Byte fields of the result are copies. */
export function parseMessage(bytes: Uint8Array): OpenFlowMessage {
  const header = parseHeader(bytes);
  if (header === undefined || header.length !== bytes.byteLength) {
    throw new WireError(
      "OFPBRC_BAD_LEN",
      "header.length",
      header === undefined ? 0 : 2,
      `${header?.length} for ${bytes.byteLength} bytes`,
    );
  }
  const type = nameOf(OFPT, header.typeCode);
  // A peer that has not agreed on a version yet may say hello and complain in its own.
  if (header.version !== OFP13_VERSION && type !== "hello" && type !== "error") {
    throw new WireError("OFPBRC_BAD_VERSION", "header.version", 0, `version ${header.version}`);
  }
  if (type === undefined) {
    throw new WireError("OFPBRC_BAD_TYPE", "header.type", 1, `unknown type ${header.typeCode}`);
  }
  const reader = new Reader(bytes, OFP_HEADER_SIZE, bytes.byteLength, "OFPBRC_BAD_LEN");
  const message = readBody(type, reader, header);
  reader.finish(type);
  return message;
}

function readBody(type: WireType, reader: Reader, { xid, version }: MessageHeader): OpenFlowMessage {
  switch (type) {
    case "hello":
      return sw.readHello(reader, xid, version);
    case "error":
      return sw.readError(reader, xid);
    case "echo_request":
    case "echo_reply":
      return { type, xid, data: reader.rest() };
    case "experimenter":
      return readExperimenter(reader, xid);
    case "features_request":
    case "get_config_request":
    case "barrier_request":
    case "barrier_reply":
    case "get_async_request":
      return { type, xid };
    case "features_reply":
      return sw.readFeaturesReply(reader, xid);
    case "get_config_reply":
    case "set_config":
      return sw.readConfig(reader, xid, type);
    case "packet_in":
      return packet.readPacketIn(reader, xid);
    case "flow_removed":
      return flow.readFlowRemoved(reader, xid);
    case "port_status":
      return port.readPortStatus(reader, xid);
    case "packet_out":
      return packet.readPacketOut(reader, xid);
    case "flow_mod":
      return flow.readFlowMod(reader, xid);
    case "group_mod":
      return group.readGroupMod(reader, xid);
    case "port_mod":
      return port.readPortMod(reader, xid);
    case "table_mod":
      return sw.readTableMod(reader, xid);
    case "multipart_request":
      return multipart.readMultipartRequest(reader, xid);
    case "multipart_reply":
      return multipart.readMultipartReply(reader, xid);
    case "queue_get_config_request":
      return port.readQueueConfigRequest(reader, xid);
    case "queue_get_config_reply":
      return port.readQueueConfigReply(reader, xid);
    case "role_request":
    case "role_reply":
      return sw.readRole(reader, xid, type);
    case "get_async_reply":
    case "set_async":
      return sw.readAsync(reader, xid, type);
    case "meter_mod":
      return meter.readMeterMod(reader, xid);
  }
}

/** The bytes of one message. Throws RangeError when it does not fit 65535 bytes (see splitMultipartBody). */
export function encodeMessage(message: OpenFlowMessage): Uint8Array {
  const writer = new Writer();
  const type = wireType(message.type);
  writer
    .u8(message.type === "hello" ? message.version : OFP13_VERSION)
    .u8(OFPT[type])
    .u16(0)
    .u32(message.xid);
  writeBody(writer, message);
  writer.setLength(2, 0);
  return writer.take();
}

function wireType(type: OpenFlowMessage["type"]): WireType {
  switch (type) {
    case "experimenter_error":
      return "error";
    case "bundle_control":
    case "bundle_add":
      return "experimenter";
    default:
      return type;
  }
}

function writeBody(writer: Writer, message: OpenFlowMessage): void {
  switch (message.type) {
    case "hello":
      sw.writeHello(writer, message);
      return;
    case "error":
      sw.writeError(writer, message);
      return;
    case "experimenter_error":
      sw.writeExperimenterError(writer, message);
      return;
    case "echo_request":
    case "echo_reply":
      writer.put(message.data);
      return;
    case "experimenter":
    case "bundle_control":
    case "bundle_add":
      writeExperimenter(writer, message);
      return;
    case "features_reply":
      sw.writeFeaturesReply(writer, message);
      return;
    case "get_config_reply":
    case "set_config":
      sw.writeConfig(writer, message);
      return;
    case "packet_in":
      packet.writePacketIn(writer, message);
      return;
    case "flow_removed":
      flow.writeFlowRemoved(writer, message);
      return;
    case "port_status":
      port.writePortStatus(writer, message);
      return;
    case "packet_out":
      packet.writePacketOut(writer, message);
      return;
    case "flow_mod":
      flow.writeFlowMod(writer, message);
      return;
    case "group_mod":
      group.writeGroupMod(writer, message);
      return;
    case "port_mod":
      port.writePortMod(writer, message);
      return;
    case "table_mod":
      sw.writeTableMod(writer, message);
      return;
    case "multipart_request":
      multipart.writeMultipartRequest(writer, message);
      return;
    case "multipart_reply":
      multipart.writeMultipartReply(writer, message);
      return;
    case "queue_get_config_request":
      port.writeQueueConfigRequest(writer, message);
      return;
    case "queue_get_config_reply":
      port.writeQueueConfigReply(writer, message);
      return;
    case "role_request":
    case "role_reply":
      sw.writeRole(writer, message);
      return;
    case "get_async_reply":
    case "set_async":
      sw.writeAsync(writer, message);
      return;
    case "meter_mod":
      meter.writeMeterMod(writer, message);
  }
}
