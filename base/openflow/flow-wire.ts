// Flow-mod and flow-removed as bytes.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.4.1 and 7.4.2.

import { OFP14_VERSION, OFP15_VERSION } from "./constants.js";
import { readInstructions, writeInstructions } from "./instructions-wire.js";
import { readMatch, writeMatch } from "./match-wire.js";
import type { FlowMod, FlowModCommand, FlowRemoved, FlowRemovedReason } from "./messages.js";
import { readOxs } from "./v15/stats-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const OFPFC: Readonly<Record<FlowModCommand, number>> = {
  add: 0,
  modify: 1,
  modify_strict: 2,
  delete: 3,
  delete_strict: 4,
};
export const OFPRR: Readonly<Record<FlowRemovedReason, number>> = {
  idle_timeout: 0,
  hard_timeout: 1,
  delete: 2,
  group_delete: 3,
};
/** Flags that there are, by the version's number on the wire. */
const OFPFF_ALL: Readonly<Record<number, number>> = { 2: 0x03, 3: 0x07 };
const OFPFF_ALL_13 = 0x1f;

export function readFlowMod(reader: Reader, xid: number): FlowMod {
  const cookie = reader.u64("flow_mod.cookie");
  const cookieMask = reader.u64("flow_mod.cookie_mask");
  const tableId = reader.u8("flow_mod.table_id");
  const commandAt = reader.offset;
  const command = nameOf(OFPFC, reader.u8("flow_mod.command"));
  const idleTimeoutSeconds = reader.u16("flow_mod.idle_timeout");
  const hardTimeoutSeconds = reader.u16("flow_mod.hard_timeout");
  const priority = reader.u16("flow_mod.priority");
  const bufferId = reader.u32("flow_mod.buffer_id");
  const outPortAt = reader.offset;
  reader.skip(4);
  const outGroup = reader.u32("flow_mod.out_group");
  const flagsAt = reader.offset;
  const flags = reader.u16("flow_mod.flags");
  const last = reader.u16("flow_mod.importance");
  const importance = reader.version >= OFP14_VERSION ? last : 0;
  // What is wrong is told in the order in which Open vSwitch looks: the match, the fields before it, the instructions.
  const match = readMatch(reader);
  const behind = reader.offset;
  reader.offset = outPortAt;
  const outPort = reader.port("flow_mod.out_port");
  reader.offset = behind;
  if (command === undefined) {
    throw reader.fail("OFPFMFC_BAD_COMMAND", "flow_mod.command", "unknown command", commandAt);
  }
  const instructions = readInstructions(reader);
  if ((flags & ~(OFPFF_ALL[reader.version] ?? OFPFF_ALL_13)) !== 0) {
    throw reader.fail(
      "OFPFMFC_BAD_FLAGS",
      "flow_mod.flags",
      `unknown bits in 0x${flags.toString(16)}`,
      flagsAt,
    );
  }
  return {
    type: "flow_mod",
    xid,
    command,
    tableId,
    cookie,
    cookieMask,
    idleTimeoutSeconds,
    hardTimeoutSeconds,
    priority,
    bufferId,
    outPort,
    outGroup,
    flags,
    ...(importance === 0 ? {} : { importance }),
    match,
    instructions,
  };
}

export function writeFlowMod(writer: Writer, mod: FlowMod): void {
  writer.u64(mod.cookie).u64(mod.cookieMask).u8(mod.tableId).u8(OFPFC[mod.command]);
  writer.u16(mod.idleTimeoutSeconds).u16(mod.hardTimeoutSeconds).u16(mod.priority);
  writer.u32(mod.bufferId).u32(mod.outPort).u32(mod.outGroup);
  writer.u16(mod.flags & (OFPFF_ALL[writer.version] ?? OFPFF_ALL_13));
  writer.u16(writer.version >= OFP14_VERSION ? (mod.importance ?? 0) : 0);
  writeMatch(writer, mod.match);
  writeInstructions(writer, mod.instructions);
}

/** 1.5 puts the table first and the counters last. */
function readFlowRemoved15(reader: Reader, xid: number): FlowRemoved {
  const tableId = reader.u8("flow_removed.table_id");
  const reason = readReason(reader);
  const priority = reader.u16("flow_removed.priority");
  const idleTimeoutSeconds = reader.u16("flow_removed.idle_timeout");
  const hardTimeoutSeconds = reader.u16("flow_removed.hard_timeout");
  const cookie = reader.u64("flow_removed.cookie");
  const match = readMatch(reader);
  const { durationSeconds, durationNanoseconds, packetCount, byteCount } = readOxs(reader);
  return {
    ...{ type: "flow_removed", xid, cookie, priority, reason, tableId, durationSeconds, durationNanoseconds },
    ...{ idleTimeoutSeconds, hardTimeoutSeconds, packetCount, byteCount, match },
  };
}

function readReason(reader: Reader): FlowRemovedReason {
  const reason = nameOf(OFPRR, reader.u8("flow_removed.reason"));
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "flow_removed.reason", "unknown reason");
  return reason;
}

export function readFlowRemoved(reader: Reader, xid: number): FlowRemoved {
  if (reader.version === OFP15_VERSION) return readFlowRemoved15(reader, xid);
  const cookie = reader.u64("flow_removed.cookie");
  const priority = reader.u16("flow_removed.priority");
  const reason = readReason(reader);
  return {
    type: "flow_removed",
    xid,
    cookie,
    priority,
    reason,
    tableId: reader.u8("flow_removed.table_id"),
    durationSeconds: reader.u32("flow_removed.duration_sec"),
    durationNanoseconds: reader.u32("flow_removed.duration_nsec"),
    idleTimeoutSeconds: reader.u16("flow_removed.idle_timeout"),
    hardTimeoutSeconds: reader.u16("flow_removed.hard_timeout"),
    packetCount: reader.u64("flow_removed.packet_count"),
    byteCount: reader.u64("flow_removed.byte_count"),
    match: readMatch(reader),
  };
}

export function writeFlowRemoved(writer: Writer, message: FlowRemoved): void {
  writer.u64(message.cookie).u16(message.priority).u8(OFPRR[message.reason]).u8(message.tableId);
  writer.u32(message.durationSeconds).u32(message.durationNanoseconds);
  writer.u16(message.idleTimeoutSeconds).u16(message.hardTimeoutSeconds);
  writer.u64(message.packetCount).u64(message.byteCount);
  writeMatch(writer, message.match);
}
