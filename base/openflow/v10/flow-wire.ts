// Flow-mod and flow-removed of OpenFlow 1.0, with struct ofp_match or, in Nicira's variants, with an NXM match.
// Source: OpenFlow Switch Specification 1.0.0, 5.3.3 and 5.4.3. A flow-mod here is read as the 1.3 flow-mod that does
// the same: one list of applied actions, counters reset by an add, and `openflow10` for what has no other word.

import type { Instruction } from "../actions.js";
import {
  OFPFF_CHECK_OVERLAP,
  OFPFF_RESET_COUNTS,
  OFPFF_SEND_FLOW_REM,
  OFPG_ANY,
  OFPTT_ALL,
} from "../constants.js";
import type { FlowMod, FlowModCommand, FlowRemoved, FlowRemovedReason } from "../messages.js";
import { readNxmMatch, writeNxmMatch } from "../nxm-match-wire.js";
import { nameOf, type Reader, type Writer } from "../wire.js";
import { actionsOf10, readActions10, writeActions10 } from "./actions-wire.js";
import { readMatch10, writeMatch10 } from "./match-wire.js";
import { narrowPort, widenPort } from "./numbers.js";

const OFPFC: Readonly<Record<FlowModCommand, number>> = {
  add: 0,
  modify: 1,
  modify_strict: 2,
  delete: 3,
  delete_strict: 4,
};
const OFPRR: Readonly<Record<FlowRemovedReason, number>> = {
  idle_timeout: 0,
  hard_timeout: 1,
  delete: 2,
  // 1.0 has no groups.
  group_delete: 2,
};
const OFPFF10_EMERG = 1 << 2;
const FLAGS_KNOWN = OFPFF_SEND_FLOW_REM | OFPFF_CHECK_OVERLAP;

/** `hasTableId`: the command's upper byte is a table, as NXT_FLOW_MOD_TABLE_ID arranges. */
export function readFlowMod10(reader: Reader, xid: number, hasTableId: boolean): FlowMod {
  const match = readMatch10(reader);
  const cookie = reader.u64("flow_mod.cookie");
  const raw = readRaw(reader);
  const rest = restOf(reader, raw, hasTableId);
  const instructions = readList(reader);
  checkFlags(reader, raw);
  return { ...rest, type: "flow_mod", xid, cookie, cookieMask: 0n, match, instructions };
}

/** NXT_FLOW_MOD. A cookie in the match restricts modify and delete. */
export function readNiciraFlowMod(reader: Reader, xid: number, hasTableId: boolean): FlowMod {
  const cookie = reader.u64("flow_mod.cookie");
  const raw = readRaw(reader);
  const size = reader.u16("flow_mod.match_len");
  reader.skip(6);
  // What is wrong is told in the order in which Open vSwitch looks.
  const { match, cookie: wanted, cookieMask } = readNxmMatch(reader, size);
  const rest = restOf(reader, raw, hasTableId);
  const instructions = readList(reader);
  checkFlags(reader, raw);
  const isRestricted = cookieMask !== 0n && rest.command !== "add";
  return {
    ...rest,
    type: "flow_mod",
    xid,
    cookie: isRestricted ? wanted : cookie,
    cookieMask: isRestricted ? cookieMask : 0n,
    match,
    instructions,
  };
}

type Rest = Omit<FlowMod, "type" | "xid" | "cookie" | "cookieMask" | "match" | "instructions">;

interface Raw {
  readonly at: number;
  /** Of the command, with a table above it where that is arranged. */
  readonly code: number;
  readonly idleTimeoutSeconds: number;
  readonly hardTimeoutSeconds: number;
  readonly priority: number;
  readonly bufferId: number;
  readonly outPort: number;
  readonly flags: number;
}

function readRaw(reader: Reader): Raw {
  return {
    at: reader.offset,
    code: reader.u16("flow_mod.command"),
    idleTimeoutSeconds: reader.u16("flow_mod.idle_timeout"),
    hardTimeoutSeconds: reader.u16("flow_mod.hard_timeout"),
    priority: reader.u16("flow_mod.priority"),
    bufferId: reader.u32("flow_mod.buffer_id"),
    outPort: widenPort(reader.u16("flow_mod.out_port")),
    flags: reader.u16("flow_mod.flags"),
  };
}

function restOf(reader: Reader, { at, code, flags, ...raw }: Raw, hasTableId: boolean): Rest {
  const command = nameOf(OFPFC, hasTableId ? code & 0xff : code);
  if (command === undefined)
    throw reader.fail("OFPFMFC_BAD_COMMAND", "flow_mod.command", `unknown command ${code}`, at);
  const isAdd = command === "add";
  const named = hasTableId ? code >> 8 : OFPTT_ALL;
  return {
    ...raw,
    command,
    // The switch chooses where to add what names no table: the first.
    tableId: isAdd && named === OFPTT_ALL ? 0 : named,
    outGroup: OFPG_ANY,
    flags: isAdd ? flags | OFPFF_RESET_COUNTS : flags,
    openflow10: true,
  };
}

function checkFlags(reader: Reader, { flags }: Raw): void {
  if ((flags & ~(FLAGS_KNOWN | OFPFF10_EMERG)) !== 0)
    throw reader.fail("OFPFMFC_BAD_FLAGS", "flow_mod.flags", `unknown bits in 0x${flags.toString(16)}`);
  // Emergency flows are not kept: their table is full from the start.
  if ((flags & OFPFF10_EMERG) !== 0)
    throw reader.fail("OFPFMFC_TABLE_FULL", "flow_mod.flags", "emergency flows are not supported");
}

function readList(reader: Reader): readonly Instruction[] {
  const actions = readActions10(reader.within(reader.left, "flow_mod.actions", "OFPBAC_BAD_LEN"));
  return actions.length === 0 ? [] : [{ type: "apply_actions", actions }];
}

export function writeFlowMod10(writer: Writer, mod: FlowMod, hasTableId: boolean): void {
  writeMatch10(writer, mod.match);
  writer.u64(mod.cookie);
  writeRest(writer, mod, hasTableId);
  writeActions10(writer, actionsOf10(mod.instructions));
}

export function writeNiciraFlowMod(writer: Writer, mod: FlowMod, hasTableId: boolean): void {
  writer.u64(mod.cookie);
  writeRest(writer, mod, hasTableId);
  const lengthAt = writer.size;
  writer.u16(0).zero(6);
  const { match, cookie, cookieMask } = mod;
  writer.setU16(lengthAt, writeNxmMatch(writer, { match, cookie, cookieMask }));
  writeActions10(writer, actionsOf10(mod.instructions));
}

function writeRest(writer: Writer, mod: FlowMod, hasTableId: boolean): void {
  writer.u16(OFPFC[mod.command] | (hasTableId ? mod.tableId << 8 : 0));
  writer.u16(mod.idleTimeoutSeconds).u16(mod.hardTimeoutSeconds).u16(mod.priority).u32(mod.bufferId);
  writer.u16(narrowPort(mod.outPort)).u16(mod.flags & FLAGS_KNOWN);
}

// --- Flow-removed

export function readFlowRemoved10(reader: Reader, xid: number): FlowRemoved {
  const match = readMatch10(reader);
  const cookie = reader.u64("flow_removed.cookie");
  const priority = reader.u16("flow_removed.priority");
  const reason = readReason(reader);
  reader.skip(1);
  const times = readTimes(reader);
  reader.skip(2);
  const { idleTimeoutSeconds } = times;
  return {
    type: "flow_removed",
    xid,
    cookie,
    priority,
    reason,
    // 1.0 does not say which.
    tableId: OFPTT_ALL,
    ...times,
    idleTimeoutSeconds,
    hardTimeoutSeconds: 0,
    ...readCounts(reader),
    match,
  };
}

function readReason(reader: Reader): FlowRemovedReason {
  const code = reader.u8("flow_removed.reason");
  const reason = nameOf(OFPRR, code);
  if (reason === undefined) throw reader.fail("OFPBRC_BAD_TYPE", "flow_removed.reason", `${code}`);
  return reason;
}

function readTimes(reader: Reader) {
  return {
    durationSeconds: reader.u32("flow_removed.duration_sec"),
    durationNanoseconds: reader.u32("flow_removed.duration_nsec"),
    idleTimeoutSeconds: reader.u16("flow_removed.idle_timeout"),
  };
}

function readCounts(reader: Reader) {
  return {
    packetCount: reader.u64("flow_removed.packet_count"),
    byteCount: reader.u64("flow_removed.byte_count"),
  };
}

export function writeFlowRemoved10(writer: Writer, message: FlowRemoved): void {
  writeMatch10(writer, message.match);
  writer.u64(message.cookie).u16(message.priority).u8(OFPRR[message.reason]).zero(1);
  writer
    .u32(message.durationSeconds)
    .u32(message.durationNanoseconds)
    .u16(message.idleTimeoutSeconds)
    .zero(2);
  writer.u64(message.packetCount).u64(message.byteCount);
}

/** NXT_FLOW_REMOVED. Its table is one more than the number; 0 says none. */
export function readNiciraFlowRemoved(reader: Reader, xid: number): FlowRemoved {
  const cookie = reader.u64("flow_removed.cookie");
  const priority = reader.u16("flow_removed.priority");
  const reason = readReason(reader);
  const tableId = Math.max(0, reader.u8("flow_removed.table_id") - 1);
  const times = readTimes(reader);
  const hardTimeoutSeconds = reader.u16("flow_removed.hard_timeout");
  const size = reader.u16("flow_removed.match_len");
  const counts = readCounts(reader);
  const { match } = readNxmMatch(reader, size);
  return {
    type: "flow_removed",
    xid,
    cookie,
    priority,
    reason,
    tableId,
    ...times,
    hardTimeoutSeconds,
    ...counts,
    match,
    encoding: "nxm",
  };
}

export function writeNiciraFlowRemoved(writer: Writer, message: FlowRemoved): void {
  writer
    .u64(message.cookie)
    .u16(message.priority)
    .u8(OFPRR[message.reason])
    .u8(message.tableId + 1);
  writer.u32(message.durationSeconds).u32(message.durationNanoseconds);
  writer.u16(message.idleTimeoutSeconds).u16(message.hardTimeoutSeconds);
  const lengthAt = writer.size;
  writer.u16(0).u64(message.packetCount).u64(message.byteCount);
  writer.setU16(lengthAt, writeNxmMatch(writer, { match: message.match, cookie: 0n, cookieMask: 0n }));
}
