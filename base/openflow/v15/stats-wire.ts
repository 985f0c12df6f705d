// Statistics of flows in OpenFlow 1.5, where counters are fields of their own (OXS), any of which may be left out.
// Source: OpenFlow Switch Specification 1.5.1, 7.2.4, 7.3.5.2 and 7.4.2.

import { readInstructions } from "../instructions-wire.js";
import { readMatch } from "../match-wire.js";
import type { FlowStats } from "../multipart.js";
import type { Reader } from "../wire.js";

const OFPXSC_OPENFLOW_BASIC = 0x8002;
const OXS_DURATION = 0;
const OXS_IDLE_TIME = 1;
const OXS_FLOW_COUNT = 3;
const OXS_PACKET_COUNT = 4;
const OXS_BYTE_COUNT = 5;
const FLOW_SIZE = 32;
const UNCOUNTED = 0xffffffffffffffffn;
const UNKNOWN_COUNT = 0xffffffff;

export interface Oxs {
  readonly durationSeconds: number;
  readonly durationNanoseconds: number;
  readonly idleSeconds: number | undefined;
  readonly flowCount: number;
  readonly packetCount: bigint;
  readonly byteCount: bigint;
}

export function readOxs(reader: Reader): Oxs {
  const at = reader.offset;
  reader.skip(2);
  const length = reader.u16("stats.length");
  if (length < 4 || length - 4 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "stats.length", `${length}`, at);
  const body = reader.within(length - 4, "stats");
  reader.skip(Math.min(reader.left, (8 - (length % 8)) % 8));
  let [durationSeconds, durationNanoseconds, flowCount] = [UNKNOWN_COUNT, 0, UNKNOWN_COUNT];
  let [packetCount, byteCount] = [UNCOUNTED, UNCOUNTED];
  let idleSeconds: number | undefined;
  while (body.left >= 4) {
    const [oxsClass, number, size] = [
      body.u16("oxs.class"),
      body.u8("oxs.field") >> 1,
      body.u8("oxs.length"),
    ];
    const value = body.within(size, "oxs.value");
    if (oxsClass !== OFPXSC_OPENFLOW_BASIC) continue;
    if (number === OXS_DURATION)
      [durationSeconds, durationNanoseconds] = [value.u32("oxs.sec"), value.u32("oxs.nsec")];
    else if (number === OXS_IDLE_TIME) idleSeconds = value.u32("oxs.idle_time");
    else if (number === OXS_FLOW_COUNT) flowCount = value.u32("oxs.flow_count");
    else if (number === OXS_PACKET_COUNT) packetCount = value.u64("oxs.packet_count");
    else if (number === OXS_BYTE_COUNT) byteCount = value.u64("oxs.byte_count");
  }
  return { durationSeconds, durationNanoseconds, idleSeconds, flowCount, packetCount, byteCount };
}

export function readFlowStats15(reader: Reader): FlowStats {
  const at = reader.offset;
  const length = reader.u16("flow_stats.length");
  if (length < FLOW_SIZE || length - 2 > reader.left)
    throw reader.fail("OFPBRC_BAD_LEN", "flow_stats.length", `${length}`, at);
  const body = reader.within(length - 2, "flow_stats");
  body.skip(2);
  const tableId = body.u8("flow_stats.table_id");
  body.skip(1);
  const priority = body.u16("flow_stats.priority");
  const idleTimeoutSeconds = body.u16("flow_stats.idle_timeout");
  const hardTimeoutSeconds = body.u16("flow_stats.hard_timeout");
  const flags = body.u16("flow_stats.flags");
  const importance = body.u16("flow_stats.importance");
  const cookie = body.u64("flow_stats.cookie");
  const match = readMatch(body);
  const { idleSeconds, durationSeconds, durationNanoseconds, packetCount, byteCount } = readOxs(body);
  return {
    ...{ tableId, durationSeconds, durationNanoseconds, priority, idleTimeoutSeconds, hardTimeoutSeconds },
    ...{ flags, cookie, packetCount, byteCount, match },
    ...(importance === 0 ? {} : { importance }),
    ...(idleSeconds === undefined ? {} : { idleAgeSeconds: idleSeconds }),
    instructions: readInstructions(body),
  };
}
