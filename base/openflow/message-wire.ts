// Whole messages: the header, and the family that reads or writes each type.
// Source: OpenFlow Switch Specification 1.3.5, 7.1.
// Invariant: parseMessage(encodeMessage(m)) equals m for every canonical m; on any other bytes parseMessage either
// returns a message or throws a WireError, nothing else.

import { readBundleAdd, readBundleControl, writeBundleAdd, writeBundleControl } from "./bundle-wire.js";
import { type CommonType, readCommon, writeCommon } from "./common-wire.js";
import {
  OFP_HEADER_SIZE,
  type OFP11_VERSION,
  type OFP12_VERSION,
  OFP13_VERSION,
  OFP14_VERSION,
  type OFP15_VERSION,
  OFPT,
} from "./constants.js";
import type { BundleAdd, BundleControl } from "./extension-messages.js";
import { DIALECT_13, readExtension, writeExtension } from "./extension-wire.js";
import * as flow from "./flow-wire.js";
import * as group from "./group-wire.js";
import { type MessageHeader, parseHeader } from "./message-header.js";
import type { OpenFlowMessage, Unsent } from "./messages.js";
import * as meter from "./meter-wire.js";
import * as multipart from "./multipart-wire.js";
import * as packet from "./packet-wire.js";
import * as port from "./port-wire.js";
import * as sw from "./switch-wire.js";
import { type Dialect10, encodeMessage10, parseMessage10 } from "./v10/message-wire.js";
import { OFP10_VERSION } from "./v10/numbers.js";
import { nameOf, Reader, type ReaderChecks, WireError, Writer } from "./wire.js";

type WireType = keyof typeof OFPT;

/** Versions whose messages are read and written for people to look at; no connection speaks them. */
export type ToolVersion =
  | typeof OFP11_VERSION
  | typeof OFP12_VERSION
  | typeof OFP14_VERSION
  | typeof OFP15_VERSION;

/** Which version a message is in, and what the two ends have arranged beyond it. */
export type Dialect =
  | { readonly version: typeof OFP13_VERSION }
  | ({ readonly version: typeof OFP10_VERSION } & Dialect10);

/** What messages can be read and written in. */
export type AnyDialect = Dialect | { readonly version: ToolVersion };

export const OPENFLOW_13: Dialect = { version: OFP13_VERSION };

/** Parses exactly one message. Throws WireError. Byte fields of the result are copies. */
export function parseMessage(
  bytes: Uint8Array,
  dialect: AnyDialect = OPENFLOW_13,
  checks?: ReaderChecks,
): OpenFlowMessage {
  const header = parseHeader(bytes);
  if (header === undefined || header.length !== bytes.byteLength) {
    throw new WireError(
      "OFPBRC_BAD_LEN",
      "header.length",
      header === undefined ? 0 : 2,
      `${header?.length} for ${bytes.byteLength} bytes`,
    );
  }
  const isSymmetric = header.typeCode === OFPT.hello || header.typeCode === OFPT.error;
  // A peer that has not agreed on a version yet may say hello and complain in its own.
  if (header.version !== dialect.version && !isSymmetric) {
    throw new WireError("OFPBRC_BAD_VERSION", "header.version", 0, `version ${header.version}`);
  }
  if (dialect.version === OFP10_VERSION) return parseMessage10(bytes, header, dialect, checks);
  const { version } = dialect;
  const later = version >= OFP14_VERSION ? readLater(bytes, header, version) : undefined;
  if (later !== undefined) return later;
  const type = nameOf(OFPT, header.typeCode);
  if (type === undefined) {
    throw new WireError("OFPBRC_BAD_TYPE", "header.type", 1, `unknown type ${header.typeCode}`);
  }
  const reader = new Reader(bytes, OFP_HEADER_SIZE, bytes.byteLength, "OFPBRC_BAD_LEN", version, {
    checks,
  });
  const message = readBody(type, reader, header);
  reader.finish(type);
  return message;
}

const OFPT_BUNDLE_CONTROL = 33;
const OFPT_BUNDLE_ADD_MESSAGE = 34;

/** What 1.3 has as extensions of the ONF; undefined for other types. */
function readLater(bytes: Uint8Array, { typeCode, xid }: MessageHeader, version: number) {
  const reader = new Reader(bytes, OFP_HEADER_SIZE, bytes.byteLength, "OFPBRC_BAD_LEN", version);
  if (typeCode === OFPT_BUNDLE_CONTROL) return readBundleControl(reader, xid);
  return typeCode === OFPT_BUNDLE_ADD_MESSAGE ? readBundleAdd(reader, xid) : undefined;
}

function readBody(type: WireType, reader: Reader, { xid, version }: MessageHeader): OpenFlowMessage {
  const common = readCommon(type, reader, xid, version);
  if (common !== undefined) return common;
  switch (type as Exclude<WireType, CommonType>) {
    case "experimenter":
      return readExtension(reader, xid, DIALECT_13);
    case "get_async_request":
      return { type: "get_async_request", xid };
    case "features_reply":
      return sw.readFeaturesReply(reader, xid);
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
      return sw.readRole(reader, xid, type as "role_request");
    case "get_async_reply":
    case "set_async":
      return sw.readAsync(reader, xid, type as "set_async");
    case "meter_mod":
      return meter.readMeterMod(reader, xid);
  }
}

/** The bytes of one message. Throws RangeError when it does not fit 65535 bytes (see splitMultipartBody). */
export function encodeMessage(message: OpenFlowMessage, dialect: AnyDialect = OPENFLOW_13): Uint8Array {
  if (dialect.version === OFP10_VERSION) return encodeMessage10(message, dialect);
  const writer = new Writer(dialect.version);
  writeMessage(writer, message, message.xid);
  return writer.take();
}

/** Writes one message in the writer's version, 1.1 or later, behind what is there. Throws as encodeMessage does. */
export function writeMessage(writer: Writer, message: Unsent, xid: number): void {
  const start = writer.size;
  const { version } = writer;
  if (version >= OFP14_VERSION && (message.type === "bundle_control" || message.type === "bundle_add"))
    writeBundle(writer, message as BundleControl | BundleAdd, xid);
  else {
    const type = wireType(message);
    writer
      .u8(message.type === "hello" ? message.version : version)
      .u8(OFPT[type])
      .u16(0)
      .u32(xid);
    // The xid is in the header and nowhere else.
    if (type === "experimenter") writeExtension(writer, message as OpenFlowMessage, DIALECT_13);
    else writeBody(writer, message as OpenFlowMessage);
  }
  writer.setLength(start + 2, start);
}

/** From 1.4 on with types of their own. */
function writeBundle(writer: Writer, message: BundleControl | BundleAdd, xid: number): void {
  const isControl = message.type === "bundle_control";
  writer.u8(writer.version).u8(isControl ? OFPT_BUNDLE_CONTROL : OFPT_BUNDLE_ADD_MESSAGE);
  writer.u16(0).u32(xid);
  if (isControl) writeBundleControl(writer, message);
  else writeBundleAdd(writer, message);
}

function wireType(message: Unsent): WireType {
  switch (message.type) {
    case "experimenter_error":
      return "error";
    case "packet_in":
    case "flow_removed":
      return message.encoding === undefined ? message.type : "experimenter";
    default:
      return message.type in OFPT ? (message.type as WireType) : "experimenter";
  }
}

function writeBody(writer: Writer, message: OpenFlowMessage): void {
  if (writeCommon(writer, message)) return;
  switch (message.type) {
    case "features_reply":
      sw.writeFeaturesReply(writer, message);
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
      return;
    default:
  }
}
