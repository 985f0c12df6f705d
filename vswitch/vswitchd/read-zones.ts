// Reads the connection tracking zones of the datapath. Pure. Source: ovs-vswitchd.conf.db(5), Datapath, CT_Zone and
// CT_Timeout_Policy tables.
import type { ZoneTimeouts } from "../conntrack/index.js";
import type { Database, DatabaseRow } from "../db/index.js";

/** Zones with time-outs of their own, by number; there is one datapath, whatever its row is called. */
export function readZoneTimeouts(database: Database, root: DatabaseRow): ZoneTimeouts[] {
  const [datapaths, zones, policies] = ["Datapath", "CT_Zone", "CT_Timeout_Policy"].map((table) =>
    database.rows(table),
  ) as [ReadonlyMap<string, DatabaseRow>, ReadonlyMap<string, DatabaseRow>, ReadonlyMap<string, DatabaseRow>];
  const byZone = new Map<number, Record<string, number>>();
  for (const uuid of root.map("datapaths").values()) {
    for (const [zone, reference] of datapaths.get(uuid)?.map("ct_zones") ?? []) {
      const policy = policies.get(zones.get(reference)?.strings("timeout_policy")[0] ?? "");
      if (policy === undefined) continue;
      const timeouts = Object.fromEntries(
        [...policy.map("timeouts")].map(([name, seconds]) => [name, Number(seconds)]),
      );
      byZone.set(Number(zone), timeouts);
    }
  }
  return [...byZone].map(([zone, timeouts]) => ({ zone, timeouts })).sort((a, b) => a.zone - b.zone);
}
