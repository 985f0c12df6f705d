// Statistics of flows in OpenFlow 1.5, where counters are fields of their own (OXS), any of which may be left out.
// Source: OpenFlow Switch Specification 1.5.1, 7.2.4, 7.3.5.2 and 7.4.2.

import { readInstructions } from "../instructions-wire.js";
import { readMatch } from "../match-wire.js";
import type { FlowStats } from "../multipart.js";
import type { Reader } from "../wire.js";

const OFPXSC_OPENFLOW_BASIC = 0x8002;
const OXS_DURATION = oxsHeader(0, 8);
const OXS_IDLE_TIME = oxsHeader(1, 8);
const OXS_FLOW_COUNT = oxsHeader(3, 4);
const OXS_PACKET_COUNT = oxsHeader(4, 8);
const OXS_BYTE_COUNT = oxsHeader(5, 8);
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

/** A statistic of another class, number or size than those that are known is left out. */
export function readOxs(whole: Reader): Oxs {
  const at = whole.offset;
  const fail = (detail: string) => whole.fail("OFPBMC_BAD_LEN", "stats.length", detail, at);
  if (whole.left < 4) throw fail(`${whole.left} bytes`);
  whole.skip(2);
  const length = whole.u16("stats.length");
  const padding = (8 - (length % 8)) % 8;
  if (length < 4 || length - 4 + padding > whole.left) throw fail(`${length}`);
  const body = whole.within(length - 4, "stats", "OFPBMC_BAD_LEN");
  whole.skip(padding);
  let [durationSeconds, durationNanoseconds, flowCount] = [UNKNOWN_COUNT, UNKNOWN_COUNT, UNKNOWN_COUNT];
  let [packetCount, byteCount] = [UNCOUNTED, UNCOUNTED];
  let idleSeconds: number | undefined;
  while (body.left > 0) {
    const header = body.u32("oxs.header");
    const value = body.within(header & 0xff, "oxs.value");
    if (header === OXS_DURATION)
      [durationSeconds, durationNanoseconds] = [value.u32("oxs.sec"), value.u32("oxs.nsec")];
    else if (header === OXS_IDLE_TIME) {
      idleSeconds = value.u32("oxs.idle_time");
    } else if (header === OXS_FLOW_COUNT) flowCount = value.u32("oxs.flow_count");
    else if (header === OXS_PACKET_COUNT) packetCount = value.u64("oxs.packet_count");
    else if (header === OXS_BYTE_COUNT) byteCount = value.u64("oxs.byte_count");
  }
  return { durationSeconds, durationNanoseconds, idleSeconds, flowCount, packetCount, byteCount };
}

function oxsHeader(number: number, size: number): number {
  return ((OFPXSC_OPENFLOW_BASIC << 16) | (number << 9) | size) >>> 0;
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
