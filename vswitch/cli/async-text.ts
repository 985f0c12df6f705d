// Which messages a controller wants to be told of, as ovs-ofctl prints it. Pure.
import type { AsyncConfig } from "../../base/openflow/index.js";

/** The reasons of each kind of message by bit. */
const REASONS = {
  PACKET_IN: ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"],
  PORT_STATUS: ["add", "delete", "modify"],
  FLOW_REMOVED: ["idle", "hard", "delete", "group_delete", "meter_delete", "eviction"],
  ROLE_STATUS: ["primary_request", "configuration_changed", "experimenter_data_changed"],
  TABLE_STATUS: ["", "", "", "vacancy_down", "vacancy_up"],
  REQUESTFORWARD: ["group_mod_request", "meter_mod_request"],
} as const;

const PACKET_IN_13 = 0x07;

export type AsyncMasks = Readonly<Partial<Record<keyof typeof REASONS, readonly [number, number]>>>;

export function formatAsyncConfig(
  config: Pick<AsyncConfig, "packetIn" | "portStatus" | "flowRemoved">,
): string {
  const [first, second] = config.packetIn;
  return formatAsyncMasks({
    // 1.3 knows three reasons.
    PACKET_IN: [first & PACKET_IN_13, second & PACKET_IN_13],
    PORT_STATUS: config.portStatus,
    FLOW_REMOVED: config.flowRemoved,
  });
}

/** Masks of [primary or equal, secondary]; what is not named is off. */
export function formatAsyncMasks(masks: AsyncMasks): string {
  const roles = (["primary", "secondary"] as const).map((role, i) => {
    const lines = Object.entries(REASONS).map(([message, names]) => {
      const mask = masks[message as keyof typeof REASONS]?.[i] ?? 0;
      const words = names.filter((name, bit) => name !== "" && ((mask >>> bit) & 1) === 1);
      return `${message.padStart(16)}: ${words.length === 0 ? "(off)" : words.join(" ")}\n`;
    });
    return `\n ${role}:\n${lines.join("")}`;
  });
  return roles.join("");
}
