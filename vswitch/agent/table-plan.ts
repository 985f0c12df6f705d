// What the tables become when a controller asks for other features of theirs: pure decisions.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.5: the request names every table that is to stay; each may get less
// than was asked for nothing, but may offer more. So name, size and metadata become what was asked for, and what a table
// can do stays all that we can, as long as that is at least what was asked for.

import type {
  OfpErrorName,
  SupportedField,
  SupportedType,
  TableFeatureProperty,
  TableFeatures,
} from "../../base/openflow/index.js";

/** Must be there exactly once; of the variants for table-miss each at most once. */
const REQUIRED: readonly TableFeatureProperty["type"][] = [
  "instructions",
  "next_tables",
  "write_actions",
  "apply_actions",
  "match",
  "wildcards",
  "write_setfield",
  "apply_setfield",
];

/**
 * The tables after the request, by number, or the error to answer. `supported` is what the switch can do at most, its
 * index the table's number.
 */
export function planTables(
  supported: readonly TableFeatures[],
  requested: readonly TableFeatures[],
): readonly TableFeatures[] | OfpErrorName {
  const wanted = [...requested].sort((a, b) => a.tableId - b.tableId);
  const ids = new Set(wanted.map(({ tableId }) => tableId));
  // Packets begin in table 0.
  if (ids.size < wanted.length || !ids.has(0)) return "OFPTFFC_BAD_TABLE";
  const planned: TableFeatures[] = [];
  for (const table of wanted) {
    const most = supported[table.tableId];
    if (most === undefined) return "OFPTFFC_BAD_TABLE";
    const error = problemOf(most, table, ids);
    if (error !== undefined) return error;
    const { name, metadataMatch, metadataWrite, maxEntries } = table;
    const properties = most.properties.map((property) => withTables(property, ids));
    planned.push({ ...most, name, metadataMatch, metadataWrite, maxEntries, properties });
  }
  return planned;
}

/** Tables that are not there any more cannot be gone to; from the last one nothing can. */
function withTables(property: TableFeatureProperty, ids: ReadonlySet<number>): TableFeatureProperty {
  return property.type === "next_tables"
    ? { ...property, tables: property.tables.filter((id) => ids.has(id)) }
    : property;
}

function problemOf(
  most: TableFeatures,
  table: TableFeatures,
  ids: ReadonlySet<number>,
): OfpErrorName | undefined {
  if ((table.metadataMatch & ~most.metadataMatch) !== 0n) return "OFPTFFC_BAD_METADATA";
  if ((table.metadataWrite & ~most.metadataWrite) !== 0n) return "OFPTFFC_BAD_METADATA";
  if (table.config !== 0 || table.maxEntries > most.maxEntries) return "OFPTFFC_BAD_ARGUMENT";
  const seen = new Set<string>();
  for (const property of table.properties) {
    if (property.type === "experimenter") return "OFPTFFC_BAD_TYPE";
    const name = `${property.type} ${property.miss}`;
    if (seen.has(name)) return "OFPTFFC_BAD_ARGUMENT";
    seen.add(name);
    const able = most.properties.find(({ type, miss }) => type === property.type && !miss);
    if (able === undefined || !isWithin(property, able, ids)) return "OFPTFFC_BAD_ARGUMENT";
  }
  return REQUIRED.every((type) => seen.has(`${type} false`)) ? undefined : "OFPTFFC_BAD_ARGUMENT";
}

/** Whether `able` offers all that is wanted. */
function isWithin(
  wanted: TableFeatureProperty,
  able: TableFeatureProperty,
  ids: ReadonlySet<number>,
): boolean {
  if ("instructions" in wanted)
    return "instructions" in able && areTypesIn(wanted.instructions, able.instructions);
  if ("actions" in wanted) return "actions" in able && areTypesIn(wanted.actions, able.actions);
  if ("tables" in wanted)
    return "tables" in able && wanted.tables.every((id) => able.tables.includes(id) && ids.has(id));
  return "fields" in wanted && "fields" in able && areFieldsIn(wanted.fields, able.fields);
}

function areTypesIn(wanted: readonly SupportedType[], able: readonly SupportedType[]): boolean {
  return wanted.every(({ type, experimenter }) =>
    able.some((one) => one.type === type && one.experimenter === experimenter),
  );
}

function areFieldsIn(wanted: readonly SupportedField[], able: readonly SupportedField[]): boolean {
  return wanted.every(({ field, maskable }) =>
    able.some((one) => one.field === field && (one.maskable || !maskable)),
  );
}
