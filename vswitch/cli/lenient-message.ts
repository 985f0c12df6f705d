// Messages that Open vSwitch prints and our codec, which is that of a switch, refuses: what is wrong in them is taken
// out before they are read, or has another name there. Pure.
import {
  type AnyDialect,
  type MessageKind,
  OFP10_VERSION,
  type OFP13_VERSION,
  OFP15_VERSION,
  type OpenFlowMessage,
  parseMessage,
  type WireError,
} from "../../base/openflow/index.js";
import { READER_CHECKS } from "./message-check.js";
import { plainPacketIn } from "./packet-in-bytes.js";

const HEADER_SIZE = 8;
const NX_HEADER_SIZE = 16;
const METER_FLAGS = 0x0f;
const METER_FLAGS_AT = 10;
const REASON_MAX = 5;
const OFPG_BUCKET_MAX = 0xffffff00;
const OFPG_BUCKET_FIRST = 0xfffffffd;
const OFPG_BUCKET_LAST = 0xfffffffe;
const OFPG_BUCKET_ALL = 0xffffffff;
const OFPGC_INSERT_BUCKET = 3;
const OFPGC_REMOVE_BUCKET = 5;
const OFPMT_OXM = 1;
/** Of the fixed-size match of 1.1. */
const STANDARD_MATCH_SIZE = 88;

/** What ovs-ofctl says where the codec, by the field that is wrong, says what a switch answers. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  "port_status.reason": "NXBRC_BAD_REASON",
  "flow_update.event": "NXBRC_FM_BAD_EVENT",
  "bucket.watch_port": "OFPGMFC_BAD_WATCH",
};

/** The name of the error that `thrown` stands for, where it is looked for in `bytes`. */
export function nameOfFault(kind: MessageKind, bytes: Uint8Array, thrown: WireError): string {
  if (kind.name === "OFPST_FLOW" && bytes[0] === OFP15_VERSION && /^OFPB[MR]C_/.test(thrown.error))
    return "<invalid>";
  // The match of 1.1 is known in every version, but not of this size.
  if (thrown.error === "OFPBMC_BAD_TYPE" && u16(bytes, thrown.offset) === 0) return "OFPBMC_BAD_LEN";
  return OTHER_NAMES[thrown.field] ?? thrown.error;
}

/** What Open vSwitch looks at before anything else. */
export function firstFault(kind: MessageKind, bytes: Uint8Array): string | undefined {
  const version = bytes[0] as number;
  switch (kind.name) {
    case "OFPT_BUNDLE_ADD_MESSAGE":
      return bundledFault(bytes, HEADER_SIZE + 8);
    case "ONFT_BUNDLE_ADD_MESSAGE":
      return bundledFault(bytes, NX_HEADER_SIZE + 8);
    case "OFPT_GROUP_MOD":
      return version === OFP15_VERSION ? bucketFault(bytes, HEADER_SIZE) : undefined;
    case "NXT_GROUP_MOD":
      return bucketFault(bytes, NX_HEADER_SIZE);
    default:
      return undefined;
  }
}

function bundledFault(bytes: Uint8Array, at: number): string | undefined {
  return bytes.byteLength > at && bytes[at] !== bytes[0] ? "OFPBFC_BAD_VERSION" : undefined;
}

/** A command names a bucket, or all. */
function bucketFault(bytes: Uint8Array, at: number): string | undefined {
  const [command, bucket] = [u16(bytes, at), u32(bytes, at + 12)];
  const isOne = bucket <= OFPG_BUCKET_MAX || bucket === OFPG_BUCKET_FIRST || bucket === OFPG_BUCKET_LAST;
  const fits =
    command === OFPGC_INSERT_BUCKET
      ? isOne
      : bucket === OFPG_BUCKET_ALL || (command === OFPGC_REMOVE_BUCKET && isOne);
  return fits ? undefined : "OFPGMFC_BAD_BUCKET";
}

/** As parseMessage, of what Open vSwitch understands too. Throws WireError. */
export function parseLeniently(kind: MessageKind, bytes: Uint8Array): OpenFlowMessage {
  const read = (one: Uint8Array): OpenFlowMessage =>
    parseMessage(one, dialectOf(one[0] as number), READER_CHECKS);
  switch (kind.name) {
    case "OFPT_METER_MOD": {
      const unknown = u16(bytes, METER_FLAGS_AT) & ~METER_FLAGS;
      const message = read(withU16(bytes, METER_FLAGS_AT, u16(bytes, METER_FLAGS_AT) & METER_FLAGS));
      return message.type === "meter_mod" && message.command !== "delete"
        ? { ...message, flags: message.flags | unknown }
        : message;
    }
    case "OFPT_FLOW_REMOVED":
    case "NXT_FLOW_REMOVED": {
      const at = reasonAt(kind, bytes);
      return read(withoutRest(kind, (bytes[at] as number) > REASON_MAX ? withByte(bytes, at, 0) : bytes));
    }
    case "OFPT_PACKET_IN":
    case "NXT_PACKET_IN":
    case "NXT_PACKET_IN2":
      return read(plainPacketIn(kind, bytes));
    case "OFPST_FLOW":
    case "OFPST_AGGREGATE":
      return read(kind.place === "request" ? withoutRest(kind, bytes) : bytes);
    default:
      return read(bytes);
  }
}

/** The number of the reason for which a flow was removed. */
export function removalReason(kind: MessageKind["name"], bytes: Uint8Array): number {
  return bytes[reasonAt({ name: kind }, bytes)] as number;
}

function reasonAt({ name }: Pick<MessageKind, "name">, bytes: Uint8Array): number {
  if (name === "NXT_FLOW_REMOVED") return NX_HEADER_SIZE + 10;
  if (bytes[0] === OFP10_VERSION) return HEADER_SIZE + 50;
  return bytes[0] === OFP15_VERSION ? HEADER_SIZE + 1 : HEADER_SIZE + 10;
}

/** Without what follows the match, which nobody looks at. */
function withoutRest({ name }: MessageKind, bytes: Uint8Array): Uint8Array {
  const version = bytes[0] as number;
  if (version === OFP10_VERSION || name.startsWith("NX")) return bytes;
  if (name === "OFPT_FLOW_REMOVED" && version === OFP15_VERSION) return bytes;
  const at = HEADER_SIZE + 40;
  const isOxm = u16(bytes, at) === OFPMT_OXM;
  const size = isOxm ? Math.ceil(u16(bytes, at + 2) / 8) * 8 : STANDARD_MATCH_SIZE;
  if (at + size >= bytes.byteLength) return bytes;
  return withU16(bytes.slice(0, at + size), 2, at + size);
}

function dialectOf(version: number): AnyDialect {
  if (version === OFP10_VERSION) return { version: OFP10_VERSION, flowModTableId: true };
  return { version: version as typeof OFP13_VERSION };
}

function u16(bytes: Uint8Array, at: number): number {
  return (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)) >>> 0;
}

function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 0x10000 + u16(bytes, at + 2);
}

function withU16(bytes: Uint8Array, at: number, value: number): Uint8Array {
  return withByte(withByte(bytes, at, value >> 8), at + 1, value & 0xff);
}

function withByte(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const changed = bytes.slice();
  changed[at] = value;
  return changed;
}
