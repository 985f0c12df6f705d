// `vsctl show`: the switch at a glance. Source: ovs-vsctl(8).
import { type Datum, encodeDatum, formatDatum, type OvsdbRow } from "../../base/ovsdb/index.js";
import type { VsctlContext } from "./vsctl-context.js";

interface Part {
  readonly table: string;
  readonly label: string;
  /** Shown where they hold something. */
  readonly columns: readonly string[];
  /** Columns that refer to rows shown below. */
  readonly children: readonly (readonly [column: string, part: Part])[];
}

const INTERFACE: Part = {
  table: "Interface",
  label: "name",
  columns: ["type", "options", "error"],
  children: [],
};
const PORT: Part = {
  table: "Port",
  label: "name",
  columns: ["tag", "trunks"],
  children: [["interfaces", INTERFACE]],
};
const CONTROLLER: Part = { table: "Controller", label: "target", columns: ["is_connected"], children: [] };
const MANAGER: Part = { table: "Manager", label: "target", columns: ["is_connected"], children: [] };
const BRIDGE: Part = {
  table: "Bridge",
  label: "name",
  columns: ["fail_mode", "datapath_type"],
  children: [
    ["controller", CONTROLLER],
    ["ports", PORT],
  ],
};
const ROOT: Part = {
  table: "Open_vSwitch",
  label: "_uuid",
  columns: ["ovs_version"],
  children: [
    ["manager_options", MANAGER],
    ["bridges", BRIDGE],
  ],
};

export function show(context: VsctlContext): undefined {
  const [root] = context.draft.rows("Open_vSwitch");
  context.data(root === undefined ? null : dataOf(context, root, ROOT));
  if (root === undefined) return;
  context.out(root.uuid);
  showChildren(context, root, "manager_options", MANAGER, 4);
  showChildren(context, root, "bridges", BRIDGE, 4);
  showColumns(context, root, ["ovs_version"], 4);
}

/** What is shown of a row and of those below it, with its columns as RFC 7047 writes them. */
function dataOf(context: VsctlContext, row: OvsdbRow, { table, label, columns, children }: Part): object {
  const own = table === ROOT.table ? ["_uuid", ...columns] : [label, ...columns];
  const shown = own.flatMap((column): [string, unknown][] => {
    if (column === "_uuid") return [[column, row.uuid]];
    const type = row.schema.columns.get(column)?.type;
    const datum = row.datum(column);
    return type === undefined || (column !== label && isSilent(datum))
      ? []
      : [[column, encodeDatum(datum, type)]];
  });
  const below = children.map(([column, part]): [string, unknown] => [
    column,
    childrenOf(context, row, column, part).map((child) => dataOf(context, child, part)),
  ]);
  return Object.fromEntries([...shown, ...below]);
}

function childrenOf(context: VsctlContext, row: OvsdbRow, column: string, part: Part): OvsdbRow[] {
  const children = row.strings(column).flatMap((uuid) => context.draft.row(part.table, uuid) ?? []);
  return children.sort((a, b) => (a.string(part.label) < b.string(part.label) ? -1 : 1));
}

/** Empty sets, empty texts and false say nothing. */
function isSilent({ keys }: Datum): boolean {
  return keys.length === 0 || (keys.length === 1 && (keys[0] === "" || keys[0] === false));
}

function showChildren(
  context: VsctlContext,
  row: OvsdbRow,
  column: string,
  part: Part,
  indent: number,
): void {
  for (const child of childrenOf(context, row, column, part)) {
    const type = child.schema.columns.get(part.label)?.type;
    const name = type === undefined ? child.uuid : formatDatum(child.datum(part.label), type);
    context.out(`${" ".repeat(indent)}${part.table} ${name}`);
    const before = part.table === "Bridge" ? part.children.slice(0, 1) : [];
    for (const [inner, below] of before) showChildren(context, child, inner, below, indent + 4);
    showColumns(context, child, part.columns, indent + 4);
    for (const [inner, below] of part.children.slice(before.length))
      showChildren(context, child, inner, below, indent + 4);
  }
}

function showColumns(context: VsctlContext, row: OvsdbRow, columns: readonly string[], indent: number): void {
  for (const column of columns) {
    const type = row.schema.columns.get(column)?.type;
    const datum = row.datum(column);
    if (type === undefined || isSilent(datum)) continue;
    context.out(`${" ".repeat(indent)}${column}: ${formatDatum(datum, type)}`);
  }
}
