// Table, group and meter features as values, from lists of what a datapath can do.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.5, 7.3.5.10, 7.3.5.13. Open vSwitch's clients insist on every
// property being there, and on maskable fields only in `match`.

import {
  type GroupFeatures,
  type GroupType,
  type MeterFeatures,
  OFPAT,
  OFPGFC_CHAINING,
  OFPGFC_CHAINING_CHECKS,
  OFPGT,
  OFPIT,
  OXM_FIELDS,
  type OxmFieldName,
  type SupportedField,
  type TableFeatureProperty,
  type TableFeatures,
} from "../../base/openflow/index.js";

export interface TableAbilities {
  readonly tableCount: number;
  readonly maxEntries: number;
  readonly matchFields: readonly OxmFieldName[];
  readonly setFields: readonly OxmFieldName[];
  readonly actions: readonly (keyof typeof OFPAT)[];
  readonly instructions: readonly (keyof typeof OFPIT)[];
}

const ALL_ONES = 0xffffffffffffffffn;

/** One entry per table; they differ only in the tables that they may go to. */
export function describeTables(abilities: TableAbilities): readonly TableFeatures[] {
  return Array.from({ length: abilities.tableCount }, (_, tableId) => ({
    tableId,
    name: "",
    metadataMatch: ALL_ONES,
    metadataWrite: ALL_ONES,
    config: 0,
    maxEntries: abilities.maxEntries,
    properties: properties(abilities, tableId),
  }));
}

function properties(abilities: TableAbilities, tableId: number): readonly TableFeatureProperty[] {
  const isLast = tableId === abilities.tableCount - 1;
  const usable = abilities.instructions.filter((name) => !(isLast && name === "goto_table"));
  const instructions = usable.map((name) => ({ type: OFPIT[name] }));
  const actions = abilities.actions.map((name) => ({ type: OFPAT[name] }));
  const tables = Array.from({ length: abilities.tableCount - 1 - tableId }, (_, i) => tableId + 1 + i);
  const plain = (fields: readonly OxmFieldName[]): SupportedField[] =>
    fields.map((field) => ({ field, maskable: false }));
  const match = abilities.matchFields.map((field) => ({ field, maskable: OXM_FIELDS[field].maskable }));
  return [
    { type: "instructions", miss: false, instructions },
    { type: "next_tables", miss: false, tables },
    { type: "write_actions", miss: false, actions },
    { type: "apply_actions", miss: false, actions },
    { type: "match", miss: false, fields: match },
    { type: "wildcards", miss: false, fields: plain(abilities.matchFields) },
    { type: "write_setfield", miss: false, fields: plain(abilities.setFields) },
    { type: "apply_setfield", miss: false, fields: plain(abilities.setFields) },
  ];
}

export interface GroupAbilities {
  readonly types: readonly GroupType[];
  readonly maxGroups: number;
  readonly actions: readonly (keyof typeof OFPAT)[];
  readonly canChain: boolean;
  /** Further OFPGFC_* bits. */
  readonly capabilities?: number;
}

export function describeGroups(abilities: GroupAbilities): GroupFeatures {
  const actions = abilities.actions.reduce(
    (bits, name) => (OFPAT[name] < 32 ? bits | (1 << OFPAT[name]) : bits),
    0,
  );
  const per = (value: number): readonly [number, number, number, number] => {
    const has = (type: GroupType): number => (abilities.types.includes(type) ? value : 0);
    return [has("all"), has("select"), has("indirect"), has("ff")];
  };
  const chaining = abilities.canChain ? OFPGFC_CHAINING | OFPGFC_CHAINING_CHECKS : 0;
  return {
    types: abilities.types.reduce((bits, type) => bits | (1 << OFPGT[type]), 0),
    capabilities: chaining | (abilities.capabilities ?? 0),
    maxGroups: per(abilities.maxGroups),
    actions: per(actions >>> 0),
  };
}

/** The meter features of a switch without meters. */
export const NO_METERS: MeterFeatures = {
  maxMeters: 0,
  bandTypes: 0,
  capabilities: 0,
  maxBands: 0,
  maxColor: 0,
};
