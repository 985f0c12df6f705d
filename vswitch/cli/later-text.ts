// Messages that OpenFlow 1.1 to 1.5 have and 1.3 has not, or has in another form, as ovs-ofctl prints them: tables and
// their evictions, roles, queues, requests that are passed on, which messages are wanted. Pure.
// Source: OpenFlow Switch Specification 1.4.1, 7.3.4.1, 7.3.5.15, 7.3.5.16, 7.3.10, 7.4.4 to 7.4.6; the wording is that of
// ovs-ofctl.

import {
  OFP11_VERSION,
  OFP12_VERSION,
  OFP14_VERSION,
  OFPG_ALL,
  OFPP_MAX,
} from "../../base/openflow/index.js";
import { type AsyncMasks, formatAsyncMasks } from "./async-text.js";
import { formatHex, formatPort } from "./field-text.js";
import { printMessage } from "./message-print.js";
import { formatBits } from "./port-text.js";
import { Fault, propertiesIn, unknownProperty, wordOf } from "./property-list.js";
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
const EVICTION_WORDS = [undefined, "on", "off"] as const;
const EVICTION_FLAGS = ["OTHER", "IMPORTANCE", "LIFETIME"] as const;
const ROLES = ["nochange", "equal", "primary", "secondary"] as const;
const ROLE_REASONS = ["primary_request", "configuration_changed", "experimenter_data_changed"] as const;
const TABLE_REASONS: Readonly<Record<number, string>> = { 3: "VACANCY_DOWN", 4: "VACANCY_UP" };
const NO_GENERATION = 0xffffffffffffffffn;
const VACANCY_MAX = 100;
const RATE_MAX = 1000;
const OFPQ_ALL = 0xffffffff;
const BUNDLE_CONTROLS = [
  ...["OPEN_REQUEST", "OPEN_REPLY", "CLOSE_REQUEST", "CLOSE_REPLY"],
  ...["COMMIT_REQUEST", "COMMIT_REPLY", "DISCARD_REQUEST", "DISCARD_REPLY"],
];
const FLOW_FORMATS: Readonly<Record<number, string>> = { 0: "openflow10", 2: "nxm" };
export const BUNDLE_FLAGS = ["atomic", "ordered"];

/** Undefined for other kinds. `bytes` are a message whose length its kind allows. */
export function laterBody(kind: string, bytes: Uint8Array, verbosity: number): Unspoken | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const text = bodyOf(kind, bytes, view, verbosity);
    return text === undefined ? undefined : { text };
  } catch (thrown) {
    if (thrown instanceof Fault) return { error: thrown.message, before: thrown.before };
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
      return forwarded(bytes.subarray(HEADER_SIZE), version, verbosity);
    case "OFPST_QUEUE_DESC":
      return isReply ? queues(view) : queueRequest(view);
    case "OFPT_GET_ASYNC_REPLY":
    case "OFPT_SET_ASYNC":
      return version < OFP14_VERSION ? undefined : formatAsyncMasks(asyncMasks(view, HEADER_SIZE, isReply));
    case "NXT_SET_FLOW_FORMAT":
      return ` format=${FLOW_FORMATS[view.getUint32(MULTIPART_SIZE)] ?? "(unknown)"}`;
    case "NXT_SET_ASYNC_CONFIG2":
      return formatAsyncMasks(asyncMasks(view, MULTIPART_SIZE, false));
    case "OFPT_BUNDLE_CONTROL":
    case "ONFT_BUNDLE_CONTROL":
      return bundleControl(view, kind.startsWith("ONF") ? MULTIPART_SIZE : HEADER_SIZE);
    case "OFPST_GROUP_DESC":
      return isReply || view.byteLength === MULTIPART_SIZE
        ? undefined
        : groupRequest(view.getUint32(MULTIPART_SIZE));
    case "OFPST_PORT_DESC":
      return isReply || version < OFP14_VERSION
        ? undefined
        : ` port=${view.byteLength > MULTIPART_SIZE ? formatPort(portAt(view, MULTIPART_SIZE)) : "ANY"}`;
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

function readConfig(view: DataView, from: number, to: number, isAsked: boolean): TableConfig {
  let eviction: number | undefined;
  let vacancy: TableConfig["vacancy"];
  for (const property of propertiesIn(view, from, to)) {
    const { type, at, size } = property;
    if (type === TMPT_EVICTION) eviction = wordOf(view, property);
    else if (type === TMPT_VACANCY) {
      if (size !== 8) throw new Fault("OFPBPC_BAD_LEN");
      vacancy = [view.getUint8(at + 4), view.getUint8(at + 5), view.getUint8(at + 6)];
      const [down, up, now] = vacancy;
      if (isAsked && (down > up || up > VACANCY_MAX || now !== 0)) throw new Fault("OFPBPC_BAD_VALUE");
    } else if (isAsked) throw unknownProperty(property);
  }
  return { eviction, vacancy };
}

function tableMod(view: DataView, version: number): string {
  const [tableId, config] = [view.getUint8(HEADER_SIZE), view.getUint32(HEADER_SIZE + 4)];
  const table = tableId === TABLE_ALL ? " table_id: ALL_TABLES" : ` table_id=${tableId}`;
  if (version < OFP14_VERSION)
    return version <= OFP12_VERSION ? `${table}, flow_miss_config=${MISS[config & 3]}` : table;
  const { eviction, vacancy } = readConfig(view, 16, view.byteLength, true);
  const [down, up] = vacancy ?? [0, 0];
  const events = (config & OFPTC_VACANCY_EVENTS) === 0 ? "off" : `on vacancy:${down},${up}`;
  return `${table}${evictionText(config, eviction)}, vacancy=${events}`;
}

/** ovs-ofctl takes the flags of the property for the word itself. */
function evictionText(config: number, flags: number | undefined): string {
  const switched = (config & OFPTC_EVICTION) === 0 ? "off" : "on";
  if (flags === undefined) return `, eviction=${switched}`;
  return flags === 0 ? "" : `, eviction=${EVICTION_WORDS[flags] ?? "***error***"}`;
}

function tableDescriptions(view: DataView): string {
  const texts: string[] = [];
  for (let at = MULTIPART_SIZE; at < view.byteLength; ) {
    try {
      const length = elementSize(view, at, 8);
      texts.push(tableDescription(view, at, length));
      at += length;
    } catch (thrown) {
      throw thrown instanceof Fault && texts.length > 0
        ? new Fault(thrown.message, `\n${texts.join("\n")}`)
        : thrown;
    }
  }
  return texts.join("\n");
}

/** Of an element that begins with its size. */
function elementSize(view: DataView, at: number, sizeMin: number, sizeAt = 0): number {
  const left = view.byteLength - at;
  if (left < sizeMin) throw new Fault("OFPBRC_BAD_LEN");
  const length = view.getUint16(at + sizeAt);
  if (length < sizeMin || length > left) throw new Fault("OFPBRC_BAD_LEN");
  return length;
}

function tableDescription(view: DataView, at: number, length: number): string {
  const config = view.getUint32(at + 4);
  const { eviction, vacancy } = readConfig(view, at + 8, at + length, false);
  const told =
    (eviction ?? 0) === 0 ? "(default)" : formatBits(eviction ?? 0, EVICTION_FLAGS).replaceAll(" ", "|");
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
  const length = elementSize(view, at, 8);
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
function forwarded(request: Uint8Array, version: number, verbosity: number): string {
  const size = request.byteLength < HEADER_SIZE ? 0 : ((request[2] as number) << 8) | (request[3] as number);
  if (size < HEADER_SIZE || size > request.byteLength) throw new Fault("OFPBFC_MSG_BAD_LEN");
  if (request[0] !== version) throw new Fault("OFPBRC_BAD_VERSION");
  const text = printMessage(request.subarray(0, size), { verbosity });
  const refusal = /\*\*\*decode error: (\w+)\*\*\*/.exec(text)?.[1];
  if (refusal !== undefined) throw new Fault(refusal);
  const [head = "", ...rest] = text.split(":");
  const name = /^OFPT_(GROUP|METER)_MOD /.exec(head)?.[1];
  if (name === undefined) throw new Fault("OFPBFC_MSG_UNSUP");
  return ` reason=${name.toLowerCase()}_mod${rest.join(":")}`;
}

function queues(view: DataView): string {
  const lines: QueueLine[] = [];
  for (let at = MULTIPART_SIZE; at < view.byteLength; ) {
    try {
      const length = elementSize(view, at, 16, 8);
      lines.push(queueAt(view, at, length));
      at += length;
    } catch (thrown) {
      throw thrown instanceof Fault && lines.length > 0
        ? new Fault(thrown.message, queueLines(lines))
        : thrown;
    }
  }
  return lines.length === 0 ? "\n" : queueLines(lines);
}

interface QueueLine {
  readonly port: number;
  readonly queue: number;
  readonly text: string;
}

function queueAt(view: DataView, at: number, length: number): QueueLine {
  const [port, queue] = [portAt(view, at), view.getUint32(at + 4)];
  const rates: Record<number, number> = {};
  for (const { type, at: start, size } of propertiesIn(view, at + 16, at + length)) {
    if (type !== 1 && type !== 2) continue;
    if (size < 6) throw new Fault("OFPBPC_BAD_LEN");
    rates[type] = view.getUint16(start + 4);
  }
  return { port, queue, text: `queue ${queue}:${rate("min_rate", rates[1])}${rate("max_rate", rates[2])}\n` };
}

/** A port number, of which there are as many as 16 bits can tell. */
function portAt(view: DataView, at: number): number {
  const port = view.getUint32(at);
  if (port >= 0xff00 && port < OFPP_MAX) throw new Fault("OFPBAC_BAD_OUT_PORT");
  return port;
}

function queueLines(lines: readonly QueueLine[]): string {
  let port: number | undefined;
  let text = "";
  for (const line of [...lines].sort((a, b) => a.port - b.port || a.queue - b.queue)) {
    if (line.port !== port) text += `${text === "" ? " " : ""}port=${formatPort(line.port)}\n`;
    port = line.port;
    text += line.text;
  }
  return text;
}

function queueRequest(view: DataView): string {
  const [port, queue] = [portAt(view, MULTIPART_SIZE), view.getUint32(MULTIPART_SIZE + 4)];
  return ` port=${formatPort(port)}${queue === OFPQ_ALL ? "" : ` queue=${queue}`}`;
}

function rate(name: string, tenths: number | undefined): string {
  // All ones are no rate.
  if (tenths === undefined || tenths === 0xffff) return "";
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
/** Reasons that there are, a bit for each; before 1.4 fewer. */
const ASYNC_BITS: readonly number[] = [0x3f, 0x07, 0x3f, 0x07, 0x18, 0x03];
const ASYNC_BITS_13: readonly number[] = [0x07, 0x07, 0x0f, 0x07, 0x18, 0x03];
const ASYNC_EXPERIMENTER_MIN = 0xfffe;

/** A reply may name what is not understood, a request may not. */
function asyncMasks(view: DataView, from: number, isReply: boolean): AsyncMasks {
  const masks: Record<string, [number, number]> = {};
  const known = view.getUint8(0) < OFP14_VERSION ? ASYNC_BITS_13 : ASYNC_BITS;
  const options = { experimenterMin: ASYNC_EXPERIMENTER_MIN };
  for (const property of propertiesIn(view, from, view.byteLength, options)) {
    const name = ASYNC_MESSAGES[property.type >> 1];
    if (name === undefined) {
      if (isReply) continue;
      throw property.isExperimenter ? unknownProperty(property) : new Fault("OFPACFC_UNSUPPORTED");
    }
    const [mask, bits] = [wordOf(view, property), known[property.type >> 1] as number];
    if (!isReply && (mask & ~bits) !== 0) throw new Fault("OFPACFC_INVALID");
    masks[name] ??= [0, 0];
    masks[name][property.type % 2 === 0 ? 1 : 0] = mask & bits;
  }
  return masks as AsyncMasks;
}

// --- Bundles

function bundleControl(view: DataView, at: number): string {
  const word = BUNDLE_CONTROLS[view.getUint16(at + 4)] ?? "";
  const flags = formatBits(view.getUint16(at + 6), BUNDLE_FLAGS);
  return `\n bundle_id=${formatHex(view.getUint32(at))} type=${word} flags=${flags}`;
}
