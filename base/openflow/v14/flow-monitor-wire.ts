// Flow monitors as OpenFlow 1.4 took them over from the ONF's extension. Source: OpenFlow Switch Specification 1.4.1,
// 7.3.5.17.

import { OFPG_ANY } from "../constants.js";
import type { FlowMonitorFlags, FlowMonitorRequest, FlowUpdate } from "../flow-monitor.js";
import { OFPRR } from "../flow-wire.js";
import { readInstructions } from "../instructions-wire.js";
import { readMatch, writeMatch } from "../match-wire.js";
import { nameOf, type Reader, type Writer } from "../wire.js";

const OFPFMF_INITIAL = 1 << 0;
const OFPFMF_ADD = 1 << 1;
const OFPFMF_REMOVED = 1 << 2;
const OFPFMF_MODIFY = 1 << 3;
const OFPFMF_INSTRUCTIONS = 1 << 4;
const OFPFMF_NO_ABBREV = 1 << 5;
const FLAGS_KNOWN = 0x3f;
const EVENTS = ["added", "added", "deleted", "modified"] as const;
const OFPFME_ABBREV = 4;

export function readMonitor14(reader: Reader): FlowMonitorRequest {
  const monitorId = reader.u32("flow_monitor.id");
  const portAt = reader.offset;
  reader.skip(4);
  const outGroup = reader.u32("flow_monitor.out_group");
  const at = reader.offset;
  const bits = reader.u16("flow_monitor.flags");
  if ((bits & ~FLAGS_KNOWN) !== 0)
    throw reader.fail("OFPMOFC_BAD_FLAGS", "flow_monitor.flags", `0x${bits.toString(16)}`, at);
  const tableId = reader.u8("flow_monitor.table_id");
  const end = reader.offset + 1;
  reader.offset = portAt;
  const outPort = reader.port("flow_monitor.out_port");
  reader.offset = end;
  const has = (bit: number): boolean => (bits & bit) !== 0;
  const flags = {
    initial: has(OFPFMF_INITIAL),
    add: has(OFPFMF_ADD),
    delete: has(OFPFMF_REMOVED),
    modify: has(OFPFMF_MODIFY),
    actions: has(OFPFMF_INSTRUCTIONS),
    own: has(OFPFMF_NO_ABBREV),
  };
  return { monitorId, flags, outPort, outGroup, tableId, match: readMatch(reader) };
}

/** In the order of their bits. */
const FLAG_ORDER: readonly (keyof FlowMonitorFlags)[] = [
  ...(["initial", "add", "delete", "modify", "actions", "own"] as const),
];

export function writeMonitor14(writer: Writer, request: FlowMonitorRequest): void {
  const bits = FLAG_ORDER.reduce((sum, name, bit) => (request.flags[name] ? sum | (1 << bit) : sum), 0);
  writer
    .u32(request.monitorId)
    .u32(request.outPort)
    .u32(request.outGroup ?? OFPG_ANY);
  writer.u16(bits).u8(request.tableId).u8(0);
  writeMatch(writer, request.match);
}

export function readUpdate14(reader: Reader): FlowUpdate {
  const at = reader.offset;
  const length = reader.u16("flow_update.length");
  if (length < 8 || length % 8 !== 0 || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "flow_update.length", `${length} of ${reader.left + 2} bytes`, at);
  const body = reader.within(length - 2, "flow_update");
  const code = body.u16("flow_update.event");
  if (code === OFPFME_ABBREV) return { event: "abbreviated", xid: body.u32("flow_update.xid") };
  const event = EVENTS[code];
  if (event === undefined) throw body.fail("OFPBRC_BAD_TYPE", "flow_update.event", `${code}`);
  const tableId = body.u8("flow_update.table_id");
  const reason = nameOf(OFPRR, body.u8("flow_update.reason"));
  const idleTimeoutSeconds = body.u16("flow_update.idle_timeout");
  const hardTimeoutSeconds = body.u16("flow_update.hard_timeout");
  const priority = body.u16("flow_update.priority");
  body.skip(4);
  const cookie = body.u64("flow_update.cookie");
  const match = readMatch(body);
  return {
    ...{ event, tableId, priority, idleTimeoutSeconds, hardTimeoutSeconds, cookie, match },
    ...(event === "deleted" && reason !== undefined ? { reason } : {}),
    instructions: readInstructions(body),
  };
}
