// Whole messages of OpenFlow 1.0, as the values of 1.3 that mean the same.
// Source: OpenFlow Switch Specification 1.0.0, 5.1. Invariant: as that of the 1.3 codec (../message-wire.ts).

import { type CommonType, readCommon, writeCommon } from "../common-wire.js";
import { OFP_HEADER_SIZE } from "../constants.js";
import { readExtension, writeExtension } from "../extension-wire.js";
import type { MessageHeader } from "../message-header.js";
import type { OpenFlowMessage } from "../messages.js";
import { Reader, type ReaderChecks, WireError, Writer } from "../wire.js";
import * as flow from "./flow-wire.js";
import { fitsMatch10 } from "./match-wire.js";
import {
  readMultipartReply10,
  readMultipartRequest10,
  writeMultipartReply10,
  writeMultipartRequest10,
} from "./multipart-wire.js";
import { narrowPort, OFP10_VERSION, OFPT10, typeOf10, type WireType10, widenPort } from "./numbers.js";
import * as port from "./port-wire.js";

/** What the two ends have arranged beyond the version. */
export interface Dialect10 {
  /** The upper byte of a flow-mod's command is a table (NXT_FLOW_MOD_TABLE_ID). */
  readonly flowModTableId: boolean;
  /** Flow-mods are written in Nicira's form also where the standard's would do. */
  readonly isNxm?: boolean;
}

/** `bytes` is one message whose header is `header`. Throws WireError. */
export function parseMessage10(
  bytes: Uint8Array,
  header: MessageHeader,
  dialect: Dialect10,
  checks?: ReaderChecks,
): OpenFlowMessage {
  const type = typeOf10(header.typeCode);
  if (type === undefined)
    throw new WireError("OFPBRC_BAD_TYPE", "header.type", 1, `unknown type ${header.typeCode}`);
  const reader = new Reader(bytes, OFP_HEADER_SIZE, bytes.byteLength, "OFPBRC_BAD_LEN", OFP10_VERSION, {
    checks,
  });
  const message = readBody(type, reader, header, dialect);
  reader.finish(type);
  return message;
}

function readBody(
  type: WireType10,
  reader: Reader,
  { xid, version }: MessageHeader,
  dialect: Dialect10,
): OpenFlowMessage {
  const common = readCommon(type, reader, xid, version);
  if (common !== undefined) return common;
  switch (type as Exclude<WireType10, CommonType>) {
    case "experimenter":
      return readExtension(reader, xid, { version: OFP10_VERSION, ...dialect });
    case "features_reply":
      return port.readFeaturesReply10(reader, xid);
    case "packet_in":
      return port.readPacketIn10(reader, xid);
    case "flow_removed":
      return flow.readFlowRemoved10(reader, xid);
    case "port_status":
      return port.readPortStatus10(reader, xid);
    case "packet_out":
      return port.readPacketOut10(reader, xid);
    case "flow_mod":
      return flow.readFlowMod10(reader, xid, dialect.flowModTableId);
    case "port_mod":
      return port.readPortMod10(reader, xid);
    case "multipart_request":
      return readMultipartRequest10(reader, xid);
    case "multipart_reply":
      return readMultipartReply10(reader, xid);
    case "queue_get_config_request": {
      const queuePort = widenPort(reader.u16("queue_get_config.port"));
      reader.skip(2);
      return { type: "queue_get_config_request", xid, port: queuePort };
    }
    case "queue_get_config_reply":
      return port.readQueueConfigReply10(reader, xid);
  }
}

/** The bytes of one message. Throws RangeError for what 1.0 has no words for, and for more than 65535 bytes. */
export function encodeMessage10(message: OpenFlowMessage, dialect: Dialect10): Uint8Array {
  const writer = new Writer(OFP10_VERSION);
  const type = message.type === "flow_mod" && dialect.isNxm === true ? "experimenter" : wireType(message);
  writer
    .u8(message.type === "hello" ? message.version : OFP10_VERSION)
    .u8(OFPT10[type])
    .u16(0)
    .u32(message.xid);
  if (type === "experimenter") writeExtension(writer, message, { version: OFP10_VERSION, ...dialect });
  else writeBody(writer, message, dialect);
  writer.setLength(2, 0);
  return writer.take();
}

function wireType(message: OpenFlowMessage): WireType10 {
  switch (message.type) {
    case "experimenter_error":
      return "error";
    case "flow_mod":
      return needsNxm(message) ? "experimenter" : "flow_mod";
    case "flow_removed":
      return message.encoding === "nxm" ? "experimenter" : "flow_removed";
    case "packet_in":
      return message.encoding === undefined ? "packet_in" : "experimenter";
    default:
      return message.type in OFPT10 ? (message.type as WireType10) : "experimenter";
  }
}

function needsNxm(message: OpenFlowMessage & { type: "flow_mod" }): boolean {
  return message.cookieMask !== 0n || !fitsMatch10(message.match);
}

function writeBody(writer: Writer, message: OpenFlowMessage, dialect: Dialect10): void {
  if (writeCommon(writer, message)) return;
  switch (message.type) {
    case "features_reply":
      port.writeFeaturesReply10(writer, message);
      return;
    case "packet_in":
      port.writePacketIn10(writer, message);
      return;
    case "flow_removed":
      flow.writeFlowRemoved10(writer, message);
      return;
    case "port_status":
      port.writePortStatus10(writer, message);
      return;
    case "packet_out":
      port.writePacketOut10(writer, message);
      return;
    case "flow_mod":
      flow.writeFlowMod10(writer, message, dialect.flowModTableId);
      return;
    case "port_mod":
      port.writePortMod10(writer, message);
      return;
    case "multipart_request":
      writeMultipartRequest10(writer, message);
      return;
    case "multipart_reply":
      writeMultipartReply10(writer, message);
      return;
    case "queue_get_config_request":
      writer.u16(narrowPort(message.port)).zero(2);
      return;
    case "queue_get_config_reply":
      port.writeQueueConfigReply10(writer, message);
      return;
    default:
  }
}
