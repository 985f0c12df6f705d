// What OpenFlow messages say, as ovs-ofctl prints it behind their names. Pure.
import {
  type FlowMod,
  type FlowModCommand,
  type FlowRemoved,
  type MeterMod,
  OFP_NO_BUFFER,
  OFP10_VERSION,
  OFPFF_RESET_COUNTS,
  OFPP_ANY,
  type OpenFlowMessage,
  type PacketOut,
  type PortMod,
} from "../../base/openflow/index.js";
import { formatAsyncConfig } from "./async-text.js";
import { formatDuration } from "./duration-text.js";
import { extensionText } from "./extension-text.js";
import { formatPriorityAndMatch } from "./flow-text.js";
import { formatBucketCommand, formatGroup } from "./group-text.js";
import { formatHexDump, formatPlainHexDump } from "./hex-dump.js";
import { removalReason } from "./lenient-message.js";
import { formatNamedPort, matchInVersion, type PortNames } from "./match-text.js";
import { errorText, helloText } from "./message-symmetric-text.js";
import { formatMeter } from "./meter-text.js";
import { formatPacketIn } from "./packet-in-text.js";
import { configBits, featureBits, formatPortDescription } from "./port-text.js";
import { formatRecordedFrame } from "./recorded-frame-text.js";
import { requestText } from "./request-text.js";
import { replyText } from "./stats-text.js";
import { fragmentMode, roleText, switchFeatures } from "./switch-text.js";
import { actionsText, instructionsText } from "./version-text.js";

export interface TextContext {
  /** The name of the message's kind, as kindOf() gives it. */
  readonly kind: string;
  /** On the wire. */
  readonly version: number;
  /** The whole message. */
  readonly bytes: Uint8Array;
  /** See PrintOptions. */
  readonly verbosity: number;
  readonly names: PortNames | undefined;
}

const COMMANDS: Readonly<Record<FlowModCommand, string>> = {
  add: "ADD",
  modify: "MOD",
  modify_strict: "MOD_STRICT",
  delete: "DEL",
  delete_strict: "DEL_STRICT",
};
const CHANGES = { add: "ADD", modify: "MOD", delete: "DEL", add_or_mod: "ADD_OR_MOD" } as const;
const NO_COOKIE = 0xffffffffffffffffn;
const VERBOSITY_PACKETS = 1;
const VERBOSITY_PACKET_BYTES = 3;

/** Everything behind the colon; with or without a newline at the end. */
export function bodyText(message: OpenFlowMessage, context: TextContext): string {
  const { names, version } = context;
  switch (message.type) {
    case "hello":
      return helloText(context);
    case "error":
    case "experimenter_error":
      return errorText(context);
    case "echo_request":
    case "echo_reply":
      return ` ${message.data.byteLength} bytes of payload\n${context.verbosity > 1 ? formatHexDump(message.data) : ""}`;
    case "features_reply":
      return switchFeatures(message, version);
    case "get_config_reply":
    case "set_config":
      return ` frags=${fragmentMode(message.flags)}${version <= 3 && (message.flags & 4) !== 0 ? " invalid_ttl_to_controller" : ""} miss_send_len=${message.missSendLength}`;
    case "flow_mod":
      return ` ${formatFlowMod(message, context)}`;
    case "group_mod":
      if (message.bucketCommand !== undefined)
        return `\n ${message.bucketCommand.toUpperCase()} ${formatBucketCommand(message, names, version)}`;
      return `\n ${CHANGES[message.command]} ${formatGroup(message, names, version)}`;
    case "meter_mod":
      return meterModText(message);
    case "port_mod":
      return portModText(message, context);
    case "packet_in":
      return ` ${formatPacketIn(message, context)}${packetText(message.data, context)}`;
    case "packet_out":
      return packetOutText(message, context);
    case "flow_removed":
      return flowRemovedText(message, context);
    case "port_status":
      return ` ${message.reason === "delete" ? "DEL" : CHANGES[message.reason]}:${formatPortDescription(message.description, names, version)}`;
    case "queue_get_config_request":
      return ` port=${formatNamedPort(message.port, names)}`;
    case "queue_get_config_reply":
      return queueConfigText(message, names);
    case "role_request":
    case "role_reply":
      return roleText(message);
    case "get_async_reply":
    case "set_async":
      return formatAsyncConfig(message);
    case "multipart_request":
      return requestText(message.body, context);
    case "multipart_reply":
      return replyText(message.body, context);
    default:
      return extensionText(message, context);
  }
}

function formatFlowMod(mod: FlowMod, { names, version, kind, bytes }: TextContext): string {
  // 1.0 has no table; Nicira's extension puts one in front of the command, where 0 is none.
  const commandAt = kind === "NXT_FLOW_MOD" ? 24 : 56;
  const tableId = version === OFP10_VERSION ? (bytes[commandAt] as number) : mod.tableId;
  const match = formatPriorityAndMatch(mod.priority, matchInVersion(mod.match, version), names);
  const parts = [
    COMMANDS[mod.command],
    ...(tableId === 0 ? [] : [`table:${tableId}`]),
    ...(match === "" ? [] : [match]),
    ...cookieParts(mod, version),
    ...(mod.idleTimeoutSeconds === 0 ? [] : [`idle:${mod.idleTimeoutSeconds}`]),
    ...(mod.hardTimeoutSeconds === 0 ? [] : [`hard:${mod.hardTimeoutSeconds}`]),
    ...(mod.importance === undefined ? [] : [`importance:${mod.importance}`]),
    ...(mod.bufferId === OFP_NO_BUFFER ? [] : [`buf:0x${mod.bufferId.toString(16)}`]),
    ...(mod.outPort === OFPP_ANY ? [] : [`out_port:${formatNamedPort(mod.outPort, names)}`]),
    // In 1.0 every flow that is added begins to count anew.
    ...flagNames(version === OFP10_VERSION ? mod.flags & ~OFPFF_RESET_COUNTS : mod.flags),
    `actions=${instructionsText(mod.instructions, version, names)}`,
  ];
  return parts.join(" ");
}

/** A new flow's cookie, or the cookies that a change is for. */
function cookieParts({ command, cookie, cookieMask }: FlowMod, version: number): string[] {
  const isNew = command === "add" || version === OFP10_VERSION;
  const text = `cookie:0x${cookie.toString(16)}`;
  return [
    ...(!isNew || cookie === 0n || cookie === NO_COOKIE ? [] : [text]),
    ...((command === "add" && version !== OFP10_VERSION) || cookieMask === 0n
      ? []
      : [`${text}/0x${cookieMask.toString(16)}`]),
  ];
}

function flagNames(flags: number): string[] {
  const names = ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];
  return names.filter((_, bit) => ((flags >>> bit) & 1) === 1);
}

function meterModText(mod: MeterMod): string {
  return ` ${CHANGES[mod.command]} ${formatMeter(mod)}`;
}

function portModText(mod: PortMod, { names, version }: TextContext): string {
  const mac = Array.from(mod.macAddress, (byte) => byte.toString(16).padStart(2, "0")).join(":");
  const advertise = mod.advertise === 0 ? "UNCHANGED" : featureBits(mod.advertise);
  return ` port: ${formatNamedPort(mod.port, names)}: addr:${mac}\n     config: ${configBits(mod.config & mod.mask, version)}\n     mask:   ${configBits(mod.mask, version)}\n     advertise: ${advertise}\n`;
}

function packetOutText(message: PacketOut, context: TextContext): string {
  const actions = actionsText(message.actions, context.version, context.names);
  // Our switch takes port 0 of 1.0 for none.
  const isZero = context.version === OFP10_VERSION && context.bytes[12] === 0 && context.bytes[13] === 0;
  const head = ` in_port=${formatNamedPort(isZero ? 0 : message.inPort, context.names)} actions=${actions}`;
  if (message.bufferId !== OFP_NO_BUFFER)
    return `${head} buffer=0x${message.bufferId.toString(16).padStart(8, "0")}`;
  return `${head} data_len=${message.data.byteLength}${message.data.byteLength > 0 ? `\n${packetText(message.data, context)}` : ""}`;
}

/** The line of a packet, and its bytes when they are wanted. */
function packetText(frame: Uint8Array, { verbosity }: TextContext): string {
  const line = verbosity < VERBOSITY_PACKETS ? "" : `${formatRecordedFrame(frame)}\n`;
  return verbosity < VERBOSITY_PACKET_BYTES ? line : line + formatPlainHexDump(frame);
}

function flowRemovedText(message: FlowRemoved, { names, kind, bytes }: TextContext): string {
  const number = removalReason(kind, bytes);
  const reason = {
    idle_timeout: "idle",
    hard_timeout: "hard",
    delete: "delete",
    group_delete: "group_delete",
  };
  const parts = [
    formatPriorityAndMatch(message.priority, message.match, names),
    `reason=${number > 5 ? number : reason[message.reason]}`,
    ...(message.tableId === 255 ? [] : [`table_id=${message.tableId}`]),
    ...(message.cookie === 0n ? [] : [`cookie:0x${message.cookie.toString(16)}`]),
    `duration${formatDuration(message)}`,
    `idle${message.idleTimeoutSeconds}`,
    ...(message.hardTimeoutSeconds === 0 ? [] : [`hard${message.hardTimeoutSeconds}`]),
    `pkts${message.packetCount}`,
    `bytes${message.byteCount}`,
  ];
  return ` ${parts.filter((part) => part !== "").join(" ")}\n`;
}

function queueConfigText(
  message: OpenFlowMessage & { type: "queue_get_config_reply" },
  names: PortNames | undefined,
): string {
  if (message.queues.length === 0) return "\n";
  const rate = (queue: (typeof message.queues)[number], type: "min_rate" | "max_rate"): string => {
    const found = queue.properties.findLast((one) => one.type === type);
    // All ones are no rate.
    if (found === undefined || found.type === "experimenter" || found.rate === 0xffff) return "";
    const text = found.rate > 1000 ? "(disabled)" : `${Math.floor(found.rate / 10)}.${found.rate % 10}%`;
    return ` ${type}:${text}`;
  };
  const lines = [...message.queues]
    .sort((a, b) => a.queueId - b.queueId)
    .map((queue) => `queue ${queue.queueId}:${rate(queue, "min_rate")}${rate(queue, "max_rate")}\n`);
  const port = message.port === 0 ? "" : ` port=${formatNamedPort(message.port, names)}\n`;
  return `${port === "" ? " " : port}${lines.join("")}`;
}
