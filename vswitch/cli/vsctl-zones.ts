// Commands of vsctl about zones of connection tracking and what a datapath can do. Source: ovs-vsctl(8), Conntrack Zone
// Commands and Datapath Capabilities Command. Invariant: zones whose time-outs are the same share one policy.
import { equalDatums, mapOf, type OvsdbRow, pairsOf } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { command, root, type VsctlCommand, type VsctlContext } from "./vsctl-context.js";

type Arguments = readonly string[];

export const ZONE_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  [
    "add-zone-tp",
    command("DATAPATH zone=ZONE POLICY=SECONDS...", 3, Number.POSITIVE_INFINITY, ["--may-exist"], addZone),
  ],
  ["del-zone-tp", command("DATAPATH zone=ZONE", 2, 2, ["--if-exists"], deleteZone)],
  ["list-zone-tp", command("DATAPATH", 1, 1, [], listZones)],
  ["list-dp-cap", command("DATAPATH", 1, 1, [], listCapabilities)],
];

function findDatapath(context: VsctlContext, name: string): OvsdbRow | undefined {
  const pair = pairsOf(root(context).datum("datapaths")).find(([key]) => key === name);
  return pair === undefined ? undefined : context.draft.row("Datapath", String(pair[1]));
}

function mustFindDatapath(context: VsctlContext, name: string): OvsdbRow {
  const found = findDatapath(context, name);
  if (found === undefined) throw commandError(`datapath ${name} does not exist`);
  return found;
}

/** Zones by number, with the uuids of their rows. */
function zonesOf(datapath: OvsdbRow): Map<number, string> {
  return new Map(pairsOf(datapath.datum("ct_zones")).map(([zone, uuid]) => [Number(zone), String(uuid)]));
}

function setZones({ draft }: VsctlContext, datapath: OvsdbRow, zones: ReadonlyMap<number, string>): void {
  draft.verify(datapath, "ct_zones");
  draft.set(datapath, "ct_zones", mapOf([...zones]));
}

function zoneOf(text: string): number {
  const number = /^zone=(-?(?:0x[0-9a-fA-F]+|\d+))$/.exec(text)?.[1];
  if (number === undefined) throw commandError(`${text}: expected zone=ZONE, a number from 0 to 65535`);
  return Number(number);
}

function timeoutOf(text: string): [policy: string, seconds: number] {
  const [policy = "", seconds = ""] = text.split(/=(.*)/s, 2);
  if (!/^-?\d{1,15}$/.test(seconds)) throw commandError(`${text}: expected POLICY=SECONDS`);
  return [policy, Number(seconds)];
}

function addZone(context: VsctlContext, [name = "", zoneText = "", ...policies]: Arguments): undefined {
  const { draft } = context;
  const datapath = mustFindDatapath(context, name);
  const zone = zoneOf(zoneText);
  const zones = zonesOf(datapath);
  if (zones.has(zone) && !context.options.has("--may-exist"))
    throw commandError(`zone id ${zone} already exists`);
  // Of one that is there twice the first counts.
  const timeouts = mapOf([...new Map(policies.map(timeoutOf).reverse())]);
  const shared = draft.rows("CT_Timeout_Policy").find((row) => equalDatums(row.datum("timeouts"), timeouts));
  const policy = shared ?? draft.insert("CT_Timeout_Policy");
  if (shared === undefined) draft.set(policy, "timeouts", timeouts);
  const before = draft.row("CT_Zone", zones.get(zone) ?? "");
  const row = before ?? draft.insert("CT_Zone");
  draft.setAtoms(row, "timeout_policy", policy.uuid);
  if (before === undefined) setZones(context, datapath, zones.set(zone, row.uuid));
}

function deleteZone(context: VsctlContext, [name = "", zoneText = ""]: Arguments): undefined {
  const datapath = mustFindDatapath(context, name);
  const zone = zoneOf(zoneText);
  const zones = zonesOf(datapath);
  if (!zones.delete(zone)) {
    if (context.options.has("--if-exists")) return;
    throw commandError(`zone id ${zone} does not exist`);
  }
  setZones(context, datapath, zones);
}

function listZones(context: VsctlContext, [name = ""]: Arguments): undefined {
  const datapath = findDatapath(context, name);
  if (datapath === undefined) throw commandError(`datapath: ${name} record not found`);
  const zones: unknown[] = [];
  context.data(zones);
  for (const [zone, uuid] of [...zonesOf(datapath)].sort(([a], [b]) => a - b)) {
    const [policy] = context.draft.row("CT_Zone", uuid)?.strings("timeout_policy") ?? [];
    const timeouts = policy === undefined ? undefined : context.draft.row("CT_Timeout_Policy", policy);
    zones.push({
      zone,
      timeouts: timeouts === undefined ? null : Object.fromEntries(pairsOf(timeouts.datum("timeouts"))),
    });
    const told =
      timeouts === undefined
        ? "system default"
        : pairsOf(timeouts.datum("timeouts"))
            .map(([key, seconds]) => `${key}=${seconds}`)
            .join(" ");
    context.out(`Zone:${zone}, Timeout Policies: ${told}`);
  }
}

function listCapabilities(context: VsctlContext, [name = ""]: Arguments): undefined {
  const datapath = findDatapath(context, name);
  if (datapath === undefined) throw commandError(`datapath "${name}" record not found`);
  context.data(Object.fromEntries(datapath.map("capabilities")));
  context.out([...datapath.map("capabilities")].map(([key, value]) => `${key}=${value}`).join(" "));
}
