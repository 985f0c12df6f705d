// Answers of a switch as ovs-ofctl prints them, header line and body. Pure.
import {
  type FlowUpdate,
  type GroupFeatures,
  type MeterFeatures,
  type MultipartReplyBody,
  OFP10_VERSION,
  OFP11_VERSION,
  type PortDescription,
  WireError,
} from "../../base/openflow/index.js";
import { formatHex } from "./field-text.js";
import { formatFlow, formatMatch } from "./flow-text.js";
import { formatGroup, formatGroupStats } from "./group-text.js";
import type { PortNames } from "./match-text.js";
import type { TextContext } from "./message-text.js";
import { formatMeter, formatMeterStats, METER_FLAGS } from "./meter-text.js";
import { formatBits, formatPortDescription, formatPortStats, formatQueueStats } from "./port-text.js";
import { ACTIONS_10 } from "./switch-text.js";
import { ACTION_NAMES, formatTableInfos, infoOfFeatures, infoOfStats } from "./table-info-text.js";
import { ACTIONS_11 } from "./table-stats-11-text.js";
import { instructionsText } from "./version-text.js";

/** What follows the head of a multipart reply. */
export function replyText(body: MultipartReplyBody, { names, version }: TextContext): string {
  switch (body.kind) {
    case "desc":
      return `\nManufacturer: ${body.manufacturer}\nHardware: ${body.hardware}\nSoftware: ${body.software}\nSerial Num: ${body.serialNumber}\nDP Description: ${body.datapath}\n`;
    case "flow":
      return `\n${body.flows.map((flow) => `${formatFlow(flow, { version, names })}\n`).join("")}`;
    case "aggregate":
      return ` packet_count=${body.packetCount} byte_count=${body.byteCount} flow_count=${body.flowCount}\n`;
    case "table":
      return `\n${formatTableInfos(body.tables.map(infoOfStats))}`;
    case "port_stats":
      return ` ${body.ports.length} ports\n${body.ports.map((port) => formatPortStats(port, names)).join("")}`;
    case "queue":
      return ` ${body.queues.length} queues\n${body.queues.map((queue) => formatQueueStats(queue, names)).join("")}`;
    case "group":
      return `\n${body.groups.map((group) => ` ${formatGroupStats(group)}\n`).join("")}`;
    case "group_desc":
      return `\n${body.groups.map((group) => ` ${formatGroup(group, names, version)}\n`).join("")}`;
    case "group_features":
      return `\n${formatGroupFeatures(body, version)}`;
    case "meter":
      return `\n${body.meters.map(formatMeterStats).join("\n")}`;
    case "meter_config":
      return `\n${body.meters.map(formatMeter).join("\n")}`;
    case "meter_features":
      return `\n${formatMeterFeatures(body)}`;
    case "table_features":
      return `\n${formatTableInfos(body.tables.map((table) => infoOfFeatures(table, version)))}`;
    case "port_desc":
      return `\n${sortedPorts(body.ports)
        .map((port) => formatPortDescription(port, names, version))
        .join("")}`;
    case "flow_monitor":
      return body.updates
        .map((update) => updateText(update, names, version))
        .join("")
        .trimEnd();
    default:
      throw new WireError("OFPBRC_BAD_EXP_TYPE", "experimenter", 16, "is not understood");
  }
}

function sortedPorts(ports: readonly PortDescription[]): readonly PortDescription[] {
  return [...ports].sort((a, b) => a.port - b.port);
}

function updateText(update: FlowUpdate, names: PortNames | undefined, version: number): string {
  if (update.event === "abbreviated") return `\n event=ABBREV xid=0x${update.xid.toString(16)}`;
  const match = formatMatch(update.match, names);
  const actions = instructionsText(update.instructions, version, names);
  const parts = [
    `event=${update.event.toUpperCase()}`,
    ...(update.event === "deleted" ? [`reason=${REASONS[update.reason ?? "idle_timeout"]}`] : []),
    `table=${update.tableId}`,
    ...(update.idleTimeoutSeconds === 0 ? [] : [`idle_timeout=${update.idleTimeoutSeconds}`]),
    ...(update.hardTimeoutSeconds === 0 ? [] : [`hard_timeout=${update.hardTimeoutSeconds}`]),
    `cookie=${formatHex(update.cookie)}`,
    // Of a match without fields a blank remains where nothing follows.
    ...(match === "" && actions !== "drop" ? [] : [match]),
    ...(actions === "drop" ? [] : [`actions=${actions}`]),
  ];
  return `\n ${parts.join(" ")}`;
}

const REASONS = {
  idle_timeout: "idle",
  hard_timeout: "hard",
  delete: "delete",
  group_delete: "group_delete",
} as const;

function formatGroupFeatures(features: GroupFeatures, version: number): string {
  const known =
    version === OFP10_VERSION ? ACTIONS_10 : version === OFP11_VERSION ? ACTIONS_11 : ACTION_NAMES;
  const types = ["all", "select", "indirect", "fast failover"].map((name, i) => {
    if (((features.types >>> i) & 1) === 0) return "";
    const bits = features.actions[i] as number;
    const actions = known.filter(([bit]) => ((bits >>> bit) & 1) === 1).map(([, action]) => action);
    return `    ${name} group:\n       max_groups=${formatHex(features.maxGroups[i] as number)}\n       actions: ${actions.length === 0 ? "<none>" : actions.join(" ")}\n`;
  });
  return ` Group table:\n    Types:  0x${features.types.toString(16)}\n    Capabilities:  0x${features.capabilities.toString(16)}\n${types.join("")}`;
}

const BAND_TYPES: Readonly<Record<number, string>> = { 1: "drop", 2: "dscp_remark" };

function formatMeterFeatures(features: MeterFeatures): string {
  return [
    `max_meter:${features.maxMeters} max_bands:${features.maxBands} max_color:${features.maxColor}\n`,
    `band_types: ${formatBits(features.bandTypes, BAND_TYPES)}\n`,
    `capabilities: ${formatBits(features.capabilities, METER_FLAGS)}\n`,
  ].join("");
}
