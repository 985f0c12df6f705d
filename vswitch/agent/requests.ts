// Answers to every message that a controller may send, except changes (the connection batches those).
// Source: OpenFlow Switch Specification 1.3.5, 7.3. Order: the model is called before this returns its promise.

import {
  type Dialect,
  NX_EXPERIMENTER,
  OFP10_VERSION,
  OFPC_FLOW_STATS,
  OFPC_FRAG_MASK,
  OFPC_GROUP_STATS,
  OFPC_INVALID_TTL_TO_CONTROLLER,
  OFPC_IP_REASM,
  OFPC_PORT_STATS,
  OFPC_QUEUE_STATS,
  OFPC_TABLE_STATS,
  OFPP_ANY,
  OFPTC_DEPRECATED_MASK,
  OFPTT_ALL,
  type OfpErrorName,
  type OpenFlowMessage,
  type PacketInFormat,
  type QueueGetConfigRequest,
  type SwitchConfig,
  type TableMod,
  type Unsent,
} from "../../base/openflow/index.js";
import { NXT_TLV_TABLE_MOD } from "../flow/index.js";
import { type AsyncMasks, wantsInvalidTtl, withInvalidTtl } from "./async-config.js";
import { NXT_CT_FLUSH, NXT_CT_FLUSH_ZONE, parseCtFlush } from "./ct-flush-wire.js";
import { answerMultipart, experimenterError } from "./multipart-requests.js";
import { answerNicira } from "./nicira-requests.js";
import type { RoleHolder, Roles } from "./roles.js";
import type { SwitchChange, SwitchModel } from "./switch-model.js";

/** What a connection keeps for itself. */
export interface ConnectionState extends RoleHolder {
  missSendLength: number;
  masks: AsyncMasks;
  /** OpenFlow version of the connection. */
  readonly version: Dialect["version"];
  packetInFormat: PacketInFormat;
  flowFormat: "openflow10" | "nxm";
  /** Packet-ins of controller actions with another id are not for this connection. */
  controllerId: number;
}

/** Of the options of tunnels that the bridge knows; their bodies are those of ../flow/tunnel-options.ts. */
const NXT_TLV_TABLE_REQUEST = 25;
const NXT_TLV_TABLE_REPLY = 26;

/** Replies without their xid, each however long, or the error to answer. */
export type Answer = readonly Unsent[] | OfpErrorName;

const CAPABILITIES =
  OFPC_FLOW_STATS | OFPC_TABLE_STATS | OFPC_PORT_STATS | OFPC_GROUP_STATS | OFPC_IP_REASM | OFPC_QUEUE_STATS;
/** 1.0 has no groups, and says whether addresses in ARP are matched. */
const OFPC_ARP_MATCH_IP = 1 << 7;
const CAPABILITIES_10 = (CAPABILITIES & ~OFPC_GROUP_STATS) | OFPC_ARP_MATCH_IP;

/** All twelve action types of OpenFlow 1.0. */
const ACTIONS_10 = 0xfff;

export function isChange(message: OpenFlowMessage): message is SwitchChange {
  switch (message.type) {
    case "flow_mod":
    case "group_mod":
    case "meter_mod":
    case "port_mod":
    case "packet_out":
    case "resume":
      return true;
    default:
      return false;
  }
}

/** Answers `message`, changing `state` where it says so. */
export async function answer(
  model: SwitchModel,
  roles: Roles,
  state: ConnectionState,
  message: OpenFlowMessage,
): Promise<Answer> {
  switch (message.type) {
    case "features_request":
      return [await features(model, state.version)];
    case "get_config_request":
      return [getConfig(model, state)];
    case "set_config":
      return setConfig(model, state, message);
    case "barrier_request":
      await model.barrier();
      return [{ type: "barrier_reply" }];
    case "multipart_request": {
      if (isRefusedToSlave(message) && state.role === "slave") return "OFPBRC_IS_SLAVE";
      const body = await answerMultipart(model, message, state.version);
      return typeof body === "string" ? body : [{ type: "multipart_reply", flags: 0, body }];
    }
    case "queue_get_config_request":
      return queueConfig(model, message);
    case "role_request":
      if (!roles.request(state, message.role, message.generationId)) return "OFPRRFC_STALE";
      return [{ type: "role_reply", role: state.role, generationId: roles.generationId }];
    case "get_async_request":
      return [{ type: "get_async_reply", ...state.masks }];
    case "set_async":
      state.masks = {
        packetIn: message.packetIn,
        portStatus: message.portStatus,
        flowRemoved: message.flowRemoved,
      };
      return [];
    case "table_mod":
      return state.role === "slave" ? "OFPBRC_IS_SLAVE" : tableMod(model, message);
    case "experimenter":
      return answerExperimenter(model, state, message);
    case "error":
    case "experimenter_error":
      return [];
    default:
      // Only a switch sends the others.
      return answerNicira(roles, state, message) ?? "OFPBRC_BAD_TYPE";
  }
}

/** What is asked by experimenters of which the codec knows no more than the bytes. */
async function answerExperimenter(
  model: SwitchModel,
  state: ConnectionState,
  { experimenter, expType, data }: OpenFlowMessage & { readonly type: "experimenter" },
): Promise<Answer> {
  if (experimenter !== NX_EXPERIMENTER) return experimenterError(experimenter);
  switch (expType) {
    case NXT_CT_FLUSH:
    case NXT_CT_FLUSH_ZONE:
      return flushConnections(model, expType, data);
    case NXT_TLV_TABLE_REQUEST:
      return [
        {
          ...{ type: "experimenter", experimenter, expType: NXT_TLV_TABLE_REPLY },
          data: await model.tunnelOptions(),
        },
      ];
    case NXT_TLV_TABLE_MOD:
      return state.role === "slave" ? "OFPBRC_IS_SLAVE" : ((await model.changeTunnelOptions(data)) ?? []);
    default:
      return experimenterError(experimenter);
  }
}

async function flushConnections(model: SwitchModel, expType: number, data: Uint8Array): Promise<Answer> {
  const filter = parseCtFlush(expType, data);
  if (typeof filter === "string") return filter;
  await model.flushConnections(filter);
  return [];
}

function isRefusedToSlave(message: OpenFlowMessage & { type: "multipart_request" }): boolean {
  return message.body.kind === "table_features" && message.body.tables.length > 0;
}

async function features(model: SwitchModel, version: number): Promise<Unsent> {
  const is10 = version === OFP10_VERSION;
  return {
    type: "features_reply",
    datapathId: model.datapathId,
    // Packets are never buffered: a packet-in carries the whole frame.
    bufferCount: 0,
    tableCount: model.tableFeatures.length,
    auxiliaryId: 0,
    capabilities:
      (is10 ? CAPABILITIES_10 : CAPABILITIES) & (model.hidesReassembly === true ? ~OFPC_IP_REASM : -1),
    ...(is10 ? { openflow10: { actions: ACTIONS_10, ports: await model.ports() } } : {}),
  };
}

function getConfig(model: SwitchModel, state: ConnectionState): Unsent {
  const { missSendLength } = state;
  const isTtlWanted = state.version === OFP10_VERSION && wantsInvalidTtl(state.masks);
  const flags = model.fragmentHandling | (isTtlWanted ? OFPC_INVALID_TTL_TO_CONTROLLER : 0);
  return { type: "get_config_reply", flags, missSendLength };
}

/** Fragments are handled alike for all connections, so a slave may not change that (6.3.5); the rest is its own. */
async function setConfig(model: SwitchModel, state: ConnectionState, message: SwitchConfig): Promise<Answer> {
  const { flags, missSendLength } = message;
  const is10 = state.version === OFP10_VERSION;
  const known = OFPC_FRAG_MASK | (is10 ? OFPC_INVALID_TTL_TO_CONTROLLER : 0);
  if ((flags & ~known) !== 0) return "OFPSCFC_BAD_FLAGS";
  const fragments = flags & OFPC_FRAG_MASK;
  if (state.role === "slave" && fragments !== model.fragmentHandling) return "OFPSCFC_EPERM";
  state.missSendLength = missSendLength;
  if (is10) state.masks = withInvalidTtl(state.masks, (flags & OFPC_INVALID_TTL_TO_CONTROLLER) !== 0);
  await model.handleFragments(fragments);
  return [];
}

async function queueConfig(model: SwitchModel, message: QueueGetConfigRequest): Promise<Answer> {
  const ports = await model.ports();
  if (message.port !== OFPP_ANY && !ports.some((port) => port.port === message.port))
    return "OFPQOFC_BAD_PORT";
  const all = await model.queues();
  const queues = all.filter(({ port }) => message.port === OFPP_ANY || port === message.port);
  return [{ type: "queue_get_config_reply", port: message.port, queues }];
}

/** OpenFlow 1.3 has no table configuration left (7.3.3): only 0 is a good one. */
function tableMod(model: SwitchModel, message: TableMod): Answer {
  const exists = model.tableFeatures.some(({ tableId }) => tableId === message.tableId);
  if (message.tableId !== OFPTT_ALL && !exists) return "OFPTMFC_BAD_TABLE";
  // 7.3.3: kept for controllers of earlier versions; no flag is defined.
  return (message.config & ~OFPTC_DEPRECATED_MASK) === 0 ? [] : "OFPTMFC_BAD_CONFIG";
}
