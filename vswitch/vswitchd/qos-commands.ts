// qos/show and qos/show-types: how the frames of an interface are to leave, and what has left by each queue. Source: ovs-vswitchd(8),
// ovs-vswitchd.conf.db(5), QoS and Queue.
import { PlinthError } from "../../base/errors/index.js";
import type { QueueStats } from "../../base/openflow/index.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import { SPEED_KBPS } from "../datapath/index.js";
import { type CommandModules, command } from "./commands.js";
import type { NumberedPort } from "./model.js";
import { TYPES_WITH_QUEUES } from "./read-qos.js";

export function qosCommands({ backend, applied }: CommandModules): Record<string, UnixctlCommand> {
  return {
    "qos/show-types": command("interface", 1, 1, ([name = ""]) => {
      for (const { ports } of applied.values()) {
        const port = ports.get(name);
        if (port === undefined) continue;
        // Dummies and what belongs to the switch itself have no queues there; here every port has.
        return port.isDummy
          ? `No QoS types supported for interface: ${name}\n`
          : TYPES_WITH_QUEUES.map((type) => `QoS type: ${type}\n`).join("");
      }
      throw new PlinthError("PORT_UNKNOWN", "no such interface");
    }),
    "qos/show": command("interface", 1, 1, async ([name = ""]) => {
      for (const [bridge, { ports }] of applied) {
        const port = ports.get(name);
        if (port !== undefined) return showQos(port, await backend.queueStats(bridge));
      }
      throw new PlinthError("PORT_UNKNOWN", "no such interface");
    }),
  };
}

function showQos({ name, ofport, qos }: NumberedPort, stats: readonly QueueStats[]): string {
  if (qos === undefined) return `QoS not configured on ${name}\n`;
  const maxRateBps = qos.maxRateBps ?? 1000 * SPEED_KBPS;
  const lines = [`QoS: ${name} ${qos.type}`, `max-rate: ${maxRateBps}`];
  for (const queue of qos.queues) {
    lines.push("", queue.queueId === 0 ? "Default:" : `Queue ${queue.queueId}:`);
    const details = {
      burst: queue.burstBits,
      "max-rate": queue.maxRateBps,
      "min-rate": queue.minRateBps,
      priority: queue.priority,
    };
    for (const [key, value] of Object.entries(details))
      if (value !== undefined) lines.push(`  ${key}: ${value}`);
    const counted = stats.find((one) => one.port === ofport && one.queueId === queue.queueId);
    if (counted === undefined) continue;
    lines.push(`  tx_packets: ${counted.txPackets}`, `  tx_bytes: ${counted.txBytes}`);
    lines.push(`  tx_errors: ${counted.txErrors}`);
  }
  return `${lines.join("\n")}\n`;
}
