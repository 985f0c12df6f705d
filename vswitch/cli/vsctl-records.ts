// How a vsctl line names tables, columns and rows. Source: ovs-vsctl(8), Identifying Tables, Records, and Columns.
import {
  type ColumnType,
  isUuid,
  type OvsdbRow,
  type TableSchema,
  UUID_TYPE,
} from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import type { VsctlContext } from "./vsctl-context.js";

/** By name or a beginning that means only one, in any case. Throws COMMAND_FAILED, as all here do. */
export function tableNamed({ draft }: Pick<VsctlContext, "draft">, name: string): TableSchema {
  const wanted = name.toLowerCase().replaceAll("-", "_");
  const all = [...draft.tables.values()];
  const exact = all.find((table) => table.name.toLowerCase() === wanted);
  const found = all.filter((table) => table.name.toLowerCase().startsWith(wanted));
  if (exact === undefined && found.length === 0) throw commandError(`unknown table "${name}"`);
  if (exact === undefined && found.length > 1) {
    const names = found.map((table) => table.name).sort();
    throw commandError(`"${name}" matches multiple table names: ${names.join(", ")}`);
  }
  return exact ?? (found[0] as TableSchema);
}

/** What can be shown: any column, and the uuid. */
export function shownColumn(table: TableSchema, name: string): string {
  return name.toLowerCase() === "_uuid" ? "_uuid" : columnNamed(table, name);
}

export function isUuidColumn(name: string): boolean {
  return /^[-_]uuid$/i.test(name);
}

export function columnNamed(table: TableSchema, name: string): string {
  const wanted = name.toLowerCase().replaceAll("-", "_");
  const all = [...table.columns.keys()];
  const exact = all.find((column) => column.toLowerCase() === wanted);
  const found = all.filter((column) => column.toLowerCase().startsWith(wanted));
  if (exact === undefined && found.length === 0)
    throw commandError(`${table.name} does not contain a column whose name matches "${name}"`);
  if (exact === undefined && found.length > 1)
    throw commandError(
      `${table.name} contains more than one column whose name matches "${name}": ${found.sort().join(", ")}`,
    );
  return exact ?? (found[0] as string);
}

export function typeOf(table: TableSchema, column: string): ColumnType {
  return column === "_uuid" ? UUID_TYPE : (table.columns.get(column)?.type as ColumnType);
}

/** Where the names of a table's rows stand: in `column` of `table`, whose row may refer to the one meant by `reference`. */
interface NamedBy {
  readonly table: string;
  readonly column: string;
  readonly reference?: string;
}

const ofBridge = (reference: string): NamedBy => ({ table: "Bridge", column: "name", reference });
const NAMED_BY: Readonly<Record<string, NamedBy>> = {
  AutoAttach: ofBridge("auto_attach"),
  Bridge: { table: "Bridge", column: "name" },
  Controller: ofBridge("controller"),
  Flow_Sample_Collector_Set: { table: "Flow_Sample_Collector_Set", column: "id" },
  Flow_Table: { table: "Flow_Table", column: "name" },
  IPFIX: ofBridge("ipfix"),
  Interface: { table: "Interface", column: "name" },
  Manager: { table: "Manager", column: "target" },
  Mirror: { table: "Mirror", column: "name" },
  NetFlow: ofBridge("netflow"),
  Port: { table: "Port", column: "name" },
  QoS: { table: "Port", column: "name", reference: "qos" },
  sFlow: ofBridge("sflow"),
};

/**
 * By uuid, "." for the only one, name, or the first digits of its uuid. A name that --id gives stands for a row in values
 * only: here "@x" is a name like any other.
 */
export function findRecord(context: VsctlContext, table: TableSchema, record: string): OvsdbRow | undefined {
  const rows = context.draft.rows(table.name);
  const byUuid = isUuid(record) ? rows.find((row) => row.uuid === record.toLowerCase()) : undefined;
  if (byUuid !== undefined) return byUuid;
  if (record === "." && rows.length === 1) return rows[0];
  return findByName(context, table, record) ?? findByBeginning(table, rows, record);
}

/** Undefined only with --if-exists. */
export function mustFind(context: VsctlContext, table: TableSchema, record: string): OvsdbRow | undefined {
  const row = findRecord(context, table, record);
  if (row === undefined && !context.options.has("--if-exists"))
    throw commandError(`no row "${record}" in table ${table.name}`);
  return row;
}

function findByName({ draft }: VsctlContext, table: TableSchema, name: string): OvsdbRow | undefined {
  const by = NAMED_BY[table.name];
  if (by === undefined || draft.tables.get(by.table)?.columns.has(by.column) !== true) return undefined;
  const found = draft.rows(by.table).filter((row) => String(row.datum(by.column).keys[0]) === name);
  if (found.length > 1) throw commandError(`multiple rows in ${by.table} match "${name}"`);
  const [row] = found;
  if (row === undefined || by.reference === undefined) return row;
  const references = row.strings(by.reference);
  return references.length === 1 ? draft.row(table.name, references[0] as string) : undefined;
}

/** Digits of a uuid, and the hyphens where they stand. */
const BEGINNING = /^[0-9a-f]{4}[0-9a-f-]*$/;

function findByBeginning(table: TableSchema, rows: readonly OvsdbRow[], text: string): OvsdbRow | undefined {
  if (!BEGINNING.test(text)) return undefined;
  const [row, other] = rows.filter(({ uuid }) => uuid.startsWith(text));
  if (row !== undefined && other !== undefined) {
    const both = `at least ${row.uuid} and ${other.uuid}`;
    throw commandError(`${table.name} contains 2 or more rows whose UUIDs begin with ${text}: ${both}`);
  }
  return row;
}
