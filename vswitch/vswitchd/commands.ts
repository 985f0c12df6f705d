// What ovs-appctl can ask the switch: forwarding tables, ports, counters, bridges. Source: ovs-vswitchd(8).
import { PlinthError } from "../../base/errors/index.js";
import { OFPTT_ALL } from "../../base/openflow/index.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatabaseServer } from "../db/index.js";
import type { DropReport } from "../flow/index.js";
import type { MacTableStats } from "../learn/index.js";
import type { Coverage } from "./coverage.js";
import { formatMetrics } from "./metrics-text.js";
import { type MacEntry, OFPORT_LOCAL, type SwitchBackend } from "./model.js";
import type { AppliedSwitch } from "./plan.js";
import { qosCommands } from "./qos-commands.js";
import { showCommands } from "./show-commands.js";

export interface CommandModules {
  readonly backend: SwitchBackend;
  readonly applied: AppliedSwitch;
  readonly server: DatabaseServer;
  readonly coverage: Coverage;
  readonly version: string;
}

export function switchCommands(modules: CommandModules): Record<string, UnixctlCommand> {
  const { backend, applied, server, coverage } = modules;
  return {
    ...stationCommands(modules),
    ...absentCommands(applied),
    ...qosCommands(modules),
    ...showCommands(modules),
    "ofproto/list": command("", 0, 0, () => list([...applied.keys()])),
    "ofproto/list-tunnels": command("", 0, 0, () => list([])),
    "coverage/show": command("", 0, 0, async () => {
      const data = await backend.counters();
      return { text: coverage.format(data), data };
    }),
    "coverage/read-counter": command("COUNTER", 1, 1, async ([name]) => {
      const counters = await backend.counters();
      if (!Object.hasOwn(counters, name as string))
        throw new PlinthError("COUNTER_UNKNOWN", "No such counter");
      return `${counters[name as string]}\n`;
    }),
    "drop/show": command("[bridge]", 0, 1, async ([bridge]) => {
      const names = bridge === undefined ? [...applied.keys()] : [bridgeIn(applied, bridge)];
      const reports = await Promise.all(names.map((name) => backend.drops(name)));
      const parts = names.map((name, i) => `${name}:\n${formatDrops(reports[i] ?? [])}`);
      const data = Object.fromEntries(names.map((name, i) => [name, (reports[i] ?? []).map(dropOf)]));
      return { text: parts.join(""), data };
    }),
    "metrics/show": command("", 0, 0, () => formatMetrics(modules)),
    "memory/show": command("", 0, 0, () => {
      const { rss, heapUsed } = process.memoryUsage();
      let ports = 0;
      for (const bridge of applied.values()) ports += bridge.ports.size;
      const data = {
        "heap-bytes": heapUsed,
        "ovsdb-clients": server.clientCount,
        ports,
        "rss-bytes": rss,
      };
      const words = Object.entries(data).map(([name, value]) => `${name}:${value}`);
      return { text: `${words.join(" ")}\n`, data };
    }),
  };
}

function bridgeIn(applied: AppliedSwitch, bridge: string | undefined): string {
  if (bridge === undefined || !applied.has(bridge)) throw new PlinthError("BRIDGE_UNKNOWN", "no such bridge");
  return bridge;
}

function dropOf({ reason, packets, tableId, cookie, priority }: DropReport): Record<string, unknown> {
  const table = tableId < 0 || tableId === OFPTT_ALL ? null : tableId;
  const flow = cookie === null ? null : { cookie: `0x${cookie.toString(16)}`, priority };
  return { reason, packets, last: { table, flow } };
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

// --- fdb/*

const MAC = /^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/;

function stationCommands({ backend, applied }: CommandModules): Record<string, UnixctlCommand> {
  /** Numbers as they were when somebody cleared them. */
  const cleared = new Map<string, MacTableStats>();
  return {
    "fdb/show": command("bridge", 1, 1, async ([bridge]) => {
      const entries = await backend.macTable(bridgeIn(applied, bridge));
      return { text: formatMacTable(entries), data: entries.map(stationOf) };
    }),
    "fdb/stats-show": command("bridge", 1, 1, async ([bridge]) => {
      const name = bridgeIn(applied, bridge);
      const now = await backend.macTableStats(name);
      return { text: formatMacStats(name, now, cleared.get(name)), data: now };
    }),
    "fdb/stats-clear": command("[bridge]", 0, 1, async ([bridge]) => {
      for (const name of bridge === undefined ? applied.keys() : [bridgeIn(applied, bridge)])
        cleared.set(name, await backend.macTableStats(name));
      return "statistics successfully cleared\n";
    }),
    "fdb/flush": command("[bridge]", 0, 1, async ([bridge]) => {
      for (const name of bridge === undefined ? applied.keys() : [bridgeIn(applied, bridge)])
        await backend.flushMacTable(name);
      return "table successfully flushed\n";
    }),
    "fdb/add": command("bridge port vlan mac", 4, 4, async ([bridge, port = "", vlan = "", mac = ""]) => {
      const name = bridgeIn(applied, bridge);
      if (!(applied.get(name)?.ports.has(port) ?? false))
        throw new PlinthError("PORT_UNKNOWN", "software error, odp port is present but no ofp port");
      const before = await backend.addStaticMac(name, port, vlanOf(vlan), macOf(mac));
      if (before === undefined) return "";
      const kind = before.isStatic ? "static" : "dynamic";
      return `Overriding already existing ${kind} entry on ${portText(before.ofport)}\n`;
    }),
    "fdb/del": command("bridge vlan mac", 3, 3, async ([bridge, vlan = "", mac = ""]) => {
      const name = bridgeIn(applied, bridge);
      if (!(await backend.removeStaticMac(name, vlanOf(vlan), macOf(mac))))
        throw new PlinthError("MAC_UNKNOWN", "could not find static mac entry");
      return "";
    }),
  };
}

/** Age in whole seconds; null when it does not age. */
function stationOf({ ofport, vlan, macAddress, ageMs, isStatic }: MacEntry): Record<string, unknown> {
  const port = ofport === OFPORT_LOCAL ? "LOCAL" : ofport;
  return { port, vlan, mac: macAddress, age: isStatic ? null : Math.floor(ageMs / 1000), static: isStatic };
}

function vlanOf(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) < 4096) return Number(text);
  throw new PlinthError("VLAN_INVALID", "invalid vlan");
}

function macOf(text: string): string {
  if (!MAC.test(text)) throw new PlinthError("MAC_INVALID", "bad MAC address");
  return text
    .split(":")
    .map((part) => part.padStart(2, "0").toLowerCase())
    .join(":");
}

function portText(ofport: number): string {
  return ofport === OFPORT_LOCAL ? "LOCAL" : String(ofport);
}

/** The table of `fdb/show`, as ovs-vswitchd prints it. */
function formatMacTable(entries: readonly MacEntry[]): string {
  const lines = entries.map(({ ofport, vlan, macAddress, ageMs, isStatic }) => {
    const age = isStatic ? "static" : String(Math.floor(ageMs / 1000)).padStart(3);
    return `${portText(ofport).padStart(5)}  ${String(vlan).padStart(4)}  ${macAddress}  ${age}\n`;
  });
  return ` port  VLAN  MAC                Age\n${lines.join("")}`;
}

function formatMacStats(bridge: string, now: MacTableStats, before: MacTableStats | undefined): string {
  const since = (name: "learned" | "expired" | "evicted" | "moved"): number =>
    now[name] - (before?.[name] ?? 0);
  return [
    `Statistics for bridge "${bridge}":\n`,
    `  Current/maximum MAC entries in the table: ${now.current}/${now.maximum}\n`,
    `  Current static MAC entries in the table : ${now.statics}\n`,
    `  Total number of learned MAC entries     : ${since("learned")}\n`,
    `  Total number of expired MAC entries     : ${since("expired")}\n`,
    `  Total number of evicted MAC entries     : ${since("evicted")}\n`,
    `  Total number of port moved MAC entries  : ${since("moved")}\n`,
  ].join("");
}

// --- What this switch does not have: asked for, it says so

function absentCommands(applied: AppliedSwitch): Record<string, UnixctlCommand> {
  const noSnooping = command("bridge", 1, 1, ([bridge]) => {
    bridgeIn(applied, bridge);
    throw new PlinthError("SNOOPING_DISABLED", "multicast snooping is disabled");
  });
  const noBond = command("[port]", 0, 1, ([port]) => {
    if (port !== undefined) throw new PlinthError("BOND_UNKNOWN", "no such bond");
    return "";
  });
  return {
    "mdb/show": noSnooping,
    "mdb/flush": command("[bridge]", 0, 1, ([bridge]) => {
      if (bridge === undefined) return "table successfully flushed\n";
      bridgeIn(applied, bridge);
      throw new PlinthError("SNOOPING_DISABLED", "multicast snooping is disabled");
    }),
    "bond/list": command("", 0, 0, () => "bond\ttype\trecircID\tmembers\n"),
    "bond/show": noBond,
    "lacp/show": command("[port]", 0, 1, ([port]) => {
      if (port !== undefined) throw new PlinthError("BOND_UNKNOWN", "no such lacp object");
      return "";
    }),
  };
}

export function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

/** One a line. */
export function list(names: readonly string[]): UnixctlAnswer {
  return { text: names.map((name) => `${name}\n`).join(""), data: names };
}
