// Table features as ovs-ofctl prints them: what each table can match and do. Pure.
import {
  OXM_FIELDS,
  type OxmFieldName,
  type TableFeatureProperty,
  type TableFeatures,
} from "../../base/openflow/index.js";
import { ACTION_NAMES, formatRuns } from "./stats-text.js";

const INSTRUCTIONS: readonly (readonly [number, string])[] = [
  [6, "meter"],
  [4, "apply_actions"],
  [5, "clear_actions"],
  [3, "write_actions"],
  [2, "write_metadata"],
  [1, "goto_table"],
];

export function formatTableFeatures(tables: readonly TableFeatures[]): string {
  const text = new Map(tables.map((table) => [table, bodyOf(table)]));
  return formatRuns(
    tables,
    (before, table) => before !== undefined && text.get(before) === text.get(table),
    (table) => `  table ${table.tableId}${quoted(table)}:\n${text.get(table)}`,
  );
}

function quoted({ name, tableId }: TableFeatures): string {
  return name === "" || name === `table${tableId}` || name === String(tableId) ? "" : ` ("${name}")`;
}

function bodyOf(table: TableFeatures): string {
  const hit = (type: TableFeatureProperty["type"]): TableFeatureProperty | undefined =>
    table.properties.find((one) => one.type === type && !one.miss);
  const match = fieldsOf(hit("match"));
  const exact = match.filter(({ maskable }) => !maskable).map(({ field }) => field);
  const masked = match.filter(({ maskable }) => maskable).map(({ field }) => field);
  const settable = fieldsOf(hit("apply_setfield")).map(({ field }) => field);
  const lines = [
    `    metadata: match=0x${table.metadataMatch.toString(16)} write=0x${table.metadataWrite.toString(16)}`,
    `    max_entries=${table.maxEntries}`,
    "    instructions (table miss and others):",
    ...nextTables(hit("next_tables")),
    `      instructions: ${instructionsOf(hit("instructions"))}`,
    "      Write-Actions and Apply-Actions features:",
    `        actions: ${actionsOf(hit("apply_actions"))}`,
    `        supported on Set-Field: ${namesOf(settable)}`,
    "    matching:",
    ...(masked.length === 0 ? [] : [`      arbitrary mask: ${namesOf(masked)}`]),
    ...(exact.length === 0 ? [] : [`      exact match or wildcard: ${namesOf(exact)}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function fieldsOf(
  property: TableFeatureProperty | undefined,
): readonly { field: OxmFieldName; maskable: boolean }[] {
  return property !== undefined && "fields" in property ? property.fields : [];
}

function namesOf(fields: readonly OxmFieldName[]): string {
  return fields.map((field) => OXM_FIELDS[field].name).join(" ");
}

/** "1-253", or numbers and ranges with commas. */
function nextTables(property: TableFeatureProperty | undefined): string[] {
  if (property?.type !== "next_tables" || property.tables.length === 0) return [];
  const ranges: [number, number][] = [];
  for (const table of [...property.tables].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] + 1 === table) last[1] = table;
    else ranges.push([table, table]);
  }
  const text = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
  return [`      next tables: ${text}`];
}

function instructionsOf(property: TableFeatureProperty | undefined): string {
  const types = property?.type === "instructions" ? property.instructions.map(({ type }) => type) : [];
  return INSTRUCTIONS.filter(([number]) => types.includes(number))
    .map(([, name]) => name)
    .join(" ");
}

function actionsOf(property: TableFeatureProperty | undefined): string {
  const types = property?.type === "apply_actions" ? property.actions.map(({ type }) => type) : [];
  return ACTION_NAMES.filter(([number]) => types.includes(number))
    .map(([, name]) => name)
    .join(" ");
}
