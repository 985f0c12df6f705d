// Messages that OpenFlow 1.1 to 1.5 have and 1.3 has not, or has in another form, as ovs-ofctl prints them: tables and
// their evictions, roles, queues, requests that are passed on, which messages are wanted. Pure.
// Source: OpenFlow Switch Specification 1.4.1, 7.3.4.1, 7.3.5.15, 7.3.5.16, 7.3.10, 7.4.4 to 7.4.6; the wording is that of
// ovs-ofctl.

import { OFP11_VERSION, OFP12_VERSION, OFP14_VERSION, OFPG_ALL } from "../../base/openflow/index.js";
import { type AsyncMasks, formatAsyncMasks } from "./async-text.js";
import { formatPort } from "./field-text.js";
import { printMessage } from "./message-print.js";
import { tableStats11 } from "./table-stats-11-text.js";
import type { Unspoken } from "./tlv-text.js";

const HEADER_SIZE = 8;
const MULTIPART_SIZE = 16;
const OFPTC_EVICTION = 1 << 2;
const OFPTC_VACANCY_EVENTS = 1 << 3;
const TMPT_EVICTION = 2;
const TMPT_VACANCY = 3;
const TABLE_ALL = 255;
const MISS = ["controller", "continue", "drop", "controller"] as const;
const EVICTION_FLAGS = ["OTHER", "IMPORTANCE", "LIFETIME"] as const;
const ROLES = ["nochange", "equal", "primary", "secondary"] as const;
const ROLE_REASONS = ["primary_request", "configuration_changed", "experimenter_data_changed"] as const;
const TABLE_REASONS: Readonly<Record<number, string>> = { 3: "VACANCY_DOWN", 4: "VACANCY_UP" };
const NO_GENERATION = 0xffffffffffffffffn;
const RATE_MAX = 1000;

/** What is wrong with the bytes, by the name of the error. */
class Fault extends Error {}

/** Undefined for other kinds. `bytes` are a message whose length its kind allows. */
export function laterBody(kind: string, bytes: Uint8Array, verbosity: number): Unspoken | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const text = bodyOf(kind, bytes, view, verbosity);
    return text === undefined ? undefined : { text };
  } catch (thrown) {
    if (thrown instanceof Fault) return { error: thrown.message };
    if (thrown instanceof RangeError) return { error: "OFPBRC_BAD_LEN" };
    throw thrown;
  }
}

function bodyOf(kind: string, bytes: Uint8Array, view: DataView, verbosity: number): string | undefined {
  const version = view.getUint8(0);
  const isReply = view.getUint8(1) % 2 === 1;
  switch (kind) {
    case "OFPT_TABLE_MOD":
      return tableMod(view, version);
    case "OFPST_TABLE_DESC":
      return isReply ? `\n${tableDescriptions(view)}` : "";
    case "OFPST_TABLE":
      return isReply && (version === OFP11_VERSION || version === OFP12_VERSION)
        ? tableStats11(view)
        : undefined;
    case "OFPT_TABLE_STATUS":
      return tableStatus(view);
    case "OFPT_ROLE_STATUS":
    case "ONFT_ROLE_STATUS":
      return roleStatus(view, kind.startsWith("ONF") ? MULTIPART_SIZE : HEADER_SIZE);
    case "OFPT_REQUESTFORWARD":
      return forwarded(bytes.subarray(HEADER_SIZE), verbosity);
    case "OFPST_QUEUE_DESC":
      return isReply ? queues(view) : ` port=${formatPort(view.getUint32(MULTIPART_SIZE))}`;
    case "OFPT_GET_ASYNC_REPLY":
    case "OFPT_SET_ASYNC":
      return version < OFP14_VERSION ? undefined : formatAsyncMasks(asyncMasks(view));
    case "OFPST_GROUP_DESC":
      return isReply || view.byteLength === MULTIPART_SIZE
        ? undefined
        : groupRequest(view.getUint32(MULTIPART_SIZE));
    case "OFPST_PORT_DESC":
      return isReply || version < OFP14_VERSION
        ? undefined
        : ` port=${view.byteLength > MULTIPART_SIZE ? formatPort(view.getUint32(MULTIPART_SIZE)) : "ANY"}`;
    default:
      return undefined;
  }
}

function groupRequest(groupId: number): string {
  return ` group_id=${groupId === OFPG_ALL ? "ALL" : groupId}`;
}

// --- Tables

interface TableConfig {
  readonly eviction: number | undefined;
  readonly vacancy: readonly [down: number, up: number, now: number] | undefined;
}

function readConfig(view: DataView, from: number, to: number, isStrict: boolean): TableConfig {
  let eviction: number | undefined;
  let vacancy: TableConfig["vacancy"];
  for (let at = from; at < to; ) {
    const [type, length] = [view.getUint16(at), view.getUint16(at + 2)];
    if (length < 4 || at + length > to) throw new Fault("OFPBPC_BAD_LEN");
    if (type === TMPT_EVICTION) {
      if (length !== 8) throw new Fault("OFPBPC_BAD_LEN");
      eviction = view.getUint32(at + 4);
    } else if (type === TMPT_VACANCY) {
      if (length !== 8) throw new Fault("OFPBPC_BAD_LEN");
      vacancy = [view.getUint8(at + 4), view.getUint8(at + 5), view.getUint8(at + 6)];
    } else if (isStrict) throw new Fault("OFPBRC_BAD_TYPE");
    at += length + ((8 - (length % 8)) % 8);
  }
  return { eviction, vacancy };
}

function tableMod(view: DataView, version: number): string {
  const [tableId, config] = [view.getUint8(HEADER_SIZE), view.getUint32(HEADER_SIZE + 4)];
  const table = tableId === TABLE_ALL ? " table_id: ALL_TABLES" : ` table_id=${tableId}`;
  if (version < OFP14_VERSION)
    return version <= OFP12_VERSION ? `${table}, flow_miss_config=${MISS[config & 3]}` : table;
  const { vacancy } = readConfig(view, 16, view.byteLength, true);
  const eviction = tableId === TABLE_ALL ? "***error***" : (config & OFPTC_EVICTION) === 0 ? "off" : "on";
  const [down, up] = vacancy ?? [0, 0];
  const events = (config & OFPTC_VACANCY_EVENTS) === 0 ? "off" : `on vacancy:${down},${up}`;
  return `${table}, eviction=${eviction}, vacancy=${events}`;
}

function tableDescriptions(view: DataView): string {
  const texts: string[] = [];
  for (let at = MULTIPART_SIZE; at < view.byteLength; ) {
    const length = view.getUint16(at);
    if (length < 8 || at + length > view.byteLength) throw new Fault("OFPBRC_BAD_LEN");
    texts.push(tableDescription(view, at, length));
    at += length;
  }
  return texts.join("\n");
}

function tableDescription(view: DataView, at: number, length: number): string {
  const config = view.getUint32(at + 4);
  const { eviction, vacancy } = readConfig(view, at + 8, at + length, false);
  const flags = EVICTION_FLAGS.filter((_, bit) => (((eviction ?? 0) >>> bit) & 1) === 1);
  const told = flags.length === 0 ? "(default)" : flags.join("|");
  const [down, up, now] = vacancy ?? [0, 0, 0];
  return [
    `  table ${view.getUint8(at + 2)}:\n`,
    `   eviction=${(config & OFPTC_EVICTION) === 0 ? "off" : "on"} eviction_flags=${told}\n`,
    (config & OFPTC_VACANCY_EVENTS) === 0
      ? "   vacancy=off\n"
      : `   vacancy=on vacancy_down=${down}% vacancy_up=${up}% vacancy=${now}%\n`,
  ].join("");
}

function tableStatus(view: DataView): string {
  const reason = TABLE_REASONS[view.getUint8(HEADER_SIZE)];
  if (reason === undefined) throw new Fault("OFPBRC_BAD_TYPE");
  const at = HEADER_SIZE + 8;
  const length = view.getUint16(at);
  if (length < 8 || at + length > view.byteLength) throw new Fault("OFPBRC_BAD_LEN");
  return ` reason=${reason}\ntable_desc:-\n${tableDescription(view, at, length)}`;
}

// --- Roles, requests, queues

function roleStatus(view: DataView, at: number): string {
  const role = ROLES[view.getUint32(at)];
  const reason = ROLE_REASONS[view.getUint8(at + 4)];
  const generation = view.getBigUint64(at + 8);
  if (role === undefined || role === "nochange") throw new Fault("OFPRRFC_BAD_ROLE");
  const told = generation === NO_GENERATION ? "" : ` generation_id=${generation}`;
  return ` role=${role}${told} reason=${reason ?? "(unknown)"}`;
}

/** What another controller has asked for, a group or a meter. */
function forwarded(request: Uint8Array, verbosity: number): string {
  const text = printMessage(request, { verbosity });
  const refusal = /\*\*\*decode error: (\w+)\*\*\*/.exec(text)?.[1];
  if (refusal !== undefined) throw new Fault(refusal);
  const [head = "", ...rest] = text.split(":");
  const name = /^OFPT_(GROUP|METER)_MOD /.exec(head)?.[1];
  if (name === undefined) throw new Fault("OFPBFC_MSG_UNSUP");
  return ` reason=${name.toLowerCase()}_mod${rest.join(":")}`;
}

function queues(view: DataView): string {
  const lines: { readonly port: number; readonly queue: number; readonly text: string }[] = [];
  for (let at = MULTIPART_SIZE; at < view.byteLength; ) {
    const [port, queue, length] = [view.getUint32(at), view.getUint32(at + 4), view.getUint16(at + 8)];
    if (length < 16 || at + length > view.byteLength) throw new Fault("OFPBRC_BAD_LEN");
    const rates: Record<number, number> = {};
    for (let property = at + 16; property < at + length; ) {
      const [type, size] = [view.getUint16(property), view.getUint16(property + 2)];
      if (size < 4 || property + size > at + length) throw new Fault("OFPBPC_BAD_LEN");
      if (type === 1 || type === 2) rates[type] = view.getUint16(property + 4);
      property += size + ((8 - (size % 8)) % 8);
    }
    const text = `queue ${queue}:${rate("min_rate", rates[1])}${rate("max_rate", rates[2])}\n`;
    lines.push({ port, queue, text });
    at += length;
  }
  let port: number | undefined;
  let text = "";
  for (const line of lines.sort((a, b) => a.port - b.port || a.queue - b.queue)) {
    if (line.port !== port) text += `${text === "" ? " " : ""}port=${formatPort(line.port)}\n`;
    port = line.port;
    text += line.text;
  }
  return text === "" ? "\n" : text;
}

function rate(name: string, tenths: number | undefined): string {
  if (tenths === undefined) return "";
  return ` ${name}:${tenths > RATE_MAX ? "(disabled)" : `${Math.floor(tenths / 10)}.${tenths % 10}%`}`;
}

/** Properties in the order of ofp_async_config_prop_type: of secondaries, then of the others. */
const ASYNC_MESSAGES = [
  "PACKET_IN",
  "PORT_STATUS",
  "FLOW_REMOVED",
  "ROLE_STATUS",
  "TABLE_STATUS",
  "REQUESTFORWARD",
] as const;
/** Reasons that there are, a bit for each. */
const ASYNC_BITS: readonly number[] = [0x3f, 0x07, 0x3f, 0x07, 0x18, 0x03];

function asyncMasks(view: DataView): AsyncMasks {
  const masks: Record<string, [number, number]> = {};
  for (let at = HEADER_SIZE; at < view.byteLength; ) {
    const [type, length] = [view.getUint16(at), view.getUint16(at + 2)];
    if (length < 4 || at + length > view.byteLength) throw new Fault("OFPBPC_BAD_LEN");
    const name = ASYNC_MESSAGES[type >> 1];
    if (name !== undefined) {
      if (length !== 8) throw new Fault("OFPBPC_BAD_LEN");
      masks[name] ??= [0, 0];
      masks[name][type % 2 === 0 ? 1 : 0] = view.getUint32(at + 4) & (ASYNC_BITS[type >> 1] as number);
    } else throw new Fault("OFPACFC_UNSUPPORTED");
    at += length + ((8 - (length % 8)) % 8);
  }
  return masks as AsyncMasks;
}
