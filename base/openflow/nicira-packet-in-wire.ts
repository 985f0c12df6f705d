// Nicira's two packet-in formats as bytes: one with fixed fields and an NXM match, one of properties.
// Source: layouts as ovs-ofctl prints them. A reader here starts behind the subtype.

import { OFP_NO_BUFFER } from "./constants.js";
import { readContinuation, readProperties, writeContinuation, writeProperty } from "./continuation-wire.js";
import type { Resume } from "./extension-messages.js";
import type { PacketIn } from "./messages.js";
import { OFPR, reasonCode } from "./nicira-wire.js";
import { readNxmEntries, readNxmMatch, writeNxmEntries, writeNxmMatch } from "./nxm-match-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const NO_COOKIE = 0xffffffffffffffffn;

const NXPINT_PACKET = 0;
const NXPINT_FULL_LEN = 1;
const NXPINT_BUFFER_ID = 2;
const NXPINT_TABLE_ID = 3;
const NXPINT_COOKIE = 4;
const NXPINT_REASON = 5;
const NXPINT_METADATA = 6;
const NXPINT_USERDATA = 7;
const NXPINT_CONTINUATION = 8;

export function readNiciraPacketIn(reader: Reader, xid: number): PacketIn {
  const bufferId = reader.u32("packet_in.buffer_id");
  const totalLength = reader.u16("packet_in.total_len");
  const reason = readReason(reader);
  const tableId = reader.u8("packet_in.table_id");
  const cookie = reader.u64("packet_in.cookie");
  const size = reader.u16("packet_in.match_len");
  reader.skip(6);
  const { match } = readNxmMatch(reader, size, true);
  reader.skip(2);
  const data = reader.rest();
  return {
    type: "packet_in",
    xid,
    bufferId,
    totalLength,
    reason,
    tableId,
    cookie,
    match,
    data,
    encoding: "nxm",
  };
}

function readReason(reader: Reader): PacketIn["reason"] {
  const code = reader.u8("packet_in.reason");
  const reason = nameOf(OFPR, code);
  if (reason === undefined)
    throw reader.fail("OFPBRC_BAD_TYPE", "packet_in.reason", `unknown reason ${code}`);
  return reason;
}

export function writeNiciraPacketIn(writer: Writer, message: PacketIn): void {
  writer
    .u32(message.bufferId)
    .u16(message.totalLength)
    .u8(reasonCode(message.reason, writer.version))
    .u8(message.tableId);
  writer.u64(message.cookie);
  const lengthAt = writer.size;
  writer.u16(0).zero(6);
  writer.setU16(lengthAt, writeNxmMatch(writer, { match: message.match, cookie: 0n, cookieMask: 0n }));
  writer.zero(2).put(message.data);
}

// --- Properties

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function readNiciraPacketIn2(reader: Reader, xid: number): PacketIn {
  const message: Mutable<PacketIn> = {
    type: "packet_in",
    xid,
    bufferId: OFP_NO_BUFFER,
    totalLength: 0,
    reason: "no_match",
    tableId: 0,
    cookie: NO_COOKIE,
    match: [],
    data: new Uint8Array(0),
    encoding: "nxm2",
  };
  readProperties(reader, "packet_in2", (type, body) => readProperty(message, type, body));
  if (message.totalLength === 0) message.totalLength = message.data.byteLength;
  return message;
}

function readProperty(message: Mutable<PacketIn>, type: number, body: Reader): void {
  switch (type) {
    case NXPINT_PACKET:
      message.data = body.rest();
      return;
    case NXPINT_FULL_LEN:
      message.totalLength = body.u32("packet_in2.full_len");
      return;
    case NXPINT_BUFFER_ID:
      message.bufferId = body.u32("packet_in2.buffer_id");
      return;
    case NXPINT_TABLE_ID:
      message.tableId = body.u8("packet_in2.table_id");
      return;
    case NXPINT_COOKIE:
      body.skip(4);
      message.cookie = body.u64("packet_in2.cookie");
      return;
    case NXPINT_REASON:
      message.reason = readReason(body);
      return;
    case NXPINT_METADATA:
      message.match = readNxmEntries(body, true).match;
      return;
    case NXPINT_USERDATA:
      message.userdata = body.rest();
      return;
    case NXPINT_CONTINUATION:
      body.skip(4);
      message.continuation = readContinuation(body);
      return;
    default: // Other ends may know more.
  }
}

export function writeNiciraPacketIn2(writer: Writer, message: PacketIn): void {
  const property = (type: number, write: () => void): void => writeProperty(writer, type, write);
  property(NXPINT_PACKET, () => writer.put(message.data));
  if (message.totalLength !== message.data.byteLength)
    property(NXPINT_FULL_LEN, () => writer.u32(message.totalLength));
  if (message.bufferId !== OFP_NO_BUFFER) property(NXPINT_BUFFER_ID, () => writer.u32(message.bufferId));
  property(NXPINT_TABLE_ID, () => writer.u8(message.tableId));
  if (message.cookie !== NO_COOKIE) property(NXPINT_COOKIE, () => writer.zero(4).u64(message.cookie));
  property(NXPINT_REASON, () => writer.u8(reasonCode(message.reason, writer.version)));
  property(NXPINT_METADATA, () => writeNxmEntries(writer, message.match));
  const { continuation, userdata } = message;
  if (continuation !== undefined)
    property(NXPINT_CONTINUATION, () => {
      writer.zero(4);
      writeContinuation(writer, continuation);
    });
  if (userdata !== undefined) property(NXPINT_USERDATA, () => writer.put(userdata));
}

// --- NXT_RESUME: the same properties, on their way back

export function readResume(reader: Reader, xid: number): Resume {
  const { data, tableId, cookie, reason, match, continuation } = readNiciraPacketIn2(reader, xid);
  if (continuation === undefined)
    throw reader.fail("NXR_STALE", "resume.continuation", "is not there: nothing was paused");
  return { type: "resume", xid, data, tableId, cookie, reason, match, continuation };
}

export function writeResume(writer: Writer, { xid, ...message }: Resume): void {
  const { data } = message;
  const rest = { bufferId: OFP_NO_BUFFER, totalLength: data.byteLength } as const;
  writeNiciraPacketIn2(writer, { ...message, ...rest, xid, type: "packet_in" });
}
