// Packet-in and packet-out as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.7 and 7.4.1.

import type { Match } from "./actions.js";
import { readActions, writeActions } from "./actions-wire.js";
import {
  OFP11_VERSION,
  OFP13_VERSION,
  OFP15_VERSION,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_LOCAL,
  OFPP_MAX,
} from "./constants.js";
import { readMatch, writeMatch } from "./match-wire.js";
import type { PacketIn, PacketOut } from "./messages.js";
import { OFPR, reasonCode } from "./nicira-wire.js";
import { bigEndian, numberOf } from "./v10/numbers.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const NO_COOKIE = 0xffffffffffffffffn;

/** Before 1.3 no packet-in tells a cookie; 1.1 has the port in place of a match. */
function readOldPacketIn(reader: Reader, xid: number): PacketIn {
  const bufferId = reader.u32("packet_in.buffer_id");
  const isFirst = reader.version === OFP11_VERSION;
  const inPort = isFirst ? reader.port("packet_in.in_port") : 0;
  if (isFirst) reader.skip(4);
  const totalLength = reader.u16("packet_in.total_len");
  const reasonCode = reader.u8("packet_in.reason");
  const tableId = reader.u8("packet_in.table_id");
  const port: Match = [{ field: "in_port", value: bigEndian(inPort, 4) }];
  const match = isFirst ? port : readMatch(reader, true);
  if (!isFirst) reader.skip(2);
  const cookie = NO_COOKIE;
  return {
    type: "packet_in",
    xid,
    bufferId,
    totalLength,
    reason: reasonOf(reasonCode, reader),
    tableId,
    cookie,
    match,
    data: reader.rest(),
  };
}

function reasonOf(code: number, reader: Reader): PacketIn["reason"] {
  const reason = nameOf(OFPR, code);
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "packet_in.reason", `${code}`);
  return reason;
}

export function readPacketIn(reader: Reader, xid: number): PacketIn {
  if (reader.version < OFP13_VERSION) return readOldPacketIn(reader, xid);
  const bufferId = reader.u32("packet_in.buffer_id");
  const totalLength = reader.u16("packet_in.total_len");
  const reasonCode = reader.u8("packet_in.reason");
  const tableId = reader.u8("packet_in.table_id");
  const cookie = reader.u64("packet_in.cookie");
  const match = readMatch(reader, true);
  reader.skip(2);
  return {
    type: "packet_in",
    xid,
    bufferId,
    totalLength,
    reason: reasonOf(reasonCode, reader),
    tableId,
    cookie,
    match,
    data: reader.rest(),
  };
}

export function writePacketIn(writer: Writer, message: PacketIn): void {
  writer
    .u32(message.bufferId)
    .u16(message.totalLength)
    .u8(reasonCode(message.reason, writer.version))
    .u8(message.tableId);
  writer.u64(message.cookie);
  writeMatch(writer, message.match);
  writer.zero(2).put(message.data);
}

export function readPacketOut(reader: Reader, xid: number): PacketOut {
  if (reader.version === OFP15_VERSION) return readPacketOut15(reader, xid);
  const bufferId = reader.u32("packet_out.buffer_id");
  const inPort = reader.port("packet_out.in_port");
  if (inPort > OFPP_MAX && !isSource(inPort)) {
    throw reader.fail("OFPBRC_BAD_PORT", "packet_out.in_port", `0x${inPort.toString(16)} is no source`);
  }
  const actionsSize = reader.u16("packet_out.actions_len");
  reader.skip(6);
  const actions = readActions(reader.within(actionsSize, "packet_out.actions", "OFPBAC_BAD_LEN"));
  return { type: "packet_out", xid, bufferId, inPort, actions, data: reader.rest() };
}

/** 1.5 has a match of what is known of the packet, of which the port is told. */
function readPacketOut15(reader: Reader, xid: number): PacketOut {
  const bufferId = reader.u32("packet_out.buffer_id");
  const actionsSize = reader.u16("packet_out.actions_len");
  reader.skip(2);
  const port = readMatch(reader).find(({ field }) => field === "in_port");
  const inPort = port === undefined ? OFPP_ANY : numberOf(port.value);
  const actions = readActions(reader.within(actionsSize, "packet_out.actions", "OFPBAC_BAD_LEN"));
  return { type: "packet_out", xid, bufferId, inPort, actions, data: reader.rest() };
}

function isSource(port: number): boolean {
  return port === OFPP_CONTROLLER || port === OFPP_LOCAL || port === OFPP_ANY;
}

export function writePacketOut(writer: Writer, message: PacketOut): void {
  const is15 = writer.version === OFP15_VERSION;
  writer.u32(message.bufferId);
  if (!is15) writer.u32(message.inPort);
  const lengthAt = writer.size;
  writer.u16(0).zero(is15 ? 2 : 6);
  if (is15) writeMatch(writer, [{ field: "in_port", value: portBytes(message.inPort) }]);
  const start = writer.size;
  writeActions(writer, message.actions);
  writer.setLength(lengthAt, start);
  writer.put(message.data);
}

function portBytes(port: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, port);
  return bytes;
}
