// Reads a bridge's Mirror rows. Pure. Source: ovs-vswitchd.conf.db(5), Mirror table.
import type { Database, DatabaseRow } from "../db/index.js";
import type { MirrorConfig } from "../learn/index.js";

/** A mirror without a place to send to, or whose output port is not the bridge's, does nothing and is left out. */
export function readMirrors(database: Database, bridge: DatabaseRow): MirrorConfig[] {
  const rows = database.rows("Mirror");
  const names = interfacesByPort(database, bridge);
  return bridge
    .strings("mirrors")
    .flatMap((uuid) => rows.get(uuid) ?? [])
    .flatMap((row) => readMirror(row, names) ?? [])
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function readMirror(
  row: DatabaseRow,
  names: ReadonlyMap<string, readonly string[]>,
): MirrorConfig | undefined {
  const interfaces = (column: string): string[] =>
    row.strings(column).flatMap((port) => names.get(port) ?? []);
  const [outputPort] = interfaces("output_port");
  const outputVlan = row.number("output_vlan");
  if (outputPort === undefined && outputVlan === undefined) return undefined;
  return {
    name: row.uuid,
    selectAll: row.boolean("select_all"),
    selectSourcePorts: interfaces("select_src_port"),
    selectDestinationPorts: interfaces("select_dst_port"),
    selectVlans: row.numbers("select_vlan"),
    // Of both, the port counts.
    outputPort,
    outputVlan: outputPort === undefined ? outputVlan : undefined,
    snapLength: row.number("snaplen"),
  };
}

/** Names of the interfaces of each of the bridge's Port rows. */
function interfacesByPort(database: Database, bridge: DatabaseRow): Map<string, string[]> {
  const ports = database.rows("Port");
  const interfaces = database.rows("Interface");
  return new Map(
    bridge.strings("ports").map((uuid) => {
      const members = ports.get(uuid)?.strings("interfaces") ?? [];
      return [uuid, members.flatMap((member) => interfaces.get(member)?.string("name") ?? [])];
    }),
  );
}
