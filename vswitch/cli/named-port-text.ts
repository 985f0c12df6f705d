// Actions that send to a port, with the port's name where it is known. Pure. Source: ovs-ofctl(8), --names.
import { type Action, OFPP_CONTROLLER, OXM_NAMES } from "../../base/openflow/index.js";
import { bytesToNumber } from "./field-text.js";
import { formatLearn } from "./learn-text.js";
import { formatNamedPort, type PortNames } from "./match-text.js";
import { formatBundle, formatResubmit } from "./nicira-action-text.js";

/** Undefined for an action that names no port, or one without a name. */
export function formatWithNames(action: Action, names: PortNames): string | undefined {
  const portText = (port: number): string => formatNamedPort(port, names);
  switch (action.type) {
    case "output":
      return names.has(action.port) && action.port < OFPP_CONTROLLER
        ? `output:${formatNamedPort(action.port, names)}`
        : undefined;
    case "output_trunc":
      return `output(port=${formatNamedPort(action.port, names)},max_len=${action.maxLength})`;
    case "resubmit":
      return formatResubmit(action, portText);
    case "bundle":
      return formatBundle(action, portText);
    case "learn":
      return formatLearn(action, portText);
    case "set_field":
      return OXM_NAMES[action.field].manual === "in_port" && action.form === undefined
        ? `set_field:${portText(Number(bytesToNumber(action.value)))}->in_port`
        : undefined;
    default:
      return undefined;
  }
}
