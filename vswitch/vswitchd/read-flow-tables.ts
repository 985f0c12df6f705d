// Reads what a Bridge row says of single flow tables: their names, and how many flows they may have. Pure.
// Source: ovs-vswitchd.conf.db(5), Flow_Table. `prefixes` makes lookups faster in Open vSwitch and changes nothing else.
import type { BitRange } from "../../base/openflow/index.js";
import { parseRange } from "../cli/range-text.js";
import type { Database, DatabaseRow } from "../db/index.js";

export interface FlowTableConfig {
  readonly tableId: number;
  /** "" for none. */
  readonly name: string;
  /** Absent: as many flows as the switch has room for. */
  readonly flowsMax?: number;
  readonly evicts: boolean;
  readonly groups: readonly BitRange[];
}

/** By table. */
export function readFlowTables(database: Database, bridge: DatabaseRow): FlowTableConfig[] {
  const rows = database.rows("Flow_Table");
  const tables = [...bridge.map("flow_tables")].flatMap(([tableId, uuid]): FlowTableConfig[] => {
    const row = rows.get(uuid);
    if (row === undefined) return [];
    const flowsMax = row.number("flow_limit");
    return [
      {
        tableId: Number(tableId),
        name: row.optionalString("name") ?? "",
        ...(flowsMax === undefined ? {} : { flowsMax }),
        evicts: row.optionalString("overflow_policy") === "evict",
        groups: row.strings("groups").flatMap(partOf),
      },
    ];
  });
  return tables.sort((a, b) => a.tableId - b.tableId);
}

/** What is no field is passed over, as the manual says. */
function partOf(text: string): BitRange[] {
  try {
    return [parseRange(text)];
  } catch {
    return [];
  }
}
