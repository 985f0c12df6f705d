// Multipart requests as ovs-ofctl prints them. Pure.
import {
  type FlowMonitorRequest,
  type MultipartRequestBody,
  OFPG_ALL,
  OFPG_ANY,
  OFPP_ANY,
  OFPQ_ALL,
  OFPTT_ALL,
} from "../../base/openflow/index.js";
import { formatNamedPort, matchParts } from "./match-text.js";
import type { TextContext } from "./message-text.js";
import { formatMeterId } from "./meter-text.js";
import { formatTableInfos, infoOfFeatures } from "./table-info-text.js";

export function requestText(body: MultipartRequestBody, { names, version }: TextContext): string {
  switch (body.kind) {
    case "queue":
      return ` port=${formatNamedPort(body.port, names)} queue=${body.queueId === OFPQ_ALL ? "ALL" : body.queueId}`;
    case "port_stats":
      return ` port_no=${formatNamedPort(body.port, names)}`;
    case "port_desc":
      return " port=ANY";
    case "group_desc":
      // Which one is a matter of OpenFlow 1.5.
      return " group_id=ALL";
    case "group":
      return ` group_id=${formatGroupId(body.groupId)}`;
    case "meter":
    case "meter_config":
      return ` meter=${formatMeterId(body.meterId)}`;
    case "flow":
    case "aggregate": {
      const match = matchParts(body.match, names).join(",");
      const parts = [
        ...(body.tableId === OFPTT_ALL ? [] : [`table=${body.tableId}`]),
        ...(body.outPort === OFPP_ANY ? [] : [`out_port=${formatNamedPort(body.outPort, names)}`]),
        match,
      ];
      return parts.map((part) => (part === "" ? "" : ` ${part}`)).join("");
    }
    case "table_features":
      return body.tables.length === 0
        ? ""
        : `\n${formatTableInfos(body.tables.map((table) => infoOfFeatures(table, version)))}`;
    case "flow_monitor":
      return body.monitors.map((monitor) => monitorText(monitor, names)).join("");
    default:
      return "";
  }
}

export function formatGroupId(groupId: number): string {
  return groupId === OFPG_ALL ? "ALL" : groupId === OFPG_ANY ? "ANY" : String(groupId);
}

const MONITOR_FLAGS = ["initial", "add", "delete", "modify", "actions", "own"] as const;

function monitorText(monitor: FlowMonitorRequest, names: TextContext["names"]): string {
  const flags = MONITOR_FLAGS.filter((name) => monitor.flags[name]);
  const port = monitor.outPort === OFPP_ANY ? "" : ` out_port=${formatNamedPort(monitor.outPort, names)}`;
  const table = monitor.tableId === OFPTT_ALL ? "" : ` table=${monitor.tableId}`;
  const group =
    (monitor.outGroup ?? OFPG_ANY) === OFPG_ANY ? "" : ` out_group=${(monitor.outGroup ?? 0) | 0}`;
  const match = matchParts(monitor.match, names).join(",");
  const head = `\n id=${monitor.monitorId} flags=${flags.length === 0 ? "0" : flags.join(",")}${port}${group}${table}`;
  return match === "" ? head : `${head} ${match}`;
}
