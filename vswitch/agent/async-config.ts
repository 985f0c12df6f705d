// Which unasked messages a connection wants, by its role: pure decisions.
// Source: OpenFlow Switch Specification 1.3.5, 6.3.5 (roles) and 7.3.10 (asynchronous configuration).

import type {
  AsyncConfig,
  ControllerRole,
  FlowRemovedReason,
  PortStatusReason,
} from "../../base/openflow/index.js";
import { OFP10_VERSION, OFPR, reasonCode } from "../../base/openflow/index.js";
import type { SwitchEvent } from "./switch-model.js";

export type AsyncMasks = Pick<AsyncConfig, "packetIn" | "portStatus" | "flowRemoved">;

const ALL_FLOW_REMOVED = 0xf;
const ALL_PORT_STATUS = 0x7;
/** All but invalid_ttl, which has to be asked for. */
const DEFAULT_PACKET_IN = (1 << OFPR.no_match) | (1 << OFPR.action);

/** What a controller gets without asking: everything as master or equal, port-status only as slave. */
export const CONTROLLER_MASKS: AsyncMasks = {
  packetIn: [DEFAULT_PACKET_IN, 0],
  portStatus: [ALL_PORT_STATUS, ALL_PORT_STATUS],
  flowRemoved: [ALL_FLOW_REMOVED, 0],
};

/** What a management connection gets without asking: nothing. */
export const SILENT_MASKS: AsyncMasks = { packetIn: [0, 0], portStatus: [0, 0], flowRemoved: [0, 0] };

const INVALID_TTL = 1 << OFPR.invalid_ttl;

export function wantsInvalidTtl(masks: AsyncMasks): boolean {
  return (masks.packetIn[0] & INVALID_TTL) !== 0;
}

/** Whether packets that no flow matches are of interest: only OpenFlow 1.0 hands them to the controller by itself. */
export function wantsMisses(masks: AsyncMasks, version: number): boolean {
  const [active, slave] = masks.packetIn;
  return version === OFP10_VERSION && ((active | slave) & (1 << OFPR.no_match)) !== 0;
}

/** The masks with packet-ins of that reason wanted, or not, in every role but slave. */
export function withInvalidTtl(masks: AsyncMasks, isWanted: boolean): AsyncMasks {
  const [active, slave] = masks.packetIn;
  return { ...masks, packetIn: [isWanted ? active | INVALID_TTL : active & ~INVALID_TTL, slave] };
}

const FLOW_REMOVED_BIT: Readonly<Record<FlowRemovedReason, number>> = {
  idle_timeout: 0,
  hard_timeout: 1,
  delete: 2,
  group_delete: 3,
};
const PORT_STATUS_BIT: Readonly<Record<PortStatusReason, number>> = { add: 0, delete: 1, modify: 2 };

/** Whether a connection of that version in `role` with these masks gets the event. */
export function wants(masks: AsyncMasks, role: ControllerRole, event: SwitchEvent, version: number): boolean {
  const column = role === "slave" ? 1 : 0;
  switch (event.type) {
    case "packet_in":
      return (masks.packetIn[column] & (1 << reasonCode(event.reason, version))) !== 0;
    case "port_status":
      return (masks.portStatus[column] & (1 << PORT_STATUS_BIT[event.reason])) !== 0;
    case "flow_change":
      return false; // Its monitors decide.
    case "flow_removed":
      return (masks.flowRemoved[column] & (1 << FLOW_REMOVED_BIT[event.reason])) !== 0;
  }
}
