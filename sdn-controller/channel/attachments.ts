// Which switch port carries which iface-id, read from the switch's OVSDB. Read only: the host agent writes it.
// Source: ovs-vswitchd.conf.db(5), Interface table, columns ofport and external_ids:iface-id. Pure.
import type { OvsdbRow } from "../../base/ovsdb/index.js";

/** The tables that have to be monitored. */
export const ATTACHMENT_MONITOR = {
  Bridge: { columns: ["name", "ports"] },
  Port: { columns: ["interfaces"] },
  Interface: { columns: ["name", "ofport", "external_ids"] },
} as const;

type Rows = ReadonlyMap<string, OvsdbRow>;

/** iface-id → OpenFlow port number, for the interfaces of `bridge` that have both. */
export function attachmentsOf(
  bridge: string,
  rows: (table: keyof typeof ATTACHMENT_MONITOR) => Rows,
): Map<string, number> {
  const attachments = new Map<string, number>();
  for (const row of rows("Bridge").values()) {
    if (row.string("name") !== bridge) continue;
    for (const port of row.strings("ports")) {
      for (const id of rows("Port").get(port)?.strings("interfaces") ?? []) {
        const found = rows("Interface").get(id);
        const ofport = found?.number("ofport");
        const interfaceId = found?.map("external_ids").get("iface-id");
        if (interfaceId === undefined || ofport === undefined || ofport <= 0) continue;
        attachments.set(interfaceId, ofport);
      }
    }
  }
  return attachments;
}
