// Answers of a switch as ovs-ofctl prints them, header line and body. Pure.
import type {
  GroupFeatures,
  MeterFeatures,
  MultipartReplyBody,
  MultipartRequestBody,
  TableStats,
} from "../../base/openflow/index.js";
import { type FlowFormat, formatFlow } from "./flow-text.js";
import { formatGroup, formatGroupStats } from "./group-text.js";
import type { PortNames } from "./match-text.js";
import { formatMeter, formatMeterStats, METER_FLAGS } from "./meter-text.js";
import { formatBits, formatPortDescription, formatPortStats, formatQueueStats } from "./port-text.js";
import { formatTableFeatures } from "./table-features-text.js";

type Kind = MultipartReplyBody["kind"] | MultipartRequestBody["kind"];

const NAMES: Readonly<Record<Kind, string>> = {
  desc: "OFPST_DESC",
  flow: "OFPST_FLOW",
  aggregate: "OFPST_AGGREGATE",
  table: "OFPST_TABLE",
  port_stats: "OFPST_PORT",
  queue: "OFPST_QUEUE",
  group: "OFPST_GROUP",
  group_desc: "OFPST_GROUP_DESC",
  group_features: "OFPST_GROUP_FEATURES",
  meter: "OFPST_METER",
  meter_config: "OFPST_METER_CONFIG",
  meter_features: "OFPST_METER_FEATURES",
  table_features: "OFPST_TABLE_FEATURES",
  port_desc: "OFPST_PORT_DESC",
  flow_monitor: "ONFST_FLOW_MONITOR",
  experimenter: "OFPST_EXPERIMENTER",
};

export function multipartName(kind: Kind): string {
  return NAMES[kind];
}

/** "OFPST_FLOW reply (OF1.3) (xid=0x2):" and what follows, with its newline. */
export function formatReply(body: MultipartReplyBody, xid: number, names?: PortNames): string {
  const head = `${NAMES[body.kind]} reply (OF1.3) (xid=0x${xid.toString(16)}):`;
  switch (body.kind) {
    case "desc":
      return `${head}\nManufacturer: ${body.manufacturer}\nHardware: ${body.hardware}\nSoftware: ${body.software}\nSerial Num: ${body.serialNumber}\nDP Description: ${body.datapath}\n`;
    case "flow":
      return `${head}\n${body.flows.map((flow) => `${formatFlow(flow, flowFormat(names))}\n`).join("")}`;
    case "aggregate":
      return `${head} packet_count=${body.packetCount} byte_count=${body.byteCount} flow_count=${body.flowCount}\n`;
    case "table":
      return `${head}\n${formatTables(body.tables)}`;
    case "port_stats":
      return `${head} ${body.ports.length} ports\n${body.ports.map((port) => formatPortStats(port, names)).join("")}`;
    case "queue":
      return `${head} ${body.queues.length} queues\n${body.queues.map((queue) => formatQueueStats(queue, names)).join("")}`;
    case "group":
      return `${head}\n${body.groups.map((group) => ` ${formatGroupStats(group)}\n`).join("")}`;
    case "group_desc":
      return `${head}\n${body.groups.map((group) => ` ${formatGroup(group, names)}\n`).join("")}`;
    case "group_features":
      return `${head}\n${formatGroupFeatures(body)}`;
    case "meter":
      return `${head}\n${body.meters.map(formatMeterStats).join("\n")}`;
    case "meter_config":
      return `${head}\n${body.meters.map(formatMeter).join("\n")}`;
    case "meter_features":
      return `${head}\n${formatMeterFeatures(body)}`;
    case "table_features":
      return `${head}\n${formatTableFeatures(body.tables)}`;
    case "port_desc":
      return `${head}\n${body.ports.map(formatPortDescription).join("")}`;
    case "flow_monitor":
      return `${head} ${body.updates.length} updates\n`;
    default:
      return `${head} experimenter=0x${body.experimenter.toString(16)} type=${body.expType}\n`;
  }
}

function flowFormat(names: PortNames | undefined): FlowFormat {
  return names === undefined ? {} : { names };
}

/** Tables with the same numbers as the one before are told together. */
function formatTables(tables: readonly TableStats[]): string {
  const same = (a: TableStats | undefined, b: TableStats): boolean =>
    a !== undefined &&
    a.activeCount === b.activeCount &&
    a.lookupCount === b.lookupCount &&
    a.matchedCount === b.matchedCount;
  return formatRuns(
    tables,
    same,
    (table) =>
      `  table ${table.tableId}:\n    active=${table.activeCount}, lookup=${table.lookupCount}, matched=${table.matchedCount}\n`,
  );
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
  [11, "copy_ttl_out"],
  [12, "copy_ttl_in"],
  [26, "push_pbb"],
  [27, "pop_pbb"],
];

function formatGroupFeatures(features: GroupFeatures): string {
  const types = ["all", "select", "indirect", "fast failover"].map((name, i) => {
    if (((features.types >>> i) & 1) === 0) return "";
    const bits = features.actions[i] as number;
    const actions = ACTION_NAMES.filter(([bit]) => ((bits >>> bit) & 1) === 1).map(([, action]) => action);
    return `    ${name} group:\n       max_groups=0x${(features.maxGroups[i] as number).toString(16)}\n       actions: ${actions.join(" ")}\n`;
  });
  return ` Group table:\n    Types:  0x${features.types.toString(16)}\n    Capabilities:  0x${features.capabilities.toString(16)}\n${types.join("")}`;
}

const BAND_TYPES: readonly string[] = ["", "drop", "dscp_remark"];

function formatMeterFeatures(features: MeterFeatures): string {
  return [
    `max_meter:${features.maxMeters} max_bands:${features.maxBands} max_color:${features.maxColor}\n`,
    `band_types: ${formatBits(features.bandTypes, BAND_TYPES)}\n`,
    `capabilities: ${formatBits(features.capabilities, METER_FLAGS)}\n`,
  ].join("");
}
