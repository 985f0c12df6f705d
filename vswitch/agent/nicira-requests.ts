// Answers to Nicira's messages about the connection itself: formats, controller id, role without elections.
// Source: ovs-ofctl(8); the meaning of each is that of Open vSwitch.

import type { OpenFlowMessage } from "../../base/openflow/index.js";
import type { AsyncMasks } from "./async-config.js";
import type { Answer, ConnectionState } from "./requests.js";
import type { Roles } from "./roles.js";

/** Undefined when the message is none of these. */
export function answerNicira(
  roles: Roles,
  state: ConnectionState,
  message: OpenFlowMessage,
): Answer | undefined {
  switch (message.type) {
    case "nicira_role_request":
      roles.assign(state, message.role);
      return [{ type: "nicira_role_reply", role: state.role }];
    case "set_flow_format":
      state.flowFormat = message.format;
      return [];
    case "set_packet_in_format":
      state.packetInFormat = message.format;
      return [];
    case "set_controller_id":
      state.controllerId = message.controllerId;
      return [];
    case "set_async_properties":
      state.masks = changed(state.masks, message.changes);
      return [];
    case "flow_mod_table_id": // The session has done it.
    case "flow_age":
      return [];
    default:
      return undefined;
  }
}

function changed(
  masks: AsyncMasks,
  changes: (OpenFlowMessage & { type: "set_async_properties" })["changes"],
): AsyncMasks {
  const next = { ...masks };
  for (const { message, asSlave, mask } of changes) {
    const [active, slave] = next[message];
    next[message] = asSlave ? [active, mask] : [mask, slave];
  }
  return next;
}
