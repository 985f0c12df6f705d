// What ovs-appctl can ask the switch: forwarding tables, ports, counters, bridges.
import { PlinthError } from "../../base/errors/index.js";
import { OFPTT_ALL } from "../../base/openflow/index.js";
import type { DatabaseServer } from "../db/index.js";
import type { DropReport } from "../flow/index.js";
import type { MacEntry, SwitchBackend } from "./model.js";
import type { AppliedSwitch } from "./plan.js";
import type { UnixctlCommand } from "./unixctl.js";

export interface CommandModules {
  readonly backend: SwitchBackend;
  readonly applied: AppliedSwitch;
  readonly server: DatabaseServer;
}

export function switchCommands({ backend, applied, server }: CommandModules): Record<string, UnixctlCommand> {
  const check = (bridge: string): string => {
    if (!applied.has(bridge)) throw new PlinthError("BRIDGE_UNKNOWN", `no such bridge: ${bridge}`);
    return bridge;
  };
  return {
    "fdb/show": command("BRIDGE", 1, 1, async ([bridge]) =>
      formatMacTable(await backend.macTable(check(bridge as string))),
    ),
    "fdb/flush": command("[BRIDGE]", 0, 1, async ([bridge]) => {
      for (const name of bridge === undefined ? applied.keys() : [check(bridge)])
        await backend.flushMacTable(name);
      return "table successfully flushed\n";
    }),
    "dpif/show": command("", 0, 0, () => showPorts(backend, applied)),
    "ofproto/list": command("", 0, 0, () => [...applied.keys()].map((name) => `${name}\n`).join("")),
    "coverage/show": command("", 0, 0, async () => {
      const counters = Object.entries(await backend.counters()).sort(([a], [b]) => (a < b ? -1 : 1));
      return counters.map(([name, value]) => `${name.padEnd(40)} total: ${value}\n`).join("");
    }),
    "drop/show": command("[BRIDGE]", 0, 1, async ([bridge]) => {
      const names = bridge === undefined ? [...applied.keys()] : [check(bridge)];
      const parts = names.map(async (name) => `${name}:\n${formatDrops(await backend.drops(name))}`);
      return (await Promise.all(parts)).join("");
    }),
    "memory/show": command("", 0, 0, () => {
      const { rss, heapUsed } = process.memoryUsage();
      return `rss-bytes:${rss} heap-bytes:${heapUsed} ovsdb-clients:${server.clientCount}\n`;
    }),
  };
}

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

/** The table of `fdb/show`, as ovs-vswitchd prints it. */
function formatMacTable(entries: readonly MacEntry[]): string {
  const lines = entries.map(({ ofport, vlan, macAddress, ageMs }) => {
    const port = ofport === 65534 ? "LOCAL" : String(ofport);
    return `${port.padStart(5)}  ${String(vlan).padStart(4)}  ${macAddress}  ${String(Math.floor(ageMs / 1000)).padStart(3)}\n`;
  });
  return ` port  VLAN  MAC                Age\n${lines.join("")}`;
}

/** Each reason with its count and, where there is one, the flow that the last such packet had met. */
function formatDrops(reports: readonly DropReport[]): string {
  return reports
    .map(({ reason, packets, tableId, cookie, priority }) => {
      const flow = cookie === null ? "" : `, cookie 0x${cookie.toString(16)}, priority ${priority}`;
      const place = tableId < 0 || tableId === OFPTT_ALL ? "" : `, last in table ${tableId}${flow}`;
      return `  ${reason}: ${packets}${place}\n`;
    })
    .join("");
}

async function showPorts(backend: SwitchBackend, applied: AppliedSwitch): Promise<string> {
  const counters = await backend.counters();
  const total = (name: string): number => counters[name] ?? 0;
  let out = `netdev@plinth: hit:${total("path_hit")} missed:${total("path_missed")}\n`;
  for (const [bridge, { ports }] of applied) {
    out += `  ${bridge}:\n`;
    for (const { name, ofport, type } of [...ports.values()].sort((a, b) => a.ofport - b.ofport)) {
      out += `    ${name} ${ofport}/${ofport}: (${type})\n`;
    }
  }
  return out;
}
