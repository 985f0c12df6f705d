// Table statistics of OpenFlow 1.1 and 1.2, which are told with what each table can do. Pure.
// Source: OpenFlow Switch Specification 1.1.0 and 1.2, A.3.5.4.
import { OFP11_VERSION, OXM_FIELDS, type OxmFieldName } from "../../base/openflow/index.js";
import { formatTableInfos, nameOf, type TableInfo } from "./table-info-text.js";

const HEADER_SIZE = 16;
const STATS_11_SIZE = 88;
const STATS_12_SIZE = 128;
const NAME_SIZE = 32;
const MISS = ["controller", "continue", "drop", "controller"] as const;
const OFPXMC_OPENFLOW_BASIC = 0x8000;
/** mpls_tc; what has a higher number came later. */
const FIELD_12_MAX = 35;

/** Bits of OFPFMF_*, in the order in which they are told. */
const FIELDS_11: readonly (readonly [bit: number, name: string])[] = [
  ...([
    [15, "metadata"],
    [0, "in_port"],
    [11, "eth_src"],
    [12, "eth_dst"],
    [3, "eth_type"],
  ] as const),
  ...([
    [1, "vlan_vid"],
    [2, "vlan_pcp"],
    [8, "mpls_label"],
    [9, "mpls_tc"],
  ] as const),
  ...([
    [13, "ip_src"],
    [14, "ip_dst"],
    [5, "nw_proto"],
    [4, "nw_tos"],
  ] as const),
  ...([
    [6, "tcp_src"],
    [7, "tcp_dst"],
  ] as const),
];
const INSTRUCTIONS: readonly (readonly [bit: number, name: string])[] = [
  ...([
    [4, "apply_actions"],
    [5, "clear_actions"],
    [3, "write_actions"],
  ] as const),
  ...([
    [2, "write_metadata"],
    [1, "goto_table"],
  ] as const),
];
/** OFPAT_* of both versions: 1.2 has one action for what 1.1 sets by many. */
const ACTIONS_11_12: readonly (readonly [bit: number, name: string])[] = [
  ...([
    [0, "output"],
    [22, "group"],
    [25, "set_field"],
    [1, "set_vlan_vid"],
    [2, "set_vlan_pcp"],
  ] as const),
  ...([
    [18, "strip_vlan"],
    [17, "push_vlan"],
    [3, "mod_dl_src"],
    [4, "mod_dl_dst"],
  ] as const),
  ...([
    [5, "mod_nw_src"],
    [6, "mod_nw_dst"],
    [7, "mod_nw_tos"],
    [8, "mod_nw_ecn"],
  ] as const),
  ...([
    [23, "mod_nw_ttl"],
    [9, "mod_tp_src"],
    [10, "mod_tp_dst"],
    [24, "dec_ttl"],
  ] as const),
  ...([
    [13, "set_mpls_label"],
    [14, "set_mpls_tc"],
    [15, "set_mpls_ttl"],
    [16, "dec_mpls_ttl"],
  ] as const),
  ...([
    [19, "push_mpls"],
    [20, "pop_mpls"],
    [21, "set_queue"],
  ] as const),
];

/** What came with 1.1 and is gone in 1.2, where set-field does it. */
const ONLY_11 = /^(set_vlan_|mod_[dt]|mod_nw_(src|dst|tos|ecn)|set_mpls_(label|tc)$)/;
export const ACTIONS_11 = ACTIONS_11_12.filter(([, name]) => name !== "set_field");
const ACTIONS_12 = ACTIONS_11_12.filter(([, name]) => !ONLY_11.test(name));

/** The body of a reply whose length its kind allows; undefined for other versions. */
export function tableStats11(view: DataView): string | undefined {
  const version = view.getUint8(0);
  const size = version === OFP11_VERSION ? STATS_11_SIZE : STATS_12_SIZE;
  const tables: TableInfo[] = [];
  for (let at = HEADER_SIZE; at + size <= view.byteLength; at += size)
    tables.push(version === OFP11_VERSION ? table11(view, at) : table12(view, at));
  return `\n${formatTableInfos(tables)}`;
}

function table11(view: DataView, at: number): TableInfo {
  const word = (index: number): number => view.getUint32(at + 8 + NAME_SIZE + 4 * index);
  const [wildcards, match] = [word(0), word(1)];
  // Those of write-actions for both, as the original tells it.
  const actions = { actions: named(ACTIONS_11, word(3)), set: [] };
  const instructions = {
    ...{ next: [], instructions: named(INSTRUCTIONS, word(2)), write: actions, apply: actions },
  };
  return {
    ...{ tableId: view.getUint8(at), name: nameAt(view, at + 8) },
    counts: {
      active: word(7),
      lookup: view.getBigUint64(at + STATS_11_SIZE - 16),
      matched: view.getBigUint64(at + STATS_11_SIZE - 8),
    },
    features: {
      ...{ metadataMatch: 0n, metadataWrite: 0n, miss: MISS[word(5) & 3] as string, maxEntries: word(6) },
      ...{ others: instructions, missed: instructions },
      match: {
        masked: [],
        exact: named(FIELDS_11, wildcards),
        must: named(FIELDS_11, match & ~wildcards),
      },
    },
  };
}

function table12(view: DataView, at: number): TableInfo {
  const start = at + 8 + NAME_SIZE;
  const long = (offset: number): bigint => view.getBigUint64(start + offset);
  const word = (offset: number): number => view.getUint32(start + offset);
  const [match, wildcards] = [long(0), long(8)];
  const instructions = {
    ...{ next: [], instructions: named(INSTRUCTIONS, word(56)) },
    write: { actions: named(ACTIONS_12, word(16)), set: fields12(long(24)) },
    apply: { actions: named(ACTIONS_12, word(20)), set: fields12(long(32)) },
  };
  return {
    ...{ tableId: view.getUint8(at), name: nameAt(view, at + 8) },
    counts: { active: word(68), lookup: long(72), matched: long(80) },
    features: {
      ...{ metadataMatch: long(40), metadataWrite: long(48) },
      ...{ miss: MISS[word(60) & 3] as string, maxEntries: word(64) },
      ...{ others: instructions, missed: instructions },
      match: { masked: [], exact: fields12(wildcards), must: fields12(match & ~wildcards) },
    },
  };
}

function named(names: readonly (readonly [bit: number, name: string])[], bits: number): string[] {
  return names.filter(([bit]) => ((bits >>> bit) & 1) === 1).map(([, name]) => name);
}

/** Bits by the numbers of the standard's fields. */
function fields12(bits: bigint): string[] {
  return (Object.keys(OXM_FIELDS) as OxmFieldName[])
    .filter((name) => {
      if (name === "in_phy_port") return false; // Open vSwitch has no such field.
      const { oxmClass, number } = OXM_FIELDS[name];
      return (
        oxmClass === OFPXMC_OPENFLOW_BASIC && number <= FIELD_12_MAX && ((bits >> BigInt(number)) & 1n) === 1n
      );
    })
    .map(nameOf);
}

function nameAt(view: DataView, at: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, NAME_SIZE);
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? NAME_SIZE : end)).toString("latin1");
}
