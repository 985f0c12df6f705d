// OpenFlow messages as ovs-ofctl prints them, for refusals, monitor, snoop and ofp-parse. Pure.
import {
  type FlowMod,
  type FlowModCommand,
  type GroupMod,
  type MeterMod,
  type MultipartRequestBody,
  OFP_ERRORS,
  OFP_NO_BUFFER,
  OFPP_ANY,
  OFPQ_ALL,
  type OpenFlowMessage,
  type PacketIn,
} from "../../base/openflow/index.js";
import { formatAction, formatInstructions } from "./action-text.js";
import { formatDuration } from "./duration-text.js";
import { formatPriorityAndMatch } from "./flow-text.js";
import { formatFrame } from "./frame-text.js";
import { formatGroup } from "./group-text.js";
import { formatNamedPort, matchParts, type PortNames } from "./match-text.js";
import { formatMeter } from "./meter-text.js";
import { formatBits, formatPortDescription } from "./port-text.js";
import { formatReply, multipartName } from "./stats-text.js";

const COMMANDS: Readonly<Record<FlowModCommand, string>> = {
  add: "ADD",
  modify: "MOD",
  modify_strict: "MOD_STRICT",
  delete: "DEL",
  delete_strict: "DEL_STRICT",
};
const CHANGES = { add: "ADD", modify: "MOD", delete: "DEL", add_or_mod: "ADD_OR_MOD" } as const;
const CAPABILITIES: Readonly<Record<number, string>> = {
  0: "FLOW_STATS",
  1: "TABLE_STATS",
  2: "PORT_STATS",
  3: "GROUP_STATS",
  5: "IP_REASM",
  6: "QUEUE_STATS",
  8: "PORT_BLOCKED",
};
const FRAGMENTS = ["normal", "drop", "reassemble", "nx-match"];
/** Types whose name in print is not the upper case of their own. */
const TYPE_NAMES: Readonly<Record<string, string>> = { experimenter_error: "OFPT_ERROR" };

/** What kind of fragment handling the switch's flags mean. */
export function fragmentMode(flags: number): string {
  return FRAGMENTS[flags & 3] as string;
}

/** The message with its newline, as one line or several. */
export function formatMessage(message: OpenFlowMessage, names?: PortNames): string {
  if (message.type === "multipart_reply") return formatReply(message.body, message.xid, names);
  const type =
    message.type === "multipart_request"
      ? `${multipartName(message.body.kind)} request`
      : (TYPE_NAMES[message.type] ?? `OFPT_${message.type.toUpperCase()}`);
  const body = bodyOf(message, names);
  const head = `${type} (OF1.3) (xid=0x${message.xid.toString(16)}):`;
  return body.endsWith("\n") ? `${head}${body}` : `${head}${body}\n`;
}

function bodyOf(message: OpenFlowMessage, names: PortNames | undefined): string {
  switch (message.type) {
    case "error":
      return ` ${errorName(message.errorType, message.code)}`;
    case "flow_mod":
      return ` ${formatFlowMod(message, names)}`;
    case "group_mod":
      return `\n ${formatGroupMod(message, names)}`;
    case "meter_mod":
      return ` ${formatMeterMod(message)}`;
    case "features_reply":
      return ` dpid:${message.datapathId.toString(16).padStart(16, "0")}\nn_tables:${message.tableCount}, n_buffers:${message.bufferCount}\ncapabilities: ${formatBits(message.capabilities, CAPABILITIES)}`;
    case "get_config_reply":
    case "set_config":
      return ` frags=${fragmentMode(message.flags)} miss_send_len=${message.missSendLength}`;
    case "packet_in":
      return ` ${formatPacketIn(message, names)}`;
    case "flow_removed":
      return ` ${[
        formatPriorityAndMatch(message.priority, message.match, names),
        `reason=${message.reason === "idle_timeout" ? "idle" : message.reason === "hard_timeout" ? "hard" : message.reason}`,
        ...(message.tableId === 0 ? [] : [`table_id=${message.tableId}`]),
        ...(message.cookie === 0n ? [] : [`cookie:0x${message.cookie.toString(16)}`]),
        `duration${formatDuration(message)}`,
        `idle${message.idleTimeoutSeconds}`,
        ...(message.hardTimeoutSeconds === 0 ? [] : [`hard${message.hardTimeoutSeconds}`]),
        `pkts${message.packetCount}`,
        `bytes${message.byteCount}`,
      ]
        .filter((part) => part !== "")
        .join(" ")}`;
    case "port_status":
      return ` ${message.reason === "delete" ? "DEL" : CHANGES[message.reason === "add" ? "add" : "modify"]}:${formatPortDescription(message.description)}`;
    case "queue_get_config_reply":
      return ` port=${formatNamedPort(message.port, names)}\n${message.queues.map(({ queueId }) => `queue ${queueId}:\n`).join("")}`;
    case "packet_out":
      return ` in_port=${formatNamedPort(message.inPort, names)} actions=${message.actions.map(formatAction).join(",") || "drop"} data_len=${message.data.byteLength}\n${formatFrame(message.data)}`;
    case "multipart_request":
      return requestBody(message.body, names);
    case "role_request":
    case "role_reply":
      return ` role=${message.role}${message.role === "equal" || message.role === "nochange" ? "" : ` generation_id=${message.generationId}`}`;
    case "echo_request":
    case "echo_reply":
      return ` ${message.data.byteLength} bytes of payload`;
    case "hello":
      return `\n version bitmap: ${(message.versions ?? [message.version]).map((v) => `0x${v.toString(16).padStart(2, "0")}`).join(", ")}`;
    default:
      return "";
  }
}

/** OFPxxx_… of an error's two numbers. */
export function errorName(errorType: number, code: number): string {
  const found = Object.entries(OFP_ERRORS).find(
    ([, [type, number]]) => type === errorType && number === code,
  );
  return found?.[0] ?? `type ${errorType}, code ${code}`;
}

function formatFlowMod(mod: FlowMod, names: PortNames | undefined): string {
  const match = formatPriorityAndMatch(mod.priority, mod.match, names);
  const parts = [
    COMMANDS[mod.command],
    ...(mod.tableId === 0 ? [] : [`table:${mod.tableId}`]),
    ...(match === "" ? [] : [match]),
    ...(mod.cookie === 0n && mod.cookieMask === 0n ? [] : [`cookie:${cookieText(mod)}`]),
    ...(mod.idleTimeoutSeconds === 0 ? [] : [`idle:${mod.idleTimeoutSeconds}`]),
    ...(mod.hardTimeoutSeconds === 0 ? [] : [`hard:${mod.hardTimeoutSeconds}`]),
    ...(mod.outPort === OFPP_ANY || !mod.command.startsWith("delete") ? [] : [`out_port:${mod.outPort}`]),
    ...flagNames(mod.flags),
    `actions=${formatInstructions(mod.instructions)}`,
  ];
  return parts.join(" ");
}

function cookieText({ cookie, cookieMask }: FlowMod): string {
  const mask = cookieMask === 0n ? "" : `/0x${cookieMask.toString(16)}`;
  return `0x${cookie.toString(16)}${mask}`;
}

function flagNames(flags: number): string[] {
  const names = ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];
  return names.filter((_, bit) => ((flags >>> bit) & 1) === 1);
}

function formatGroupMod(mod: GroupMod, names: PortNames | undefined): string {
  return `${CHANGES[mod.command]} ${formatGroup(mod, names)}`;
}

function formatMeterMod(mod: MeterMod): string {
  return `${CHANGES[mod.command]} ${formatMeter(mod)}`;
}

function formatPacketIn(message: PacketIn, names: PortNames | undefined): string {
  const parts = [
    ...(message.tableId === 0 ? [] : [`table_id=${message.tableId}`]),
    ...(message.cookie === 0xffffffffffffffffn ? [] : [`cookie=0x${message.cookie.toString(16)}`]),
    `total_len=${message.totalLength}`,
    matchParts(message.match, names).join(","),
    `(via ${message.reason})`,
    `data_len=${message.data.byteLength}`,
    message.bufferId === OFP_NO_BUFFER
      ? "(unbuffered)"
      : `buffer=0x${message.bufferId.toString(16).padStart(8, "0")}`,
  ];
  return `${parts.join(" ")}\n${formatFrame(message.data)}\n`;
}

function requestBody(body: MultipartRequestBody, names: PortNames | undefined): string {
  switch (body.kind) {
    case "queue":
      return ` port=${formatNamedPort(body.port, names)} queue=${body.queueId === OFPQ_ALL ? "ALL" : body.queueId}`;
    case "port_stats":
      return ` port_no=${formatNamedPort(body.port, names)}`;
    case "group":
      return ` group_id=${body.groupId}`;
    case "flow":
    case "aggregate":
      return ` ${[...(body.tableId === 255 ? [] : [`table=${body.tableId}`]), ...matchParts(body.match, names)].join(",")}`;
    default:
      return "";
  }
}
