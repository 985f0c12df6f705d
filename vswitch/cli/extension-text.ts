// Messages of experimenters as ovs-ofctl prints them: Nicira's, bundles. Pure.
import { type OpenFlowMessage, WireError } from "../../base/openflow/index.js";
import { formatHex } from "./field-text.js";
import { BUNDLE_FLAGS } from "./later-text.js";
import { printMessage } from "./message-print.js";
import type { TextContext } from "./message-text.js";
import { formatBits } from "./port-text.js";
import { niciraRoleName } from "./switch-text.js";

const PACKET_IN_FORMATS = { standard: "standard", nxm: "nxt_packet_in", nxm2: "nxt_packet_in2" } as const;

export function extensionText(message: OpenFlowMessage, { names, verbosity }: TextContext): string {
  switch (message.type) {
    case "bundle_add":
      return `\n bundle_id=${formatHex(message.bundleId)} flags=${formatBits(message.flags, BUNDLE_FLAGS)}\n${printMessage(message.message, { verbosity, names })}`;
    case "nicira_role_request":
    case "nicira_role_reply":
      return ` role=${niciraRoleName(message.role)}`;
    case "flow_mod_table_id":
      return message.isEnabled ? " enable" : " disable";
    case "set_packet_in_format":
      return ` format=${PACKET_IN_FORMATS[message.format]}`;
    case "set_controller_id":
      return ` id=${message.controllerId}`;
    case "flow_monitor_cancel":
      return ` id=${message.monitorId}`;
    case "experimenter":
      throw new WireError("OFPBRC_BAD_EXP_TYPE", "experimenter", 8, "is not understood");
    default:
      return "";
  }
}
