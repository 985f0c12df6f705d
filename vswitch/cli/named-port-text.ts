// Actions that send to a port, with the port's name where it is known. Pure. Source: ovs-ofctl(8), --names.
import { type Action, OFPP_CONTROLLER } from "../../base/openflow/index.js";
import { formatNamedPort, type PortNames } from "./match-text.js";
import { formatResubmit } from "./nicira-action-text.js";

/** Undefined for an action that names no port, or one without a name. */
export function formatWithNames(action: Action, names: PortNames): string | undefined {
  switch (action.type) {
    case "output":
      return names.has(action.port) && action.port < OFPP_CONTROLLER
        ? `output:${formatNamedPort(action.port, names)}`
        : undefined;
    case "output_trunc":
      return `output(port=${formatNamedPort(action.port, names)},max_len=${action.maxLength})`;
    case "resubmit":
      return formatResubmit(action, (port) => formatNamedPort(port, names));
    default:
      return undefined;
  }
}
