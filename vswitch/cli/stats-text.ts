// Answers of a switch as ovs-ofctl prints them, header line and body. Pure.
import {
  type FlowUpdate,
  type GroupFeatures,
  type MeterFeatures,
  type MultipartReplyBody,
  type PortDescription,
  type TableStats,
  WireError,
} from "../../base/openflow/index.js";
import { formatHex } from "./field-text.js";
import { formatFlow, formatMatch } from "./flow-text.js";
import { formatGroup, formatGroupStats } from "./group-text.js";
import type { PortNames } from "./match-text.js";
import type { TextContext } from "./message-text.js";
import { formatMeter, formatMeterStats, METER_FLAGS } from "./meter-text.js";
import { formatBits, formatPortDescription, formatPortStats, formatQueueStats } from "./port-text.js";
import { formatTableFeatures } from "./table-features-text.js";
import { instructionsText } from "./version-text.js";
import { formatWildcards10 } from "./wildcards-text.js";

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
      return `\n${formatTables(body.tables)}`;
    case "port_stats":
      return ` ${body.ports.length} ports\n${body.ports.map((port) => formatPortStats(port, names)).join("")}`;
    case "queue":
      return ` ${body.queues.length} queues\n${body.queues.map((queue) => formatQueueStats(queue, names)).join("")}`;
    case "group":
      return `\n${body.groups.map((group) => ` ${formatGroupStats(group)}\n`).join("")}`;
    case "group_desc":
      return `\n${body.groups.map((group) => ` ${formatGroup(group, names, version)}\n`).join("")}`;
    case "group_features":
      return `\n${formatGroupFeatures(body)}`;
    case "meter":
      return `\n${body.meters.map(formatMeterStats).join("\n")}`;
    case "meter_config":
      return `\n${body.meters.map(formatMeter).join("\n")}`;
    case "meter_features":
      return `\n${formatMeterFeatures(body)}`;
    case "table_features":
      return `\n${formatTableFeatures(body.tables)}`;
    case "port_desc":
      return `\n${sortedPorts(body.ports)
        .map((port) => formatPortDescription(port, names, version))
        .join("")}`;
    case "flow_monitor":
      return body.updates.map((update) => updateText(update, names, version)).join("");
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
  const parts = [
    `event=${update.event.toUpperCase()}`,
    ...(update.event === "deleted" ? [`reason=${REASONS[update.reason ?? "idle_timeout"]}`] : []),
    `table=${update.tableId}`,
    ...(update.idleTimeoutSeconds === 0 ? [] : [`idle_timeout=${update.idleTimeoutSeconds}`]),
    ...(update.hardTimeoutSeconds === 0 ? [] : [`hard_timeout=${update.hardTimeoutSeconds}`]),
    `cookie=0x${update.cookie.toString(16)}`,
    match,
    ...(update.instructions.length === 0
      ? []
      : [`actions=${instructionsText(update.instructions, version)}`]),
  ];
  return `\n ${parts.join(" ")}`;
}

const REASONS = {
  idle_timeout: "idle",
  hard_timeout: "hard",
  delete: "delete",
  group_delete: "group_delete",
} as const;

/** Tables with the same numbers as the one before are told together. */
function formatTables(tables: readonly TableStats[]): string {
  const text = new Map(tables.map((table) => [table, tableText(table, undefined)]));
  return formatRuns(
    tables,
    (before, table) => before !== undefined && text.get(before) === text.get(table),
    (table, before) => `  table ${table.tableId}${quotedName(table)}:\n${tableText(table, before)}`,
  );
}

/** What only OpenFlow 1.0 says here is told too. */
function tableText(table: TableStats, before: TableStats | undefined): string {
  const { activeCount, lookupCount, matchedCount, openflow10 } = table;
  const counts = `    active=${activeCount}, lookup=${lookupCount}, matched=${matchedCount}\n`;
  if (openflow10 === undefined) return counts;
  const fields = formatWildcards10(openflow10.wildcards);
  const isSame =
    before?.openflow10 !== undefined && formatWildcards10(before.openflow10.wildcards) === fields;
  const most = openflow10.maxEntries === 0 ? "" : `    max_entries=${openflow10.maxEntries}\n`;
  if (fields === "") return counts + most;
  const matching = isSame
    ? "    (same matching)\n"
    : `    matching:\n      exact match or wildcard: ${fields}\n`;
  return counts + most + matching;
}

function quotedName({ tableId, openflow10 }: TableStats): string {
  const name = openflow10?.name ?? "";
  return name === "" || name === `table${tableId}` ? "" : ` ("${name}")`;
}

/** Blocks with an empty line between them; a run that repeats the block before is one line, "ditto". */
export function formatRuns<Table extends { readonly tableId: number }>(
  tables: readonly Table[],
  same: (before: Table | undefined, table: Table) => boolean,
  format: (table: Table, before: Table | undefined) => string,
): string {
  const blocks: string[] = [];
  for (let at = 0; at < tables.length; ) {
    const table = tables[at] as Table;
    let end = at;
    while (end < tables.length && same(tables[at - 1], tables[end] as Table)) end++;
    if (end === at) {
      blocks.push(format(table, tables[at - 1]));
      at++;
      continue;
    }
    const last = (tables[end - 1] as Table).tableId;
    blocks.push(
      last === table.tableId ? `  table ${last}: ditto\n` : `  tables ${table.tableId}...${last}: ditto\n`,
    );
    at = end;
  }
  return blocks.join("\n");
}

/** Actions by OFPAT_* number, in the order in which they are told. */
export const ACTION_NAMES: readonly (readonly [number, string])[] = [
  [0, "output"],
  [22, "group"],
  [25, "set_field"],
  [18, "strip_vlan"],
  [17, "push_vlan"],
  [23, "mod_nw_ttl"],
  [24, "dec_ttl"],
  [15, "set_mpls_ttl"],
  [16, "dec_mpls_ttl"],
  [19, "push_mpls"],
  [20, "pop_mpls"],
  [21, "set_queue"],
];

function formatGroupFeatures(features: GroupFeatures): string {
  const types = ["all", "select", "indirect", "fast failover"].map((name, i) => {
    if (((features.types >>> i) & 1) === 0) return "";
    const bits = features.actions[i] as number;
    const actions = ACTION_NAMES.filter(([bit]) => ((bits >>> bit) & 1) === 1).map(([, action]) => action);
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
