// Tables of a switch as ovs-ofctl prints them, statistics and features of every version alike: what is as in the table
// before is told in a word. Pure.
import {
  OFP14_VERSION,
  OXM_NAMES,
  type OxmFieldName,
  type TableFeatureProperty,
  type TableFeatures,
  type TableStats,
} from "../../base/openflow/index.js";
import { inManualOrder } from "./field-order.js";
import { shortenNames } from "./name-list-text.js";
import { fieldNames10 } from "./wildcards-text.js";

/** What one table can do; absent parts are not told in its version, empty ones never. */
export interface TableInfo {
  readonly tableId: number;
  readonly name: string;
  readonly counts?: { readonly active: number; readonly lookup: bigint; readonly matched: bigint };
  readonly features?: {
    readonly metadataMatch: bigint;
    readonly metadataWrite: bigint;
    /** What happens to a packet that no flow matches, in 1.1 and 1.2. */
    readonly miss?: string;
    /** From 1.4 on: what a table does when it is full. */
    readonly whenFull?: { readonly eviction: boolean; readonly vacancy: boolean };
    readonly maxEntries: number;
    readonly others: InstructionInfo;
    /** Those of table-miss flows. */
    readonly missed: InstructionInfo;
    readonly match: MatchInfo;
  };
}

export interface InstructionInfo {
  readonly next: readonly number[];
  readonly instructions: readonly string[];
  readonly write: ActionInfo;
  readonly apply: ActionInfo;
}

interface ActionInfo {
  readonly actions: readonly string[];
  /** Names of fields that can be set. */
  readonly set: readonly string[];
}

export interface MatchInfo {
  readonly masked: readonly string[];
  readonly exact: readonly string[];
  /** Cannot be left out. */
  readonly must: readonly string[];
}

const NO_ACTIONS: ActionInfo = { actions: [], set: [] };
const NO_INSTRUCTIONS: InstructionInfo = { next: [], instructions: [], write: NO_ACTIONS, apply: NO_ACTIONS };

/**
 * Blocks with an empty line between them; a run that repeats the block before is one line, "ditto". A table with a name
 * has such a line of its own, with nothing between it and what follows.
 */
export function formatTableInfos(tables: readonly TableInfo[]): string {
  let text = "";
  for (let at = 0; at < tables.length; ) {
    const table = tables[at] as TableInfo;
    const isNamed = table.name !== "";
    if (!repeatsBefore(tables, at)) {
      text += `${block(table, tables[at - 1])}\n`;
      at++;
      continue;
    }
    let last = at;
    while (!isNamed && tables[last + 1]?.name === "" && repeatsBefore(tables, last + 1)) last++;
    const { tableId } = tables[last] as TableInfo;
    const which = tableId === table.tableId ? `table ${tableId}` : `tables ${table.tableId}...${tableId}`;
    text += `  ${which}${quoted(table)}: ditto\n${isNamed ? "" : "\n"}`;
    at = last + 1;
  }
  return text.endsWith("\n\n") ? text.slice(0, -1) : text;
}

function repeatsBefore(tables: readonly TableInfo[], at: number): boolean {
  return at > 0 && isDitto(tables[at] as TableInfo, tables[at - 1] as TableInfo);
}

function isDitto(table: TableInfo, before: TableInfo): boolean {
  return same(table.counts, before.counts) && hasSameFeatures(table, before);
}

function hasSameFeatures(table: TableInfo, before: TableInfo): boolean {
  const compared = (features: TableInfo["features"]) =>
    features && { ...features, match: allMatched(features.match) };
  return same(compared(withoutSelf(table, table)), compared(withoutSelf(before, table)));
}

/** Whether what two tables match can be masked, or left out, is no difference between them. */
function allMatched({ masked, exact, must }: MatchInfo): readonly string[] {
  return inManualOrder([...masked, ...exact, ...must]);
}

/** A table cannot lead to itself: that the one before could is no difference. */
function withoutSelf({ features }: TableInfo, { tableId }: TableInfo): TableInfo["features"] {
  if (features === undefined) return undefined;
  const strip = (info: InstructionInfo): InstructionInfo => ({
    ...info,
    next: info.next.filter((one) => one !== tableId),
  });
  return { ...features, others: strip(features.others), missed: strip(features.missed) };
}

function same(a: unknown, b: unknown): boolean {
  return plain(a) === plain(b);
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? `${one}` : one)) ?? "";
}

function block(table: TableInfo, before: TableInfo | undefined): string {
  const { counts, features } = table;
  const known = before === undefined ? undefined : withoutSelf(before, table);
  const told = features === undefined ? [] : featureLines(features, known);
  const isSame = told.length > 0 && before !== undefined && hasSameFeatures(table, before);
  const lines = [
    ...(counts === undefined
      ? []
      : [`    active=${counts.active}, lookup=${counts.lookup}, matched=${counts.matched}`]),
    ...(isSame ? ["    (same features)"] : told),
  ];
  return `  table ${table.tableId}${quoted(table)}:\n${lines.map((line) => `${line}\n`).join("")}`;
}

function quoted({ name }: TableInfo): string {
  return name === "" ? "" : ` ("${name}")`;
}

type Features = NonNullable<TableInfo["features"]>;

function featureLines(features: Features, before: Features | undefined): string[] {
  const { metadataMatch, metadataWrite, miss, whenFull, maxEntries, others, missed, match } = features;
  const hasMetadata = metadataMatch !== 0n || metadataWrite !== 0n;
  return [
    ...(hasMetadata ? [`    metadata: match=${hex(metadataMatch)} write=${hex(metadataWrite)}`] : []),
    ...(miss === undefined ? [] : [`    config=${miss}`]),
    ...(whenFull === undefined
      ? []
      : [
          `    eviction: ${whenFull.eviction ? "supported" : "not supported"}`,
          `    vacancy events: ${whenFull.vacancy ? "supported" : "not supported"}`,
        ]),
    ...(maxEntries === 0 ? [] : [`    max_entries=${maxEntries}`]),
    ...bothLines(others, missed, before),
    ...(matchLines(match).length === 0
      ? []
      : before !== undefined && same(allMatched(match), allMatched(before.match))
        ? ["    (same matching)"]
        : ["    matching:", ...matchLines(match)]),
  ];
}

function hex(value: bigint): string {
  return value === 0n ? "0" : `0x${value.toString(16)}`;
}

/** What is empty is not told, here and below. */
function bothLines(others: InstructionInfo, missed: InstructionInfo, before: Features | undefined): string[] {
  if (same(others, NO_INSTRUCTIONS) && same(missed, NO_INSTRUCTIONS)) return [];
  if (before !== undefined && same([others, missed], [before.others, before.missed]))
    return ["    (same instructions)"];
  if (same(others, missed))
    return ["    instructions (table miss and others):", ...instructionLines(others, before?.others)];
  return [
    ...["    instructions (other than table miss):", ...instructionLines(others, before?.others)],
    ...["    instructions (table miss):", ...instructionLines(missed, before?.missed)],
  ];
}

function instructionLines(info: InstructionInfo, before: InstructionInfo | undefined): string[] {
  const { next, instructions, write, apply } = info;
  const head = [
    ...(next.length === 0 ? [] : [`      next tables: ${ranges(next)}`]),
    ...(instructions.length === 0
      ? []
      : before !== undefined && same(instructions, before.instructions)
        ? ["      (same instructions)"]
        : [`      instructions: ${instructions.join(" ")}`]),
  ];
  if (same([write, apply], [NO_ACTIONS, NO_ACTIONS])) return head;
  // Where write-actions set no fields, they are told again.
  const canSet = write.set.length > 0;
  if (canSet && before !== undefined && same([write, apply], [before.write, before.apply]))
    return [...head, "      (same actions)"];
  if (same(write, apply))
    return [...head, "      Write-Actions and Apply-Actions features:", ...actionLines(write)];
  return [
    ...head,
    ...["      Write-Actions features:", ...actionLines(write)],
    ...["      Apply-Actions features:", ...actionLines(apply)],
  ];
}

function actionLines({ actions, set }: ActionInfo): string[] {
  return [
    ...(actions.length === 0 ? [] : [`        actions: ${actions.join(" ")}`]),
    ...(set.length === 0 ? [] : [`        supported on Set-Field: ${fieldsText(set)}`]),
  ];
}

function matchLines({ masked, exact, must }: MatchInfo): string[] {
  const told = (what: string, names: readonly string[]): string[] =>
    names.length === 0 ? [] : [`      ${what}: ${fieldsText(names)}`];
  return [
    ...told("arbitrary mask", masked),
    ...told("exact match or wildcard", exact),
    ...told("must exact match", must),
  ];
}

function fieldsText(names: readonly string[]): string {
  return shortenNames(inManualOrder(names));
}

/** "1-253", or numbers and ranges with commas. */
function ranges(tables: readonly number[]): string {
  const found: [number, number][] = [];
  for (const table of [...tables].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last !== undefined && last[1] + 1 === table) last[1] = table;
    else found.push([table, table]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

// --- Of 1.0, and of 1.3 and up

export function infoOfStats({
  tableId,
  activeCount,
  lookupCount,
  matchedCount,
  openflow10,
}: TableStats): TableInfo {
  const counts = { active: activeCount, lookup: lookupCount, matched: matchedCount };
  if (openflow10 === undefined) return { tableId, name: "", counts };
  const match = { masked: [], exact: fieldNames10(openflow10.wildcards), must: [] };
  return {
    ...{ tableId, name: openflow10.name, counts },
    features: {
      ...{ metadataMatch: 0n, metadataWrite: 0n, maxEntries: openflow10.maxEntries },
      ...{ others: NO_INSTRUCTIONS, missed: NO_INSTRUCTIONS, match },
    },
  };
}

const INSTRUCTIONS: readonly (readonly [number, string])[] = [
  [6, "meter"],
  [4, "apply_actions"],
  [5, "clear_actions"],
  [3, "write_actions"],
  [2, "write_metadata"],
  [1, "goto_table"],
];

/** Actions by OFPAT_* number, in the order in which they are told. */
export const ACTION_NAMES: readonly (readonly [number, string])[] = [
  [0, "output"],
  [22, "group"],
  [25, "set_field"],
  [18, "strip_vlan"],
  [17, "push_vlan"],
  [23, "mod_nw_ttl"],
  [24, "dec_ttl"],
  [15, "set_mpls_ttl"],
  [16, "dec_mpls_ttl"],
  [19, "push_mpls"],
  [20, "pop_mpls"],
  [21, "set_queue"],
];

const OFPTC_EVICTION = 1 << 2;
const OFPTC_VACANCY_EVENTS = 1 << 3;

export function infoOfFeatures(table: TableFeatures, version: number): TableInfo {
  const property = (type: TableFeatureProperty["type"], miss = false): TableFeatureProperty | undefined =>
    table.properties.find((one) => one.type === type && one.miss === miss);
  const match = fieldsOf(property("match"));
  const wildcards = new Set(fieldsOf(property("wildcards")).map(({ field }) => field));
  const maskable = new Set(match.flatMap((one) => (one.maskable ? [one.field] : [])));
  const matched = [...new Set(match.map(({ field }) => field))];
  const named = (keep: (field: OxmFieldName) => boolean): string[] => matched.filter(keep).map(nameOf);
  // A property about table-miss flows that is not there is as the other.
  const instructionsOf = (miss: boolean): InstructionInfo => {
    const one = (type: TableFeatureProperty["type"]) =>
      (miss ? property(type, true) : undefined) ?? property(type);
    const next = one("next_tables");
    const known = one("instructions");
    const types = known?.type === "instructions" ? known.instructions.map(({ type }) => type) : [];
    return {
      next: next?.type === "next_tables" ? next.tables : [],
      instructions: namesIn(INSTRUCTIONS, types),
      write: { actions: actionsOf(one("write_actions")), set: namesOf(one("write_setfield")) },
      apply: { actions: actionsOf(one("apply_actions")), set: namesOf(one("apply_setfield")) },
    };
  };
  return {
    tableId: table.tableId,
    name: table.name,
    features: {
      metadataMatch: table.metadataMatch,
      metadataWrite: table.metadataWrite,
      maxEntries: table.maxEntries,
      ...(version < OFP14_VERSION
        ? {}
        : {
            whenFull: {
              eviction: (table.config & OFPTC_EVICTION) !== 0,
              vacancy: (table.config & OFPTC_VACANCY_EVENTS) !== 0,
            },
          }),
      others: instructionsOf(false),
      missed: instructionsOf(true),
      match: {
        masked: named((field) => maskable.has(field)),
        exact: named((field) => !maskable.has(field) && wildcards.has(field)),
        must: named((field) => !maskable.has(field) && !wildcards.has(field)),
      },
    },
  };
}

export function nameOf(field: OxmFieldName): string {
  return OXM_NAMES[field].manual;
}

function fieldsOf(
  property: TableFeatureProperty | undefined,
): readonly { readonly field: OxmFieldName; readonly maskable: boolean }[] {
  return property !== undefined && "fields" in property ? property.fields : [];
}

function namesOf(property: TableFeatureProperty | undefined): string[] {
  return [...new Set(fieldsOf(property).map(({ field }) => nameOf(field)))];
}

function actionsOf(property: TableFeatureProperty | undefined): string[] {
  if (property === undefined || !("actions" in property)) return [];
  return namesIn(
    ACTION_NAMES,
    property.actions.map(({ type }) => type),
  );
}

function namesIn(names: readonly (readonly [number, string])[], types: readonly number[]): string[] {
  return names.filter(([number]) => types.includes(number)).map(([, name]) => name);
}
