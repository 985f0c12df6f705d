// Flow monitor requests and updates as bytes: Nicira's for OpenFlow 1.0, and the ONF's for 1.3.
// Source: ONF extension 187, and Nicira's, of which it is a copy with the ports, matches and instructions of 1.3; both
// as ovs-ofctl sends and prints them.

import type { Instruction, Match } from "./actions.js";
import type { FlowMonitorFlags, FlowMonitorRequest, FlowUpdate, FlowUpdateFull } from "./flow-monitor.js";
import { OFPRR } from "./flow-wire.js";
import { readInstructions, writeInstructions } from "./instructions-wire.js";
import { readMatch, writeMatch } from "./match-wire.js";
import { readNxmMatch, writeNxmMatch } from "./nxm-match-wire.js";
import { actionsOf10, readActions10, writeActions10 } from "./v10/actions-wire.js";
import { narrowPort, widenPort } from "./v10/numbers.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

/** Experimenter multipart type of the ONF's. */
export const ONFST_FLOW_MONITOR = 1870;
/** Statistics subtype of Nicira's. */
export const NXST_FLOW_MONITOR = 2;

const FLAG_BITS = ["initial", "add", "delete", "modify", "actions", "own"] as const;
const EVENTS: Readonly<Record<FlowUpdate["event"], number>> = {
  added: 0,
  deleted: 1,
  modified: 2,
  abbreviated: 3,
};
const OFPMT_OXM = 1;

/** What the two differ in: port numbers, match, and how a flow's actions are written. */
interface Variant {
  readonly readMonitorMatch: (reader: Reader, size: number) => Match;
  readonly readUpdateRest: (body: Reader, size: number) => Pick<FlowUpdateFull, "match" | "instructions">;
  /** Returns the size of the match without padding. */
  readonly writeMatch: (writer: Writer, match: Match) => number;
  readonly writeInstructions: (writer: Writer, instructions: readonly Instruction[]) => void;
}

const NICIRA: Variant = {
  readMonitorMatch: (reader, size) => readNxmMatch(reader, size).match,
  readUpdateRest: (body, size) => {
    const { match } = readNxmMatch(body, size);
    const actions = readActions10(body);
    return { match, instructions: actions.length === 0 ? [] : [{ type: "apply_actions", actions }] };
  },
  writeMatch: (writer, match) => writeNxmMatch(writer, { match, cookie: 0n, cookieMask: 0n }),
  writeInstructions: (writer, instructions) => writeActions10(writer, actionsOf10(instructions)),
};

const ONF: Variant = {
  readMonitorMatch: (reader, size) => readOnfMatch(reader, size),
  readUpdateRest: (body, size) => ({ match: readOnfMatch(body, size), instructions: readInstructions(body) }),
  writeMatch: (writer, match) => {
    const start = writer.size;
    writeMatch(writer, match);
    return writer.lengthAt(start + 2);
  },
  writeInstructions,
};

/** The specification writes bare fields, Open vSwitch a whole ofp_match: both are understood. */
function readOnfMatch(reader: Reader, size: number): Match {
  if (size === 0) return [];
  const at = reader.offset;
  const isFramed = size >= 4 && reader.u16("match.type") === OFPMT_OXM && reader.u16("match.length") === size;
  reader.offset = at;
  return isFramed ? readMatch(reader) : readNxmMatch(reader, size).match;
}

export const readNiciraMonitor = (reader: Reader): FlowMonitorRequest => {
  const monitorId = reader.u32("flow_monitor.id");
  const flags = readFlags(reader);
  const outPort = widenPort(reader.u16("flow_monitor.out_port"));
  const size = reader.u16("flow_monitor.match_len");
  const tableId = reader.u8("flow_monitor.table_id");
  reader.skip(5);
  return { monitorId, flags, outPort, tableId, match: NICIRA.readMonitorMatch(reader, size) };
};

export function readOnfMonitor(reader: Reader): FlowMonitorRequest {
  const monitorId = reader.u32("flow_monitor.id");
  const flags = readFlags(reader);
  const size = reader.u16("flow_monitor.match_len");
  const outPort = reader.port("flow_monitor.out_port");
  const tableId = reader.u8("flow_monitor.table_id");
  reader.skip(3);
  return { monitorId, flags, outPort, tableId, match: ONF.readMonitorMatch(reader, size) };
}

function readFlags(reader: Reader): FlowMonitorFlags {
  const at = reader.offset;
  const bits = reader.u16("flow_monitor.flags");
  if (bits >> FLAG_BITS.length !== 0)
    throw reader.fail("OFPMOFC_BAD_FLAGS", "flow_monitor.flags", `0x${bits.toString(16)}`, at);
  const entries = FLAG_BITS.map((name, bit) => [name, (bits & (1 << bit)) !== 0]);
  return Object.fromEntries(entries) as unknown as FlowMonitorFlags;
}

export function writeNiciraMonitor(writer: Writer, request: FlowMonitorRequest): void {
  writer.u32(request.monitorId).u16(flagBits(request.flags)).u16(narrowPort(request.outPort));
  const lengthAt = writer.size;
  writer.u16(0).u8(request.tableId).zero(5);
  writer.setU16(lengthAt, NICIRA.writeMatch(writer, request.match));
}

export function writeOnfMonitor(writer: Writer, request: FlowMonitorRequest): void {
  writer.u32(request.monitorId).u16(flagBits(request.flags));
  const lengthAt = writer.size;
  writer.u16(0).u32(request.outPort).u8(request.tableId).zero(3);
  writer.setU16(lengthAt, ONF.writeMatch(writer, request.match));
}

function flagBits(flags: FlowMonitorFlags): number {
  return FLAG_BITS.reduce((bits, name, bit) => (flags[name] ? bits | (1 << bit) : bits), 0);
}

// --- Updates

export const readNiciraUpdate = (reader: Reader): FlowUpdate => readUpdate(reader, NICIRA);
export const readOnfUpdate = (reader: Reader): FlowUpdate => readUpdate(reader, ONF);
export const writeNiciraUpdate = (writer: Writer, update: FlowUpdate): void =>
  writeUpdate(writer, update, NICIRA);
export const writeOnfUpdate = (writer: Writer, update: FlowUpdate): void => writeUpdate(writer, update, ONF);

function readUpdate(reader: Reader, variant: Variant): FlowUpdate {
  const at = reader.offset;
  const length = reader.u16("flow_update.length");
  if (length < 8 || length % 8 !== 0 || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "flow_update.length", `${length} of ${reader.left + 2} bytes`, at);
  const body = reader.within(length - 2, "flow_update");
  const code = body.u16("flow_update.event");
  const event = nameOf(EVENTS, code);
  if (event === undefined) throw body.fail("OFPBRC_BAD_TYPE", "flow_update.event", `${code}`);
  if (event === "abbreviated") return { event, xid: body.u32("flow_update.xid") };
  const reason = nameOf(OFPRR, body.u16("flow_update.reason"));
  const priority = body.u16("flow_update.priority");
  const idleTimeoutSeconds = body.u16("flow_update.idle_timeout");
  const hardTimeoutSeconds = body.u16("flow_update.hard_timeout");
  const size = body.u16("flow_update.match_len");
  const tableId = body.u8("flow_update.table_id");
  body.skip(1);
  return {
    event,
    ...(event === "deleted" && reason !== undefined ? { reason } : {}),
    tableId,
    priority,
    idleTimeoutSeconds,
    hardTimeoutSeconds,
    cookie: body.u64("flow_update.cookie"),
    ...variant.readUpdateRest(body, size),
  };
}

function writeUpdate(writer: Writer, update: FlowUpdate, variant: Variant): void {
  const start = writer.size;
  writer.u16(0).u16(EVENTS[update.event]);
  if (update.event === "abbreviated") writer.u32(update.xid);
  else {
    writer.u16(update.reason === undefined ? 0 : OFPRR[update.reason]).u16(update.priority);
    writer.u16(update.idleTimeoutSeconds).u16(update.hardTimeoutSeconds);
    const lengthAt = writer.size;
    writer.u16(0).u8(update.tableId).zero(1).u64(update.cookie);
    writer.setU16(lengthAt, variant.writeMatch(writer, update.match));
    variant.writeInstructions(writer, update.instructions);
  }
  writer.setLength(start, start);
}
