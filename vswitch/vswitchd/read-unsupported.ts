// What the database asks of a bridge or an interface that this switch does not do: told in their status columns, so that
// nobody believes that it is done. Pure. Source: ovs-vswitchd.conf.db(5).
import type { Database, DatabaseRow } from "../db/index.js";
import { TYPES_WITH_QUEUES } from "./read-qos.js";

/** Columns and keys of the Bridge row that are set and have no effect. */
export function unsupportedOfBridge(database: Database, row: DatabaseRow): string[] {
  const flags = ["stp_enable", "rstp_enable", "mcast_snooping_enable"].filter((column) =>
    row.boolean(column),
  );
  const references = ["netflow", "sflow", "ipfix", "auto_attach"].filter(
    (column) => row.string(column) !== "",
  );
  const isSampled = [...database.rows("Flow_Sample_Collector_Set").values()].some(
    (set) => set.string("bridge") === row.uuid && set.string("ipfix") !== "",
  );
  return [...flags, ...references, ...(isSampled ? ["Flow_Sample_Collector_Set"] : [])];
}

/** Kinds of quality of service that ask for nothing. */
const TYPES_OF_NOTHING = ["", "linux-noop"];

/** A kind of quality of service that is none here, and the marks that its queues would have written. */
function unsupportedOfQos(database: Database, port: DatabaseRow): string[] {
  const qos = database.rows("QoS").get(port.string("qos"));
  if (qos === undefined || TYPES_WITH_QUEUES.includes(qos.string("type"))) return [];
  const rows = database.rows("Queue");
  const marks = [...qos.map("queues").values()].some((uuid) => rows.get(uuid)?.number("dscp") !== undefined);
  return [
    ...(TYPES_OF_NOTHING.includes(qos.string("type")) ? [] : ["qos"]),
    ...(marks ? ["Queue:dscp"] : []),
  ];
}

/** The same of an Interface and the Port that it is the only one of. */
export function unsupportedOfInterface(database: Database, port: DatabaseRow, row: DatabaseRow): string[] {
  const lacp = port.optionalString("lacp");
  return [
    ...unsupportedOfQos(database, port),
    ...(lacp === "active" || lacp === "passive" ? ["lacp"] : []),
    ...(row.map("bfd").get("enable") === "true" ? ["bfd"] : []),
    ...(row.number("cfm_mpid") === undefined ? [] : ["cfm_mpid"]),
    ...(row.map("lldp").get("enable") === "true" ? ["lldp"] : []),
  ];
}
