// The verbs of `plinth vsctl`: each turns its arguments into operations or prints rows. Source: ovs-vsctl(8).
import { randomUUID } from "node:crypto";
import { PlinthError } from "../../base/errors/index.js";
import {
  byUuid,
  type ColumnType,
  type Condition,
  insertOp,
  isMap,
  isUuid,
  mutateOp,
  type Operation,
  type OvsdbClient,
  type OvsdbRow,
  type OvsdbValue,
  setValue,
  type TableSchema,
  updateOp,
  uuidValue,
  waitOp,
} from "../../base/ovsdb/index.js";
import { usageError } from "./errors.js";
import { formatDatum, parseValueText } from "./value-text.js";

export interface VsctlContext {
  readonly client: OvsdbClient;
  readonly operations: Operation[];
  /** Interfaces whose fate is told after the transaction. */
  readonly created: string[];
  readonly print: (line: string) => void;
  exitCode: number;
}

type Run = (context: VsctlContext, args: readonly string[], flags: ReadonlySet<string>) => void;

export interface VsctlVerb {
  readonly usage: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  readonly run: Run;
}

const MANY = Number.POSITIVE_INFINITY;

export const VERBS: ReadonlyMap<string, VsctlVerb> = new Map([
  ["show", verb("", 0, 0, show)],
  ["add-br", verb("BRIDGE", 1, 1, addBridge)],
  ["del-br", verb("BRIDGE", 1, 1, deleteBridge)],
  ["list-br", verb("", 0, 0, (context) => printNames(context, rowsOf(context, "Bridge")))],
  ["br-exists", verb("BRIDGE", 1, 1, bridgeExists)],
  ["add-port", verb("BRIDGE PORT [COLUMN[:KEY]=VALUE]...", 2, MANY, addPort)],
  ["del-port", verb("[BRIDGE] PORT", 1, 2, deletePort)],
  ["list-ports", verb("BRIDGE", 1, 1, listPorts)],
  [
    "port-to-br",
    verb("PORT", 1, 1, (context, [name]) => context.print(bridgeOf(context, name as string).string("name"))),
  ],
  ["set-controller", verb("BRIDGE TARGET...", 2, MANY, setController)],
  ["get-controller", verb("BRIDGE", 1, 1, getController)],
  [
    "del-controller",
    verb("BRIDGE", 1, 1, (context, [bridge]) =>
      updateBridge(context, bridge as string, { controller: setValue([]) }),
    ),
  ],
  [
    "set-fail-mode",
    verb("BRIDGE standalone|secure", 2, 2, (context, [bridge, mode]) =>
      updateBridge(context, bridge as string, { fail_mode: mode as string }),
    ),
  ],
  [
    "get-fail-mode",
    verb("BRIDGE", 1, 1, (context, [bridge]) =>
      context.print(findRow(context, "Bridge", bridge as string).string("fail_mode")),
    ),
  ],
  [
    "del-fail-mode",
    verb("BRIDGE", 1, 1, (context, [bridge]) =>
      updateBridge(context, bridge as string, { fail_mode: setValue([]) }),
    ),
  ],
  ["set", verb("TABLE RECORD COLUMN[:KEY]=VALUE...", 3, MANY, setColumns)],
  ["get", verb("TABLE RECORD COLUMN[:KEY]...", 3, MANY, getColumns)],
  ["clear", verb("TABLE RECORD COLUMN...", 3, MANY, clearColumns)],
  [
    "add",
    verb("TABLE RECORD COLUMN VALUE...", 4, MANY, (context, args) => changeColumn("insert", context, args)),
  ],
  [
    "remove",
    verb("TABLE RECORD COLUMN VALUE...", 4, MANY, (context, args) => changeColumn("delete", context, args)),
  ],
  ["list", verb("TABLE [RECORD]...", 1, MANY, listRows)],
]);

function verb(usage: string, argumentsMin: number, argumentsMax: number, run: Run): VsctlVerb {
  return { usage, argumentsMin, argumentsMax, run };
}

function rowsOf({ client }: VsctlContext, table: string): OvsdbRow[] {
  return [...client.rows(table).values()];
}

function tableOf({ client }: VsctlContext, name: string): TableSchema {
  const wanted = name.toLowerCase().replaceAll("-", "_");
  for (const table of client.schema?.tables.values() ?? [])
    if (table.name.toLowerCase() === wanted) return table;
  throw new PlinthError("TABLE_UNKNOWN", `there is no table ${name}`);
}

function typeOf(table: TableSchema, column: string): ColumnType {
  const schema = table.columns.get(column);
  if (schema === undefined)
    throw new PlinthError("COLUMN_UNKNOWN", `table ${table.name} has no column ${column}`);
  return schema.type;
}

/** The row of `record`: a name, a uuid, or "." for the only one. */
function lookUp(context: VsctlContext, table: string, record: string): OvsdbRow | undefined {
  if (isUuid(record)) return context.client.rows(table).get(record.toLowerCase());
  if (record === ".") return rowsOf(context, table)[0];
  return rowsOf(context, table).find(
    (row) => row.schema.columns.has("name") && row.string("name") === record,
  );
}

function findRow(context: VsctlContext, table: string, record: string): OvsdbRow {
  const row = lookUp(context, table, record);
  if (row === undefined) throw new PlinthError("ROW_UNKNOWN", `there is no ${table} ${record}`);
  return row;
}

function bridgeOf(context: VsctlContext, port: string): OvsdbRow {
  const row = findRow(context, "Port", port);
  const bridge = rowsOf(context, "Bridge").find((one) => one.strings("ports").includes(row.uuid));
  if (bridge === undefined) throw new PlinthError("ROW_UNKNOWN", `port ${port} is on no bridge`);
  return bridge;
}

/** Picks `record`, which may also be made earlier in the same transaction; that it is there is part of it. */
function whereRecord(context: VsctlContext, table: TableSchema, record: string): readonly Condition[] {
  const row = lookUp(context, table.name, record);
  if (row !== undefined) return byUuid(row.uuid);
  if (!table.columns.has("name") || isUuid(record) || context.operations.length === 0) {
    throw new PlinthError("ROW_UNKNOWN", `there is no ${table.name} ${record}`);
  }
  const where: readonly Condition[] = [["name", "==", record]];
  context.operations.push(waitOp(table.name, where, ["name"], "==", [{ name: record }], 0));
  return where;
}

function show(context: VsctlContext): void {
  const [root] = rowsOf(context, "Open_vSwitch");
  if (root !== undefined) context.print(root.uuid);
  for (const row of rowsOf(context, "Manager")) context.print(`    Manager "${row.string("target")}"`);
  for (const bridge of byName(rowsOf(context, "Bridge"))) {
    context.print(`    Bridge ${bridge.string("name")}`);
    showSet(context, bridge, ["fail_mode", "datapath_type"], 8);
    for (const uuid of bridge.strings("controller")) {
      const controller = context.client.rows("Controller").get(uuid);
      context.print(`        Controller "${controller?.string("target") ?? uuid}"`);
      if (controller?.boolean("is_connected")) context.print("            is_connected: true");
    }
    for (const port of portsOf(context, bridge)) {
      context.print(`        Port ${port.string("name")}`);
      showSet(context, port, ["tag", "trunks", "vlan_mode"], 12);
      for (const uuid of port.strings("interfaces")) {
        const row = context.client.rows("Interface").get(uuid);
        if (row === undefined) continue;
        context.print(`            Interface ${row.string("name")}`);
        showSet(context, row, ["type", "options", "error"], 16);
      }
    }
  }
}

function showSet({ print }: VsctlContext, row: OvsdbRow, columns: readonly string[], indent: number): void {
  for (const column of columns) {
    const datum = row.datum(column);
    const text = formatDatum(datum, typeOf(row.schema, column));
    if (datum.keys.length > 0 && text !== '""') print(`${" ".repeat(indent)}${column}: ${text}`);
  }
}

function byName(rows: readonly OvsdbRow[]): OvsdbRow[] {
  return rows.toSorted((a, b) => (a.string("name") < b.string("name") ? -1 : 1));
}

function printNames({ print }: VsctlContext, rows: readonly OvsdbRow[]): void {
  for (const row of byName(rows)) print(row.string("name"));
}

function portsOf(context: VsctlContext, bridge: OvsdbRow): OvsdbRow[] {
  return byName(bridge.strings("ports").flatMap((uuid) => context.client.rows("Port").get(uuid) ?? []));
}

function bridgeExists(context: VsctlContext, [name]: readonly string[]): void {
  if (lookUp(context, "Bridge", name as string) === undefined) context.exitCode = 2;
}

function addBridge(context: VsctlContext, [name]: readonly string[], flags: ReadonlySet<string>): void {
  const bridge = name as string;
  if (lookUp(context, "Bridge", bridge) !== undefined) {
    if (flags.has("--may-exist")) return;
    throw new PlinthError("BRIDGE_EXISTS", `bridge ${bridge} is there already`);
  }
  const uuid = randomUUID();
  const port = insertPort(context, bridge, { type: "internal" });
  context.operations.push(
    { ...insertOp("Bridge", { name: bridge, ports: uuidValue(port) }), uuid },
    mutateOp("Open_vSwitch", [], [["bridges", "insert", uuidValue(uuid)]]),
  );
}

/** Adds the operations for a port with one interface; returns the port's uuid. */
function insertPort(
  context: VsctlContext,
  name: string,
  iface: Readonly<Record<string, OvsdbValue>>,
): string {
  const port = randomUUID();
  const interfaceUuid = randomUUID();
  context.operations.push(
    { ...insertOp("Interface", { name, ...iface }), uuid: interfaceUuid },
    { ...insertOp("Port", { name, interfaces: uuidValue(interfaceUuid) }), uuid: port },
  );
  context.created.push(name);
  return port;
}

function deleteBridge(context: VsctlContext, [name]: readonly string[], flags: ReadonlySet<string>): void {
  const row = lookUp(context, "Bridge", name as string);
  if (row !== undefined) {
    context.operations.push(mutateOp("Open_vSwitch", [], [["bridges", "delete", uuidValue(row.uuid)]]));
  } else if (!flags.has("--if-exists")) {
    throw new PlinthError("ROW_UNKNOWN", `there is no Bridge ${name}`);
  }
}

function addPort(context: VsctlContext, args: readonly string[], flags: ReadonlySet<string>): void {
  const [bridge, name, ...settings] = args as [string, string, ...string[]];
  if (lookUp(context, "Port", name) !== undefined) {
    if (flags.has("--may-exist") && bridgeOf(context, name).string("name") === bridge) return;
    throw new PlinthError("PORT_EXISTS", `port ${name} is there already`);
  }
  const where = whereRecord(context, tableOf(context, "Bridge"), bridge);
  const port = insertPort(context, name, {});
  context.operations.push(mutateOp("Bridge", where, [["ports", "insert", uuidValue(port)]]));
  if (settings.length > 0) pushSettings(context, tableOf(context, "Port"), byUuid(port), settings);
}

function deletePort(context: VsctlContext, args: readonly string[], flags: ReadonlySet<string>): void {
  const name = args.at(-1) as string;
  const port = lookUp(context, "Port", name);
  if (port === undefined) {
    if (flags.has("--if-exists")) return;
    throw new PlinthError("ROW_UNKNOWN", `there is no Port ${name}`);
  }
  const bridge = bridgeOf(context, name);
  if (args.length === 2 && bridge.string("name") !== args[0]) {
    throw new PlinthError(
      "ROW_UNKNOWN",
      `port ${name} is on bridge ${bridge.string("name")}, not ${args[0]}`,
    );
  }
  context.operations.push(
    mutateOp("Bridge", byUuid(bridge.uuid), [["ports", "delete", uuidValue(port.uuid)]]),
  );
}

function listPorts(context: VsctlContext, [bridge]: readonly string[]): void {
  const row = findRow(context, "Bridge", bridge as string);
  printNames(
    context,
    portsOf(context, row).filter((port) => port.string("name") !== bridge),
  );
}

function updateBridge(
  context: VsctlContext,
  bridge: string,
  row: Readonly<Record<string, OvsdbValue>>,
): void {
  context.operations.push(updateOp("Bridge", whereRecord(context, tableOf(context, "Bridge"), bridge), row));
}

function setController(context: VsctlContext, [bridge, ...targets]: readonly string[]): void {
  const uuids = targets.map((target) => {
    const uuid = randomUUID();
    context.operations.push({ ...insertOp("Controller", { target }), uuid });
    return uuidValue(uuid);
  });
  updateBridge(context, bridge as string, { controller: setValue(uuids) });
}

function getController(context: VsctlContext, [bridge]: readonly string[]): void {
  for (const uuid of findRow(context, "Bridge", bridge as string).strings("controller")) {
    context.print(context.client.rows("Controller").get(uuid)?.string("target") ?? uuid);
  }
}

function setColumns(context: VsctlContext, [tableName, record, ...settings]: readonly string[]): void {
  const table = tableOf(context, tableName as string);
  pushSettings(context, table, whereRecord(context, table, record as string), settings);
}

function pushSettings(
  context: VsctlContext,
  table: TableSchema,
  where: readonly Condition[],
  settings: readonly string[],
): void {
  for (const setting of settings) {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)(?::([^=]+))?=([\s\S]*)$/.exec(setting);
    if (match === null) throw usageError("vsctl", `"${setting}" is not COLUMN[:KEY]=VALUE`);
    const [, column, key, text] = match as unknown as [string, string, string | undefined, string];
    const type = typeOf(table, column);
    if (key === undefined) {
      context.operations.push(updateOp(table.name, where, { [column]: parseValueText(text, type) }));
      continue;
    }
    if (!isMap(type)) throw usageError("vsctl", `${table.name}.${column} is no map`);
    const pair = parseValueText(`${quoted(key)}=${quoted(text)}`, type, { anySize: true });
    const keys = parseValueText(quoted(key), { key: type.key, min: 0, max: 1 });
    const mutations = [[column, "delete", setValue([keys])] as const, [column, "insert", pair] as const];
    context.operations.push(mutateOp(table.name, where, mutations));
  }
}

/** Keeps what the user wrote as one word, quoted or not. */
function quoted(text: string): string {
  return text.startsWith('"') ? text : JSON.stringify(text);
}

function getColumns(context: VsctlContext, [tableName, record, ...columns]: readonly string[]): void {
  const row = findRow(context, tableOf(context, tableName as string).name, record as string);
  for (const wanted of columns) {
    const [column, key] = wanted.split(/:(.*)/s, 2) as [string, string | undefined];
    if (column === "_uuid") {
      context.print(row.uuid);
      continue;
    }
    const type = typeOf(row.schema, column);
    if (key === undefined) {
      context.print(formatDatum(row.datum(column), type));
      continue;
    }
    const value = row.map(column).get(key);
    if (value === undefined)
      throw new PlinthError("KEY_UNKNOWN", `${row.table} ${record} has no ${column}:${key}`);
    context.print(
      formatDatum({ keys: [value], values: undefined }, { key: { type: "string" }, min: 1, max: 1 }),
    );
  }
}

function clearColumns(context: VsctlContext, [tableName, record, ...columns]: readonly string[]): void {
  const table = tableOf(context, tableName as string);
  const where = whereRecord(context, table, record as string);
  for (const column of columns) {
    const empty: OvsdbValue = isMap(typeOf(table, column)) ? ["map", []] : setValue([]);
    context.operations.push(updateOp(table.name, where, { [column]: empty }));
  }
}

function changeColumn(
  mutator: "insert" | "delete",
  context: VsctlContext,
  [tableName, record, column, ...values]: readonly string[],
): void {
  const table = tableOf(context, tableName as string);
  const where = whereRecord(context, table, record as string);
  const type = typeOf(table, column as string);
  for (const text of values) {
    const keysOnly = mutator === "delete" && isMap(type) && !text.includes("=");
    const value = keysOnly
      ? setValue([parseValueText(text, { key: type.key, min: 0, max: 1 })])
      : parseValueText(text, type, { anySize: true });
    context.operations.push(mutateOp(table.name, where, [[column as string, mutator, value]]));
  }
}

function listRows(context: VsctlContext, [tableName, ...records]: readonly string[]): void {
  const { name } = tableOf(context, tableName as string);
  const rows =
    records.length === 0 ? rowsOf(context, name) : records.map((record) => findRow(context, name, record));
  rows.forEach((row, i) => {
    if (i > 0) context.print("");
    context.print(`${"_uuid".padEnd(20)}: ${row.uuid}`);
    for (const column of [...row.schema.columns.keys()].sort()) {
      context.print(`${column.padEnd(20)}: ${formatDatum(row.datum(column), typeOf(row.schema, column))}`);
    }
  });
}
