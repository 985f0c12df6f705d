// Answers to multipart requests, from what the switch model reports.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.

import {
  type MultipartReplyBody,
  type MultipartRequest,
  NX_EXPERIMENTER,
  OFP10_VERSION,
  OFPG_ALL,
  OFPM_ALL,
  OFPP_ANY,
  OFPQ_ALL,
  type OfpErrorName,
  ONF_EXPERIMENTER,
  type TableFeatures,
  type TableStats,
} from "../../base/openflow/index.js";
import type { SwitchModel } from "./switch-model.js";
import { planTables } from "./table-plan.js";

/** NXST_IPFIX_BRIDGE and NXST_IPFIX_FLOW. */
const IPFIX_STATISTICS: readonly number[] = [3, 4];

/** The reply's body, whole, or the error to answer. Calls the model at once, so that order is kept. */
export async function answerMultipart(
  model: SwitchModel,
  request: MultipartRequest,
  version: number,
): Promise<MultipartReplyBody | OfpErrorName> {
  const { body } = request;
  switch (body.kind) {
    case "desc":
      return { kind: "desc", ...model.description };
    case "flow":
      return { kind: "flow", flows: await model.flowStats(body), ...encodingOf(body) };
    case "aggregate":
      return { kind: "aggregate", ...(await model.aggregateStats(body)), ...encodingOf(body) };
    case "table":
      return { kind: "table", tables: await tableStats(model, version) };
    case "port_stats":
      return portStats(model, body.port);
    case "queue":
      return queueStats(model, body.port, body.queueId);
    case "group": {
      const groups = await model.groupStats();
      const isAll = body.groupId === OFPG_ALL;
      return { kind: "group", groups: groups.filter((group) => isAll || group.groupId === body.groupId) };
    }
    case "group_desc":
      return groupDescriptions(model, body.groupId ?? OFPG_ALL);
    case "group_features":
      return { kind: "group_features", ...model.groupFeatures };
    case "meter":
    case "meter_config":
      return meters(model, body.kind, body.meterId);
    case "meter_features":
      return { kind: "meter_features", ...model.meterFeatures };
    case "table_features":
      return tableFeatures(model, body.tables);
    case "port_desc":
      return { kind: "port_desc", ports: await model.ports() };
    case "flow_monitor":
      return "OFPBRC_BAD_EXP_TYPE"; // The connection answers these.
    case "experimenter":
      // Nobody can configure exports of flows here.
      return body.experimenter === NX_EXPERIMENTER && IPFIX_STATISTICS.includes(body.expType)
        ? "NXST_NOT_CONFIGURED"
        : experimenterError(body.experimenter);
  }
}

async function groupDescriptions(model: SwitchModel, groupId: number): Promise<MultipartReplyBody> {
  const groups = await model.groupDescriptions();
  const chosen = groups.filter((group) => groupId === OFPG_ALL || group.groupId === groupId);
  return { kind: "group_desc", groups: chosen };
}

/** The reply is written as the request was. */
function encodingOf({ encoding }: { readonly encoding?: "nxm" }): { readonly encoding?: "nxm" } {
  return encoding === undefined ? {} : { encoding };
}

async function tableStats(model: SwitchModel, version: number): Promise<readonly TableStats[]> {
  const tables = await model.tableStats();
  if (version !== OFP10_VERSION) return tables;
  return tables.map((table) => {
    const features = model.tableFeatures.find(({ tableId }) => tableId === table.tableId);
    const { name = "", maxEntries = 0 } = features ?? {};
    return { ...table, openflow10: { name, maxEntries } };
  });
}

/** Asks, or with `wanted` tables makes them so. */
async function tableFeatures(
  model: SwitchModel,
  wanted: readonly TableFeatures[],
): Promise<MultipartReplyBody | OfpErrorName> {
  if (wanted.length > 0) {
    const planned = planTables(model.tablesAtMost, wanted);
    if (typeof planned === "string") return planned;
    await model.configureTables(planned);
  }
  return { kind: "table_features", tables: model.tableFeatures };
}

/** Experimenters whose messages we know of lack only the type; of the others we know nothing. */
export function experimenterError(experimenter: number): OfpErrorName {
  const isKnown = experimenter === NX_EXPERIMENTER || experimenter === ONF_EXPERIMENTER;
  return isKnown ? "OFPBRC_BAD_EXP_TYPE" : "OFPBRC_BAD_EXPERIMENTER";
}

async function portStats(model: SwitchModel, port: number): Promise<MultipartReplyBody | OfpErrorName> {
  const all = await model.portStats();
  const ports = port === OFPP_ANY ? all : all.filter((stats) => stats.port === port);
  return ports.length === 0 && port !== OFPP_ANY ? "OFPBRC_BAD_PORT" : { kind: "port_stats", ports };
}

async function queueStats(
  model: SwitchModel,
  port: number,
  queueId: number,
): Promise<MultipartReplyBody | OfpErrorName> {
  const [ports, all] = await Promise.all([model.ports(), model.queueStats()]);
  if (port !== OFPP_ANY && !ports.some((other) => other.port === port)) return "OFPQOFC_BAD_PORT";
  const queues = all.filter(
    (stats) =>
      (port === OFPP_ANY || stats.port === port) && (queueId === OFPQ_ALL || stats.queueId === queueId),
  );
  return queues.length === 0 && queueId !== OFPQ_ALL ? "OFPQOFC_BAD_QUEUE" : { kind: "queue", queues };
}

async function meters(
  model: SwitchModel,
  kind: "meter" | "meter_config",
  meterId: number,
): Promise<MultipartReplyBody | OfpErrorName> {
  const all = kind === "meter" ? await model.meterStats() : await model.meterConfigs();
  const chosen = all.filter((meter) => meterId === OFPM_ALL || meter.meterId === meterId);
  if (chosen.length === 0 && meterId !== OFPM_ALL) return "OFPMMFC_UNKNOWN_METER";
  return { kind, meters: chosen } as MultipartReplyBody;
}
