// What every message of OpenFlow 1.0 to 1.5 is called and how long it may be, by its header. Pure.
// Source: the specifications 1.0.0 to 1.5.1, 7.1 and 7.3; ONF extensions 187 and 230; for Nicira's messages what
// ovs-ofctl says of them. Held against ovs-ofctl by test/conformance/ofp-print.test.ts.

import { NX_EXPERIMENTER, ONF_EXPERIMENTER } from "./constants.js";
import type { OfpErrorName } from "./error-codes.js";

/** Where in the header the number stands: the type, or behind it that of a multipart, an experimenter, or both. */
type Place =
  | "type"
  | "request"
  | "reply"
  | "nx"
  | "onf"
  | "nx-request"
  | "nx-reply"
  | "onf-request"
  | "onf-reply";

export interface MessageKind {
  /** As the specification spells it: "OFPT_FLOW_MOD", "OFPST_FLOW". */
  readonly name: string;
  readonly place: Place;
  /** Bytes of the whole message, if it has no variable part. */
  readonly sizeMin: number;
  /** The variable part is a multiple of this; 0 = there is none. */
  readonly step: number;
}

/** NAME PLACE NUMBER and for each range of version numbers on the wire SIZE or SIZE+STEP. */
const TABLE = `
OFPT_HELLO type 0 1-6:8+1
OFPT_ERROR type 1 1-6:12+1
OFPT_ECHO_REQUEST type 2 1-6:8+1
OFPT_ECHO_REPLY type 3 1-6:8+1
OFPT_FEATURES_REQUEST type 5 1-6:8
OFPT_FEATURES_REPLY type 6 1:32+48 2-3:32+64 4-6:32
OFPT_GET_CONFIG_REQUEST type 7 1-6:8
OFPT_GET_CONFIG_REPLY type 8 1-6:12
OFPT_SET_CONFIG type 9 1-6:12
OFPT_PACKET_IN type 10 1:18+1 2:24+1 3:16+1 4-6:24+1
OFPT_FLOW_REMOVED type 11 1:88 2-5:48+8 6:24+8
OFPT_PORT_STATUS type 12 1:64 2-4:80 5-6:56+8
OFPT_PACKET_OUT type 13 1:16+1 2-5:24+1 6:16+1
OFPT_FLOW_MOD type 14 1:72+8 2-6:48+8
OFPT_PORT_MOD type 15 1:32
OFPT_BARRIER_REQUEST type 18 1:8
OFPT_BARRIER_REPLY type 19 1:8
OFPT_QUEUE_GET_CONFIG_REQUEST type 20 1:12
OFPT_QUEUE_GET_CONFIG_REPLY type 21 1:16+8
OFPST_DESC request 0 1:12 2-6:16
OFPST_FLOW request 1 1:56 2-6:48+8
OFPST_AGGREGATE request 2 1:56 2-6:48+8
OFPST_TABLE request 3 1:12 2-6:16
OFPST_PORT request 4 1:20 2-6:24
OFPST_QUEUE request 5 1:20 2-6:24
OFPST_PORT_DESC request 13 1:12 2-5:16 6:24
OFPST_DESC reply 0 1:1068 2-6:1072
OFPST_FLOW reply 1 1:12+1 2-6:16+1
OFPST_AGGREGATE reply 2 1:36 2-5:40 6:16+1
OFPST_TABLE reply 3 1:12+64 2:16+88 3:16+128 4-6:16+24
OFPST_PORT reply 4 1:12+104 2-3:16+104 4:16+112 5-6:16+8
OFPST_QUEUE reply 5 1:12+32 2-3:16+32 4:16+40 5-6:16+8
OFPST_PORT_DESC reply 13 1:12+48 2-4:16+64 5-6:16+8
NXT_ROLE_REQUEST nx 10 1-6:20
NXT_ROLE_REPLY nx 11 1-6:20
NXT_SET_FLOW_FORMAT nx 12 1:20
NXT_FLOW_MOD nx 13 1-6:48+8
NXT_FLOW_REMOVED nx 14 1-6:56+8
NXT_FLOW_MOD_TABLE_ID nx 15 1-6:24
NXT_SET_PACKET_IN_FORMAT nx 16 1-6:20
NXT_PACKET_IN nx 17 1-6:40+1
NXT_FLOW_AGE nx 18 1-6:16
NXT_SET_ASYNC_CONFIG nx 19 1-6:40
NXT_SET_CONTROLLER_ID nx 20 1-6:24
NXT_FLOW_MONITOR_CANCEL nx 21 1-3:20
NXT_FLOW_MONITOR_PAUSED nx 22 1-3:16
NXT_FLOW_MONITOR_RESUMED nx 23 1-3:16
NXT_TLV_TABLE_MOD nx 24 1-6:24+8
NXT_TLV_TABLE_REQUEST nx 25 1-6:16
NXT_TLV_TABLE_REPLY nx 26 1-6:32+8
NXT_SET_ASYNC_CONFIG2 nx 27 1-4:16+8
NXT_RESUME nx 28 1-6:16+8
NXT_CT_FLUSH_ZONE nx 29 1-6:24
NXT_PACKET_IN2 nx 30 1-6:16+8
NXT_GROUP_MOD nx 31 1:32+8
NXT_CT_FLUSH nx 32 1-6:24+8
NXST_FLOW nx-request 0 1:32+8
NXST_AGGREGATE nx-request 1 1:32+8
NXST_FLOW_MONITOR nx-request 2 1-3:24+8
NXST_IPFIX_BRIDGE nx-request 3 1-6:24
NXST_IPFIX_FLOW nx-request 4 1-6:24
NXST_GROUP nx-request 7 1:32
NXST_GROUP_DESC nx-request 8 1:32
NXST_GROUP_FEATURES nx-request 9 1-2:24
NXST_FLOW nx-reply 0 1:24+1
NXST_AGGREGATE nx-reply 1 1:48
NXST_FLOW_MONITOR nx-reply 2 1-3:24+8
NXST_IPFIX_BRIDGE nx-reply 3 1-6:112
NXST_IPFIX_FLOW nx-reply 4 1-6:24+88
NXST_GROUP nx-reply 7 1:24+8
NXST_GROUP_DESC nx-reply 8 1:24+8
NXST_GROUP_FEATURES nx-reply 9 1-2:64
OFPT_GROUP_MOD type 15 2-5:16+8 6:24+8
OFPT_PORT_MOD type 16 2-4:40 5-6:32+8
OFPT_TABLE_MOD type 17 2-4:16 5-6:16+8
OFPT_BARRIER_REQUEST type 20 2-6:8
OFPT_BARRIER_REPLY type 21 2-6:8
OFPT_QUEUE_GET_CONFIG_REQUEST type 22 2-4:16
OFPT_QUEUE_GET_CONFIG_REPLY type 23 2-4:16+8
OFPST_GROUP request 6 2-6:24
OFPST_GROUP_DESC request 7 2-5:16 6:24
OFPST_GROUP reply 6 2-6:16+8
OFPST_GROUP_DESC reply 7 2-6:16+8
OFPT_ROLE_REQUEST type 24 3-6:24
OFPT_ROLE_REPLY type 25 3-6:24
OFPST_GROUP_FEATURES request 8 3-6:16
OFPST_GROUP_FEATURES reply 8 3-6:56
OFPT_GET_ASYNC_REQUEST type 26 4-6:8
OFPT_GET_ASYNC_REPLY type 27 4:32 5-6:8+8
OFPT_SET_ASYNC type 28 4:32 5-6:8+8
OFPT_METER_MOD type 29 4-6:16+8
OFPST_METER request 9 4-6:24
OFPST_METER_CONFIG request 10 4-6:24
OFPST_METER_FEATURES request 11 4-6:16
OFPST_TABLE_FEATURES request 12 4-6:16+8
OFPST_METER reply 9 4-6:16+8
OFPST_METER_CONFIG reply 10 4-6:16+8
OFPST_METER_FEATURES reply 11 4-6:32
OFPST_TABLE_FEATURES reply 12 4-6:80+8
ONFT_FLOW_MONITOR_CANCEL onf 1870 4:20
ONFT_ROLE_STATUS onf 1911 4:32+8
ONFT_BUNDLE_CONTROL onf 2300 4:24+8
ONFT_BUNDLE_ADD_MESSAGE onf 2301 4:24+1
ONFST_FLOW_MONITOR onf-request 1870 4:24+8
ONFST_FLOW_MONITOR onf-reply 1870 4:24+8
OFPT_ROLE_STATUS type 30 5-6:24+8
OFPT_TABLE_STATUS type 31 5-6:16+8
OFPT_REQUESTFORWARD type 32 5-6:16+8
OFPT_BUNDLE_CONTROL type 33 5-6:16+8
OFPT_BUNDLE_ADD_MESSAGE type 34 5-6:16+1
OFPST_TABLE_DESC request 14 5-6:16
OFPST_QUEUE_DESC request 15 5-6:24
OFPST_FLOW_MONITOR request 16 5-6:16+8
OFPST_TABLE_DESC reply 14 5-6:24+8
OFPST_QUEUE_DESC reply 15 5-6:16+8
OFPST_FLOW_MONITOR reply 16 5-6:16+8
ONFT_FLOW_MONITOR_PAUSED onf 1871 4:16
ONFT_FLOW_MONITOR_RESUMED onf 1872 4:16
`;

const KINDS = new Map<string, MessageKind>();
for (const line of TABLE.trim().split("\n")) {
  const [name, place, number, ...sizes] = line.split(" ") as [string, Place, string, ...string[]];
  for (const size of sizes) {
    const [, first, last, sizeMin, step] = /^(\d)(?:-(\d))?:(\d+)(?:\+(\d+))?$/.exec(
      size,
    ) as unknown as string[];
    const kind = { name, place, sizeMin: Number(sizeMin), step: Number(step ?? 0) };
    for (let version = Number(first); version <= Number(last ?? first); version++)
      KINDS.set(`${version} ${place} ${number}`, kind);
  }
}

/** Hello, error and echo are the same in versions that are not known yet. */
const TIMELESS_TYPE_MAX = 3;
const VERSION_MAX = 6;
const OFPT_EXPERIMENTER = 4;
const OFPMP_EXPERIMENTER = 0xffff;

/** The kind of a message by its bytes, of which only the header need be there; or why it has none. */
export function kindOf(bytes: Uint8Array): MessageKind | OfpErrorName {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(0);
  const type = view.getUint8(1);
  const has = (size: number): boolean => bytes.byteLength >= size;
  const known = Math.min(version, type <= TIMELESS_TYPE_MAX ? VERSION_MAX : version);
  if (type === OFPT_EXPERIMENTER) {
    if (!has(16)) return "OFPBRC_BAD_LEN";
    const vendor = vendorOf(view.getUint32(8));
    if (vendor === undefined) return "OFPBRC_BAD_EXPERIMENTER";
    return KINDS.get(`${known} ${vendor} ${view.getUint32(12)}`) ?? "OFPBRC_BAD_EXP_TYPE";
  }
  const direction = directionOf(version, type);
  if (direction === undefined) return KINDS.get(`${known} type ${type}`) ?? "OFPBRC_BAD_TYPE";
  const headerSize = version === 1 ? 12 : 16;
  if (!has(headerSize)) return "OFPBRC_BAD_LEN";
  const stat = view.getUint16(8);
  if (stat !== OFPMP_EXPERIMENTER)
    return KINDS.get(`${known} ${direction} ${stat}`) ?? "OFPBRC_BAD_MULTIPART";
  // Nicira's header in OpenFlow 1.0 ends with padding.
  if (!has(headerSize + 8)) return "OFPBRC_BAD_LEN";
  const vendor = vendorOf(view.getUint32(headerSize));
  if (vendor === undefined || (version === 1 && vendor === "onf")) return "OFPBRC_BAD_EXPERIMENTER";
  if (!has(24)) return "OFPBRC_BAD_LEN";
  return (
    KINDS.get(`${known} ${vendor}-${direction} ${view.getUint32(headerSize + 4)}`) ?? "OFPBRC_BAD_EXP_TYPE"
  );
}

/** Whether `size` bytes can be a message of the kind. */
export function sizeFits({ sizeMin, step }: MessageKind, size: number): boolean {
  return step === 0 ? size === sizeMin : size >= sizeMin && (size - sizeMin) % step === 0;
}

function directionOf(version: number, type: number): "request" | "reply" | undefined {
  const first = version === 1 ? 16 : 18;
  if (version < 1 || version > VERSION_MAX) return undefined;
  return type === first ? "request" : type === first + 1 ? "reply" : undefined;
}

function vendorOf(experimenter: number): "nx" | "onf" | undefined {
  return experimenter === NX_EXPERIMENTER ? "nx" : experimenter === ONF_EXPERIMENTER ? "onf" : undefined;
}
