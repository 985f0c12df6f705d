// `vsctl show`: the switch at a glance. Source: ovs-vsctl(8).
import { formatDatum, type OvsdbRow } from "../../base/ovsdb/index.js";
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

export function show(context: VsctlContext): undefined {
  const [root] = context.draft.rows("Open_vSwitch");
  if (root === undefined) return;
  context.out(root.uuid);
  showChildren(context, root, "manager_options", MANAGER, 4);
  showChildren(context, root, "bridges", BRIDGE, 4);
  showColumns(context, root, ["ovs_version"], 4);
}

function showChildren(
  context: VsctlContext,
  row: OvsdbRow,
  column: string,
  part: Part,
  indent: number,
): void {
  const children = row.strings(column).flatMap((uuid) => context.draft.row(part.table, uuid) ?? []);
  for (const child of children.sort((a, b) => (a.string(part.label) < b.string(part.label) ? -1 : 1))) {
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
    // Empty sets, empty texts and false say nothing.
    if (
      type === undefined ||
      datum.keys.length === 0 ||
      (datum.keys.length === 1 && (datum.keys[0] === "" || datum.keys[0] === false))
    )
      continue;
    context.out(`${" ".repeat(indent)}${column}: ${formatDatum(datum, type)}`);
  }
}
